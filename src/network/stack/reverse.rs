//! The reverse pass of a stack, operation by operation from the last: the rules of [`crate::network::reverse`] on
//! cotangents `[rows, channels, cotangents · samples · pixels]`, and the products of the weights' gradients.

use super::Stack;
use super::forward::{Forwarded, by_tap, planes};
use super::tables::{Taken, sides};
use crate::graph::{Conv2d, Op, Window};
use crate::network::WeightsError;
use crate::network::forward::pad;
use crate::network::reverse::slope;
use candle_core::{Result, Tensor};

/// What an operation's cotangent adds to that of an operand, and the gradients of its weight, `[rows, outputs,
/// cotangents, inputs]`.
type Handed = (Vec<Option<Tensor>>, Option<Tensor>);

/// The cotangents of operations that were reached and not yet passed: what was handed to them, and by which operand.
struct Reached<'s>(Vec<Vec<(Tensor, Option<&'s Taken>)>>);

/// For each operation that has a weight, the products of its gradients `[nodes, batches · samples, samples]`.
pub(super) fn products(stack: &Stack, mut known: Forwarded) -> std::result::Result<Vec<(usize, Tensor)>, WeightsError> {
    let groups = stack.plan.groups.len();
    let mut reached = Reached((0..groups).map(|_| vec![]).collect());
    let mut products = vec![];
    for at in (1..groups).rev() {
        if let Some(cotangent) = reached.of(stack, at)? {
            let (parts, gradient) = rule(stack, &known, at, &cotangent)?;
            drop(cotangent);
            for (which, part) in parts.into_iter().enumerate() {
                let Some(part) = part else { continue };
                for piece in stack.tables.sources[at][which].pieces.iter().filter(|piece| piece.group > 0) {
                    reached.0[piece.group].push((part.clone(), Some(piece)));
                }
            }
            if let Some(gradient) = gradient {
                products.push((at, product(stack, &gradient)?));
            }
        }
        known.forget(at);
    }
    Ok(products)
}

impl Reached<'_> {
    /// The cotangent of an operation, of what was handed to it; zero in rows that lead nowhere.
    fn of(&mut self, stack: &Stack, at: usize) -> Result<Option<Tensor>> {
        let group = &stack.plan.groups[at];
        let (rows, channels) = (stack.rows(at), group.shape.channels());
        let dims = (rows, channels, stack.samples * stack.samples * group.shape.pixels());
        let mut handed = std::mem::take(&mut self.0[at]);
        let slots = (0..group.nodes.len()).filter(|&slot| is_output(stack, at, slot));
        let seeds: Vec<usize> = slots.collect();
        if !seeds.is_empty() {
            handed.push((seed(stack, at, &seeds)?, None));
        }
        let mut sum: Option<Tensor> = None;
        for (part, piece) in handed {
            let rows = piece.map_or(Ok(part.clone()), |piece| stack.take(&part, &piece.positions))?;
            sum = Some(match (piece.and_then(|piece| piece.back.as_ref()), sum) {
                (None, None) => rows,
                (None, Some(sum)) => sum.add(&rows)?,
                (Some(back), sum) => {
                    let sum = sum.map_or_else(|| Tensor::zeros(dims, rows.dtype(), &stack.device), Ok)?;
                    sum.index_add(&stack.tables.list(back)?, &rows.contiguous()?, 0)?
                }
            });
        }
        Ok(sum)
    }
}

fn is_output(stack: &Stack, group: usize, slot: usize) -> bool {
    stack.plan.outputs.contains(&super::plan::Place { group, slot })
}

/// The cotangents of the sums of samples' outputs, in the rows of these slots; zero in others.
fn seed(stack: &Stack, at: usize, slots: &[usize]) -> Result<Tensor> {
    let (group, samples) = (&stack.plan.groups[at], stack.samples);
    let (rows, channels, pixels) = (stack.rows(at), group.shape.channels(), group.shape.pixels());
    let is_seeded = |row: usize| f32::from(slots.contains(&(row / stack.batches)));
    let seeded: Vec<f32> = (0..rows).map(is_seeded).collect();
    let eye = Tensor::eye(samples, stack.input.dtype(), &stack.device)?.reshape((1, samples * samples, 1))?;
    let eye = Tensor::new(seeded, &stack.device)?.reshape((rows, 1, 1))?.broadcast_mul(&eye)?;
    let wide = eye.unsqueeze(1)?.broadcast_as((rows, channels, samples * samples, pixels))?;
    wide.contiguous()?.flatten_from(2)
}

