//! A reverse pass for many cotangents at once.
//!
//! The samples of a batch are coupled through batch normalisation's statistics, so the gradient of one
//! sample's output runs through all samples: N cotangents on B samples are N·B maps. They are folded into the
//! batch dimension, and every step is one Candle operation for all of them: data gradients with N·B as the
//! batch, weight gradients of all cotangents as one matrix product with the shared unfolded input. On a CPU a few
//! cotangents at a time go from layer to layer, so that their maps are still in the cache in the next one.

use super::forward::{Activations, Mode, activations};
use super::{Weights, WeightsError};
use crate::graph::{Activation, BATCH_NORM_EPS, Graph, NodeId, Op, Role, Shape};
use crate::kernels;
use candle_core::{D, Tensor};

/// The gradients of one layer's weight under all cotangents.
#[derive(Debug)]
pub struct LayerGradient {
    /// The layer.
    pub node: NodeId,
    /// What the weight is: [`Role::Weight`] or [`Role::Scale`].
    pub role: Role,
    /// `[cotangents, elements of the weight]`.
    pub gradient: Tensor,
}

/// Walks a graph from its output to its input and yields each layer's weight gradients on the way.
///
/// Cotangent n is that of sample n's summed outputs, Σ_c y\[n, c\], where no others are given. Biases and shifts are
/// left out.
#[derive(Debug)]
pub struct PerSampleGradients<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    activations: Activations,
    samples: usize,
    ids: Vec<NodeId>,
    /// Some of the cotangents each, which go from layer to layer in turn.
    walks: Vec<Walk>,
}

/// The way of some cotangents through the graph.
#[derive(Debug)]
struct Walk {
    /// Cotangents of the nodes that were reached and not yet passed, `[cotangents · batch, …]`.
    cotangents: Vec<Option<Tensor>>,
    next: std::iter::Rev<std::ops::Range<usize>>,
}

/// Numbers of the largest map for all cotangents of a walk, so that a layer's maps stay in the cache of one core.
const WALK: usize = 1 << 19;

impl<'a> PerSampleGradients<'a> {
    /// Runs `graph` forward on `input` `[batch, channels, height, width]` with batch statistics.
    ///
    /// # Errors
    /// If a weight is missing, or Candle fails.
    pub fn new(graph: &'a Graph, weights: &'a Weights, input: &Tensor) -> Result<Self, WeightsError> {
        let (samples, outputs) = (input.dim(0)?, graph.output_shape().elements());
        let eye = Tensor::eye(samples, input.dtype(), input.device())?.unsqueeze(2)?;
        Self::with_cotangents(graph, weights, input, &eye.broadcast_as((samples, samples, outputs))?)
    }

    /// As [`Self::new`], with these gradients of scalars with respect to the outputs, `[cotangents, batch, outputs]`.
    ///
    /// # Errors
    /// If a weight is missing, or Candle fails.
    pub fn with_cotangents(
        graph: &'a Graph,
        weights: &'a Weights,
        input: &Tensor,
        seeds: &Tensor,
    ) -> Result<Self, WeightsError> {
        let activations = activations(graph, weights, input, Mode::Train)?;
        let samples = input.dim(0)?;
        let seeded = seeds.dim(0)?;
        let ids: Vec<NodeId> = graph.ids().collect();
        let largest = graph.nodes().iter().map(|node| node.shape.elements()).max().unwrap_or(1) * samples;
        let together = match input.device().is_cpu() {
            true => (WALK / largest).clamp(1, seeded),
            false => seeded,
        };
        let walk = |first: usize| -> Result<Walk, candle_core::Error> {
            let count = together.min(seeded - first);
            let dims: Vec<usize> = [vec![count * samples], graph.output_shape().dims()].concat();
            let mut cotangents = vec![None; ids.len()];
            cotangents[graph.output().index()] = Some(seeds.narrow(0, first, count)?.contiguous()?.reshape(dims)?);
            Ok(Walk { cotangents, next: (1..ids.len()).rev() })
        };
        let walks = (0..seeded).step_by(together).map(walk).collect::<Result<_, _>>()?;
        Ok(Self { graph, weights, activations, samples, ids, walks })
    }

