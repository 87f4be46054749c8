//! Expressivity: over how many directions the features of each block spread.
//!
//! Σ over blocks of −Σ p ln p, with p the normalised eigenvalues of the covariance of the block's output over batch and
//! pixels, channel by channel (Lee and Ham 2024, AZ-NAS, Section 3.1).

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Entropy of the blocks' principal components in nats, summed, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct PcaEntropy;

impl Indicator for PcaEntropy {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "pca_entropy",
            direction: Direction::Maximize,
            description: "expressivity: over how many directions the features of each block spread",
            formula: "Σ over blocks of −Σ p ln p, p the normalised eigenvalues of the channels' covariance",
            source: "Lee and Ham 2024 (AZ-NAS), Section 3.1, expressivity",
            view: View::Features,
            cost: "a forward pass",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.block_entropies()?.iter().sum())
    }
}