/// G_b · G_0ᵀ of each node, for all batches.
fn product(stack: &Stack, gradient: &Tensor) -> Result<Tensor> {
    let (rows, outputs, samples, inputs) = gradient.dims4()?;
    let nodes = rows / stack.batches;
    let gradient = gradient.transpose(1, 2)?.reshape((nodes, stack.batches * samples, outputs * inputs))?;
    let first = gradient.narrow(1, 0, samples)?;
    gradient.matmul(&first.transpose(1, 2)?)
}

/// The rule of an operation. Nothing is handed on to the networks' input.
fn rule(stack: &Stack, known: &Forwarded, at: usize, cotangent: &Tensor) -> Result<Handed> {
    let (group, tables, samples) = (&stack.plan.groups[at], &stack.tables, stack.samples);
    let (rows, channels) = (stack.rows(at), group.shape.channels());
    let operand = |which: usize| known.operand(stack, at, which);
    let wanted = tables.sources[at].iter().flat_map(|source| &source.pieces).any(|piece| piece.group > 0);
    // [rows, channels, cotangents, samples · pixels]
    let apart = |maps: &Tensor| maps.reshape((rows, maps.dim(1)?, samples, ()));
    let shared = |maps: &Tensor| maps.unsqueeze(2);
    let together = |maps: Tensor| maps.flatten_from(2);
    let mut gradient = None;
    let parts = match group.op {
        Op::Input | Op::Identity | Op::Dropout { .. } => unreachable!("they are no operations of a plan"),
        Op::LayerNorm | Op::Attention(_) | Op::PositionEmbedding => unreachable!("no stack takes them"),
        Op::Zero => vec![],
        Op::Add => vec![Some(cotangent.clone()); group.operands.len()],
        Op::Conv2d(conv) => {
            let taps = stack.conv_taps(at, &operand(0)?)?;
            let outputs = channels / conv.groups * samples;
            let by_cotangent = cotangent.reshape((rows * conv.groups, outputs, ()))?;
            let all = by_cotangent.matmul(&taps.transpose(1, 2)?)?;
            gradient = Some(all.reshape((rows, channels, samples, ()))?);
            vec![wanted.then(|| conv_input(stack, at, conv, cotangent)).transpose()?]
        }
        Op::Linear { .. } => {
            let by_cotangent = cotangent.reshape((rows, channels * samples, samples))?;
            let all = by_cotangent.matmul(&operand(0)?.transpose(1, 2)?)?;
            gradient = Some(all.reshape((rows, channels, samples, ()))?);
            vec![Some(tables.parameter(at, 0)?.transpose(1, 2)?.matmul(cotangent)?)]
        }
        Op::BatchNorm => {
            let [mean, deviation] = known.statistics[at].as_ref().expect("it was normalised on the way forward");
            let normal = operand(0)?.broadcast_sub(mean)?.broadcast_div(deviation)?;
            let count = normal.dim(2)? as f64;
            let g = apart(cotangent)?;
            let planes = |maps: &Tensor| maps.flatten(0, 1);
            let along = planes(&g)?.matmul(&planes(&normal)?.unsqueeze(2)?)?.reshape((rows, channels, samples, 1))?;
            let centred = g.broadcast_sub(&g.mean_keepdim(3)?)?;
            let gain = (tables.parameter(at, 0)? / deviation)?.unsqueeze(3)?;
            let down = centred.sub(&shared(&normal)?.broadcast_mul(&(&along / count)?)?)?.broadcast_mul(&gain)?;
            gradient = Some(along);
            vec![Some(together(down)?)]
        }
        Op::Activation(activation) => {
            let slope = slope(activation, &operand(0)?)?;
            vec![Some(together(apart(cotangent)?.broadcast_mul(&shared(&slope)?)?)?)]
        }
        Op::Mul => {
            let pixels = |which: usize| group.operands[which].pixels();
            // [rows, channels, 1, samples, pixels]
            let factor = |which: usize| operand(which)?.reshape((rows, channels, 1, samples, pixels(which)));
            let g = cotangent.reshape((rows, channels, samples, samples, pixels(0)))?;
            let by_gate = together(g.broadcast_mul(&factor(1)?)?)?;
            let by_map = g.broadcast_mul(&factor(0)?)?;
            let by_map = if pixels(1) == pixels(0) { by_map } else { by_map.sum_keepdim(4)? };
            vec![Some(by_gate), Some(together(by_map)?)]
        }
        Op::Concat => {
            let ends = group.operands.iter().scan(0, |end, shape| {
                *end += shape.channels();
                Some((*end - shape.channels(), shape.channels()))
            });
            let part = |(first, count)| cotangent.narrow(1, first, count)?.contiguous().map(Some);
            ends.map(part).collect::<Result<_>>()?
        }
        Op::MaxPool(window) => vec![Some(max_pool_input(stack, at, window, &operand(0)?, cotangent)?)],
        Op::AvgPool(window) => {
            let share = planes(cotangent, samples * samples)?.broadcast_mul(&tables.parameter(at, 0)?)?;
            let taps = stack.taps(&share, tables.by(window, group.operands[0]), 0.0)?;
            vec![Some(taps.sum(2)?.reshape((rows, channels, ()))?)]
        }
        Op::GlobalAvgPool => {
            let pixels = group.operands[0].pixels();
            let share = (cotangent / pixels as f64)?.unsqueeze(3)?;
            let wide = share.broadcast_as((rows, channels, samples * samples, pixels))?;
            vec![Some(together(wide.contiguous()?)?)]
        }
        Op::Pad(margins) => {
            let (height, width) = sides(group.shape);
            let maps = cotangent.reshape((rows, channels * samples * samples, height, width))?;
            vec![Some(pad(&maps, margins.back())?.reshape((rows, channels, ()))?)]
        }
        Op::Softmax => {
            let y = shared(known.value(at))?;
            let g = apart(cotangent)?;
            let mean = g.broadcast_mul(&y)?.sum_keepdim(1)?;
            vec![Some(together(g.broadcast_sub(&mean)?.broadcast_mul(&y)?)?)]
        }
    };
    Ok((parts, gradient))
}

