//! The operators of our own graph, counted after value numbering: what a runtime that does not show its own graph is
//! expected to make of it. Take the [live](crate::graph::Graph::live) graph: its equal parameterless operators are merged.
//!
//! A convolution takes in the zeros before it, where nothing else reads them, the batch normalisation behind it, where nothing
//! else reads the convolution, and then the activation; a sum of n operands is n − 1 sums of two, as it is exported.

use super::operator::{OpCost, Operator, dims_text};
use crate::graph::{Attention, Graph, GraphBuilder, GraphError, Margins, NodeId, Op, Shape};

/// An operator of the graph with the nodes that it is made of, the first one first.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub operator: Operator,
    nodes: Vec<NodeId>,
}

/// The operators of `graph`, in runs of `batch` samples.
pub fn counted_operators(graph: &Graph, batch: usize) -> Vec<Operator> {
    groups(graph, batch).into_iter().map(|group| group.operator).collect()
}

/// As [`counted_operators`], with the nodes.
pub(super) fn groups(graph: &Graph, batch: usize) -> Vec<Group> {
    let mut users: Vec<Vec<NodeId>> = vec![vec![]; graph.nodes().len()];
    for id in graph.ids() {
        graph.node(id).inputs.iter().for_each(|input| users[input.index()].push(id));
    }
    let mut taken = vec![false; graph.nodes().len()];
    let mut groups = vec![];
    for id in graph.ids() {
        if taken[id.index()] || graph.node(id).op == Op::Input {
            continue;
        }
        let mut nodes = vec![id];
        nodes.extend(graph.padded_convolution(id));
        let layer = nodes[nodes.len() - 1];
        if matches!(graph.node(layer).op, Op::Conv2d(_)) {
            let next = |at: NodeId| match users[at.index()][..] {
                [user] if at != graph.output() => Some(user),
                _ => None,
            };
            nodes.extend(next(layer).filter(|&next| graph.node(next).op == Op::BatchNorm));
            let last = nodes[nodes.len() - 1];
            nodes.extend(next(last).filter(|&next| matches!(graph.node(next).op, Op::Activation(_))));
        }
        nodes.iter().for_each(|node| taken[node.index()] = true);
        let sums = if graph.node(id).op == Op::Add { graph.node(id).inputs.len() - 1 } else { 1 };
        let group = Group { operator: operator(graph, &nodes, batch), nodes };
        groups.extend(std::iter::repeat_n(group, sums));
    }
    groups
}

/// `repeats` of the operator one behind the other, as a network; none where its result is not of its operands' shape
/// and there are to be several.
pub(super) fn chain(graph: &Graph, group: &Group, repeats: usize) -> Result<Option<Graph>, GraphError> {
    let first = graph.node(group.nodes[0]);
    let operand = graph.node(first.inputs[0]).shape;
    let result = graph.node(group.nodes[group.nodes.len() - 1]).shape;
    if matches!(first.op, Op::Concat) || (repeats > 1 && operand != result) {
        return Ok(None);
    }
    let mut builder = GraphBuilder::new(operand);
    let mut at = builder.input();
    for repeat in 0..repeats {
        let mut inputs = match first.op {
            // A sum of a value with itself would be folded: the other operand is the network's input.
            Op::Add => vec![at, builder.input()],
            Op::Mul => return Ok(None),
            // A map that looks at itself.
            Op::Attention(_) if first.inputs.iter().any(|&input| graph.node(input).shape != operand) => {
                return Ok(None);
            }
            Op::Attention(_) => vec![at; 3],
            _ => vec![at],
        };
        for node in &group.nodes {
            let node = graph.node(*node);
            at = builder.push(format!("{}.{repeat}", node.name), node.op, &inputs)?;
            inputs = vec![at];
        }
    }
    Ok(Some(builder.finish(at)))
}

