//! Expressivity: the number of linear regions that a batch of images falls into.
//!
//! Two images lie in one region of a ReLU network if all its ReLUs are on and off alike (Hanin and Rolnick 2019;
//! Chen et al. 2021, TEG-NAS, Section 3.2). Counted on the thin network; the signs are packed into words and
//! the distinct patterns counted by hashing. Of hard-swish and GELU the signs of their inputs are taken, though such networks, and
//! transformers, are not piecewise linear: there it is a count of patterns, no more.

use super::signs::{Signs, is_rectifier, words};
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::graph::Graph;
use crate::network::{Member, Mode, Stack, Weights, WeightsError, activations};
use crate::objective::Direction;
use candle_core::Tensor;
use rayon::prelude::*;
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
        Ok(run.regions()? as f64)
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

/// The numbers of regions that [`count`] finds for each of `members`, all at once.
///
/// # Errors
/// As [`Stack::new`].
pub fn stacked(members: &[Member], batches: &[Tensor]) -> Result<Vec<usize>, WeightsError> {
    let samples = batches.first().map_or(Ok(0), |first| first.dim(0))?;
    // For each member and image, the signs' words.
    let mut rows: Vec<Vec<Vec<u64>>> = vec![vec![vec![]; batches.len() * samples]; members.len()];
    Stack::new(members, batches)?.forward(|nodes, results| -> Result<(), WeightsError> {
        let is_rectifier = |&(member, node): &(usize, _)| is_rectifier(&members[member].graph.node(node).op);
        if !nodes.first().is_some_and(is_rectifier) {
            return Ok(());
        }
        let (_, _, channels, _, pixels) = results.dims5()?;
        let signs = results.gt(0f32)?.flatten_all()?.to_vec1::<u8>()?;
        let of_node = signs.chunks_exact((batches.len() * channels * samples * pixels).max(1));
        for (&(member, _), signs) in nodes.iter().zip(of_node) {
            rows[member].par_iter_mut().enumerate().for_each(|(row, known)| {
                let (batch, image) = (row / samples, row % samples);
                let of_channel =
                    |channel| &signs[((batch * channels + channel) * samples + image) * pixels..][..pixels];
                known.extend(words((0..channels).flat_map(of_channel).copied()));
            });
        }
        Ok(())
    })?;
    Ok(rows.into_iter().map(|rows| rows.into_iter().collect::<HashSet<_>>().len()).collect())
}
