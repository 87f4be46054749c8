//! Size: trained parameters, the baseline that every indicator is compared with.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Number of trained parameters, more is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Params;

impl Indicator for Params {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "params",
            direction: Direction::Maximize,
            description: "size: trained parameters of what takes part in the result",
            formula: "number of weights, biases, scales and shifts of the live graph",
            source: "a count of the graph",
            view: View::Architecture,
            cost: "none",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.graph().cost().params as f64)
    }
}
