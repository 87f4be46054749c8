//! Vector code of the two inner loops that every convolution is made of.
//!
//! Both read a padded image `x` through a table of offsets, one for each tap of the window and input
//! channel, so that no matrix of columns is ever written (an "indirect" convolution, Dukhan 2019,
//! arXiv:1907.02129):
//!
//! - [`correlate`]: `out[m][j] = Σ_r weight[r][m] · x[offset[r] + j]`
//! - [`dot`]: `out[m][r] += Σ_j a[m][j] · x[offset[r] + j]`
//!
//! The instruction set is chosen when the program runs. On one machine an output's operations and their
//! order depend on the shapes alone.

use super::vector::{Job, Simd, run_widest, unrolled};

/// Most lanes that a vector has: slices are read up to a multiple of this.
pub(super) const MAX_LANES: usize = 16;

/// Widest panel of rows that are worked on together.
const MAX_ROWS: usize = 8;

/// Splits `rows` into panels of 8, 6, 4, 3, 2 and 1: start and width of each.
fn panels(rows: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = rows - start;
        (rest > 0).then(|| {
            let width = match rest {
                MAX_ROWS.. => MAX_ROWS,
                7 => 4,
                5 => 3,
                few => few,
            };
            start += width;
            (start - width, width)
        })
    })
}

/// Lays out a weight matrix for [`correlate`]: panels of rows, each with its rows' weights side by side.
pub(super) fn pack_panels(rows: usize, taps: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    let mut packed = Vec::with_capacity(rows * taps);
    for (start, width) in panels(rows) {
        for tap in 0..taps {
            packed.extend((start..start + width).map(|row| weight(row, tap)));
        }
    }
    packed
}

/// `out[m][j] = Σ_r weight[r][m] · x[offset[r] + j]` for `j` up to `length`, rounded up to a multiple of
/// [`MAX_LANES`]; `packed` is from [`pack_panels`] and `out` has rows of `out_stride`.
///
/// # Panics
/// If a slice is too short for what is read or written.
pub(super) fn correlate(
    rows: usize,
    packed: &[f32],
    offsets: &[usize],
    x: &[f32],
    length: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let length = length.next_multiple_of(MAX_LANES);
    let reach = offsets.iter().max().map_or(0, |last| last + length);
    assert!(reach <= x.len(), "the image ends before the last tap");
    assert!(length <= out_stride && rows * out_stride <= out.len(), "the output is too short");
    assert_eq!(packed.len(), rows * offsets.len(), "a weight for each row and tap");
    let mut job = Correlation { rows, packed, offsets, x: x.as_ptr(), length, out: out.as_mut_ptr(), out_stride };
    // SAFETY: the assertions above bound every access.
    unsafe { run_widest(&mut job) }
}

/// `out[m][r] += Σ_j a[m][j] · x[offset[r] + j]` for `j` below `length`, a multiple of [`MAX_LANES`];
/// `a` has rows of `length`, `out` rows of one element for each offset.
///
/// # Panics
/// If a slice is too short for what is read or written.
pub(super) fn dot(rows: usize, a: &[f32], offsets: &[usize], x: &[f32], length: usize, out: &mut [f32]) {
    let reach = offsets.iter().max().map_or(0, |last| last + length);
    assert!(length.is_multiple_of(MAX_LANES), "whole vectors");
    assert!(reach <= x.len(), "the image ends before the last tap");
    assert!(rows * length <= a.len() && rows * offsets.len() <= out.len(), "a row for each output");
    let mut job = Dot { rows, a: a.as_ptr(), offsets, x: x.as_ptr(), length, out: out.as_mut_ptr() };
    // SAFETY: the assertions above bound every access.
    unsafe { run_widest(&mut job) }
}

struct Correlation<'a> {
    rows: usize,
    packed: &'a [f32],
    offsets: &'a [usize],
    x: *const f32,
    length: usize,
    out: *mut f32,
    out_stride: usize,
}

impl Job for Correlation<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        for (start, width) in panels(self.rows) {
            // SAFETY: the panel lies within the packed weights and the output.
            unsafe {
                match width {
                    // Sixteen vector registers hold four rows, thirty-two hold eight.
                    8 if S::WIDE => self.panel::<S, 8, 2>(start, 0, 8),
                    8 => {
                        self.panel::<S, 4, 2>(start, 0, 8);
                        self.panel::<S, 4, 2>(start, 4, 8);
                    }
                    6 if S::WIDE => self.panel::<S, 6, 3>(start, 0, 6),
                    6 => {
                        self.panel::<S, 3, 3>(start, 0, 6);
                        self.panel::<S, 3, 3>(start, 3, 6);
                    }
                    4 => self.panel::<S, 4, 2>(start, 0, 4),
                    3 => self.panel::<S, 3, 3>(start, 0, 3),
                    2 => self.panel::<S, 2, 4>(start, 0, 2),
                    _ => self.panel::<S, 1, 8>(start, 0, 1),
                }
            }
        }
    }
}

