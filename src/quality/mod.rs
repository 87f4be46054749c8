//! From many indicators to one quality, and how far that can be trusted.
//!
//! A quality is a weighted sum of an architecture's standings ([`Combine`]) in a reference sample of its space, which
//! is drawn and scored once: it depends neither on who else is searched nor on the indicators' scales.

mod correlate;
mod evaluation;
mod fit;
mod gates;
mod rank;
mod recipe;
mod reference;
mod truth;

pub use correlate::{Correlations, Kind, Row, Scored};
pub use evaluation::{Evaluation, Figure, TOPS};
pub use fit::{Chosen, Fit, Fitted, Method};
pub use gates::{Dropped, Why};
pub use rank::Combine;
pub use recipe::{QualitySection, Recipe, RecipeSection};
pub use reference::{Reference, ReferenceKey, draw_reference, score_all};
pub use truth::{Truth, TruthError};

use crate::indicator::{Facts, Indicator, Score, Values};
use rank::Ranking;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The scores of one architecture of the reference sample, by indicator; one that failed is absent.
pub type SampleScores = BTreeMap<String, Score>;

/// A recipe on a space.
#[derive(Clone)]
pub struct Quality {
    combine: Combine,
    terms: Vec<Term>,
    dropped: Vec<Dropped>,
}

#[derive(Clone)]
struct Term {
    indicator: &'static dyn Indicator,
    facts: &'static Facts,
    weight: f64,
    ranking: Ranking,
}

impl Quality {
    /// Puts a recipe on the space that the sample is of.
    pub fn new(recipe: &Recipe, sample: &[SampleScores]) -> Self {
        let (mut terms, mut dropped) = (vec![], vec![]);
        for &(indicator, weight) in recipe.terms.iter().filter(|(_, weight)| *weight != 0.0) {
            let facts = indicator.facts();
            let values = sample.iter().filter_map(|scores| Some(scores.get(facts.name)?.value));
            match Ranking::new(facts.direction, values) {
                Some(ranking) => terms.push(Term { indicator, facts, weight, ranking }),
                None => dropped.push(Dropped::new(facts.name, Why::Absent)),
            }
        }
        let mut quality = Self { combine: recipe.combine, terms, dropped };
        if recipe.gated {
            quality.close_gates(sample);
        }
        quality
    }

    /// The quality of an architecture with these values, higher is better; none if one is missing.
    pub fn of(&self, values: &Values) -> Option<f64> {
        let merit = |term: &Term| Some(term.weight * term.ranking.merit(self.combine, *values.get(term.facts.name)?));
        self.terms.iter().map(merit).sum()
    }

    /// The merit of each term; none if a value is missing.
    fn merits(&self, scores: &SampleScores) -> Option<Vec<f64>> {
        let merit = |term: &Term| Some(term.ranking.merit(self.combine, scores.get(term.facts.name)?.value));
        self.terms.iter().map(merit).collect()
    }

    /// The indicators that count, with their weights.
    pub fn terms(&self) -> impl Iterator<Item = (&'static Facts, f64)> {
        self.terms.iter().map(|term| (term.facts, term.weight))
    }

    /// The indicators that count.
    pub fn indicators(&self) -> Vec<&'static dyn Indicator> {
        self.terms.iter().map(|term| term.indicator).collect()
    }

    /// The indicators of the recipe that do not count on this space, and why.
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }
}

impl fmt::Debug for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.terms().map(|(facts, weight)| (facts.name, weight))).finish()
    }
}

/// What a report says of a quality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityFacts {
    /// Name of the recipe.
    pub recipe: String,
    /// The indicators that count, and their weights.
    pub weights: Vec<(String, f64)>,
    /// Those that do not, and why.
    pub dropped: Vec<Dropped>,
}

impl QualityFacts {
    /// What is to be said of `quality`.
    pub fn new(recipe: &str, quality: &Quality) -> Self {
        let weights = quality.terms().map(|(facts, weight)| (facts.name.to_owned(), weight)).collect();
        Self { recipe: recipe.to_owned(), weights, dropped: quality.dropped.clone() }
    }
}

#[cfg(test)]
mod tests;
