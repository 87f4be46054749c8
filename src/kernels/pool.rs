//! Maximum and average pooling with any stride and padding, and their gradients.
//!
//! Padding counts neither for the maximum nor in the mean (PyTorch's `count_include_pad=False`, as
//! NAS-Bench-201 has it). Where a window has several maxima, the first in reading order takes the gradient.

use super::{accelerated, covered, for_each_block, met, taps, values, windows, with_values};
use crate::graph::Window;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

/// Maximum over each window, `[batch, channels, height, width]` to `[batch, channels, rows, columns]`.
///
/// # Errors
/// If the window does not fit the image, or could lie in the padding alone.
pub fn max_pool2d(input: &Tensor, window: Window) -> Result<Tensor> {
    let pool = Pool::new(input, window)?;
    if accelerated(input) {
        return input.contiguous()?.apply_op1(MaxPool(pool));
    }
    let all = pool.composed_taps(input)?;
    let first = all.detach().argmax_keepdim(2)?;
    all.gather(&first, 2)?.squeeze(2)
}

/// Mean over each window, `[batch, channels, height, width]` to `[batch, channels, rows, columns]`.
///
/// # Errors
/// If the window does not fit the image, or could lie in the padding alone.
pub fn avg_pool2d(input: &Tensor, window: Window) -> Result<Tensor> {
    let pool = Pool::new(input, window)?;
    if accelerated(input) {
        return input.contiguous()?.apply_op1(AvgPool(pool));
    }
    let (ones, share) = pool.composed_mean(input)?;
    let (batch, channels, height, width) = input.dims4()?;
    let planes = input.reshape((batch * channels, 1, height, width))?;
    let sums = super::conv2d(&planes, &ones, window, 1)?;
    sums.broadcast_mul(&share)?.reshape((batch, channels, pool.rows, pool.columns))
}

/// The gradient of average pooling with respect to its input of `height × width` pixels, from that with
/// respect to its output `[batch, channels, rows, columns]`. Not differentiable itself.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn avg_pool2d_input_gradient(grad: &Tensor, window: Window, height: usize, width: usize) -> Result<Tensor> {
    let (batch, channels, rows, columns) = grad.dims4()?;
    let pool = Pool::of_size(window, height, width)?;
    if (rows, columns) != (pool.rows, pool.columns) {
        bail!("pooling gradient of {rows}x{columns} pixels, expected {}x{}", pool.rows, pool.columns);
    }
    if accelerated(grad) {
        let out = with_values(grad, |grad| Ok(pool.mean_gradient(grad)))?;
        return Tensor::from_vec(out, (batch, channels, height, width), grad.device());
    }
    let (ones, share) = pool.composed_mean(grad)?;
    let planes = grad.detach().reshape((batch * channels, 1, rows, columns))?.broadcast_mul(&share)?;
    super::conv2d_input_gradient(&planes, &ones, window, 1, height, width)?.reshape((batch, channels, height, width))
}

/// The gradient of max pooling with respect to its `input`, from that with respect to its output. `grad` may
/// hold several cotangents, `[cotangents · batch, channels, rows, columns]`, all cotangents of the whole batch
/// one after the other; so does the result. Not differentiable itself.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn max_pool2d_input_gradient(input: &Tensor, grad: &Tensor, window: Window) -> Result<Tensor> {
    let pool = Pool::new(input, window)?;
    let (batch, channels, height, width) = input.dims4()?;
    let (all, of_grad, rows, columns) = grad.dims4()?;
    if !all.is_multiple_of(batch) || (of_grad, rows, columns) != (channels, pool.rows, pool.columns) {
        bail!("max pooling gradient has shape {:?}, which does not fit the input's {:?}", grad.dims(), input.dims());
    }
    if accelerated(grad) {
        let out = with_values(input, |input| with_values(grad, |grad| Ok(pool.max_gradient(input, grad))))?;
        return Tensor::from_vec(out, (all, channels, height, width), grad.device());
    }
    let taps = pool.composed_taps(&input.detach())?;
    let shape = (batch, channels, window.taps(), pool.rows, pool.columns);
    let first = taps.argmax_keepdim(2)?.to_dtype(DType::U32)?.broadcast_as(shape)?;
    let order = Tensor::arange(0, (window.taps()) as u32, grad.device())?.reshape((1, 1, (), 1, 1))?;
    let chosen = first.broadcast_eq(&order)?.to_dtype(grad.dtype())?;
    let shares = grad.detach().reshape((all / batch, batch, channels, 1, rows, columns))?.broadcast_mul(&chosen)?;
    // Each tap's share goes back as the gradient of a convolution of each channel with one weight a tap.
    let planes = shares.reshape((all * channels, window.taps(), rows, columns))?;
    let taps = window.taps();
    let [rows_of_taps, columns_of_taps] = window.kernel();
    let eye = Tensor::eye(taps, grad.dtype(), grad.device())?.reshape((taps, 1, rows_of_taps, columns_of_taps))?;
    super::conv2d_input_gradient(&planes, &eye, window, 1, height, width)?.reshape((all, channels, height, width))
}

