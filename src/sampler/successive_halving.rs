//! Successive halving (Karnin, Koren, Somekh 2013; Jamieson and Talwalkar 2016) over fidelities: the metrics of the problem,
//! the cheapest first; a trial is the last fidelity.
//!
//! A bracket draws batch · η^levels architectures. Each level computes its metrics for those that are left, and keeps the best 1/η;
//! the last `batch` become trials. Several metrics or objectives: by [`Scalarize`] of the level's metrics, by default
//! front by front. What a bracket drops becomes a trial only when nothing else is left, the longest kept first.

use super::draws::Draws;
use super::metrics::Metrics;
use super::rounds::{InRounds, Rounds, Told};
use super::scalar::Scalarize;
use super::{Problem, Sampler, SamplerError, at_least};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The most architectures of a bracket.
const MOST: usize = 1 << 16;

/// How brackets are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuccessiveHalvingOptions {
    /// η: one in so many is kept.
    pub eta: usize,
    /// Trials of a bracket.
    pub batch: usize,
    /// The metrics of each level by name; where absent, each fidelity is one, that goes by its metrics and those before it.
    pub levels: Option<Vec<Vec<String>>>,
    /// What is best, of several metrics.
    pub scalarize: Scalarize,
}

impl Default for SuccessiveHalvingOptions {
    fn default() -> Self {
        Self { eta: 3, batch: 4, levels: None, scalarize: Scalarize::default() }
    }
}

impl SuccessiveHalvingOptions {
    /// The search at its start.
    ///
    /// # Errors
    /// If there are no metrics, a level names another one, or an option is out of its range.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        at_least("eta", self.eta, 2)?;
        at_least("batch", self.batch, 1)?;
        let metrics = problem.metrics.clone().ok_or(SamplerError::NoMetrics { sampler: "successive_halving" })?;
        let levels: Vec<Vec<usize>> = match &self.levels {
            Some(levels) => {
                let indices = |level: &Vec<String>| level.iter().map(|name| metrics.index(name)).collect();
                levels.iter().map(indices).collect::<Result<_, _>>()?
            }
            None => metrics.fidelities().iter().map(|&end| (0..end).collect()).collect(),
        };
        at_least("levels", levels.iter().map(Vec::len).min().unwrap_or(0), 1)?;
        levels.iter().try_for_each(|level| self.scalarize.check(level.len()))?;
        let growth = u32::try_from(levels.len()).ok().and_then(|levels| self.eta.checked_pow(levels));
        let bracket = growth.and_then(|growth| growth.checked_mul(self.batch)).unwrap_or(MOST);
        Ok(Box::new(InRounds::new(SuccessiveHalving {
            options: self.clone(),
            draws: Draws::new(problem.space.clone()),
            rng: ChaCha8Rng::seed_from_u64(seed),
            metrics,
            bracket: bracket.clamp(self.batch, MOST),
            dropped: vec![vec![]; levels.len()],
            levels,
        })))
    }
}

struct SuccessiveHalving {
    options: SuccessiveHalvingOptions,
    draws: Draws,
    rng: ChaCha8Rng,
    metrics: Metrics,
    levels: Vec<Vec<usize>>,
    /// Architectures that a bracket begins with.
    bracket: usize,
    /// What each level has dropped, the best of a bracket first.
    dropped: Vec<Vec<Genotype>>,
}

impl Rounds for SuccessiveHalving {
    fn name(&self) -> &'static str {
        "successive_halving"
    }

    fn next(&mut self, _: Vec<Told>) -> Vec<Genotype> {
        let batch = self.options.batch;
        let mut left: Vec<Genotype> = (0..self.bracket).map_while(|_| self.draws.draw(&mut self.rng)).collect();
        for level in 0..self.levels.len() {
            let keep = left.len().div_ceil(self.options.eta).max(batch);
            let mut order = self.ordered(left, level);
            self.dropped[level].extend(order.drain(keep.min(order.len())..));
            left = order;
        }
        // Where the capacity of a bracket is cut, more than a batch may be left.
        if let Some(last) = self.dropped.last_mut() {
            last.extend(left.drain(batch.min(left.len())..));
        }
        for dropped in self.dropped.iter_mut().rev().filter(|_| left.is_empty()) {
            if !dropped.is_empty() {
                left = dropped.drain(..batch.min(dropped.len())).collect();
                break;
            }
        }
        left
    }
}

impl SuccessiveHalving {
    /// `genotypes`, the best by a level's metrics first.
    fn ordered(&self, genotypes: Vec<Genotype>, level: usize) -> Vec<Genotype> {
        let columns: Vec<Vec<Option<f64>>> =
            self.levels[level].iter().map(|&metric| self.metrics.values(metric, &genotypes)).collect();
        let vector = |at: usize| {
            let costs: Option<Vec<f64>> = columns.iter().map(|column| column[at].map(|value| -value)).collect();
            costs.map(ObjectiveVector::feasible)
        };
        let vectors: Vec<Option<ObjectiveVector>> = (0..genotypes.len()).map(vector).collect();
        let standings = self.options.scalarize.standings(&vectors.iter().map(Option::as_ref).collect::<Vec<_>>());
        let mut order: Vec<usize> = (0..genotypes.len()).collect();
        order.sort_by(|&a, &b| standings[a].total_cmp(&standings[b]));
        order.into_iter().map(|at| genotypes[at].clone()).collect()
    }
}
