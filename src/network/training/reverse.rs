//! The way back: map by map from the outputs, what all readers of a map have to say about it.
//!
//! A map is asked when all of its readers know their own gradients, so that its own is written once: every sample's shares
//! are added up, taken through the activation, and summed for the normalisation while they are at hand. The gradient through
//! a normalisation needs sums over the whole batch first; it is made of them by those who read it ([`Term`]). Sums hand
//! their gradient on as it is.

use super::forward::{Context, inverse_deviation};
use super::parts::{Part, Scratch};
use super::plan::{Kind, View};
use super::values::{Values, for_each_sample, parts};
use crate::graph::NodeId;
use crate::kernels::blocked::{Affine, Frame, Memory, Term, add_sums, lanes_of, through_view, to_blocks, write_terms};
use crate::kernels::lanes::Lane;
use crate::network::WeightsError;
use rayon::prelude::*;
use std::sync::Arc;

/// Gradients of parameters, by node and suffix.
pub(super) type Found = Vec<((NodeId, &'static str), Vec<f32>)>;

/// The gradient with respect to a map: the sum of these.
#[derive(Debug, Default)]
pub(super) struct Gradient {
    direct: Option<Arc<Memory>>,
    normed: Vec<Normed>,
}

/// A gradient with respect to a normalised map.
#[derive(Debug)]
struct Normed {
    gradient: Arc<Memory>,
    back: Affine,
    slope: Vec<Lane>,
}

/// What is known on the way back.
pub(super) struct State<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) values: Values,
    gradients: Vec<Option<Gradient>>,
    found: Found,
}

/// One view's readers.
struct Readers {
    view: View,
    parts: Vec<Part>,
    /// The gradient of a sum that is the only reader.
    shared: Option<Arc<Memory>>,
}

/// The gradients of all parameters that the outputs depend on, from `cotangents` `[batch, …]`, one of each.
pub(super) fn run(context: &Context<'_>, values: Values, cotangents: &[Vec<f32>]) -> Result<Found, WeightsError> {
    let steps = &context.plan.steps;
    let mut readers = vec![Vec::new(); steps.len()];
    for (at, step) in steps.iter().enumerate() {
        step.inputs.iter().enumerate().for_each(|(operand, view)| readers[view.map].push((*view, at, operand)));
    }
    let mut left: Vec<usize> = steps.iter().map(|step| step.inputs.len()).collect();
    // The factors of a product want to know each other's maps, whichever is asked last.
    let factors = steps.iter().filter(|step| step.kind == Kind::Mul).flat_map(|step| &step.inputs);
    factors.for_each(|factor| left[factor.map] += 1);
    let gradients = steps.iter().map(|_| None).collect();
    let mut state = State { context, values, gradients, found: Vec::new() };
    for at in (0..steps.len()).rev() {
        let start = std::time::Instant::now();
        state.ask(at, &readers[at], cotangents)?;
        for &(_, reader, _) in &readers[at] {
            left[reader] -= 1;
            // All that its operands wanted to know of it is known.
            if left[reader] == 0 {
                state.values.maps[reader] = Memory::default();
                state.gradients[reader] = None;
            }
        }
        tracing::trace!(
            target: "tegu::training",
            operator = readers[at].first().map_or("output".into(), |&(_, reader, _)| steps[reader].kind.name()),
            phase = "backward",
            seconds = start.elapsed().as_secs_f64()
        );
    }
    Ok(state.found)
}

