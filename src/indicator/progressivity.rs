//! Progressivity: whether the features spread over more directions from block to block.
//!
//! The smallest increase of the features' entropy (`pca_entropy`) from one block to the next (Lee and Ham 2024, AZ-NAS,
//! Section 3.1).

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Smallest increase of the features' entropy in nats, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progressivity;

impl Indicator for Progressivity {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "progressivity",
            direction: Direction::Maximize,
            description: "progressivity: whether features spread over more directions from block to block",
            formula: "min over consecutive blocks of the increase of the features' entropy",
            source: "Lee and Ham 2024 (AZ-NAS), Section 3.1, progressivity",
            view: View::Features,
            cost: "a forward pass",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let reason = "expected two blocks or more between stem and head";
        smallest_increase(run.block_entropies()?)
            .ok_or(IndicatorError::Undefined { indicator: self.facts().name, reason })
    }
}

fn smallest_increase(values: &[f64]) -> Option<f64> {
    values.windows(2).map(|pair| pair[1] - pair[0]).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_increase_counts() {
        assert_eq!(smallest_increase(&[1.0, 2.0, 2.5, 4.0]), Some(0.5));
        assert_eq!(smallest_increase(&[3.0, 4.0, 2.0]), Some(-2.0));
        assert_eq!(smallest_increase(&[3.0]), None);
    }
}
