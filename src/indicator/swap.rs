//! Expressivity: how many ReLU units answer a batch each in its own way.
//!
//! A unit's pattern is its sign for each image of the batch; the score is the number of distinct patterns among all
//! units (Peng et al. 2024, SWAP-NAS: the SWAP-Score without its regulariser).

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Number of distinct sign patterns of units over images, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swap;

impl Indicator for Swap {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "swap",
            direction: Direction::Maximize,
            description: "expressivity: how many ReLU units answer the batch each in its own way",
            formula: "number of distinct sign patterns of ReLU units over the images",
            source: "Peng et al. 2024 (SWAP-NAS), the SWAP-Score",
            view: View::Features,
            cost: "a forward pass",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(distinct(run.signs()?.columns()) as f64)
    }
}

fn distinct(mut patterns: Vec<u64>) -> usize {
    patterns.sort_unstable();
    patterns.dedup();
    patterns.len()
}

#[cfg(test)]
mod tests {
    use super::super::signs::Signs;
    use super::*;

    #[test]
    fn units_with_one_pattern_count_once() {
        // Columns of the first layer: 011, 100, 011; of the second: 100, 000.
        let first = [0.0, 2.0, 0.0, 1.0, -1.0, 3.0, 1.0, 0.0, 0.1];
        let second = [1.0, 0.0, 0.0, 0.0, -2.0, 0.0];
        assert_eq!(distinct(Signs::of_layers(3, &[&first, &second]).columns()), 3);
    }
}
