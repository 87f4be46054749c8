//! Depthwise convolution, one weight a tap and channel; average pooling is the case of equal weights.
//!
//! - `out[pixel] (+)= Σ_tap weight[tap] · frame[tap + pixel]`, lane by lane
//! - `weight[tap] += Σ_pixel cotangent[pixel] · frame[tap + pixel]`

use super::super::lanes::{LANES, Lane};
use super::super::vector::{Job, Simd, run_widest, unrolled};
use super::dense::Lines;
use super::window::Slide;

/// A depthwise convolution of one weight a channel and tap.
#[derive(Debug)]
pub(crate) struct Depthwise {
    pub(crate) slide: Slide,
    channels: usize,
}

/// Weights by block and tap, and biases by block.
#[derive(Debug)]
pub(crate) struct PackedTaps {
    taps: Vec<Lane>,
    biases: Vec<Lane>,
}

impl PackedTaps {
    /// Blocks of channels.
    pub(crate) fn blocks(&self) -> usize {
        self.biases.len()
    }
}

/// Sixteen channels' numbers of `values` `[channels, each]`, zero behind the last channel.
pub(crate) fn lanes_of(values: &[f32], channels: usize, each: usize) -> Vec<Lane> {
    let lane = |block: usize, at: usize| {
        Lane(std::array::from_fn(|lane| match block * LANES + lane {
            channel if channel < channels => values[channel * each + at],
            _ => 0.0,
        }))
    };
    (0..channels.div_ceil(LANES)).flat_map(|block| (0..each).map(move |at| lane(block, at))).collect()
}

impl Depthwise {
    pub(crate) fn new(slide: Slide, channels: usize) -> Self {
        Self { slide, channels }
    }

    fn taps(&self) -> usize {
        self.slide.window.taps()
    }

    /// Weights `[channels, 1, rows, columns]`.
    pub(crate) fn pack(&self, weight: &[f32], bias: Option<&[f32]>) -> PackedTaps {
        let biases = match bias {
            Some(bias) => lanes_of(bias, self.channels, 1),
            None => vec![Lane::default(); self.channels.div_ceil(LANES)],
        };
        PackedTaps { taps: lanes_of(weight, self.channels, self.taps()), biases }
    }

    /// Weights that are all one: the sum of each window.
    pub(crate) fn ones(&self) -> PackedTaps {
        self.pack(&vec![1.0; self.channels * self.taps()], None)
    }

    /// One sample's outputs from its [`Slide::inputs`].
    pub(crate) fn forward(&self, packed: &PackedTaps, frame: &[Lane], out: &mut [Lane]) {
        let offsets: Vec<usize> = self.slide.window_taps().into_iter().map(|(_, offset)| offset).collect();
        let planes = out.chunks_exact_mut(self.slide.output[0] * self.slide.output[1]);
        let frames = frame.chunks_exact(self.slide.inputs().area());
        for ((out, frame), (weights, bias)) in
            planes.zip(frames).zip(packed.taps.chunks_exact(self.taps()).zip(&packed.biases))
        {
            run(&mut Sum { offsets: &offsets, weights, frame, lines: self.slide.lines(), out, begin: Some(*bias) });
        }
    }

    /// One sample's gradient with respect to the input from its [`Slide::outputs`]; written, or added.
    pub(crate) fn input_gradient(&self, packed: &PackedTaps, frame: &[Lane], out: &mut [Lane], add: bool) {
        let columns = self.slide.window.columns.kernel;
        for phase in self.slide.phases() {
            let offsets: Vec<usize> = phase.taps.iter().map(|&(_, offset)| offset).collect();
            let planes = out.chunks_exact_mut(self.slide.input[0] * self.slide.input[1]);
            let frames = frame.chunks_exact(self.slide.outputs().area());
            for ((out, frame), taps) in planes.zip(frames).zip(packed.taps.chunks_exact(self.taps())) {
                let weights: Vec<Lane> =
                    phase.taps.iter().map(|&([row, column], _)| taps[row * columns + column]).collect();
                run(&mut Sum {
                    offsets: &offsets,
                    weights: &weights,
                    frame,
                    lines: phase.lines.flat(),
                    out: &mut out[phase.first..],
                    begin: (!add).then(Lane::default),
                });
            }
        }
    }

    /// Lanes of [`Depthwise::add_weight_sums`].
    pub(crate) fn weight_lanes(&self) -> usize {
        self.channels.div_ceil(LANES) * self.taps()
    }

    /// Adds one sample's share of the gradient with respect to the weights, `[blocks, taps]`.
    pub(crate) fn add_weight_sums(&self, inputs: &[Lane], outputs: &[Lane], sums: &mut [Lane]) {
        let of_outputs = self.slide.outputs();
        let offsets: Vec<usize> = self.slide.window_taps().into_iter().map(|(_, offset)| offset).collect();
        let frames = inputs.chunks_exact(self.slide.inputs().area()).zip(outputs.chunks_exact(of_outputs.area()));
        for ((frame, cotangent), sums) in frames.zip(sums.chunks_exact_mut(self.taps())) {
            run(&mut TapSums {
                offsets: &offsets,
                frame,
                lines: Lines { to: [of_outputs.sides[1], 1], ..self.slide.lines() },
                cotangent: &cotangent[of_outputs.origin()..],
                sums,
            });
        }
    }

