//! The two inner loops of a convolution between maps whose channels are lanes.
//!
//! A frame is an image with its margins, `[blocks, rows, columns]` of [`Lane`]s. What a sum goes over is a list of
//! [`Step`]s: a tap of the window and a block of input channels, which is a place in the frame.
//!
//! - [`Correlate`]: `out[block][pixel] (+)= Σ_{step, c} weight[step, c][block] · frame[step + pixel][c]`
//! - [`WeightSums`]: `out[block][step, c] += Σ_pixel cotangent[block][pixel] · frame[step + pixel][c]`
//!
//! Both keep a tile of sums in registers: up to three blocks of output channels, so that a number that is read from the
//! frame and spread over a vector serves all of them.

use super::super::lanes::{LANES, Lane};
use super::super::vector::{Job, Simd, unrolled};

/// What a sum goes over: sixteen or fewer channels of one tap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Lanes from an output pixel's place in the frame.
    pub(super) offset: usize,
    /// Channels that count.
    pub(super) depth: usize,
}

/// How output pixels lie: rows, columns, and the lanes between neighbouring ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// In the frame that is read: from row to row, from column to column.
    pub(super) from: [usize; 2],
    /// In the map of the output.
    pub(super) to: [usize; 2],
}

impl Lines {
    /// As one long row, where that is the same.
    pub(super) fn flat(self) -> Self {
        let whole = |pitch: [usize; 2]| pitch[0] == self.columns * pitch[1];
        match whole(self.from) && whole(self.to) {
            true => Self { rows: 1, columns: self.rows * self.columns, ..self },
            false => self,
        }
    }

    /// One past the last lane that is read, and that is written.
    pub(super) fn reach(&self) -> [usize; 2] {
        let last = |pitch: [usize; 2]| (self.rows - 1) * pitch[0] + (self.columns - 1) * pitch[1] + 1;
        [last(self.from), last(self.to)]
    }
}

/// `out[block][pixel] (+)= Σ weight · frame`
pub(super) struct Correlate<'a, 'b> {
    pub(super) steps: &'a [Step],
    /// For each step and channel, a lane of each block.
    pub(super) weights: &'a [Lane],
    pub(super) frame: &'a [Lane],
    pub(super) lines: Lines,
    /// The blocks' maps, from the first pixel.
    pub(super) outs: &'a mut [&'b mut [Lane]],
    /// What the sums begin with, a lane of each block; what the map has if there is none.
    pub(super) begin: Option<&'a [Lane]>,
}

impl Correlate<'_, '_> {
    /// Whether all accesses are within the slices.
    fn fits(&self) -> bool {
        let [read, written] = self.lines.reach();
        let blocks = self.outs.len();
        self.steps.iter().all(|step| step.offset + read <= self.frame.len() && step.depth <= LANES)
            && self.outs.iter().all(|out| written <= out.len())
            && self.steps.iter().map(|step| step.depth * blocks).sum::<usize>() <= self.weights.len()
            && self.begin.is_none_or(|begin| blocks <= begin.len())
    }
}

/// Covers the columns of a row with tiles of these widths, the widest first.
macro_rules! cover {
    ($self:ident.tile::<$s:ident, $step:ident, $b:ident>($at:ident, $row:ident), [$($width:literal)*]) => {{
        let mut column = 0;
        $(while $self.lines.columns - column >= $width {
            // SAFETY: the tile's columns are those of the row.
            unsafe { $self.tile::<$s, $step, $b, $width>($at, $row, column) }
            column += $width;
        })*
    }};
}

impl Job for Correlate<'_, '_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        assert!(self.fits(), "steps, pixels and weights lie within their slices");
        // SAFETY: as asserted.
        unsafe {
            match self.lines.from[1] {
                1 => self.blocks::<S, 1>(),
                2 => self.blocks::<S, 2>(),
                _ => self.blocks::<S, 0>(),
            }
        }
    }
}

