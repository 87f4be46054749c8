//! Size: the weights of the convolutions that take part in the result.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Number of weights of live convolutions, more is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct LiveConvWeights;

impl Indicator for LiveConvWeights {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "live_conv_weights",
            direction: Direction::Maximize,
            description: "size: weights of the convolutions that take part in the result",
            formula: "Σ over live convolutions of out · in / groups · kernel²",
            source: "a count of the graph",
            view: View::Architecture,
            cost: "none",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.graph().conv_weights() as f64)
    }
}
