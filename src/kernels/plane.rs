//! Padded images, taken apart by the stride so that every tap of a window reads neighbouring pixels.
//!
//! Pixel `y` of a side goes, with its margin, to `(y + margin) mod stride` (the phase) and
//! `(y + margin) / stride`. In a phase, windows that are `stride` pixels apart are neighbours, so a tap is
//! one offset for all windows, whatever stride and dilation are.

use std::ops::Range;

/// The pixels `i` of a phase for which `i · stride + phase - margin` is in `0..size`.
pub(super) fn span(size: usize, margin: isize, phase: usize, stride: usize) -> Range<usize> {
    let first = |at: isize| usize::try_from(at).map_or(0, |at| at.div_ceil(stride));
    let start = margin - phase as isize;
    first(start)..first(start + size as isize)
}

/// How an image of `height × width` lies in its phases.
#[derive(Clone, Debug)]
pub(super) struct Phases {
    /// Rows and columns of the image.
    pub(super) size: [usize; 2],
    /// Pixels before the first row and column; negative where the image is cropped.
    pub(super) margin: [isize; 2],
    /// Phases along both sides.
    pub(super) stride: [usize; 2],
    /// Rows and columns of one phase.
    pub(super) sides: [usize; 2],
    /// Whether a tap falls on this phase of both sides; others are not filled.
    pub(super) used: [Vec<bool>; 2],
}

impl Phases {
    /// Pixels of one phase.
    pub(super) fn area(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

    /// Number of phases.
    pub(super) fn count(&self) -> usize {
        self.stride[0] * self.stride[1]
    }

    /// Copies an image into the phases, `pitch` apart from each other. The margins stay as they are: zero.
    pub(super) fn fill(&self, image: &[f32], phases: &mut [f32], pitch: usize) {
        let [height, width] = self.size;
        if self.stride == [1; 2]
            && self.margin == [0; 2]
            && self.sides == self.size
            && self.used[0][0]
            && self.used[1][0]
        {
            phases[..height * width].copy_from_slice(&image[..height * width]);
            return;
        }
        let [of_rows, of_columns] = self.stride;
        for row_phase in self.used(0) {
            let rows = span(height, self.margin[0], row_phase, of_rows);
            for column_phase in self.used(1) {
                let columns = span(width, self.margin[1], column_phase, of_columns);
                let columns = columns.start..columns.end.min(self.sides[1]);
                let phase = &mut phases[(row_phase * of_columns + column_phase) * pitch..];
                let rows = rows.start..rows.end.min(self.sides[0]);
                if rows.is_empty() || columns.is_empty() {
                    continue;
                }
                let (y, x) = (self.pixel(0, rows.start, row_phase), self.pixel(1, columns.start, column_phase));
                let lines = image[y * width..].chunks(of_rows * width);
                for (to, from) in
                    phase[rows.start * self.sides[1]..].chunks_mut(self.sides[1]).zip(lines).take(rows.len())
                {
                    let (to, from) = (&mut to[columns.clone()], &from[x..width]);
                    if of_columns == 1 {
                        copy_row(to, from);
                    } else {
                        to.iter_mut().zip(from.iter().step_by(of_columns)).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }

    /// The phases of a side on which a tap falls.
    fn used(&self, axis: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.stride[axis]).filter(move |&phase| self.used[axis][phase])
    }

    /// The image's row or column of a phase's pixel `i`.
    fn pixel(&self, axis: usize, i: usize, phase: usize) -> usize {
        let at = (i * self.stride[axis] + phase).checked_add_signed(-self.margin[axis]);
        at.expect("pixels of a span lie in the image")
    }
}

/// Fills `to` with the first of `from`. Rows are too short for a call of `memcpy` each.
#[inline(always)]
pub(super) fn copy_row(to: &mut [f32], from: &[f32]) {
    let (vectors, rest) = to.as_chunks_mut::<8>();
    let (from_vectors, from_rest) = from[..vectors.len() * 8 + rest.len()].as_chunks::<8>();
    vectors.iter_mut().zip(from_vectors).for_each(|(to, from)| *to = *from);
    rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = *from);
}
