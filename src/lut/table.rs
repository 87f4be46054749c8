//! The table itself: one JSON file that says what was measured, where, and what follows from it.

use super::LutError;
use super::features::SpaceRef;
use super::fit::{conformal, estimate};
use super::operator::{Counts, OpCost};
use crate::device::HardwareProfile;
use crate::files;
use crate::graph::{Graph, GraphError};
use crate::latency::{Host, Pace};
use crate::onnx::Precision;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the file.
const VERSION: u32 = 1;

/// What the intervals cover.
pub(super) const COVERAGE: f64 = 0.9;

/// What a table's entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Operators of the runtime's optimised graph, fitted to whole networks.
    Fused,
    /// Operators of our graph after value numbering, fitted to whole networks.
    Counted,
    /// Operators of our graph, each measured alone.
    Micro,
    /// Somebody else's entries, named as they named them; a network is a list of entries.
    Imported,
}

/// Which nodes of our graph a device runs: published latencies are of networks that others exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphView {
    /// Those that take part in the result, equal ones merged: what Tegu exports.
    #[default]
    Live,
    /// Those that the result needs, constants included: converters drop edges that lead nowhere.
    Needed,
    /// All of them: frameworks that run layer by layer.
    Declared,
}

impl GraphView {
    /// This view of a space's graph.
    ///
    /// # Errors
    /// If the network is dead.
    pub fn of(self, declared: &Graph) -> Result<Graph, GraphError> {
        let live = declared.live()?;
        Ok(match self {
            Self::Live => live,
            Self::Needed => declared.needed(),
            Self::Declared => declared.clone(),
        })
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyTable {
    /// Version of the file's format.
    pub version: u32,
    /// What it is a table of.
    pub header: Header,
    /// What a network takes beside its operators, in µs.
    pub overhead_us: f64,
    /// Coefficients of the estimate for operators that no network had, in seconds: an operator, a multiply-accumulate,
    /// one in a grouped convolution, an element. Absent where there is none.
    pub estimate_s: Option<[f64; 4]>,
    /// Factor of all predictions: 1, but for a table of another device that was transferred.
    pub scale: f64,
    /// The operators, by key.
    pub entries: BTreeMap<String, Entry>,
    /// `measured / predicted − 1` of networks that the fit did not have: the intervals' source.
    pub errors: Vec<f64>,
    /// The networks that were timed.
    pub networks: Vec<Timed>,
    /// What could not be measured.
    pub failed: Vec<FailedEntry>,
}

/// What a table is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Name of the device.
    pub device: String,
    /// What the entries are.
    pub method: Method,
    /// Which nodes of our graph are counted, where operators are those of our graph.
    #[serde(default)]
    pub graph: GraphView,
    /// The space that its networks are of; absent for a table that was imported without one.
    pub space: Option<SpaceRef>,
    /// The whole profile; absent for a table that was imported.
    pub profile: Option<HardwareProfile>,
    /// The profile whose runtime's graph the operators are of, where it is not the device's own (a transferred table).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operators_of: Option<HardwareProfile>,
    /// The machine; absent for a table that was imported.
    pub host: Option<Host>,
    /// `onnxruntime`, `tract`; empty for a table that was imported.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// The execution provider.
    pub execution_provider: String,
    /// Its options.
    pub provider_options: BTreeMap<String, String>,
    /// Threads within an operator; 0 where it is not known.
    pub threads: usize,
    /// Samples in one run.
    pub batch: usize,
    /// The pace of the machine that the times are stated for; absent where no reference model ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<Pace>,
    /// Seed of the networks' choice.
    pub seed: u64,
    /// Version of Tegu that made it, or what it was imported from.
    pub made_by: String,
}

/// An operator's time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Timed networks that have it.
    pub n: usize,
    /// Its time in µs.
    pub p50_us: f64,
    /// Lower end of its 95 % interval; absent where none is known.
    pub ci_lo_us: Option<f64>,
    /// Upper end.
    pub ci_hi_us: Option<f64>,
    /// Rounds of measurement behind it.
    pub rounds: usize,
    /// How it came about.
    pub status: Status,
    /// What it does; absent for an imported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<OpCost>,
}

/// How an entry came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Fitted to networks that tell it from all others.
    Fitted,
    /// Fitted together with others that always occur in proportion to it: their sum is known, its share is estimated.
    Pooled,
    /// Measured alone.
    Measured,
    /// Taken from the costs of operators like it: no timed network has it.
    Estimated,
    /// Taken from a file.
    Imported,
}

/// Why a network was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Drawn at random: its error is that of a network of the space.
    Random,
    /// Chosen because it tells much.
    Chosen,
    /// An operator alone, or several times one behind the other.
    Chain,
}

/// A timed network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// The architecture, or the operator of a chain.
    pub arch: String,
    /// Its id; absent for a chain.
    pub arch_id: Option<crate::genotype::ArchId>,
    /// Why it was timed.
    pub role: Role,
    /// Median latency in ms.
    pub p50_ms: f64,
    /// Its 95 % interval.
    pub ci95_ms: [f64; 2],
    /// Rounds of the measurement.
    pub rounds: usize,
    /// Its operators.
    pub counts: Counts,
}

