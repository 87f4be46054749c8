//! Gradients for sixteen cotangents at once, one in each lane of a vector.
//!
//! A map of cotangents is `[batch, channels, height, width]` of [`Lane`]s, so that what the cotangents share – a
//! weight, an input's pixel, the slope of a ReLU – is one number for a whole vector: every rule is lane by lane, and
//! what ReLU made zero is left out for all cotangents alike. All of it is sequential: several vectors of cotangents
//! are several tasks.

mod conv;
mod memory;
mod norm;
mod pool;
mod tiles;

pub(crate) use conv::{LaneConv, Mask};
pub(crate) use memory::{Map, Memory as KeptMemory};
pub(crate) use norm::{Norm, Normalised, normalise};
pub(crate) use pool::{average_shares, max_pool};

use super::vector::{Job, Simd, prefetch, run_widest};
use std::ops::Range;
use std::sync::Arc;

/// Cotangents in a [`Lane`].
pub(crate) const LANES: usize = 16;

/// Lanes that are fetched ahead of their use where a map is only read.
const AHEAD: usize = 16;

/// One number for each of sixteen cotangents.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Lane(pub(crate) [f32; LANES]);

/// The dimensions of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dims {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Dims {
    /// Pixels of a plane.
    pub(crate) fn plane(self) -> usize {
        self.height * self.width
    }

    /// Elements of a sample.
    pub(crate) fn sample(self) -> usize {
        self.channels * self.plane()
    }

    /// Elements of the map.
    pub(crate) fn elements(self) -> usize {
        self.batch * self.sample()
    }
}

/// A map of cotangents, shared by all nodes that have the same; of a normalised map what it was made from, so that
/// it is written down only where it is used.
#[derive(Clone, Debug)]
pub(crate) struct Cotangent {
    pub(crate) dims: Dims,
    pub(crate) map: Arc<Map>,
    pub(crate) norm: Option<Arc<Norm>>,
}

/// What a plane of cotangents becomes on its way into another plane.
#[derive(Clone, Copy)]
enum Change<'a> {
    /// Nothing.
    Copied,
    /// `g · gain + offset + (x - mean) · slope`
    Normalised { x: &'a [f32], mean: f32, gain: f32, offset: &'a Lane, slope: &'a Lane },
    /// `g · factor` of each pixel.
    Scaled(&'a [f32]),
}

impl Cotangent {
    pub(crate) fn new(dims: Dims, map: Map) -> Self {
        assert_eq!(map.len(), dims.elements(), "a lane for each element");
        Self { dims, map: Arc::new(map), norm: None }
    }

    /// Writes a plane into `to`, whose rows begin `pitch` apart, or adds it.
    pub(crate) fn write_plane(&self, sample: usize, channel: usize, to: &mut [Lane], pitch: usize, add: bool) {
        let place = (sample * self.dims.channels + channel) * self.dims.plane();
        let change = self.norm.as_ref().map_or(Change::Copied, |norm| norm.change(place, channel, self.dims.plane()));
        write(&self.map[place..][..self.dims.plane()], self.dims.width, change, to, pitch, add);
    }

    /// Writes a plane times `factors`, one for each pixel, into `to`, whose rows begin `pitch` apart.
    pub(crate) fn write_scaled(&self, sample: usize, channel: usize, factors: &[f32], to: &mut [Lane], pitch: usize) {
        assert!(self.norm.is_none(), "a normalised map is written down first");
        let place = (sample * self.dims.channels + channel) * self.dims.plane();
        let from = &self.map[place..][..self.dims.plane()];
        write(from, self.dims.width, Change::Scaled(factors), to, pitch, false);
    }

    /// Writes a sample into `to`, or adds it.
    pub(crate) fn write_sample(&self, sample: usize, to: &mut [Lane], add: bool) {
        for (channel, plane) in to.chunks_mut(self.dims.plane()).enumerate() {
            self.write_plane(sample, channel, plane, self.dims.width, add);
        }
    }

    /// The map itself.
    pub(crate) fn of_sample(&self, sample: usize) -> &[Lane] {
        assert!(self.norm.is_none(), "a normalised map is written down first");
        &self.map[sample * self.dims.sample()..][..self.dims.sample()]
    }
}

/// A map of cotangents to which a rule adds its part, sample by sample and each sample once: what it held before is
/// fetched as late, so that it is in the cache.
#[derive(Debug)]
pub(crate) struct Sum {
    pub(crate) dims: Dims,
    map: Map,
    before: Before,
}

/// What a [`Sum`] starts from.
#[derive(Debug)]
enum Before {
    /// What is in its memory.
    Itself,
    Zero,
    Other(Cotangent),
}

impl Sum {
    /// A sum that begins with `before`, or zero.
    pub(crate) fn new(dims: Dims, before: Option<Cotangent>) -> Self {
        let other = match before {
            None => return Self { dims, map: Map::of_anything(dims.elements()), before: Before::Zero },
            Some(Cotangent { map, norm: None, .. }) => match Arc::try_unwrap(map) {
                Ok(map) => return Self { dims, map, before: Before::Itself },
                Err(map) => Cotangent { dims, map, norm: None },
            },
            Some(other) => other,
        };
        Self { dims, map: Map::of_anything(dims.elements()), before: Before::Other(other) }
    }

    /// The sum of one sample so far.
    pub(crate) fn sample(&mut self, sample: usize) -> &mut [Lane] {
        self.part(sample, 0..self.dims.channels)
    }

    /// The sum of some of a sample's channels so far; these are to be asked for once.
    fn part(&mut self, sample: usize, channels: Range<usize>) -> &mut [Lane] {
        let (to, unwritten) = self.part_or_unwritten(sample, channels);
        if unwritten {
            to.fill(Lane::default());
        }
        to
    }

    /// As [`Self::part`], but a sum of nothing is not written: the second is true, and what the lanes hold is
    /// arbitrary.
    fn part_or_unwritten(&mut self, sample: usize, channels: Range<usize>) -> (&mut [Lane], bool) {
        let plane = self.dims.plane();
        let to = &mut self.map[(sample * self.dims.channels + channels.start) * plane..][..channels.len() * plane];
        if let Before::Other(other) = &self.before {
            for (channel, to) in channels.zip(to.chunks_mut(plane)) {
                other.write_plane(sample, channel, to, self.dims.width, false);
            }
        }
        (to, matches!(self.before, Before::Zero))
    }

    /// The whole, after all samples.
    pub(crate) fn finish(self) -> Cotangent {
        Cotangent::new(self.dims, self.map)
    }
}

fn write(from: &[Lane], width: usize, change: Change, to: &mut [Lane], pitch: usize, add: bool) {
    let rows = from.len() / width.max(1);
    assert!(rows == 0 || (width <= pitch && (rows - 1) * pitch + width <= to.len()), "the plane fits");
    if let Change::Normalised { x: shared, .. } | Change::Scaled(shared) = change {
        assert_eq!(shared.len(), from.len(), "a number for each pixel");
    }
    // SAFETY: the assertions bound every access.
    unsafe { run_widest(&mut Write { from, width, change, to: to.as_mut_ptr().cast(), pitch, add }) }
}

struct Write<'a> {
    from: &'a [Lane],
    width: usize,
    change: Change<'a>,
    to: *mut f32,
    pitch: usize,
    add: bool,
}

