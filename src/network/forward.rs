//! The forward pass: one Candle operation after the other, in the graph's order.

use super::{Weights, WeightsError, tokens};
use crate::graph::{Activation, BATCH_NORM_EPS, Graph, Margins, NodeId, Op, Shape};
use crate::kernels;
use candle_core::{D, DType, Tensor};

/// Whose statistics batch normalisation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The batch's own; dropout is still the identity.
    Train,
    /// The batch's own, as constants: a gradient does not go through them. Same results as [`Mode::Train`].
    Frozen,
    /// The running ones.
    Inference,
}

/// The results of all nodes on one batch: `[batch, channels, height, width]` or `[batch, features]`.
#[derive(Debug)]
pub struct Activations(Vec<Tensor>);

impl Activations {
    /// The result of a node.
    pub fn of(&self, id: NodeId) -> &Tensor {
        &self.0[id.index()]
    }
}

/// Runs `graph` on `input` `[batch, channels, height, width]`; gives its output, `[batch, features]` for a
/// classifier.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn forward(graph: &Graph, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Tensor, WeightsError> {
    forward_with(graph, weights, input, mode, |_, result| Ok(result))
}

/// Runs `graph` on `input` and keeps the results of all nodes.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn activations(graph: &Graph, weights: &Weights, input: &Tensor, mode: Mode) -> Result<Activations, WeightsError> {
    activations_with(graph, weights, input, mode, |_, result| Ok(result))
}

/// As [`activations`], but each node's result is changed by `change` before others take it: what is added there, a
/// gradient can be taken with respect to.
///
/// # Errors
/// If a weight is missing, Candle fails, or `change` does.
pub fn activations_with(
    graph: &Graph,
    weights: &Weights,
    input: &Tensor,
    mode: Mode,
    change: impl FnMut(NodeId, Tensor) -> Result<Tensor, candle_core::Error>,
) -> Result<Activations, WeightsError> {
    run(graph, weights, input, mode, change, |_| true)
}

/// As [`activations_with`], but gives the output alone: results are held until their last reader has them.
///
/// # Errors
/// As there.
pub(super) fn forward_with(
    graph: &Graph,
    weights: &Weights,
    input: &Tensor,
    mode: Mode,
    change: impl FnMut(NodeId, Tensor) -> Result<Tensor, candle_core::Error>,
) -> Result<Tensor, WeightsError> {
    let mut all = run(graph, weights, input, mode, change, |id| id == graph.output())?;
    Ok(all.0.swap_remove(graph.output().index()))
}

/// The results of all nodes, empty tensors in the place of those that are not to be kept.
fn run(
    graph: &Graph,
    weights: &Weights,
    input: &Tensor,
    mode: Mode,
    mut change: impl FnMut(NodeId, Tensor) -> Result<Tensor, candle_core::Error>,
    is_kept: impl Fn(NodeId) -> bool,
) -> Result<Activations, WeightsError> {
    let mut last_reader: Vec<NodeId> = graph.ids().collect();
    for id in graph.ids() {
        graph.node(id).inputs.iter().for_each(|input| last_reader[input.index()] = id);
    }
    let nothing = Tensor::zeros(0, DType::F32, input.device())?;
    let mut all = Activations(Vec::with_capacity(graph.nodes().len()));
    for id in graph.ids() {
        let result = change(id, evaluate(graph, weights, id, input, &all, mode)?)?;
        all.0.push(result);
        for read in graph.node(id).inputs.iter().filter(|read| last_reader[read.index()] == id && !is_kept(**read)) {
            all.0[read.index()] = nothing.clone();
        }
    }
    Ok(all)
}

/// The result of node `to` if that of node `from` were `value`; all else, what does not depend on `from`, is as
/// `known` has it. Gradients with respect to `value` go through the nodes in between alone.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn between(
    graph: &Graph,
    weights: &Weights,
    known: &Activations,
    (from, value): (NodeId, &Tensor),
    to: NodeId,
    mode: Mode,
) -> Result<Tensor, WeightsError> {
    let mut depends = vec![false; graph.nodes().len()];
    depends[from.index()] = true;
    let mut changed = Activations(known.0.clone());
    changed.0[from.index()] = value.clone();
    for id in graph.ids().skip(from.index() + 1).take(to.index() - from.index()) {
        if graph.node(id).inputs.iter().any(|input| depends[input.index()]) {
            depends[id.index()] = true;
            changed.0[id.index()] = evaluate(graph, weights, id, &known.0[0], &changed, mode)?;
        }
    }
    Ok(changed.0.swap_remove(to.index()))
}

