//! Architectures with a label, as what a fit sees of them.

use super::super::{Combine, Quality, Recipe, SampleScores, Scored};
use crate::statistics::ranks;
use nalgebra::DVector;

/// An architecture with a label.
pub(super) struct Example {
    /// Its merits, standardised over the reference sample.
    pub(super) merits: DVector<f64>,
    /// Its genes: what was chosen for each decision.
    pub(super) genes: Vec<u8>,
    /// Multiply-accumulate operations of the full network.
    pub(super) macs: f64,
    /// Its figure.
    pub(super) label: f64,
}

/// The living architectures of a truth.
pub(super) struct Examples {
    /// The indicators of the merits.
    pub(super) names: Vec<String>,
    /// The recipe's weights of standardised merits, scaled so that scores have deviation 1 over the sample; 0 for
    /// what the recipe does not have, or dropped.
    pub(super) prior: DVector<f64>,
    /// The architectures.
    pub(super) all: Vec<Example>,
}

impl Example {
    /// The weighted sum of the merits.
    pub(super) fn score(&self, weights: &DVector<f64>) -> f64 {
        self.merits.dot(weights)
    }

    /// Share of the decisions that differ.
    pub(super) fn distance(&self, other: &Self) -> f64 {
        let pairs = self.genes.iter().zip(&other.genes);
        pairs.filter(|(a, b)| a != b).count() as f64 / self.genes.len().max(1) as f64
    }
}

impl Examples {
    pub(super) fn new(scored: &Scored, recipe: &Recipe) -> Self {
        let label_free = Quality::new(recipe, scored.reference);
        let terms = recipe.with_features().into_iter().map(|indicator| (indicator, 1.0)).collect();
        let all_terms = Recipe { name: "features", terms, gated: false, combine: Combine::LogRank };
        let quality = Quality::new(&all_terms, scored.reference);
        let rows: Vec<DVector<f64>> = scored.reference.iter().filter_map(|scores| merits(&quality, scores)).collect();
        let count = rows.len().max(1) as f64;
        let size = quality.terms().count();
        let mean = rows.iter().fold(DVector::zeros(size), |sum, row| sum + row) / count;
        let variance = rows.iter().fold(DVector::zeros(size), |sum, row| sum + (row - &mean).map(|d| d * d)) / count;
        let deviation = variance.map(|variance: f64| if variance > 0.0 { variance.sqrt() } else { 1.0 });
        let weight = |name: &str| label_free.terms().find(|(facts, _)| facts.name == name).map_or(0.0, |(_, w)| w);
        let weights = DVector::from_iterator(size, quality.terms().map(|(facts, _)| weight(facts.name)));
        let prior = weights.component_mul(&deviation);
        let spread = rows.iter().map(|row| (row - &mean).component_div(&deviation).dot(&prior).powi(2)).sum::<f64>();
        let prior = if spread > 0.0 { prior / (spread / count).sqrt() } else { prior };
        let example = |(at, scores): (usize, &SampleScores)| {
            let genotype = &scored.truth.genotypes[at];
            Some(Example {
                merits: (merits(&quality, scores)? - &mean).component_div(&deviation),
                genes: genotype.genes().to_vec(),
                macs: scores.get("macs")?.value,
                label: scored.truth.values[at],
            })
        };
        Self {
            names: quality.terms().map(|(facts, _)| facts.name.to_owned()).collect(),
            prior,
            all: scored.scores.iter().enumerate().filter_map(example).collect(),
        }
    }

    /// The best label of the `count` that score highest.
    pub(super) fn best_of_first(&self, count: usize, score: &dyn Fn(&Example) -> f64) -> f64 {
        let mut order: Vec<&Example> = self.all.iter().collect();
        order.sort_by(|a, b| score(b).total_cmp(&score(a)));
        order.iter().take(count).map(|example| example.label).fold(f64::MIN, f64::max)
    }
}

fn merits(quality: &Quality, scores: &SampleScores) -> Option<DVector<f64>> {
    quality.merits(scores).map(DVector::from_vec)
}

/// What a normal distribution has at the labels' ranks (Blom 1958), by a logistic approximation of its quantiles.
pub(super) fn normal_scores(labels: &[f64]) -> Vec<f64> {
    let count = labels.len() as f64;
    let quantile = |rank: f64| {
        let p = (rank - 0.375) / (count + 0.25);
        // Bowling et al. 2009, off by less than 0.02 where it matters here.
        (p / (1.0 - p)).ln() / 1.702
    };
    ranks(labels).into_iter().map(quantile).collect()
}
