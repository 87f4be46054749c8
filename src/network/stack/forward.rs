//! The forward pass of a stack: each operation for all its rows.

use super::Stack;
use super::tables::{Pixels, Rows, Source, sides};
use crate::graph::{BATCH_NORM_EPS, Op};
use crate::network::WeightsError;
use crate::network::forward::{apply, pad};
use candle_core::{Result, Tensor};

/// What is known of a stack while it runs.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// The results of each operation, `[rows, channels, samples · pixels]`.
    values: Vec<Option<Tensor>>,
    /// Mean and deviation of what batch normalisation took, `[rows, channels, 1]` each.
    pub(super) statistics: Vec<Option<[Tensor; 2]>>,
}

impl Forwarded {
    pub(super) fn new(stack: &Stack) -> Self {
        let groups = stack.plan.groups.len();
        let mut values = vec![None; groups];
        values[0] = Some(stack.input.clone());
        Self { values, statistics: vec![None; groups] }
    }

    /// The result of an operation that has run.
    pub(super) fn value(&self, at: usize) -> &Tensor {
        self.values[at].as_ref().expect("operations run before what takes them, and are kept until then")
    }

    pub(super) fn forget(&mut self, at: usize) {
        self.values[at] = None;
    }

    /// Operand `which` of an operation.
    pub(super) fn operand(&self, stack: &Stack, at: usize, which: usize) -> Result<Tensor> {
        let Source { pieces, order } = &stack.tables.sources[at][which];
        let rows = |piece: &super::tables::Taken| stack.take(self.value(piece.group), &piece.rows);
        let all = Tensor::cat(&pieces.iter().map(rows).collect::<Result<Vec<_>>>()?, 0)?;
        match order {
            Some(order) => all.index_select(&stack.tables.list(order)?, 0),
            None => Ok(all),
        }
    }

    /// Runs an operation.
    pub(super) fn run(&mut self, stack: &Stack, at: usize) -> std::result::Result<(), WeightsError> {
        let (value, statistics) = self.evaluate(stack, at)?;
        self.values[at] = Some(value);
        self.statistics[at] = statistics;
        Ok(())
    }

    fn evaluate(&self, stack: &Stack, at: usize) -> Result<(Tensor, Option<[Tensor; 2]>)> {
        let (group, tables, samples) = (&stack.plan.groups[at], &stack.tables, stack.samples);
        let (rows, channels, pixels) = (stack.rows(at), group.shape.channels(), group.shape.pixels());
        let operand = |which: usize| self.operand(stack, at, which);
        let value = match group.op {
            Op::Input | Op::Identity | Op::Dropout { .. } => unreachable!("they are no operations of a plan"),
            Op::LayerNorm | Op::Attention(_) | Op::PositionEmbedding => unreachable!("no stack takes them"),
            Op::Conv2d(conv) => {
                let taps = stack.conv_taps(at, &operand(0)?)?;
                let weight = tables.parameter(at, 0)?.flatten(0, 1)?;
                let result = weight.matmul(&taps)?.reshape((rows, channels, samples * pixels))?;
                match conv.bias {
                    true => result.broadcast_add(&tables.parameter(at, 1)?)?,
                    false => result,
                }
            }
            Op::Linear { bias, .. } => {
                let result = tables.parameter(at, 0)?.matmul(&operand(0)?)?;
                match bias {
                    true => result.broadcast_add(&tables.parameter(at, 1)?)?,
                    false => result,
                }
            }
            Op::BatchNorm => {
                let (x, scale, shift) = (operand(0)?, tables.parameter(at, 0)?, tables.parameter(at, 1)?);
                let mean = x.mean_keepdim(2)?;
                let centred = x.broadcast_sub(&mean)?;
                let deviation = (centred.sqr()?.mean_keepdim(2)? + BATCH_NORM_EPS)?.sqrt()?;
                let value = centred.broadcast_mul(&(scale / &deviation)?)?.broadcast_add(&shift)?;
                return Ok((value, Some([mean, deviation])));
            }
            Op::Activation(activation) => apply(activation, &operand(0)?)?,
            Op::Add => {
                let sum = operand(0)?.add(&operand(1)?)?;
                (2..group.operands.len()).try_fold(sum, |sum, which| sum.add(&operand(which)?))?
            }
            Op::Mul => {
                let apart =
                    |which: usize| operand(which)?.reshape((rows, channels, samples, group.operands[which].pixels()));
                apart(0)?.broadcast_mul(&apart(1)?)?.flatten_from(2)?
            }
            Op::Concat => {
                let operands = (0..group.operands.len()).map(operand).collect::<Result<Vec<_>>>()?;
                Tensor::cat(&operands, 1)?
            }
            Op::MaxPool(window) => {
                let met = tables.met(window, group.operands[0]);
                stack.taps(&planes(&operand(0)?, samples)?, met, f32::NEG_INFINITY)?.max(2)?
            }
            Op::AvgPool(window) => {
                let sums = stack.taps(&planes(&operand(0)?, samples)?, tables.met(window, group.operands[0]), 0.0)?;
                sums.sum(2)?.broadcast_mul(&tables.parameter(at, 0)?)?
            }
            Op::GlobalAvgPool => operand(0)?.reshape((rows, channels, samples, group.operands[0].pixels()))?.mean(3)?,
            Op::Softmax => candle_nn::ops::softmax(&operand(0)?, 1)?,
            Op::Pad(margins) => {
                let (height, width) = sides(group.operands[0]);
                pad(&operand(0)?.reshape((rows, channels * samples, height, width))?, margins)?
            }
            Op::Zero => Tensor::zeros((rows, channels, samples * pixels), stack.input.dtype(), &stack.device)?,
        };
        Ok((value.reshape((rows, channels, samples * pixels))?, None))
    }
}

