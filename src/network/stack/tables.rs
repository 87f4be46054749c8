//! What a stack reads on the device besides maps: lists of rows and pixels, and the networks' parameters. Each is
//! uploaded at once, and its parts are views of it.

use super::plan::{Group, Piece, Plan};
use super::{Member, WeightsError};
use crate::graph::{Op, Role, Shape, Side, Window};
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::ops::Range;

/// Lists and parameters on the device.
#[derive(Debug)]
pub(super) struct Tables {
    lists: Tensor,
    numbers: Tensor,
    /// For each group, for each operand.
    pub(super) sources: Vec<Vec<Source>>,
    /// For each group: its parameters, `[rows, …]` each; the shares of a mean, `[pixels]`.
    parameters: Vec<Vec<Numbers>>,
    windows: HashMap<(Window, Shape), Windows>,
}

/// Numbers, and the dimensions of the tensor that they are.
type Numbers = (Range<usize>, Vec<usize>);

/// Where an operand comes from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) pieces: Vec<Taken>,
    /// How rows are put in order, once the pieces stand one after the other.
    pub(super) order: Option<Range<usize>>,
}

/// A piece of an operand.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) group: usize,
    /// The rows of that group.
    pub(super) rows: Rows,
    /// The rows of the operand.
    pub(super) positions: Rows,
    /// The rows of that group as a list; none where they are all, in order.
    pub(super) back: Option<Range<usize>>,
}

/// Rows of a tensor.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    All,
    Run { first: usize, count: usize },
    Listed(Range<usize>),
}

/// What the taps of a window meet, for one size of map.
#[derive(Clone, Debug)]
struct Windows {
    /// `[taps, windows]`: the pixels met.
    met: Pixels,
    /// `[taps, pixels]`: the windows whose tap meets the pixel; and among all windows of all taps.
    by: Pixels,
    by_tap: Pixels,
}

/// For each tap a list of places in a map.
#[derive(Clone, Debug)]
pub(super) struct Pixels {
    pub(super) list: Range<usize>,
    pub(super) taps: usize,
    /// Whether one is behind the last of the map: nothing.
    pub(super) pads: bool,
}

impl Tables {
    /// The tables of `members` that run as `plan` on `batches` batches each.
    pub(super) fn new(plan: &Plan, members: &[Member], batches: usize, device: &Device) -> Result<Self, WeightsError> {
        let (mut lists, mut numbers) = (Lists { values: vec![], batches }, vec![]);
        let (mut windows, mut parameters) = (HashMap::new(), vec![]);
        let sizes: Vec<usize> = plan.groups.iter().map(|group| group.nodes.len().max(1)).collect();
        let source = |pieces: &Vec<Piece>, lists: &mut Lists, of: usize| lists.source(pieces, &sizes, of);
        let mut sources = vec![];
        for group in &plan.groups {
            let of = group.nodes.len();
            sources.push(group.sources.iter().map(|pieces| source(pieces, &mut lists, of)).collect());
            let window = window(&group.op);
            if let Some(window) = window {
                let size = group.operands[0];
                windows.entry((window, size)).or_insert_with(|| lists.windows(window, size, group.shape));
            }
            parameters.push(match group.op {
                Op::AvgPool(window) => {
                    let first = numbers.len();
                    numbers.extend(shares(window, group.operands[0], group.shape));
                    vec![(first..numbers.len(), vec![group.shape.pixels()])]
                }
                _ => of_group(group, members, batches, &mut numbers)?,
            });
        }
        // Not even one element would be no tensor that can be viewed.
        lists.values.push(0);
        numbers.push(0.0);
        let (lists, numbers) =
            (Tensor::new(lists.values.as_slice(), device)?, Tensor::new(numbers.as_slice(), device)?);
        Ok(Self { lists, numbers, sources, parameters, windows })
    }

    /// A list of rows or pixels.
    pub(super) fn list(&self, range: &Range<usize>) -> Result<Tensor, candle_core::Error> {
        self.lists.narrow(0, range.start, range.len())
    }

