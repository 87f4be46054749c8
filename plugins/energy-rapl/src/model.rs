//! A model of energy: multiply-accumulates, and bytes that move, times what each takes.
//!
//! Energies are those of M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, Figure 1.1.9 (45 nm, 0.9 V):
//! 32-bit floating-point multiplication 3.7 pJ and addition 0.9 pJ; 64 bits from a cache of 1 MB 100 pJ, from DRAM 1.3 to 2.6 nJ. Each weight comes
//! once from DRAM; each operand and each result of an operator goes through the cache, normalisation and activations being done on the way. What
//! instructions, leakage and an idle machine take is not in it: the figures order networks, they are not those of a power meter.

use crate::conversation::Failure;
use crate::{Candidate, Energy};
use serde::Deserialize;
use serde_json::Value;
use tegu::onnx;
use tegu::runtime::{self, SessionOptions};

/// pJ of a 32-bit multiply-accumulate.
const MAC_PJ: f64 = 3.7 + 0.9;
/// pJ of a byte through the cache.
const CACHE_PJ: f64 = 100.0 / 8.0;
/// pJ of a byte from DRAM, at least and at most.
const DRAM_PJ: [f64; 2] = [1300.0 / 8.0, 2600.0 / 8.0];
/// Bytes of a number.
const NUMBER: f64 = 4.0;
/// mJ of a pJ.
const MILLIJOULES: f64 = 1e-9;

/// Operators that read and write no map of their own: they are done where a map is made.
const FUSED: [&str; 6] = ["input", "batch_norm", "activation", "dropout", "identity", "zero"];

/// A candidate's graph, as far as it concerns this model.
#[derive(Deserialize)]
pub struct Graph {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    /// A name, or a map of a name to its details.
    op: Value,
    inputs: Vec<usize>,
    shape: Vec<u64>,
}

/// Energy of one run on one sample, in mJ: in the middle of what DRAM may take.
pub fn energy(candidate: &Candidate) -> Result<Energy, Failure> {
    let refused = |error: &dyn std::error::Error| Failure::Candidate(error.to_string());
    let options = SessionOptions { batch: Some(1), ..SessionOptions::default() };
    let macs = runtime::macs(&candidate.onnx, &options).map_err(|error| refused(&error))?;
    let weights = onnx::inspect(&candidate.onnx).map_err(|error| refused(&error))?.constants;
    Ok(of_counts(macs, weights, candidate.graph.moved()?))
}

fn of_counts(macs: u64, weights: u64, moved: u64) -> Energy {
    let fixed = macs as f64 * MAC_PJ + moved as f64 * NUMBER * CACHE_PJ;
    let [low, high] = DRAM_PJ.map(|dram| (fixed + weights as f64 * NUMBER * dram) * MILLIJOULES);
    Energy { value: (low + high) / 2.0, low, high }
}

impl Graph {
    /// Numbers that operators read and write.
    fn moved(&self) -> Result<u64, Failure> {
        let elements = |node: &Node| node.shape.iter().product::<u64>();
        let mut moved = 0;
        for node in self.nodes.iter().filter(|node| !FUSED.contains(&node.name())) {
            for &input in &node.inputs {
                let operand = self.nodes.get(input);
                moved += elements(operand.ok_or_else(|| Failure::Params(format!("graph: no node {input}")))?);
            }
            moved += elements(node);
        }
        Ok(moved)
    }
}

impl Node {
    fn name(&self) -> &str {
        let of_map = || self.op.as_object().and_then(|map| map.keys().next());
        self.op.as_str().or_else(|| of_map().map(String::as_str)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_what_operators_read_and_write() {
        let graph: Graph = serde_json::from_value(serde_json::json!({"nodes": [
            {"name": "input", "op": "input", "inputs": [], "shape": [3, 8, 8]},
            {"name": "conv", "op": {"conv2d": {"out_channels": 4}}, "inputs": [0], "shape": [4, 8, 8]},
            {"name": "norm", "op": "batch_norm", "inputs": [1], "shape": [4, 8, 8]},
            {"name": "sum", "op": "add", "inputs": [1, 2], "shape": [4, 8, 8]},
        ]}))
        .unwrap();
        assert_eq!(graph.moved().unwrap(), (3 + 4) * 64 + 3 * 4 * 64);
    }

    #[test]
    fn energies_are_the_published_ones() {
        // A million multiply-accumulates: 4.6 µJ. A thousand weights: 0.65 to 1.3 µJ. A thousand numbers through the cache: 0.05 µJ.
        let Energy { value, low, high } = of_counts(1_000_000, 1000, 1000);
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        close(low, 4.6e-3 + 0.65e-3 + 0.05e-3);
        close(high, 4.6e-3 + 1.3e-3 + 0.05e-3);
        close(value, (low + high) / 2.0);
    }
}
