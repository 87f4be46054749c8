//! Convolutions of one input, worked out together: [`super::dense`] over the taps of [`super::window`].
//!
//! Convolutions with the same window that read the same map (edges of a cell that leave one node) are one convolution
//! with all their output channels. So a number that is read serves more products, and their gradients with respect to
//! the input are one sum. Channels of groups other than depthwise are sixteen at a time, with weights of zero between
//! groups.

use super::super::lanes::{LANES, Lane};
use super::super::vector::{Isa, run_widest};
use super::dense::{Correlate, Lines, Step, WeightSums};
use super::window::{Frame, Slide};

/// Lanes of weights that are used for all pixels before the next ones: a nearest cache has room for them and the pixels.
const NEAR_WEIGHTS: usize = 432;

/// Convolutions of one input, with windows and groups in common.
#[derive(Debug)]
pub(crate) struct Convolutions {
    pub(crate) slide: Slide,
    in_channels: usize,
    /// Of each convolution.
    out_channels: Vec<usize>,
    groups: usize,
}

/// Weights in the order in which they are used, with the steps and the place of what they make.
#[derive(Debug)]
pub(crate) struct Packed(Vec<Panel>);

#[derive(Debug)]
struct Panel {
    /// Blocks of output channels, of all convolutions.
    blocks: std::ops::Range<usize>,
    lines: Lines,
    /// Lanes from a plane's beginning to the first pixel.
    first: usize,
    steps: Vec<Step>,
    weights: Vec<Lane>,
    /// What sums begin with.
    begin: Vec<Lane>,
}

/// The blocks of `channels`.
pub(crate) fn blocks(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// Divides blocks into panels of three, two and one.
fn panels(blocks: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let wide = matches!(Isa::available().next(), Some(isa) if isa.is_wide());
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = blocks - start;
        let width = match rest {
            0 => return None,
            1 => 1,
            2 | 4 => 2,
            _ if wide => 3,
            _ => 2,
        };
        start += width;
        Some(start - width..start)
    })
}

impl Convolutions {
    pub(crate) fn new(slide: Slide, in_channels: usize, out_channels: Vec<usize>, groups: usize) -> Self {
        Self { slide, in_channels, out_channels, groups }
    }

    /// Blocks of all outputs.
    pub(crate) fn out_blocks(&self) -> usize {
        self.out_channels.iter().map(|&channels| blocks(channels)).sum()
    }

    /// Each block's convolution and first channel.
    fn places(&self) -> Vec<(usize, usize)> {
        let all = self.out_channels.iter().enumerate();
        all.flat_map(|(at, &channels)| (0..channels).step_by(LANES).map(move |first| (at, first))).collect()
    }

    /// The input channel of a weight's second axis, of an output channel of convolution `at`: none where the channel is
    /// in another group.
    fn weight_column(&self, at: usize, out: usize, channel: usize) -> Option<usize> {
        let per_group = self.in_channels / self.groups;
        let group = out / (self.out_channels[at] / self.groups);
        (channel / per_group == group).then_some(channel % per_group)
    }

    /// Calls with an output channel's weights of sixteen input channels, `[channel, taps]`, zeros for other groups'.
    fn weights_of<R>(
        &self,
        weights: &[&[f32]],
        (at, out): (usize, usize),
        of: usize,
        f: impl FnOnce(&[f32]) -> R,
    ) -> R {
        let taps = self.slide.window.taps();
        let channels = of * LANES..((of + 1) * LANES).min(self.in_channels);
        let per_group = self.in_channels / self.groups;
        if self.groups == 1 {
            return f(&weights[at][(out * per_group + channels.start) * taps..][..channels.len() * taps]);
        }
        let mut all = vec![0.0; channels.len() * taps];
        for (channel, all) in channels.zip(all.chunks_exact_mut(taps)) {
            if let Some(place) = self.weight_column(at, out, channel) {
                all.copy_from_slice(&weights[at][(out * per_group + place) * taps..][..taps]);
            }
        }
        f(&all)
    }

    /// Whether a block of outputs meets one of inputs in any group.
    fn meets(&self, (at, first): (usize, usize), of_input: usize) -> bool {
        let per_group = [self.out_channels[at] / self.groups, self.in_channels / self.groups];
        let group = |channel: usize, per: usize| (channel / per).min(self.groups - 1);
        let outs = group(first, per_group[0])..=group((first + LANES).min(self.out_channels[at]) - 1, per_group[0]);
        let ins = group(of_input * LANES, per_group[1])
            ..=group(((of_input + 1) * LANES).min(self.in_channels) - 1, per_group[1]);
        outs.start() <= ins.end() && ins.start() <= outs.end()
    }

