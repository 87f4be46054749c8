//! The steps of a [`Plan`], one after the other, each over all samples in parallel.

use super::plan::{Kind, Plan, View};
use super::pooling::{add_product, maxima, move_channels, pad, shares, sigmoid, softmax};
use super::values::{Normal, Values, cleared, for_each_sample, parts};
use super::{Factor, Parameters};
use crate::graph::{BATCH_NORM_EPS, Conv2d, NodeId};
use crate::kernels::blocked::{
    Affine, Convolutions, Depthwise, Frame, Memory, Slide, lanes_of, moments, scale_pixels, to_blocks, write_view,
};
use crate::kernels::lanes::Lane;
use crate::network::WeightsError;
use std::collections::HashMap;

/// What all steps take.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) parameters: &'a Parameters,
    pub(super) factors: &'a HashMap<NodeId, Factor>,
    pub(super) batch: usize,
}

impl Context<'_> {
    /// The convolutions of a step that begins some.
    pub(super) fn convolutions(&self, step: usize, conv: Conv2d) -> Convolutions {
        let leader = &self.plan.steps[step];
        let seen = &self.plan.steps[leader.inputs[0].map];
        let outs = leader.together.iter().map(|&at| self.plan.steps[at].channels).collect();
        Convolutions::new(Slide::new(conv.window, seen.size), seen.channels, outs, conv.groups)
    }

    /// Nodes of the convolutions that a step begins.
    pub(super) fn nodes(&self, step: usize) -> Vec<(NodeId, Conv2d)> {
        let node = |&at: &usize| match self.plan.steps[at].kind {
            Kind::Dense(node, conv) => (node, conv),
            _ => unreachable!("convolutions are together with convolutions"),
        };
        self.plan.steps[step].together.iter().map(node).collect()
    }

    pub(super) fn depthwise(&self, step: usize, conv: Conv2d) -> Depthwise {
        let of = &self.plan.steps[step];
        Depthwise::new(Slide::new(conv.window, self.plan.steps[of.inputs[0].map].size), of.channels)
    }
}

/// All maps and what batch normalisations saw, of `input` `[batch, channels, height, width]`.
pub(super) fn run(context: &Context<'_>, input: &[f32]) -> Result<Values, WeightsError> {
    let plan = context.plan;
    let maps = plan.steps.iter().map(|_| Memory::default()).collect();
    let norms = vec![Normal::default(); plan.norms.len()];
    let mut values = Values { batch: context.batch, maps, norms };
    for at in 0..plan.steps.len() {
        let start = std::time::Instant::now();
        let made = plan.steps[at].together.clone();
        let mut outs: Vec<(Memory, Memory)> = made.iter().map(|&at| room(plan, at, context.batch)).collect();
        if outs.is_empty() {
            continue;
        }
        evaluate(context, &values, input, at, &mut outs)?;
        for (at, (map, seen)) in made.into_iter().zip(outs) {
            values.maps[at] = map;
            for (norm, of) in plan.norms.iter().enumerate().filter(|(_, norm)| norm.map == at) {
                values.norms[norm] = normal(context, of.node, at, &seen)?;
            }
        }
        tracing::trace!(
            target: "tegu::training",
            operator = plan.steps[at].kind.name(),
            phase = "forward",
            seconds = start.elapsed().as_secs_f64()
        );
    }
    Ok(values)
}

/// Room for a step's map, and for what its normalisations want to know.
fn room(plan: &Plan, at: usize, batch: usize) -> (Memory, Memory) {
    let step = &plan.steps[at];
    let is_normalised = plan.norms.iter().any(|norm| norm.map == at);
    let of_norm = if is_normalised { 2 * step.blocks() } else { 0 };
    (Memory::of_anything(batch * step.lanes()), Memory::of_anything(batch * of_norm))
}

/// Lanes that a thread works in.
#[derive(Default)]
struct Scratch {
    frame: Vec<Lane>,
    other: Vec<Lane>,
}

/// Fills a sample's part of each map.
type Fill<'a> = dyn Fn(&mut Scratch, usize, &mut [&mut [Lane]]) + Sync + 'a;