fn operator(graph: &Graph, nodes: &[NodeId], batch: usize) -> Operator {
    let first = graph.node(nodes[0]);
    let result = graph.node(nodes[nodes.len() - 1]).shape;
    let operands: Vec<Shape> = first.inputs.iter().map(|input| graph.node(*input).shape).collect();
    let operands = if first.op == Op::Add { &operands[..2.min(operands.len())] } else { &operands[..] };
    let name = nodes.iter().map(|node| op_text(&graph.node(*node).op)).collect::<Vec<_>>().join("+");
    let shapes: Vec<String> = operands.iter().map(|shape| shape_text(shape, batch)).collect();
    let key = format!("{name} {} -> {} float", shapes.join(", "), shape_text(&result, batch));
    let of_layer = nodes.iter().find_map(|&node| graph.node_parameters(node).into_iter().next());
    let weights: usize = of_layer.map_or(0, |weight| weight.dims.iter().product());
    let samples = batch as f64;
    let (mut macs, mut grouped_macs) = (0.0, 0.0);
    let all = samples * (weights * result.pixels()) as f64;
    for node in nodes {
        match graph.node(*node).op {
            Op::Conv2d(conv) if conv.groups > 1 => grouped_macs = all,
            Op::Conv2d(_) | Op::Linear { .. } => macs = all,
            Op::Attention(attention) => {
                macs = samples * graph.attention_macs(&graph.node(*node).inputs, attention) as f64
            }
            _ => {}
        }
    }
    let moved: usize = operands.iter().map(Shape::elements).sum::<usize>() + result.elements();
    let elements = samples * moved as f64 + weights as f64;
    Operator { key, cost: OpCost { macs, grouped_macs, elements } }
}

fn shape_text(shape: &Shape, batch: usize) -> String {
    dims_text(&[&[batch], shape.dims().as_slice()].concat())
}