/// `[rows, channels, images · pixels]` to `[rows · channels, images, pixels]`.
pub(super) fn planes(maps: &Tensor, images: usize) -> Result<Tensor> {
    let (rows, channels, pixels) = maps.dims3()?;
    maps.reshape((rows * channels, images, pixels / images.max(1)))
}

impl Stack {
    /// These rows.
    pub(super) fn take(&self, from: &Tensor, rows: &Rows) -> Result<Tensor> {
        match rows {
            Rows::All => Ok(from.clone()),
            Rows::Run { first, count } => from.narrow(0, *first, *count),
            Rows::Listed(list) => from.index_select(&self.tables.list(list)?, 0),
        }
    }

    /// What the taps meet of planes `[planes, images, pixels]`: `[planes, images, taps, places]`; `nothing` where they
    /// meet none.
    pub(super) fn taps(&self, planes: &Tensor, pixels: Option<&Pixels>, nothing: f32) -> Result<Tensor> {
        let Some(Pixels { list, taps, pads }) = pixels else { return planes.unsqueeze(2) };
        let (rows, images, _) = planes.dims3()?;
        let padded = match pads {
            true => Tensor::cat(&[planes, &Tensor::full(nothing, (rows, images, 1), &self.device)?], 2)?,
            false => planes.contiguous()?,
        };
        padded.index_select(&self.tables.list(list)?, 2)?.reshape((rows, images, *taps, ()))
    }

    /// The operand of a convolution as its weights meet it: `[rows · groups, inputs of an output, samples · pixels]`.
    pub(super) fn conv_taps(&self, at: usize, operand: &Tensor) -> Result<Tensor> {
        let group = &self.plan.groups[at];
        let Op::Conv2d(conv) = group.op else { unreachable!("only convolutions have weights for taps") };
        let taps = self.taps(&planes(operand, self.samples)?, self.tables.met(conv.window, group.operands[0]), 0.0)?;
        by_tap(&taps)?.reshape((self.rows(at) * conv.groups, (), self.samples * group.shape.pixels()))
    }
}

/// `[planes, images, taps, places]` to `[planes, taps, images · places]`.
pub(super) fn by_tap(taps: &Tensor) -> Result<Tensor> {
    taps.transpose(1, 2)?.contiguous()?.flatten_from(2)
}