    /// The gradient in the order of the weight.
    pub(crate) fn weight_gradient(&self, sums: &[Lane]) -> Vec<f32> {
        let each = self.taps();
        let at = |channel: usize, tap: usize| sums[channel / LANES * each + tap].0[channel % LANES];
        (0..self.channels).flat_map(|channel| (0..each).map(move |tap| at(channel, tap))).collect()
    }
}

fn run(job: &mut impl Job) {
    // SAFETY: the jobs of this module check their accesses.
    unsafe { run_widest(job) }
}

struct Sum<'a> {
    offsets: &'a [usize],
    weights: &'a [Lane],
    frame: &'a [Lane],
    lines: Lines,
    out: &'a mut [Lane],
    begin: Option<Lane>,
}

impl Job for Sum<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let [read, written] = self.lines.reach();
        assert!(self.offsets.iter().all(|offset| offset + read <= self.frame.len()), "windows lie in the frame");
        assert!(written <= self.out.len() && self.offsets.len() <= self.weights.len(), "a place for each output");
        // SAFETY: as asserted.
        unsafe {
            for at in (0..LANES).step_by(S::LANES) {
                for row in 0..self.lines.rows {
                    let mut column = 0;
                    while column + 8 <= self.lines.columns {
                        self.tile::<S, 8>(at, row, column);
                        column += 8;
                    }
                    while column + 3 <= self.lines.columns {
                        self.tile::<S, 3>(at, row, column);
                        column += 3;
                    }
                    while column < self.lines.columns {
                        self.tile::<S, 1>(at, row, column);
                        column += 1;
                    }
                }
            }
        }
    }
}

impl Sum<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const P: usize>(&mut self, at: usize, row: usize, column: usize) {
        unsafe {
            let Lines { from, to, .. } = self.lines;
            let frame = self.frame.as_ptr().add(row * from[0] + column * from[1]).cast::<f32>().add(at);
            let out = self.out.as_mut_ptr().add(row * to[0] + column * to[1]).cast::<f32>().add(at);
            let (step, pitch) = (from[1] * LANES, to[1] * LANES);
            let mut sums = [S::splat(0.0); P];
            match &self.begin {
                Some(begin) => {
                    let begin = S::load(begin.0.as_ptr().add(at));
                    unrolled!(p in P, sums[p] = begin);
                }
                None => {
                    unrolled!(p in P, sums[p] = S::load(out.wrapping_add(p * pitch)));
                }
            }
            for (&offset, weight) in self.offsets.iter().zip(self.weights) {
                let weight = S::load(weight.0.as_ptr().add(at));
                let x = frame.add(offset * LANES);
                unrolled!(p in P, sums[p] = S::load(x.wrapping_add(p * step)).mul_add(weight, sums[p]));
            }
            unrolled!(p in P, sums[p].store(out.wrapping_add(p * pitch)));
        }
    }
}

struct TapSums<'a> {
    offsets: &'a [usize],
    frame: &'a [Lane],
    lines: Lines,
    cotangent: &'a [Lane],
    sums: &'a mut [Lane],
}

impl Job for TapSums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        let [read, of_cotangent] = self.lines.reach();
        assert!(self.offsets.iter().all(|offset| offset + read <= self.frame.len()), "windows lie in the frame");
        assert!(of_cotangent <= self.cotangent.len() && self.offsets.len() <= self.sums.len(), "a sum for each tap");
        // SAFETY: as asserted.
        unsafe {
            for at in (0..LANES).step_by(S::LANES) {
                let mut tap = 0;
                while tap + 9 <= self.offsets.len() {
                    self.tile::<S, 9>(at, tap);
                    tap += 9;
                }
                while tap + 4 <= self.offsets.len() {
                    self.tile::<S, 4>(at, tap);
                    tap += 4;
                }
                while tap < self.offsets.len() {
                    self.tile::<S, 1>(at, tap);
                    tap += 1;
                }
            }
        }
    }
}

impl TapSums<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const N: usize>(&mut self, at: usize, tap: usize) {
        unsafe {
            let Lines { from, to, rows, columns } = self.lines;
            let out = self.sums.as_mut_ptr().add(tap).cast::<f32>().add(at);
            let offsets = *self.offsets.as_ptr().add(tap).cast::<[usize; N]>();
            let mut sums = [S::splat(0.0); N];
            unrolled!(n in N, sums[n] = S::load(out.wrapping_add(n * LANES)));
            for row in 0..rows {
                let mut x = self.frame.as_ptr().add(row * from[0]).cast::<f32>().add(at);
                let mut g = self.cotangent.as_ptr().add(row * to[0]).cast::<f32>().add(at);
                for _ in 0..columns {
                    let factor = S::load(g);
                    unrolled!(n in N, {
                        sums[n] = S::load(x.wrapping_add(offsets[n] * LANES)).mul_add(factor, sums[n]);
                    });
                    x = x.wrapping_add(from[1] * LANES);
                    g = g.wrapping_add(to[1] * LANES);
                }
            }
            unrolled!(n in N, sums[n].store(out.wrapping_add(n * LANES)));
        }
    }
}
