//! Weights that put pairs of labelled architectures in order.
//!
//! With Δ the difference of a pair's scores in the labels' order, pulled to the label-free weights w₀:
//! `n · mean ln(1 + exp(−Δ)) + λ/2 · ‖w − w₀‖²` (the pairwise loss), or `−n · mean tanh(αΔ/2)` in its place, a
//! differentiable Kendall's τ (Dong et al. 2024, ParZC: DiffKendall, here with α = 1 and signs for targets).

use super::examples::Example;
use nalgebra::{DMatrix, DVector};

/// λ: how much the label-free weights count.
const LAMBDA: f64 = 10.0;
/// Newton's steps; a handful is enough.
const STEPS: usize = 30;

/// The weights that fit `known`, from the label-free `prior` on.
pub(super) fn weights(known: &[&Example], prior: &DVector<f64>, diff_kendall: bool) -> DVector<f64> {
    let pairs = ordered_pairs(known);
    if pairs.is_empty() {
        return prior.clone();
    }
    let share = known.len() as f64 / pairs.len() as f64;
    let loss = |weights: &DVector<f64>| {
        let of_pair = |pair: &DVector<f64>| {
            let delta = pair.dot(weights);
            if diff_kendall { -(delta / 2.0).tanh() } else { (-delta).exp().ln_1p() }
        };
        share * pairs.iter().map(of_pair).sum::<f64>() + LAMBDA / 2.0 * (weights - prior).norm_squared()
    };
    let mut weights = prior.clone();
    for _ in 0..STEPS {
        let mut gradient = (&weights - prior) * LAMBDA;
        let mut curvature = DMatrix::identity(prior.len(), prior.len()) * LAMBDA;
        for pair in &pairs {
            let wrong = (1.0 + pair.dot(&weights).exp()).recip();
            let bend = wrong * (1.0 - wrong);
            // d/dΔ tanh(Δ/2) = 2 p (1 − p); its own curvature may be negative, the pairwise loss's is not.
            let slope = if diff_kendall { 2.0 * bend } else { wrong };
            gradient -= pair * (share * slope);
            curvature.ger(share * bend, pair, pair, 1.0);
        }
        let Some(step) = curvature.cholesky().map(|curvature| curvature.solve(&gradient)) else { break };
        let now = loss(&weights);
        let lengths = (0..8).map(|halvings| 0.5f64.powi(halvings));
        let better = lengths.map(|length| &weights - &step * length).find(|next| loss(next) < now);
        match better {
            Some(next) => weights = next,
            None => break,
        }
    }
    weights
}

/// The better's merits minus the worse's, for each pair that the labels tell apart.
fn ordered_pairs(known: &[&Example]) -> Vec<DVector<f64>> {
    let of_each = known.iter().enumerate().flat_map(|(at, a)| known[..at].iter().map(move |b| (a, b)));
    let ordered = |(a, b): (&&Example, &&Example)| match a.label.total_cmp(&b.label) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(&a.merits - &b.merits),
        std::cmp::Ordering::Less => Some(&b.merits - &a.merits),
    };
    of_each.filter_map(ordered).collect()
}
