//! LINAS (DyNAS-T; Cummings et al. 2022: "A hardware-aware framework for accelerating neural architecture search across modalities"):
//! predictors are refitted to all trials after each batch, and what is evaluated next is the best of a search on their predictions.
//!
//! As there: ridge or a kernel machine, whichever errs less at trials left out. Otherwise than there: a small space is
//! predicted as a whole instead of searched; targets are ranks; batches are small.

use super::learned::{Learned, first_fronts};
use super::model_based::{ModelBased, Propose, Search, Trial};
use super::{GeneSpace, Nsga2, Nsga2Options, SamplerError};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use crate::surrogate::{SurrogateOptions, TargetTransform};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// How LINAS searches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinasOptions {
    /// Random trials at the start.
    pub initial: usize,
    /// Trials between two fits.
    pub batch: usize,
    /// The predictor of each cost.
    pub surrogate: SurrogateOptions,
    /// What it is fitted to.
    pub targets: TargetTransform,
    /// Whether statistics of the graph (MACs, parameters, layers, paths) are learnt from beside the genes; where absent, of one cost.
    pub statistics: Option<bool>,
    /// Predictions of an inner search, where the space is too large to predict all of it.
    pub inner_evaluations: usize,
    /// Population of the inner search.
    pub inner_population: usize,
}

impl Default for LinasOptions {
    fn default() -> Self {
        Self {
            initial: 20,
            batch: 10,
            surrogate: SurrogateOptions::RidgeOrKernel,
            targets: TargetTransform::RankGauss,
            statistics: None,
            inner_evaluations: 10_000,
            inner_population: 50,
        }
    }
}

#[derive(Debug)]
struct Linas(LinasOptions);

impl ModelBased {
    /// LINAS on `space` from `seed`.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn linas(space: GeneSpace, options: LinasOptions, seed: u64) -> Result<Self, SamplerError> {
        options.surrogate.check()?;
        if options.inner_population < 2 {
            let value = options.inner_population as f64;
            return Err(SamplerError::Option { field: "inner_population", value, expected: "2 or more" });
        }
        let sizes = [options.initial, options.batch];
        Self::new(space, Box::new(Linas(options)), sizes, seed)
    }
}

impl Propose for Linas {
    fn name(&self) -> &'static str {
        "linas"
    }

    fn propose(&mut self, trials: &[Trial], count: usize, search: Search<'_>) -> Vec<Genotype> {
        let Search { pool, draws, rng } = search;
        let options = &self.0;
        let seed = rng.random();
        let Some(learned) = Learned::fit(&options.surrogate, options.targets, trials, pool.space(), seed) else {
            return vec![];
        };
        if pool.is_small() {
            let candidates = pool.remaining(draws);
            let vectors = predicted(&learned, &candidates);
            return first_fronts(&vectors, count).into_iter().map(|at| candidates[at].clone()).collect();
        }
        // An architecture's id takes its network: only what may be proposed is asked for it.
        let (candidates, vectors): (Vec<_>, Vec<_>) =
            inner_search(options, &learned, pool.space().by_genes(), seed).into_iter().unzip();
        let is_new = |at: &usize| pool.space().id(&candidates[*at]).is_some_and(|id| draws.is_new(&id));
        let mut most = count;
        loop {
            most = (4 * most).min(vectors.len());
            let new: Vec<usize> = first_fronts(&vectors, most).into_iter().filter(is_new).collect();
            if new.len() >= count || most == vectors.len() {
                let vectors: Vec<ObjectiveVector> = new.iter().map(|&at| vectors[at].clone()).collect();
                return first_fronts(&vectors, count).into_iter().map(|at| candidates[new[at]].clone()).collect();
            }
        }
    }
}

fn predicted(learned: &Learned, candidates: &[Genotype]) -> Vec<ObjectiveVector> {
    let predicted = learned.predict(candidates);
    let vectors = predicted.costs.iter().zip(&predicted.violations);
    vectors
        .map(|(costs, &violation)| ObjectiveVector::new(costs.iter().map(|cost| cost.mean).collect(), violation))
        .collect()
}

/// NSGA-II on predictions: everything it looked at, genotypes whose networks are dead or not new among it.
fn inner_search(
    options: &LinasOptions,
    learned: &Learned,
    space: GeneSpace,
    seed: u64,
) -> Vec<(Genotype, ObjectiveVector)> {
    let inner = Nsga2Options { population: options.inner_population, ..Nsga2Options::default() };
    let mut sampler = Nsga2::new(space, inner, seed).expect("the population was checked");
    let mut found = vec![];
    while found.len() < options.inner_evaluations {
        let generation = sampler.ask(options.inner_population);
        if generation.is_empty() {
            break;
        }
        let vectors = predicted(learned, &generation);
        for (genotype, vector) in generation.into_iter().zip(vectors) {
            sampler.tell(&genotype, Some(&vector));
            found.push((genotype, vector));
        }
    }
    found
}
