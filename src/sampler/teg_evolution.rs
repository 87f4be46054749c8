//! TEG-NAS's evolution (Chen et al. 2021: "Understanding and accelerating neural architecture search with training-free and
//! theory-grounded metrics"): ageing evolution whose parent is the one of least rank sum over all objectives among 64
//! members of a population of 256; 1,000 steps there.
//!
//! Scalarised: rank sum within the tournament, constraints first. With objectives κ, linear regions and regression error
//! it is the released search, but that no architecture is asked for twice.

use super::{AgeingEvolutionOptions, Problem, Sampler, SamplerError, Scalarize};
use serde::{Deserialize, Serialize};

/// How TEG-NAS's evolution breeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TegEvolutionOptions {
    /// Size of the population.
    pub population: usize,
    /// Members that a parent is the best of.
    pub tournament: usize,
    /// Children that are bred at once; 1 in the released code.
    pub batch: usize,
}

impl Default for TegEvolutionOptions {
    fn default() -> Self {
        Self { population: 256, tournament: 64, batch: 1 }
    }
}

impl TegEvolutionOptions {
    /// The search at its start.
    ///
    /// # Errors
    /// If the population is below 2, tournament or batch are 0.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        let &Self { population, tournament, batch } = self;
        let options = AgeingEvolutionOptions { population, tournament, batch, scalarize: Scalarize::RankSum };
        options.named("teg_evolution", problem, seed)
    }
}