/// Pooling of images of known size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    window: Window,
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
}

struct MaxPool(Pool);
struct AvgPool(Pool);

impl Pool {
    fn new(input: &Tensor, window: Window) -> Result<Self> {
        let (_, _, height, width) = input.dims4()?;
        Self::of_size(window, height, width)
    }

    pub(super) fn of_size(window: Window, height: usize, width: usize) -> Result<Self> {
        let (rows, columns) = windows(window, height, width)?;
        if window.sides().iter().any(|side| side.padding > side.kernel / 2 || side.dilation != 1) {
            bail!("pooling takes dilation 1 and padding of at most half the kernel, found {window:?}");
        }
        Ok(Self { window, height, width, rows, columns })
    }

    fn pixels(&self) -> usize {
        self.height * self.width
    }

    fn map(&self) -> usize {
        self.rows * self.columns
    }

    /// One over the number of pixels in each window.
    pub(super) fn shares(&self) -> Vec<f32> {
        let mut counts = vec![0f32; self.map()];
        self.for_each_run(|_, windows| counts[windows].iter_mut().for_each(|count| *count += 1.0));
        counts.iter().map(|count| count.recip()).collect()
    }

    /// Calls with the first pixel and the windows of each run of windows in a row whose tap meets the image,
    /// tap after tap in reading order.
    fn for_each_run(&self, mut f: impl FnMut(usize, std::ops::Range<usize>)) {
        let Window { rows: of_rows, columns: of_columns } = self.window;
        for row_tap in 0..of_rows.kernel {
            for column_tap in 0..of_columns.kernel {
                let columns = covered(of_columns, column_tap, self.width, self.columns);
                if columns.is_empty() {
                    continue;
                }
                for row in covered(of_rows, row_tap, self.height, self.rows) {
                    let pixel = met(of_rows, row_tap, row) * self.width + met(of_columns, column_tap, columns.start);
                    f(pixel, row * self.columns + columns.start..row * self.columns + columns.end);
                }
            }
        }
    }

    fn mean(&self, input: &[f32]) -> Vec<f32> {
        let shares = self.shares();
        let mut out = vec![0.0; input.len() / self.pixels() * self.map()];
        for_each_block(
            &mut out,
            self.map(),
            input.len(),
            || (),
            |(), plane, out| {
                let image = &input[plane * self.pixels()..][..self.pixels()];
                self.for_each_run(|pixel, windows| {
                    let (sums, pixels) = (&mut out[windows], &image[pixel..]);
                    match self.window.columns.stride {
                        1 => sums.iter_mut().zip(pixels).for_each(|(sum, x)| *sum += x),
                        stride => sums.iter_mut().zip(pixels.iter().step_by(stride)).for_each(|(sum, x)| *sum += x),
                    }
                });
                out.iter_mut().zip(&shares).for_each(|(sum, share)| *sum *= share);
            },
        );
        out
    }

    fn mean_gradient(&self, grad: &[f32]) -> Vec<f32> {
        let shares = self.shares();
        let mut out = vec![0.0; grad.len() / self.map() * self.pixels()];
        let scratch = || vec![0.0; self.map()];
        for_each_block(&mut out, self.pixels(), grad.len(), scratch, |shared, plane, out| {
            let grad = &grad[plane * self.map()..][..self.map()];
            shared.iter_mut().zip(grad.iter().zip(&shares)).for_each(|(shared, (g, share))| *shared = g * share);
            self.for_each_run(|pixel, windows| {
                let (sums, shared) = (&mut out[pixel..], &shared[windows]);
                match self.window.columns.stride {
                    1 => sums.iter_mut().zip(shared).for_each(|(sum, g)| *sum += g),
                    stride => sums.iter_mut().step_by(stride).zip(shared).for_each(|(sum, g)| *sum += g),
                }
            });
        });
        out
    }

