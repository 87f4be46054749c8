//! Which predicted architectures are worth an evaluation. Targets are costs: less is better; scores: more is better.
//!
//! With m and s of a [`Prediction`] and b the best target known:
//! greedy -m; upper confidence bound βs - m; expected improvement (Jones et al. 1998) (b - m)Φ(z) + sφ(z), z = (b - m)/s;
//! uncertainty s; committee: s among models of different kinds; diversity: greedy, but far from each other.

use super::{Prediction, Rows, TargetTransform, mean};
use crate::statistics::{normal_cumulative, normal_density};
use serde::{Deserialize, Serialize};

/// How scores follow from predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acquisition {
    /// The least mean.
    Greedy,
    /// The least mean less some deviations.
    Ucb(Ucb),
    /// The most improvement to be expected: of the best target, or of the hypervolume.
    #[default]
    ExpectedImprovement,
    /// The greatest deviation: for a model that is good everywhere, not for finding the best.
    Uncertainty,
    /// The greatest disagreement of models of different kinds.
    Committee,
    /// Low means, far from each other.
    Diversity,
}

/// The upper confidence bound's option.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ucb {
    /// Deviations that are taken off the mean.
    pub beta: f64,
}

impl Default for Ucb {
    fn default() -> Self {
        Self { beta: 1.0 }
    }
}

impl Acquisition {
    /// The score of one prediction, where `best` is the least target known.
    pub fn score(self, prediction: Prediction, best: f64) -> f64 {
        match self {
            Self::Greedy | Self::Diversity => -prediction.mean,
            Self::Ucb(Ucb { beta }) => beta * prediction.deviation - prediction.mean,
            Self::ExpectedImprovement => expected_improvement(prediction, best),
            Self::Uncertainty | Self::Committee => prediction.deviation,
        }
    }
}

/// The expectation of max(0, bound - target).
pub fn expected_improvement(prediction: Prediction, bound: f64) -> f64 {
    let (gap, deviation) = (bound - prediction.mean, prediction.deviation);
    if deviation <= 0.0 {
        return gap.max(0.0);
    }
    let z = gap / deviation;
    // Rounding may leave less than 0 of what is tiny.
    (gap * normal_cumulative(z) + deviation * normal_density(z)).max(0.0)
}

/// One prediction of several models', `predictions[model][row]`: the mean of their means, and how far these differ once
/// each model's are scaled to deviation 1.
///
/// # Panics
/// If there are no models, or not as many predictions of each.
pub fn committee(predictions: &[Vec<Prediction>]) -> Vec<Prediction> {
    let means = |model: &Vec<Prediction>| model.iter().map(|prediction| prediction.mean).collect::<Vec<f64>>();
    let means: Vec<Vec<f64>> = predictions.iter().map(means).collect();
    let scaled: Vec<Vec<f64>> = means.iter().map(|means| TargetTransform::ZScore.apply(means)).collect();
    let of_row = |row: usize| {
        let column = |of: &[Vec<f64>]| of.iter().map(|values| values[row]).collect::<Vec<f64>>();
        Prediction { mean: mean(&column(&means)), deviation: super::boosted_trees::spread(&column(&scaled)).deviation }
    };
    (0..predictions[0].len()).map(of_row).collect()
}

/// At most `count` of the `shortlist` rows with the greatest scores: the first is the best, each further one the row that is
/// farthest from all chosen ones (Gonzalez 1985). Rows whose score is no number are left out.
///
/// # Panics
/// If there are not as many scores as rows.
pub fn diverse(scores: &[f64], rows: &Rows, count: usize, shortlist: usize) -> Vec<usize> {
    assert_eq!(scores.len(), rows.len(), "a score for each row");
    let mut order: Vec<usize> = (0..scores.len()).filter(|&at| !scores[at].is_nan()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(shortlist);
    let distance = |a: usize, b: usize| rows.row(a).iter().zip(rows.row(b)).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let mut nearest = vec![f64::INFINITY; order.len()];
    let mut chosen = vec![];
    while chosen.len() < count.min(order.len()) {
        // Of equally far ones the one with the better score, which stands first.
        let next = (0..order.len()).reduce(|a, b| if nearest[b] > nearest[a] { b } else { a });
        let next = next.expect("there are rows left");
        chosen.push(order[next]);
        for (near, &at) in nearest.iter_mut().zip(&order) {
            *near = near.min(distance(at, order[next]));
        }
        // Never again, not even where all others are equal to a chosen one.
        nearest[next] = f64::NEG_INFINITY;
    }
    chosen
}
