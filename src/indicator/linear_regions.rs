//! Expressivity: the number of linear regions that a batch of images falls into.
//!
//! Two images lie in one region of a ReLU network if all its ReLUs are on and off alike (Hanin and Rolnick 2019;
//! Chen et al. 2021, TEG-NAS, Section 3.2). Counted on the thin network; the signs are packed into words and
//! the distinct patterns counted by hashing.

use super::{Indicator, IndicatorError, Probe};
use crate::graph::{Activation, Graph, Op};
use crate::network::{Mode, Weights, WeightsError, activations};
use crate::objective::Direction;
use candle_core::Tensor;
use std::collections::HashSet;

/// Number of distinct ReLU sign patterns, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct LinearRegions;

impl Indicator for LinearRegions {
    fn name(&self) -> &'static str {
        "linear_regions"
    }

    fn direction(&self) -> Direction {
        Direction::Maximize
    }

    fn description(&self) -> &'static str {
        "expressivity: how many linear pieces the network cuts its inputs into"
    }

    fn formula(&self) -> &'static str {
        "number of distinct ReLU sign patterns over 3 × 1000 images"
    }

    fn source(&self) -> &'static str {
        "Chen et al. 2021 (TEG-NAS), Section 3.2"
    }

    fn evaluate(&self, probe: &Probe) -> Result<f64, IndicatorError> {
        let networks = probe.thin_networks()?;
        let mut sum = 0;
        for weights in &networks.weights {
            sum += count(&networks.graph, weights, probe.patches())?;
        }
        Ok(sum as f64 / networks.weights.len() as f64)
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
            for values in values.chunks(32) {
                let bit = |(at, value): (usize, &f32)| u64::from(*value > 0.0) << at;
                pattern.push(values.iter().enumerate().map(bit).sum(), values.len());
            }
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
    /// Adds the lowest `count` bits of `bits`, at most 64; higher ones must be zero.
    fn push(&mut self, bits: u64, count: usize) {
        let place = self.bits % 64;
        match self.words.last_mut() {
            Some(word) if place > 0 => {
                *word |= bits << place;
                if place + count > 64 {
                    self.words.push(bits >> (64 - place));
                }
            }
            _ => self.words.push(bits),
        }
        self.bits += count;
    }
}
