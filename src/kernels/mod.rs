//! Candle custom operators that make the CPU fast and right; any other device gets compositions of Candle's own.
//!
//! All are differentiable, take `f32` on the CPU (other types go the way of other devices), and give the
//! same bits whatever the number of threads: every output is the work of one task, and sums over samples
//! are made in chunks that depend on the shapes alone.
//!
//! Candle 0.11.1's own convolution takes ten times PyTorch's time on a CPU; its gradient of max pooling
//! is too small, that of average pooling wrong on odd sizes, and ReLU's is 1 at 0.

mod batch_norm;
pub(crate) mod blocked;
mod conv;
mod indirect;
pub(crate) mod lanes;
mod plane;
mod pool;
mod product;
mod relu;
mod simd;
mod unfold;
mod vector;

pub use batch_norm::{batch_norm, batch_norm_gradients, batch_norm_inference, batch_statistics};
pub use conv::{conv2d, conv2d_input_gradient, conv2d_weight_gradients};
pub use pool::{avg_pool2d, avg_pool2d_input_gradient, max_pool2d, max_pool2d_input_gradient};
pub use product::times_shared;
pub use relu::relu;
pub use unfold::unfold;

use crate::graph::{Side, Window};
use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;
use std::ops::Range;

/// Elements below which a second thread costs more than it brings.
const SMALL: usize = 1 << 14;

/// Whether the kernels of this module can take the tensor.
fn accelerated(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// How many cotangents of all of `shared`, `[batch, …]`, are in `grad`, `[cotangents · batch, …]`.
fn cotangents(shared: &Tensor, grad: &Tensor) -> Result<usize> {
    match (shared.dims(), grad.dims()) {
        ([batch, rest @ ..], [all, of_grad @ ..]) if *batch > 0 && all.is_multiple_of(*batch) && rest == of_grad => {
            Ok(all / batch)
        }
        (shared, grad) => bail!("cotangents of shape {grad:?} do not fit a batch of shape {shared:?}"),
    }
}

/// The values of a contiguous CPU storage.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("kernels take contiguous f32 tensors"),
    }
}

/// Calls with the values of a tensor.
pub(crate) fn with_values<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(values(storage, layout)?),
        _ => bail!("kernels take tensors on the CPU"),
    }
}

/// Runs `task` on each block of `block` elements of `out` (the last may be shorter), with scratch memory
/// that is made once a thread; at once where there is little to do or no second thread.
fn for_each_block<T: Send, S>(
    out: &mut [T],
    block: usize,
    work: usize,
    scratch: impl Fn() -> S + Sync + Send,
    task: impl Fn(&mut S, usize, &mut [T]) + Sync + Send,
) {
    if out.is_empty() {
        return;
    }
    if work < SMALL || out.len() <= block || rayon::current_num_threads() == 1 {
        let mut scratch = scratch();
        out.chunks_mut(block).enumerate().for_each(|(at, out)| task(&mut scratch, at, out));
    } else {
        out.par_chunks_mut(block).enumerate().for_each_init(scratch, |scratch, (at, out)| task(scratch, at, out));
    }
}

/// Windows along both sides of an image.
fn windows(window: Window, height: usize, width: usize) -> Result<(usize, usize)> {
    if window.sides().iter().any(|side| side.kernel.min(side.stride).min(side.dilation) == 0) {
        bail!("kernel, stride and dilation of a window must be at least 1, found {window:?}");
    }
    match window.output([height, width]) {
        Some([rows, columns]) => Ok((rows, columns)),
        None => bail!("an image of {height}x{width} pixels has no room for {window:?}"),
    }
}

/// The windows `o` whose tap `tap` meets one of `size` pixels: `o · stride + tap · dilation - padding`.
fn covered(side: Side, tap: usize, size: usize, windows: usize) -> Range<usize> {
    let first = |at: usize| at.saturating_sub(tap * side.dilation).div_ceil(side.stride).min(windows);
    first(side.padding)..first(size + side.padding)
}

/// The pixel that tap `tap` of window `o` meets; `o` must be [`covered`].
fn met(side: Side, tap: usize, o: usize) -> usize {
    o * side.stride + tap * side.dilation - side.padding
}

/// Where tap `tap` falls among pixels that are a stride apart: phase, and pixel in the phase.
fn place(side: Side, tap: usize) -> (usize, usize) {
    let at = tap * side.dilation;
    (at % side.stride, at / side.stride)
}

/// For devices without kernels: what each tap of the window meets,
/// `[batch, channels, height, width]` to `[batch, channels, taps, rows, columns]`.
fn taps(padded: &Tensor, window: Window, rows: usize, columns: usize) -> Result<Tensor> {
    let pixels = |side: Side, tap: usize, windows: usize| {
        let at: Vec<u32> = (0..windows).map(|o| (o * side.stride + tap * side.dilation) as u32).collect();
        Tensor::new(at, padded.device())
    };
    let mut all = Vec::with_capacity(window.taps());
    for tap in 0..window.rows.kernel {
        let of_row = padded.index_select(&pixels(window.rows, tap, rows)?, 2)?;
        for tap in 0..window.columns.kernel {
            all.push(of_row.index_select(&pixels(window.columns, tap, columns)?, 3)?);
        }
    }
    Tensor::stack(&all, 2)
}

/// For devices without kernels: an image with a window's padding.
fn padded(input: &Tensor, window: Window) -> Result<Tensor> {
    let [rows, columns] = window.each(|side| side.padding);
    input.pad_with_zeros(2, rows, rows)?.pad_with_zeros(3, columns, columns)
}
