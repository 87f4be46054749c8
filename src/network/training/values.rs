//! The maps of a pass, the samples of which are worked on in parallel.

use super::plan::{Plan, View as PlanView};
use crate::kernels::blocked::{Affine, Frame, Memory, View, write_view};
use crate::kernels::lanes::Lane;
use rayon::prelude::*;

/// Most parts that a batch is divided into: sums over samples are made part by part, so that they do not depend on the
/// number of threads.
const PARTS: usize = 16;
/// Lanes of sums from which on there are half as many parts: what is summed has to be written and read for each.
const MANY: usize = 1 << 10;
/// Most lanes of all parts' sums (128 MiB).
const MOST_SUMS: usize = 1 << 21;

/// What a batch normalisation saw, and what it does.
#[derive(Clone, Debug, Default)]
pub(super) struct Normal {
    pub(super) affine: Affine,
    /// Of each channel.
    pub(super) mean: Vec<f64>,
    /// Biased.
    pub(super) variance: Vec<f64>,
}

/// The maps of all steps, `[batch, blocks, rows, columns]`, as long as they are needed.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) batch: usize,
    pub(super) maps: Vec<Memory>,
    pub(super) norms: Vec<Normal>,
}

impl Values {
    /// One sample of a view.
    pub(super) fn sample<'a>(&'a self, plan: &Plan, view: PlanView, sample: usize) -> View<'a> {
        let lanes = plan.steps[view.map].lanes();
        let map = &self.maps[view.map][sample * lanes..][..lanes];
        View { map, norm: view.norm.map(|norm| &self.norms[norm].affine), act: view.act }
    }

    /// One sample of a view in a frame with margins of zeros: `scratch`, or the map itself where it is the same.
    pub(super) fn framed<'a>(
        &'a self,
        plan: &Plan,
        view: PlanView,
        sample: usize,
        frame: Frame,
        scratch: &'a mut Vec<Lane>,
    ) -> &'a [Lane] {
        let seen = self.sample(plan, view, sample);
        if view.is_plain() && frame.is_bare() {
            return seen.map;
        }
        let step = &plan.steps[view.map];
        let to = cleared(scratch, frame, step.blocks(), 0.0);
        write_view(seen, step.pixels(), frame, to, false);
        to
    }
}

/// The lanes of a frame, with `margin` in its margins and anything inside.
pub(super) fn cleared(scratch: &mut Vec<Lane>, frame: Frame, blocks: usize, margin: f32) -> &mut [Lane] {
    let lanes = blocks * frame.area();
    if scratch.len() < lanes {
        scratch.resize(lanes, Lane::default());
    }
    let to = &mut scratch[..lanes];
    if !frame.is_bare() {
        let [rows, columns] = frame.size;
        let (first, pitch) = (frame.origin(), frame.sides[1]);
        for plane in to.chunks_exact_mut(frame.area()) {
            plane[..first].fill(Lane([margin; 16]));
            for row in 0..rows {
                let end = first + row * pitch + columns;
                let next = if row + 1 < rows { end + pitch - columns } else { plane.len() };
                plane[end..next].fill(Lane([margin; 16]));
            }
        }
    }
    to
}

/// Calls `task` for each sample, in parallel, with its part of each of `outs` and its part of the batch's of each of `sums`:
/// `(lanes, lanes of one sample or part)`. As many parts as [`parts`] says.
pub(super) fn for_each_sample<S>(
    batch: usize,
    parts: usize,
    outs: Vec<(&mut [Lane], usize)>,
    sums: Vec<(&mut [Lane], usize)>,
    scratch: impl Fn() -> S + Sync + Send,
    task: impl Fn(&mut S, usize, &mut [&mut [Lane]], &mut [&mut [Lane]]) + Sync + Send,
) {
    let each = batch.div_ceil(parts).max(1);
    type Part<'a> = (Vec<Vec<&'a mut [Lane]>>, Vec<&'a mut [Lane]>);
    let mut all: Vec<Part<'_>> = (0..batch.div_ceil(each)).map(|_| (Vec::new(), Vec::new())).collect();
    for (map, lanes) in outs {
        let parts = map.chunks_exact_mut(lanes).enumerate();
        parts.for_each(|(sample, lanes)| {
            let part = &mut all[sample / each].0;
            part.resize_with(part.len().max(sample % each + 1), Vec::new);
            part[sample % each].push(lanes);
        });
    }
    for (map, lanes) in sums {
        map.chunks_exact_mut(lanes).zip(&mut all).for_each(|(lanes, part)| part.1.push(lanes));
    }
    let run = |scratch: &mut S, (part, (mut samples, mut sums)): (usize, Part<'_>)| {
        let count = each.min(batch - part * each);
        samples.resize_with(count, Vec::new);
        samples.iter_mut().enumerate().for_each(|(at, outs)| task(scratch, part * each + at, outs, &mut sums));
    };
    match rayon::current_num_threads() {
        1 => {
            let mut scratch = scratch();
            all.into_iter().enumerate().for_each(|part| run(&mut scratch, part));
        }
        _ => all.into_par_iter().enumerate().with_max_len(1).for_each_init(scratch, run),
    }
}

/// The parts of a batch for sums of so many lanes.
pub(super) fn parts(batch: usize, lanes: usize) -> usize {
    let most = (MOST_SUMS / lanes.max(1)).clamp(1, if lanes > MANY { PARTS / 2 } else { PARTS });
    let each = batch.div_ceil(most).max(1);
    batch.div_ceil(each)
}
