//! RoBoT (He et al. 2024: "Robustifying and boosting training-free neural architecture search"): weights of training-free
//! metrics, found by the trials that they lead to.
//!
//! Each metric is scaled to [0, 1] by the pool's least and greatest. *Exploration*, `evaluations` steps: Bayesian optimisation of
//! weights in [−1, 1] (a Gaussian process with Matérn's kernel, ν = 5/2, and the upper confidence bound with κ = 2.576) of what
//! the pool's first architecture by Σ w · metric is worth; one that is known already is a step without a trial.
//! *Exploitation*: the order of the best weights, `batch` at a time. Several objectives: worth is the standing by
//! [`Scalarize`] among the explored.

use super::draws::Draws;
use super::metrics::{Metrics, pool};
use super::rounds::{InRounds, Rounds, Told};
use super::scalar::Scalarize;
use super::{Problem, Sampler, SamplerError, at_least};
use crate::genotype::{ArchId, Genotype};
use crate::objective::ObjectiveVector;
use crate::statistics::{GaussianProcess, matern52};
use nalgebra::DVector;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};

/// How much the uncertain is preferred.
const KAPPA: f64 = 2.576;
/// Weights that the bound is compared at.
const CANDIDATES: usize = 200;

/// How RoBoT explores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RobotOptions {
    /// Steps of exploration.
    pub evaluations: usize,
    /// Architectures whose metrics are computed, all of them at the start; all of a smaller space. The paper takes every
    /// architecture of NAS-Bench-201 (15,625).
    pub pool: usize,
    /// Architectures of the best order that are asked for at once.
    pub batch: usize,
    /// What is worth more, of several objectives.
    pub scalarize: Scalarize,
}

impl Default for RobotOptions {
    fn default() -> Self {
        Self { evaluations: 20, pool: 1024, batch: 4, scalarize: Scalarize::default() }
    }
}

impl RobotOptions {
    /// The search at its start.
    ///
    /// # Errors
    /// If there are no metrics, or an option is out of its range.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        at_least("evaluations", self.evaluations, 1)?;
        at_least("pool", self.pool, 1)?;
        at_least("batch", self.batch, 1)?;
        self.scalarize.check(problem.objectives)?;
        let metrics = problem.metrics.clone().ok_or(SamplerError::NoMetrics { sampler: "robot" })?;
        Ok(Box::new(InRounds::new(Robot {
            options: self.clone(),
            draws: Draws::new(problem.space.clone()),
            rng: ChaCha8Rng::seed_from_u64(seed),
            metrics,
            seed,
            pool: None,
            tried: vec![],
            known: HashMap::new(),
            order: None,
        })))
    }
}

struct Robot {
    options: RobotOptions,
    draws: Draws,
    rng: ChaCha8Rng,
    metrics: Metrics,
    seed: u64,
    /// The pool and its scaled metrics, from the first round on.
    pool: Option<Vec<(Genotype, DVector<f64>)>>,
    /// The weights of each step, and the architecture that they put first.
    tried: Vec<(DVector<f64>, ArchId)>,
    known: HashMap<ArchId, Option<ObjectiveVector>>,
    /// What is left of the order of the best weights.
    order: Option<VecDeque<Genotype>>,
}

impl Rounds for Robot {
    fn name(&self) -> &'static str {
        "robot"
    }

    fn next(&mut self, told: Vec<Told>) -> Vec<Genotype> {
        for Told { genotype, vector } in told {
            if let Some(id) = self.draws.space().id(&genotype) {
                self.known.insert(id, vector);
            }
        }
        let pool = self.pool.take().unwrap_or_else(|| self.scaled_pool());
        let next = if pool.is_empty() { vec![] } else { self.choose(&pool) };
        self.pool = Some(pool);
        next
    }
}

