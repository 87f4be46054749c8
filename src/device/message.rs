//! What a client and a worker say to each other: one JSON object a line.
//!
//! ```text
//! worker  {"hello": {"protocol": 1, "tegu": "0.1.0"}}
//! client  {"measure": {"id": 1, "model": "m.onnx", "runtime": "tract", …}}
//! worker  {"stage": {"id": 1, "stage": "load"}}
//! worker  {"measured": {"id": 1, "measurement": {…}}}      or      {"failed": {"id": 1, "kind": "run", "reason": "…"}}
//! client  {"check": {"id": 2, "runtime": "tract", …}}
//! worker  {"ready": {"id": 2}}      or      {"failed": {"id": 2, "kind": "unavailable", "reason": "…"}}
//! client  {"optimize": {"id": 3, "model": "m.onnx", "output": "m.opt.onnx", "runtime": "onnxruntime", …}}
//! worker  {"optimized": {"id": 3}}      or      {"failed": {"id": 3, …}}
//! ```

use crate::latency::{Measurement, Protocol};
use crate::runtime::{RuntimeKind, SessionOptions};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Version of these messages; client and worker must have the same.
pub(super) const PROTOCOL_VERSION: u32 = 1;

/// From the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Get the runtime ready, without a model.
    Check(CheckRequest),
    /// Measure a model.
    Measure(MeasureRequest),
    /// Write what the runtime makes of a model.
    Optimize(OptimizeRequest),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckRequest {
    /// Repeated in every reply.
    pub id: u64,
    pub runtime: RuntimeKind,
    pub library: Option<PathBuf>,
    pub session: SessionOptions,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MeasureRequest {
    /// Repeated in every reply.
    pub id: u64,
    /// The ONNX file, absolute.
    pub model: PathBuf,
    /// Name of the hardware profile.
    pub device: String,
    pub runtime: RuntimeKind,
    pub library: Option<PathBuf>,
    pub session: SessionOptions,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptimizeRequest {
    /// Repeated in every reply.
    pub id: u64,
    /// The ONNX file, absolute.
    pub model: PathBuf,
    /// The file to write, absolute.
    pub output: PathBuf,
    pub runtime: RuntimeKind,
    pub library: Option<PathBuf>,
    pub session: SessionOptions,
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The first line.
    Hello { protocol: u32, tegu: String },
    /// What it does now.
    Stage { id: u64, stage: Stage },
    /// The runtime and its provider are there.
    Ready { id: u64 },
    /// The file is there.
    Optimized { id: u64 },
    /// The result.
    Measured { id: u64, measurement: Box<Measurement> },
    /// No result.
    Failed { id: u64, kind: FailureKind, reason: String },
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
            Self::Load => "loading the model",
            Self::Run => "running the model",
        })
    }
}
