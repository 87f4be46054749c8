//! The rules on cotangents that are folded into the batch, in Candle operations: `[cotangents · batch, …]`, all
//! cotangents of the whole batch one after the other. This is the reference for any other way.

use super::{LayerGradient, Pass};
use crate::graph::{Activation, BATCH_NORM_EPS, NodeId, Op, Role, Shape};
use crate::kernels;
use crate::network::WeightsError;
use crate::network::forward::pad;
use crate::network::tokens;
use candle_core::{D, Tensor};

/// The cotangents of the nodes that were reached and not yet passed.
#[derive(Debug)]
pub(super) struct Folded(Vec<Option<Tensor>>);

impl Folded {
    /// Begins with `seeds`, `[cotangents, batch, outputs]`.
    pub(super) fn new(pass: &Pass, seeds: &Tensor) -> Result<Self, WeightsError> {
        let mut all = vec![None; pass.ids.len()];
        let dims: Vec<usize> = [vec![seeds.dim(0)? * pass.samples], pass.graph.output_shape().dims()].concat();
        all[pass.graph.output().index()] = Some(seeds.reshape(dims)?);
        Ok(Self(all))
    }

    /// Passes one node: hands its cotangent on to its operands and gives its weight's gradient, if it has one.
    pub(super) fn pass(&mut self, pass: &Pass, id: NodeId) -> Result<Option<LayerGradient>, WeightsError> {
        let Some(cotangent) = self.0[id.index()].take() else { return Ok(None) };
        let (parts, layer) = rule(pass, id, &cotangent)?;
        for (to, part) in parts {
            let slot = &mut self.0[to.index()];
            *slot = Some(match slot.take() {
                Some(known) => known.add(&part)?,
                None => part,
            });
        }
        Ok(layer.map(|(role, gradient)| LayerGradient { node: id, role, gradient }))
    }
}

/// What a node's cotangent adds to those of its operands, and the gradient of its weight, if it has one.
type Handed = (Vec<(NodeId, Tensor)>, Option<(Role, Tensor)>);

/// The rule of a node for its folded cotangent. Nothing is handed on to the network's input.
pub(super) fn rule(pass: &Pass, id: NodeId, cotangent: &Tensor) -> Result<Handed, WeightsError> {
    let graph = pass.graph;
    let node = graph.node(id);
    let from = node.inputs[0];
    let wanted = from.index() > 0;
    let (mut parts, mut layer) = (vec![], None);
    let mut add = |to: NodeId, part: Tensor| {
        if to.index() > 0 {
            parts.push((to, part));
        }
    };
    match node.op {
        Op::Input | Op::Zero => {}
        Op::Identity | Op::Dropout { .. } | Op::PositionEmbedding => add(from, cotangent.clone()),
        Op::Add => {
            for &input in &node.inputs {
                add(input, cotangent.clone());
            }
        }
        Op::Conv2d(conv) => {
            let weight = pass.weight(id, "weight")?;
            let input = pass.activations.of(from);
            let gradient = kernels::conv2d_weight_gradients(input, cotangent, conv.window, conv.groups)?;
            if wanted {
                let (_, _, height, width) = input.dims4()?;
                let down = kernels::conv2d_input_gradient(cotangent, weight, conv.window, conv.groups, height, width)?;
                add(from, down);
            }
            layer = Some((Role::Weight, gradient));
        }
        Op::BatchNorm => {
            let scale = pass.weight(id, "weight")?;
            let input = pass.activations.of(from);
            let (down, gradient) = kernels::batch_norm_gradients(input, scale, cotangent, BATCH_NORM_EPS)?;
            add(from, down);
            layer = Some((Role::Scale, gradient));
        }
        Op::LayerNorm => {
            let scale = pass.weight(id, "weight")?;
            let [down, gradient] = tokens::layer_norm_gradients(pass.activations.of(from), scale, cotangent)?;
            add(from, down);
            layer = Some((Role::Scale, gradient));
        }
        Op::Attention(attention) => {
            let operands = [0, 1, 2].map(|at: usize| pass.activations.of(node.inputs[at]));
            let gradients = tokens::attention_gradients(attention, operands, cotangent)?;
            node.inputs.iter().zip(gradients).for_each(|(&input, gradient)| add(input, gradient));
        }
        Op::Linear { .. } => {
            let weight = pass.weight(id, "weight")?;
            let gradient = linear_weight_gradient(pass.activations.of(from), cotangent, pass.samples)?;
            add(from, cotangent.matmul(weight)?);
            layer = Some((Role::Weight, gradient));
        }
        Op::Activation(activation) => {
            let slope = slope(activation, pass.activations.of(from))?;
            add(from, kernels::times_shared(cotangent, &slope)?);
        }
        Op::Mul => {
            let gate = node.inputs[1];
            let map = pass.activations.of(from);
            let wide = pass.activations.of(gate).broadcast_as(map.shape())?.contiguous()?;
            let by_gate = kernels::times_shared(cotangent, &wide)?;
            let by_map = kernels::times_shared(cotangent, map)?;
            let by_map = match (graph.node(gate).shape, node.shape) {
                (a, b) if a == b => by_map,
                _ => by_map.sum_keepdim(3)?.sum_keepdim(2)?,
            };
            add(from, by_gate);
            add(gate, by_map);
        }
        Op::Concat => {
            let mut offset = 0;
            for &input in &node.inputs {
                let channels = graph.node(input).shape.channels();
                add(input, cotangent.narrow(1, offset, channels)?.contiguous()?);
                offset += channels;
            }
        }
        Op::MaxPool(window) => {
            let down = kernels::max_pool2d_input_gradient(pass.activations.of(from), cotangent, window)?;
            add(from, down);
        }
        Op::AvgPool(window) => {
            let (_, _, height, width) = pass.activations.of(from).dims4()?;
            add(from, kernels::avg_pool2d_input_gradient(cotangent, window, height, width)?);
        }
        Op::GlobalAvgPool => {
            let Shape::Map { channels, height, width } = graph.node(from).shape else {
                unreachable!("global pooling takes a map");
            };
            let maps = cotangent.dim(0)?;
            let share = (cotangent / (height * width) as f64)?.reshape((maps, channels, 1, 1))?;
            add(from, share.broadcast_as((maps, channels, height, width))?.contiguous()?);
        }
        Op::Pad(margins) => add(from, pad(cotangent, margins.back())?),
        Op::Softmax => {
            let y = pass.activations.of(id);
            let weighted = kernels::times_shared(cotangent, y)?;
            let mean = weighted.sum_keepdim(D::Minus1)?;
            add(from, kernels::times_shared(&cotangent.broadcast_sub(&mean)?, y)?);
        }
    }
    Ok((parts, layer))
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
pub(in crate::network) fn slope(activation: Activation, x: &Tensor) -> Result<Tensor, candle_core::Error> {
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
        Activation::HardSigmoid => within(-3.0, 3.0)? / 6.0,
        Activation::Gelu => {
            // Φ(x) + x φ(x)
            let below = ((x / std::f64::consts::SQRT_2)?.erf()? + 1.0)?;
            let density = (x.sqr()? * -0.5)?.exp()?;
            (below * 0.5)? + (x * (density / std::f64::consts::TAU.sqrt())?)?
        }
    }
}
