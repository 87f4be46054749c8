//! Sums over the pixels of a sample's map, for normalisation. Those over samples are made of them, in double precision.

use super::super::lanes::{LANES, Lane};
use super::super::vector::{Job, Simd};
use super::pointwise::{load, run, store};

/// Adds a sample's sums of `gradient`, and of it times `x - mean`, to `sums`: two lanes a block.
pub(crate) fn add_sums(map: &[Lane], mean: &[Lane], pixels: usize, gradient: &[Lane], sums: &mut [Lane]) {
    let planes = map.chunks_exact(pixels).zip(gradient.chunks_exact(pixels));
    for ((x, gradient), (mean, sums)) in planes.zip(mean.iter().zip(sums.chunks_exact_mut(2))) {
        run(&mut Sums { x, mean, gradient, sums });
    }
}

/// A sample's mean, and the sum of squares of what is off it: two lanes a block.
pub(crate) fn moments(map: &[Lane], pixels: usize, moments: &mut [Lane]) {
    for (x, out) in map.chunks_exact(pixels).zip(moments.chunks_exact_mut(2)) {
        run(&mut Moments { x, out });
    }
}

struct Sums<'a> {
    x: &'a [Lane],
    mean: &'a Lane,
    gradient: &'a [Lane],
    sums: &'a mut [Lane],
}

impl Job for Sums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let pixels = self.x.len();
        assert!(pixels == self.gradient.len() && self.sums.len() >= 2, "a gradient for each pixel");
        for half in (0..LANES).step_by(S::LANES) {
            // SAFETY: both slices have the same pixels.
            unsafe {
                let mean = S::load(self.mean.0.as_ptr().add(half));
                let zero = S::splat(0.0);
                // Two chains, so that a sum need not wait for the last one.
                let (mut sums, mut along) = ([zero; 2], [zero; 2]);
                let mut at = 0;
                while at < pixels {
                    for chain in 0..2 {
                        if at + chain < pixels {
                            let g = load::<S>(self.gradient, at + chain, half);
                            sums[chain] = sums[chain].add(g);
                            along[chain] = load::<S>(self.x, at + chain, half).sub(mean).mul_add(g, along[chain]);
                        }
                    }
                    at += 2;
                }
                store(load::<S>(self.sums, 0, half).add(sums[0].add(sums[1])), self.sums, 0, half);
                store(load::<S>(self.sums, 1, half).add(along[0].add(along[1])), self.sums, 1, half);
            }
        }
    }
}

struct Moments<'a> {
    x: &'a [Lane],
    out: &'a mut [Lane],
}

impl Job for Moments<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let pixels = self.x.len();
        for half in (0..LANES).step_by(S::LANES) {
            // SAFETY: places are within the slices.
            unsafe {
                let zero = S::splat(0.0);
                let mut sums = [zero; 4];
                let mut at = 0;
                while at + 4 <= pixels {
                    for (chain, sum) in sums.iter_mut().enumerate() {
                        *sum = sum.add(load(self.x, at + chain, half));
                    }
                    at += 4;
                }
                for rest in at..pixels {
                    sums[0] = sums[0].add(load(self.x, rest, half));
                }
                let mean = sums[0].add(sums[1]).add(sums[2].add(sums[3])).mul(S::splat((pixels as f32).recip()));
                let mut squares = [zero; 4];
                let mut at = 0;
                while at + 4 <= pixels {
                    for (chain, sum) in squares.iter_mut().enumerate() {
                        let off = load::<S>(self.x, at + chain, half).sub(mean);
                        *sum = off.mul_add(off, *sum);
                    }
                    at += 4;
                }
                for rest in at..pixels {
                    let off = load::<S>(self.x, rest, half).sub(mean);
                    squares[0] = off.mul_add(off, squares[0]);
                }
                store(mean, self.out, 0, half);
                store(squares[0].add(squares[1]).add(squares[2].add(squares[3])), self.out, 1, half);
            }
        }
    }
}