impl State<'_> {
    /// One sample's gradient with respect to a map; nothing where there is none.
    pub(super) fn terms(&self, map: usize, sample: usize) -> Vec<Term<'_>> {
        let lanes = self.context.plan.steps[map].lanes();
        let of = |memory: &'_ Memory| sample * lanes..(sample * lanes + lanes).min(memory.len());
        let Some(gradient) = &self.gradients[map] else { return Vec::new() };
        let direct = gradient.direct.iter().map(|direct| Term { gradient: &direct[of(direct)], norm: None });
        let normed = gradient.normed.iter().map(|normed| Term {
            gradient: &normed.gradient[of(&normed.gradient)],
            norm: Some((&self.values.maps[map][of(&normed.gradient)], &normed.back, &normed.slope)),
        });
        direct.chain(normed).collect()
    }

    /// Whether an output depends on a step.
    pub(super) fn is_reached(&self, step: usize) -> bool {
        self.gradients[step].is_some()
    }

    /// The gradient of a step if it is one map.
    fn whole(&self, step: usize) -> Option<&Arc<Memory>> {
        let gradient = self.gradients[step].as_ref()?;
        gradient.direct.as_ref().filter(|_| gradient.normed.is_empty())
    }

    /// The readers of a map that an output depends on, by view: those through an activation first, which begin a sum.
    fn readers(
        &self,
        map: usize,
        readers: &[(View, usize, usize)],
        cotangents: &[Vec<f32>],
    ) -> Result<Vec<Readers>, WeightsError> {
        let plan = self.context.plan;
        let mut all: Vec<Readers> = Vec::new();
        let mut push = |view: View, part: Part| match all.iter_mut().find(|known| known.view == view) {
            Some(known) => known.parts.push(part),
            None => all.push(Readers { view, parts: vec![part], shared: None }),
        };
        for &(view, step, operand) in readers {
            if plan.steps[step].together.iter().any(|&at| self.is_reached(at)) {
                push(view, Part::new(self.context, step, operand)?);
            }
        }
        for (output, cotangent) in plan.outputs.iter().zip(cotangents).filter(|(output, _)| output.map == map) {
            let step = &plan.steps[map];
            let mut seed = Memory::of_zeros(self.values.batch * step.lanes());
            let samples =
                cotangent.chunks_exact(step.channels * step.pixels()).zip(seed.chunks_exact_mut(step.lanes()));
            samples.for_each(|(from, to)| to_blocks(from, step.pixels(), to));
            push(*output, Part::Seed(seed));
        }
        all.sort_by_key(|readers| readers.view.act.is_none());
        let plain = all.iter().filter(|readers| readers.view.norm.is_none()).count();
        for readers in &mut all {
            if let ([Part::Sum(step)], None) = (&readers.parts[..], readers.view.act)
                && (readers.view.norm.is_some() || plain == 1)
            {
                readers.shared = self.whole(*step).cloned();
            }
        }
        Ok(all)
    }

    /// Finds the gradient with respect to a map, and those of the parameters of its readers.
    fn ask(
        &mut self,
        map: usize,
        readers: &[(View, usize, usize)],
        cotangents: &[Vec<f32>],
    ) -> Result<(), WeightsError> {
        let step = &self.context.plan.steps[map];
        let mut all = self.readers(map, readers, cotangents)?;
        if all.is_empty() {
            return Ok(());
        }
        // Of the network's input and of constants nothing is asked.
        let wanted = !matches!(step.kind, Kind::Input | Kind::Zero);
        let (batch, lanes, of_sums) = (self.values.batch, step.lanes(), 2 * step.blocks());
        let is_direct = |readers: &Readers| wanted && readers.view.norm.is_none() && readers.shared.is_none();
        let mut direct = match all.iter().any(is_direct) {
            true => Memory::of_anything(batch * lanes),
            false => Memory::default(),
        };
        // Of each normalised view: its gradient unless it is shared, and its sums.
        let mut normed: Vec<(Memory, Memory)> = all
            .iter()
            .filter(|readers| readers.view.norm.is_some())
            .map(|readers| {
                let own = if readers.shared.is_none() { batch * lanes } else { 0 };
                (Memory::of_anything(own), Memory::of_zeros(batch * of_sums))
            })
            .collect();
        let of_weights: Vec<usize> = all.iter().flat_map(|readers| &readers.parts).flat_map(Part::sums).collect();
        let parts_of_batch = parts(batch, of_weights.iter().sum());
        let mut weights: Vec<Memory> =
            of_weights.iter().map(|lanes| Memory::of_zeros(parts_of_batch * lanes)).collect();

        let mut outs: Vec<(&mut [Lane], usize)> = vec![(&mut direct, lanes)];
        for (own, sums) in &mut normed {
            outs.push((own, lanes));
            outs.push((sums, of_sums));
        }
        // What has no lanes must have its place all the same.
        let present: Vec<bool> = outs.iter().map(|(lanes, _)| !lanes.is_empty()).collect();
        outs.retain(|(lanes, _)| !lanes.is_empty());
        let sums = weights.iter_mut().map(|sums| &mut **sums).zip(of_weights.iter().copied()).collect();
        let state = &*self;
        for_each_sample(batch, parts_of_batch, outs, sums, Scratch::default, |scratch, sample, outs, sums| {
            let mut given = outs.iter_mut();
            let mut outs: Vec<&mut [Lane]> = present
                .iter()
                .map(|&is| if is { given.next().map(|out| &mut **out) } else { None }.unwrap_or(&mut []))
                .collect();
            state.one_sample(map, &all, scratch, sample, &mut outs, sums);
        });

        let mut sums = weights.iter().zip(&of_weights).map(|(sums, &lanes)| total(sums, lanes));
        for part in all.iter().flat_map(|readers| &readers.parts) {
            let mine: Vec<Vec<Lane>> = sums.by_ref().take(part.sums().len()).collect();
            self.found.extend(part.found(self, &mine));
        }
        let mut gradient = Gradient::default();
        let mut normed = normed.into_iter();
        for readers in &mut all {
            match readers.view.norm {
                Some(norm) => {
                    let (own, sums) = normed.next().expect("room for each normalised view");
                    let whole = readers.shared.take().unwrap_or_else(|| Arc::new(own));
                    let normed = self.through_norm(norm, whole, &sums)?;
                    gradient.normed.push(normed);
                }
                None if readers.shared.is_some() => gradient.direct = readers.shared.take(),
                None => {}
            }
        }
        if !direct.is_empty() {
            gradient.direct = Some(Arc::new(direct));
        }
        if wanted {
            self.gradients[map] = Some(gradient);
            if matches!(step.kind, Kind::Add | Kind::Copy) && self.whole(map).is_none() {
                self.write_down(map);
            }
        }
        Ok(())
    }

    /// One sample of [`State::ask`]: `outs` are the direct gradient, and of each normalised view its gradient and sums.
    fn one_sample(
        &self,
        map: usize,
        all: &[Readers],
        scratch: &mut Scratch,
        sample: usize,
        outs: &mut [&mut [Lane]],
        sums: &mut [&mut [Lane]],
    ) {
        let step = &self.context.plan.steps[map];
        let (lanes, pixels) = (step.lanes(), step.pixels());
        let (direct, normed) = outs.split_at_mut(1);
        let mut normed = normed.as_chunks_mut::<2>().0.iter_mut();
        let (mut begun, mut sums) = (false, sums);
        for readers in all {
            let seen = self.values.sample(self.context.plan, readers.view, sample);
            let mut own = std::mem::take(&mut scratch.own);
            let of_norm = readers.view.norm.map(|_| normed.next().expect("room for each normalised view"));
            let is_apart = of_norm.is_none() && begun && readers.view.act.is_some();
            let (target, sums_of_norm): (&mut [Lane], _) = match of_norm {
                Some([own, sums]) => (own, Some(&mut **sums)),
                None if is_apart => {
                    own.resize(lanes, Lane::default());
                    (&mut own[..lanes], None)
                }
                None => (&mut *direct[0], None),
            };
            let mut is_written = readers.view.norm.is_none() && begun && !is_apart;
            if let Some(shared) = &readers.shared {
                // Asked for its sums alone.
                if let (Some(sums), Some(norm)) = (sums_of_norm, readers.view.norm) {
                    let mean = &self.values.norms[norm].affine.mean;
                    add_sums(seen.map, mean, pixels, &shared[sample * lanes..][..lanes], sums);
                }
            } else {
                for part in &readers.parts {
                    let (mine, behind) = std::mem::take(&mut sums).split_at_mut(part.sums().len());
                    sums = behind;
                    let out = (!target.is_empty()).then_some(&mut *target);
                    part.add(self, readers.view, sample, scratch, out, is_written, mine);
                    is_written = true;
                }
                if !target.is_empty() && !readers.view.is_plain() {
                    through_view(seen, pixels, target, sums_of_norm);
                }
                if is_apart {
                    write_terms(
                        &[Term { gradient: &own, norm: None }],
                        pixels,
                        Frame::bare(step.size),
                        direct[0],
                        true,
                    );
                }
                begun |= readers.view.norm.is_none();
            }
            scratch.own = own;
        }
    }

    /// The parameters' gradients of a normalisation, and what its way back is.
    fn through_norm(&mut self, norm: usize, gradient: Arc<Memory>, sums: &[Lane]) -> Result<Normed, WeightsError> {
        let of = self.context.plan.norms[norm];
        let step = &self.context.plan.steps[of.map];
        let (channels, blocks, batch) = (step.channels, step.blocks(), self.values.batch);
        let scale = self.context.parameters.of(of.node, "weight")?;
        let sum = |channel: usize, which: usize| -> f64 {
            let at = |sample: usize| sums[(sample * blocks + channel / 16) * 2 + which].0[channel % 16];
            (0..batch).map(|sample| f64::from(at(sample))).sum()
        };
        let count = (batch * step.pixels()) as f64;
        let seen = &self.values.norms[norm];
        let (mut of_scale, mut of_shift) = (Vec::new(), Vec::new());
        let (mut gains, mut offsets, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
        for (channel, scale) in scale.iter().enumerate() {
            let inverse = f64::from(inverse_deviation(seen.variance[channel]));
            let (plain, along) = (sum(channel, 0), sum(channel, 1) * inverse);
            let gain = f64::from(*scale) * inverse;
            of_shift.push(plain as f32);
            of_scale.push(along as f32);
            gains.push(gain as f32);
            offsets.push((-gain * plain / count) as f32);
            slopes.push((-gain * inverse * along / count) as f32);
        }
        let lanes = |values: &[f32]| lanes_of(values, channels, 1);
        let back = Affine { mean: seen.affine.mean.clone(), factor: lanes(&gains), shift: lanes(&offsets) };
        for (suffix, gradient) in [("weight", of_scale), ("bias", of_shift)] {
            // It may be seen with and without an activation.
            match self.found.iter_mut().find(|(known, _)| *known == (of.node, suffix)) {
                Some((_, sum)) => sum.iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more),
                None => self.found.push(((of.node, suffix), gradient)),
            }
        }
        Ok(Normed { gradient, back, slope: lanes(&slopes) })
    }

    /// Writes a map's gradient down as one map, which its operands then share.
    fn write_down(&mut self, map: usize) {
        let step = &self.context.plan.steps[map];
        let (batch, lanes) = (self.values.batch, step.lanes());
        let mut whole = Memory::of_anything(batch * lanes);
        let state = &*self;
        for_each_sample(
            batch,
            parts(batch, 0),
            vec![(&mut whole, lanes)],
            vec![],
            || (),
            |(), sample, outs, _| {
                write_terms(&state.terms(map, sample), step.pixels(), Frame::bare(step.size), outs[0], false);
            },
        );
        self.gradients[map] = Some(Gradient { direct: Some(Arc::new(whole)), normed: Vec::new() });
    }
}

/// The sum over all parts of a batch, in their order.
fn total(sums: &[Lane], lanes: usize) -> Vec<Lane> {
    /// Lanes that one task sums.
    const TASK: usize = 512;
    let mut all = sums[..lanes].to_vec();
    all.par_chunks_mut(TASK).enumerate().for_each(|(at, all)| {
        for part in sums[lanes..].chunks_exact(lanes) {
            for (sum, part) in all.iter_mut().zip(&part[at * TASK..]) {
                sum.0.iter_mut().zip(part.0).for_each(|(sum, part)| *sum += part);
            }
        }
    });
    all
}
