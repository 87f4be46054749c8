//! Weights fitted to a few labels: the label-free recipe is where they start from, and what they are pulled to.
//!
//! With the merits x of a recipe's indicators, standardised over the reference sample, their label-free weights w₀, and
//! the labels' normal scores y: the w that minimises ‖y − X w‖² + λ‖w − c w₀‖², where c makes w₀ a regression of its
//! own (ridge regression towards a prior; λ = 30 is about as many labels as the recipe is worth).

use super::{Quality, Recipe, SampleScores, Scored};
use crate::statistics::{ranks, spearman};
use nalgebra::{DMatrix, DVector};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How much the label-free weights count, in labels.
const LAMBDA: f64 = 30.0;
/// Draws of labels that a fit is evaluated on.
const DRAWS: usize = 20;

/// What fitting the weights to labels brings: rank correlations with the labels that were not used, over several draws.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Labels of a draw.
    pub labels: usize,
    /// Draws.
    pub draws: usize,
    /// Spearman's ρ with fitted weights, the mean over the draws.
    pub spearman: f64,
    /// The least of a draw.
    pub worst: f64,
    /// With the label-free weights, on the same architectures.
    pub without_labels: f64,
    /// The mean weights by indicator, of merits with deviation 1.
    pub weights: Vec<(String, f64)>,
}

impl Scored<'_> {
    /// Fits the recipe's weights to `labels` of the truth, and evaluates them on the others.
    pub fn fit(&self, recipe: &Recipe, labels: usize, seed: u64) -> Fit {
        let quality = Quality::new(recipe, self.reference);
        let merits = Merits::new(&quality, self.reference);
        let rows: Vec<Option<DVector<f64>>> = self.scores.iter().map(|scores| merits.of(&quality, scores)).collect();
        let living: Vec<usize> = (0..rows.len()).filter(|&at| rows[at].is_some()).collect();
        let score = |weights: &DVector<f64>, of: &[usize]| {
            let value = |&at: &usize| rows[at].as_ref().map_or(f64::MIN, |row| row.dot(weights));
            let truth: Vec<f64> = of.iter().map(|&at| self.truth.values[at]).collect();
            spearman(&of.iter().map(value).collect::<Vec<_>>(), &truth).unwrap_or(0.0)
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut fitted, mut unfitted) = (vec![], vec![]);
        let mut mean = DVector::zeros(merits.prior.len());
        for _ in 0..DRAWS {
            let mut order = living.clone();
            order.shuffle(&mut rng);
            let labelled = &order[..labels.min(order.len())];
            let others: Vec<usize> = (0..rows.len()).filter(|at| !labelled.contains(at)).collect();
            let examples: Vec<(&DVector<f64>, f64)> =
                labelled.iter().filter_map(|&at| Some((rows[at].as_ref()?, self.truth.values[at]))).collect();
            let weights = ridge(&examples, &merits.prior);
            fitted.push(score(&weights, &others));
            unfitted.push(score(&merits.prior, &others));
            mean += weights / DRAWS as f64;
        }
        let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let names = quality.terms().map(|(facts, _)| facts.name.to_owned());
        Fit {
            labels,
            draws: DRAWS,
            spearman: average(&fitted),
            worst: fitted.iter().copied().fold(f64::INFINITY, f64::min),
            without_labels: average(&unfitted),
            weights: names.zip(mean.iter().copied()).collect(),
        }
    }
}

/// Merits of a recipe's indicators, standardised over a reference sample.
struct Merits {
    mean: DVector<f64>,
    deviation: DVector<f64>,
    /// The recipe's weights, of standardised merits.
    prior: DVector<f64>,
}

impl Merits {
    fn new(quality: &Quality, reference: &[SampleScores]) -> Self {
        let rows: Vec<Vec<f64>> = reference.iter().filter_map(|scores| quality.merits(scores)).collect();
        let terms = quality.terms().count();
        let column = |at: usize| rows.iter().map(move |row| row[at]);
        let count = rows.len().max(1) as f64;
        let mean = DVector::from_fn(terms, |at, _| column(at).sum::<f64>() / count);
        let deviation = DVector::from_fn(terms, |at, _| {
            let variance = column(at).map(|merit| (merit - mean[at]).powi(2)).sum::<f64>() / count;
            if variance > 0.0 { variance.sqrt() } else { 1.0 }
        });
        let weights = DVector::from_iterator(terms, quality.terms().map(|(_, weight)| weight));
        let prior = weights.component_mul(&deviation);
        Self { mean, deviation, prior }
    }

    fn of(&self, quality: &Quality, scores: &SampleScores) -> Option<DVector<f64>> {
        let merits = DVector::from_vec(quality.merits(scores)?);
        Some((merits - &self.mean).component_div(&self.deviation))
    }
}

/// The weights that fit the examples' normal scores, pulled to `prior`.
fn ridge(examples: &[(&DVector<f64>, f64)], prior: &DVector<f64>) -> DVector<f64> {
    let count = examples.len();
    let terms = prior.len();
    let x = DMatrix::from_fn(count, terms, |row, column| examples[row].0[column]);
    let labels: Vec<f64> = examples.iter().map(|(_, label)| *label).collect();
    let y = DVector::from_vec(normal_scores(&labels));
    // Centred: the weights have no intercept.
    let x = DMatrix::from_fn(count, terms, |row, column| x[(row, column)] - x.column(column).mean());
    let by_prior = &x * prior;
    let scale = if by_prior.norm_squared() > 0.0 { by_prior.dot(&y) / by_prior.norm_squared() } else { 0.0 };
    // Labels that contradict the recipe altogether do not turn it round.
    let prior = prior * scale.max(1e-3);
    let gram = x.transpose() * &x + DMatrix::identity(terms, terms) * LAMBDA;
    let residual = &y - &x * &prior;
    let change = gram.cholesky().map(|gram| gram.solve(&(x.transpose() * residual)));
    change.map_or_else(|| prior.clone(), |change| &prior + change)
}

/// What a normal distribution has at the values' ranks (Blom 1958), by a logistic approximation of its quantiles.
fn normal_scores(values: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    let quantile = |rank: f64| {
        let p = (rank - 0.375) / (count + 0.25);
        // Bowling et al. 2009, off by less than 0.02 where it matters here.
        (p / (1.0 - p)).ln() / 1.702
    };
    ranks(values).into_iter().map(quantile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_starts_from_the_prior_and_follows_the_labels() {
        let rows: Vec<DVector<f64>> =
            (0..200).map(|i| DVector::from_vec(vec![f64::from(i % 20) - 9.5, f64::from(i * 7 % 20) - 9.5])).collect();
        let prior = DVector::from_vec(vec![1.0, 0.0]);
        let fit = |count: usize| {
            let examples: Vec<_> = rows.iter().take(count).map(|row| (row, row[0] + 3.0 * row[1])).collect();
            ridge(&examples, &prior)
        };
        let few = fit(2);
        assert!(few[0].abs() > few[1].abs(), "two labels change little: {few}");
        let many = fit(200);
        assert!((many[1] / many[0] - 3.0).abs() < 0.6, "{many}");
    }

    #[test]
    fn normal_scores_are_symmetric() {
        let scores = normal_scores(&[10.0, 30.0, 20.0]);
        assert!(scores[2].abs() < 1e-12 && (scores[0] + scores[1]).abs() < 1e-12 && scores[1] > 0.8);
    }
}
