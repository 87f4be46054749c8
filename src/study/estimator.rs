//! What says the latency of an architecture before it is measured: a lookup table, or a table of architectures.

use super::StudyError;
use super::plan::PlannedDevice;
use super::store::EstimateSource;
use crate::device::{self, Device, DeviceError, HardwareProfile, LatencyCsv, OpenOptions};
use crate::graph::Graph;
use crate::lut::{Costs, Extractor, LatencyTable, LutError, Method, count, counted_operators};
use std::borrow::Cow;

/// A latency that was not measured here.
pub(super) struct Estimate {
    pub source: EstimateSource,
    /// The median in ms.
    pub p50_ms: f64,
    /// 90 % of a prediction lie in it.
    pub interval_ms: [f64; 2],
}

/// Estimates for one device of a plan.
pub(super) enum Estimator {
    /// Somebody else's figures.
    Csv(LatencyCsv),
    /// A lookup table.
    Table {
        table: Box<LatencyTable>,
        /// Operators that only a runtime shows, and what asks it.
        fused: Option<(Extractor, Box<dyn Device>)>,
    },
}

impl Estimator {
    /// Opens what is needed, and finds out that it works; none where everything is measured.
    pub fn open(planned: &PlannedDevice, options: &OpenOptions) -> Result<Option<Self>, StudyError> {
        let PlannedDevice { profile, table, .. } = planned;
        if let Some(csv) = LatencyCsv::of(profile)? {
            return Ok(Some(Self::Csv(csv)));
        }
        let Some(table) = table else { return Ok(None) };
        let fused = match table.header.method {
            Method::Fused => {
                let shows = table.header.operators_of.as_ref().unwrap_or(profile);
                let extractor = Extractor::new(table.header.method, table.header.batch, table.header.precision());
                Some((extractor?, opened(shows, options)?))
            }
            _ => None,
        };
        Ok(Some(Self::Table { table: Box::new(table.clone()), fused }))
    }

    /// The latency of an architecture, `arch` in the words of its space, whose space lowers it to `declared`.
    pub fn estimate(&mut self, arch: &str, declared: &Graph) -> Result<Estimate, DeviceError> {
        match self {
            Self::Csv(csv) => {
                let p50_ms = csv.p50_ms(arch)?;
                Ok(Estimate { source: EstimateSource::Table, p50_ms, interval_ms: [p50_ms; 2] })
            }
            Self::Table { table, fused } => predict(table, fused.as_mut(), declared).map_err(|error| match error {
                LutError::Device(error) if error.is_unavailable() => error,
                error => DeviceError::Failed(error.to_string()),
            }),
        }
    }
}

/// A device that is there.
pub(super) fn opened(profile: &HardwareProfile, options: &OpenOptions) -> Result<Box<dyn Device>, DeviceError> {
    let mut device = device::open(profile.clone(), options.clone())?;
    device.check()?;
    Ok(device)
}

fn predict(
    table: &LatencyTable,
    fused: Option<&mut (Extractor, Box<dyn Device>)>,
    declared: &Graph,
) -> Result<Estimate, LutError> {
    let graph = table.header.graph.of(declared)?;
    let operators = match fused {
        Some((extractor, device)) => extractor.operators(&graph, &mut **device)?,
        None => counted_operators(&graph, table.header.batch),
    };
    let mut costs = Costs::new();
    let counts = count(operators, &mut costs);
    let mut table = Cow::Borrowed(table);
    if counts.keys().any(|key| !table.entries.contains_key(key)) {
        table.to_mut().estimate(&costs);
    }
    let prediction = table.predict(&counts)?;
    let interval_ms = prediction.interval90_ms.unwrap_or([prediction.p50_ms; 2]);
    Ok(Estimate { source: EstimateSource::Predicted, p50_ms: prediction.p50_ms, interval_ms })
}
