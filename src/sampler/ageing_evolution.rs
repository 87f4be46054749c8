//! Ageing evolution (Real, Aggarwal, Huang, Le 2019: "Regularized evolution for image classifier architecture search").
//!
//! The first `population` are drawn as [`RandomSearch`](super::RandomSearch) draws them. Then again and again: of
//! `tournament` members, drawn with replacement, the best is copied with one gene changed to another of its choices;
//! the child enters and the oldest member leaves. Several objectives: the best by [`Scalarize`] among the drawn members; by
//! default the first front, the least crowded of it.
//!
//! A child whose architecture was asked for before is bred again, and at last drawn at random. `batch` children are bred
//! from the same population, and can be evaluated in parallel (the paper's workers do so in the order in which they
//! end, which is no function of the seed).

use super::draws::Draws;
use super::rounds::{InRounds, Rounds, Told};
use super::scalar::Scalarize;
use super::variation::mutate_one;
use super::{Problem, Sampler, SamplerError, at_least};
use crate::genotype::Genotype;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Attempts to breed a child that is new before it is drawn at random.
const ATTEMPTS: usize = 100;

/// How ageing evolution breeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgeingEvolutionOptions {
    /// Size of the population.
    pub population: usize,
    /// Members that a parent is the best of.
    pub tournament: usize,
    /// Children that are bred at once.
    pub batch: usize,
    /// What is best, of several objectives.
    pub scalarize: Scalarize,
}

impl Default for AgeingEvolutionOptions {
    fn default() -> Self {
        Self { population: 50, tournament: 10, batch: 8, scalarize: Scalarize::default() }
    }
}

impl AgeingEvolutionOptions {
    /// The search at its start.
    ///
    /// # Errors
    /// If the population is below 2, tournament or batch are 0, or weights don't fit the objectives.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        self.named("ageing_evolution", problem, seed)
    }

    pub(super) fn named(
        &self,
        name: &'static str,
        problem: &Problem,
        seed: u64,
    ) -> Result<Box<dyn Sampler>, SamplerError> {
        at_least("population", self.population, 2)?;
        at_least("tournament", self.tournament, 1)?;
        at_least("batch", self.batch, 1)?;
        self.scalarize.check(problem.objectives)?;
        Ok(Box::new(InRounds::new(AgeingEvolution {
            name,
            options: self.clone(),
            draws: Draws::new(problem.space.clone()),
            rng: ChaCha8Rng::seed_from_u64(seed),
            population: VecDeque::new(),
            begun: false,
        })))
    }
}

struct AgeingEvolution {
    name: &'static str,
    options: AgeingEvolutionOptions,
    draws: Draws,
    rng: ChaCha8Rng,
    /// The oldest first.
    population: VecDeque<Told>,
    begun: bool,
}

impl Rounds for AgeingEvolution {
    fn name(&self) -> &'static str {
        self.name
    }

    fn next(&mut self, told: Vec<Told>) -> Vec<Genotype> {
        if !self.begun {
            self.begun = true;
            return (0..self.options.population).map_while(|_| self.draws.draw(&mut self.rng)).collect();
        }
        self.population.extend(told);
        let surplus = self.population.len().saturating_sub(self.options.population);
        self.population.drain(..surplus);
        (0..self.options.batch).map_while(|_| self.child()).collect()
    }
}

impl AgeingEvolution {
    /// A genotype that was never asked for; `None` if there is no more.
    fn child(&mut self) -> Option<Genotype> {
        if !self.population.is_empty() {
            for _ in 0..ATTEMPTS {
                let parent = self.parent();
                let parent = &self.population[parent].genotype;
                let child = {
                    let space = self.draws.space();
                    let own = space.mutated(parent, &mut self.rng);
                    own.unwrap_or_else(|| space.canonical(mutate_one(parent, space.choices(), &mut self.rng)))
                };
                if self.draws.take(&child) {
                    return Some(child);
                }
            }
        }
        self.draws.draw(&mut self.rng)
    }

    /// The best of a tournament; of equals the first that was drawn.
    fn parent(&mut self) -> usize {
        let count = self.population.len() as u64;
        let drawn: Vec<usize> =
            (0..self.options.tournament).map(|_| self.rng.random_range(0..count) as usize).collect();
        let vectors: Vec<_> = drawn.iter().map(|&at| self.population[at].vector.as_ref()).collect();
        let standings = self.options.scalarize.standings(&vectors);
        let best = (0..drawn.len()).min_by(|&a, &b| standings[a].total_cmp(&standings[b]));
        drawn[best.expect("a tournament has members")]
    }
}