/// Fills the maps of the steps that `at` begins, and the moments of those that are normalised, while a sample is at hand.
fn evaluate(
    context: &Context<'_>,
    values: &Values,
    input: &[f32],
    at: usize,
    made: &mut [(Memory, Memory)],
) -> Result<(), WeightsError> {
    let (plan, batch, step) = (context.plan, context.batch, &context.plan.steps[at]);
    let (count, pixels) = (made.len(), step.pixels());
    let sizes: Vec<(usize, usize)> = step
        .together
        .iter()
        .zip(&*made)
        .map(|(&at, (_, seen))| (plan.steps[at].lanes(), if seen.is_empty() { 0 } else { 2 * plan.steps[at].blocks() }))
        .collect();
    let (maps, seen): (Vec<_>, Vec<_>) = made.iter_mut().map(|(map, seen)| (&mut **map, &mut **seen)).unzip();
    let with_moments: Vec<usize> = (0..count).filter(|&at| sizes[at].1 > 0).collect();
    let maps = maps.into_iter().zip(sizes.iter().map(|size| size.0));
    let seen = seen.into_iter().zip(sizes.iter().map(|size| size.1)).filter(|(_, size)| *size > 0);
    let outs: Vec<(&mut [Lane], usize)> = maps.chain(seen).collect();
    let each = |fill: &Fill<'_>| {
        for_each_sample(batch, parts(batch, 0), outs, vec![], Scratch::default, |scratch, sample, outs, _| {
            let (maps, seen) = outs.split_at_mut(count);
            fill(scratch, sample, maps);
            with_moments.iter().zip(seen).for_each(|(&at, seen)| moments(maps[at], pixels, seen));
        });
    };
    let view = |sample: usize, operand: usize| values.sample(plan, step.inputs[operand], sample);
    let size = |operand: usize| plan.steps[step.inputs[operand].map].size;
    let bare = |operand: usize| Frame::bare(size(operand));
    let pixels_of = |operand: usize| plan.steps[step.inputs[operand].map].pixels();
    match step.kind {
        Kind::Input => {
            let sample_size = step.channels * pixels;
            each(&|_, sample, maps| to_blocks(&input[sample * sample_size..][..sample_size], pixels, maps[0]));
        }
        Kind::Dense(_, conv) => {
            let convolutions = context.convolutions(at, conv);
            let (mut weights, mut biases) = (Vec::new(), Vec::new());
            for (node, conv) in context.nodes(at) {
                weights.push(context.parameters.of(node, "weight")?);
                biases.push(if conv.bias { Some(context.parameters.of(node, "bias")?) } else { None });
            }
            let packed = convolutions.pack(&weights, &biases);
            let frame = convolutions.slide.inputs();
            each(&|scratch, sample, maps| {
                let seen = values.framed(plan, step.inputs[0], sample, frame, &mut scratch.frame);
                convolutions.forward(&packed, seen, maps);
            });
        }
        Kind::Depthwise(node, conv) => {
            let depthwise = context.depthwise(at, conv);
            let bias = if conv.bias { Some(context.parameters.of(node, "bias")?) } else { None };
            let packed = depthwise.pack(context.parameters.of(node, "weight")?, bias);
            let frame = depthwise.slide.inputs();
            each(&|scratch, sample, maps| {
                let seen = values.framed(plan, step.inputs[0], sample, frame, &mut scratch.frame);
                depthwise.forward(&packed, seen, maps[0]);
            });
        }
        Kind::AvgPool(window) => {
            let sums = Depthwise::new(Slide::new(window, size(0)), step.channels);
            let (ones, shares, frame) = (sums.ones(), shares(&sums.slide), sums.slide.inputs());
            each(&|scratch, sample, maps| {
                let seen = values.framed(plan, step.inputs[0], sample, frame, &mut scratch.frame);
                sums.forward(&ones, seen, maps[0]);
                scale_pixels(maps[0], &shares);
            });
        }
        Kind::MaxPool(window) => {
            let slide = Slide::new(window, size(0));
            each(&|scratch, sample, maps| {
                let frame = cleared(&mut scratch.frame, slide.inputs(), step.blocks(), f32::NEG_INFINITY);
                write_view(view(sample, 0), pixels_of(0), slide.inputs(), frame, false);
                maxima(&slide, frame, maps[0]);
            });
        }
        Kind::Add => each(&|_, sample, maps| {
            for operand in 0..step.inputs.len() {
                write_view(view(sample, operand), pixels, bare(0), maps[0], operand > 0);
            }
        }),
        Kind::Copy => each(&|_, sample, maps| write_view(view(sample, 0), pixels, bare(0), maps[0], false)),
        Kind::Zero => each(&|_, _, maps| maps[0].fill(Lane::default())),
        Kind::Mul => each(&|scratch, sample, maps| {
            let a = values.framed(plan, step.inputs[0], sample, bare(0), &mut scratch.frame);
            let b = values.framed(plan, step.inputs[1], sample, bare(1), &mut scratch.other);
            maps[0].fill(Lane::default());
            add_product(a, b, [pixels_of(0), pixels_of(1)], maps[0]);
        }),
        Kind::Concat => each(&|scratch, sample, maps| {
            maps[0].fill(Lane::default());
            let mut first = 0;
            for (operand, &input) in step.inputs.iter().enumerate() {
                let part = values.framed(plan, input, sample, bare(operand), &mut scratch.frame);
                let channels = plan.steps[input.map].channels;
                move_channels(part, 0, maps[0], first, [channels, pixels], false);
                first += channels;
            }
        }),
        Kind::GlobalAvgPool => each(&|scratch, sample, maps| {
            let seen = values.framed(plan, step.inputs[0], sample, bare(0), &mut scratch.frame);
            scratch.other.resize(2 * step.blocks(), Lane::default());
            moments(seen, pixels_of(0), &mut scratch.other);
            maps[0].iter_mut().zip(scratch.other.chunks(2)).for_each(|(to, moments)| *to = moments[0]);
        }),
        Kind::Pad(margins) => each(&|scratch, sample, maps| {
            let seen = values.framed(plan, step.inputs[0], sample, bare(0), &mut scratch.frame);
            maps[0].fill(Lane::default());
            pad(seen, size(0), margins, maps[0], false);
        }),
        Kind::Softmax | Kind::Sigmoid => each(&|_, sample, maps| {
            write_view(view(sample, 0), pixels, bare(0), maps[0], false);
            match step.kind {
                Kind::Softmax => softmax(maps[0], step.channels),
                _ => sigmoid(maps[0]),
            }
        }),
        Kind::Factor(node) => {
            let factor = &context.factors[&node];
            each(&|_, sample, maps| {
                write_view(view(sample, 0), pixels, bare(0), maps[0], false);
                factor.multiply(sample, maps[0]);
            });
        }
    }
    Ok(())
}

