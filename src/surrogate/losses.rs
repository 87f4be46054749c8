//! Losses of a regressor's predictions p for targets y, with their gradients.
//!
//! - mean squared error: mean (p - y)²
//! - pairwise: mean over pairs with yᵢ > yⱼ of ln(1 + exp(pⱼ - pᵢ)) (RankNet: Burges et al. 2005)
//! - ListNet (Cao et al. 2007): cross-entropy of softmax(y) and softmax(p)
//! - DiffKendall (ParZC: Dong et al. 2024): -mean over pairs of tanh(α(pᵢ - pⱼ)/2) · sign(yᵢ - yⱼ), with α = 1. The
//!   paper's own has α = ½ and tanh(α(yᵢ - yⱼ)/2) for the sign, which depends on the targets' scale.
//!
//! The last three see differences of predictions alone; who uses them scales the predictions afterwards.

use serde::{Deserialize, Serialize};

/// What a network minimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Mean squared error.
    Mse,
    /// RankNet's, over pairs.
    Pairwise,
    /// ListNet's, over the whole list.
    ListNet,
    /// Kendall's τ made smooth.
    #[default]
    DiffKendall,
}

impl Loss {
    /// The loss, and its gradient by each prediction.
    ///
    /// # Panics
    /// If there are not as many predictions as targets.
    pub fn gradient(self, predictions: &[f64], targets: &[f64]) -> (f64, Vec<f64>) {
        assert_eq!(predictions.len(), targets.len(), "a target for each prediction");
        let count = predictions.len() as f64;
        match self {
            Self::Mse => {
                let errors: Vec<f64> = predictions.iter().zip(targets).map(|(p, y)| p - y).collect();
                let loss = errors.iter().map(|error| error * error).sum::<f64>() / count;
                (loss, errors.into_iter().map(|error| 2.0 * error / count).collect())
            }
            Self::Pairwise => over_pairs(predictions, targets, |difference| {
                let wrong = 1.0 / (1.0 + difference.exp());
                // ln(1 + e⁻ᵈ) without overflow.
                ((-difference.abs()).exp().ln_1p() + (-difference).max(0.0), -wrong)
            }),
            Self::DiffKendall => over_pairs(predictions, targets, |difference| {
                let agreement = (0.5 * difference).tanh();
                (-agreement, -0.5 * (1.0 - agreement * agreement))
            }),
            Self::ListNet => {
                let (found, wanted) = (softmax(predictions), softmax(targets));
                let loss = -wanted.iter().zip(&found).map(|(w, f)| w * f.max(f64::MIN_POSITIVE).ln()).sum::<f64>();
                (loss, found.iter().zip(&wanted).map(|(f, w)| f - w).collect())
            }
        }
    }
}

/// The mean over pairs of different targets of a loss of (prediction of the greater - prediction of the less).
fn over_pairs(predictions: &[f64], targets: &[f64], loss: impl Fn(f64) -> (f64, f64)) -> (f64, Vec<f64>) {
    let (mut sum, mut pairs) = (0.0, 0usize);
    let mut gradient = vec![0.0; predictions.len()];
    for greater in 0..targets.len() {
        for less in 0..targets.len() {
            if targets[greater] > targets[less] {
                let (value, slope) = loss(predictions[greater] - predictions[less]);
                sum += value;
                pairs += 1;
                gradient[greater] += slope;
                gradient[less] -= slope;
            }
        }
    }
    let count = pairs.max(1) as f64;
    gradient.iter_mut().for_each(|entry| *entry /= count);
    (sum / count, gradient)
}

fn softmax(values: &[f64]) -> Vec<f64> {
    let most = values.iter().copied().fold(f64::MIN, f64::max);
    let powers: Vec<f64> = values.iter().map(|value| (value - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
