//! The gradients of a convolution, lane by lane.
//!
//! For an input's pixel, the windows that meet it are a few neighbours in the padded map of cotangents, at places that
//! are the same for all pixels of one phase of the stride. So both gradients go over the input's pixels, and leave out
//! those that a ReLU made zero: for the weights they are factors, for the input the ReLU's gradient is zero there.

use super::super::vector::run_widest;
use super::super::{place, windows};
use super::tiles::{Entry, InputSums, Pixels, WeightSums, line_width, lines_together};
use super::{Cotangent, Dims, Lane, Map, Sum};
use crate::graph::{Side, Window};
use candle_core::Result;
use std::ops::Range;

/// Which of an input's pixels its gradient is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// All.
    All,
    /// Those that ReLU let through: above 0.
    Relu,
    /// Those that ReLU6 let through: above 0 and below 6.
    Relu6,
}

/// A convolution of known shapes.
#[derive(Clone, Debug)]
pub(crate) struct LaneConv {
    window: Window,
    groups: usize,
    /// Channels of a group, of the output and of the input.
    outs: usize,
    ins: usize,
    input: [usize; 2],
    output: [usize; 2],
    /// Rows and columns of zeros before a padded plane, its rows' length, and its lanes.
    margin: [usize; 2],
    pitch: usize,
    area: usize,
    /// The smallest place of a row and of a column within its phase.
    first: [usize; 2],
    phases: Vec<Phase>,
    /// For each weight of one input channel of a group, in the order of the tiles: its place among the weights of
    /// the group.
    order: Vec<usize>,
}

/// Pixels that are a stride apart from each other.
#[derive(Clone, Debug)]
struct Phase {
    row: usize,
    column: usize,
    tiles: Vec<Tile>,
}

/// Weights that are worked on together.
#[derive(Clone, Debug)]
struct Tile {
    lines: Vec<usize>,
    width: usize,
    /// Where in `order` they begin.
    start: usize,
}

/// The pixels of a sample's planes that count.
#[derive(Default)]
struct Counted {
    entries: Vec<Entry>,
    used: usize,
    /// Of each phase and channel.
    runs: Vec<Range<usize>>,
}

/// What is asked of a convolution.
struct Work<'a> {
    /// `[batch, in_channels, height, width]`; not needed for the input's gradient alone.
    input: Option<&'a [f32]>,
    mask: Mask,
    grad: &'a Cotangent,
    /// Factors of the cotangent's pixels.
    shares: Option<&'a [f32]>,
}

