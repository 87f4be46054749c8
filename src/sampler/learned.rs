//! What models learn from trials, and choices by what they predict.
//!
//! One model a cost, on targets that keep the cost's order. Where trials broke constraints or failed, one more model learns
//! how far (0: feasible; 1: the worst, or failed), from which comes the probability that a candidate is feasible.

use super::model_based::Trial;
use super::{GeneSpace, SamplerError};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use crate::pareto::{crowding_distances, dominates, non_dominated_fronts};
use crate::statistics::normal_cumulative;
use crate::surrogate::{Encoding, Prediction, Rows, Surrogate, SurrogateError, SurrogateOptions, TargetTransform};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How much of the sum of costs an augmented Chebyshev scalarisation adds (Knowles 2006, ParEGO).
const AUGMENTATION: f64 = 0.05;

/// Models of all costs.
pub(super) struct Learned {
    space: GeneSpace,
    encoding: Encoding,
    models: Vec<Box<dyn Surrogate>>,
    /// Of each trial that has a vector, what the models were taught: one target a cost.
    pub(super) targets: Vec<Vec<f64>>,
    /// Whether it is feasible.
    pub(super) feasible: Vec<bool>,
    /// The model of violations, and what is taken for feasible.
    violation: Option<(Box<dyn Surrogate>, f64)>,
    /// Rows of the trials that have a vector.
    pub(super) rows: Rows,
}

/// What models say of candidates.
pub(super) struct Predicted {
    pub(super) rows: Rows,
    /// Of each candidate, a prediction of each cost.
    pub(super) costs: Vec<Vec<Prediction>>,
    /// Of each candidate, how far it is expected to break the constraints, …
    pub(super) violations: Vec<f64>,
    /// … and the probability that it doesn't.
    pub(super) feasible: Vec<f64>,
}

impl Learned {
    /// Models of what `trials` reached; `None` where fewer than two have a vector.
    pub(super) fn fit(
        surrogate: &SurrogateOptions,
        transform: TargetTransform,
        trials: &[Trial],
        space: &GeneSpace,
        seed: u64,
    ) -> Option<Self> {
        let all_statistics: Vec<Vec<f64>> = trials.iter().map(|trial| space.statistics(&trial.genotype)).collect();
        let encoding = Encoding::new(space.choices()).with_statistics(all_statistics.iter().map(Vec::as_slice));
        let mut all = Rows::new(encoding.width());
        for (trial, statistics) in trials.iter().zip(&all_statistics) {
            all.push(encoding.row(&trial.genotype, statistics));
        }
        let known: Vec<usize> = (0..trials.len()).filter(|&at| trials[at].vector.is_some()).collect();
        let vectors: Vec<&ObjectiveVector> = trials.iter().filter_map(|trial| trial.vector.as_ref()).collect();
        let rows = all.select(&known);
        let cost = |objective: usize| {
            let costs: Vec<f64> = vectors.iter().map(|vector| vector.costs()[objective]).collect();
            transform.apply(&costs)
        };
        let columns: Vec<Vec<f64>> = (0..vectors.first()?.costs().len()).map(cost).collect();
        let fit = |rows: &Rows, targets: &[f64]| surrogate.fit(rows, targets, seed).ok();
        let models = columns.iter().map(|column| fit(&rows, column)).collect::<Option<Vec<_>>>()?;
        let violation = match violations(trials) {
            Some((targets, bound)) => Some((fit(&all, &targets)?, bound)),
            None => None,
        };
        Some(Self {
            space: space.clone(),
            encoding,
            models,
            targets: (0..vectors.len()).map(|at| columns.iter().map(|column| column[at]).collect()).collect(),
            feasible: vectors.iter().map(|vector| vector.is_feasible()).collect(),
            violation,
            rows,
        })
    }

    pub(super) fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// The least target of cost `objective` among feasible trials; among all where none is.
    pub(super) fn best(&self, objective: usize) -> f64 {
        let any = self.feasible.iter().any(|&feasible| feasible);
        let targets = self.targets.iter().zip(&self.feasible).filter(|(_, feasible)| **feasible || !any);
        targets.map(|(targets, _)| targets[objective]).fold(f64::INFINITY, f64::min)
    }

    pub(super) fn predict(&self, genotypes: &[Genotype]) -> Predicted {
        let mut rows = Rows::new(self.encoding.width());
        for genotype in genotypes {
            rows.push(self.encoding.row(genotype, &self.space.statistics(genotype)));
        }
        let of_models: Vec<Vec<Prediction>> = self.models.iter().map(|model| model.predict(&rows)).collect();
        let costs = (0..rows.len()).map(|at| of_models.iter().map(|of_model| of_model[at]).collect()).collect();
        let (violations, feasible) = match &self.violation {
            None => (vec![0.0; rows.len()], vec![1.0; rows.len()]),
            Some((model, bound)) => {
                let judge = |prediction: Prediction| {
                    let excess = prediction.mean - bound;
                    (excess.max(0.0), normal_cumulative(-excess / prediction.deviation.max(1e-9)))
                };
                model.predict(&rows).into_iter().map(judge).unzip()
            }
        };
        Predicted { rows, costs, violations, feasible }
    }
}

