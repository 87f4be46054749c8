//! The two inner loops of a convolution's gradients for a vector of cotangents.
//!
//! Both go over the pixels of an input's plane that count ([`Entry`]), and for each read lines of neighbouring lanes of
//! the padded cotangents, whose places relative to the pixel are the same for all pixels:
//!
//! - [`WeightSums`]: `out[line, n] += Σ_pixel value(pixel) · cotangent[base(pixel) + line + n]`
//! - [`InputSums`]: `out[pixel] += Σ_{line, n} weight[line, n] · cotangent[base(pixel) + line + n]`
//!
//! What is summed over pixels, or multiplies all of them, stays in registers: each product takes one read.

use super::super::vector::{Isa, Job, Simd, unrolled};
use super::{LANES, Lane};

/// A pixel of a plane: where its lanes of the padded cotangents begin, where it lies in the plane, and its value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) base: u32,
    pub(super) pixel: u32,
    pub(super) value: f32,
}

/// Most lines of `width` lanes that are worked on together, after the number that are left.
pub(super) fn lines_together(width: usize, left: usize) -> usize {
    let wide = matches!(Isa::available().next(), Some(isa) if isa.is_wide());
    let sizes: &[usize] = match (width, wide) {
        (1, _) | (2 | 3, true) => &[9, 3],
        (2 | 3, false) => &[3],
        (5, true) => &[5],
        _ => &[],
    };
    sizes.iter().copied().find(|&size| size <= left).unwrap_or(1)
}

/// The longest run of at most `taps` lanes that is read as one line.
pub(super) fn line_width(taps: usize) -> usize {
    match taps {
        5.. => 5,
        4 => 2,
        few => few,
    }
}

/// What both loops read.
#[derive(Clone, Copy)]
pub(super) struct Pixels<'a> {
    /// The entries of all channels' planes.
    pub(super) entries: &'a [Entry],
    /// Of each channel: the range of its entries.
    pub(super) runs: &'a [std::ops::Range<usize>],
    /// Where each line begins, relative to a pixel's base, in lanes.
    pub(super) lines: &'a [usize],
    /// Lanes of a line.
    pub(super) width: usize,
    /// The padded cotangents.
    pub(super) frame: &'a [Lane],
}

/// The gradient with respect to weights: for each channel `lines · width` of them, `stride` apart.
pub(super) struct WeightSums<'a> {
    pub(super) pixels: Pixels<'a>,
    pub(super) out: &'a mut [Lane],
    pub(super) stride: usize,
}

/// The gradient with respect to the input: for each channel a plane of `plane` pixels.
pub(super) struct InputSums<'a> {
    pub(super) pixels: Pixels<'a>,
    /// For each channel `lines · width`, `stride` apart.
    pub(super) weights: &'a [f32],
    pub(super) stride: usize,
    pub(super) out: &'a mut [Lane],
    pub(super) plane: usize,
    /// Whether the planes are written, zero where no entry is, and not added to; the entries' pixels ascend.
    pub(super) begins: bool,
}

/// Calls `$self.tile::<S, lines, width, more>()`.
macro_rules! by_size {
    ($self:ident, $s:ident $(, $more:literal)?) => {
        match ($self.pixels.lines.len(), $self.pixels.width) {
            (9, 3) => $self.tile::<$s, 9, 3 $(, $more)?>(),
            (3, 3) => $self.tile::<$s, 3, 3 $(, $more)?>(),
            (1, 3) => $self.tile::<$s, 1, 3 $(, $more)?>(),
            (5, 5) => $self.tile::<$s, 5, 5 $(, $more)?>(),
            (1, 5) => $self.tile::<$s, 1, 5 $(, $more)?>(),
            (9, 2) => $self.tile::<$s, 9, 2 $(, $more)?>(),
            (3, 2) => $self.tile::<$s, 3, 2 $(, $more)?>(),
            (1, 2) => $self.tile::<$s, 1, 2 $(, $more)?>(),
            (9, 1) => $self.tile::<$s, 9, 1 $(, $more)?>(),
            (3, 1) => $self.tile::<$s, 3, 1 $(, $more)?>(),
            (1, 1) => $self.tile::<$s, 1, 1 $(, $more)?>(),
            sizes => unreachable!("no tile of {sizes:?} lines and lanes"),
        }
    };
}

