//! Exhaustive search in the order of genes, the last gene counting fastest: for small spaces, and as the yardstick there.
//!
//! Objectives play no part. Genotypes of an architecture that had its turn, or of none that could be built, are passed over.

use super::draws::Draws;
use super::{GeneSpace, Sampler};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;

/// Exhaustive search.
#[derive(Debug)]
pub struct Grid {
    draws: Draws,
}

impl Grid {
    /// A walk through `space`.
    pub fn new(space: GeneSpace) -> Self {
        Self { draws: Draws::new(space) }
    }
}

impl Sampler for Grid {
    fn name(&self) -> &str {
        "grid"
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        (0..n).map_while(|_| self.draws.walk()).collect()
    }

    fn tell(&mut self, _: &Genotype, _: Option<&ObjectiveVector>) {}
}
