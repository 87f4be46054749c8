//! The strategies by name, with their options: what a config holds, and a sampler is made of.

use super::{
    AgeMoea, GeneSpace, GenerationalOptions, Nsga2, Nsga2Options, Nsga3, Nsga3Options, RandomSearch, Sampler,
    SamplerError,
};
use serde::{Deserialize, Serialize};

/// What is searched, as far as strategies know it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The genotypes.
    pub space: GeneSpace,
    /// How many objectives a trial has.
    pub objectives: usize,
}

/// A search strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerOptions {
    /// NSGA-II.
    Nsga2(Nsga2Options),
    /// NSGA-III, for three objectives and more.
    Nsga3(Nsga3Options),
    /// AGE-MOEA.
    AgeMoea(GenerationalOptions),
    /// Uniform draws without repetition.
    Random,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self::Nsga2(Nsga2Options::default())
    }
}

impl SamplerOptions {
    /// The strategy at its start.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        let space = problem.space.clone();
        Ok(match self {
            Self::Nsga2(options) => Box::new(Nsga2::new(space, options.clone(), seed)?),
            Self::Nsga3(options) => Box::new(Nsga3::new(problem, options, seed)?),
            Self::AgeMoea(options) => Box::new(AgeMoea::new(space, options, seed)?),
            Self::Random => Box::new(RandomSearch::new(space, seed)),
        })
    }
}
