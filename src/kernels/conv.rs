//! Two-dimensional convolution with stride, padding, dilation and groups, and its gradients.
//!
//! `out[b, o, y, x] = Σ_{c, i, j} weight[o, c, i, j] · input[b, c, y·s + i·d - p, x·s + j·d - p]`
//!
//! Here are the shapes and the operators; [`super::indirect`] has the computation on the CPU.

use super::{accelerated, values, windows, with_values};
use crate::graph::{Side, Window};
use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor, Var, bail};

/// Convolution of `[batch, in_channels, height, width]` with `[out_channels, in_channels / groups, rows, columns]`
/// of the kernel.
///
/// # Errors
/// If the shapes do not fit each other, or the window the image.
pub fn conv2d(input: &Tensor, weight: &Tensor, window: Window, groups: usize) -> Result<Tensor> {
    let (batch, channels, height, width) = input.dims4()?;
    let conv = Convolution::new([batch, channels, height, width], weight, window, groups)?;
    if accelerated(input) {
        return input.contiguous()?.apply_op2(&weight.contiguous()?, conv);
    }
    let [rest_below, rest_right] = conv.rests();
    let Some([stride, dilation]) = conv.common_steps() else {
        let (outs, taps) = (conv.out_channels / groups, conv.in_channels / groups * window.taps());
        let unfolded = super::unfold(input, window)?.reshape((batch, groups, taps, conv.rows * conv.columns))?;
        let product = weight.reshape((1, groups, outs, taps))?.broadcast_matmul(&unfolded)?;
        return product.reshape((batch, conv.out_channels, conv.rows, conv.columns));
    };
    let [above, left] = window.each(|side| side.padding);
    if rest_below == rest_right && above == left {
        return input.conv2d(weight, above, stride, dilation, groups);
    }
    // Candle's gradient takes the pixels that no window meets to be as many on the right as below: cut them.
    let padded = super::padded(input, window)?;
    let met = padded.narrow(2, 0, height + 2 * above - rest_below)?;
    met.narrow(3, 0, width + 2 * left - rest_right)?.contiguous()?.conv2d(weight, 0, stride, dilation, groups)
}

/// The gradient of a convolution with respect to its input of `height × width` pixels, from that with respect
/// to its output: `[batch, out_channels, rows, columns]` to `[batch, in_channels, height, width]`.
/// Not differentiable itself.
///
/// # Errors
/// If the shapes do not fit each other, or the window the image.
pub fn conv2d_input_gradient(
    grad: &Tensor,
    weight: &Tensor,
    window: Window,
    groups: usize,
    height: usize,
    width: usize,
) -> Result<Tensor> {
    let channels = weight.dim(1)? * groups;
    let conv = Convolution::new([grad.dim(0)?, channels, height, width], weight, window, groups)?;
    if grad.dims() != conv.output() {
        bail!("conv2d gradient has shape {:?}, expected {:?}", grad.dims(), conv.output());
    }
    let (grad, weight) = (grad.detach(), weight.detach());
    if accelerated(&grad) {
        return grad.contiguous()?.apply_op2_no_bwd(&weight.contiguous()?, &InputGradient(conv));
    }
    let Some([stride, dilation]) = conv.common_steps() else {
        let input = Var::zeros((conv.batch, channels, height, width), grad.dtype(), grad.device())?;
        let gradients = conv2d(&input, &weight, window, groups)?.mul(&grad)?.sum_all()?.backward()?;
        return gradients.get(&input).cloned().ok_or_else(|| Error::Msg("a convolution has a gradient".into()));
    };
    // Candle's transposed convolution adds the same rest of pixels to both sides, and takes as much padding away: a longer
    // side is cut.
    let rest = conv.rests()[0].max(conv.rests()[1]);
    let [above, left] = window.each(|side| side.padding);
    let padding = above.min(left);
    let of_group = |group: usize| {
        let per_group = conv.out_channels / groups;
        let grad = grad.narrow(1, group * per_group, per_group)?.contiguous()?;
        let weight = weight.narrow(0, group * per_group, per_group)?.contiguous()?;
        let whole = grad.conv_transpose2d(&weight, padding, rest, stride, dilation)?;
        whole.narrow(2, above - padding, height)?.narrow(3, left - padding, width)
    };
    Tensor::cat(&(0..groups).map(of_group).collect::<Result<Vec<_>>>()?, 1)
}

