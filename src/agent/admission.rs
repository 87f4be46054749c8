//! What an agent takes: jobs and models of strangers, checked before anything else looks at them.

use crate::device::Limits;
use crate::device::remote::message::MeasureWork;
use crate::genotype::hex;
use crate::latency::Protocol;
use crate::onnx;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Most processes, loads and streams that a job may ask for.
const MOST_AT_ONCE: usize = 64;
/// Operator sets that runtimes have themselves; those of others would have to be loaded from somewhere.
const DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Limits of what an agent takes; those of time and memory are its profile's.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// Largest model, in MiB.
    pub model_mib: f64,
    /// Most nodes of a model, those of inner graphs included.
    pub nodes: usize,
}

impl Default for Admission {
    fn default() -> Self {
        Self { model_mib: 256.0, nodes: 20_000 }
    }
}

impl Admission {
    /// Bytes of the largest model.
    pub(super) fn most_bytes(&self) -> u64 {
        (self.model_mib * f64::from(1 << 20)) as u64
    }

    /// Whether a job is within the limits.
    pub(super) fn work(&self, work: &MeasureWork, limits: &Limits) -> Result<(), String> {
        let digest = &work.model_sha256;
        if digest.len() != 64 || !digest.chars().all(|c| c.is_ascii_hexdigit() && !c.is_ascii_uppercase()) {
            return Err(format!("model_sha256: `{digest:.80}`, expected 64 hexadecimal digits"));
        }
        within(&work.protocol, limits.time_s)?;
        let counts = [
            ("processes", work.protocol.processes),
            ("loads", work.protocol.loads),
            ("streams", work.protocol.streams),
        ];
        if let Some((field, count)) = counts.into_iter().find(|(_, count)| *count > MOST_AT_ONCE) {
            return Err(format!("protocol.{field}: {count}, this agent takes {MOST_AT_ONCE} at most"));
        }
        Ok(())
    }

    /// Whether a model of so many bytes is within the limits.
    pub(super) fn size(&self, bytes: u64) -> Result<(), String> {
        let mib = bytes as f64 / f64::from(1 << 20);
        if bytes > self.most_bytes() {
            return Err(format!("the model has {mib:.1} MiB, this agent takes {} MiB at most", self.model_mib));
        }
        Ok(())
    }

    /// Writes a model to `path`, if it is what its digest says, an ONNX model that needs no other file, and within the limits.
    pub(super) fn model(&self, bytes: &[u8], digest: &str, path: &Path) -> Result<(), String> {
        self.size(bytes.len() as u64)?;
        let found = hex(&Sha256::digest(bytes));
        if found != digest {
            return Err(format!("the model that is stored as {digest} is {found}"));
        }
        self.contents(bytes)?;
        // It is there for the next moments only: no need to have it on the disk to its last byte.
        std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn contents(&self, bytes: &[u8]) -> Result<(), String> {
        let model = onnx::decode_bytes(bytes, Path::new("model")).map_err(|error| error.to_string())?;
        let graph = model.graph.as_ref().ok_or("the model has no graph")?;
        if let Some(name) = onnx::external_data(graph) {
            return Err(format!("tensor `{name:.80}` is in another file, which this agent does not read"));
        }
        let nodes = onnx::operator_nodes(graph);
        if nodes.len() > self.nodes {
            return Err(format!("the model has {} nodes, this agent takes {} at most", nodes.len(), self.nodes));
        }
        match nodes.iter().find(|node| !DOMAINS.contains(&node.domain.as_str())) {
            Some(node) => Err(format!("operator `{:.80}` of domain `{:.80}`", node.op_type, node.domain)),
            None => Ok(()),
        }
    }
}

/// Whether `protocol` asks for no more than a measurement may take.
fn within(protocol: &Protocol, limit_s: f64) -> Result<(), String> {
    protocol.check().map_err(|error| error.to_string())?;
    let asked = [
        ("warm_up_s", protocol.warm_up_s),
        ("budget_s", protocol.budget_s),
        ("min_round_s", protocol.min_round_s),
        ("sustained_s", protocol.sustained_s),
        ("streams_s", if protocol.streams > 1 { protocol.streams_s } else { 0.0 }),
    ];
    match asked.into_iter().find(|(_, seconds)| !(0.0..=limit_s).contains(seconds)) {
        Some((field, seconds)) => {
            Err(format!("protocol.{field}: {seconds}, this agent's `limits.time_s` is {limit_s}"))
        }
        None => Ok(()),
    }
}
