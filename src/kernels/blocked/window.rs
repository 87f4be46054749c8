//! Where the taps of a sliding window lie, seen from its outputs and from its inputs.

use super::dense::Lines;
use crate::graph::Window;

/// An image with margins on all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Rows and columns of the image.
    pub(crate) size: [usize; 2],
    /// Pixels before the first row and column.
    pub(crate) margin: usize,
    /// Rows and columns with margins.
    pub(crate) sides: [usize; 2],
}

impl Frame {
    /// No margins.
    pub(crate) fn bare(size: [usize; 2]) -> Self {
        Self { size, margin: 0, sides: size }
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
        self.margin * (self.sides[1] + 1)
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
        let output = input.map(|size| window.output(size).expect("a graph's window fits its image"));
        Self { window, input, output }
    }

    /// The frame of the image that windows read.
    pub(crate) fn inputs(&self) -> Frame {
        let margin = self.window.padding;
        Frame { size: self.input, margin, sides: self.input.map(|size| size + 2 * margin) }
    }

    /// The frame of the outputs that the way back reads.
    pub(crate) fn outputs(&self) -> Frame {
        let reach = |axis: usize| {
            let phases =
                (0..self.window.stride.min(self.input[axis])).map(move |phase| (phase, self.count(phase, axis)));
            phases.flat_map(move |(phase, count)| self.taps(phase).map(move |(_, at)| (at, at + count as isize)))
        };
        let all = || reach(0).map(|r| (r, self.output[0])).chain(reach(1).map(|r| (r, self.output[1])));
        let before = all().map(|((first, _), _)| -first).max().unwrap_or(0).max(0);
        let after = all().map(|((_, end), size)| end - size as isize).max().unwrap_or(0).max(0);
        let sides = self.output.map(|size| size + (before + after) as usize);
        Frame { size: self.output, margin: before as usize, sides }
    }

    /// Taps by row and column, with the lanes from a window's own place in [`Slide::inputs`].
    pub(super) fn window_taps(&self) -> Vec<([usize; 2], usize)> {
        let (kernel, dilation, pitch) = (self.window.kernel, self.window.dilation, self.inputs().sides[1]);
        let all = (0..kernel).flat_map(|row| (0..kernel).map(move |column| [row, column]));
        all.map(|tap| (tap, (tap[0] * pitch + tap[1]) * dilation)).collect()
    }

    /// How windows lie in [`Slide::inputs`] and in the map of the outputs.
    pub(super) fn lines(&self) -> Lines {
        let ([rows, columns], stride) = (self.output, self.window.stride);
        Lines { rows, columns, from: [stride * self.inputs().sides[1], stride], to: [columns, 1] }
    }

    /// The way back: for each phase, what reaches its inputs.
    pub(super) fn phases(&self) -> Vec<Phase> {
        let (stride, frame) = (self.window.stride, self.outputs());
        let phase = |[y, x]: [usize; 2]| {
            let place = |at: isize| (at + frame.margin as isize) as usize;
            let rows = self.taps(y);
            let taps = rows.flat_map(|row| self.taps(x).map(move |column| (row, column)));
            let taps = taps.map(|(row, column)| ([row.0, column.0], place(row.1) * frame.sides[1] + place(column.1)));
            let lines = Lines {
                rows: self.count(y, 0),
                columns: self.count(x, 1),
                from: [frame.sides[1], 1],
                to: [stride * self.input[1], stride],
            };
            Phase { taps: taps.collect(), lines, first: y * self.input[1] + x }
        };
        let (rows, columns) = (stride.min(self.input[0]), stride.min(self.input[1]));
        (0..rows).flat_map(|y| (0..columns).map(move |x| [y, x])).map(phase).collect()
    }

    /// Inputs of a phase along an axis.
    fn count(&self, phase: usize, axis: usize) -> usize {
        (self.input[axis] - phase).div_ceil(self.window.stride)
    }

    /// The taps that reach inputs of a phase, each with the first window that does.
    fn taps(&self, phase: usize) -> impl Iterator<Item = (usize, isize)> + use<> {
        let Window { kernel, stride, padding, dilation } = self.window;
        (0..kernel).filter_map(move |tap| {
            let at = (phase + padding) as isize - (tap * dilation) as isize;
            (at.rem_euclid(stride as isize) == 0).then(|| (tap, at.div_euclid(stride as isize)))
        })
    }
}