/// The input's cotangent of a convolution: a convolution, too, of what the taps of each pixel lead to.
fn conv_input(stack: &Stack, at: usize, conv: Conv2d, cotangent: &Tensor) -> Result<Tensor> {
    let group = &stack.plan.groups[at];
    let from = group.operands[0];
    let (rows, folded) = (stack.rows(at), stack.samples * stack.samples);
    let (outputs, inputs) = (group.shape.channels() / conv.groups, from.channels() / conv.groups);
    let taps = stack.taps(&planes(cotangent, folded)?, stack.tables.by(conv.window, from), 0.0)?;
    let taps = by_tap(&taps)?.reshape((rows * conv.groups, (), folded * from.pixels()))?;
    let weight = stack.tables.parameter(at, 0)?.reshape((rows * conv.groups, outputs, inputs, ()))?;
    let weight = weight.transpose(1, 2)?.contiguous()?.flatten_from(2)?;
    weight.matmul(&taps)?.reshape((rows, from.channels(), folded * from.pixels()))
}

/// The input's cotangent of a maximum: all goes to the first of the greatest.
fn max_pool_input(stack: &Stack, at: usize, window: Window, input: &Tensor, cotangent: &Tensor) -> Result<Tensor> {
    let (group, samples) = (&stack.plan.groups[at], stack.samples);
    let (from, windows) = (group.operands[0], group.shape.pixels());
    let taps = stack.taps(&planes(input, samples)?, stack.tables.met(window, from), f32::NEG_INFINITY)?;
    let (maps, _, count, _) = taps.dims4()?;
    let greatest = taps.broadcast_eq(&taps.max_keepdim(2)?)?.to_dtype(cotangent.dtype())?;
    // The earlier of equals weighs more.
    let weights: Vec<f32> = (0..count).map(|tap| (count - tap) as f32).collect();
    let weighed = greatest.broadcast_mul(&Tensor::new(weights, &stack.device)?.reshape((1, 1, count, 1))?)?;
    let chosen = weighed.broadcast_eq(&weighed.max_keepdim(2)?)?.to_dtype(cotangent.dtype())?;
    // [maps, cotangents, samples, taps, windows]
    let g = cotangent.reshape((maps, samples, samples, 1, windows))?;
    let shares = g.broadcast_mul(&chosen.unsqueeze(1)?)?.reshape((maps, samples * samples, count * windows))?;
    let back = stack.taps(&shares, Some(stack.tables.by_tap(window, from)), 0.0)?;
    back.sum(2)?.reshape((stack.rows(at), from.channels(), ()))
}