    /// A parameter of a group.
    pub(super) fn parameter(&self, group: usize, which: usize) -> Result<Tensor, candle_core::Error> {
        let (range, dims) = &self.parameters[group][which];
        self.numbers.narrow(0, range.start, range.len())?.reshape(dims.as_slice())
    }

    /// The pixels that windows on maps of `size` meet; none where each meets the pixel of its own place alone.
    pub(super) fn met(&self, window: Window, size: Shape) -> Option<&Pixels> {
        (!window.is_pointwise()).then(|| &self.windows[&(window, size)].met)
    }

    /// The windows that meet the pixels, for each tap; none where each is met by the window of its own place alone.
    pub(super) fn by(&self, window: Window, size: Shape) -> Option<&Pixels> {
        (!window.is_pointwise()).then(|| &self.windows[&(window, size)].by)
    }

    /// As [`Self::by`], where each tap has windows of its own, those of one tap behind those of the other.
    pub(super) fn by_tap(&self, window: Window, size: Shape) -> &Pixels {
        &self.windows[&(window, size)].by_tap
    }
}

fn window(op: &Op) -> Option<Window> {
    match op {
        Op::Conv2d(conv) => Some(conv.window),
        Op::MaxPool(window) | Op::AvgPool(window) => Some(*window),
        _ => None,
    }
}

/// One over the pixels of the map in each window.
fn shares(window: Window, from: Shape, to: Shape) -> Vec<f32> {
    let (met, pixels) = (met(window, from, to), from.pixels() as u32);
    let inside = |at: usize| met.iter().filter(|tap| tap[at] < pixels).count();
    (0..to.pixels()).map(|at| (inside(at) as f32).recip()).collect()
}

pub(super) fn sides(shape: Shape) -> (usize, usize) {
    match shape {
        Shape::Map { height, width, .. } => (height, width),
        Shape::Vector(_) => (1, 1),
    }
}

/// For each tap the pixel that each window meets; in the padding, the one behind the last.
fn met(window: Window, from: Shape, to: Shape) -> Vec<Vec<u32>> {
    let ((height, width), (rows, columns)) = (sides(from), sides(to));
    let along = |side: Side, tap: usize, at: usize, size: usize| {
        (at * side.stride + tap * side.dilation).checked_sub(side.padding).filter(|&pixel| pixel < size)
    };
    let pixel = |tap: (usize, usize), at: usize| {
        let y = along(window.rows, tap.0, at / columns, height);
        let x = along(window.columns, tap.1, at % columns, width);
        y.zip(x).map_or(height * width, |(y, x)| y * width + x) as u32
    };
    let taps = (0..window.rows.kernel).flat_map(|i| (0..window.columns.kernel).map(move |j| (i, j)));
    taps.map(|tap| (0..rows * columns).map(|at| pixel(tap, at)).collect()).collect()
}

/// The parameters of a group's nodes, for each batch: `[rows, groups, outputs of a group, inputs]` of a convolution,
/// `[rows, outputs, inputs]` of a linear layer, `[rows, channels, 1]` of all else.
fn of_group(
    group: &Group,
    members: &[Member],
    batches: usize,
    numbers: &mut Vec<f32>,
) -> Result<Vec<Numbers>, WeightsError> {
    let Some(&(member, id)) = group.nodes.first() else { return Ok(vec![]) };
    let rows = group.nodes.len() * batches;
    let wanted = members[member].graph.node_parameters(id).into_iter().enumerate();
    let wanted = wanted.filter(|(_, one)| !matches!(one.role, Role::RunningMean | Role::RunningVariance));
    let mut ranges = vec![];
    for (which, parameter) in wanted {
        let first = numbers.len();
        for &(member, id) in &group.nodes {
            let Member { graph, weights } = &members[member];
            let values = weights.get(&graph.node_parameters(id)[which].name)?.flatten_all()?.to_vec1::<f32>()?;
            (0..batches).for_each(|_| numbers.extend(&values));
        }
        let dims = match (group.op, &parameter.dims[..]) {
            (Op::Conv2d(conv), &[out, per_group, kernel_rows, kernel_columns]) => {
                vec![rows, conv.groups, out / conv.groups, per_group * kernel_rows * kernel_columns]
            }
            (_, &[out, inputs]) => vec![rows, out, inputs],
            (_, dims) => vec![rows, dims.iter().product(), 1],
        };
        ranges.push((first..numbers.len(), dims));
    }
    Ok(ranges)
}