impl LaneConv {
    /// A convolution of maps of `input` channels, rows and columns into `out_channels`.
    ///
    /// # Errors
    /// If the window does not fit the image.
    pub(crate) fn new(window: Window, groups: usize, input: [usize; 3], out_channels: usize) -> Result<Self> {
        let [channels, height, width] = input;
        let (rows, columns) = windows(window, height, width)?;
        let (outs, ins, [kernel_rows, kernel_columns]) = (out_channels / groups, channels / groups, window.kernel());
        let first = window.each(|side| side.padding / side.stride);
        let before = |side: Side| place(side, side.kernel - 1).1.saturating_sub(side.padding / side.stride);
        let margin = window.each(before);
        let reach = |side: Side, size: usize, windows: usize| {
            windows.max((size - 1 + side.padding) / side.stride + 1) + before(side)
        };
        let pitch = reach(window.columns, width, columns);
        let area = pitch * reach(window.rows, height, rows);
        let mut conv = Self {
            window,
            groups,
            outs,
            ins,
            input: [height, width],
            output: [rows, columns],
            margin,
            pitch,
            area,
            first,
            phases: vec![],
            order: Vec::with_capacity(outs * window.taps()),
        };
        let on =
            |side: Side, phase: usize| (0..side.kernel).filter(|&tap| place(side, tap).0 == phase).collect::<Vec<_>>();
        let back_row = |tap: usize| margin[0] + first[0] - place(window.rows, tap).1;
        let back = |tap: usize| margin[1] + first[1] - place(window.columns, tap).1;
        let [of_rows, of_columns] = window.each(|side| side.stride);
        for (row, column) in (0..of_rows).flat_map(|row| (0..of_columns).map(move |column| (row, column))) {
            let (row_taps, column_taps) = (on(window.rows, row), on(window.columns, column));
            if row_taps.is_empty() || column_taps.is_empty() {
                continue;
            }
            let neighbours = column_taps.windows(2).all(|pair| back(pair[0]) == back(pair[1]) + 1);
            let mut tiles = vec![];
            let mut taken = 0;
            while taken < column_taps.len() {
                let run = if neighbours { line_width(column_taps.len() - taken) } else { 1 };
                let columns = &column_taps[taken..taken + run];
                let lines: Vec<[usize; 2]> =
                    (0..outs).flat_map(|out| row_taps.iter().map(move |&tap| [out, tap])).collect();
                let mut rest = &lines[..];
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(lines_together(run, rest.len()));
                    let start = conv.order.len();
                    for [out, row_tap] in now {
                        // The last tap meets the first window.
                        let taps = columns.iter().rev().map(|column| row_tap * kernel_columns + column);
                        conv.order.extend(taps.map(|tap| out * ins * kernel_rows * kernel_columns + tap));
                    }
                    let at = |[out, tap]: &[usize; 2]| out * area + back_row(*tap) * pitch + back(columns[run - 1]);
                    tiles.push(Tile { lines: now.iter().map(at).collect(), width: run, start });
                    rest = later;
                }
                taken += run;
            }
            conv.phases.push(Phase { row, column, tiles });
        }
        Ok(conv)
    }

    /// Average pooling as a depthwise convolution of `channels` with weights of one.
    ///
    /// # Errors
    /// If the window does not fit the image.
    pub(crate) fn pooling(window: Window, [channels, height, width]: [usize; 3]) -> Result<Self> {
        Self::new(window, channels, [channels, height, width], channels)
    }

    /// The gradient with respect to the weights, `[out_channels · in_channels / groups · taps]`; that with
    /// respect to the input is added to `sum`, where there is one, for the pixels of `mask`.
    pub(crate) fn gradients(
        &self,
        input: &[f32],
        weight: &[f32],
        grad: &Cotangent,
        mask: Mask,
        sum: Option<&mut Sum>,
    ) -> Vec<Lane> {
        let packed: Vec<f32> = self.places().map(|place| weight[place]).collect();
        let mut ordered = vec![Lane::default(); packed.len()];
        self.run(&Work { input: Some(input), mask, grad, shares: None }, &packed, Some(&mut ordered), sum);
        let mut of_weight = vec![Lane::default(); packed.len()];
        self.places().zip(ordered).for_each(|(place, lane)| of_weight[place] = lane);
        of_weight
    }

    /// Adds the gradient of average pooling with respect to its input; `shares` is one over each window's pixels.
    pub(crate) fn pooling_gradient(&self, shares: &[f32], grad: &Cotangent, sum: &mut Sum) {
        let packed = vec![1.0; self.groups * self.ins * self.order.len()];
        self.run(&Work { input: None, mask: Mask::All, grad, shares: Some(shares) }, &packed, None, Some(sum));
    }

    /// The place among the weights of each weight in the order of groups, input channels and tiles.
    fn places(&self) -> impl Iterator<Item = usize> + '_ {
        let taps = self.window.taps();
        let of_group = self.outs * self.ins * taps;
        let channels = (0..self.groups).flat_map(move |group| (0..self.ins).map(move |channel| (group, channel)));
        channels.flat_map(move |(group, channel)| {
            self.order.iter().map(move |place| group * of_group + channel * taps + place)
        })
    }

    fn run(&self, work: &Work, packed: &[f32], mut of_weight: Option<&mut [Lane]>, mut sum: Option<&mut Sum>) {
        let Dims { batch, .. } = work.grad.dims;
        let [rows, columns] = self.output;
        let [height, width] = self.input;
        assert_eq!(work.grad.dims.sample(), self.groups * self.outs * rows * columns, "a cotangent of the output");
        let of_group = self.ins * self.order.len();
        let mut frame = Map::of_zeros(self.outs * self.area);
        let (mut factors, mut asked) = (Counted::default(), Counted::default());
        let everywhere = vec![1.0; if work.input.is_none() { self.ins * height * width } else { 0 }];
        if work.input.is_none() {
            self.count(&everywhere, |_| true, &mut factors);
        }
        for sample in 0..batch {
            for group in 0..self.groups {
                for (channel, to) in frame.chunks_mut(self.area).enumerate() {
                    let (channel, to) =
                        (group * self.outs + channel, &mut to[self.margin[0] * self.pitch + self.margin[1]..]);
                    match work.shares {
                        Some(shares) => work.grad.write_scaled(sample, channel, shares, to, self.pitch),
                        None => work.grad.write_plane(sample, channel, to, self.pitch, false),
                    }
                }
                if let Some(input) = work.input {
                    let size = self.ins * height * width;
                    let input = &input[(sample * self.groups + group) * size..][..size];
                    match work.mask {
                        Mask::All => self.count(input, |_| true, &mut factors),
                        // NaN counts.
                        Mask::Relu | Mask::Relu6 => self.count(input, |x| x != 0.0, &mut factors),
                    }
                    if work.mask == Mask::Relu6 {
                        self.count(input, |x| (x != 0.0) & (x != 6.0), &mut asked);
                    }
                }
                let asked = if work.mask == Mask::Relu6 { &asked } else { &factors };
                if let Some(sums) = &mut of_weight {
                    let sums = &mut sums[group * of_group..][..of_group];
                    self.each_tile(&factors, &frame, |pixels, start| {
                        let mut job = WeightSums { pixels, out: &mut sums[start..], stride: self.order.len() };
                        // SAFETY: the tiles of all channels lie in the sums, the lines of all entries in the frame.
                        unsafe { run_widest(&mut job) }
                    });
                }
                if let Some(sum) = &mut sum {
                    let channels = group * self.ins..(group + 1) * self.ins;
                    // The first tile of the only phase meets every pixel: it can write what is not written yet.
                    let (out, unwritten) = match &self.phases[..] {
                        [_] => sum.part_or_unwritten(sample, channels),
                        _ => (sum.part(sample, channels), false),
                    };
                    let weights = &packed[group * of_group..][..of_group];
                    self.each_tile(asked, &frame, |pixels, start| {
                        let (weights, stride, begins) = (&weights[start..], self.order.len(), unwritten && start == 0);
                        let mut job = InputSums { pixels, weights, stride, out, plane: height * width, begins };
                        // SAFETY: as above, and the entries' pixels lie in the planes.
                        unsafe { run_widest(&mut job) }
                    });
                }
            }
        }
    }

    /// Calls with each tile's pixels and where its weights begin.
    fn each_tile(&self, counted: &Counted, frame: &[Lane], mut f: impl FnMut(Pixels, usize)) {
        for (phase, runs) in self.phases.iter().zip(counted.runs.chunks(self.ins)) {
            for tile in &phase.tiles {
                let entries = &counted.entries[..counted.used];
                f(Pixels { entries, runs, lines: &tile.lines, width: tile.width, frame }, tile.start);
            }
        }
    }

    /// Lists the pixels of a group's planes that count.
    fn count(&self, input: &[f32], counts: impl Fn(f32) -> bool, counted: &mut Counted) {
        let [height, width] = self.input;
        let Window { rows, columns } = self.window;
        // One more, since each pixel is written before it is known to count.
        counted.entries.resize(self.phases.len() * input.len() + 1, Entry::default());
        counted.runs.clear();
        let mut used = 0;
        for phase in &self.phases {
            let start = |side: Side, phase: usize| (phase + side.stride * side.padding - side.padding) % side.stride;
            let (first_row, first_column) = (start(rows, phase.row), start(columns, phase.column));
            let column = (first_column + columns.padding) / columns.stride - self.first[1];
            for plane in input.chunks(height * width) {
                let begin = used;
                for y in (first_row..height).step_by(rows.stride) {
                    let base = ((y + rows.padding) / rows.stride - self.first[0]) * self.pitch + column;
                    let pixels = (y * width..).zip(&plane[y * width..][..width]);
                    let mut list = |(base, (pixel, &value)): (usize, (usize, &f32))| {
                        counted.entries[used] = Entry { base: base as u32, pixel: pixel as u32, value };
                        used += usize::from(counts(value));
                    };
                    match columns.stride {
                        1 => (base..).zip(pixels).for_each(list),
                        stride => (base..).zip(pixels.skip(first_column).step_by(stride)).for_each(&mut list),
                    }
                }
                counted.runs.push(begin..used);
            }
        }
        counted.used = used;
    }
}
