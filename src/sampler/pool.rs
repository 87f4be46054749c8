//! The architectures among which a model chooses: all of a small space, else draws and kin of the best trials.

use super::draws::Draws;
use super::variation::{cross_over, mutate, sample};
use super::{GeneSpace, model_based::Trial};
use crate::genotype::{ArchId, Genotype};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

/// The most genotypes of a space that is walked through as a whole.
const SMALL: usize = 1 << 15;
/// Of a larger space, uniform draws and …
const DRAWN: usize = 2000;
/// … children of the best trials.
const BRED: usize = 3000;

#[derive(Debug)]
pub(super) struct Pool {
    space: GeneSpace,
    /// One genotype of each architecture; `None` before the first walk.
    all: Option<Vec<(Genotype, ArchId)>>,
}

impl Pool {
    pub(super) fn new(space: GeneSpace) -> Self {
        Self { space, all: None }
    }

    pub(super) fn space(&self) -> &GeneSpace {
        &self.space
    }

    /// Whether the space is small enough to predict all of it.
    pub(super) fn is_small(&self) -> bool {
        let genotypes = self.space.choices().iter().try_fold(1usize, |product, &count| product.checked_mul(count));
        genotypes.is_some_and(|genotypes| genotypes <= SMALL)
    }

    /// All architectures of a small space that were not asked for.
    pub(super) fn remaining(&mut self, draws: &Draws) -> Vec<Genotype> {
        let space = &self.space;
        let all = self.all.get_or_insert_with(|| {
            let mut seen = HashSet::new();
            let genotypes = space.genotypes().filter_map(|genotype| Some((space.id(&genotype)?, genotype)));
            genotypes.filter(|(id, _)| seen.insert(id.clone())).map(|(id, genotype)| (genotype, id)).collect()
        });
        all.iter().filter(|(_, id)| draws.is_new(id)).map(|(genotype, _)| genotype.clone()).collect()
    }

    /// Architectures that were not asked for: all of a small space; of a larger one, uniform draws and children of `parents`.
    pub(super) fn candidates(&mut self, parents: &[&Trial], draws: &Draws, rng: &mut ChaCha8Rng) -> Vec<Genotype> {
        if self.is_small() {
            return self.remaining(draws);
        }
        let choices = self.space.choices();
        let mutation = 1.0 / choices.len() as f64;
        let (mut seen, mut found) = (HashSet::new(), vec![]);
        let bred = if parents.is_empty() { 0 } else { BRED };
        for place in 0..DRAWN + bred {
            let genotype = if place < DRAWN {
                sample(choices, rng)
            } else {
                let mut parent = || &parents[rng.random_range(0..parents.len() as u64) as usize].genotype;
                let (a, b) = (parent(), parent());
                let child = cross_over(a, b, rng);
                mutate(&child, choices, mutation, rng)
            };
            let genotype = self.space.canonical(genotype);
            if let Some(id) = self.space.id(&genotype)
                && draws.is_new(&id)
                && seen.insert(id)
            {
                found.push(genotype);
            }
        }
        found
    }
}
