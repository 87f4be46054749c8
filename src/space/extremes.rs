//! The smallest and the largest member of a space.

use super::{Scale, SearchSpace, SpaceError};
use crate::genotype::Genotype;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Random architectures to start from, where a space has constraints.
const STARTS: usize = 16;

impl SearchSpace {
    /// The architectures with the fewest and the most parameters, then MACs, in a network of that size: each decision is
    /// changed by itself until none changes anything, from the architectures that take one choice wherever they can. Dead
    /// architectures are none, nor those that don't keep to the constraints. This is exact where decisions add up, as in chains, and close to it elsewhere.
    ///
    /// # Errors
    /// If an architecture that takes one choice wherever it can doesn't fit the network's size, or all of them are dead.
    pub fn extremes(&self, scale: Scale) -> Result<[Genotype; 2], SpaceError> {
        let cost = |genotype: &Genotype| {
            if self.violation(genotype).is_some() {
                return Ok(None);
            }
            let live = self.lower(genotype, scale).map(|graph| graph.live().ok());
            live.map(|live| live.map(|live| live.cost()).map(|cost| [cost.params as i64, cost.macs as i64]))
        };
        let of = |sign: i64| -> Result<Genotype, SpaceError> {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            let value = |genotype: &Genotype| Ok(cost(genotype)?.map(|cost| cost.map(|cost| sign * cost)));
            let mut best: Option<([i64; 2], Genotype)> = None;
            let starts: Vec<Genotype> = match self.constraints().next() {
                None => self.uniform().collect(),
                // One choice everywhere may keep to none of them.
                Some(_) => self.uniform().chain((0..STARTS).map(|_| self.sample(&mut rng))).collect(),
            };
            for genotype in starts {
                let Some(value) = value(&genotype)? else { continue };
                if best.as_ref().is_none_or(|(least, _)| value < *least) {
                    best = Some((value, genotype));
                }
            }
            let none = || SpaceError::Invalid {
                path: self.name.clone().into(),
                reason: "all architectures of one operator are dead".to_owned(),
            };
            let (mut least, mut best) = best.ok_or_else(none)?;
            loop {
                let before = least;
                for (at, &choices) in self.choices().iter().enumerate() {
                    for choice in 0..choices {
                        let other = best.with_gene(at, choice as u8);
                        // A choice that does not fit beside the others is none.
                        let Ok::<_, SpaceError>(Some(value)) = value(&other) else { continue };
                        if value < least {
                            (least, best) = (value, other);
                        }
                    }
                }
                if least == before {
                    return Ok(best);
                }
            }
        };
        Ok([of(1)?, of(-1)?])
    }
}
