//! Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167).
//!
//! `out = scale · x̂ + shift`, `x̂ = (x - mean) / √(variance + ε)`, mean and biased variance of each channel
//! over batch and pixels. With N numbers a channel and the output's gradient g, the gradients are
//! `Σ g` for the shift, `Σ g·x̂` for the scale, and
//! `scale / √(variance + ε) · (g - Σg / N - x̂ · Σ(g·x̂) / N)` for the input.

use super::{accelerated, for_each_block, values, with_values};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use std::sync::OnceLock;

/// Normalises `[batch, channels, height, width]` with its own statistics (training mode), then scales and
/// shifts by `[channels]`. The gradients go through the statistics.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn batch_norm(input: &Tensor, scale: &Tensor, shift: &Tensor, eps: f64) -> Result<Tensor> {
    check_channels(input, &[scale, shift])?;
    if accelerated(input) {
        let norm = BatchNorm { eps, statistics: OnceLock::new() };
        return input.contiguous()?.apply_op3(&scale.contiguous()?, &shift.contiguous()?, norm);
    }
    let (mean, variance) = composed_statistics(input)?;
    normalised(input, scale, shift, &mean, &variance, eps)
}

/// Normalises with given statistics `[channels]` (inference mode).
///
/// # Errors
/// If the shapes do not fit each other.
pub fn batch_norm_inference(
    input: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    check_channels(input, &[scale, shift, mean, variance])?;
    normalised(input, scale, shift, mean, variance, eps)
}

/// Mean and biased variance `[channels]` of `[batch, channels, height, width]`, without gradient.
///
/// # Errors
/// If the tensor has not four dimensions.
pub fn batch_statistics(input: &Tensor) -> Result<(Tensor, Tensor)> {
    let (batch, channels, height, width) = input.dims4()?;
    let input = input.detach();
    if !accelerated(&input) {
        return composed_statistics(&input);
    }
    let all = with_values(&input, |input| Ok(statistics(input, [batch, channels, height * width])))?;
    let tensor = |value: fn(&Statistics) -> f64| {
        Tensor::from_vec(all.iter().map(|s| value(s) as f32).collect::<Vec<_>>(), channels, input.device())
    };
    Ok((tensor(|s| s.mean)?, tensor(|s| s.variance)?))
}

/// The gradients of [`batch_norm`] with respect to its `input` and to its scale, from that with respect to its
/// output. `grad` may hold several cotangents, `[cotangents · batch, channels, height, width]`, all cotangents of
/// the whole batch one after the other; so does the input's. The scale's is `[cotangents, channels]`. Not
/// differentiable itself.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn batch_norm_gradients(input: &Tensor, scale: &Tensor, grad: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    check_channels(input, &[scale])?;
    let (batch, channels, height, width) = input.dims4()?;
    let cotangents = super::cotangents(input, grad)?;
    let (input, scale, grad) = (input.detach(), scale.detach(), grad.detach());
    let pixels = height * width;
    let (mean, variance) = composed_statistics(&input)?;
    let deviation = (variance + eps)?.sqrt()?;
    let per_channel = |t: &Tensor| t.reshape((1, channels, 1));
    let normal = input
        .reshape((batch, channels, pixels))?
        .broadcast_sub(&per_channel(&mean)?)?
        .broadcast_div(&per_channel(&deviation)?)?
        .unsqueeze(0)?;
    let g = grad.reshape((cotangents, batch, channels, pixels))?;
    let count = (batch * pixels) as f64;
    let sum = g.sum_keepdim(3)?.sum_keepdim(1)?;
    let along = g.broadcast_mul(&normal)?.sum_keepdim(3)?.sum_keepdim(1)?;
    let gain = (scale / &deviation)?.reshape((1, 1, channels, 1))?;
    let of_input = g
        .broadcast_sub(&(&sum / count)?)?
        .sub(&normal.broadcast_mul(&(&along / count)?)?)?
        .broadcast_mul(&gain)?
        .reshape(grad.dims())?;
    Ok((of_input, along.reshape((cotangents, channels))?))
}