/// How far each trial breaks the constraints, and half of the least that breaks them; `None` where none does.
fn violations(trials: &[Trial]) -> Option<(Vec<f64>, f64)> {
    let violation = |trial: &Trial| trial.vector.as_ref().map(ObjectiveVector::violation);
    let most = trials.iter().filter_map(violation).fold(0.0, f64::max);
    let scaled = |trial: &Trial| match violation(trial) {
        Some(violation) if most > 0.0 => violation / most,
        Some(_) => 0.0,
        None => 1.0,
    };
    let scaled: Vec<f64> = trials.iter().map(scaled).collect();
    let least = scaled.iter().copied().filter(|&violation| violation > 0.0).reduce(f64::min)?;
    Some((scaled, 0.5 * least))
}

/// The best trials, at most `count`: front by front, failed ones never.
pub(super) fn best_trials(trials: &[Trial], count: usize) -> Vec<&Trial> {
    let (vectors, owners): (Vec<ObjectiveVector>, Vec<&Trial>) =
        trials.iter().filter_map(|trial| Some((trial.vector.clone()?, trial))).unzip();
    non_dominated_fronts(&vectors).into_iter().flatten().take(count).map(|at| owners[at]).collect()
}

/// The candidates with the greatest scores, each times the probability that it is feasible.
pub(super) fn highest(scores: &[f64], feasible: &[f64], count: usize) -> Vec<usize> {
    let scores = weighed(scores, feasible);
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(count);
    order
}

/// Scores, from 0 for the least, times probabilities.
pub(super) fn weighed(scores: &[f64], feasible: &[f64]) -> Vec<f64> {
    let least = scores.iter().copied().fold(f64::INFINITY, f64::min);
    scores.iter().zip(feasible).map(|(score, feasible)| (score - least) * feasible).collect()
}

/// Candidates of several costs, each the least by weights of its own: the augmented Chebyshev scalarisation of ParEGO, in
/// which each cost goes from 0 for the least to 1 for the greatest candidate.
pub(super) fn scalarised(costs: &[Vec<f64>], feasible: &[f64], count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let Some(objectives) = costs.first().map(Vec::len) else { return vec![] };
    let range = |objective: usize| {
        let values = || costs.iter().map(|costs| costs[objective]);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let ranges: Vec<(f64, f64)> = (0..objectives).map(range).collect();
    let mut chosen: Vec<usize> = vec![];
    while chosen.len() < count.min(costs.len()) {
        // Exponential draws over their sum are uniform on the simplex.
        let weights: Vec<f64> = (0..objectives).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
        let total: f64 = weights.iter().sum();
        let score = |costs: &Vec<f64>| {
            let terms = costs.iter().zip(&ranges).zip(&weights).map(|((cost, (low, high)), weight)| {
                weight / total * if high > low { (cost - low) / (high - low) } else { 0.0 }
            });
            let (most, sum) = terms.fold((0.0, 0.0), |(most, sum), term| (f64::max(most, term), sum + term));
            -(most + AUGMENTATION * sum)
        };
        let mut scores = weighed(&costs.iter().map(score).collect::<Vec<f64>>(), feasible);
        chosen.iter().for_each(|&at| scores[at] = f64::NEG_INFINITY);
        let best = (0..scores.len()).reduce(|a, b| if scores[b] > scores[a] { b } else { a });
        chosen.extend(best);
    }
    chosen
}

/// At most `count` of `vectors`, front by front; of the last front those with the greatest crowding distance.
pub(super) fn first_fronts(vectors: &[ObjectiveVector], count: usize) -> Vec<usize> {
    let mut remaining: Vec<usize> = (0..vectors.len()).collect();
    let mut chosen = vec![];
    while chosen.len() < count && !remaining.is_empty() {
        // Without sorting all fronts: whole spaces are predicted, and few fronts are taken.
        let mut front: Vec<usize> = vec![];
        for &at in &remaining {
            if !front.iter().any(|&member| dominates(&vectors[member], &vectors[at])) {
                front.retain(|&member| !dominates(&vectors[at], &vectors[member]));
                front.push(at);
            }
        }
        let taken: std::collections::HashSet<usize> = front.iter().copied().collect();
        remaining.retain(|at| !taken.contains(at));
        if front.len() > count - chosen.len() {
            let costs: Vec<&[f64]> = front.iter().map(|&at| vectors[at].costs()).collect();
            let distances = crowding_distances(&costs);
            let mut order: Vec<usize> = (0..front.len()).collect();
            order.sort_by(|&a, &b| distances[b].total_cmp(&distances[a]));
            front = order.into_iter().take(count - chosen.len()).map(|place| front[place]).collect();
        }
        chosen.extend(front);
    }
    chosen
}

impl From<SurrogateError> for SamplerError {
    /// Of options alone; samplers give models what they can learn from.
    fn from(error: SurrogateError) -> Self {
        match error {
            SurrogateError::Option { field, value, expected } => Self::Option { field, value, expected },
            _ => Self::Option { field: "surrogate", value: f64::NAN, expected: "options that can be fitted" },
        }
    }
}
