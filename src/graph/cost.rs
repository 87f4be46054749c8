//! What a graph costs: multiply-accumulates, parameters, activation memory.
//!
//! MACs are those of convolutions and fully connected layers; additions of biases, normalisation, pooling
//! and activations are not counted (the convention of NAS-Bench-Macro's `flops`; NAS-Bench-201's adds one
//! for each bias of the classifier). Parameters are the trained ones.

use super::{Graph, Op, Role};
use serde::{Deserialize, Serialize};

/// Costs of one sample's forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Trained parameters.
    pub params: u64,
    /// Most bytes of f32 activations alive at one time, running the nodes in order.
    pub peak_activation_bytes: u64,
}

impl Graph {
    /// Counts what one sample's forward pass costs.
    pub fn cost(&self) -> Cost {
        Cost { macs: self.macs(), params: self.trained(), peak_activation_bytes: self.peak_activation_bytes() }
    }

    fn macs(&self) -> u64 {
        let of_node = |id| {
            let node = self.node(id);
            match node.op {
                Op::Conv2d(_) | Op::Linear { .. } => {
                    let weight = &self.node_parameters(id)[0];
                    (weight.dims.iter().product::<usize>() * node.shape.pixels()) as u64
                }
                _ => 0,
            }
        };
        self.ids().map(of_node).sum()
    }

    fn trained(&self) -> u64 {
        let trained = |role| !matches!(role, Role::RunningMean | Role::RunningVariance);
        self.parameters().iter().filter(|p| trained(p.role)).map(|p| p.dims.iter().product::<usize>() as u64).sum()
    }

    fn peak_activation_bytes(&self) -> u64 {
        let mut last_use = vec![0; self.nodes.len()];
        for id in self.ids() {
            self.node(id).inputs.iter().for_each(|i| last_use[i.0] = id.0);
        }
        last_use[self.output.0] = self.nodes.len();
        let (mut alive, mut peak) = (0, 0);
        for id in self.ids() {
            alive += self.node(id).shape.elements();
            peak = peak.max(alive);
            let mut done: Vec<_> = self.node(id).inputs.iter().filter(|i| last_use[i.0] == id.0).collect();
            done.sort_unstable();
            done.dedup();
            alive -= done.iter().map(|&&i| self.node(i).shape.elements()).sum::<usize>();
            if last_use[id.0] == 0 {
                alive -= self.node(id).shape.elements();
            }
        }
        (peak * size_of::<f32>()) as u64
    }
}
