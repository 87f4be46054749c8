//! The label-free score, corrected by what a Gaussian process learns of its errors.
//!
//! The labels' normal scores are modelled as c · s + e, with s the normal score of the label-free one among all that are
//! scored, c its regression, and e a Gaussian process over merits x and genes: `0.05 exp(−‖x − x'‖² / (2 · 0.6² · d)) +
//! 0.15 exp(−3 h)`, with d merits and h the share of decisions that differ, and noise of variance 0.2. Far from all labels the
//! order is the label-free one.

use super::examples::{Example, normal_scores};
use crate::statistics::GaussianProcess;
use nalgebra::DVector;

/// Variance that similar indicators explain, and the distance in which they do, in deviations of a merit.
const BY_MERITS: (f64, f64) = (0.05, 0.6);
/// Variance that similar genes explain, and how fast with their share.
const BY_GENES: (f64, f64) = (0.15, 3.0);
/// Variance of what neither explains.
const NOISE: f64 = 0.2;

/// The scores of `others`, higher is better, after the labels of `known`.
pub(super) fn scores(known: &[&Example], others: &[&Example], prior: &DVector<f64>) -> Vec<f64> {
    let labels: Vec<f64> = known.iter().map(|example| example.label).collect();
    let labels = normal_scores(&labels);
    let label_free: Vec<f64> = known.iter().chain(others).map(|example| example.score(prior)).collect();
    let label_free = normal_scores(&label_free);
    let (by_prior, others_by_prior) = label_free.split_at(known.len());
    let mean = by_prior.iter().sum::<f64>() / by_prior.len().max(1) as f64;
    let (along, norm) = by_prior.iter().zip(&labels).fold((0.0, 0.0), |(along, norm), (score, label)| {
        (along + (score - mean) * label, norm + (score - mean).powi(2))
    });
    // Labels that contradict the recipe altogether do not turn it round.
    let slope = if norm > 0.0 { (along / norm).max(1e-3) } else { 1.0 };
    let errors: Vec<f64> = by_prior.iter().zip(&labels).map(|(score, label)| label - slope * (score - mean)).collect();
    let process = GaussianProcess::new(covariance, known.to_vec(), &errors, NOISE);
    let correction = |example: &&Example| process.as_ref().map_or(0.0, |process| process.predict(example).0);
    others.iter().zip(others_by_prior).map(|(example, score)| slope * (score - mean) + correction(example)).collect()
}

fn covariance(a: &&Example, b: &&Example) -> f64 {
    let squared = (&a.merits - &b.merits).norm_squared() / a.merits.len().max(1) as f64;
    let by_merits = BY_MERITS.0 * (-squared / (2.0 * BY_MERITS.1 * BY_MERITS.1)).exp();
    by_merits + BY_GENES.0 * (-BY_GENES.1 * a.distance(b)).exp()
}
