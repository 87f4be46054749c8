//! Uniform draws without replacement, by architecture; every sampler's first genotypes come from here, so that samplers
//! with one seed start with the same architectures.

use super::GeneSpace;
use crate::genotype::{ArchId, Genotype};
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;

/// Draws that bring nothing new before the space is walked through instead.
const DRAWS: usize = 1000;
/// The most genotypes that one walk looks at.
const WALK: usize = 1 << 20;

/// The architectures that were drawn, and how to find another one.
#[derive(Debug)]
pub struct Draws {
    space: GeneSpace,
    seen: HashSet<ArchId>,
    /// Where the walk goes on: all before it is seen. `None` is the end of the space.
    walk: Option<Genotype>,
}

impl Draws {
    /// Nothing drawn yet.
    pub fn new(space: GeneSpace) -> Self {
        let walk = Some(Genotype::new(vec![0; space.choices().len()]));
        Self { space, seen: HashSet::new(), walk }
    }

    /// The space that is drawn from.
    pub fn space(&self) -> &GeneSpace {
        &self.space
    }

    /// Takes `genotype` for drawn; `false` if its architecture was drawn already, or can't be built.
    pub fn take(&mut self, genotype: &Genotype) -> bool {
        self.space.id(genotype).is_some_and(|id| self.seen.insert(id))
    }

    /// Whether the architecture was not drawn yet.
    pub fn is_new(&self, id: &ArchId) -> bool {
        !self.seen.contains(id)
    }

    /// A genotype whose architecture was not drawn before: uniform while chance finds one; then, when nearly everything
    /// is drawn, the next one in the order of genes. `None` when no more is found.
    pub fn draw(&mut self, rng: &mut ChaCha8Rng) -> Option<Genotype> {
        self.walk.as_ref()?;
        for _ in 0..DRAWS {
            let genotype = self.space.sample(rng);
            if self.take(&genotype) {
                return Some(genotype);
            }
        }
        self.walk()
    }

    /// The next genotype in the order of genes whose architecture was not drawn before. `None` when no more is found.
    pub fn walk(&mut self) -> Option<Genotype> {
        for _ in 0..WALK {
            let genotype = self.walk.take()?;
            self.walk = self.space.successor(&genotype);
            if self.space.canonical(genotype.clone()) == genotype && self.take(&genotype) {
                return Some(genotype);
            }
        }
        None
    }
}