/// A normalisation from its map's moments of each sample.
fn normal(context: &Context<'_>, node: NodeId, map: usize, seen: &[Lane]) -> Result<Normal, WeightsError> {
    let (step, batch) = (&context.plan.steps[map], context.batch);
    let (scale, shift) = (context.parameters.of(node, "weight")?, context.parameters.of(node, "bias")?);
    let (channels, pixels, blocks) = (step.channels, step.pixels() as f64, step.blocks());
    let of = |sample: usize, channel: usize, which: usize| {
        f64::from(seen[(sample * blocks + channel / 16) * 2 + which].0[channel % 16])
    };
    let (mut mean, mut variance) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
    for channel in 0..channels {
        // Samples have as many pixels each; what is off their means and how far these are off each other add up.
        let whole = (0..batch).map(|sample| of(sample, channel, 0)).sum::<f64>() / batch as f64;
        let off = |sample: usize| (of(sample, channel, 0) - whole).powi(2) * pixels + of(sample, channel, 1);
        mean.push(whole);
        variance.push((0..batch).map(off).sum::<f64>() / (batch as f64 * pixels));
    }
    let factor = |channel: usize| scale[channel] * inverse_deviation(variance[channel]);
    let factors: Vec<f32> = (0..channels).map(factor).collect();
    let means: Vec<f32> = mean.iter().map(|&mean| mean as f32).collect();
    let affine = Affine {
        mean: lanes_of(&means, channels, 1),
        factor: lanes_of(&factors, channels, 1),
        shift: lanes_of(shift, channels, 1),
    };
    Ok(Normal { affine, mean, variance })
}

pub(super) fn inverse_deviation(variance: f64) -> f32 {
    (variance + BATCH_NORM_EPS).sqrt().recip() as f32
}

/// A view as `[batch, channels, pixels]`.
pub(super) fn read(context: &Context<'_>, values: &Values, view: View) -> Vec<f32> {
    let step = &context.plan.steps[view.map];
    let size = step.channels * step.pixels();
    let mut all = vec![0.0; context.batch * size];
    let mut scratch = Vec::new();
    for (sample, to) in all.chunks_exact_mut(size).enumerate() {
        let map = values.framed(context.plan, view, sample, Frame::bare(step.size), &mut scratch);
        crate::kernels::blocked::from_blocks(map, step.pixels(), to);
    }
    all
}
