//! The gradients of pooling, lane by lane. That of average pooling is a depthwise convolution's with weights of one,
//! of cotangents that are divided by the windows' pixels.

use super::super::pool::Pool;
use super::{Cotangent, Sum};
use crate::graph::Window;

/// One over the number of pixels in each window.
pub(crate) fn average_shares(window: Window, height: usize, width: usize) -> candle_core::Result<Vec<f32>> {
    Ok(Pool::of_size(window, height, width)?.shares())
}

/// Adds the gradient of max pooling with respect to its `input`, from that of its output.
pub(crate) fn max_pool(input: &[f32], grad: &Cotangent, window: Window, sum: &mut Sum) -> candle_core::Result<()> {
    let dims = sum.dims;
    let chosen = Pool::of_size(window, dims.height, dims.width)?.chosen(input);
    for sample in 0..dims.batch {
        let of_sample = &chosen[sample * grad.dims.sample()..][..grad.dims.sample()];
        let (plane, window) = (dims.plane(), grad.dims.plane());
        let planes = sum.sample(sample).chunks_mut(plane);
        let grads = grad.of_sample(sample).chunks(window).zip(of_sample.chunks(window));
        for (to, (grad, chosen)) in planes.zip(grads) {
            for (g, &at) in grad.iter().zip(chosen) {
                to[at as usize].0.iter_mut().zip(&g.0).for_each(|(to, g)| *to += g);
            }
        }
    }
    Ok(())
}
