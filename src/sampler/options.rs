//! The strategies by name, with their options: what a config holds, and a sampler is made of.

use super::{
    AgeMoea, AgeingEvolutionOptions, GeneSpace, GenerationalOptions, Grid, LocalSearchOptions, Metrics, Nsga2,
    Nsga2Options, Nsga3, Nsga3Options, RandomSearch, ReinforceOptions, RobotOptions, Sampler, SamplerError,
    SuccessiveHalvingOptions, TeNasOptions, TegEvolutionOptions,
};
use super::{BayesianOptions, GbdtOptions, LinasOptions, ModelBased, PluginSampler};
use crate::plugin::{MANIFEST, PluginSection};
use crate::space::Decision;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What is searched, as far as strategies know it.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The genotypes.
    pub space: GeneSpace,
    /// How many objectives a trial has.
    pub objectives: usize,
    /// Figures that cost little beside a trial, where there are some.
    pub metrics: Option<Metrics>,
    /// What decisions and objectives are called, which plugins are told.
    pub names: Option<ProblemNames>,
}

/// What decisions and objectives are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemNames {
    /// The decisions of the space.
    pub decisions: Vec<Decision>,
    /// What is optimised, in the order of costs.
    pub objectives: Vec<String>,
    /// Where paths of plugins count from.
    pub folder: PathBuf,
}

impl Problem {
    /// A problem without metrics and names.
    pub fn new(space: GeneSpace, objectives: usize) -> Self {
        Self { space, objectives, metrics: None, names: None }
    }
}

/// A search strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplerOptions {
    /// Bayesian optimisation by Gaussian processes.
    Bayesian(BayesianOptions),
    /// Boosted trees that predict the whole space.
    Gbdt(GbdtOptions),
    /// LINAS: an inner search on predictors.
    Linas(LinasOptions),
    /// NSGA-II.
    Nsga2(Nsga2Options),
    /// NSGA-III, for three objectives and more.
    Nsga3(Nsga3Options),
    /// AGE-MOEA.
    AgeMoea(GenerationalOptions),
    /// Uniform draws without repetition.
    Random,
    /// Every architecture, in the order of genes.
    Grid,
    /// Hill climbing with restarts; Pareto local search.
    LocalSearch(LocalSearchOptions),
    /// Ageing evolution.
    AgeingEvolution(AgeingEvolutionOptions),
    /// TEG-NAS's evolution.
    TegEvolution(TegEvolutionOptions),
    /// TEG-NAS's policy gradient.
    Reinforce(ReinforceOptions),
    /// TE-NAS's pruning.
    TeNas(TeNasOptions),
    /// Weights of metrics by Bayesian optimisation; needs metrics.
    Robot(RobotOptions),
    /// The best of many by cheap metrics; needs metrics.
    SuccessiveHalving(SuccessiveHalvingOptions),
    /// A plugin of kind `sampler`.
    Plugin(PluginSection),
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self::Nsga2(Nsga2Options::default())
    }
}

impl SamplerOptions {
    /// Every strategy of Tegu with its default options.
    pub fn all() -> Vec<Self> {
        vec![
            Self::Random,
            Self::Grid,
            Self::LocalSearch(LocalSearchOptions::default()),
            Self::AgeingEvolution(AgeingEvolutionOptions::default()),
            Self::TegEvolution(TegEvolutionOptions::default()),
            Self::Reinforce(ReinforceOptions::default()),
            Self::Nsga2(Nsga2Options::default()),
            Self::Nsga3(Nsga3Options::default()),
            Self::AgeMoea(GenerationalOptions::default()),
            Self::Linas(LinasOptions::default()),
            Self::Gbdt(GbdtOptions::default()),
            Self::Bayesian(BayesianOptions::default()),
            Self::TeNas(TeNasOptions::default()),
            Self::Robot(RobotOptions::default()),
            Self::SuccessiveHalving(SuccessiveHalvingOptions::default()),
        ]
    }

    /// Its name, as configs have it; of a plugin, that of its folder.
    ///
    /// # Panics
    /// Never: options are JSON.
    pub fn name(&self) -> String {
        if let Self::Plugin(section) = self {
            let path = section.name.trim_end_matches(['/', '\\']).trim_end_matches(MANIFEST);
            let last = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
            return last.unwrap_or_else(|| section.name.clone());
        }
        match serde_json::to_value(self).expect("options are JSON") {
            serde_json::Value::Object(map) => map.keys().next().cloned().unwrap_or_default(),
            name => name.as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Whether it can do nothing without metrics.
    pub fn needs_metrics(&self) -> bool {
        matches!(self, Self::Robot(_) | Self::SuccessiveHalving(_))
    }

    /// The strategy at its start.
    ///
    /// # Errors
    /// If an option is out of its range, or the problem lacks what the strategy needs.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        let space = problem.space.clone();
        // Statistics of the graph help models of accuracy, and hurt those of latency (docs/samplers.md).
        let learnt = |wanted: Option<bool>| space.clone().learnt_from(wanted.unwrap_or(problem.objectives == 1));
        Ok(match self {
            Self::Bayesian(options) => {
                Box::new(ModelBased::bayesian(learnt(options.statistics), options.clone(), seed)?)
            }
            Self::Gbdt(options) => Box::new(ModelBased::gbdt(learnt(options.statistics), options.clone(), seed)?),
            Self::Linas(options) => Box::new(ModelBased::linas(learnt(options.statistics), options.clone(), seed)?),
            Self::Nsga2(options) => Box::new(Nsga2::new(space, options.clone(), seed)?),
            Self::Nsga3(options) => Box::new(Nsga3::new(problem, options, seed)?),
            Self::AgeMoea(options) => Box::new(AgeMoea::new(space, options, seed)?),
            Self::Random => Box::new(RandomSearch::new(space, seed)),
            Self::Grid => Box::new(Grid::new(space)),
            Self::LocalSearch(options) => options.sampler(problem, seed)?,
            Self::AgeingEvolution(options) => options.sampler(problem, seed)?,
            Self::TegEvolution(options) => options.sampler(problem, seed)?,
            Self::Reinforce(options) => options.sampler(problem, seed)?,
            Self::TeNas(options) => options.sampler(problem, seed)?,
            Self::Robot(options) => options.sampler(problem, seed)?,
            Self::SuccessiveHalving(options) => options.sampler(problem, seed)?,
            Self::Plugin(section) => Box::new(PluginSampler::new(section, problem, seed)?),
        })
    }
}
