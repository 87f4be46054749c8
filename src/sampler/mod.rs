//! One file a search strategy; ask and tell.
//!
//! A sampler proposes genotypes and learns what they reached. It asks for no architecture twice, whatever genotypes
//! encode it. It is a function of its seed and of what it was told: the same calls give the same genotypes, so a study
//! is resumed by replaying its trials.

mod age_moea;
mod ageing_evolution;
mod bayesian;
mod draws;
mod gbdt;
mod generational;
mod grid;
mod learned;
mod linas;
mod local_search;
mod metrics;
mod model_based;
mod nsga2;
mod nsga3;
mod options;
mod plugin;
mod pool;
mod random;
mod reinforce;
mod robot;
mod rounds;
mod scalar;
mod successive_halving;
mod te_nas;
mod teg_evolution;
mod variation;

use crate::genotype::{ArchId, Genotype, hex};
use crate::objective::ObjectiveVector;
use crate::plugin::PluginError;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

pub use age_moea::{AdaptiveGeometry, AgeMoea};
pub use ageing_evolution::AgeingEvolutionOptions;
pub use bayesian::BayesianOptions;
pub use gbdt::{GbdtOptions, PruneOptions};
pub use generational::{Fitness, Generational, GenerationalOptions, Genes, Member, Survival, Survivor, Variation};
pub use grid::Grid;
pub use linas::LinasOptions;
pub use local_search::{Improvement, LocalSearchOptions};
pub use metrics::{Measure, Metrics};
pub use model_based::ModelBased;
pub use nsga2::{Nsga2, Nsga2Options, RankAndCrowding};
pub use nsga3::{Nsga3, Nsga3Options, ReferenceDirections, das_dennis, layers as direction_layers};
pub use options::{Problem, ProblemNames, SamplerOptions};
pub use plugin::{Asked, PluginSampler};
pub use random::RandomSearch;
pub use reinforce::ReinforceOptions;
pub use robot::RobotOptions;
pub use scalar::{Scalarize, Weights};
pub use successive_halving::SuccessiveHalvingOptions;
pub use te_nas::TeNasOptions;
pub use teg_evolution::TegEvolutionOptions;

/// A search strategy.
pub trait Sampler: Send {
    /// Its name, as trials and reports have it.
    fn name(&self) -> &str;

    /// The next genotypes to evaluate, at most `n`.
    ///
    /// Fewer come where the sampler waits for outcomes before it goes on (a generation is not told yet), or where the
    /// space has nothing new left. None come while every earlier one is told: the space is exhausted.
    fn ask(&mut self, n: usize) -> Vec<Genotype>;

    /// Says what a genotype that was asked for has reached; `None` is a trial that failed. The order within what is
    /// asked for and not told yet does not matter. Other genotypes are ignored.
    fn tell(&mut self, genotype: &Genotype, outcome: Option<&ObjectiveVector>);
}

/// Gives the id of the architecture that a genotype encodes, or `None` where it encodes none that could be built.
pub type Identify = Arc<dyn Fn(&Genotype) -> Option<ArchId> + Send + Sync>;

/// Gives numbers of a genotype's graph (MACs, parameters …), equally many of each, which models may learn from.
pub type Statistics = Arc<dyn Fn(&Genotype) -> Vec<f64> + Send + Sync>;

/// Draws a genotype by a seed, as a space does that is not drawn from uniformly; `None` where it can't.
pub type Draw = Arc<dyn Fn(u64) -> Option<Genotype> + Send + Sync>;

/// Changes a genotype by a seed, as a space does whose genes are not changed one for one; `None` where it can't.
pub type Mutate = Arc<dyn Fn(&Genotype, u64) -> Option<Genotype> + Send + Sync>;

/// Gives the one genotype of all that differ in genes that don't count.
pub type Canonical = Arc<dyn Fn(Genotype) -> Genotype + Send + Sync>;

/// What a sampler knows of a search space.
#[derive(Clone)]
pub struct GeneSpace {
    choices: Vec<usize>,
    id: Identify,
    statistics: Option<Statistics>,
    draw: Option<Draw>,
    mutate: Option<Mutate>,
    canonical: Option<Canonical>,
}

impl GeneSpace {
    /// The space of genotypes with `choices[i]` choices at decision i, identified by `id`.
    ///
    /// # Errors
    /// If there are no decisions, or one has no choice or more than a gene can hold (256).
    pub fn new(choices: Vec<usize>, id: Identify) -> Result<Self, SamplerError> {
        if choices.is_empty() {
            return Err(SamplerError::NoDecisions);
        }
        match choices.iter().position(|count| !(1..=256).contains(count)) {
            Some(decision) => Err(SamplerError::Choices { decision, count: choices[decision] }),
            None => Ok(Self { choices, id, statistics: None, draw: None, mutate: None, canonical: None }),
        }
    }