    /// The steps of the input's frame that a panel of output blocks sums over, with their tap and block.
    fn input_steps(&self, panel: &std::ops::Range<usize>) -> Vec<(Step, [usize; 2], usize)> {
        let (places, area) = (self.places(), self.slide.inputs().area());
        let met = (0..blocks(self.in_channels)).filter(|&of| panel.clone().any(|block| self.meets(places[block], of)));
        let taps = self.slide.window_taps();
        let step = |of: usize, (tap, offset): ([usize; 2], usize)| {
            let depth = (self.in_channels - of * LANES).min(LANES);
            (Step { offset: of * area + offset, depth }, tap, of)
        };
        met.flat_map(|of| taps.iter().map(move |&tap| step(of, tap))).collect()
    }

    /// Weights `[out, in / groups, rows, columns]` of each convolution, and their biases, for [`Convolutions::forward`].
    pub(crate) fn pack(&self, weights: &[&[f32]], biases: &[Option<&[f32]>]) -> Packed {
        let places = self.places();
        let panel = |panel: std::ops::Range<usize>| {
            let (all, window) = (self.input_steps(&panel), self.slide.window);
            let mut packed = vec![Lane::default(); all.iter().map(|(step, ..)| step.depth * panel.len()).sum()];
            for (in_panel, &(at, first)) in places[panel.clone()].iter().enumerate() {
                for lane in 0..LANES.min(self.out_channels[at] - first) {
                    let mut to = packed[in_panel..].iter_mut().step_by(panel.len());
                    for steps in all.chunk_by(|a, b| a.2 == b.2) {
                        self.weights_of(weights, (at, first + lane), steps[0].2, |weights| {
                            for (step, [row, column], _) in steps {
                                let first = row * window.columns.kernel + column;
                                let tap = weights[first..].iter().step_by(window.taps());
                                tap.zip(to.by_ref().take(step.depth)).for_each(|(weight, to)| to.0[lane] = *weight);
                            }
                        });
                    }
                }
            }
            let bias = |block: usize| {
                let (at, first) = places[block];
                let of = |lane: usize| biases[at].and_then(|bias| bias.get(first + lane)).copied();
                Lane(std::array::from_fn(|lane| of(lane).unwrap_or(0.0)))
            };
            Panel {
                lines: self.slide.lines().flat(),
                first: 0,
                steps: all.into_iter().map(|(step, ..)| step).collect(),
                weights: packed,
                begin: panel.clone().map(bias).collect(),
                blocks: panel,
            }
        };
        Packed(panels(places.len()).map(panel).collect())
    }

    /// The same weights for [`Convolutions::input_gradient`].
    pub(crate) fn pack_back(&self, weights: &[&[f32]]) -> Packed {
        let (places, area, window) = (self.places(), self.slide.outputs().area(), self.slide.window);
        let mut all = Vec::new();
        for phase in self.slide.phases() {
            for panel in panels(blocks(self.in_channels)) {
                let (mut steps, mut packed) = (Vec::new(), Vec::new());
                for (block, &(at, first)) in places.iter().enumerate() {
                    if !panel.clone().any(|of| self.meets((at, first), of)) {
                        continue;
                    }
                    let depth = (self.out_channels[at] - first).min(LANES);
                    let begin = packed.len();
                    packed.resize(begin + phase.taps.len() * depth * panel.len(), Lane::default());
                    steps.extend(phase.taps.iter().map(|&(_, offset)| Step { offset: block * area + offset, depth }));
                    for out in 0..depth {
                        for (in_panel, of) in panel.clone().enumerate() {
                            self.weights_of(weights, (at, first + out), of, |weights| {
                                for (tap, ([row, column], _)) in phase.taps.iter().enumerate() {
                                    let to = &mut packed[begin + (tap * depth + out) * panel.len() + in_panel].0;
                                    let first = row * window.columns.kernel + column;
                                    let tap = weights[first..].iter().step_by(window.taps());
                                    to.iter_mut().zip(tap).for_each(|(to, weight)| *to = *weight);
                                }
                            });
                        }
                    }
                }
                let begin = vec![Lane::default(); panel.len()];
                let lines = phase.lines.flat();
                all.push(Panel { blocks: panel, lines, first: phase.first, steps, weights: packed, begin });
            }
        }
        Packed(all)
    }

    /// One sample's outputs, of each convolution `[blocks, rows, columns]`, from its [`Slide::inputs`].
    pub(crate) fn forward(&self, packed: &Packed, frame: &[Lane], outs: &mut [&mut [Lane]]) {
        let area = self.slide.output[0] * self.slide.output[1];
        let planes = outs.iter_mut().flat_map(|out| out.chunks_exact_mut(area)).collect();
        correlate(packed, frame, planes, false);
    }

    /// One sample's gradient with respect to the input `[blocks, height, width]`, from its [`Slide::outputs`] of all
    /// convolutions, one behind the other; written, or added.
    pub(crate) fn input_gradient(&self, packed: &Packed, frame: &[Lane], out: &mut [Lane], add: bool) {
        let area = self.slide.input[0] * self.slide.input[1];
        correlate(packed, frame, out.chunks_exact_mut(area).collect(), add);
    }

