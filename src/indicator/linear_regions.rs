//! Expressivity: the number of linear regions that a batch of images falls into.
//!
//! Two images lie in one region of a ReLU network if all its ReLUs are on and off alike (Hanin and Rolnick 2019;
//! Chen et al. 2021, TEG-NAS, Section 3.2). Counted on the thin network; the signs are packed into words and
//! the distinct patterns counted by hashing.

use super::signs::Signs;
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::graph::Graph;
use crate::network::{Mode, Weights, WeightsError, activations};
use crate::objective::Direction;
use candle_core::Tensor;
use std::collections::HashSet;

/// Number of distinct ReLU sign patterns, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct LinearRegions;

impl Indicator for LinearRegions {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "linear_regions",
            direction: Direction::Maximize,
            description: "expressivity: how many linear pieces the network cuts its inputs into",
            formula: "number of distinct ReLU sign patterns over 3 × 1000 images",
            source: "Chen et al. 2021 (TEG-NAS), Section 3.2",
            view: View::Regions,
            cost: "three forward passes of a thin network",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(count(run.graph(), run.weights()?, run.patches())? as f64)
    }
}

/// The number of regions of `graph` that the images of `batches`, each `[batch, channels, height, width]`, fall
/// into; batch normalisation sees one batch at a time.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn count(graph: &Graph, weights: &Weights, batches: &[Tensor]) -> Result<usize, WeightsError> {
    let mut regions: HashSet<Vec<u64>> = HashSet::new();
    for batch in batches {
        let activations = activations(graph, weights, batch, Mode::Train)?;
        regions.extend(Signs::new(graph, &activations, batch.dim(0)?)?.into_rows());
    }
    Ok(regions.len())
}