    fn max(&self, input: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NEG_INFINITY; input.len() / self.pixels() * self.map()];
        for_each_block(
            &mut out,
            self.map(),
            input.len(),
            || (),
            |(), plane, out| {
                let image = &input[plane * self.pixels()..][..self.pixels()];
                self.for_each_run(|pixel, windows| {
                    let pixels = image[pixel..].iter().step_by(self.window.columns.stride);
                    out[windows]
                        .iter_mut()
                        .zip(pixels)
                        .for_each(|(max, &x)| *max = if exceeds(x, *max) { x } else { *max });
                });
            },
        );
        out
    }

    /// The pixel of the maximum of each window.
    pub(super) fn chosen(&self, input: &[f32]) -> Vec<u32> {
        let mut chosen = vec![0u32; input.len() / self.pixels() * self.map()];
        let scratch = || vec![0.0; self.map()];
        for_each_block(&mut chosen, self.map(), input.len(), scratch, |maxima, plane, chosen| {
            maxima.fill(f32::NEG_INFINITY);
            let image = &input[plane * self.pixels()..][..self.pixels()];
            // Of windows all of whose pixels are -∞, too, the first pixel is chosen.
            chosen.fill(u32::MAX);
            self.for_each_run(|pixel, windows| {
                let places = maxima[windows.clone()].iter_mut().zip(&mut chosen[windows]);
                let raise = |((max, chosen), (at, &x)): ((&mut f32, &mut u32), (u32, &f32))| {
                    let take = exceeds(x, *max) | (*chosen == u32::MAX);
                    *max = if take { x } else { *max };
                    *chosen = if take { at } else { *chosen };
                };
                let (pixels, at) = (&image[pixel..], pixel as u32..);
                match self.window.columns.stride {
                    1 => places.zip(at.zip(pixels)).for_each(raise),
                    stride => places.zip(at.step_by(stride).zip(pixels.iter().step_by(stride))).for_each(raise),
                }
            });
        });
        chosen
    }

    /// The gradient for cotangents of the whole batch one after the other.
    fn max_gradient(&self, input: &[f32], grad: &[f32]) -> Vec<f32> {
        let chosen = self.chosen(input);
        let planes = input.len() / self.pixels();
        let mut out = vec![0.0; grad.len() / self.map() * self.pixels()];
        for_each_block(
            &mut out,
            self.pixels(),
            grad.len(),
            || (),
            |(), plane, out| {
                let grad = &grad[plane * self.map()..][..self.map()];
                let chosen = &chosen[plane % planes * self.map()..];
                grad.iter().zip(chosen).for_each(|(g, &at)| out[at as usize] += g);
            },
        );
        out
    }

    /// What each tap meets, padded with numbers below all others.
    fn composed_taps(&self, input: &Tensor) -> Result<Tensor> {
        let mut padded = input.clone();
        let padding = self.window.each(|side| side.padding);
        for (dim, padding) in [2, 3].into_iter().zip(padding).filter(|&(_, padding)| padding > 0) {
            let mut shape = padded.dims().to_vec();
            shape[dim] = padding;
            let border = Tensor::full(f32::NEG_INFINITY, shape, input.device())?.to_dtype(input.dtype())?;
            padded = Tensor::cat(&[&border, &padded, &border], dim)?;
        }
        taps(&padded, self.window, self.rows, self.columns)
    }

    /// A kernel of ones and one over the pixels of each window, `[1, 1, rows, columns]`.
    fn composed_mean(&self, like: &Tensor) -> Result<(Tensor, Tensor)> {
        let (device, dtype) = (like.device(), like.dtype());
        let [rows, columns] = self.window.kernel();
        let ones = Tensor::ones((1, 1, rows, columns), dtype, device)?;
        let shares = Tensor::from_vec(self.shares(), (1, 1, self.rows, self.columns), device)?.to_dtype(dtype)?;
        Ok((ones, shares))
    }
}

/// Whether `x` takes the place of the maximum so far: NaN does, and then stays.
#[inline(always)]
fn exceeds(x: f32, max: f32) -> bool {
    (x > max) | x.is_nan()
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "tegu-max-pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, _, _) = layout.shape().dims4()?;
        let out = self.0.max(values(storage, layout)?);
        Ok((CpuStorage::F32(out), (batch, channels, self.0.rows, self.0.columns).into()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        max_pool2d_input_gradient(&input.detach(), grad, self.0.window).map(Some)
    }
}

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "tegu-avg-pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, _, _) = layout.shape().dims4()?;
        let out = self.0.mean(values(storage, layout)?);
        Ok((CpuStorage::F32(out), (batch, channels, self.0.rows, self.0.columns).into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        avg_pool2d_input_gradient(grad, self.0.window, self.0.height, self.0.width).map(Some)
    }
}
