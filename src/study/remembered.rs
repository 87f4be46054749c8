//! What the study whose folder a model file lies in knows of it: a file can't hold its own latency, since what is measured is the
//! file.

use super::store::Store;
use super::{FinalOutcome, STORE, StudyError, remeasured};
use crate::latency::Measurement;
use serde::Serialize;
use std::path::Path;

/// Folders above a model in which its study is looked for.
const ABOVE: usize = 4;

/// What is known of a model file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Remembered {
    /// One for each device that measured these very bytes.
    pub measurements: Vec<RememberedLatency>,
}

/// A measurement of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RememberedLatency {
    /// Name of the device.
    pub device: String,
    /// The median in ms.
    pub p50_ms: f64,
    /// Its 95 % interval.
    pub ci95_ms: [f64; 2],
}

/// What a study in one of the folders above `model` knows of a file of this SHA-256; none where there is no study.
///
/// # Errors
/// If a study's store is there and can't be read.
pub fn remembered(model: &Path, sha256: &str) -> Result<Option<Remembered>, StudyError> {
    let Ok(model) = model.canonicalize() else { return Ok(None) };
    let Some(path) = model.ancestors().skip(1).take(ABOVE).map(|folder| folder.join(STORE)).find(|path| path.is_file())
    else {
        return Ok(None);
    };
    let store = Store::open_read_only(&path)?;
    let mut found = Remembered::default();
    for device in store.devices()? {
        let records = store.measurements(&device)?;
        for record in records.into_iter().filter(|record| record.model_sha256 == sha256) {
            let measurement: Measurement = serde_json::from_value(record.measurement).map_err(|error| {
                StudyError::Stored { path: path.clone(), reason: format!("measurement on {device}: {error}") }
            })?;
            let Measurement { p50_ms, ci95_ms, .. } = measurement;
            found.measurements.push(RememberedLatency { device: device.clone(), p50_ms, ci95_ms });
        }
    }
    let last = remeasured(path.parent().expect("a store is in a folder"))?;
    for figure in last.into_iter().filter(|figure| figure.sha256 == sha256) {
        if let FinalOutcome::Measured { p50_ms, ci95_ms, .. } = figure.outcome {
            found.measurements.push(RememberedLatency { device: figure.device, p50_ms, ci95_ms });
        }
    }
    Ok(Some(found))
}
