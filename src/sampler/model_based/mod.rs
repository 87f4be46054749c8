//! Searches that learn from what was told and ask for what a model says is worth it, batch by batch.
//!
//! The first batch is drawn as [`RandomSearch`](super::RandomSearch) with the same seed draws it. A batch is proposed when
//! all before it is told, from trials in the order of asking: neither the order of telling nor the number of workers counts.

use super::draws::Draws;
use super::pool::Pool;
use super::{GeneSpace, Sampler, SamplerError};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;
use std::fmt;

/// An evaluated genotype.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) genotype: Genotype,
    told: bool,
    /// `None` of one that failed.
    pub(super) vector: Option<ObjectiveVector>,
}

/// What a proposal may use besides the trials.
pub(super) struct Search<'a> {
    pub(super) pool: &'a mut Pool,
    pub(super) draws: &'a Draws,
    pub(super) rng: &'a mut ChaCha8Rng,
}

/// How a search chooses its batches.
pub(super) trait Propose: fmt::Debug + Send {
    fn name(&self) -> &'static str;

    /// At most `count` genotypes worth an evaluation, the best first; what was asked for before is passed over. Where they are
    /// too few, random draws follow.
    fn propose(&mut self, trials: &[Trial], count: usize, search: Search<'_>) -> Vec<Genotype>;
}

/// A search by models.
#[derive(Debug)]
pub struct ModelBased {
    proposals: Box<dyn Propose>,
    initial: usize,
    batch: usize,
    draws: Draws,
    pool: Pool,
    rng: ChaCha8Rng,
    /// Of this batch, what is not asked for yet.
    unasked: VecDeque<Genotype>,
    /// Everything that is, in the order of asking.
    trials: Vec<Trial>,
}

impl ModelBased {
    pub(super) fn new(
        space: GeneSpace,
        proposals: Box<dyn Propose>,
        [initial, batch]: [usize; 2],
        seed: u64,
    ) -> Result<Self, SamplerError> {
        for (field, value, least) in [("initial", initial, 2), ("batch", batch, 1)] {
            if value < least {
                let expected = if least == 1 { "1 or more" } else { "2 or more" };
                return Err(SamplerError::Option { field, value: value as f64, expected });
            }
        }
        Ok(Self {
            proposals,
            initial,
            batch,
            pool: Pool::new(space.clone()),
            draws: Draws::new(space),
            rng: ChaCha8Rng::seed_from_u64(seed),
            unasked: VecDeque::new(),
            trials: vec![],
        })
    }

    fn next_batch(&mut self) {
        let count = if self.trials.is_empty() { self.initial } else { self.batch };
        if !self.trials.is_empty() {
            let search = Search { pool: &mut self.pool, draws: &self.draws, rng: &mut self.rng };
            let proposed = self.proposals.propose(&self.trials, count, search);
            let new = proposed.into_iter().filter(|genotype| self.draws.take(genotype)).take(count);
            self.unasked.extend(new);
        }
        while self.unasked.len() < count
            && let Some(drawn) = self.draws.draw(&mut self.rng)
        {
            self.unasked.push_back(drawn);
        }
    }
}

impl Sampler for ModelBased {
    fn name(&self) -> &str {
        self.proposals.name()
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        if n > 0 && self.unasked.is_empty() && self.trials.iter().all(|trial| trial.told) {
            self.next_batch();
        }
        let genotypes: Vec<Genotype> = self.unasked.drain(..n.min(self.unasked.len())).collect();
        let asked = |genotype: &Genotype| Trial { genotype: genotype.clone(), told: false, vector: None };
        self.trials.extend(genotypes.iter().map(asked));
        genotypes
    }

    fn tell(&mut self, genotype: &Genotype, outcome: Option<&ObjectiveVector>) {
        if let Some(trial) = self.trials.iter_mut().rev().find(|trial| !trial.told && trial.genotype == *genotype) {
            trial.told = true;
            trial.vector = outcome.cloned();
        }
    }
}

#[cfg(test)]
mod tests;
