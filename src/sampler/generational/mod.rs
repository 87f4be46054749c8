//! The generations of an evolutionary search, by ask and tell; how individuals come about ([`Variation`]) and who goes on
//! ([`Survival`]) are parts.
//!
//! The first generation is drawn. Each one after: parents by binary tournament, a child of each two; the best of parents and
//! children go on. A child that was asked for before is bred again, and at last drawn. A generation is bred when the one
//! before is told, so it does not depend on how many workers evaluate it or in which order they finish.

mod genes;

use super::{Sampler, SamplerError};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::VecDeque;

pub use genes::Genes;

/// Attempts to breed a child that is new before it is drawn at random.
const ATTEMPTS: usize = 100;

/// How individuals come about.
pub trait Variation {
    /// What is evaluated.
    type Individual: Clone + PartialEq;

    /// An individual that was not taken before, and is now; `None` where there is no more.
    fn draw(&mut self, rng: &mut ChaCha8Rng) -> Option<Self::Individual>;

    /// A child of two parents, whether or not it was taken before.
    fn breed(&mut self, parents: [&Self::Individual; 2], rng: &mut ChaCha8Rng) -> Self::Individual;

    /// Takes `individual`; `false` if it was taken before, or can't be.
    fn take(&mut self, individual: &Self::Individual) -> bool;
}

/// Who goes on to the next generation.
pub trait Survival {
    /// The algorithm's name.
    fn name(&self) -> &'static str;

    /// Who of `candidates` goes on: `count` of them, all where there are fewer. First the parents in the order in which they
    /// were selected, then their children in the order of asking; `None` has failed.
    fn select(&mut self, candidates: &[Option<ObjectiveVector>], count: usize, rng: &mut ChaCha8Rng) -> Vec<Survivor>;
}

/// A candidate that goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Survivor {
    /// Its place among the candidates.
    pub at: usize,
    /// How it fares in tournaments.
    pub fitness: Fitness,
}

/// How a parent fares in tournaments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitness {
    /// The lesser one wins, …
    pub rank: usize,
    /// … of equal ranks the one with more room around it; of equals the first that was drawn.
    pub room: f64,
}

impl Fitness {
    /// The better one first.
    pub fn order(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank).then(other.room.total_cmp(&self.room))
    }

    fn is_better_than(&self, other: &Self) -> bool {
        self.rank < other.rank || self.rank == other.rank && self.room > other.room
    }
}

/// What most generational searches of genotypes may be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerationalOptions {
    /// Size of the population, and of each generation.
    pub population: usize,
    /// Probability that two parents are crossed over; else the child is a copy of the first, mutated.
    pub crossover: f64,
    /// Probability that a gene mutates; 1 / number of genes where absent.
    pub mutation: Option<f64>,
}

impl Default for GenerationalOptions {
    fn default() -> Self {
        Self { population: 12, crossover: 0.9, mutation: None }
    }
}

/// A search by generations.
#[derive(Debug)]
pub struct Generational<V: Variation, S> {
    size: usize,
    variation: V,
    survival: S,
    rng: ChaCha8Rng,
    population: Vec<Member<V::Individual>>,
    /// Of this generation, what is not asked for yet, …
    unasked: VecDeque<V::Individual>,
    /// … and everything that is, in the order of asking, so that the order of telling does not count.
    asked: Vec<Asked<V::Individual>>,
    /// All before this place in `asked` are told.
    untold: usize,
}

/// A member of the population.
#[derive(Clone, Debug)]
pub struct Member<I> {
    /// Who it is.
    pub individual: I,
    /// What it reached; `None` has failed.
    pub vector: Option<ObjectiveVector>,
    /// How it fares in tournaments.
    pub fitness: Fitness,
}

#[derive(Debug)]
struct Asked<I> {
    individual: I,
    told: bool,
    vector: Option<ObjectiveVector>,
}

impl<V: Variation, S: Survival> Generational<V, S> {
    /// A search with a population of `size` from `seed`.
    ///
    /// # Errors
    /// If `size` is below 2.
    pub fn start(variation: V, survival: S, size: usize, seed: u64) -> Result<Self, SamplerError> {
        if size < 2 {
            return Err(SamplerError::Option { field: "population", value: size as f64, expected: "2 or more" });
        }
        Ok(Self {
            size,
            variation,
            survival,
            rng: ChaCha8Rng::seed_from_u64(seed),
            population: vec![],
            unasked: VecDeque::new(),
            asked: vec![],
            untold: 0,
        })
    }

