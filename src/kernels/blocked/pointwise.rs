//! What is done to every pixel of a map alike.
//!
//! A [`View`] is a map as another operator sees it: normalised and activated while it is read, so that neither has a map
//! of its own. On the way back a map's gradient is a sum of [`Term`]s, which are written down as they are read, too.

use super::super::lanes::{LANES, Lane};
use super::super::vector::{Job, Simd, run_widest};
use super::window::Frame;
use crate::graph::Activation;

/// `(x - mean) · factor + shift`, lanes of each block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Affine {
    pub(crate) mean: Vec<Lane>,
    pub(crate) factor: Vec<Lane>,
    pub(crate) shift: Vec<Lane>,
}

/// One sample's map as it is read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// `[blocks, pixels]`
    pub(crate) map: &'a [Lane],
    pub(crate) norm: Option<&'a Affine>,
    pub(crate) act: Option<Activation>,
}

/// A part of one sample's gradient: `g`, or `g · factor + shift + (x - mean) · slope`.
#[derive(Clone, Copy)]
pub(crate) struct Term<'a> {
    /// `[blocks, pixels]`
    pub(crate) gradient: &'a [Lane],
    /// The normalised map, the way back through its normalisation, and its slope by block.
    pub(crate) norm: Option<(&'a [Lane], &'a Affine, &'a [Lane])>,
}

/// Writes a sample's view into a frame, whose margins stay as they are, or adds it.
pub(crate) fn write_view(view: View<'_>, pixels: usize, frame: Frame, to: &mut [Lane], add: bool) {
    for (block, (to, map)) in to.chunks_exact_mut(frame.area()).zip(view.map.chunks_exact(pixels)).enumerate() {
        let norm = view.norm.map(|norm| (&norm.mean[block], &norm.factor[block], &norm.shift[block]));
        run(&mut Write { x: map, act: view.act, norm, frame, to, add });
    }
}