    /// With numbers that models may learn from, besides the genes; each genotype's are asked for once.
    pub fn with_statistics(mut self, statistics: Statistics) -> Self {
        let known: RwLock<HashMap<Genotype, Vec<f64>>> = RwLock::default();
        self.statistics = Some(Arc::new(move |genotype| {
            let held = known.read().unwrap_or_else(PoisonError::into_inner).get(genotype).cloned();
            held.unwrap_or_else(|| {
                let found = statistics(genotype);
                known.write().unwrap_or_else(PoisonError::into_inner).insert(genotype.clone(), found.clone());
                found
            })
        }));
        self
    }

    /// With draws and mutations of its own, where it has them, in the place of uniform ones.
    pub fn with_own(self, draw: Option<Draw>, mutate: Option<Mutate>) -> Self {
        Self { draw, mutate, ..self }
    }

    /// With an architecture for each canonical genotype, whatever its network: what only predicts has no other use for ids.
    fn by_genes(&self) -> Self {
        let space = self.clone();
        let id = move |genotype: &Genotype| Some(ArchId::new(hex(space.canonical(genotype.clone()).genes())));
        Self { id: Arc::new(id), ..self.clone() }
    }

    /// With genes that may not count.
    pub fn with_canonical(self, canonical: Canonical) -> Self {
        Self { canonical: Some(canonical), ..self }
    }

    /// The genotype as all others that differ in genes that don't count are written, too.
    fn canonical(&self, genotype: Genotype) -> Genotype {
        match &self.canonical {
            Some(canonical) => canonical(genotype),
            None => genotype,
        }
    }

    /// A genotype drawn as the space draws, or uniformly.
    fn sample(&self, rng: &mut ChaCha8Rng) -> Genotype {
        let own = self.draw.as_ref().and_then(|draw| draw(rng.random()));
        own.unwrap_or_else(|| self.canonical(variation::sample(&self.choices, rng)))
    }

    /// A genotype changed as the space does; none where it is to be changed uniformly.
    fn mutated(&self, genotype: &Genotype, rng: &mut ChaCha8Rng) -> Option<Genotype> {
        self.mutate.as_ref().and_then(|mutate| mutate(genotype, rng.random()))
    }

    /// Without them, unless they are `wanted`.
    pub(crate) fn learnt_from(mut self, wanted: bool) -> Self {
        self.statistics.take_if(|_| !wanted);
        self
    }

    /// Those numbers; none where there are none.
    pub fn statistics(&self, genotype: &Genotype) -> Vec<f64> {
        self.statistics.as_ref().map_or_else(Vec::new, |statistics| statistics(genotype))
    }

    /// Every genotype, the last gene counting fastest.
    pub fn genotypes(&self) -> impl Iterator<Item = Genotype> {
        let first = Genotype::new(vec![0; self.choices.len()]);
        std::iter::successors(Some(first), |genotype| self.successor(genotype))
    }

    /// The genotype after this one, the last gene counting fastest.
    fn successor(&self, genotype: &Genotype) -> Option<Genotype> {
        let mut genes = genotype.genes().to_vec();
        for (gene, &count) in genes.iter_mut().zip(&self.choices).rev() {
            if usize::from(*gene) + 1 < count {
                *gene += 1;
                return Some(Genotype::new(genes));
            }
            *gene = 0;
        }
        None
    }

    /// The number of choices of each decision.
    pub fn choices(&self) -> &[usize] {
        &self.choices
    }

    /// The architecture that `genotype` encodes.
    pub fn id(&self, genotype: &Genotype) -> Option<ArchId> {
        (self.id)(genotype)
    }
}

impl fmt::Debug for GeneSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneSpace").field("choices", &self.choices).finish_non_exhaustive()
    }
}

/// Why a sampler can't be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SamplerError {
    /// There is nothing to decide.
    #[error("search space without decisions")]
    NoDecisions,
    /// A decision that a gene can't hold.
    #[error("decision {decision} has {count} choices: expected 1 to 256")]
    Choices {
        /// Which one, counted from 0.
        decision: usize,
        /// Its number of choices.
        count: usize,
    },
    /// An option out of its range.
    #[error("{field} is {value}: expected {expected}")]
    Option {
        /// Its name in the config.
        field: &'static str,
        /// What was found.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// A strategy that goes by metrics, and none are given.
    #[error("`{sampler}` goes by metrics of architectures, and there are none here")]
    NoMetrics {
        /// The strategy.
        sampler: &'static str,
    },
    /// A plugin can't be had.
    #[error("{0}")]
    Plugin(#[from] PluginError),
    /// A plugin where decisions and objectives have no names.
    #[error("plugin `{sampler}` needs names of decisions and objectives, and there are none here")]
    NoNames {
        /// The plugin.
        sampler: String,
    },
    /// A metric that is not there.
    #[error("no metric `{name}`: expected one of {known}")]
    Metric {
        /// What was asked for.
        name: String,
        /// Those that are there.
        known: String,
    },
}

/// Checks an option that counts things.
fn at_least(field: &'static str, value: usize, least: usize) -> Result<(), SamplerError> {
    let expected = match least {
        1 => "1 or more",
        _ => "2 or more",
    };
    if value < least { Err(SamplerError::Option { field, value: value as f64, expected }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
