//! What training goes on from: one safetensors file an epoch, with the state as JSON in its header.
//!
//! The file is written under a temporary name, brought to the disk, and renamed: until then the former one stays, and a name
//! always stands for a whole file. Whether a checkpoint is of this training is told by its fingerprint: options, data, graph.

use super::TrainError;
use crate::files;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Name of the checkpoint in a training's folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// The header's key.
const STATE: &str = "tegu.training";

/// One pass over the training data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: usize,
    /// Learning rate of its last step.
    pub lr: f64,
    /// Mean loss of its batches, as trained: with augmentation, smoothing and teachers.
    pub loss: f64,
    /// Share of its samples that were right as they were trained on.
    pub accuracy: f64,
    /// Mean negative log-likelihood of the validation samples, where there are some.
    pub validation_loss: Option<f64>,
    /// Share of the validation samples that are right.
    pub validation_accuracy: Option<f64>,
    /// How long it took.
    pub seconds: f64,
}

/// Where a training stands, beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What the training depends on.
    pub fingerprint: Value,
    /// Steps done.
    pub steps: u64,
    /// The epochs done.
    pub curve: Vec<Epoch>,
    /// Number of the best one.
    pub best_epoch: usize,
    /// Whether training is over.
    pub finished: bool,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Writes a checkpoint at `path`.
///
/// # Errors
/// If it can't be written; what was at `path` is there as it was.
pub fn save(path: &Path, state: &State, tensors: &Tensors) -> Result<(), TrainError> {
    let text = serde_json::to_string(state).expect("numbers and text are JSON");
    let header: HashMap<String, String> = [(STATE.to_owned(), text)].into();
    let bytes = safetensors::serialize(tensors, Some(header))
        .map_err(|error| TrainError::Corrupt { path: path.to_owned(), reason: error.to_string() })?;
    write_whole(path, &bytes)
}

/// Reads the checkpoint at `path`; none where there is none.
///
/// # Errors
/// If it can't be read, or is no checkpoint.
pub fn load(path: &Path, device: &Device) -> Result<Option<(State, Tensors)>, TrainError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TrainError::File { path: path.to_owned(), source }),
    };
    let corrupt = |reason: String| TrainError::Corrupt { path: path.to_owned(), reason };
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|error| corrupt(error.to_string()))?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
    let text = text.ok_or_else(|| corrupt(format!("it has no `{STATE}`, expected a checkpoint of `tegu train`")))?;
    let state = serde_json::from_str(text).map_err(|error| corrupt(error.to_string()))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, device)?;
    Ok(Some((state, tensors.into_iter().collect())))
}

/// Writes a file as a whole.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    files::write_whole(path, bytes).map_err(|source| TrainError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state(steps: u64) -> State {
        let epoch = Epoch {
            epoch: 1,
            lr: 0.1,
            loss: 0.1 + 0.2,
            accuracy: 1.0 / 3.0,
            validation_loss: None,
            validation_accuracy: Some(0.5),
            seconds: 1.5,
        };
        State { fingerprint: json!({"seed": 1}), steps, curve: vec![epoch], best_epoch: 1, finished: false }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CHECKPOINT);
        assert!(load(&path, &Device::Cpu).unwrap().is_none());
        for steps in [7, 8] {
            let tensor = Tensor::new(&[1.5f32, -0.1, f32::MIN_POSITIVE / 2.0], &Device::Cpu).unwrap();
            let tensors: BTreeMap<String, Tensor> = [("weights.a".to_owned(), tensor.clone())].into();
            save(&path, &state(steps), &tensors).unwrap();
            let (found, read) = load(&path, &Device::Cpu).unwrap().unwrap();
            assert_eq!(found, state(steps));
            assert_eq!(read["weights.a"].to_vec1::<f32>().unwrap(), tensor.to_vec1::<f32>().unwrap());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, bytes: &[u8], expected: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = load(&path, &Device::Cpu).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        };
        check("short", b"1234", "not a checkpoint");
        let tensor = Tensor::new(&[1f32], &Device::Cpu).unwrap();
        let other = safetensors::serialize([("a", &tensor)], None).unwrap();
        check("other", &other, "it has no `tegu.training`");
        let error = save(&folder.path().join("absent/a"), &state(1), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("absent/a"), "{error}");
    }
}