    /// The next individuals to evaluate, at most `n`; fewer at the end of a generation, none while one is waited for.
    pub fn ask(&mut self, n: usize) -> Vec<V::Individual> {
        if n > 0 && self.unasked.is_empty() && self.untold == self.asked.len() {
            self.next_generation();
        }
        let taken = n.min(self.unasked.len());
        let individuals: Vec<V::Individual> = self.unasked.drain(..taken).collect();
        let asked = |individual: &V::Individual| Asked { individual: individual.clone(), told: false, vector: None };
        self.asked.extend(individuals.iter().map(asked));
        individuals
    }

    /// Says what an individual that was asked for has reached, as [`Sampler::tell`] does.
    pub fn tell(&mut self, individual: &V::Individual, outcome: Option<&ObjectiveVector>) {
        let mut waiting = self.asked[self.untold..].iter_mut();
        if let Some(asked) = waiting.find(|asked| !asked.told && asked.individual == *individual) {
            asked.told = true;
            asked.vector = outcome.cloned();
        }
        self.untold += self.asked[self.untold..].iter().take_while(|asked| asked.told).count();
    }

    /// The parents of the present generation; none while it is the first.
    pub fn population(&self) -> &[Member<V::Individual>] {
        &self.population
    }

    /// Selects the survivors of a generation that is told, and breeds the next one.
    fn next_generation(&mut self) {
        let parents = self.population.drain(..).map(|parent| (parent.individual, parent.vector));
        let told = self.asked.drain(..).map(|asked| (asked.individual, asked.vector));
        let (individuals, mut vectors): (Vec<_>, Vec<_>) = parents.chain(told).unzip();
        self.untold = 0;
        let mut individuals: Vec<Option<V::Individual>> = individuals.into_iter().map(Some).collect();
        let survivors = self.survival.select(&vectors, self.size, &mut self.rng);
        let member = |Survivor { at, fitness }| {
            let individual = individuals[at].take().expect("a candidate survives once");
            Member { individual, vector: vectors[at].take(), fitness }
        };
        self.population = survivors.into_iter().map(member).collect();
        for _ in 0..self.size {
            match self.child() {
                Some(child) => self.unasked.push_back(child),
                None => break,
            }
        }
    }

    /// An individual that was never asked for; `None` if there is no more.
    fn child(&mut self) -> Option<V::Individual> {
        if !self.population.is_empty() {
            for _ in 0..ATTEMPTS {
                let parents = [self.tournament(), self.tournament()].map(|at| &self.population[at].individual);
                let child = self.variation.breed(parents, &mut self.rng);
                if self.variation.take(&child) {
                    return Some(child);
                }
            }
        }
        self.variation.draw(&mut self.rng)
    }

    /// The better of two members.
    fn tournament(&mut self) -> usize {
        let count = self.population.len() as u64;
        let (a, b) = (self.rng.random_range(0..count) as usize, self.rng.random_range(0..count) as usize);
        if self.population[b].fitness.is_better_than(&self.population[a].fitness) { b } else { a }
    }
}

impl<S: Survival + Send> Sampler for Generational<Genes, S> {
    fn name(&self) -> &str {
        self.survival.name()
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        Generational::ask(self, n)
    }

    fn tell(&mut self, genotype: &Genotype, outcome: Option<&ObjectiveVector>) {
        Generational::tell(self, genotype, outcome);
    }
}

/// Candidates by how they keep to the constraints.
#[derive(Debug, PartialEq)]
pub(super) struct Feasibility {
    /// Places of those that break none.
    pub feasible: Vec<usize>,
    /// The others, the least violation first, failed ones last, ranked by that from 1 on, failed ones `usize::MAX`.
    pub others: Vec<Survivor>,
}

impl Feasibility {
    /// Divides `candidates`.
    pub fn of(candidates: &[Option<ObjectiveVector>]) -> Self {
        let violation = |at: usize| candidates[at].as_ref().map_or(f64::INFINITY, ObjectiveVector::violation);
        let (feasible, mut others): (Vec<usize>, Vec<usize>) =
            (0..candidates.len()).partition(|&at| candidates[at].as_ref().is_some_and(ObjectiveVector::is_feasible));
        // Failed ones are last also of those whose violation is infinite.
        others.sort_by(|&a, &b| {
            violation(a).total_cmp(&violation(b)).then(candidates[a].is_none().cmp(&candidates[b].is_none()))
        });
        let steps = others.chunk_by(|&a, &b| violation(a) == violation(b)).zip(1..);
        let ranked = steps.flat_map(|(equal, rank)| equal.iter().map(move |&at| (at, rank)));
        let survivor = |(at, rank): (usize, usize)| {
            let rank = if candidates[at].is_some() { rank } else { usize::MAX };
            Survivor { at, fitness: Fitness { rank, room: 0.0 } }
        };
        let others = ranked.map(survivor).collect();
        Self { feasible, others }
    }
}
