//! Convolution on the CPU without a matrix of columns.
//!
//! Forward, each sample's padded image is correlated through a table of offsets ([`super::simd`]). The
//! gradient with respect to the input is, for each phase of the stride, such a correlation of the output's
//! gradient with the taps that fall on this phase. The gradient with respect to the weight is a table of
//! dot products of images, a few samples at a time so that small images make long vectors. Depthwise
//! convolution is the case of one row of weights a group; a 1×1 convolution is a product of matrices.

use super::conv::Convolution;
use super::plane::{Phases, copy_row, span};
use super::simd::{MAX_LANES, correlate, dot, pack_panels};
use super::{for_each_block, place};
use crate::graph::{Side, Window};

/// Samples' pixels that the dot products of a weight gradient run over together.
const DOT_LENGTH: usize = 512;
/// Most partial sums of a weight gradient.
const MAX_CHUNKS: usize = 32;

/// One phase of the gradient with respect to the input.
struct PhaseGradient {
    /// Pixels of the phase that lie in the image, rows and columns.
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    phase: [usize; 2],
    /// Packed weights of each group.
    packed: Vec<Vec<f32>>,
    offsets: Vec<usize>,
}

impl Convolution {
    /// The output.
    pub(super) fn forward(&self, input: &[f32], weight: &[f32]) -> Vec<f32> {
        let (image, map) = (self.in_channels * self.height * self.width, self.out_channels * self.rows * self.columns);
        let mut out = vec![0.0; self.batch * map];
        if self.is_product() {
            let (outs, ins, pixels) = (self.out_channels, self.in_channels, self.height * self.width);
            if self.is_small_product() {
                let packed = pack_panels(outs, ins, |row, tap| weight[row * ins + tap]);
                let offsets: Vec<usize> = (0..ins).map(|channel| channel * pixels).collect();
                let task = |(): &mut (), sample: usize, out: &mut [f32]| {
                    correlate(outs, &packed, &offsets, &input[sample * image..][..image], pixels, out, pixels);
                };
                for_each_block(&mut out, map, self.macs(), || (), task);
                return out;
            }
            for_each_block(
                &mut out,
                map,
                self.macs(),
                || (),
                |(), sample, out| {
                    product([outs, ins, pixels], weight, [ins, 1], &input[sample * image..][..image], out);
                },
            );
            return out;
        }
        let phases = self.input_phases();
        let offsets = self.input_offsets(&phases, phases.area());
        let (outs, ins, taps) = (self.out_per_group(), self.in_per_group(), self.taps());
        let packed: Vec<Vec<f32>> = weight
            .chunks(outs * taps)
            .map(|weight| pack_panels(outs, taps, |row, tap| weight[row * taps + tap]))
            .collect();
        let pitch = phases.count() * phases.area();
        let length = (self.rows - 1) * phases.sides[1] + self.columns;
        let strip = length.next_multiple_of(MAX_LANES);
        let scratch = || (vec![0.0; self.in_channels * pitch + MAX_LANES], vec![0.0; outs * strip]);
        for_each_block(&mut out, map, self.macs(), scratch, |(padded, strips), sample, out| {
            let channels = input[sample * image..][..image].chunks(self.height * self.width);
            channels.zip(padded.chunks_mut(pitch)).for_each(|(channel, to)| phases.fill(channel, to, phases.area()));
            for (group, out) in out.chunks_mut(outs * self.rows * self.columns).enumerate() {
                correlate(outs, &packed[group], &offsets, &padded[group * ins * pitch..], length, strips, strip);
                for (out, strip) in out.chunks_mut(self.rows * self.columns).zip(strips.chunks(strip)) {
                    let rows = out.chunks_mut(self.columns).zip(strip.chunks(phases.sides[1]));
                    rows.for_each(|(to, from)| copy_row(to, from));
                }
            }
        });
        out
    }