impl Correlate<'_, '_> {
    #[inline(always)]
    unsafe fn blocks<S: Simd, const STEP: usize>(&mut self) {
        unsafe {
            for at in (0..LANES).step_by(S::LANES) {
                match self.outs.len() {
                    1 => self.rows::<S, STEP, 1>(at),
                    2 => self.rows::<S, STEP, 2>(at),
                    3 => self.rows::<S, STEP, 3>(at),
                    blocks => unreachable!("no tile of {blocks} blocks"),
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<S: Simd, const STEP: usize, const B: usize>(&mut self, at: usize) {
        let lines = self.lines;
        let sevens = lines.columns.is_multiple_of(7);
        for row in 0..lines.rows {
            match (S::WIDE, B, sevens) {
                (true, 1, true) => cover!(self.tile::<S, STEP, B>(at, row), [14 7]),
                (true, 1, false) => cover!(self.tile::<S, STEP, B>(at, row), [16 8 4 2 1]),
                (_, _, true) => cover!(self.tile::<S, STEP, B>(at, row), [7]),
                (true, _, false) | (_, 1, false) => cover!(self.tile::<S, STEP, B>(at, row), [8 4 2 1]),
                (false, _, false) => cover!(self.tile::<S, STEP, B>(at, row), [4 2 1]),
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const STEP: usize, const B: usize, const P: usize>(
        &mut self,
        at: usize,
        row: usize,
        column: usize,
    ) {
        unsafe {
            let lines = self.lines;
            let step = if STEP == 0 { lines.from[1] } else { STEP } * LANES;
            let from = self.frame.as_ptr().add(row * lines.from[0] + column * lines.from[1]).cast::<f32>();
            let to = (row * lines.to[0] + column * lines.to[1]) * LANES + at;
            let pitch = lines.to[1] * LANES;
            let mut outs = [std::ptr::null_mut::<f32>(); B];
            unrolled!(b in B, outs[b] = self.outs.get_unchecked_mut(b).as_mut_ptr().cast::<f32>().wrapping_add(to));
            let mut sums = [[S::splat(0.0); P]; B];
            match self.begin {
                Some(begin) => {
                    unrolled!(b in B, {
                        let begin = S::load(begin.as_ptr().add(b).cast::<f32>().add(at));
                        unrolled!(p in P, sums[b][p] = begin);
                    });
                }
                None => {
                    unrolled!(b in B, unrolled!(p in P, sums[b][p] = S::load(outs[b].wrapping_add(p * pitch))));
                }
            }
            let mut weights = self.weights.as_ptr().cast::<f32>().add(at);
            for of in self.steps {
                let mut x = from.add(of.offset * LANES);
                for _ in 0..of.depth {
                    let mut of_blocks = [S::splat(0.0); B];
                    unrolled!(b in B, of_blocks[b] = S::load(weights.wrapping_add(b * LANES)));
                    unrolled!(p in P, {
                        let value = S::splat(*x.wrapping_add(p * step));
                        unrolled!(b in B, sums[b][p] = value.mul_add(of_blocks[b], sums[b][p]));
                    });
                    weights = weights.wrapping_add(B * LANES);
                    x = x.wrapping_add(1);
                }
            }
            unrolled!(b in B, unrolled!(p in P, sums[b][p].store(outs[b].wrapping_add(p * pitch))));
        }
    }
}

/// `out[block][step, c] += Σ_pixel cotangent · frame`
pub(super) struct WeightSums<'a> {
    pub(super) steps: &'a [Step],
    pub(super) frame: &'a [Lane],
    /// `to` is how the cotangents lie.
    pub(super) lines: Lines,
    /// The cotangents' first pixel of the first block, then of the others, `pitch` apart.
    pub(super) cotangent: &'a [Lane],
    pub(super) pitch: usize,
    pub(super) blocks: usize,
    /// `[blocks, steps, LANES]`
    pub(super) out: &'a mut [Lane],
}

/// Lanes of frame and cotangents that are gone over again and again, so that they stay in the nearest cache.
const NEAR: usize = 448;

impl WeightSums<'_> {
    fn fits(&self) -> bool {
        let [read, of_cotangent] = self.lines.reach();
        self.steps.iter().all(|step| step.offset + read <= self.frame.len() && step.depth <= LANES)
            && (self.blocks - 1) * self.pitch + of_cotangent <= self.cotangent.len()
            && self.blocks * self.steps.len() * LANES <= self.out.len()
    }
}

impl Job for WeightSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        assert!(self.fits(), "steps, pixels and sums lie within their slices");
        // A flat image is one long row: its columns are divided instead.
        let lines = self.lines;
        let per_row = lines.from[0].max(lines.columns * lines.from[1]) + self.blocks * lines.columns;
        let rows = (NEAR / per_row).clamp(1, lines.rows);
        let columns = match rows * per_row > 2 * NEAR {
            true => (lines.columns * NEAR / per_row).max(16),
            false => lines.columns,
        };
        for at in (0..LANES).step_by(S::LANES) {
            for first in (0..lines.rows).step_by(rows) {
                for column in (0..lines.columns).step_by(columns) {
                    let rows = first..(first + rows).min(lines.rows);
                    let columns = column..(column + columns).min(lines.columns);
                    // SAFETY: as asserted.
                    unsafe {
                        match self.blocks {
                            1 => self.region::<S, 1>(at, rows, columns),
                            2 => self.region::<S, 2>(at, rows, columns),
                            3 => self.region::<S, 3>(at, rows, columns),
                            blocks => unreachable!("no tile of {blocks} blocks"),
                        }
                    }
                }
            }
        }
    }
}

type Span = std::ops::Range<usize>;

impl WeightSums<'_> {
    #[inline(always)]
    unsafe fn region<S: Simd, const B: usize>(&mut self, at: usize, rows: Span, columns: Span) {
        for step in 0..self.steps.len() {
            let depth = self.steps[step].depth;
            let mut first = 0;
            while first < depth {
                let place = (step, first);
                // SAFETY: sixteen channels of a step lie in the frame.
                unsafe {
                    first += match (depth - first, B, S::WIDE) {
                        (9.., 1, true) => self.tile::<S, B, 16>(at, place, &rows, &columns),
                        (5.., 1, _) | (5.., _, true) => self.tile::<S, B, 8>(at, place, &rows, &columns),
                        _ => self.tile::<S, B, 4>(at, place, &rows, &columns),
                    };
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const B: usize, const N: usize>(
        &mut self,
        at: usize,
        (step, first): (usize, usize),
        rows: &Span,
        columns: &Span,
    ) -> usize {
        unsafe {
            let Lines { from, to, .. } = self.lines;
            let out = self.out.as_mut_ptr().add(step * LANES + first).cast::<f32>().add(at);
            let block = self.steps.len() * LANES * LANES;
            let mut sums = [[S::splat(0.0); N]; B];
            unrolled!(b in B, unrolled!(n in N, sums[b][n] = S::load(out.wrapping_add(b * block + n * LANES))));
            let frame = self.frame.as_ptr().add(self.steps.get_unchecked(step).offset).cast::<f32>().add(first);
            for row in rows.clone() {
                let mut x = frame.add((row * from[0] + columns.start * from[1]) * LANES);
                let mut g = self.cotangent.as_ptr().add(row * to[0] + columns.start * to[1]).cast::<f32>().add(at);
                for _ in columns.clone() {
                    let mut of_blocks = [S::splat(0.0); B];
                    unrolled!(b in B, of_blocks[b] = S::load(g.wrapping_add(b * self.pitch * LANES)));
                    unrolled!(n in N, {
                        let value = S::splat(*x.wrapping_add(n));
                        unrolled!(b in B, sums[b][n] = value.mul_add(of_blocks[b], sums[b][n]));
                    });
                    x = x.wrapping_add(from[1] * LANES);
                    g = g.wrapping_add(to[1] * LANES);
                }
            }
            unrolled!(b in B, unrolled!(n in N, sums[b][n].store(out.wrapping_add(b * block + n * LANES))));
            N
        }
    }
}