impl Robot {
    fn choose(&mut self, pool: &[(Genotype, DVector<f64>)]) -> Vec<Genotype> {
        while self.tried.len() < self.options.evaluations {
            let weights = self.propose();
            let scores = pool.iter().map(|(_, metrics)| metrics.dot(&weights)).enumerate();
            let best = scores.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
            let first = &pool[best.map_or(0, |(at, _)| at)].0;
            let id = self.draws.space().id(first).expect("the pool holds architectures");
            self.tried.push((weights, id));
            if self.draws.take(first) {
                return vec![first.clone()];
            }
        }
        if self.order.is_none() {
            let worth = self.worth();
            let best = (0..worth.len()).max_by(|&a, &b| worth[a].total_cmp(&worth[b]).then(b.cmp(&a)));
            let weights = &self.tried[best.expect("exploration has a step")].0;
            let scores: Vec<f64> = pool.iter().map(|(_, metrics)| metrics.dot(weights)).collect();
            let mut order: Vec<usize> = (0..pool.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            self.order = Some(order.into_iter().map(|at| pool[at].0.clone()).collect());
        }
        let mut next = vec![];
        while next.len() < self.options.batch {
            match self.order.as_mut().and_then(VecDeque::pop_front) {
                Some(genotype) if self.draws.take(&genotype) => next.push(genotype),
                Some(_) => {}
                // Beyond the pool, there is no order.
                None => match self.draws.draw(&mut self.rng) {
                    Some(genotype) => next.push(genotype),
                    None => break,
                },
            }
        }
        next
    }

    fn scaled_pool(&self) -> Vec<(Genotype, DVector<f64>)> {
        let genotypes = pool(self.draws.space(), self.options.pool, self.seed);
        let count = self.metrics.names().len();
        let mut scaled = vec![DVector::zeros(count); genotypes.len()];
        for metric in 0..count {
            let values = self.metrics.values(metric, &genotypes);
            let low = values.iter().flatten().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
            for (scaled, value) in scaled.iter_mut().zip(values) {
                // What failed adds nothing, as in the released code.
                scaled[metric] = value.filter(|_| high > low).map_or(0.0, |value| (value - low) / (high - low));
            }
        }
        genotypes.into_iter().zip(scaled).collect()
    }

    /// What each step's architecture is worth: more is better, without a scale.
    fn worth(&self) -> Vec<f64> {
        let vectors: Vec<_> = self.tried.iter().map(|(_, id)| self.known.get(id).and_then(Option::as_ref)).collect();
        let standings = self.options.scalarize.standings(&vectors);
        let worst = standings.iter().copied().filter(|standing| standing.is_finite()).fold(0.0, f64::max);
        standings.into_iter().map(|standing| -standing.min(worst + 1.0)).collect()
    }

    /// The weights with the greatest upper confidence bound.
    fn propose(&mut self) -> DVector<f64> {
        let size = self.metrics.names().len();
        let draw = |rng: &mut ChaCha8Rng| DVector::from_fn(size, |_, _| rng.random_range(-1.0..=1.0));
        if self.tried.is_empty() {
            return draw(&mut self.rng);
        }
        let worth = self.worth();
        let mean = worth.iter().sum::<f64>() / worth.len() as f64;
        let variance = worth.iter().map(|worth| (worth - mean).powi(2)).sum::<f64>() / worth.len() as f64;
        let scale = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        let standard: Vec<f64> = worth.iter().map(|worth| (worth - mean) / scale).collect();
        let kernel = |a: &DVector<f64>, b: &DVector<f64>| matern52((a - b).norm());
        let places = self.tried.iter().map(|(weights, _)| weights.clone()).collect();
        let process = GaussianProcess::new(kernel, places, &standard, 1e-6);
        let bound = |weights: &DVector<f64>| {
            let (mean, variance) = process.as_ref().map_or((0.0, 1.0), |process| process.predict(weights));
            mean + KAPPA * variance.sqrt()
        };
        let candidates: Vec<DVector<f64>> = (0..CANDIDATES).map(|_| draw(&mut self.rng)).collect();
        let bounds: Vec<f64> = candidates.iter().map(bound).collect();
        let best = (0..bounds.len()).max_by(|&a, &b| bounds[a].total_cmp(&bounds[b]).then(b.cmp(&a)));
        candidates[best.expect("there are candidates")].clone()
    }
}
