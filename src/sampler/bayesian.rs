//! Bayesian optimisation: Gaussian processes of the costs, and an acquisition that they maximise.
//!
//! `expected_improvement` is that of the best cost, or of the hypervolume where there are several (Emmerich et al. 2011). A batch is
//! chosen one after the other: what is chosen counts as evaluated at its mean (a fantasy without refitting: Ginsbourger et
//! al. 2010, "kriging believer"). Other acquisitions take the highest scores; with several costs, `greedy` takes the front of the means,
//! `ucb` scalarises the bounds with random weights (ParEGO: Knowles 2006), the others add scores. Scores are multiplied by the probability that the constraints hold.

use super::learned::{Learned, Predicted, best_trials, first_fronts, highest, scalarised, weighed};
use super::model_based::{ModelBased, Propose, Search, Trial};
use super::{GeneSpace, SamplerError};
use crate::genotype::Genotype;
use crate::objective::ObjectiveVector;
use crate::surrogate::{
    Acquisition, BoostedTreesOptions, ExpectedVolume, GaussianProcessOptions, KernelRidgeOptions, SurrogateOptions,
    TargetTransform, committee, diverse,
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Trials that breed candidates where the space is large.
const PARENTS: usize = 50;
/// Candidates, per trial of a batch, among which diversity chooses.
const SHORTLIST: usize = 5;
/// How far the hypervolume's reference lies beyond the worst target, in ranges of the targets.
const BEYOND: f64 = 0.1;
/// Candidates that are considered where a hypervolume's expectation is drawn.
const DRAWN: usize = 256;

/// How Bayesian optimisation searches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BayesianOptions {
    /// Random trials at the start.
    pub initial: usize,
    /// Trials between two fits.
    pub batch: usize,
    /// The model of each cost.
    pub surrogate: SurrogateOptions,
    /// What it is fitted to.
    pub targets: TargetTransform,
    /// Whether statistics of the graph (MACs, parameters, layers, paths) are learnt from beside the genes; where absent, of one cost.
    pub statistics: Option<bool>,
    /// What is worth an evaluation; where absent, `expected_improvement` of one cost, `greedy` of several.
    pub acquisition: Option<Acquisition>,
}

impl Default for BayesianOptions {
    fn default() -> Self {
        Self {
            initial: 10,
            batch: 5,
            surrogate: SurrogateOptions::GaussianProcess(GaussianProcessOptions::default()),
            targets: TargetTransform::RankGauss,
            statistics: None,
            acquisition: None,
        }
    }
}

#[derive(Debug)]
struct Bayesian(BayesianOptions);

impl ModelBased {
    /// Bayesian optimisation of `space` from `seed`.
    ///
    /// # Errors
    /// If an option is out of its range.
    pub fn bayesian(space: GeneSpace, options: BayesianOptions, seed: u64) -> Result<Self, SamplerError> {
        options.surrogate.check()?;
        if let Some(Acquisition::Ucb(ucb)) = options.acquisition
            && !(ucb.beta.is_finite() && ucb.beta >= 0.0)
        {
            return Err(SamplerError::Option { field: "beta", value: ucb.beta, expected: "0 or more" });
        }
        let sizes = [options.initial, options.batch];
        Self::new(space, Box::new(Bayesian(options)), sizes, seed)
    }
}

impl Propose for Bayesian {
    fn name(&self) -> &'static str {
        "bayesian"
    }

    fn propose(&mut self, trials: &[Trial], count: usize, search: Search<'_>) -> Vec<Genotype> {
        let Search { pool, draws, rng } = search;
        let options = &self.0;
        let seed = rng.random();
        let fit = |surrogate: &SurrogateOptions| Learned::fit(surrogate, options.targets, trials, pool.space(), seed);
        let Some(learned) = fit(&options.surrogate) else { return vec![] };
        let several = learned.targets[0].len() > 1;
        let acquisition =
            options.acquisition.unwrap_or(if several { Acquisition::Greedy } else { Acquisition::ExpectedImprovement });
        let others = match acquisition {
            Acquisition::Committee => committee_members().iter().filter_map(fit).collect(),
            _ => vec![],
        };
        let candidates = pool.candidates(&best_trials(trials, PARENTS), draws, rng);
        if candidates.is_empty() {
            return vec![];
        }
        let mut predicted = learned.predict(&candidates);
        if !others.is_empty() {
            let others: Vec<Predicted> = others.iter().map(|other| other.predict(&candidates)).collect();
            predicted.costs = judged_together(&predicted, &others);
        }
        let objectives = predicted.costs[0].len();
        let score =
            |at: usize, objective: usize| acquisition.score(predicted.costs[at][objective], learned.best(objective));
        let sums = || (0..candidates.len()).map(|at| (0..objectives).map(|o| score(at, o)).sum()).collect::<Vec<f64>>();
        let chosen = match acquisition {
            Acquisition::ExpectedImprovement => improving(&learned, &predicted, count, seed),
            Acquisition::Diversity => {
                diverse(&weighed(&sums(), &predicted.feasible), &predicted.rows, count, SHORTLIST * count)
            }
            Acquisition::Greedy if objectives > 1 => {
                let means = |at: usize| predicted.costs[at].iter().map(|cost| cost.mean).collect();
                let vector = |at: usize| ObjectiveVector::new(means(at), predicted.violations[at]);
                first_fronts(&(0..candidates.len()).map(vector).collect::<Vec<_>>(), count)
            }
            Acquisition::Ucb(_) if objectives > 1 => {
                let bounds = |at: usize| (0..objectives).map(|objective| -score(at, objective)).collect();
                let bounds: Vec<Vec<f64>> = (0..candidates.len()).map(bounds).collect();
                scalarised(&bounds, &predicted.feasible, count, rng)
            }
            _ => highest(&sums(), &predicted.feasible, count),
        };
        chosen.into_iter().map(|at| candidates[at].clone()).collect()
    }
}

