//! Gradients of a batch's cross-entropy, which several indicators look at.

use crate::graph::{Graph, NodeId, Role};
use crate::network::{Mode, Weights, WeightsError, activations_with};
use candle_core::{DType, Tensor, Var};
use std::collections::BTreeMap;

/// What the loss says of a convolution or a fully connected layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The layer.
    pub node: NodeId,
    /// Its weight's values.
    pub weight: Vec<f32>,
    /// The loss's gradient with respect to them, in the same order.
    pub gradient: Vec<f32>,
    /// Its output `[batch, channels, …]` and the loss's gradient with respect to that, where they were kept.
    pub output: Option<[Tensor; 2]>,
}

/// The gradients of a loss, layer by layer in the order of the graph.
#[derive(Clone, Debug)]
pub struct LossGradients {
    /// The mean cross-entropy.
    pub loss: f64,
    /// All layers with a weight; batch normalisation has none in this sense.
    pub layers: Vec<Layer>,
}

/// The gradients of the mean cross-entropy between `labels` and the network's outputs on `images`
/// `[batch, channels, height, width]`, through the batch's statistics; those with respect to the layers' outputs too
/// if they are to be kept.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn loss_gradients(
    graph: &Graph,
    weights: &Weights,
    images: &Tensor,
    labels: &[usize],
    keep_outputs: bool,
) -> Result<LossGradients, WeightsError> {
    let weights = weights.tracked()?;
    let layers = layers(graph);
    // Candle keeps the gradients of variables alone, so a variable of zeros is added to each output.
    let mut taps = BTreeMap::new();
    let all = activations_with(graph, &weights, images, Mode::Train, |id, result| match layers.contains_key(&id) {
        true if keep_outputs => {
            let tap = Var::zeros(result.shape(), result.dtype(), result.device())?;
            let tapped = result.add(&tap)?;
            taps.insert(id, tap);
            Ok(tapped)
        }
        _ => Ok(result),
    })?;
    let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
    let labels = Tensor::new(labels, images.device())?;
    let loss = candle_nn::loss::cross_entropy(all.of(graph.output()), &labels)?;
    let gradients = loss.backward()?;
    let layer = |(node, name): (NodeId, String)| -> Result<Layer, WeightsError> {
        let weight = weights.get(&name)?;
        // What the loss does not depend on has no gradient in Candle, and 0 in truth.
        let of = |tensor: &Tensor| gradients.get(tensor).map_or_else(|| tensor.zeros_like(), |known| Ok(known.clone()));
        let output = taps.get(&node).map(|tap| Ok::<_, candle_core::Error>([all.of(node).detach(), of(tap)?]));
        Ok(Layer { node, weight: numbers(weight)?, gradient: numbers(&of(weight)?)?, output: output.transpose()? })
    };
    let layers = layers.into_iter().map(layer).collect::<Result<_, _>>()?;
    Ok(LossGradients { loss: f64::from(loss.to_scalar::<f32>()?), layers })
}

impl LossGradients {
    /// Σ over all weights of `f` of weight and gradient.
    pub fn sum(&self, f: impl Fn(f64, f64) -> f64) -> f64 {
        self.layers.iter().map(|layer| layer.sum(&f)).sum()
    }
}

impl Layer {
    /// Σ over the layer's weights of `f` of weight and gradient.
    pub fn sum(&self, f: impl Fn(f64, f64) -> f64) -> f64 {
        self.weight.iter().zip(&self.gradient).map(|(&w, &g)| f(w.into(), g.into())).sum()
    }
}

/// The layers with a weight (convolutions, fully connected ones), and the weight's name.
pub(super) fn layers(graph: &Graph) -> BTreeMap<NodeId, String> {
    let weight = |id: NodeId| {
        let parameter = graph.node_parameters(id).into_iter().find(|parameter| parameter.role == Role::Weight);
        parameter.map(|parameter| (id, parameter.name))
    };
    graph.ids().filter_map(weight).collect()
}

/// The numbers of a tensor, in its order.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f32>, candle_core::Error> {
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests;
