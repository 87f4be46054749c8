//! Size: the convolutions that take part in the result.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Number of live convolutions, more is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvLayers;

impl Indicator for ConvLayers {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "conv_layers",
            direction: Direction::Maximize,
            description: "size: convolutions that take part in the result",
            formula: "number of live convolutions",
            source: "a count of the graph",
            view: View::Architecture,
            cost: "none",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.graph().conv_layers() as f64)
    }
}
