//! RoBoT (He et al. 2024): weights found by the evaluations that they lead to, then the best of these weights' order.
//!
//! *Exploration*: Bayesian optimisation of weights in [−1, 1] (a Gaussian process with Matérn's kernel, ν = 5/2, and
//! the upper confidence bound with κ = 2.576) of what the first choice of a weighted sum is worth. *Exploitation*: what
//! is left of the evaluations goes to the architectures that the best weights put first. Indicators are scaled to
//! [0, 1] by the pool's least and greatest.

use super::examples::{Example, Examples};
use crate::statistics::{GaussianProcess, matern52};
use nalgebra::DVector;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// How much the uncertain is preferred.
const KAPPA: f64 = 2.576;
/// Weights that the bound is compared at.
const CANDIDATES: usize = 200;

/// The best label found by evaluating `evaluations` of the pool.
pub(super) fn best_found(pool: &Examples, evaluations: usize, rng: &mut ChaCha8Rng) -> f64 {
    let scaled = scaled(&pool.all);
    let Some(size) = scaled.first().map(|metrics| metrics.len()) else { return f64::MIN };
    let order = |weights: &DVector<f64>| {
        let scores: Vec<f64> = scaled.iter().map(|metrics| metrics.dot(weights)).collect();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        order
    };
    let first = |weights: &DVector<f64>| {
        let scores = scaled.iter().map(|metrics| metrics.dot(weights));
        let best = scores.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        best.map_or(0, |(at, _)| at)
    };
    let draw = |rng: &mut ChaCha8Rng| DVector::from_fn(size, |_, _| rng.random_range(-1.0..=1.0));
    let mut queried = BTreeSet::new();
    let (mut tried, mut values) = (vec![], vec![]);
    let mut next: DVector<f64> = draw(rng);
    for _ in 0..evaluations {
        let choice = first(&next);
        queried.insert(choice);
        values.push(pool.all[choice].label);
        tried.push(next);
        next = propose(&tried, &values, (0..CANDIDATES).map(|_| draw(rng)).collect());
    }
    let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(at, _)| &tried[at]);
    for choice in best.map(order).unwrap_or_default() {
        if queried.len() >= evaluations {
            break;
        }
        queried.insert(choice);
    }
    queried.iter().map(|&at| pool.all[at].label).fold(f64::MIN, f64::max)
}

/// The candidate with the greatest upper confidence bound.
fn propose(tried: &[DVector<f64>], values: &[f64], mut candidates: Vec<DVector<f64>>) -> DVector<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let standard: Vec<f64> =
        values.iter().map(|value| if deviation > 0.0 { (value - mean) / deviation } else { 0.0 }).collect();
    let kernel = |a: &DVector<f64>, b: &DVector<f64>| matern52((a - b).norm());
    let process = GaussianProcess::new(kernel, tried.to_vec(), &standard, 1e-6);
    let bound = |weights: &DVector<f64>| {
        let (mean, variance) = process.as_ref().map_or((0.0, 1.0), |process| process.predict(weights));
        mean + KAPPA * variance.sqrt()
    };
    let bounds: Vec<f64> = candidates.iter().map(bound).collect();
    let best = (0..bounds.len()).max_by(|&a, &b| bounds[a].total_cmp(&bounds[b])).expect("there are candidates");
    candidates.swap_remove(best)
}

/// The merits, from 0 for the pool's least to 1 for its greatest.
fn scaled(pool: &[Example]) -> Vec<DVector<f64>> {
    let Some(first) = pool.first() else { return vec![] };
    let (mut low, mut high) = (first.merits.clone(), first.merits.clone());
    for example in pool {
        low = low.inf(&example.merits);
        high = high.sup(&example.merits);
    }
    let range = (high - &low).map(|range| if range > 0.0 { range } else { 1.0 });
    pool.iter().map(|example| (&example.merits - &low).component_div(&range)).collect()
}
