//! Uniform random search without duplicates: the control that every search is to beat (Li and Talwalkar 2019).

use super::draws::Draws;
use super::{GeneSpace, Sampler};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Random search.
#[derive(Debug)]
pub struct RandomSearch {
    draws: Draws,
    rng: ChaCha8Rng,
}

impl RandomSearch {
    /// A search of `space` from `seed`.
    pub fn new(space: GeneSpace, seed: u64) -> Self {
        Self { draws: Draws::new(space), rng: ChaCha8Rng::seed_from_u64(seed) }
    }
}

impl Sampler for RandomSearch {
    fn name(&self) -> &str {
        "random"
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        (0..n).map_while(|_| self.draws.draw(&mut self.rng)).collect()
    }

    fn tell(&mut self, _: &Genotype, _: Option<&ObjectiveVector>) {}
}
