//! Boosted trees that predict all candidates; the best predicted are evaluated next (GBDT-NAS: Luo et al. 2020, "Accuracy
//! prediction with non-neural model for neural architecture search").
//!
//! With pruning (their GBDT-NAS-3S, order 1), choices whose mean Shapley contribution makes costs greater are never proposed again;
//! each decision keeps at least one. Several costs are scalarised with random weights, new ones for each candidate of a batch.

use super::learned::{Learned, best_trials, highest, scalarised};
use super::model_based::{ModelBased, Propose, Search, Trial};
use super::{GeneSpace, SamplerError};
use crate::genotype::Genotype;
use crate::surrogate::{BoostedTrees, BoostedTreesOptions, SurrogateOptions, TargetTransform};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Trials that breed candidates where the space is large.
const PARENTS: usize = 50;

/// How boosted trees search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GbdtOptions {
    /// Random trials at the start.
    pub initial: usize,
    /// Trials between two fits.
    pub batch: usize,
    /// The trees.
    pub trees: BoostedTreesOptions,
    /// What they are fitted to.
    pub targets: TargetTransform,
    /// Whether statistics of the graph (MACs, parameters, layers, paths) are learnt from beside the genes; where absent, of one cost.
    pub statistics: Option<bool>,
    /// Pruning of the space; absent: none.
    pub prune: Option<PruneOptions>,
}

impl Default for GbdtOptions {
    fn default() -> Self {
        let trees = BoostedTreesOptions::default();
        Self { initial: 50, batch: 50, trees, targets: TargetTransform::RankGauss, statistics: None, prune: None }
    }
}

/// How the space is pruned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruneOptions {
    /// Most choices that one fit prunes.
    pub choices: usize,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self { choices: 5 }
    }
}

#[derive(Debug)]
struct Gbdt {
    options: GbdtOptions,
    surrogate: SurrogateOptions,
    /// Of each decision, whether a choice is pruned.
    pruned: Vec<Vec<bool>>,
}

impl ModelBased {
    /// A search of `space` by boosted trees from `seed`.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn gbdt(space: GeneSpace, options: GbdtOptions, seed: u64) -> Result<Self, SamplerError> {
        let surrogate = SurrogateOptions::BoostedTrees(options.trees.clone());
        surrogate.check()?;
        let sizes = [options.initial, options.batch];
        let pruned = space.choices().iter().map(|&count| vec![false; count]).collect();
        Self::new(space, Box::new(Gbdt { options, surrogate, pruned }), sizes, seed)
    }
}

impl Propose for Gbdt {
    fn name(&self) -> &'static str {
        "gbdt"
    }

    fn propose(&mut self, trials: &[Trial], count: usize, search: Search<'_>) -> Vec<Genotype> {
        let Search { pool, draws, rng } = search;
        let seed = rng.random();
        let Some(learned) = Learned::fit(&self.surrogate, self.options.targets, trials, pool.space(), seed) else {
            return vec![];
        };
        if let Some(prune) = self.options.prune.clone() {
            self.prune(&prune, &learned, seed);
        }
        let mut candidates = pool.candidates(&best_trials(trials, PARENTS), draws, rng);
        candidates.retain(|genotype| self.keeps(genotype));
        if candidates.is_empty() {
            return vec![];
        }
        let predicted = learned.predict(&candidates);
        let costs: Vec<Vec<f64>> =
            predicted.costs.iter().map(|costs| costs.iter().map(|cost| cost.mean).collect()).collect();
        let chosen = if costs[0].len() == 1 {
            let scores: Vec<f64> = costs.iter().map(|costs| -costs[0]).collect();
            highest(&scores, &predicted.feasible, count)
        } else {
            scalarised(&costs, &predicted.feasible, count, rng)
        };
        chosen.into_iter().map(|at| candidates[at].clone()).collect()
    }
}

impl Gbdt {
    fn keeps(&self, genotype: &Genotype) -> bool {
        genotype.genes().iter().zip(&self.pruned).all(|(&gene, pruned)| !pruned[usize::from(gene)])
    }

    /// Prunes the choices that make costs greatest.
    fn prune(&mut self, prune: &PruneOptions, learned: &Learned, seed: u64) {
        let objectives = learned.targets.first().map_or(0, Vec::len);
        let mut sums: Vec<Option<f64>> = vec![Some(0.0); learned.encoding().width()];
        for objective in 0..objectives {
            let targets: Vec<f64> = learned.targets.iter().map(|targets| targets[objective]).collect();
            let Ok(trees) = BoostedTrees::fit(&self.options.trees, &learned.rows, &targets, seed) else { return };
            for (sum, value) in sums.iter_mut().zip(trees.contributions_where_set(&learned.rows)) {
                *sum = sum.zip(value).map(|(sum, value)| sum + value);
            }
        }
        let mut harm = vec![];
        for (decision, pruned) in self.pruned.iter().enumerate() {
            for (choice, &gone) in pruned.iter().enumerate() {
                let value = sums[learned.encoding().feature(decision, choice)];
                harm.extend(value.filter(|&value| value > 0.0 && !gone).map(|value| (value, decision, choice)));
            }
        }
        harm.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (_, decision, choice) in harm.into_iter().take(prune.choices) {
            if self.pruned[decision].iter().filter(|&&gone| !gone).count() > 1 {
                self.pruned[decision][choice] = true;
            }
        }
    }
}
