//! Shape: how many weight layers the longest path goes through.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Weight layers on the longest path, more is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth;

impl Indicator for Depth {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "depth",
            direction: Direction::Maximize,
            description: "shape: layers with weights that the longest path goes through",
            formula: "max over paths of the live graph of its convolutions and linear layers",
            source: "a count of the graph",
            view: View::Architecture,
            cost: "none",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.graph().depth() as f64)
    }
}
