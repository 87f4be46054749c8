//! Trainability: the entropy of the neural tangent kernel's spectrum.
//!
//! −Σ p ln p with p = λ / Σ λ over the eigenvalues of K: ln of the batch where gradient descent learns all directions
//! alike, 0 where there is but one. It weighs the whole spectrum, where κ looks at its two ends.

use super::{Facts, Indicator, IndicatorError, Run, View, spectrum};
use crate::objective::Direction;

/// Entropy of K's normalised eigenvalues in nats, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct NtkEntropy;

impl Indicator for NtkEntropy {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "ntk_entropy",
            direction: Direction::Maximize,
            description: "trainability: how evenly gradient descent learns, over the whole spectrum",
            formula: "−Σ p ln p, p = λ / Σ λ over the neural tangent kernel's eigenvalues",
            source: "the kernel of Chen et al. 2021 (TEG-NAS), Section 3.1; entropy as in Roy and Vetterli 2007",
            view: View::Kernel,
            cost: "a forward pass, and a reverse pass a sample",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(spectrum::entropy(&run.kernels()?.all.symmetric_eigenvalues()))
    }
}
