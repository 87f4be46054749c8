//! The rectifier max(x, 0), with gradient 0 at 0 as PyTorch has it (Candle's own is 1). NaN stays NaN.

use super::{accelerated, for_each_block, values, with_values};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

/// Elements that one task works on.
const BLOCK: usize = 1 << 14;

/// max(x, 0) of every element.
///
/// # Errors
/// If the device fails.
pub fn relu(input: &Tensor) -> Result<Tensor> {
    if accelerated(input) {
        return input.contiguous()?.apply_op1(Relu);
    }
    let zeros = input.zeros_like()?;
    input.detach().le(&zeros)?.where_cond(&zeros, input)
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "tegu-relu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let input = values(storage, layout)?;
        let mut out = vec![0.0; input.len()];
        for_each_block(
            &mut out,
            BLOCK,
            input.len(),
            || (),
            |(), at, out| {
                let input = &input[at * BLOCK..];
                out.iter_mut().zip(input).for_each(|(out, &x)| *out = if x <= 0.0 { 0.0 } else { x });
            },
        );
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, input: &Tensor, result: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let out = with_values(result, |result| {
            with_values(grad, |grad| {
                let mut out = vec![0.0; grad.len()];
                for_each_block(
                    &mut out,
                    BLOCK,
                    grad.len(),
                    || (),
                    |(), at, out| {
                        let pairs = result[at * BLOCK..].iter().zip(&grad[at * BLOCK..]);
                        out.iter_mut().zip(pairs).for_each(|(out, (&y, &g))| *out = if y == 0.0 { 0.0 } else { g });
                    },
                );
                Ok(out)
            })
        })?;
        Ok(Some(Tensor::from_vec(out, input.shape(), input.device())?))
    }
}
