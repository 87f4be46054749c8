//! What a graph costs: multiply-accumulates, parameters, activation memory; and how large it is.
//!
//! MACs are those of convolutions, fully connected layers and the two products of an attention (of queries with keys, of weights with
//! values; of keys with values, of queries with that); additions of biases, normalisation, pooling, softmax and activations are not counted (the convention of NAS-Bench-Macro's `flops`; NAS-Bench-201's adds one
//! for each bias of the classifier). Parameters are the trained ones.

use super::{Attention, AttentionKind, Conv2d, Graph, NodeId, Op, Role};
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

    /// Number of convolutions.
    pub fn conv_layers(&self) -> usize {
        self.convolutions().count()
    }

    /// Number of weights of all convolutions, their biases not counted.
    pub fn conv_weights(&self) -> u64 {
        let weights = |(id, _)| self.node_parameters(id)[0].dims.iter().product::<usize>() as u64;
        self.convolutions().map(weights).sum()
    }

    /// Mean channels of the convolutions' outputs; none where there are no convolutions.
    pub fn mean_width(&self) -> Option<f64> {
        let layers = self.conv_layers();
        let channels: usize = self.convolutions().map(|(_, conv)| conv.out_channels).sum();
        (layers > 0).then(|| channels as f64 / layers as f64)
    }

    /// Convolutions and linear layers on the path that has most of them, from the input to the output.
    pub fn depth(&self) -> usize {
        self.layers_on_path(usize::max, has_weights)
    }

    /// Convolutions and linear layers on the path that has fewest of them, from the input to the output.
    pub fn shortest_path(&self) -> usize {
        self.layers_on_path(usize::min, has_weights)
    }

    /// Convolutions, linear layers, attention and pooling on the path that has fewest of them, from the input to the output.
    pub fn identity_path(&self) -> usize {
        let mixes = |op: &Op| {
            let looks = matches!(op, Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool | Op::Attention(_));
            has_weights(op) || looks
        };
        self.layers_on_path(usize::min, mixes)
    }

    /// What models learn from besides decisions: logarithms of MACs and parameters, convolutions, the longest and the shortest path.
    pub fn statistics(&self) -> [f64; 5] {
        let Cost { macs, params, .. } = self.cost();
        let layers = [self.conv_layers(), self.depth(), self.shortest_path()].map(|count| count as f64);
        [(macs as f64).ln_1p(), (params as f64).ln_1p(), layers[0], layers[1], layers[2]]
    }

    fn layers_on_path(&self, choose: fn(usize, usize) -> usize, counts: fn(&Op) -> bool) -> usize {
        let mut layers: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let before = node.inputs.iter().map(|input| layers[input.0]).reduce(choose).unwrap_or(0);
            layers.push(before + usize::from(counts(&node.op)));
        }
        layers[self.output.0]
    }

    fn convolutions(&self) -> impl Iterator<Item = (NodeId, Conv2d)> {
        self.ids().filter_map(|id| match self.node(id).op {
            Op::Conv2d(conv) => Some((id, conv)),
            _ => None,
        })
    }

    fn macs(&self) -> u64 {
        let of_node = |id| {
            let node = self.node(id);
            match node.op {
                Op::Conv2d(_) | Op::Linear { .. } => {
                    let weight = &self.node_parameters(id)[0];
                    (weight.dims.iter().product::<usize>() * node.shape.pixels()) as u64
                }
                Op::Attention(attention) => self.attention_macs(node.inputs.as_slice(), attention),
                _ => 0,
            }
        };
        self.ids().map(of_node).sum()
    }

    /// Of the two products of an attention with these operands.
    pub(crate) fn attention_macs(&self, operands: &[NodeId], attention: Attention) -> u64 {
        let [q, k, v] = [0, 1, 2].map(|at| self.node(operands[at]).shape);
        let macs = match attention.kind {
            AttentionKind::Softmax => q.pixels() * k.pixels() * (q.channels() + v.channels()),
            AttentionKind::Linear => (q.pixels() + k.pixels()) * q.channels() * v.channels() / attention.heads,
        };
        macs as u64
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

fn has_weights(op: &Op) -> bool {
    matches!(op, Op::Conv2d(_) | Op::Linear { .. })
}

#[cfg(test)]
mod tests {
    use super::super::{Graph, GraphBuilder, Op, Shape, Window};
    use super::*;

    /// Two branches of one and two convolutions, the second depthwise, and a classifier.
    fn branches() -> Graph {
        let mut graph = GraphBuilder::new(Shape::map(2, 4, 4));
        let conv = |out_channels, kernel, groups| {
            Op::Conv2d(Conv2d { out_channels, window: Window::same(kernel, 1), groups, bias: true })
        };
        let short = graph.push("short", conv(6, 1, 1), &[graph.input()]).unwrap();
        let long = graph.push("long", conv(6, 3, 2), &[graph.input()]).unwrap();
        let long = graph.push("long2", conv(6, 5, 6), &[long]).unwrap();
        let sum = graph.push("sum", Op::Add, &[short, long]).unwrap();
        let wide = graph.push("wide", conv(10, 1, 1), &[sum]).unwrap();
        let pooled = graph.push("pool", Op::GlobalAvgPool, &[wide]).unwrap();
        let output = graph.push("linear", Op::Linear { out_features: 3, bias: false }, &[pooled]).unwrap();
        graph.finish(output)
    }

    #[test]
    fn sizes_are_those_counted_by_hand() {
        let graph = branches();
        assert_eq!(graph.conv_layers(), 4);
        assert_eq!(graph.conv_weights(), 6 * 2 + 6 * 9 + 6 * 25 + 10 * 6);
        assert_eq!(graph.mean_width(), Some((6 + 6 + 6 + 10) as f64 / 4.0));
        assert_eq!((graph.depth(), graph.shortest_path(), graph.identity_path()), (4, 3, 4));
        let input = GraphBuilder::new(Shape::map(1, 1, 1));
        let (at, empty) = (input.input(), input);
        let empty = empty.finish(at);
        assert_eq!((empty.depth(), empty.identity_path(), empty.mean_width()), (0, 0, None));
    }
}
