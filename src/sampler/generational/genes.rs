//! Genotypes as what evolves. Genes have no order among their choices, hence uniform crossover and mutation to any other
//! choice, not the SBX and polynomial mutation of real numbers.

use super::Variation;
use crate::genotype::Genotype;
use crate::sampler::draws::Draws;
use crate::sampler::variation::{cross_over, mutate};
use crate::sampler::{GeneSpace, SamplerError};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// The genotypes of a space, none of whose architectures comes twice.
#[derive(Debug)]
pub struct Genes {
    draws: Draws,
    crossover: f64,
    mutation: f64,
}

impl Genes {
    /// Those of `space`; see [`GenerationalOptions`](super::GenerationalOptions) for the probabilities.
    ///
    /// # Errors
    /// If a probability is out of 0 to 1.
    pub fn new(space: GeneSpace, crossover: f64, mutation: Option<f64>) -> Result<Self, SamplerError> {
        for (field, value) in [("crossover", Some(crossover)), ("mutation", mutation)] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(SamplerError::Option { field, value, expected: "a probability from 0 to 1" });
            }
        }
        let mutation = mutation.unwrap_or(1.0 / space.choices().len() as f64);
        Ok(Self { draws: Draws::new(space), crossover, mutation })
    }
}

impl Variation for Genes {
    type Individual = Genotype;

    fn draw(&mut self, rng: &mut ChaCha8Rng) -> Option<Genotype> {
        self.draws.draw(rng)
    }

    fn breed(&mut self, [a, b]: [&Genotype; 2], rng: &mut ChaCha8Rng) -> Genotype {
        let child = if rng.random_bool(self.crossover) { cross_over(a, b, rng) } else { a.clone() };
        let space = self.draws.space();
        space
            .mutated(&child, rng)
            .unwrap_or_else(|| space.canonical(mutate(&child, space.choices(), self.mutation, rng)))
    }

    fn take(&mut self, genotype: &Genotype) -> bool {
        self.draws.take(genotype)
    }
}
