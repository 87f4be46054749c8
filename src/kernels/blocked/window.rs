//! Where the taps of a sliding window lie, seen from its outputs and from its inputs.

use super::dense::Lines;
use crate::graph::{Side, Window};

/// An image with margins on all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Rows and columns of the image.
    pub(crate) size: [usize; 2],
    /// Rows above and columns on the left of it.
    pub(crate) margin: [usize; 2],
    /// Rows and columns with margins.
    pub(crate) sides: [usize; 2],
}

impl Frame {
    /// No margins.
    pub(crate) fn bare(size: [usize; 2]) -> Self {
        Self { size, margin: [0; 2], sides: size }
    }

    /// Lanes of one block.
    pub(crate) fn area(self) -> usize {
        self.sides[0] * self.sides[1]
    }

    /// Whether it is the image alone.
    pub(crate) fn is_bare(self) -> bool {
        self.sides == self.size
    }

    /// Lanes before the first pixel of the image.
    pub(crate) fn origin(self) -> usize {
        self.margin[0] * self.sides[1] + self.margin[1]
    }
}

/// A window that slides over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slide {
    pub(crate) window: Window,
    /// Rows and columns of the image.
    pub(crate) input: [usize; 2],
    /// Windows along both sides.
    pub(crate) output: [usize; 2],
}

/// The inputs that are `stride` apart: the same taps reach them.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    /// Taps by row and column, with the lanes from an input's own place in the frame of the outputs.
    pub(super) taps: Vec<([usize; 2], usize)>,
    /// How the inputs lie: read from the frame of the outputs, written to the image from [`Phase::first`].
    pub(super) lines: Lines,
    pub(super) first: usize,
}

impl Slide {
    /// # Panics
    /// If the image has no room for the window, which a graph's shapes exclude.
    pub(crate) fn new(window: Window, input: [usize; 2]) -> Self {
        let output = window.output(input).expect("a graph's window fits its image");
        Self { window, input, output }
    }

    /// The frame of the image that windows read.
    pub(crate) fn inputs(&self) -> Frame {
        let margin = self.window.each(|side| side.padding);
        let sides = [self.input[0] + 2 * margin[0], self.input[1] + 2 * margin[1]];
        Frame { size: self.input, margin, sides }
    }

    /// The frame of the outputs that the way back reads.
    pub(crate) fn outputs(&self) -> Frame {
        // Rows or columns before the first output, and behind the last, that inputs of any phase are reached from.
        let margins = [0, 1].map(|axis| {
            let reach = (0..self.phases_along(axis)).flat_map(|phase| {
                let count = self.count(phase, axis) as isize;
                self.taps(axis, phase).map(move |(_, at)| [-at, at + count - self.output[axis] as isize])
            });
            reach.fold([0; 2], |most: [isize; 2], now| [most[0].max(now[0]), most[1].max(now[1])])
        });
        let sides = [0, 1].map(|axis| self.output[axis] + (margins[axis][0] + margins[axis][1]) as usize);
        Frame { size: self.output, margin: margins.map(|[before, _]| before as usize), sides }
    }

    /// Taps by row and column, with the lanes from a window's own place in [`Slide::inputs`].
    pub(super) fn window_taps(&self) -> Vec<([usize; 2], usize)> {
        let (Window { rows, columns }, pitch) = (self.window, self.inputs().sides[1]);
        let all = (0..rows.kernel).flat_map(|row| (0..columns.kernel).map(move |column| [row, column]));
        all.map(|tap| (tap, tap[0] * rows.dilation * pitch + tap[1] * columns.dilation)).collect()
    }

    /// How windows lie in [`Slide::inputs`] and in the map of the outputs.
    pub(super) fn lines(&self) -> Lines {
        let ([rows, columns], stride) = (self.output, self.window.each(|side| side.stride));
        Lines { rows, columns, from: [stride[0] * self.inputs().sides[1], stride[1]], to: [columns, 1] }
    }

    /// The way back: for each phase, what reaches its inputs.
    pub(super) fn phases(&self) -> Vec<Phase> {
        let (stride, frame) = (self.window.each(|side| side.stride), self.outputs());
        let phase = |[y, x]: [usize; 2]| {
            let place = |axis: usize, at: isize| (at + frame.margin[axis] as isize) as usize;
            let taps = self.taps(0, y).flat_map(|row| self.taps(1, x).map(move |column| (row, column)));
            let lane = |row: isize, column: isize| place(0, row) * frame.sides[1] + place(1, column);
            let taps = taps.map(|(row, column)| ([row.0, column.0], lane(row.1, column.1)));
            let lines = Lines {
                rows: self.count(y, 0),
                columns: self.count(x, 1),
                from: [frame.sides[1], 1],
                to: [stride[0] * self.input[1], stride[1]],
            };
            Phase { taps: taps.collect(), lines, first: y * self.input[1] + x }
        };
        let (rows, columns) = (self.phases_along(0), self.phases_along(1));
        (0..rows).flat_map(|y| (0..columns).map(move |x| [y, x])).map(phase).collect()
    }

    /// Phases that have inputs, along an axis.
    fn phases_along(&self, axis: usize) -> usize {
        self.window.sides()[axis].stride.min(self.input[axis])
    }

    /// Inputs of a phase along an axis.
    fn count(&self, phase: usize, axis: usize) -> usize {
        (self.input[axis] - phase).div_ceil(self.window.sides()[axis].stride)
    }

    /// The taps of an axis that reach inputs of a phase, each with the first window that does.
    fn taps(&self, axis: usize, phase: usize) -> impl Iterator<Item = (usize, isize)> + use<> {
        let Side { kernel, stride, padding, dilation } = self.window.sides()[axis];
        (0..kernel).filter_map(move |tap| {
            let at = (phase + padding) as isize - (tap * dilation) as isize;
            (at.rem_euclid(stride as isize) == 0).then(|| (tap, at.div_euclid(stride as isize)))
        })
    }
}