    /// The gradient with respect to the input.
    pub(super) fn input_gradient(&self, grad: &[f32], weight: &[f32]) -> Vec<f32> {
        let (image, map) = (self.in_channels * self.height * self.width, self.out_channels * self.rows * self.columns);
        let mut out = vec![0.0; self.batch * image];
        if self.is_product() {
            let (outs, ins, pixels) = (self.out_channels, self.in_channels, self.height * self.width);
            if self.is_small_product() {
                let packed = pack_panels(ins, outs, |row, tap| weight[tap * ins + row]);
                let offsets: Vec<usize> = (0..outs).map(|channel| channel * pixels).collect();
                let task = |(): &mut (), sample: usize, out: &mut [f32]| {
                    correlate(ins, &packed, &offsets, &grad[sample * map..][..map], pixels, out, pixels);
                };
                for_each_block(&mut out, image, self.macs(), || (), task);
                return out;
            }
            for_each_block(
                &mut out,
                image,
                self.macs(),
                || (),
                |(), sample, out| {
                    product([ins, outs, pixels], weight, [1, ins], &grad[sample * map..][..map], out);
                },
            );
            return out;
        }
        let (frame, phases) = self.gradient_phases(weight);
        let (outs, ins) = (self.out_per_group(), self.in_per_group());
        let [of_rows, of_columns] = self.window.sides();
        let area = frame.area();
        let longest = phases.iter().map(|phase| phase.length(&frame)).max().unwrap_or(0);
        let strip = longest.next_multiple_of(MAX_LANES);
        let scratch = || (vec![0.0; self.out_channels * area + MAX_LANES], vec![0.0; ins * strip]);
        for_each_block(&mut out, image, self.macs(), scratch, |(padded, strips), sample, out| {
            let channels = grad[sample * map..][..map].chunks(self.rows * self.columns);
            channels.zip(padded.chunks_mut(area)).for_each(|(channel, to)| frame.fill(channel, to, area));
            for (group, out) in out.chunks_mut(ins * self.height * self.width).enumerate() {
                let padded = &padded[group * outs * area..];
                for phase in &phases {
                    let length = phase.length(&frame);
                    correlate(ins, &phase.packed[group], &phase.offsets, padded, length, strips, strip);
                    for (out, strip) in out.chunks_mut(self.height * self.width).zip(strips.chunks(strip)) {
                        for (row, from) in phase.rows.clone().zip(strip.chunks(frame.sides[1])) {
                            let y = row * of_rows.stride + phase.phase[0] - of_rows.padding;
                            let x = phase.columns.start * of_columns.stride + phase.phase[1] - of_columns.padding;
                            let from = &from[..phase.columns.len()];
                            let to = &mut out[y * self.width..(y + 1) * self.width][x..];
                            if of_columns.stride == 1 {
                                copy_row(&mut to[..from.len()], from);
                            } else {
                                to.iter_mut().step_by(of_columns.stride).zip(from).for_each(|(to, from)| *to = *from);
                            }
                        }
                    }
                }
            }
        });
        out
    }