    /// Lanes of [`Convolutions::add_weight_sums`].
    pub(crate) fn weight_lanes(&self) -> usize {
        panels(self.out_blocks()).map(|panel| panel.len() * self.input_steps(&panel).len() * LANES).sum()
    }

    /// What [`Convolutions::add_weight_sums`] goes over.
    pub(crate) fn weight_plan(&self) -> WeightPlan {
        let panel = |panel: std::ops::Range<usize>| {
            let steps = self.input_steps(&panel).into_iter().map(|(step, ..)| step).collect();
            (panel, steps)
        };
        WeightPlan(panels(self.out_blocks()).map(panel).collect())
    }

    /// Adds one sample's share of the gradient with respect to the weights to `sums`, from its [`Slide::inputs`] and
    /// the [`Slide::outputs`] of all convolutions.
    pub(crate) fn add_weight_sums(&self, plan: &WeightPlan, inputs: &[Lane], outputs: &[Lane], sums: &mut [Lane]) {
        let (frame, lines) = (self.slide.outputs(), self.slide.lines());
        let lines = Lines { to: [frame.sides[1], 1], ..lines }.flat();
        let mut rest = sums;
        for (panel, steps) in &plan.0 {
            let (out, behind) = rest.split_at_mut(panel.len() * steps.len() * LANES);
            rest = behind;
            let mut job = WeightSums {
                steps,
                frame: inputs,
                lines,
                cotangent: &outputs[panel.start * frame.area() + frame.origin()..],
                pitch: frame.area(),
                blocks: panel.len(),
                out,
            };
            // SAFETY: the job checks its accesses.
            unsafe { run_widest(&mut job) }
        }
    }

    /// The gradients of [`Convolutions::add_weight_sums`] in the order of each convolution's weight.
    pub(crate) fn weight_gradients(&self, sums: &[Lane]) -> Vec<Vec<f32>> {
        let (window, per_group) = (self.slide.window, self.in_channels / self.groups);
        let sizes = self.out_channels.iter().map(|out| out * per_group * window.taps());
        let mut all: Vec<Vec<f32>> = sizes.map(|size| vec![0.0; size]).collect();
        let places = self.places();
        let mut rest = sums;
        for panel in panels(places.len()) {
            for &(at, first) in &places[panel.clone()] {
                let lanes = (self.out_channels[at] - first).min(LANES);
                for (step, [row, column], of) in self.input_steps(&panel) {
                    for (channel, sum) in rest[..step.depth].iter().enumerate() {
                        for lane in 0..lanes {
                            let channel_of_weight = match self.groups {
                                1 => Some(of * LANES + channel),
                                _ => self.weight_column(at, first + lane, of * LANES + channel),
                            };
                            if let Some(place) = channel_of_weight {
                                let tap = row * window.columns.kernel + column;
                                let place = ((first + lane) * per_group + place) * window.taps() + tap;
                                all[at][place] = sum.0[lane];
                            }
                        }
                    }
                    rest = &rest[LANES..];
                }
            }
        }
        all
    }

    /// The frame of all outputs for the way back, in lanes.
    pub(crate) fn outputs_lanes(&self) -> (Frame, usize) {
        let frame = self.slide.outputs();
        (frame, frame.area() * self.out_blocks())
    }
}

/// Panels of output blocks with the steps that they sum over.
#[derive(Debug)]
pub(crate) struct WeightPlan(Vec<(std::ops::Range<usize>, Vec<Step>)>);

fn correlate(packed: &Packed, frame: &[Lane], mut planes: Vec<&mut [Lane]>, add: bool) {
    for panel in &packed.0 {
        let width = panel.blocks.len();
        let most = NEAR_WEIGHTS / (LANES * width);
        // Even parts; one part even of no steps, which begins the sums.
        let parts = panel.steps.len().div_ceil(most).max(1);
        let each = panel.steps.len().div_ceil(parts).max(1);
        let mut outs: Vec<&mut [Lane]> =
            planes[panel.blocks.clone()].iter_mut().map(|plane| &mut plane[panel.first..]).collect();
        let mut weights = &panel.weights[..];
        for part in 0..parts {
            let steps = &panel.steps[(part * each).min(panel.steps.len())..((part + 1) * each).min(panel.steps.len())];
            let begin = (part == 0 && !add).then_some(&panel.begin[..]);
            let mut job = Correlate { steps, weights, frame, lines: panel.lines, outs: &mut outs, begin };
            // SAFETY: the job checks its accesses.
            unsafe { run_widest(&mut job) }
            weights = &weights[steps.iter().map(|step| step.depth * width).sum()..];
        }
    }
}