fn op_text(op: &Op) -> String {
    match op {
        Op::Conv2d(conv) => {
            let bias = if conv.bias { ", bias" } else { "" };
            format!("conv({}, groups={}{bias})", conv.window, conv.groups)
        }
        Op::MaxPool(of) => format!("max_pool({of})"),
        Op::AvgPool(of) => format!("avg_pool({of})"),
        Op::Activation(activation) => format!("{activation:?}").to_lowercase(),
        Op::BatchNorm => "batch_norm".to_owned(),
        Op::LayerNorm => "layer_norm".to_owned(),
        Op::PositionEmbedding => "position_embedding".to_owned(),
        Op::Attention(Attention { heads, kind }) => {
            format!("{}_attention(heads={heads})", format!("{kind:?}").to_lowercase())
        }
        Op::GlobalAvgPool => "global_avg_pool".to_owned(),
        Op::Linear { bias, .. } => if *bias { "linear(bias)" } else { "linear" }.to_owned(),
        Op::Pad(Margins { before, after }) => format!("pad(before={before:?}, after={after:?})"),
        Op::Input | Op::Add | Op::Mul | Op::Concat | Op::Softmax | Op::Dropout { .. } | Op::Zero | Op::Identity => {
            format!("{op:?}").split(' ').next().unwrap_or_default().to_lowercase()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Conv2d, Side, Window};
    use crate::space::{Scale, SearchSpace};

    fn live(space: &str, arch: &str) -> Graph {
        let space = SearchSpace::open(space).unwrap();
        space.lower(&space.parse_arch(arch).unwrap(), Scale::Full).unwrap().live().unwrap()
    }

    #[test]
    fn operators_are_fused_and_sums_are_of_two() {
        let graph = live("mobilenet-macro", "10000000");
        let keys: Vec<String> = counted_operators(&graph, 1).into_iter().map(|operator| operator.key).collect();
        let conv = |kernel: usize, stride: usize, groups: usize| {
            format!("conv(kernel={kernel}, stride={stride}, padding={}, dilation=1, groups={groups})", kernel / 2)
        };
        assert_eq!(keys[0], format!("{}+batch_norm+relu 1x3x32x32 -> 1x32x32x32 float", conv(3, 1, 1)));
        assert_eq!(keys[2], format!("{}+batch_norm+relu 1x96x32x32 -> 1x96x16x16 float", conv(3, 2, 96)));
        assert_eq!(keys[3], format!("{}+batch_norm 1x96x16x16 -> 1x64x16x16 float", conv(1, 1, 1)));
        assert_eq!(keys[keys.len() - 1], "linear(bias) 1x1280 -> 1x10 float");
        let total: f64 = counted_operators(&graph, 1).iter().map(|o| o.cost.macs + o.cost.grouped_macs).sum();
        assert_eq!(total as u64, graph.cost().macs);
        let graph = live(
            "nas-bench-201",
            "|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|nor_conv_1x1~0|skip_connect~1|avg_pool_3x3~2|",
        );
        let sums = counted_operators(&graph, 2).into_iter().filter(|o| o.key.starts_with("add 2x16x32x32, 2x16x32x32"));
        // Two sums of two and one of three, in each of five cells.
        assert_eq!(sums.count(), 5 * 3);
    }

    #[test]
    fn attention_is_an_operator_with_both_products() {
        let layers = "softmax,3,4-linear,2,2-softmax,2,2-softmax,2,2-softmax,2,2-softmax,2,2";
        let graph = live("vit", &format!("3/1,patches_16/6:{layers}"));
        let operators = counted_operators(&graph, 1);
        let of = |kind: &str| operators.iter().find(|operator| operator.key.starts_with(kind)).unwrap();
        let softmax = of("softmax_attention");
        let map = |channels: usize| format!("1x{channels}x14x14");
        assert_eq!(softmax.key, format!("softmax_attention(heads=3) {0}, {0}, {0} -> {0} float", map(192)));
        assert_eq!(softmax.cost.macs, (2 * 196 * 196 * 192) as f64);
        assert_eq!(of("linear_attention(heads=2)").cost.macs, (2 * 196 * 2 * 64 * 64) as f64);
        let total: f64 = operators.iter().map(|operator| operator.cost.macs + operator.cost.grouped_macs).sum();
        assert_eq!(total as u64, graph.cost().macs);
        let groups = groups(&graph, 1);
        let at = operators.iter().position(|operator| operator.key == softmax.key).unwrap();
        assert_eq!(counted_operators(&chain(&graph, &groups[at], 2).unwrap().unwrap(), 1).len(), 2);
    }

    #[test]
    fn an_operator_can_stand_alone_and_in_a_chain() {
        let graph = live("mobilenet-macro", "10000000");
        let groups = groups(&graph, 1);
        let lengths = |at: usize, repeats: usize| {
            chain(&graph, &groups[at], repeats).unwrap().map(|chain| counted_operators(&chain, 1).len())
        };
        assert_eq!((lengths(2, 1), lengths(2, 3)), (Some(1), None));
        assert_eq!(lengths(groups.len() - 1, 1), Some(1));
        let one = chain(&graph, &groups[2], 1).unwrap().unwrap();
        assert_eq!(counted_operators(&one, 1)[0].key, groups[2].operator.key);
    }

    #[test]
    fn zeros_belong_to_the_convolution_that_alone_reads_them() {
        let mut builder = GraphBuilder::new(Shape::map(4, 1, 9));
        let margins = Margins::new([0, 2], [0, 0]);
        let padded = builder.push("zeros", Op::Pad(margins), &[builder.input()]).unwrap();
        let window = Window { rows: Side::same(1, 1), columns: Side { padding: 0, ..Side::same(3, 1) } };
        let conv = Op::Conv2d(Conv2d { out_channels: 4, window, groups: 2, bias: false });
        let conv = builder.push("conv", conv, &[padded]).unwrap();
        let graph = builder.finish(conv);
        let groups = groups(&graph, 1);
        assert_eq!(groups.len(), 1);
        let Operator { key, cost } = &groups[0].operator;
        let expected = "pad(before=[0, 2], after=[0, 0])+conv(kernel=1x3, stride=1, padding=0, dilation=1, groups=2)";
        assert_eq!(*key, format!("{expected} 1x4x1x9 -> 1x4x1x9 float"));
        assert_eq!((cost.macs, cost.grouped_macs as u64), (0.0, graph.cost().macs));
        assert_eq!(chain(&graph, &groups[0], 2).unwrap().unwrap().nodes().len(), 5);
    }
}