/// Whom the model of a committee disagrees with.
fn committee_members() -> [SurrogateOptions; 2] {
    [
        SurrogateOptions::KernelRidge(KernelRidgeOptions::default()),
        SurrogateOptions::BoostedTrees(BoostedTreesOptions::default()),
    ]
}

fn judged_together(first: &Predicted, others: &[Predicted]) -> Vec<Vec<crate::surrogate::Prediction>> {
    let together = |objective: usize| {
        let members = std::iter::once(first).chain(others);
        let of_member = |member: &Predicted| member.costs.iter().map(|costs| costs[objective]).collect::<Vec<_>>();
        committee(&members.map(of_member).collect::<Vec<_>>())
    };
    let columns: Vec<_> = (0..first.costs[0].len()).map(together).collect();
    (0..first.costs.len()).map(|at| columns.iter().map(|column| column[at]).collect()).collect()
}

/// The candidates that are expected to improve the front most, each beside the means of those before it.
///
/// What a candidate adds only falls while the front grows, so a score from before is a bound: none is computed again
/// that could not be the greatest.
fn improving(learned: &Learned, predicted: &Predicted, count: usize, seed: u64) -> Vec<usize> {
    let known = learned.targets.iter().zip(&learned.feasible);
    let known: Vec<&[f64]> = known.filter(|(_, feasible)| **feasible).map(|(targets, _)| targets.as_slice()).collect();
    let mut front = ExpectedVolume::new(&known, &reference(&learned.targets), seed);
    let score = |front: &ExpectedVolume, at: usize| front.expected(&predicted.costs[at]) * predicted.feasible[at];
    let mut bounds: Vec<(usize, f64)> = considered(predicted).into_iter().map(|at| (at, score(&front, at))).collect();
    let mut chosen = vec![];
    while chosen.len() < count && !bounds.is_empty() {
        bounds.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut best = (0, f64::NEG_INFINITY);
        for (place, (at, bound)) in bounds.iter_mut().enumerate() {
            if *bound <= best.1 {
                break;
            }
            *bound = score(&front, *at);
            if *bound > best.1 {
                best = (place, *bound);
            }
        }
        let (at, _) = bounds.remove(best.0);
        chosen.push(at);
        front.add(&predicted.costs[at].iter().map(|cost| cost.mean).collect::<Vec<f64>>());
    }
    chosen
}

/// The candidates whose expected improvement is computed: all where it is exact, else those of the most optimistic fronts.
fn considered(predicted: &Predicted) -> Vec<usize> {
    if predicted.costs[0].len() < 3 {
        return (0..predicted.costs.len()).collect();
    }
    let optimist = |at: usize| {
        let costs = predicted.costs[at].iter().map(|cost| cost.mean - cost.deviation).collect();
        ObjectiveVector::new(costs, predicted.violations[at])
    };
    let vectors: Vec<_> = (0..predicted.costs.len()).map(optimist).collect();
    first_fronts(&vectors, DRAWN)
}

/// A point that is worse than all targets.
fn reference(targets: &[Vec<f64>]) -> Vec<f64> {
    let bound = |objective: usize| {
        let values = || targets.iter().map(|targets| targets[objective]);
        let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        high + BEYOND * (high - low).max(1e-9)
    };
    (0..targets.first().map_or(0, Vec::len)).map(bound).collect()
}