/// The gradients of a convolution with respect to its weight, one for each cotangent of the whole batch in `grad`,
/// `[cotangents · batch, out_channels, rows, columns]`: `[cotangents, out_channels · in_channels / groups · taps]`.
/// Not differentiable itself.
///
/// # Errors
/// If the shapes do not fit each other, or the window the image.
pub fn conv2d_weight_gradients(input: &Tensor, grad: &Tensor, window: Window, groups: usize) -> Result<Tensor> {
    let (batch, in_channels, height, width) = input.dims4()?;
    let (folded, out_channels, of_grad, also_of_grad) = grad.dims4()?;
    let (rows, columns) = windows(window, height, width)?;
    let divides = groups > 0 && in_channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups);
    if !divides || batch == 0 || !folded.is_multiple_of(batch) || (of_grad, also_of_grad) != (rows, columns) {
        bail!("conv2d gradient has shape {:?}, which does not fit the input's {:?}", grad.dims(), input.dims());
    }
    let (input, grad, cotangents) = (input.detach(), grad.detach(), folded / batch);
    let (taps, outs, pixels) = (in_channels / groups * window.taps(), out_channels / groups, rows * columns);
    // One product of matrices for all cotangents: [groups, cotangents · outs, batch · pixels] · [.., .., taps].
    let unfolded = super::unfold(&input, window)?.reshape((batch, groups, taps, pixels))?;
    let unfolded = unfolded.permute((1, 0, 3, 2))?.reshape((groups, batch * pixels, taps))?;
    let grad = grad.reshape((cotangents, batch, groups, outs, pixels))?.permute((2, 0, 3, 1, 4))?;
    let product = grad.reshape((groups, cotangents * outs, batch * pixels))?.matmul(&unfolded)?;
    product.reshape((groups, cotangents, outs * taps))?.transpose(0, 1)?.reshape((cotangents, ()))
}

/// A convolution of known shapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    pub(super) batch: usize,
    pub(super) in_channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) out_channels: usize,
    pub(super) groups: usize,
    pub(super) window: Window,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

struct InputGradient(Convolution);

impl Convolution {
    fn new(input: [usize; 4], weight: &Tensor, window: Window, groups: usize) -> Result<Self> {
        let [batch, in_channels, height, width] = input;
        let (out_channels, per_group, kernel_rows, kernel_columns) = weight.dims4()?;
        let divides = groups > 0 && in_channels == per_group * groups && out_channels.is_multiple_of(groups);
        if !divides || window.kernel() != [kernel_rows, kernel_columns] {
            bail!(
                "conv2d weight has shape {:?}, which does not fit {in_channels} channels in {groups} groups and {window:?}",
                weight.dims()
            );
        }
        let (rows, columns) = windows(window, height, width)?;
        Ok(Self { batch, in_channels, height, width, out_channels, groups, window, rows, columns })
    }

    fn output(&self) -> [usize; 4] {
        [self.batch, self.out_channels, self.rows, self.columns]
    }

    /// Pixels of the padded image that no window meets, below and on the right.
    fn rests(&self) -> [usize; 2] {
        let rest = |side: Side, size: usize, windows: usize| {
            size + 2 * side.padding - ((windows - 1) * side.stride + side.reach())
        };
        [rest(self.window.rows, self.height, self.rows), rest(self.window.columns, self.width, self.columns)]
    }

    /// Stride and dilation, if they are common to both sides; those of a side that has one window, or one tap, may be any.
    fn common_steps(&self) -> Option<[usize; 2]> {
        let common = |[rows, columns]: [usize; 2], [any_of_rows, any_of_columns]: [bool; 2]| match rows == columns {
            true => Some(rows),
            false if any_of_rows => Some(columns),
            false => any_of_columns.then_some(rows),
        };
        let stride = common(self.window.each(|side| side.stride), [self.rows == 1, self.columns == 1])?;
        Some([stride, common(self.window.each(|side| side.dilation), self.window.each(|side| side.kernel == 1))?])
    }
}

impl CustomOp2 for Convolution {
    fn name(&self) -> &'static str {
        "tegu-conv2d"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = self.forward(values(s1, l1)?, values(s2, l2)?);
        Ok((CpuStorage::F32(out), Shape::from_dims(&self.output())))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        // The images of the first layer and frozen weights need no gradient, which is a third of the work.
        let of_input = input
            .track_op()
            .then(|| conv2d_input_gradient(grad, weight, self.window, self.groups, self.height, self.width));
        let of_weight = weight.track_op().then(|| {
            let sums = with_values(input, |input| with_values(grad, |grad| Ok(self.weight_gradient(input, grad))))?;
            Tensor::from_vec(sums, weight.shape(), weight.device())
        });
        Ok((of_input.transpose()?, of_weight.transpose()?))
    }
}

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "tegu-conv2d-input-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = self.0.input_gradient(values(s1, l1)?, values(s2, l2)?);
        Ok((CpuStorage::F32(out), (self.0.batch, self.0.in_channels, self.0.height, self.0.width).into()))
    }
}