impl Correlation<'_> {
    /// `M` of the `width` rows of the panel that begins with row `start`, from its row `first`.
    #[inline(always)]
    unsafe fn panel<S: Simd, const M: usize, const N: usize>(&self, start: usize, first: usize, width: usize) {
        unsafe {
            let weights = self.packed.as_ptr().add(start * self.offsets.len() + first);
            let out = self.out.add((start + first) * self.out_stride);
            let mut at = 0;
            while at + N * S::LANES <= self.length {
                self.tile::<S, M, N>(weights, width, at, out);
                at += N * S::LANES;
            }
            while at < self.length {
                self.tile::<S, M, 1>(weights, width, at, out);
                at += S::LANES;
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        weights: *const f32,
        width: usize,
        at: usize,
        out: *mut f32,
    ) {
        unsafe {
            let mut sums = [[S::splat(0.0); N]; M];
            let mut weights = weights;
            for &offset in self.offsets {
                let x = self.x.wrapping_add(offset + at);
                let mut pixels = [S::splat(0.0); N];
                unrolled!(n in N, pixels[n] = S::load(x.wrapping_add(n * S::LANES)));
                let of_tap = *weights.cast::<[f32; M]>();
                unrolled!(m in M, {
                    let weight = S::splat(of_tap[m]);
                    unrolled!(n in N, sums[m][n] = pixels[n].mul_add(weight, sums[m][n]));
                });
                weights = weights.wrapping_add(width);
            }
            unrolled!(m in M, {
                let out = out.wrapping_add(m * self.out_stride + at);
                unrolled!(n in N, sums[m][n].store(out.wrapping_add(n * S::LANES)));
            });
        }
    }
}

struct Dot<'a> {
    rows: usize,
    a: *const f32,
    offsets: &'a [usize],
    x: *const f32,
    length: usize,
    out: *mut f32,
}

impl Job for Dot<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let mut row = 0;
        // SAFETY: rows and taps are within the bounds that `dot` asserted.
        unsafe {
            if S::WIDE {
                while row + 8 <= self.rows {
                    self.taps::<S, 8, 3>(row);
                    row += 8;
                }
            }
            while row + 4 <= self.rows {
                self.taps::<S, 4, 3>(row);
                row += 4;
            }
            while row < self.rows {
                self.taps::<S, 1, 9>(row);
                row += 1;
            }
        }
    }
}

impl Dot<'_> {
    #[inline(always)]
    unsafe fn taps<S: Simd, const M: usize, const R: usize>(&self, row: usize) {
        let count = self.offsets.len();
        let mut tap = 0;
        unsafe {
            while tap + R <= count {
                self.tile::<S, M, R>(row, tap);
                tap += R;
            }
            while tap < count {
                self.tile::<S, M, 1>(row, tap);
                tap += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const R: usize>(&self, row: usize, tap: usize) {
        unsafe {
            let a = self.a.wrapping_add(row * self.length);
            let offsets = *self.offsets.as_ptr().wrapping_add(tap).cast::<[usize; R]>();
            let mut sums = [[S::splat(0.0); R]; M];
            let mut at = 0;
            while at < self.length {
                let x = self.x.wrapping_add(at);
                let a = a.wrapping_add(at);
                let mut pixels = [S::splat(0.0); R];
                unrolled!(r in R, pixels[r] = S::load(x.wrapping_add(offsets[r])));
                unrolled!(m in M, {
                    let factor = S::load(a.wrapping_add(self.length.wrapping_mul(m)));
                    unrolled!(r in R, sums[m][r] = pixels[r].mul_add(factor, sums[m][r]));
                });
                at += S::LANES;
            }
            unrolled!(m in M, {
                let out = self.out.wrapping_add((row + m) * self.offsets.len() + tap);
                unrolled!(r in R, *out.wrapping_add(r) += sums[m][r].sum());
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vector::Isa;
    use super::*;

    /// Every instruction set that this machine has, against the formula.
    fn check(rows: usize, taps: usize, length: usize) {
        let padded = length.next_multiple_of(MAX_LANES);
        let x: Vec<f32> = (0..padded + 3 * taps).map(|i| ((i * 37 % 19) as f32 - 9.0) / 8.0).collect();
        let offsets: Vec<usize> = (0..taps).map(|tap| tap * 3).collect();
        let weight = |row: usize, tap: usize| ((row * 5 + tap * 3) % 7) as f32 / 4.0 - 0.5;
        let packed = pack_panels(rows, taps, weight);
        let mut factors: Vec<f32> = (0..rows * padded).map(|i| ((i * 11 % 13) as f32 - 6.0) / 8.0).collect();
        factors.chunks_mut(padded).for_each(|row| row[length..].fill(0.0));
        let mut expected = (vec![0.0; rows * padded], vec![1.0; rows * taps]);
        for (row, tap, j) in indices(rows, taps, padded) {
            expected.0[row * padded + j] += weight(row, tap) * x[offsets[tap] + j];
            expected.1[row * taps + tap] += factors[row * padded + j] * x[offsets[tap] + j];
        }
        // The numbers are multiples of 1/64 and small, so every order of summation is exact.
        for isa in Isa::available() {
            let (mut out, mut sums) = (vec![f32::NAN; rows * padded], vec![1.0; rows * taps]);
            let (packed, offsets, x) = (&packed[..], &offsets[..], x.as_ptr());
            let (length, out_stride) = (padded, padded);
            // SAFETY: the lengths are those that `correlate` and `dot` ask for.
            unsafe {
                let out = out.as_mut_ptr();
                isa.run(&mut Correlation { rows, packed, offsets, x, length, out, out_stride });
                isa.run(&mut Dot { rows, a: factors.as_ptr(), offsets, x, length, out: sums.as_mut_ptr() });
            }
            assert_eq!(out, expected.0, "correlate {rows} {taps} {length}");
            assert_eq!(sums, expected.1, "dot {rows} {taps} {length}");
        }
    }

    fn indices(rows: usize, taps: usize, length: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..rows).flat_map(move |row| (0..taps).flat_map(move |tap| (0..length).map(move |j| (row, tap, j))))
    }

    #[test]
    fn every_instruction_set_gives_the_formula() {
        for (rows, taps, length) in [(1, 9, 78), (1, 25, 200), (2, 4, 17), (7, 3, 16), (15, 9, 100), (16, 10, 290)] {
            check(rows, taps, length);
        }
    }
}