/// Writes a sample's gradient into a frame, whose margins stay as they are, or adds it.
pub(crate) fn write_terms(terms: &[Term<'_>], pixels: usize, frame: Frame, to: &mut [Lane], add: bool) {
    for (at, term) in terms.iter().enumerate() {
        for (block, (to, gradient)) in
            to.chunks_exact_mut(frame.area()).zip(term.gradient.chunks_exact(pixels)).enumerate()
        {
            let norm = term.norm.map(|(x, norm, slope)| WayBack {
                x: &x[block * pixels..][..pixels],
                mean: &norm.mean[block],
                factor: &norm.factor[block],
                shift: &norm.shift[block],
                slope: &slope[block],
            });
            run(&mut WriteTerm { gradient, norm, frame, to, add: add || at > 0 });
        }
    }
}

/// Takes a sample's gradient with respect to a view back through its activation, in place; adds the sums of the result,
/// and of it times `x - mean`, to `sums`: two lanes a block.
pub(crate) fn through_view(view: View<'_>, pixels: usize, gradient: &mut [Lane], sums: Option<&mut [Lane]>) {
    let mut none = vec![[Lane::default(); 2].to_vec(); 1];
    let mut sums = sums.map(|sums| sums.chunks_exact_mut(2));
    for (block, (gradient, map)) in gradient.chunks_exact_mut(pixels).zip(view.map.chunks_exact(pixels)).enumerate() {
        let norm = view.norm.map(|norm| (&norm.mean[block], &norm.factor[block], &norm.shift[block]));
        let sums = sums.as_mut().and_then(Iterator::next);
        run(&mut Back { x: map, act: view.act, norm, gradient, sums: sums.unwrap_or(&mut none[0]) });
    }
}

/// Multiplies each pixel by a number of its own.
pub(crate) fn scale_pixels(map: &mut [Lane], factors: &[f32]) {
    for plane in map.chunks_exact_mut(factors.len()) {
        plane.iter_mut().zip(factors).for_each(|(x, factor)| x.0.iter_mut().for_each(|x| *x *= factor));
    }
}

pub(super) fn run(job: &mut impl Job) {
    // SAFETY: the jobs of this module go over slices that they have checked.
    unsafe { run_widest(job) }
}

#[inline(always)]
pub(super) unsafe fn load<S: Simd>(lanes: &[Lane], at: usize, half: usize) -> S {
    unsafe { S::load(lanes.as_ptr().add(at).cast::<f32>().add(half)) }
}

#[inline(always)]
pub(super) unsafe fn store<S: Simd>(value: S, lanes: &mut [Lane], at: usize, half: usize) {
    unsafe { value.store(lanes.as_mut_ptr().add(at).cast::<f32>().add(half)) }
}

/// max(x, 0); NaN stays.
#[inline(always)]
unsafe fn rectified<S: Simd>(x: S) -> S {
    unsafe {
        let zero = S::splat(0.0);
        zero.sub(x).where_positive(zero, x)
    }
}

/// min(max(x, 0), 6)
#[inline(always)]
unsafe fn clamped<S: Simd>(x: S) -> S {
    unsafe {
        let x = rectified(x);
        x.sub(S::splat(6.0)).where_positive(S::splat(6.0), x)
    }
}

#[inline(always)]
unsafe fn activated<S: Simd>(act: Option<Activation>, x: S) -> S {
    unsafe {
        match act {
            None => x,
            Some(Activation::Relu) => rectified(x),
            Some(Activation::Relu6) => clamped(x),
            Some(Activation::HardSwish) => clamped(x.add(S::splat(3.0))).mul(S::splat(1.0 / 6.0)).mul(x),
            Some(Activation::HardSigmoid) => clamped(x.add(S::splat(3.0))).mul(S::splat(1.0 / 6.0)),
            Some(Activation::Sigmoid) => unreachable!("a sigmoid has a map of its own"),
            Some(Activation::Gelu) => unreachable!("no plan takes a GELU"),
        }
    }
}

/// `gradient` times the slope of the activation at `x`: zero at kinks, as PyTorch has it.
#[inline(always)]
unsafe fn back<S: Simd>(act: Option<Activation>, x: S, gradient: S) -> S {
    unsafe {
        let zero = S::splat(0.0);
        match act {
            None => gradient,
            Some(Activation::Relu) => x.where_positive(gradient, zero),
            Some(Activation::Relu6) => S::splat(6.0).sub(x).where_positive(x.where_positive(gradient, zero), zero),
            Some(Activation::HardSwish) => {
                let within = x.mul_add(S::splat(1.0 / 3.0), S::splat(0.5)).mul(gradient);
                let within = x.add(S::splat(3.0)).where_positive(within, zero);
                S::splat(3.0).sub(x).where_positive(within, gradient)
            }
            Some(Activation::HardSigmoid) => {
                let above = x.add(S::splat(3.0)).where_positive(gradient.mul(S::splat(1.0 / 6.0)), zero);
                S::splat(3.0).sub(x).where_positive(above, zero)
            }
            Some(Activation::Sigmoid) => unreachable!("a sigmoid has a map of its own"),
            Some(Activation::Gelu) => unreachable!("no plan takes a GELU"),
        }
    }
}

/// Calls with each activation as a constant, so that the loop inside has no branch.
macro_rules! by_activation {
    ($act:expr, $call:ident) => {
        match $act {
            None => $call!(None),
            Some(Activation::Relu) => $call!(Some(Activation::Relu)),
            Some(Activation::Relu6) => $call!(Some(Activation::Relu6)),
            Some(Activation::HardSwish) => $call!(Some(Activation::HardSwish)),
            Some(Activation::HardSigmoid) => $call!(Some(Activation::HardSigmoid)),
            Some(Activation::Sigmoid) => unreachable!("a sigmoid has a map of its own"),
            Some(Activation::Gelu) => unreachable!("no plan takes a GELU"),
        }
    };
}

/// Mean, factor and shift of a block.
type Normal<'a> = (&'a Lane, &'a Lane, &'a Lane);

/// The normalisation of a block in registers.
#[derive(Clone, Copy)]
struct Loaded<S>(Option<(S, S, S)>);

impl<S: Simd> Loaded<S> {
    #[inline(always)]
    unsafe fn of(norm: Option<Normal<'_>>, half: usize) -> Self {
        let at = |lane: &Lane| unsafe { S::load(lane.0.as_ptr().add(half)) };
        Self(norm.map(|(mean, factor, shift)| (at(mean), at(factor), at(shift))))
    }

    #[inline(always)]
    unsafe fn apply(self, x: S) -> S {
        match self.0 {
            Some((mean, factor, shift)) => unsafe { x.sub(mean).mul_add(factor, shift) },
            None => x,
        }
    }
}

