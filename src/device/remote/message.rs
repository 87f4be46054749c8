//! What clients and agents say to each other: JSON, in the streams that [`nats`](crate::nats) names.
//!
//! ```text
//! job      {"version": 1, "tegu": "0.1.0", "id": "…", "client": "…", "fingerprint": "…",
//!           "work": {"measure": {"model_sha256": "…", "arch_id": "…", "input_dims": {}, "protocol": {…}}}}
//! answer   {"version": 1, "id": "…", "agent": "raspi4.kitchen", "seconds": 4.2,
//!           "outcome": {"measured": {…}}}            or {"failed": {"kind": "refused", "reason": "…"}}
//! ```

use crate::device::DeviceError;
use crate::genotype::{ArchId, Genotype, hex};
use crate::indicator::{Score, Settings};
use crate::latency::{Measurement, Protocol};
use crate::space::NetworkChanges;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Version of these messages; client and agent must have the same.
pub(crate) const MESSAGES: u32 = 1;

/// The kind of agents that score.
pub(crate) const SCORE: &str = "score";

/// Work for an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    pub version: u32,
    /// Version of the client.
    pub tegu: String,
    /// The same for the same work of the same client.
    pub id: String,
    /// Whose answer it is.
    pub client: String,
    /// What the client takes the device for.
    pub fingerprint: String,
    pub work: Work,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// Measure a model.
    Measure(MeasureWork),
    /// Score architectures.
    Score(Box<ScoreWork>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeasureWork {
    /// The model in the object store.
    pub model_sha256: String,
    pub arch_id: Option<ArchId>,
    pub input_dims: BTreeMap<String, Vec<usize>>,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoreWork {
    /// The space's file, which says the order of genes.
    pub space: String,
    pub network: NetworkChanges,
    pub settings: Settings,
    pub seed: u64,
    pub indicators: Vec<String>,
    pub genotypes: Vec<Genotype>,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub version: u32,
    pub id: String,
    /// `KIND.NAME` of the agent.
    pub agent: String,
    /// How long it was at work.
    pub seconds: f64,
    pub outcome: Outcome,
}

/// Scores of an architecture by the indicators' names, or why there are none.
pub(crate) type ScoreOutcomes = BTreeMap<String, Result<Score, String>>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A latency.
    Measured(Box<Measurement>),
    /// The scores of each architecture that was asked for.
    Scored(Vec<ScoreOutcomes>),
    /// Nothing.
    Failed(Failure),
}

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    pub kind: FailureKind,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// The model is at fault.
    Refused,
    /// It went wrong.
    Failed,
    /// The device is not what the client takes it for.
    OtherDevice,
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let kind = if error.is_input() { FailureKind::Refused } else { FailureKind::Failed };
        Self { kind, reason: error.to_string() }
    }
}

impl Job {
    /// Work of `client` for a device that it takes for `fingerprint`.
    pub fn new(client: &str, fingerprint: &str, work: Work) -> Self {
        let said = serde_json::to_vec(&(client, fingerprint, &work)).expect("jobs are plain data");
        Self {
            version: MESSAGES,
            tegu: env!("CARGO_PKG_VERSION").to_owned(),
            id: hex(&Sha256::digest(said))[..32].to_owned(),
            client: client.to_owned(),
            fingerprint: fingerprint.to_owned(),
            work,
        }
    }

    /// Where its answer goes.
    pub fn answers_to(&self) -> String {
        answer_subject(&self.client, &self.id)
    }
}

/// The subject of a job in the queue of `kind`.
pub(crate) fn job_subject(kind: &str, id: &str) -> String {
    format!("tegu.jobs.{kind}.{id}")
}

/// The subject of the answer to a client's job; `*` is that of all.
pub(crate) fn answer_subject(client: &str, id: &str) -> String {
    format!("tegu.results.{client}.{id}")
}
