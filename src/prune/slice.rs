//! The smaller graph, and the parts of the weights that are its.

use super::groups::{Groups, Layer};
use crate::graph::{Conv2d, Graph, GraphBuilder, GraphError, NodeId, Op};
use crate::network::{Weights, WeightsError};
use candle_core::Tensor;
use std::collections::{BTreeMap, HashMap};

/// Sums that are no more, each with the operand in its place.
pub(super) type Removed = BTreeMap<NodeId, NodeId>;

/// The node whose result is taken where a node's was.
fn in_place_of(removed: &Removed, mut id: NodeId) -> NodeId {
    while let Some(&shortcut) = removed.get(&id) {
        id = shortcut;
    }
    id
}

/// For each node whether the output needs it.
pub(super) fn needed(graph: &Graph, removed: &Removed) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    needed[0] = true;
    needed[in_place_of(removed, graph.output()).index()] = true;
    for id in graph.ids().rev().filter(|id| id.index() > 0) {
        if needed[id.index()] {
            graph.node(id).inputs.iter().for_each(|&input| needed[in_place_of(removed, input).index()] = true);
        }
    }
    needed
}

/// The graph without what needs `removed` sums, its layers as wide as `width` says of each node's result.
pub(super) fn graph(graph: &Graph, removed: &Removed, width: impl Fn(NodeId) -> usize) -> Result<Graph, GraphError> {
    let needed = needed(graph, removed);
    let mut builder = GraphBuilder::new(graph.input_shape());
    let mut places: Vec<Option<NodeId>> = vec![None; needed.len()];
    places[0] = Some(builder.input());
    for id in graph.ids().skip(1).filter(|id| needed[id.index()]) {
        let node = graph.node(id);
        let place =
            |input: &NodeId| places[in_place_of(removed, *input).index()].expect("what is needed stands before");
        let inputs: Vec<NodeId> = node.inputs.iter().map(place).collect();
        let channels = width(id);
        let op = match (node.op, Layer::of(graph, node)) {
            (Op::Zero, _) => {
                places[id.index()] = Some(builder.zeros(node.name.clone(), node.shape.with_channels(channels))?);
                continue;
            }
            (Op::Conv2d(conv), Some(Layer::DepthWise)) => {
                Op::Conv2d(Conv2d { out_channels: channels, groups: channels, ..conv })
            }
            (Op::Conv2d(conv), _) => Op::Conv2d(Conv2d { out_channels: channels, ..conv }),
            (Op::Linear { bias, .. }, _) => Op::Linear { out_features: channels, bias },
            (op, _) => op,
        };
        places[id.index()] = Some(builder.push(node.name.clone(), op, &inputs)?);
    }
    let output = places[in_place_of(removed, graph.output()).index()].expect("the output is needed");
    Ok(builder.finish(output))
}

/// What is left of `weights` for the `smaller` graph, whose nodes have the names of `graph`'s; `kept` are for each group whether each of its
/// channels stays.
pub(super) fn weights(
    graph: &Graph,
    groups: &Groups,
    kept: &[Vec<bool>],
    smaller: &Graph,
    weights: &Weights,
) -> Result<Weights, WeightsError> {
    // Indices of the channels of a node's result that stay; none where all do.
    let left = |id: NodeId| -> Option<Vec<u32>> {
        let slots = groups.slots(id);
        let stays = |at: &u32| slots[*at as usize].is_none_or(|slot| kept[slot.group][slot.channel]);
        let left: Vec<u32> = (0..slots.len() as u32).filter(stays).collect();
        (left.len() < slots.len()).then_some(left)
    };
    let cut = |tensor: &Tensor, dim: usize, left: &Option<Vec<u32>>| match left {
        Some(left) => tensor.index_select(&Tensor::new(left.as_slice(), tensor.device())?, dim),
        None => Ok(tensor.clone()),
    };
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    let by_name: HashMap<&str, NodeId> = graph.ids().map(|id| (graph.node(id).name.as_str(), id)).collect();
    for node in smaller.nodes() {
        let id = by_name[node.name.as_str()];
        let node = graph.node(id);
        let rows = left(id);
        let is_dense = Layer::of(graph, node) == Some(Layer::Dense);
        let columns = if is_dense { left(node.inputs[0]) } else { None };
        for parameter in graph.node_parameters(id) {
            let mut tensor = cut(weights.get(&parameter.name)?, 0, &rows)?;
            if parameter.dims.len() > 1 {
                tensor = cut(&tensor, 1, &columns)?;
            }
            tensors.insert(parameter.name, tensor);
        }
    }
    Weights::from_tensors(smaller, tensors)
}
