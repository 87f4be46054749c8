//! Trainability: how many weight layers stand between the loss and the input at least.
//!
//! Most of the gradient that trains a residual network comes by its short paths (Veit et al. 2016); a cell without one
//! makes a plain network as deep as all of its layers.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Weight layers on the shortest path, fewer is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortestPath;

impl Indicator for ShortestPath {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "shortest_path",
            direction: Direction::Minimize,
            description: "trainability: layers with weights that the shortest path goes through",
            formula: "min over paths of the live graph of its convolutions and linear layers",
            source: "a count of the graph, after Veit et al. 2016, section 4.3",
            view: View::Architecture,
            cost: "none",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.graph().shortest_path() as f64)
    }
}
