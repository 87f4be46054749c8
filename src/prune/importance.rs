//! How important each channel of a group is: the ones that are kept come first.

use super::groups::{Groups, Layer};
use crate::graph::{Graph, Node, NodeId, Op, Role};
use crate::network::{Gradients, Weights, WeightsError};
use std::collections::HashMap;

/// What a channel's importance is, summed over the layers that make it.
#[derive(Clone, Copy, Debug)]
pub enum Importance<'a> {
    /// Σ|w| of its filter (Li et al. 2017, "Pruning Filters for Efficient ConvNets"), times |γ| of the batch normalisation that reads the layer
    /// (Liu et al. 2017, "Network Slimming").
    L1,
    /// √Σw² of its filter, times |γ| likewise.
    L2,
    /// |Σ w·g| of all that is trained of it, with the gradients g of a loss by parameter name (Molchanov et al. 2019, Section 3.1): what the loss
    /// would change by, to first order. Of normalisations as well: a filter in front of one has no w·g, whatever its scale.
    Taylor(&'a Gradients),
}

/// The importance of each group's channels.
///
/// # Errors
/// If a weight or its gradient is missing.
pub fn importance(
    graph: &Graph,
    groups: &Groups,
    weights: &Weights,
    by: Importance<'_>,
) -> Result<Vec<Vec<f64>>, WeightsError> {
    let mut scores: Vec<Vec<f64>> = groups.all().iter().map(|group| vec![0.0; group.channels]).collect();
    let norms: HashMap<NodeId, &Node> = {
        let norms = graph.nodes().iter().rev().filter(|node| node.op == Op::BatchNorm);
        norms.map(|node| (node.inputs[0], node)).collect()
    };
    for id in graph.ids() {
        let slots = groups.slots(id);
        if slots.iter().all(Option::is_none) {
            continue;
        }
        let of_node = match by {
            Importance::Taylor(gradients) => Some(taylor(graph, id, weights, gradients)?),
            Importance::L1 | Importance::L2 => Layer::of(graph, graph.node(id))
                .map(|_| magnitudes(graph.node(id), norms.get(&id), weights, by))
                .transpose()?,
        };
        for (slot, score) in slots.iter().zip(of_node.into_iter().flatten()) {
            if let Some(slot) = slot {
                scores[slot.group][slot.channel] += score;
            }
        }
    }
    Ok(scores)
}

/// The indices of `scores` from the largest to the smallest; of equal ones, the first stays first.
pub fn order(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&left, &right| scores[right].total_cmp(&scores[left]));
    order
}

/// Norms of a layer's filters.
fn magnitudes(
    layer: &Node,
    norm: Option<&&Node>,
    weights: &Weights,
    by: Importance<'_>,
) -> Result<Vec<f64>, WeightsError> {
    let of_filter = |filter: &[f64]| match by {
        Importance::L1 => filter.iter().map(|value| value.abs()).sum::<f64>(),
        _ => filter.iter().map(|value| value * value).sum::<f64>().sqrt(),
    };
    let filters = values(weights.get(&format!("{}.weight", layer.name))?)?;
    let mut scores: Vec<f64> = filters.chunks(filters.len() / layer.shape.channels()).map(of_filter).collect();
    if let Some(norm) = norm {
        let scales = values(weights.get(&format!("{}.weight", norm.name))?)?;
        scores.iter_mut().zip(scales).for_each(|(score, scale)| *score *= scale.abs());
    }
    Ok(scores)
}

/// |Σ w·g| of all that a node has of each of its channels; of a node without parameters, zeros.
fn taylor(graph: &Graph, id: NodeId, weights: &Weights, gradients: &Gradients) -> Result<Vec<f64>, WeightsError> {
    let channels = graph.node(id).shape.channels();
    let mut sums = vec![0.0; channels];
    for parameter in graph.node_parameters(id) {
        if matches!(parameter.role, Role::RunningMean | Role::RunningVariance) {
            continue;
        }
        let gradient = gradients.get(&parameter.name);
        let gradient = gradient.ok_or_else(|| WeightsError::Missing(format!("gradient of {}", parameter.name)))?;
        let [weights, gradient] = [values(weights.get(&parameter.name)?)?, values(gradient)?];
        let count = weights.len() / channels;
        for (channel, sum) in sums.iter_mut().enumerate() {
            let part = channel * count..(channel + 1) * count;
            *sum += weights[part.clone()]
                .iter()
                .zip(&gradient[part])
                .map(|(weight, gradient)| weight * gradient)
                .sum::<f64>();
        }
    }
    Ok(sums.into_iter().map(f64::abs).collect())
}

fn values(tensor: &candle_core::Tensor) -> Result<Vec<f64>, WeightsError> {
    Ok(tensor.flatten_all()?.to_dtype(candle_core::DType::F64)?.to_vec1()?)
}