    /// The gradient with respect to the weight, summed over chunks of samples that depend on the shapes alone.
    pub(super) fn weight_gradient(&self, input: &[f32], grad: &[f32]) -> Vec<f32> {
        let (image, map) = (self.in_channels * self.height * self.width, self.out_channels * self.rows * self.columns);
        let phases = self.input_phases();
        let area = phases.area();
        let together = (DOT_LENGTH / area).clamp(1, self.batch.max(1));
        let chunk = self.batch.div_ceil(MAX_CHUNKS).max(1).next_multiple_of(together);
        let offsets = self.input_offsets(&phases, together * area);
        let pitch = phases.count() * together * area;
        let length = (together * area).next_multiple_of(MAX_LANES);
        let (outs, ins, taps) = (self.out_per_group(), self.in_per_group(), self.taps());
        let weights = self.out_channels * taps;
        let (size, sides) = ([self.rows, self.columns], phases.sides);
        let frame = Phases { size, margin: [0; 2], stride: [1; 2], sides, used: [vec![true], vec![true]] };
        let scratch =
            || (vec![0.0; self.in_channels * pitch + area + MAX_LANES], vec![0.0; self.out_channels * length]);
        let mut partial = vec![0.0; self.batch.div_ceil(chunk).max(1) * weights];
        for_each_block(&mut partial, weights, self.macs(), scratch, |(padded, maps), at, sums| {
            let samples: Vec<usize> = (at * chunk..((at + 1) * chunk).min(self.batch)).collect();
            for samples in samples.chunks(together) {
                if samples.len() < together {
                    maps.fill(0.0);
                }
                for (place, sample) in samples.iter().enumerate() {
                    let channels = input[sample * image..][..image].chunks(self.height * self.width);
                    for (channel, to) in channels.zip(padded.chunks_mut(pitch)) {
                        phases.fill(channel, &mut to[place * area..], together * area);
                    }
                    let channels = grad[sample * map..][..map].chunks(self.rows * self.columns);
                    for (channel, to) in channels.zip(maps.chunks_mut(length)) {
                        frame.fill(channel, &mut to[place * area..], area);
                    }
                }
                for (group, sums) in sums.chunks_mut(outs * taps).enumerate() {
                    let (maps, padded) = (&maps[group * outs * length..], &padded[group * ins * pitch..]);
                    dot(outs, maps, &offsets, padded, length, sums);
                }
            }
        });
        let (whole, rest) = partial.split_at_mut(weights);
        for partial in rest.chunks(weights) {
            whole.iter_mut().zip(partial).for_each(|(sum, value)| *sum += value);
        }
        partial.truncate(weights);
        partial
    }

    /// How the padded gradient of the output lies, and what each phase of the input's gradient takes of it.
    fn gradient_phases(&self, weight: &[f32]) -> (Phases, Vec<PhaseGradient>) {
        let (sides, size) = (self.window.sides(), [self.height, self.width]);
        let used = self.used().map(|used| (0..used.len()).filter(|&phase| used[phase]).collect::<Vec<_>>());
        let span =
            |axis: usize, phase: usize| span(size[axis], sides[axis].padding as isize, phase, sides[axis].stride);
        // Phase pixel `i` takes the output's pixels from `i - last` to `i`.
        let low = [0, 1].map(|axis| {
            let last = place(sides[axis], sides[axis].kernel - 1).1 as isize;
            used[axis].iter().map(|&phase| span(axis, phase).start as isize - last).min().unwrap_or(0)
        });
        let reach = [0, 1].map(|axis| {
            let high = used[axis].iter().map(|&phase| span(axis, phase).end as isize).max().unwrap_or(0);
            usize::try_from(high - low[axis]).expect("an image has pixels")
        });
        let frame = Phases {
            size: [self.rows, self.columns],
            margin: low.map(|low| -low),
            stride: [1; 2],
            sides: reach,
            used: [vec![true], vec![true]],
        };
        let (outs, ins) = (self.out_per_group(), self.in_per_group());
        let mut phases = Vec::new();
        for phase in used[0].iter().flat_map(|&row| used[1].iter().map(move |&column| [row, column])) {
            let (rows, columns) = (span(0, phase[0]), span(1, phase[1]));
            if rows.is_empty() || columns.is_empty() {
                continue;
            }
            let on = |axis: usize| (0..sides[axis].kernel).filter(move |&tap| place(sides[axis], tap).0 == phase[axis]);
            let taps: Vec<[usize; 3]> = (0..outs)
                .flat_map(|out| on(0).flat_map(move |row| on(1).map(move |column| [out, row, column])))
                .collect();
            let at = |axis: usize, start: usize, tap: usize| {
                let at = start as isize - place(sides[axis], tap).1 as isize - low[axis];
                usize::try_from(at).expect("the margin holds all taps")
            };
            let offset = |&[out, row, column]: &[usize; 3]| {
                out * frame.area() + at(0, rows.start, row) * frame.sides[1] + at(1, columns.start, column)
            };
            let of_group = |weight: &[f32]| {
                pack_panels(ins, taps.len(), |channel, tap| {
                    let [out, row, column] = taps[tap];
                    weight[((out * ins + channel) * sides[0].kernel + row) * sides[1].kernel + column]
                })
            };
            let packed = weight.chunks(outs * self.taps()).map(of_group).collect();
            let offsets = taps.iter().map(offset).collect();
            phases.push(PhaseGradient { rows, columns, phase, packed, offsets });
        }
        (frame, phases)
    }

