//! Strategies that go on in rounds: what a round asks for is chosen when all before it is told.
//!
//! So the archive depends neither on how many trials run at once, nor on the order in which they end, and a resumed
//! search goes the same way. How many trials a round has is the strategy's own option: the most that can run in parallel.

use super::Sampler;
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use std::collections::VecDeque;

/// A finished trial: what was asked for, and what it reached; none if it failed.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub genotype: Genotype,
    pub vector: Option<ObjectiveVector>,
}

/// What a strategy is, without the book-keeping of asking and telling.
pub(super) trait Rounds: Send {
    /// The strategy's name.
    fn name(&self) -> &'static str;

    /// The next round, given the one before in the order of asking (nothing at the start). Genotypes that were never
    /// asked for; none when the space is exhausted.
    fn next(&mut self, told: Vec<Told>) -> Vec<Genotype>;
}

/// A strategy of rounds as a sampler.
pub(super) struct InRounds<R> {
    strategy: R,
    /// Of this round, what is not asked for yet, …
    unasked: VecDeque<Genotype>,
    /// … and everything that is, in the order of asking.
    asked: Vec<Asked>,
}

struct Asked {
    trial: Told,
    told: bool,
}

impl<R: Rounds> InRounds<R> {
    pub fn new(strategy: R) -> Self {
        Self { strategy, unasked: VecDeque::new(), asked: vec![] }
    }
}

impl<R: Rounds> Sampler for InRounds<R> {
    fn name(&self) -> &str {
        self.strategy.name()
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        if n > 0 && self.unasked.is_empty() && self.asked.iter().all(|asked| asked.told) {
            let told = self.asked.drain(..).map(|asked| asked.trial).collect();
            self.unasked = self.strategy.next(told).into();
        }
        let taken = n.min(self.unasked.len());
        let genotypes: Vec<Genotype> = self.unasked.drain(..taken).collect();
        let trial = |genotype: &Genotype| Told { genotype: genotype.clone(), vector: None };
        self.asked.extend(genotypes.iter().map(|genotype| Asked { trial: trial(genotype), told: false }));
        genotypes
    }

    fn tell(&mut self, genotype: &Genotype, outcome: Option<&ObjectiveVector>) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| !asked.told && asked.trial.genotype == *genotype) {
            asked.told = true;
            asked.trial.vector = outcome.cloned();
        }
    }
}
