//! Batch normalisation's gradient, lane by lane.
//!
//! With x the input, m and v its statistics over N numbers a channel, and r = 1/√(v + ε):
//! `scale·r · (g - Σg / N - (x - m)·r² · Σ(g·(x - m)) / N)` for the input, `r · Σ(g·(x - m))` for the scale. The sums
//! take one pass over g; the input's gradient is written down only by whom it is handed on to ([`Cotangent`]).

use super::super::batch_norm::{Statistics, statistics};
use super::super::vector::{Job, Simd, prefetch, run_widest};
use super::{AHEAD, Change, Cotangent, Dims, LANES, Lane};
use candle_core::Tensor;

/// The input's gradient as a function of the output's: `g · gain + offset + (x - mean) · slope`.
#[derive(Debug)]
pub(crate) struct Norm {
    /// x, `[batch, channels, height, width]`.
    input: Vec<f32>,
    channels: Vec<Channel>,
}

#[derive(Debug)]
struct Channel {
    mean: f32,
    gain: f32,
    offset: Lane,
    slope: Lane,
}

impl Norm {
    pub(super) fn change(&self, place: usize, channel: usize, plane: usize) -> Change<'_> {
        let Channel { mean, gain, offset, slope } = &self.channels[channel];
        Change::Normalised { x: &self.input[place..][..plane], mean: *mean, gain: *gain, offset, slope }
    }
}

/// Pixels of which the sums are made in f32.
const BLOCK: usize = 256;

/// A batch normalisation's way back: what makes its input's gradient, and the scale's, one for each channel.
#[derive(Debug)]
pub(crate) struct Normalised {
    pub(crate) norm: Norm,
    pub(crate) of_scale: Vec<Lane>,
}

/// The ways back through several batch normalisations, inputs and scales of which are given, from the cotangent of
/// their outputs, which is one for all.
pub(crate) fn normalise(
    layers: &[(&Tensor, &Tensor)],
    grad: &Cotangent,
    eps: f64,
) -> candle_core::Result<Vec<Normalised>> {
    let Dims { batch, channels, .. } = grad.dims;
    let (plane, count) = (grad.dims.plane(), (batch * grad.dims.plane()) as f64);
    let inputs: Vec<Vec<f32>> =
        layers.iter().map(|(input, _)| input.flatten_all()?.to_vec1()).collect::<candle_core::Result<_>>()?;
    let statistics: Vec<Vec<Statistics>> =
        inputs.iter().map(|input| statistics(input, [batch, channels, plane])).collect();
    let mut all_sums = vec![[[0f64; LANES]; 2]; layers.len() * channels];
    for (at, grad) in grad.map.chunks(plane).enumerate() {
        let channel = at % channels;
        for (number, grad) in grad.chunks(BLOCK).enumerate() {
            for (layer, input) in inputs.iter().enumerate() {
                let x = &input[at * plane + number * BLOCK..][..grad.len()];
                let mean = statistics[layer][channel].mean as f32;
                let mut job = Sums { grad, x, mean, out: [Lane::default(); 2] };
                // SAFETY: both slices have the same length.
                unsafe { run_widest(&mut job) };
                for (sums, parts) in all_sums[layer * channels + channel].iter_mut().zip(&job.out) {
                    sums.iter_mut().zip(&parts.0).for_each(|(sum, part)| *sum += f64::from(*part));
                }
            }
        }
    }
    let of_layer = |(layer, input): (usize, Vec<f32>)| {
        let scale = layers[layer].1.to_vec1::<f32>()?;
        let one = |channel: usize| {
            let Statistics { mean, variance } = statistics[layer][channel];
            let [sum, along] = &all_sums[layer * channels + channel];
            let deviation = (variance + eps).sqrt().recip();
            let gain = f64::from(scale[channel]) * deviation;
            let lane = |f: &dyn Fn(usize) -> f64| Lane(std::array::from_fn(|at| f(at) as f32));
            let channel = Channel {
                mean: mean as f32,
                gain: gain as f32,
                offset: lane(&|at| -gain * sum[at] / count),
                slope: lane(&|at| -gain * deviation * deviation * along[at] / count),
            };
            (channel, lane(&|at| along[at] * deviation))
        };
        let (channels, of_scale) = (0..channels).map(one).unzip();
        Ok(Normalised { norm: Norm { input, channels }, of_scale })
    };
    inputs.into_iter().enumerate().map(of_layer).collect()
}

/// `Σ g` and `Σ g·(x - mean)`.
struct Sums<'a> {
    grad: &'a [Lane],
    x: &'a [f32],
    mean: f32,
    out: [Lane; 2],
}

impl Job for Sums<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&mut self) {
        // Four chains each, so that an addition need not wait for the last one.
        for at in (0..LANES).step_by(S::LANES) {
            // SAFETY: `at` is a whole vector within the lane.
            unsafe {
                let (one, zero) = (S::splat(1.0), S::splat(0.0));
                let (mut sums, mut along) = ([zero; 4], [zero; 4]);
                let (grads, xs) = (self.grad.as_chunks::<4>(), self.x.as_chunks::<4>());
                for (grads, xs) in grads.0.iter().zip(xs.0) {
                    for chain in 0..4 {
                        prefetch(grads.as_ptr().cast::<f32>().wrapping_add((chain + AHEAD) * LANES));
                        let g = S::load(grads[chain].0.as_ptr().add(at));
                        sums[chain] = g.mul_add(one, sums[chain]);
                        along[chain] = g.mul_add(S::splat(xs[chain] - self.mean), along[chain]);
                    }
                }
                for (g, x) in grads.1.iter().zip(xs.1) {
                    let g = S::load(g.0.as_ptr().add(at));
                    sums[0] = g.mul_add(one, sums[0]);
                    along[0] = g.mul_add(S::splat(x - self.mean), along[0]);
                }
                for (out, parts) in self.out.iter_mut().zip([sums, along]) {
                    let pair = |a: S, b: S| a.mul_add(one, b);
                    pair(pair(parts[0], parts[1]), pair(parts[2], parts[3])).store(out.0.as_mut_ptr().add(at));
                }
            }
        }
    }
}