impl Job for Write<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        for at in (0..LANES).step_by(S::LANES) {
            // SAFETY: `at` is a whole vector within the lane; the pixels are those that `write` asserted.
            unsafe {
                match self.change {
                    Change::Copied => self.each::<S>(at, |_, g| g),
                    Change::Scaled(factors) => {
                        let zero = S::splat(0.0);
                        self.each::<S>(at, |pixel, g| g.mul_add(S::splat(*factors.as_ptr().add(pixel)), zero));
                    }
                    Change::Normalised { x, mean, gain, offset, slope } => {
                        let (gain, x) = (S::splat(gain), x.as_ptr());
                        let offset = S::load(offset.0.as_ptr().add(at));
                        let slope = S::load(slope.0.as_ptr().add(at));
                        self.each::<S>(at, |pixel, g| {
                            slope.mul_add(S::splat(*x.add(pixel) - mean), g.mul_add(gain, offset))
                        });
                    }
                }
            }
        }
    }
}

impl Write<'_> {
    #[inline(always)]
    unsafe fn each<S: Simd>(&self, at: usize, f: impl Fn(usize, S) -> S) {
        unsafe {
            let one = S::splat(1.0);
            let from = self.from.as_ptr().cast::<f32>().add(at);
            for (row, start) in (0..self.from.len()).step_by(self.width).enumerate() {
                let to = self.to.add(row * self.pitch * LANES + at);
                for column in 0..self.width {
                    prefetch(from.wrapping_add((start + column + AHEAD) * LANES));
                    let value = f(start + column, S::load(from.add((start + column) * LANES)));
                    let to = to.add(column * LANES);
                    match self.add {
                        true => value.mul_add(one, S::load(to)).store(to),
                        false => value.store(to),
                    }
                }
            }
        }
    }
}

/// `to += from · factor`, lane by lane, with a factor for each element.
pub(crate) fn add_scaled(to: &mut [Lane], from: &[Lane], factors: &[f32]) {
    assert!(from.len() == to.len() && factors.len() == to.len(), "as many of each");
    for ((to, from), factor) in to.iter_mut().zip(from).zip(factors) {
        to.0.iter_mut().zip(&from.0).for_each(|(to, from)| *to += from * factor);
    }
}

/// `[count, elements]` as lanes `[elements]`; those above `count` are zero.
pub(crate) fn to_lanes(folded: &[f32], count: usize, elements: usize) -> Map {
    let mut lanes = Map::of_zeros(elements);
    for (at, values) in folded.chunks(elements.max(1)).take(count).enumerate() {
        lanes.iter_mut().zip(values).for_each(|(lane, value)| lane.0[at] = *value);
    }
    lanes
}

/// The first `count` of each lane, `[count, elements]`.
pub(crate) fn from_lanes(lanes: &[Lane], count: usize) -> Vec<f32> {
    (0..count).flat_map(|at| lanes.iter().map(move |lane| lane.0[at])).collect()
}
