//! Shape: how many channels a convolution has.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Mean channels of live convolutions, more is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Width;

impl Indicator for Width {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "width",
            direction: Direction::Maximize,
            description: "shape: channels of a convolution",
            formula: "mean over live convolutions of the channels of their output",
            source: "a count of the graph",
            view: View::Architecture,
            cost: "none",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        match run.graph().mean_width() {
            Some(channels) => Ok(channels),
            None => Err(IndicatorError::Undefined { indicator: self.facts().name, reason: "no convolution" }),
        }
    }
}