    /// The network's outputs on the batch, `[batch, features]`.
    pub fn outputs(&self) -> &Tensor {
        self.activations.of(self.graph.output())
    }

    /// Passes one node: hands its cotangent on to its operands and gives its weight's gradient, if it has one.
    fn pass(&self, walk: &mut Walk, id: NodeId, cotangent: Tensor) -> Result<Option<LayerGradient>, WeightsError> {
        let graph = self.graph;
        let node = graph.node(id);
        let from = node.inputs[0];
        let wanted = from.index() > 0;
        let weight = |suffix: &str| self.weights.get(&format!("{}.{suffix}", node.name));
        let mut layer = None;
        match node.op {
            Op::Input | Op::Zero => {}
            Op::Identity | Op::Dropout { .. } => walk.add(from, cotangent)?,
            Op::Add => {
                for &input in &node.inputs {
                    walk.add(input, cotangent.clone())?;
                }
            }
            Op::Conv2d(conv) => {
                let weight = weight("weight")?;
                let input = self.activations.of(from);
                let gradient = kernels::conv2d_weight_gradients(input, &cotangent, conv.window, conv.groups)?;
                if wanted {
                    let (_, _, height, width) = input.dims4()?;
                    let down =
                        kernels::conv2d_input_gradient(&cotangent, weight, conv.window, conv.groups, height, width)?;
                    walk.add(from, down)?;
                }
                layer = Some(LayerGradient { node: id, role: Role::Weight, gradient });
            }
            Op::BatchNorm => {
                let scale = weight("weight")?;
                let input = self.activations.of(from);
                let (down, gradient) = kernels::batch_norm_gradients(input, scale, &cotangent, BATCH_NORM_EPS)?;
                walk.add(from, down)?;
                layer = Some(LayerGradient { node: id, role: Role::Scale, gradient });
            }
            Op::Linear { .. } => {
                let weight = weight("weight")?;
                let gradient = linear_weight_gradient(self.activations.of(from), &cotangent, self.samples)?;
                walk.add(from, cotangent.matmul(weight)?)?;
                layer = Some(LayerGradient { node: id, role: Role::Weight, gradient });
            }
            Op::Activation(activation) => {
                let slope = slope(activation, self.activations.of(from))?;
                walk.add(from, kernels::times_shared(&cotangent, &slope)?)?;
            }
            Op::Mul => {
                let gate = node.inputs[1];
                let map = self.activations.of(from);
                let wide = self.activations.of(gate).broadcast_as(map.shape())?.contiguous()?;
                let by_gate = kernels::times_shared(&cotangent, &wide)?;
                let by_map = kernels::times_shared(&cotangent, map)?;
                let by_map = match (graph.node(gate).shape, node.shape) {
                    (a, b) if a == b => by_map,
                    _ => by_map.sum_keepdim(3)?.sum_keepdim(2)?,
                };
                walk.add(from, by_gate)?;
                walk.add(gate, by_map)?;
            }
            Op::Concat => {
                let mut offset = 0;
                for &input in &node.inputs {
                    let channels = graph.node(input).shape.channels();
                    walk.add(input, cotangent.narrow(1, offset, channels)?.contiguous()?)?;
                    offset += channels;
                }
            }
            Op::MaxPool(window) => {
                let down = kernels::max_pool2d_input_gradient(self.activations.of(from), &cotangent, window)?;
                walk.add(from, down)?;
            }
            Op::AvgPool(window) => {
                let (_, _, height, width) = self.activations.of(from).dims4()?;
                walk.add(from, kernels::avg_pool2d_input_gradient(&cotangent, window, height, width)?)?;
            }
            Op::GlobalAvgPool => {
                let Shape::Map { channels, height, width } = graph.node(from).shape else {
                    unreachable!("global pooling takes a map");
                };
                let maps = cotangent.dim(0)?;
                let share = (cotangent / (height * width) as f64)?.reshape((maps, channels, 1, 1))?;
                walk.add(from, share.broadcast_as((maps, channels, height, width))?.contiguous()?)?;
            }
            Op::Softmax => {
                let y = self.activations.of(id);
                let weighted = kernels::times_shared(&cotangent, y)?;
                let mean = weighted.sum_keepdim(D::Minus1)?;
                walk.add(from, kernels::times_shared(&cotangent.broadcast_sub(&mean)?, y)?)?;
            }
        }
        Ok(layer)
    }
}

