//! The average of the weights over training steps (Polyak and Juditsky 1992), and the running statistics of batch
//! normalisation.
//!
//! average ← d · average + (1 - d) · weights, with d = min(decay, (1 + t) / (10 + t)) at step t, so that the first steps, far
//! from where training ends, are soon forgotten. Running statistics are averaged like weights.

use crate::network::{BatchStatistics, Weights, WeightsError};
use candle_core::Tensor;
use std::collections::HashMap;

/// Share of a batch's statistics in the running ones (PyTorch's default).
pub const MOMENTUM: f64 = 0.1;

/// The average after `steps` steps, `weights` being those of the last one.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn average(old: &Weights, weights: &Weights, decay: f64, steps: u64) -> Result<Weights, WeightsError> {
    let at = steps as f64;
    let decay = decay.min((1.0 + at) / (10.0 + at));
    let mut new = HashMap::new();
    for (name, tensor) in weights.iter() {
        new.insert(name, ((old.get(name)? * decay)? + (tensor * (1.0 - decay))?)?);
    }
    old.map(|name, old| Ok(new.get(name).unwrap_or(old).clone()))
}

/// The weights with running means and variances that a batch has moved.
///
/// # Errors
/// If a batch normalisation of `statistics` is not there, or Candle fails.
pub fn with_statistics(weights: &Weights, statistics: &[BatchStatistics]) -> Result<Weights, WeightsError> {
    let mut moved: HashMap<String, Tensor> = HashMap::new();
    for BatchStatistics { node, mean, variance } in statistics {
        for (name, seen) in [("running_mean", mean), ("running_var", variance)] {
            let name = format!("{node}.{name}");
            let running = ((weights.get(&name)? * (1.0 - MOMENTUM))? + (seen.detach() * MOMENTUM)?)?;
            moved.insert(name, running);
        }
    }
    weights.map(|name, old| Ok(moved.get(name).unwrap_or(old).clone()))
}