struct Write<'a> {
    x: &'a [Lane],
    act: Option<Activation>,
    norm: Option<Normal<'a>>,
    frame: Frame,
    to: &'a mut [Lane],
    add: bool,
}

impl Job for Write<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let [rows, columns] = check(self.frame, self.x, self.to);
        for half in (0..LANES).step_by(S::LANES) {
            for row in 0..rows {
                let from = &self.x[row * columns..][..columns];
                let to = &mut self.to[self.frame.origin() + row * self.frame.sides[1]..][..columns];
                // SAFETY: both slices have the row's pixels.
                unsafe {
                    let norm = Loaded::<S>::of(self.norm, half);
                    macro_rules! write {
                        ($act:expr) => {
                            for at in 0..columns {
                                let value = activated($act, norm.apply(load::<S>(from, at, half)));
                                let value = if self.add { value.add(load(to, at, half)) } else { value };
                                store(value, to, at, half);
                            }
                        };
                    }
                    by_activation!(self.act, write);
                }
            }
        }
    }
}

fn check(frame: Frame, from: &[Lane], to: &[Lane]) -> [usize; 2] {
    assert!(frame.size[0] * frame.size[1] <= from.len() && frame.area() <= to.len(), "whole planes");
    match frame.is_bare() {
        true => [1, frame.area()],
        false => frame.size,
    }
}

#[derive(Clone, Copy)]
struct WayBack<'a> {
    x: &'a [Lane],
    mean: &'a Lane,
    factor: &'a Lane,
    shift: &'a Lane,
    slope: &'a Lane,
}

struct WriteTerm<'a> {
    gradient: &'a [Lane],
    norm: Option<WayBack<'a>>,
    frame: Frame,
    to: &'a mut [Lane],
    add: bool,
}

impl Job for WriteTerm<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let [rows, columns] = check(self.frame, self.gradient, self.to);
        for half in (0..LANES).step_by(S::LANES) {
            for row in 0..rows {
                let from = &self.gradient[row * columns..][..columns];
                let to = &mut self.to[self.frame.origin() + row * self.frame.sides[1]..][..columns];
                // SAFETY: all slices have the row's pixels.
                unsafe {
                    match self.norm {
                        None => {
                            for at in 0..columns {
                                let g = load::<S>(from, at, half);
                                let value = if self.add { g.add(load(to, at, half)) } else { g };
                                store(value, to, at, half);
                            }
                        }
                        Some(back) => {
                            let x = &back.x[row * columns..][..columns];
                            let lane = |lane: &Lane| S::load(lane.0.as_ptr().add(half));
                            let (mean, factor) = (lane(back.mean), lane(back.factor));
                            let (shift, slope) = (lane(back.shift), lane(back.slope));
                            for at in 0..columns {
                                let g = load::<S>(from, at, half).mul_add(factor, shift);
                                let g = load::<S>(x, at, half).sub(mean).mul_add(slope, g);
                                let value = if self.add { g.add(load(to, at, half)) } else { g };
                                store(value, to, at, half);
                            }
                        }
                    }
                }
            }
        }
    }
}

struct Back<'a> {
    x: &'a [Lane],
    act: Option<Activation>,
    norm: Option<Normal<'a>>,
    gradient: &'a mut [Lane],
    sums: &'a mut [Lane],
}

impl Job for Back<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let pixels = self.x.len();
        assert!(pixels == self.gradient.len() && self.sums.len() >= 2, "a gradient for each pixel");
        for half in (0..LANES).step_by(S::LANES) {
            // SAFETY: both slices have the same pixels.
            unsafe {
                let norm = Loaded::<S>::of(self.norm, half);
                let mean = norm.0.map_or(S::splat(0.0), |(mean, ..)| mean);
                let (mut sum, mut along): (S, S) = (load(self.sums, 0, half), load(self.sums, 1, half));
                macro_rules! through {
                    ($act:expr) => {
                        for at in 0..pixels {
                            let x = load::<S>(self.x, at, half);
                            let g = back($act, norm.apply(x), load::<S>(self.gradient, at, half));
                            store(g, self.gradient, at, half);
                            sum = sum.add(g);
                            along = x.sub(mean).mul_add(g, along);
                        }
                    };
                }
                by_activation!(self.act, through);
                store(sum, self.sums, 0, half);
                store(along, self.sums, 1, half);
            }
        }
    }
}