/// Lists in the making.
struct Lists {
    values: Vec<u32>,
    batches: usize,
}

impl Lists {
    fn push(&mut self, list: impl IntoIterator<Item = u32>) -> Range<usize> {
        let first = self.values.len();
        self.values.extend(list);
        first..self.values.len()
    }

    /// The rows of slots: one for each batch.
    fn listed(&mut self, slots: &[usize]) -> Range<usize> {
        let batches = self.batches;
        let rows = slots.iter().flat_map(|slot| (0..batches).map(move |batch| (slot * batches + batch) as u32));
        self.push(rows.collect::<Vec<_>>())
    }

    fn rows(&mut self, slots: &[usize], of: usize) -> Rows {
        let first = slots.first().copied().unwrap_or(0);
        match slots.iter().enumerate().all(|(at, &slot)| slot == first + at) {
            true if slots.len() == of => Rows::All,
            true => Rows::Run { first: first * self.batches, count: slots.len() * self.batches },
            false => Rows::Listed(self.listed(slots)),
        }
    }

    /// Where an operand of `of` nodes comes from; `sizes` are the slots of all groups.
    fn source(&mut self, pieces: &[Piece], sizes: &[usize], of: usize) -> Source {
        let behind: Vec<usize> = pieces.iter().flat_map(|piece| piece.positions.iter().copied()).collect();
        let mut order = vec![0; behind.len()];
        behind.iter().enumerate().for_each(|(at, &position)| order[position] = at);
        let is_sorted = order.iter().enumerate().all(|(at, &from)| at == from);
        let taken = |piece: &Piece, lists: &mut Self| {
            let rows = lists.rows(&piece.slots, sizes[piece.group]);
            let back = match &rows {
                Rows::All => None,
                Rows::Listed(list) => Some(list.clone()),
                Rows::Run { .. } => Some(lists.listed(&piece.slots)),
            };
            Taken { group: piece.group, rows, positions: lists.rows(&piece.positions, of), back }
        };
        let pieces = pieces.iter().map(|piece| taken(piece, self)).collect();
        Source { pieces, order: (!is_sorted).then(|| self.listed(&order)) }
    }

    fn windows(&mut self, window: Window, from: Shape, to: Shape) -> Windows {
        let met = met(window, from, to);
        let (pixels, windows) = (from.pixels(), to.pixels());
        let mut by = vec![vec![windows as u32; pixels]; met.len()];
        for (by, met) in by.iter_mut().zip(&met) {
            for (at, &pixel) in met.iter().enumerate().filter(|&(_, &pixel)| (pixel as usize) < pixels) {
                by[pixel as usize] = at as u32;
            }
        }
        let of_taps = (met.len() * windows) as u32;
        let apart = by.iter().enumerate().map(|(tap, by)| {
            let place = |&at: &u32| if at < windows as u32 { (tap * windows) as u32 + at } else { of_taps };
            by.iter().map(place).collect()
        });
        let by_tap: Vec<Vec<u32>> = apart.collect();
        let mut pixels = |lists: Vec<Vec<u32>>, nothing: usize| {
            let pads = lists.iter().flatten().any(|&at| at as usize == nothing);
            Pixels { taps: lists.len(), list: self.push(lists.into_iter().flatten()), pads }
        };
        let by_tap = pixels(by_tap, of_taps as usize);
        Windows { met: pixels(met, from.pixels()), by: pixels(by, windows), by_tap }
    }
}
