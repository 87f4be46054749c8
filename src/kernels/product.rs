//! The product of many cotangents with what they share: a slope, a mask, or the other factor of a product.

use super::{accelerated, cotangents, for_each_block, with_values};
use candle_core::{Result, Tensor};

/// `grad` `[cotangents · batch, …]`, all cotangents of the whole batch one after the other, times `shared`
/// `[batch, …]`. Not differentiable itself.
///
/// # Errors
/// If the shapes do not fit each other.
pub fn times_shared(grad: &Tensor, shared: &Tensor) -> Result<Tensor> {
    let count = cotangents(shared, grad)?;
    let (grad, shared) = (grad.detach(), shared.detach());
    if accelerated(&grad) && accelerated(&shared) {
        let out = with_values(&shared, |shared| {
            with_values(&grad, |grad| {
                let mut out = vec![0.0; grad.len()];
                let whole = shared.len().max(1);
                for_each_block(
                    &mut out,
                    whole,
                    grad.len(),
                    || (),
                    |(), at, out| {
                        let pairs = grad[at * whole..].iter().zip(shared);
                        out.iter_mut().zip(pairs).for_each(|(out, (g, factor))| *out = g * factor);
                    },
                );
                Ok(out)
            })
        })?;
        return Tensor::from_vec(out, grad.shape(), grad.device());
    }
    let apart: Vec<usize> = [&[count], shared.dims()].concat();
    grad.reshape(apart)?.broadcast_mul(&shared.unsqueeze(0)?)?.reshape(grad.dims())
}