impl Walk {
    fn add(&mut self, to: NodeId, cotangent: Tensor) -> Result<(), candle_core::Error> {
        // Nothing is asked of the network's input.
        if to.index() > 0 {
            let slot = &mut self.cotangents[to.index()];
            *slot = Some(match slot.take() {
                Some(known) => known.add(&cotangent)?,
                None => cotangent,
            });
        }
        Ok(())
    }

    /// Goes on to the next layer that has a weight.
    fn next_layer(&mut self, all: &PerSampleGradients) -> Option<Result<LayerGradient, WeightsError>> {
        while let Some(index) = self.next.next() {
            let Some(cotangent) = self.cotangents[index].take() else { continue };
            if let Some(layer) = all.pass(self, all.ids[index], cotangent).transpose() {
                return Some(layer);
            }
        }
        None
    }
}

impl Iterator for PerSampleGradients<'_> {
    type Item = Result<LayerGradient, WeightsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut walks = std::mem::take(&mut self.walks);
        let layers: Option<Result<Vec<_>, _>> = walks.iter_mut().map(|walk| walk.next_layer(self)).collect();
        self.walks = walks;
        Some(layers?.and_then(|layers| {
            let LayerGradient { node, role, .. } = layers[0];
            let parts: Vec<&Tensor> = layers.iter().map(|layer| &layer.gradient).collect();
            Ok(LayerGradient { node, role, gradient: Tensor::cat(&parts, 0)? })
        }))
    }
}

/// For cotangent n, Σ over samples of cotangent × input: `[cotangents, out · in]`.
fn linear_weight_gradient(input: &Tensor, cotangent: &Tensor, samples: usize) -> Result<Tensor, candle_core::Error> {
    let (folded, outputs) = cotangent.dims2()?;
    let cotangents = folded / samples;
    let rows =
        cotangent.reshape((cotangents, samples, outputs))?.transpose(1, 2)?.reshape((cotangents * outputs, samples))?;
    rows.matmul(input)?.reshape((cotangents, ()))
}

/// The derivative of an activation at `x`, element by element.
fn slope(activation: Activation, x: &Tensor) -> Result<Tensor, candle_core::Error> {
    let (dtype, within) = (x.dtype(), |low: f64, high: f64| -> Result<Tensor, candle_core::Error> {
        x.gt(low)?.to_dtype(x.dtype())? * x.lt(high)?.to_dtype(x.dtype())?
    });
    match activation {
        // Candle compares with a number slowly, element by element through a strided view.
        Activation::Relu => kernels::relu(&x.sign()?),
        Activation::Relu6 => within(0.0, 6.0),
        Activation::HardSwish => {
            // (2x + 3) / 6 between -3 and 3, 1 above.
            within(-3.0, 3.0)? * x.affine(1.0 / 3.0, 0.5)? + x.ge(3f64)?.to_dtype(dtype)?
        }
        Activation::Sigmoid => {
            let y = candle_nn::ops::sigmoid(x)?;
            &y * y.affine(-1.0, 1.0)?
        }
    }
}
