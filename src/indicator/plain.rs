//! Weight times gradient, with its sign.
//!
//! Σ w · ∂L/∂w over the weights of convolutions and fully connected layers (Abdelfattah et al. 2021, Section 3.2, as
//! the baseline of SNIP). A layer in front of batch normalisation adds 0, since the loss does not depend on its
//! scale: what is left is the classifier.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Weight times gradient, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Indicator for Plain {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "plain",
            direction: Direction::Maximize,
            description: "how much the loss falls as all weights shrink",
            formula: "Σ w · ∂L/∂w",
            source: "Abdelfattah et al. 2021, released code",
            view: View::Features,
            cost: "a forward and a backward pass, shared",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.loss_gradients()?.sum(|w, g| w * g))
    }
}
