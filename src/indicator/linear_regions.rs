//! Expressivity: the number of linear regions that a batch of images falls into.
//!
//! Two images lie in one region of a ReLU network if all its ReLUs are on and off alike (Hanin and Rolnick 2019;
//! Chen et al. 2021, TEG-NAS, Section 3.2). Counted on the thin network; the signs are packed into words and
//! the distinct patterns counted by hashing.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::graph::{Activation, Graph, Op};
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
        regions.extend(patterns(graph, weights, batch)?);
    }
    Ok(regions.len())
}

/// The sign pattern of every ReLU, for each image.
fn patterns(graph: &Graph, weights: &Weights, batch: &Tensor) -> Result<Vec<Vec<u64>>, WeightsError> {
    let activations = activations(graph, weights, batch, Mode::Train)?;
    let is_relu = |op: &Op| matches!(op, Op::Activation(Activation::Relu | Activation::Relu6));
    let mut patterns = vec![Packed::default(); batch.dim(0)?];
    for id in graph.ids().filter(|&id| is_relu(&graph.node(id).op)) {
        let values = activations.of(id).flatten_all()?.to_vec1::<f32>()?;
        let images = values.chunks((values.len() / patterns.len().max(1)).max(1));
        for (pattern, values) in patterns.iter_mut().zip(images) {
            values.iter().for_each(|&value| pattern.push(value > 0.0));
        }
    }
    Ok(patterns.into_iter().map(|pattern| pattern.words).collect())
}

/// Bits, packed into words.
#[derive(Clone, Debug, Default)]
struct Packed {
    words: Vec<u64>,
    bits: usize,
}

impl Packed {
    fn push(&mut self, bit: bool) {
        if self.bits.is_multiple_of(64) {
            self.words.push(0);
        }
        if let Some(word) = self.words.last_mut() {
            *word |= u64::from(bit) << (self.bits % 64);
        }
        self.bits += 1;
    }
}
