//! What a store holds, as plain data.

use crate::genotype::{ArchId, Genotype};
use crate::indicator::Score;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialState {
    /// All went well.
    Complete {
        /// The value of each objective in its own unit and direction, by name; finite.
        objectives: BTreeMap<String, f64>,
    },
    /// Something did not.
    Failed {
        /// What.
        reason: String,
    },
}

/// A trial's share of the time that passed, in seconds. Trials of a batch share what was done for them together; 0 for
/// what was shared from an earlier trial. All trials' seconds add up to the search's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageSeconds {
    /// Computing indicators, and short trainings.
    pub scoring_s: f64,
    /// Writing the model.
    pub exporting_s: f64,
    /// Preparing the runtime's sessions, first runs included, on all devices.
    pub loading_s: f64,
    /// Measuring on all devices.
    pub measuring_s: f64,
    /// Everything else: predictions, the store, the sampler.
    pub waiting_s: f64,
}

impl StageSeconds {
    /// All of them together.
    pub fn total_s(&self) -> f64 {
        self.scoring_s + self.exporting_s + self.loading_s + self.measuring_s + self.waiting_s
    }
}

/// A finished trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// Name of the sampler that asked for it.
    pub sampler: String,
    /// Its number among the sampler's trials, from 0, in the order of asking.
    pub number: u64,
    /// What was asked for.
    pub genotype: Genotype,
    /// The architecture as its space writes it.
    pub arch: String,
    /// The architecture's id.
    pub arch_id: ArchId,
    /// How it ended.
    pub state: TrialState,
    /// Number of parameters, where it came to that.
    pub params: Option<u64>,
    /// Parameters of what the output depends on, where it came to that.
    pub live_params: Option<u64>,
    /// Multiply-accumulate operations for one input, where it came to that.
    pub macs: Option<u64>,
    /// SHA-256 of the exported model, where it came to that.
    pub model_sha256: Option<String>,
    /// Where the time went.
    pub seconds: StageSeconds,
}

/// What one indicator said of one architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndicatorOutcome {
    /// A finite value, and its networks'.
    Value(Score),
    /// Why there is none.
    Failed(String),
}

impl IndicatorOutcome {
    /// The score, where there is one.
    pub fn score(self) -> Option<Score> {
        match self {
            Self::Value(score) => Some(score),
            Self::Failed(_) => None,
        }
    }
}

/// One architecture of the reference sample, which indicators are standardised by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceRecord {
    /// Its number in the sample, from 0.
    pub number: u64,
    /// The architecture as its space writes it.
    pub arch: String,
    /// The architecture's id.
    pub arch_id: ArchId,
    /// What the indicators said of it. These are the architecture's: a trial that comes to it shares them.
    pub indicators: BTreeMap<String, IndicatorOutcome>,
}

/// Where a latency comes from that was not measured here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EstimateSource {
    /// Predicted by a lookup table.
    Predicted,
    /// Taken from a table of architectures.
    Table,
}

/// The latency of one architecture on one device, as somebody else says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EstimateRecord {
    /// The architecture.
    pub arch_id: ArchId,
    /// Name of the device.
    pub device: String,
    /// Who says it.
    pub source: EstimateSource,
    /// The median latency in ms.
    pub p50_ms: f64,
    /// Its interval in ms: 90 % of networks of a prediction; the figure itself where none is known.
    pub interval_ms: [f64; 2],
}

/// One measurement of one architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasurementRecord {
    /// The architecture.
    pub arch_id: ArchId,
    /// Name of the device.
    pub device: String,
    /// SHA-256 of the model that was measured.
    pub model_sha256: String,
    /// The measurement with its raw samples, as `latency` writes it.
    pub measurement: serde_json::Value,
}
