//! NSGA-II (Deb, Pratap, Agarwal, Meyarivan 2002: "A fast and elitist multiobjective genetic algorithm: NSGA-II").
//!
//! The best of parents and children go on, front by front, the last front by crowding distance; so do tournaments compare.
//! Failed trials come after all fronts. See [`Generational`] for how they come about.

use super::generational::{Fitness, Generational, GenerationalOptions, Genes, Survival, Survivor};
use super::{GeneSpace, SamplerError};
use crate::objective::ObjectiveVector;
use crate::pareto::{crowding_distances, non_dominated_fronts};
use rand_chacha::ChaCha8Rng;

/// How NSGA-II breeds.
pub type Nsga2Options = GenerationalOptions;

/// NSGA-II.
pub type Nsga2 = Generational<Genes, RankAndCrowding>;

impl Nsga2 {
    /// A search of `space` from `seed`.
    ///
    /// # Errors
    /// If the population is below 2 or a probability is out of 0 to 1.
    pub fn new(space: GeneSpace, options: Nsga2Options, seed: u64) -> Result<Self, SamplerError> {
        let genes = Genes::new(space, options.crossover, options.mutation)?;
        Self::start(genes, RankAndCrowding, options.population, seed)
    }
}

/// Survival by rank, then crowding distance, then age; failed trials come last.
#[derive(Clone, Copy, Debug)]
pub struct RankAndCrowding;

impl Survival for RankAndCrowding {
    fn name(&self) -> &'static str {
        "nsga2"
    }

    fn select(&mut self, candidates: &[Option<ObjectiveVector>], count: usize, _: &mut ChaCha8Rng) -> Vec<Survivor> {
        let (vectors, owners): (Vec<&ObjectiveVector>, Vec<usize>) =
            candidates.iter().enumerate().filter_map(|(at, vector)| Some((vector.as_ref()?, at))).unzip();
        let failed = Fitness { rank: usize::MAX, room: 0.0 };
        let mut survivors: Vec<Survivor> = (0..candidates.len()).map(|at| Survivor { at, fitness: failed }).collect();
        for (rank, front) in non_dominated_fronts(&vectors).into_iter().enumerate() {
            let costs: Vec<&[f64]> = front.iter().map(|&at| vectors[at].costs()).collect();
            for (&at, room) in front.iter().zip(crowding_distances(&costs)) {
                survivors[owners[at]].fitness = Fitness { rank, room };
            }
        }
        survivors.sort_by(|a, b| a.fitness.order(&b.fitness));
        survivors.truncate(count);
        survivors
    }
}
