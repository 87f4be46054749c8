//! What a client and a worker say to each other: one JSON object a line.
//!
//! ```text
//! worker  {"hello": {"protocol": 2, "tegu": "0.1.0"}}
//! client  {"measure": {"id": 1, "jobs": [{"model": "a.onnx"}, {"model": "b.onnx"}], "runtime": "tract", …}}
//! worker  {"stage": {"id": 1, "job": 0, "stage": "load"}}                      (whenever it turns to something else)
//! worker  {"measured": {"id": 1, "job": 1, "measurement": {…}}}                (in any order)
//! worker  {"failed": {"id": 1, "job": 0, "kind": "run", "reason": "…"}}        (without a job: all of them)
//! worker  {"done": {"id": 1}}              (a job without an answer found no room in memory: it is asked for again)
//! client  {"check": {"id": 2, "runtime": "tract", …}}
//! worker  {"ready": {"id": 2, "runtime": "tract 0.23.9"}}      or      {"failed": {"id": 2, "kind": "unavailable", "reason": "…"}}
//! client  {"optimize": {"id": 3, "job": {"model": "m.onnx"}, "output": "m.opt.onnx", …}}
//! worker  {"done": {"id": 3}}      or, before that,      {"failed": {"id": 3, "job": 0, …}}
//! client  {"score": {"id": 4, "work": {"space": {…}, "genotypes": [[0, 1, 2]], …}, "compute": "cpu"}}
//! worker  {"scored": {"id": 4, "scores": [{"ntk_condition": {"Ok": {…}}}]}}      or      {"failed": {"id": 4, …}}
//! ```

use super::remote::message::{ScoreOutcomes, ScoreWork};
use crate::latency::{Measurement, Protocol};
use crate::network::Compute;
use crate::runtime::{RuntimeKind, SessionOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Version of these messages; client and worker must have the same.
pub(super) const PROTOCOL_VERSION: u32 = 2;

/// From the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Get the runtime ready, without a model.
    Check(CheckRequest),
    /// Measure models, in turns.
    Measure(MeasureRequest),
    /// Write what the runtime makes of a model.
    Optimize(OptimizeRequest),
    /// Score architectures.
    Score(ScoreRequest),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScoreRequest {
    /// Repeated in every reply.
    pub id: u64,
    pub work: ScoreWork,
    /// What computes.
    pub compute: Compute,
}

/// What runs the models; the same for the whole life of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    pub runtime: RuntimeKind,
    pub library: Option<PathBuf>,
    pub session: SessionOptions,
    /// Cores to be pinned to.
    pub cores: Option<Vec<usize>>,
    /// Whether several sessions run at the same time, each on threads of its own.
    pub concurrent: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckRequest {
    /// Repeated in every reply.
    pub id: u64,
    pub setup: Setup,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeasureRequest {
    /// Repeated in every reply.
    pub id: u64,
    pub jobs: Vec<JobRequest>,
    /// Name of the hardware profile.
    pub device: String,
    pub setup: Setup,
    pub protocol: Protocol,
    /// Why the reference model is not to be run, although the protocol has it.
    pub no_reference: Option<String>,
    /// Resident memory in MiB from which on no further model is loaded beside the others.
    pub full_mib: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobRequest {
    /// The ONNX file, absolute.
    pub model: PathBuf,
    #[serde(default)]
    pub input_dims: BTreeMap<String, Vec<usize>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptimizeRequest {
    /// Repeated in every reply.
    pub id: u64,
    pub job: JobRequest,
    /// The file to write, absolute.
    pub output: PathBuf,
    pub setup: Setup,
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The first line.
    Hello { protocol: u32, tegu: String },
    /// What it does now, and for which job.
    Stage { id: u64, job: Option<usize>, stage: Stage },
    /// The runtime and its provider are there; its name and version.
    Ready {
        id: u64,
        #[serde(default)]
        runtime: Option<String>,
    },
    /// The result of a job.
    Measured { id: u64, job: usize, measurement: Box<Measurement> },
    /// No result, of this job or of the whole request.
    Failed { id: u64, job: Option<usize>, kind: FailureKind, reason: String },
    /// The scores of a request's architectures.
    Scored { id: u64, scores: Vec<ScoreOutcomes> },
    /// All is said about the jobs of the request.
    Done { id: u64 },
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FailureKind {
    /// The runtime or its provider can't be had: no model will be measured.
    Unavailable,
    /// The runtime refuses this model.
    Refused,
    /// It failed while it ran this model.
    Run,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It has not begun.
    Start,
    /// Loads the runtime's library.
    Runtime,
    /// Loads or runs the reference model.
    Reference,
    /// Loads and prepares the model.
    Load,
    /// Runs the model.
    Run,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "starting",
            Self::Runtime => "loading the runtime",
            Self::Reference => "running the reference model",
            Self::Load => "loading the model",
            Self::Run => "running the model",
        })
    }
}
