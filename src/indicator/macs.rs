//! Size: multiply-accumulates, the other baseline that every indicator is compared with.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Multiply-accumulates of one image, more is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Macs;

impl Indicator for Macs {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "macs",
            direction: Direction::Maximize,
            description: "size: multiply-accumulates of what takes part in the result",
            formula: "Σ over live convolutions and linear layers of weights × pixels of the output",
            source: "a count of the graph",
            view: View::Architecture,
            cost: "none",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.graph().cost().macs as f64)
    }
}