struct BatchNorm {
    eps: f64,
    /// Of the forward pass, for the gradient.
    statistics: OnceLock<Vec<Statistics>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistics {
    pub(super) mean: f64,
    pub(super) variance: f64,
}

impl Statistics {
    fn inverse_deviation(&self, eps: f64) -> f32 {
        (self.variance + eps).sqrt().recip() as f32
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "tegu-batch-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = l1.shape().dims4()?;
        let (input, scale, shift) = (values(s1, l1)?, values(s2, l2)?, values(s3, l3)?);
        let pixels = height * width;
        let statistics = self.statistics.get_or_init(|| statistics(input, [batch, channels, pixels]));
        let mut out = vec![0.0; input.len()];
        for_each_block(
            &mut out,
            channels * pixels,
            input.len(),
            || (),
            |(), sample, out| {
                for (channel, out) in out.chunks_mut(pixels).enumerate() {
                    let input = &input[(sample * channels + channel) * pixels..][..pixels];
                    let mean = statistics[channel].mean as f32;
                    let factor = scale[channel] * statistics[channel].inverse_deviation(self.eps);
                    out.iter_mut().zip(input).for_each(|(out, x)| *out = (x - mean) * factor + shift[channel]);
                }
            },
        );
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        scale: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let shape = input.dims4()?;
        let factors = scale.to_vec1::<f32>()?;
        let (of_input, sums) =
            with_values(input, |input| with_values(grad, |grad| Ok(self.gradients(input, &factors, grad, shape))))?;
        let of_channels = |at: usize| {
            Tensor::from_vec(sums.iter().map(|sum| sum[at] as f32).collect::<Vec<_>>(), scale.shape(), scale.device())
        };
        let of_input = Tensor::from_vec(of_input, input.shape(), input.device())?;
        Ok((Some(of_input), Some(of_channels(1)?), Some(of_channels(0)?)))
    }
}

impl BatchNorm {
    /// The gradient with respect to the input, and `Σ g` and `Σ g·x̂` of every channel.
    fn gradients(
        &self,
        input: &[f32],
        scale: &[f32],
        grad: &[f32],
        (batch, channels, height, width): (usize, usize, usize, usize),
    ) -> (Vec<f32>, Vec<[f64; 2]>) {
        let (pixels, count) = (height * width, (batch * height * width) as f64);
        let statistics = self.statistics.get().expect("the gradient comes after the forward pass");
        let row = |sample: usize, channel: usize| {
            let start = (sample * channels + channel) * pixels;
            (&input[start..start + pixels], &grad[start..start + pixels])
        };
        let mut sums = vec![[0.0; 2]; channels];
        for_each_block(
            &mut sums,
            1,
            input.len(),
            || (),
            |(), channel, sums| {
                let mean = statistics[channel].mean as f32;
                let products = (0..batch).fold([0.0; 2], |sums, sample| {
                    let (input, grad) = row(sample, channel);
                    add(sums, sum_of_pairs(grad, input, |g, x| (g, g * (x - mean))))
                });
                let deviation = f64::from(statistics[channel].inverse_deviation(self.eps));
                sums[0] = [products[0], products[1] * deviation];
            },
        );
        let mut out = vec![0.0; grad.len()];
        for_each_block(
            &mut out,
            channels * pixels,
            input.len(),
            || (),
            |(), sample, out| {
                for (channel, out) in out.chunks_mut(pixels).enumerate() {
                    let (input, grad) = row(sample, channel);
                    let deviation = statistics[channel].inverse_deviation(self.eps);
                    let factor = scale[channel] * deviation;
                    let mean = statistics[channel].mean as f32;
                    let mean_grad = (sums[channel][0] / count) as f32;
                    let slope = (sums[channel][1] / count) as f32 * deviation;
                    let pairs = input.iter().zip(grad);
                    out.iter_mut()
                        .zip(pairs)
                        .for_each(|(out, (x, g))| *out = factor * (g - mean_grad - (x - mean) * slope));
                }
            },
        );
        (out, sums)
    }
}

/// Mean and variance of each channel, relative to its first number so that a large mean costs no digits.
pub(super) fn statistics(input: &[f32], [batch, channels, pixels]: [usize; 3]) -> Vec<Statistics> {
    let mut all = vec![Statistics::default(); channels];
    let count = (batch * pixels) as f64;
    for_each_block(
        &mut all,
        1,
        input.len(),
        || (),
        |(), channel, statistics| {
            let pivot = input.get(channel * pixels).copied().unwrap_or_default();
            let [sum, squares] = (0..batch).fold([0.0; 2], |sums, sample| {
                let row = &input[(sample * channels + channel) * pixels..][..pixels];
                add(sums, sum_of_pairs(row, row, |x, _| (x - pivot, (x - pivot) * (x - pivot))))
            });
            let mean = sum / count;
            // `max` would hide a NaN.
            let variance = squares / count - mean * mean;
            let variance = if variance < 0.0 { 0.0 } else { variance };
            statistics[0] = Statistics { mean: f64::from(pivot) + mean, variance };
        },
    );
    all
}

fn add(a: [f64; 2], b: [f64; 2]) -> [f64; 2] {
    [a[0] + b[0], a[1] + b[1]]
}

/// Two sums over pairs of numbers: short ones in f32 lanes that the compiler makes vectors of, long ones in f64.
#[inline(always)]
fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> (f32, f32)) -> [f64; 2] {
    const LANES: usize = 16;
    let mut sums = [0.0; 2];
    for (a, b) in a.chunks(32 * LANES).zip(b.chunks(32 * LANES)) {
        let (mut first, mut second) = ([0f32; LANES], [0f32; LANES]);
        let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        for (&x, &y) in a_lanes.remainder().iter().zip(b_lanes.remainder()) {
            let (x, y) = f(x, y);
            sums = add(sums, [f64::from(x), f64::from(y)]);
        }
        for (a, b) in a_lanes.zip(b_lanes) {
            for lane in 0..LANES {
                let (x, y) = f(a[lane], b[lane]);
                first[lane] += x;
                second[lane] += y;
            }
        }
        for lane in 0..LANES {
            sums = add(sums, [f64::from(first[lane]), f64::from(second[lane])]);
        }
    }
    sums
}

fn check_channels(input: &Tensor, of_channels: &[&Tensor]) -> Result<()> {
    let (_, channels, _, _) = input.dims4()?;
    match of_channels.iter().find(|tensor| tensor.dims() != [channels]) {
        Some(tensor) => bail!("batch norm over {channels} channels was given a tensor of shape {:?}", tensor.dims()),
        None => Ok(()),
    }
}

fn composed_statistics(input: &Tensor) -> Result<(Tensor, Tensor)> {
    let mean = input.mean_keepdim((0, 2, 3))?;
    let variance = input.broadcast_sub(&mean)?.sqr()?.mean_keepdim((0, 2, 3))?;
    Ok((mean.flatten_all()?, variance.flatten_all()?))
}

fn normalised(
    input: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    let along = |tensor: &Tensor| tensor.reshape((1, (), 1, 1));
    let factor = (variance + eps)?.sqrt()?.recip()?.mul(scale)?;
    input.broadcast_sub(&along(mean)?)?.broadcast_mul(&along(&factor)?)?.broadcast_add(&along(shift)?)
}
