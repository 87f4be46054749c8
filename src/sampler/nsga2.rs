//! NSGA-II (Deb, Pratap, Agarwal, Meyarivan 2002: "A fast and elitist multiobjective genetic algorithm: NSGA-II").
//!
//! The first generation is drawn as [`RandomSearch`](super::RandomSearch) with the same seed draws it. Each one after:
//! parents by binary tournament (rank, then crowding distance), uniform crossover, mutation; the best `population` of
//! parents and children go on, front by front, the last front by crowding distance. Genes have no order among their
//! choices, hence uniform crossover and mutation to any other choice, not the paper's SBX and polynomial mutation.
//! A child whose architecture was asked for before is bred again, and at last drawn at random. Failed trials come
//! after all fronts. A generation is bred when the one before is told, so the archive does not depend on
//! how many workers evaluate it or in which order they finish.

use super::draws::Draws;
use super::variation::{cross_over, mutate};
use super::{GeneSpace, Sampler, SamplerError};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use crate::pareto::{crowding_distances, non_dominated_fronts};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Attempts to breed a child that is new before it is drawn at random.
const ATTEMPTS: usize = 100;

/// How NSGA-II breeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nsga2Options {
    /// Size of the population, and of each generation.
    pub population: usize,
    /// Probability that two parents are crossed over; else the child is a copy of the first, mutated.
    pub crossover: f64,
    /// Probability that a gene mutates; 1 / number of genes where absent.
    pub mutation: Option<f64>,
}

impl Default for Nsga2Options {
    fn default() -> Self {
        Self { population: 16, crossover: 0.9, mutation: None }
    }
}

/// NSGA-II.
#[derive(Debug)]
pub struct Nsga2 {
    options: Nsga2Options,
    draws: Draws,
    rng: ChaCha8Rng,
    /// The parents, the best first.
    population: Vec<Member>,
    /// Of this generation, what is not asked for yet, …
    unasked: VecDeque<Genotype>,
    /// … and everything that is, in the order of asking, so that the order of telling does not count.
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    genotype: Genotype,
    told: bool,
    vector: Option<ObjectiveVector>,
}

#[derive(Clone, Debug)]
struct Member {
    genotype: Genotype,
    vector: Option<ObjectiveVector>,
    /// Which front, counted from 0; failed trials have none.
    rank: usize,
    crowding: f64,
}

impl Nsga2 {
    /// A search of `space` from `seed`.
    ///
    /// # Errors
    /// If the population is below 2 or a probability is out of 0 to 1.
    pub fn new(space: GeneSpace, options: Nsga2Options, seed: u64) -> Result<Self, SamplerError> {
        if options.population < 2 {
            let value = options.population as f64;
            return Err(SamplerError::Option { field: "population", value, expected: "2 or more" });
        }
        for (field, value) in [("crossover", Some(options.crossover)), ("mutation", options.mutation)] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(SamplerError::Option { field, value, expected: "a probability from 0 to 1" });
            }
        }
        Ok(Self {
            options,
            draws: Draws::new(space),
            rng: ChaCha8Rng::seed_from_u64(seed),
            population: vec![],
            unasked: VecDeque::new(),
            asked: vec![],
        })
    }

    /// Selects the survivors of a generation that is told, and breeds the next one.
    fn next_generation(&mut self) {
        let told = self.asked.drain(..).map(|asked| (asked.genotype, asked.vector));
        let parents = self.population.drain(..).map(|parent| (parent.genotype, parent.vector));
        self.population = survivors(parents.chain(told).collect(), self.options.population);
        for _ in 0..self.options.population {
            match self.child() {
                Some(child) => self.unasked.push_back(child),
                None => break,
            }
        }
    }

    /// A genotype that was never asked for; `None` if there is no more.
    fn child(&mut self) -> Option<Genotype> {
        if !self.population.is_empty() {
            for _ in 0..ATTEMPTS {
                let child = self.breed();
                if self.draws.take(&child) {
                    return Some(child);
                }
            }
        }
        self.draws.draw(&mut self.rng)
    }

    fn breed(&mut self) -> Genotype {
        let (a, b) = (self.tournament(), self.tournament());
        let (a, b) = (&self.population[a].genotype, &self.population[b].genotype);
        let crossed = self.rng.random_bool(self.options.crossover);
        let child = if crossed { cross_over(a, b, &mut self.rng) } else { a.clone() };
        let choices = self.draws.space().choices();
        let mutation = self.options.mutation.unwrap_or(1.0 / choices.len() as f64);
        mutate(&child, choices, mutation, &mut self.rng)
    }

    /// The better of two members by rank, then crowding distance; of equals the first that was drawn.
    fn tournament(&mut self) -> usize {
        let count = self.population.len() as u64;
        let (a, b) = (self.rng.random_range(0..count) as usize, self.rng.random_range(0..count) as usize);
        if self.population[b].is_better_than(&self.population[a]) { b } else { a }
    }
}

impl Member {
    fn is_better_than(&self, other: &Self) -> bool {
        self.rank < other.rank || self.rank == other.rank && self.crowding > other.crowding
    }
}

impl Sampler for Nsga2 {
    fn name(&self) -> &str {
        "nsga2"
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        if n > 0 && self.unasked.is_empty() && self.asked.iter().all(|asked| asked.told) {
            self.next_generation();
        }
        let taken = n.min(self.unasked.len());
        let genotypes: Vec<Genotype> = self.unasked.drain(..taken).collect();
        self.asked.extend(genotypes.iter().map(|genotype| Asked {
            genotype: genotype.clone(),
            told: false,
            vector: None,
        }));
        genotypes
    }

    fn tell(&mut self, genotype: &Genotype, outcome: Option<&ObjectiveVector>) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| !asked.told && asked.genotype == *genotype) {
            asked.told = true;
            asked.vector = outcome.cloned();
        }
    }
}

/// The best `count` of `candidates` by rank, then crowding distance, then age; failed ones come last.
fn survivors(candidates: Vec<(Genotype, Option<ObjectiveVector>)>, count: usize) -> Vec<Member> {
    let (vectors, owners): (Vec<ObjectiveVector>, Vec<usize>) =
        candidates.iter().enumerate().filter_map(|(at, (_, vector))| Some((vector.clone()?, at))).unzip();
    let mut members: Vec<Member> = candidates
        .into_iter()
        .map(|(genotype, vector)| Member { genotype, vector, rank: usize::MAX, crowding: 0.0 })
        .collect();
    for (rank, front) in non_dominated_fronts(&vectors).into_iter().enumerate() {
        let costs: Vec<&[f64]> = front.iter().map(|&at| vectors[at].costs()).collect();
        for (&at, crowding) in front.iter().zip(crowding_distances(&costs)) {
            let member = &mut members[owners[at]];
            (member.rank, member.crowding) = (rank, crowding);
        }
    }
    members.sort_by(|a, b| a.rank.cmp(&b.rank).then(b.crowding.total_cmp(&a.crowding)));
    members.truncate(count);
    members
}
