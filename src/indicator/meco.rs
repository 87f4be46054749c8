//! Trainability: how far from each other's copies the feature maps of each layer are.
//!
//! Σ over convolutions of the smallest eigenvalue of the Pearson correlation between the channels of their output
//! (Jiang et al. 2023, MeCo). The paper takes one random image; here it is the whole batch. A layer that has no
//! more samples (images × pixels) than channels adds nothing: its correlation is singular.

use super::{Facts, Indicator, IndicatorError, Run, View, spectrum};
use crate::graph::Op;
use crate::objective::Direction;
use candle_core::Tensor;

/// Smallest eigenvalues of the layers' feature correlations, summed, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meco;

impl Indicator for Meco {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "meco",
            direction: Direction::Maximize,
            description: "trainability: how far from each other's copies the feature maps of a layer are",
            formula: "Σ over convolutions of λ_min of the Pearson correlation of their output's channels",
            source: "Jiang et al. 2023 (MeCo), the proxy itself (not MeCo_opt)",
            view: View::Features,
            cost: "a forward pass, and the eigenvalues of a matrix as wide as each layer",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let graph = run.graph();
        let activations = run.activations()?;
        let convolutions = graph.ids().filter(|&id| matches!(graph.node(id).op, Op::Conv2d(_)));
        let smallest = |id| smallest_eigenvalue(activations.of(id));
        Ok(convolutions.map(smallest).sum::<Result<f64, _>>()?)
    }
}

/// The smallest eigenvalue of the correlation of the channels of `maps` `[batch, channels, height, width]`; 0 where
/// a channel is constant.
fn smallest_eigenvalue(maps: &Tensor) -> Result<f64, candle_core::Error> {
    let channels = maps.dim(1)?;
    if maps.elem_count() <= channels * channels {
        return Ok(0.0);
    }
    let mut correlation = spectrum::channel_covariance(maps)?;
    let deviations = correlation.diagonal().map(f64::sqrt);
    if deviations.min() == 0.0 {
        return Ok(0.0);
    }
    for (row, one) in deviations.iter().enumerate() {
        for (column, other) in deviations.iter().enumerate() {
            correlation[(row, column)] /= one * other;
        }
    }
    // Less than zero only by rounding.
    Ok(correlation.symmetric_eigenvalues().min().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    // import numpy as np
    // x = (np.arange(2 * 3 * 2 * 2) ** 2 % 7).reshape(2, 3, 2, 2).astype(float)
    // print(np.linalg.eigvalsh(np.corrcoef(x.transpose(1, 0, 2, 3).reshape(3, -1))).min())
    #[test]
    fn it_is_numpys_and_nothing_where_it_must_be() {
        let values: Vec<f32> = (0..24).map(|i| (i * i % 7) as f32).collect();
        let check = |maps: Tensor, expected: f64| {
            let value = smallest_eigenvalue(&maps).unwrap();
            assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
        };
        let maps = Tensor::from_vec(values, (2, 3, 2, 2), &Device::Cpu).unwrap();
        check(maps.clone(), 0.5841308209513054);
        check(Tensor::cat(&[&maps, &maps], 1).unwrap(), 0.0);
        check(maps.reshape((2, 12, 1, 1)).unwrap(), 0.0);
        check((maps * 0.0).unwrap(), 0.0);
    }
}
