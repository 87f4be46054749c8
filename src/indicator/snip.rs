//! Connection sensitivity.
//!
//! Σ |w · ∂L/∂w| over the weights of convolutions and fully connected layers: to first order, what removing each
//! changes in the loss (Lee et al. 2019, SNIP; summed over a network by Abdelfattah et al. 2021, Section 3.2).

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Connection sensitivity, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct Snip;

impl Indicator for Snip {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "snip",
            direction: Direction::Maximize,
            description: "how much the loss would change without single weights",
            formula: "Σ |w · ∂L/∂w|",
            source: "Lee et al. 2019 (SNIP); Abdelfattah et al. 2021, Section 3.2",
            view: View::Features,
            cost: "a forward and a backward pass, shared",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.loss_gradients()?.sum(|w, g| (w * g).abs()))
    }
}