    fn in_per_group(&self) -> usize {
        self.in_channels / self.groups
    }

    fn out_per_group(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Taps of one output channel: its number of weights.
    fn taps(&self) -> usize {
        self.in_per_group() * self.window.taps()
    }

    fn macs(&self) -> usize {
        self.batch * self.out_channels * self.rows * self.columns * self.taps()
    }

    /// Whether the convolution is one product of matrices for each sample.
    fn is_product(&self) -> bool {
        self.window.is_pointwise() && self.groups == 1
    }

    /// Whether such a product has too few channels to be worth the packing of a general one, and planes of whole
    /// vectors: then it is a correlation that needs no padding.
    fn is_small_product(&self) -> bool {
        let channels = self.in_channels.max(self.out_channels);
        self.is_product() && channels <= 32 && (self.height * self.width).is_multiple_of(MAX_LANES)
    }

    /// The phases of both sides on which taps fall.
    fn used(&self) -> [Vec<bool>; 2] {
        self.window.each(|side| {
            let tap_on = |phase| (0..side.kernel).any(|tap| place(side, tap).0 == phase);
            (0..side.stride).map(tap_on).collect()
        })
    }

    /// How the padded input lies in its phases.
    fn input_phases(&self) -> Phases {
        let (window, size) = (self.window, [self.height, self.width]);
        let reach = |side: Side, size: usize| (size + 2 * side.padding).div_ceil(side.stride);
        let sides = [reach(window.rows, size[0]), reach(window.columns, size[1])];
        let margin = window.each(|side| side.padding as isize);
        Phases { size, margin, stride: window.each(|side| side.stride), sides, used: self.used() }
    }

    /// Offsets of a group's taps in the padded input, whose phases are `pitch` apart.
    fn input_offsets(&self, phases: &Phases, pitch: usize) -> Vec<usize> {
        let Window { rows, columns } = self.window;
        let offset = |tap: usize| {
            let (row_phase, row) = place(rows, tap / columns.kernel % rows.kernel);
            let (column_phase, column) = place(columns, tap % columns.kernel);
            let phase = tap / self.window.taps() * phases.count() + row_phase * columns.stride + column_phase;
            phase * pitch + row * phases.sides[1] + column
        };
        (0..self.taps()).map(offset).collect()
    }
}

impl PhaseGradient {
    fn length(&self, frame: &Phases) -> usize {
        (self.rows.len() - 1) * frame.sides[1] + self.columns.len()
    }
}

/// `out[m, n] = left[m, k] · right[k, n]`, rows of `right` and `out` being contiguous.
fn product([m, k, n]: [usize; 3], left: &[f32], strides: [usize; 2], right: &[f32], out: &mut [f32]) {
    assert!(left.len() == m * k && right.len() == k * n && out.len() == m * n, "matrices of the product's shapes");
    let (row, columns) = (strides[0] as isize, strides[1] as isize);
    let none = gemm::Parallelism::None;
    let (width, left, right, out) = (n as isize, left.as_ptr(), right.as_ptr(), out.as_mut_ptr());
    // SAFETY: the strides walk over just the matrices whose lengths are asserted above.
    unsafe {
        gemm::gemm(
            m, n, k, out, 1, width, false, left, columns, row, right, 1, width, 0.0, 1.0, false, false, false, none,
        );
    }
}
