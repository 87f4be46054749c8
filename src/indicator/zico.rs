//! Inverse coefficient of variation of the gradient.
//!
//! Σ over layers l of ln Σ_{w ∈ l} E|g_w| / √Var(g_w), over batches (Li et al. 2023, ZiCo, its definition): large
//! gradients that agree make training fast. Weights whose gradient does not vary, and layers of such alone, are left
//! out, as in the paper's released code. The batches are parts of one.

use super::loss::{LossGradients, loss_gradients};
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Parts of the batch. With two, a weight whose two gradients are nearly alike would outweigh all others.
const PARTS: usize = 4;

/// Agreement of batches' gradients, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct Zico;

impl Indicator for Zico {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "zico",
            direction: Direction::Maximize,
            description: "trainability: whether batches agree on the gradient",
            formula: "Σ over layers of ln Σ E|g| / √Var(g) over four batches",
            source: "Li et al. 2023 (ZiCo), definition of ZiCo",
            view: View::Features,
            cost: "a forward and a backward pass, in four parts",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let batch = run.labels()[0].len();
        let size = (batch / PARTS).max(1);
        let gradients = |first: usize| {
            let images = run.images().narrow(0, first, size)?;
            let labels = &run.labels()[0][first..first + size];
            Ok(loss_gradients(run.graph(), run.weights()?, &images, labels, false)?)
        };
        let parts: Vec<LossGradients> =
            (0..batch / size).map(|part| gradients(part * size)).collect::<Result<_, IndicatorError>>()?;
        Ok((0..parts[0].layers.len()).filter_map(|layer| of_layer(&parts, layer)).sum())
    }
}

/// ln Σ E|g| / √Var(g) of a layer; none where no gradient varies.
fn of_layer(parts: &[LossGradients], layer: usize) -> Option<f64> {
    let count = parts.len() as f64;
    let mut sum = 0.0;
    for weight in 0..parts[0].layers[layer].gradient.len() {
        let values = parts.iter().map(|part| f64::from(part.layers[layer].gradient[weight]));
        let mean = values.clone().sum::<f64>() / count;
        let size = values.clone().map(f64::abs).sum::<f64>() / count;
        let deviation = (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        if deviation > 0.0 {
            sum += size / deviation;
        }
    }
    (sum > 0.0).then(|| sum.ln())
}