impl Job for WeightSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        unsafe { by_size!(self, S) }
    }
}

impl WeightSums<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(&mut self) {
        unsafe {
            let lines = *self.pixels.lines.as_ptr().cast::<[usize; M]>();
            for at in (0..LANES).step_by(S::LANES) {
                let frame = self.pixels.frame.as_ptr().cast::<f32>().add(at);
                for (channel, run) in self.pixels.runs.iter().enumerate() {
                    let mut sums = [[S::splat(0.0); N]; M];
                    for entry in self.pixels.entries.get_unchecked(run.clone()) {
                        let value = S::splat(entry.value);
                        let g = frame.add(entry.base as usize * LANES);
                        unrolled!(m in M, {
                            let line = g.add(lines[m] * LANES);
                            unrolled!(n in N, sums[m][n] = S::load(line.add(n * LANES)).mul_add(value, sums[m][n]));
                        });
                    }
                    let out = self.out.as_mut_ptr().add(channel * self.stride).cast::<f32>().add(at);
                    let one = S::splat(1.0);
                    unrolled!(m in M, unrolled!(n in N, {
                        let out = out.add((m * N + n) * LANES);
                        sums[m][n].mul_add(one, S::load(out)).store(out);
                    }));
                }
            }
        }
    }
}

impl Job for InputSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        unsafe {
            match self.begins {
                true => by_size!(self, S, true),
                false => by_size!(self, S, false),
            }
        }
    }
}

impl InputSums<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize, const BEGINS: bool>(&mut self) {
        unsafe {
            let lines = *self.pixels.lines.as_ptr().cast::<[usize; M]>();
            for at in (0..LANES).step_by(S::LANES) {
                let frame = self.pixels.frame.as_ptr().cast::<f32>().add(at);
                for (channel, run) in self.pixels.runs.iter().enumerate() {
                    let from = self.weights.as_ptr().add(channel * self.stride);
                    let mut weights = [[S::splat(0.0); N]; M];
                    unrolled!(m in M, unrolled!(n in N, weights[m][n] = S::splat(*from.add(m * N + n))));
                    let out = self.out.as_mut_ptr().add(channel * self.plane).cast::<f32>().add(at);
                    let (zero, one) = (S::splat(0.0), S::splat(1.0));
                    let mut written = 0;
                    for entry in self.pixels.entries.get_unchecked(run.clone()) {
                        let g = frame.add(entry.base as usize * LANES);
                        let pixel = entry.pixel as usize;
                        if BEGINS {
                            (written..pixel).for_each(|pixel| zero.store(out.add(pixel * LANES)));
                            written = pixel + 1;
                        }
                        let out = out.add(pixel * LANES);
                        // Three chains, so that a product need not wait for the last one.
                        let mut sums = [if BEGINS { zero } else { S::load(out) }, zero, zero];
                        unrolled!(m in M, {
                            let line = g.add(lines[m] * LANES);
                            unrolled!(n in N, {
                                let chain = (m * N + n) % 3;
                                sums[chain] = S::load(line.add(n * LANES)).mul_add(weights[m][n], sums[chain]);
                            });
                        });
                        let sum = sums[1].mul_add(one, sums[0]);
                        let sum = if M * N > 2 { sums[2].mul_add(one, sum) } else { sum };
                        sum.store(out);
                    }
                    if BEGINS {
                        (written..self.plane).for_each(|pixel| zero.store(out.add(pixel * LANES)));
                    }
                }
            }
        }
    }
}
