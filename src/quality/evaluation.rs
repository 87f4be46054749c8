//! How well a score orders architectures, held against the truth.

use crate::statistics::{bootstrap, kendall, ranks, spearman};
use serde::{Deserialize, Serialize};

/// A figure and its 95 % bootstrap interval over architectures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The figure of all architectures.
    pub value: f64,
    /// `[low, high]`.
    pub ci95: [f64; 2],
}

/// How well one score orders the architectures of a truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Kendall's τ-b.
    pub kendall: Option<Figure>,
    /// Spearman's ρ.
    pub spearman: Option<Figure>,
    /// Spearman's ρ among the truly best fifth.
    pub spearman_top20: Option<Figure>,
    /// Share of the truly best tenth among the tenth that is scored best.
    pub precision_top10: f64,
    /// The same with a fifth.
    pub precision_top20: f64,
    /// The truth's best figure among the 1, 5 and 10 that are scored best.
    pub best_of_top: [f64; 3],
}

/// The numbers of first choices of [`Evaluation::best_of_top`].
pub const TOPS: [usize; 3] = [1, 5, 10];

/// Resamplings of the bootstrap.
const RESAMPLES: usize = 400;

impl Evaluation {
    /// Holds `scores`, higher is better and absent for what failed, against `truth`. Ties among the first choices go
    /// to the earlier architecture.
    ///
    /// # Panics
    /// If the two differ in length.
    pub fn new(scores: &[Option<f64>], truth: &[f64], seed: u64) -> Self {
        assert_eq!(scores.len(), truth.len(), "a score for each architecture");
        // What failed is worse than all else.
        let scores: Vec<f64> = scores.iter().map(|score| score.unwrap_or(f64::NEG_INFINITY)).collect();
        // Order is all that counts, and ranks are finite.
        let scores = ranks(&scores);
        let all: Vec<usize> = (0..truth.len()).collect();
        let top = best(truth, share(truth.len(), 0.2));
        let figure = |of: &[usize], statistic: fn(&[f64], &[f64]) -> Option<f64>| {
            let at = |of: &[usize]| {
                let (x, y): (Vec<f64>, Vec<f64>) = of.iter().map(|&i| (scores[i], truth[i])).unzip();
                statistic(&x, &y)
            };
            let ci95 = bootstrap(of.len(), RESAMPLES, seed, |drawn| {
                at(&drawn.iter().map(|&index| of[index]).collect::<Vec<_>>())
            })?;
            Some(Figure { value: at(of)?, ci95 })
        };
        let precision = |fraction: f64| {
            let count = share(truth.len(), fraction);
            let (chosen, wanted) = (best(&scores, count), best(truth, count));
            chosen.iter().filter(|index| wanted.contains(index)).count() as f64 / count as f64
        };
        let best_of = |count: usize| best(&scores, count).into_iter().map(|i| truth[i]).fold(f64::MIN, f64::max);
        Self {
            kendall: figure(&all, kendall),
            spearman: figure(&all, spearman),
            spearman_top20: figure(&top, spearman),
            precision_top10: precision(0.1),
            precision_top20: precision(0.2),
            best_of_top: TOPS.map(best_of),
        }
    }
}

fn share(count: usize, fraction: f64) -> usize {
    ((count as f64 * fraction).round() as usize).max(1)
}

/// The indices of the `count` greatest values, the greatest first.
fn best(values: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_held_against_the_truth() {
        let truth: Vec<f64> = (0..50).map(f64::from).collect();
        // Right but for the best, which failed.
        let mut scores: Vec<Option<f64>> = truth.iter().map(|value| Some(value * 2.0)).collect();
        scores[49] = None;
        let found = Evaluation::new(&scores, &truth, 1);
        let pairs = 50.0 * 49.0 / 2.0;
        assert!((found.kendall.unwrap().value - (pairs - 98.0) / pairs).abs() < 1e-12);
        assert_eq!(found.best_of_top, [48.0, 48.0, 48.0]);
        assert!((found.precision_top10 - 0.8).abs() < 1e-12 && (found.precision_top20 - 0.9).abs() < 1e-12);
        let Figure { value, ci95: [low, high] } = found.spearman.unwrap();
        assert!(low < value && value < high, "{low} {value} {high}");
        // Nine in order and the best in the last place.
        assert!((found.spearman_top20.unwrap().value - 0.454_545_454_545).abs() < 1e-9);
        assert_eq!(Evaluation::new(&vec![Some(1.0); 50], &truth, 1).spearman, None);
    }
}
