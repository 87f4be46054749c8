//! Every indicator and combination held against the truth, with the controls that each has to beat.

use super::fit::Fit;
use super::{Evaluation, Quality, QualityFacts, Recipe, SampleScores, Truth};
use crate::genotype::Genotype;
use crate::indicator::{Indicator, Probes, Values, score};
use crate::objective::Direction;
use crate::space::{Scale, SearchSpace};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What a row of the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One indicator.
    Indicator,
    /// Several, combined.
    Combination,
    /// What everybody has for nothing.
    Control,
}

/// One score held against the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the score.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How it does.
    pub evaluation: Evaluation,
    /// Seconds of one thread an architecture, where it was timed.
    pub seconds: Option<f64>,
    /// The score of each architecture, higher is better; none where it failed.
    #[serde(skip)]
    pub scores: Vec<Option<f64>>,
}

/// All scores of a space held against one truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correlations {
    /// Name of the space.
    pub space: String,
    /// Column of the truth.
    pub column: String,
    /// Architectures.
    pub architectures: usize,
    /// Those without a living network, which rank last.
    pub dead: usize,
    /// The combinations as they came out on the space.
    pub recipes: Vec<QualityFacts>,
    /// The scores.
    pub rows: Vec<Row>,
    /// Weights fitted to labels, where that was asked for.
    pub fits: Vec<Fit>,
}

/// What is held against the truth.
#[derive(Debug)]
pub struct Scored<'a> {
    /// The space.
    pub space: &'a SearchSpace,
    /// The architectures and their figures.
    pub truth: &'a Truth,
    /// Name of the figure.
    pub column: &'a str,
    /// The architectures' scores, in the order of the truth.
    pub scores: &'a [SampleScores],
    /// The scores of the space's reference sample.
    pub reference: &'a [SampleScores],
}

impl Scored<'_> {
    /// Evaluates indicators, recipes, and the controls `macs`, `params` (both counted as publications do) and `random`.
    pub fn correlate(&self, indicators: &[&'static dyn Indicator], recipes: &[Recipe], seed: u64) -> Correlations {
        let row = |name: &str, kind, scores: Vec<Option<f64>>| {
            let evaluation = Evaluation::new(&scores, &self.truth.values, seed);
            Row { name: name.to_owned(), kind, evaluation, seconds: None, scores }
        };
        let qualities: Vec<Quality> = recipes.iter().map(|recipe| Quality::new(recipe, self.reference)).collect();
        let mut rows = vec![];
        for (recipe, quality) in recipes.iter().zip(&qualities) {
            rows.push(row(recipe.name, Kind::Combination, self.qualities(quality)));
        }
        for indicator in indicators {
            let facts = indicator.facts();
            let turned = |value: f64| match facts.direction {
                Direction::Maximize => value,
                Direction::Minimize => -value,
            };
            let scores = self.scores.iter().map(|scores| Some(turned(scores.get(facts.name)?.value)));
            rows.push(row(facts.name, Kind::Indicator, scores.collect()));
        }
        let cost = |genotype: &Genotype| self.space.lower(genotype, Scale::Full).ok().map(|graph| graph.cost());
        let costs: Vec<_> = self.truth.genotypes.iter().map(cost).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let controls = [
            ("control: macs", costs.iter().map(|cost| Some(cost.as_ref()?.macs as f64)).collect()),
            ("control: params", costs.iter().map(|cost| Some(cost.as_ref()?.params as f64)).collect()),
            ("control: random", costs.iter().map(|_| Some(rng.random::<f64>())).collect()),
        ];
        rows.extend(controls.map(|(name, scores)| row(name, Kind::Control, scores)));
        let facts = |(recipe, quality): (&Recipe, &Quality)| QualityFacts::new(recipe.name, quality);
        Correlations {
            space: self.space.name.clone(),
            column: self.column.to_owned(),
            architectures: self.truth.values.len(),
            dead: self.scores.iter().filter(|scores| scores.is_empty()).count(),
            recipes: recipes.iter().zip(&qualities).map(facts).collect(),
            rows,
            fits: vec![],
        }
    }

    fn qualities(&self, quality: &Quality) -> Vec<Option<f64>> {
        let values = |scores: &SampleScores| -> Values {
            scores.iter().map(|(name, score)| (name.clone(), score.value)).collect()
        };
        self.scores.iter().map(|scores| quality.of(&values(scores))).collect()
    }
}

impl Correlations {
    /// Times each row's score alone, on one thread and a few of the `genotypes`: what another indicator computed
    /// already does not count.
    pub fn time(&mut self, probes: &Probes, space: &SearchSpace, genotypes: &[Genotype], recipes: &[Recipe]) {
        /// Architectures that are timed.
        const TIMED: usize = 6;
        let step = genotypes.len().div_ceil(TIMED).max(1);
        for row in &mut self.rows {
            let recipe = recipes.iter().find(|recipe| recipe.name == row.name);
            let counts = |name: &str| {
                let facts = self.recipes.iter().find(|facts| facts.recipe == row.name);
                facts.is_none_or(|facts| facts.weights.iter().any(|(known, _)| known == name))
            };
            let indicators: Vec<&'static dyn Indicator> = match (row.kind, recipe) {
                (Kind::Control, _) => continue,
                (_, Some(recipe)) => recipe.indicators().into_iter().filter(|i| counts(i.facts().name)).collect(),
                (_, None) => crate::indicator::named(&row.name).into_iter().collect(),
            };
            let timed: Vec<&Genotype> = genotypes.iter().step_by(step).collect();
            let start = Instant::now();
            timed.iter().for_each(|genotype| drop(score(probes, space, genotype, &indicators)));
            row.seconds = Some(start.elapsed().as_secs_f64() / timed.len() as f64);
        }
    }
}