/// What could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedEntry {
    /// The architecture, or the operator.
    pub entry: String,
    /// Why.
    pub reason: String,
}

/// A predicted latency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The latency in ms.
    pub p50_ms: f64,
    /// What covers 90 % of networks; absent where too few were timed.
    pub interval90_ms: Option<[f64; 2]>,
    /// The overhead's part in ms.
    pub overhead_ms: f64,
    /// The entries behind it, the largest part first.
    pub entries: Vec<UsedEntry>,
}

/// An entry's part in a prediction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsedEntry {
    /// The operator.
    pub key: String,
    /// How often the network has it.
    pub count: u32,
    /// The part of all of them, in ms.
    pub total_ms: f64,
    /// How its entry came about.
    pub status: Status,
}

impl Header {
    /// The element type of the networks' weights and activations.
    pub fn precision(&self) -> Precision {
        self.profile.as_ref().map_or(Precision::default(), |profile| profile.precision)
    }

    /// The profile whose runtime shows the operators that the table has.
    pub fn operators_profile(&self) -> Option<&HardwareProfile> {
        self.operators_of.as_ref().or(self.profile.as_ref())
    }
}

impl LatencyTable {
    /// A table without entries.
    pub fn new(header: Header) -> Self {
        Self {
            version: VERSION,
            header,
            overhead_us: 0.0,
            estimate_s: None,
            scale: 1.0,
            entries: BTreeMap::new(),
            errors: vec![],
            networks: vec![],
            failed: vec![],
        }
    }

    /// Reads the table at `path`.
    ///
    /// # Errors
    /// If the file can't be read or is no table of this version.
    pub fn read(path: &Path) -> Result<Self, LutError> {
        let bytes = std::fs::read(path).map_err(|source| LutError::File { path: path.to_owned(), source })?;
        let invalid = |reason: String| LutError::Invalid { path: path.to_owned(), reason };
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|error| invalid(format!("no lookup table: {error}")))?;
        match value["version"].as_u64() {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(invalid(format!("version {version} found, expected {VERSION}"))),
            None => return Err(invalid("no lookup table: it has no `version`".to_owned())),
        }
        serde_json::from_value(value).map_err(|error| invalid(format!("no lookup table: {error}")))
    }

    /// Writes it to `path`, under a temporary name first.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> Result<(), LutError> {
        let text = serde_json::to_vec_pretty(self).expect("a table is plain data");
        files::write_whole(path, &text).map_err(|source| LutError::File { path: path.to_owned(), source })
    }

    /// SHA-256 of its content, hexadecimal.
    pub fn sha256(&self) -> String {
        use sha2::{Digest, Sha256};
        let json = serde_json::to_vec(self).expect("a table is plain data");
        crate::genotype::hex(&Sha256::digest(json))
    }

    /// Half the width of the 90 % interval, relative to the prediction.
    pub fn half_width(&self) -> Option<f64> {
        conformal(&self.errors, COVERAGE)
    }

    /// The latency of a network with these operators.
    ///
    /// # Errors
    /// [`LutError::Missing`], with their names, if operators have no entry.
    pub fn predict(&self, counts: &Counts) -> Result<Prediction, LutError> {
        let missing: Vec<String> = counts.keys().filter(|key| !self.entries.contains_key(*key)).cloned().collect();
        if !missing.is_empty() {
            return Err(LutError::Missing { keys: missing });
        }
        let part = |(key, &count): (&String, &u32)| {
            let entry = &self.entries[key];
            let total_ms = f64::from(count) * entry.p50_us * self.scale / 1e3;
            UsedEntry { key: key.clone(), count, total_ms, status: entry.status }
        };
        let mut entries: Vec<UsedEntry> = counts.iter().map(part).collect();
        entries.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms));
        let overhead_ms = self.overhead_us * self.scale / 1e3;
        let p50_ms = overhead_ms + entries.iter().map(|entry| entry.total_ms).sum::<f64>();
        let interval90_ms = self.half_width().map(|half| [p50_ms * (1.0 - half).max(0.0), p50_ms * (1.0 + half)]);
        Ok(Prediction { p50_ms, interval90_ms, overhead_ms, entries })
    }

    /// Gives those of `costs` that have no entry one, estimated from the costs of operators like them.
    pub fn estimate(&mut self, costs: &super::Costs) {
        let Some([operator, mac, grouped, element]) = self.estimate_s else { return };
        for (key, cost) in costs {
            self.entries.entry(key.clone()).or_insert_with(|| Entry {
                n: 0,
                p50_us: estimate(&[0.0, operator, mac, grouped, element], cost) * 1e6,
                ci_lo_us: None,
                ci_hi_us: None,
                rounds: 0,
                status: Status::Estimated,
                cost: Some(*cost),
            });
        }
    }
}
