//! Covariance of the Jacobian.
//!
//! Row n of J is the gradient of the summed outputs of the batch with respect to image n; λ are the eigenvalues of the
//! rows' correlation matrix. The score −Σ ln(λ + k) + 1/(λ + k), k = 10⁻⁵, is the higher, the less the rows are alike
//! (Mellor et al. 2020, "Neural Architecture Search without Training", version 1; Abdelfattah et al. 2021,
//! Section 3.2).

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::graph::Graph;
use crate::network::{Mode, Weights, WeightsError, activations};
use crate::objective::Direction;
use candle_core::{Tensor, Var};
use nalgebra::DMatrix;

/// Keeps logarithms and quotients finite.
pub(super) const K: f64 = 1e-5;

/// Disagreement of the samples' input Jacobians, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct Jacov;

impl Indicator for Jacov {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "jacov",
            direction: Direction::Maximize,
            description: "expressivity: how differently the network sees the samples",
            formula: "−Σ ln(λ + k) + 1/(λ + k), λ of the correlations of input Jacobians",
            source: "Mellor et al. 2020 (version 1); Abdelfattah et al. 2021, Section 3.2",
            view: View::Features,
            cost: "a forward and a backward pass, shared",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let eigenvalues = run.input_correlations()?.symmetric_eigenvalues();
        Ok(-eigenvalues.iter().map(|value| (value + K).ln() + (value + K).recip()).sum::<f64>())
    }
}

/// The correlations of the rows of J, `[batch, batch]`; not a number where a row is constant.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub(super) fn input_correlations(
    graph: &Graph,
    weights: &Weights,
    images: &Tensor,
) -> Result<DMatrix<f64>, WeightsError> {
    let images = Var::from_tensor(images)?;
    let outputs = activations(graph, weights, &images, Mode::Train)?.of(graph.output()).sum_all()?;
    let gradients = outputs.backward()?;
    let rows = match gradients.get(&images) {
        Some(gradient) => gradient.flatten_from(1)?.to_vec2::<f32>()?,
        None => vec![vec![0.0]; images.dim(0)?],
    };
    let standard = |row: &Vec<f32>| -> Vec<f64> {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / row.len() as f64;
        let centred: Vec<f64> = row.iter().map(|&v| f64::from(v) - mean).collect();
        let norm = centred.iter().map(|v| v * v).sum::<f64>().sqrt();
        centred.into_iter().map(|v| v / norm).collect()
    };
    let rows: Vec<Vec<f64>> = rows.iter().map(standard).collect();
    let product = |a: usize, b: usize| rows[a].iter().zip(&rows[b]).map(|(a, b)| a * b).sum();
    Ok(DMatrix::from_fn(rows.len(), rows.len(), product))
}
