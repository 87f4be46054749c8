//! The product of many cotangents with what they share: a slope, a mask, or the other factor of a product.

use super::cotangents;
use candle_core::{Result, Tensor};

/// `grad` `[cotangents · batch, …]`, all cotangents of the whole batch one after the other, times `shared`
/// `[batch, …]`. Not differentiable itself.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn times_shared(grad: &Tensor, shared: &Tensor) -> Result<Tensor> {
    let count = cotangents(shared, grad)?;
    let (grad, shared) = (grad.detach(), shared.detach());
    let apart: Vec<usize> = [&[count], shared.dims()].concat();
    grad.reshape(apart)?.broadcast_mul(&shared.unsqueeze(0)?)?.reshape(grad.dims())
}