fn evaluate(
    graph: &Graph,
    weights: &Weights,
    id: NodeId,
    input: &Tensor,
    known: &Activations,
    mode: Mode,
) -> Result<Tensor, WeightsError> {
    let node = graph.node(id);
    let operand = |index: usize| known.of(node.inputs[index]);
    let weight = |suffix: &str| weights.get(&format!("{}.{suffix}", node.name));
    Ok(match node.op {
        Op::Input => input.clone(),
        Op::Conv2d(conv) => {
            let result = kernels::conv2d(operand(0), weight("weight")?, conv.window, conv.groups)?;
            match conv.bias {
                true => result.broadcast_add(&weight("bias")?.reshape((1, conv.out_channels, 1, 1))?)?,
                false => result,
            }
        }
        Op::BatchNorm => {
            let (scale, shift) = (weight("weight")?, weight("bias")?);
            match mode {
                Mode::Train => kernels::batch_norm(operand(0), scale, shift, BATCH_NORM_EPS)?,
                Mode::Frozen => {
                    let (mean, variance) = kernels::batch_statistics(operand(0))?;
                    kernels::batch_norm_inference(operand(0), scale, shift, &mean, &variance, BATCH_NORM_EPS)?
                }
                Mode::Inference => {
                    let (mean, variance) = (weight("running_mean")?, weight("running_var")?);
                    kernels::batch_norm_inference(operand(0), scale, shift, mean, variance, BATCH_NORM_EPS)?
                }
            }
        }
        Op::Activation(activation) => apply(activation, operand(0))?,
        Op::Add => {
            let sum = operand(0).add(operand(1))?;
            (2..node.inputs.len()).try_fold(sum, |sum, index| sum.add(operand(index)))?
        }
        Op::Mul => operand(0).broadcast_mul(operand(1))?,
        Op::Concat => {
            let operands: Vec<&Tensor> = node.inputs.iter().map(|&input| known.of(input)).collect();
            Tensor::cat(&operands, 1)?
        }
        Op::MaxPool(window) => kernels::max_pool2d(operand(0), window)?,
        Op::AvgPool(window) => kernels::avg_pool2d(operand(0), window)?,
        Op::GlobalAvgPool => operand(0).flatten_from(2)?.mean(2)?,
        Op::Linear { bias, .. } => {
            let result = operand(0).matmul(&weight("weight")?.t()?)?;
            match bias {
                true => result.broadcast_add(weight("bias")?)?,
                false => result,
            }
        }
        Op::Softmax => candle_nn::ops::softmax(operand(0), D::Minus1)?,
        Op::LayerNorm => tokens::layer_norm(operand(0), weight("weight")?, weight("bias")?)?,
        Op::Attention(attention) => tokens::attention(attention, [operand(0), operand(1), operand(2)])?,
        Op::PositionEmbedding => operand(0).broadcast_add(weight("weight")?)?,
        Op::Dropout { .. } | Op::Identity => operand(0).clone(),
        Op::Pad(margins) => pad(operand(0), margins)?,
        Op::Zero => match node.shape {
            shape if shape == graph.node(node.inputs[0]).shape => operand(0).zeros_like()?,
            shape => {
                let dims: Vec<usize> = [vec![operand(0).dim(0)?], Shape::dims(&shape)].concat();
                Tensor::zeros(dims, operand(0).dtype(), operand(0).device())?
            }
        },
    })
}

/// Maps `[…, rows, columns]` with margins of zeros, or without what they cut off. With [`Margins::back`] it is the
/// gradient's way.
pub(super) fn pad(maps: &Tensor, margins: Margins) -> Result<Tensor, candle_core::Error> {
    let mut padded = maps.clone();
    for (axis, dim) in [maps.rank() - 2, maps.rank() - 1].into_iter().enumerate() {
        let [before, after] = [margins.before[axis], margins.after[axis]];
        let cut = [before, after].map(|side| side.min(0).unsigned_abs());
        let kept = padded.dim(dim)?.saturating_sub(cut[0] + cut[1]);
        let [before, after] = [before, after].map(|side| side.max(0).unsigned_abs());
        padded = padded.narrow(dim, cut[0], kept)?.pad_with_zeros(dim, before, after)?;
    }
    padded.contiguous()
}

/// An activation of every element, whatever the shape.
pub(super) fn apply(activation: Activation, x: &Tensor) -> Result<Tensor, candle_core::Error> {
    match activation {
        Activation::Relu => kernels::relu(x),
        Activation::Relu6 => x.clamp(0f32, 6f32),
        Activation::HardSwish => x * (x.affine(1.0, 3.0)?.clamp(0f32, 6f32)? / 6.0)?,
        Activation::Sigmoid => candle_nn::ops::sigmoid(x),
        Activation::HardSigmoid => x.affine(1.0, 3.0)?.clamp(0f32, 6f32)? / 6.0,
        Activation::Gelu => x.gelu_erf(),
    }
}
