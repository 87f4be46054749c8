//! Which architecture is trained: a trial of a study, or one of a space by name.

use crate::cli::network::input_error;
use crate::cli::report::check_study;
use crate::data::DataSet;
use crate::genotype::ArchId;
use crate::graph::Graph;
use crate::network::Weights;
use crate::onnx::Metadata;
use crate::space::{NetworkChanges, Scale, SearchSpace};
use crate::study::store::{IndicatorOutcome, Store, TrialRecord};
use crate::study::{self, STORE, StudyFacts, TRAININGS};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The architecture to train.
#[derive(Debug, clap::Args)]
pub(super) struct CandidateArgs {
    /// The study's folder, such as runs/quickstart
    #[arg(required_unless_present = "space", conflicts_with = "space")]
    study: Option<PathBuf>,
    /// The trial's number in the study, or `knee`: the trial at the knee of the search's front
    #[arg(long, value_name = "N", requires = "study", conflicts_with = "arch", required_unless_present = "arch")]
    trial: Option<Trial>,
    /// The sampler whose trial it is; the search's where absent
    #[arg(long, value_name = "NAME", requires = "trial")]
    sampler: Option<String>,
    /// Search space, where there is no study: its name, or the path of a YAML file
    #[arg(long, value_name = "SPACE", requires = "arch")]
    space: Option<String>,
    /// The architecture, as its space writes it
    #[arg(long)]
    arch: Option<String>,
    /// Channels behind the stem
    #[arg(long)]
    width: Option<usize>,
    /// Cells or layers a stage
    #[arg(long)]
    depth: Option<usize>,
    /// Number of classes, where it is to be checked against the data's
    #[arg(long)]
    classes: Option<usize>,
}

/// A trial of a study.
#[derive(Clone, Copy, Debug)]
enum Trial {
    Number(u64),
    Knee,
}

impl FromStr for Trial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "knee" => Ok(Self::Knee),
            _ => text.parse().map(Self::Number).map_err(|_| format!("found `{text}`, expected a number or knee")),
        }
    }
}

/// What is trained.
pub(super) struct Candidate {
    pub space: SearchSpace,
    pub arch: String,
    pub id: Option<ArchId>,
    /// The live graph of the full network, for the data's shape and classes.
    pub graph: Graph,
    /// The weights that the space brings, to be tuned.
    pub start: Option<Weights>,
    /// Sampler and number.
    pub trial: Option<(String, u64)>,
    pub metadata: Metadata,
    /// What was changed to fit the data.
    pub retargeted: Option<String>,
    study: Option<PathBuf>,
}

/// What a study or a space says of it.
struct Found {
    space: SearchSpace,
    arch: String,
    trial: Option<(String, u64)>,
}

impl CandidateArgs {
    /// Finds the architecture, and fits its network to the data.
    pub(super) fn open(&self, data: &DataSet) -> anyhow::Result<Candidate> {
        if let Some(classes) = self.classes.filter(|&classes| classes != data.classes().len()) {
            let (path, found) = (data.path().display(), data.classes().len());
            return Err(input_error(format!("--classes {classes}: {path} has {found} classes")));
        }
        let mut metadata = Metadata::new();
        let Found { space, arch, trial } = match (&self.study, &self.space) {
            (Some(folder), _) => self.of_study(folder, &mut metadata)?,
            (None, Some(space)) => {
                Found { space: SearchSpace::open(space)?, arch: self.arch.clone().unwrap_or_default(), trial: None }
            }
            (None, None) => return Err(input_error("expected a study's folder, or --space and --arch")),
        };
        let old = space.network(Scale::Full).clone();
        let (input, classes) = (data.shape(), data.classes().len());
        let changes =
            NetworkChanges { input: Some(input), classes: Some(classes), width: self.width, depth: self.depth };
        let space = space.with_network(&changes)?;
        let genotype = space.parse_arch(&arch)?;
        let id = space.id(&genotype);
        let graph = space.lower(&genotype, Scale::Full)?;
        let graph = graph.live().map_err(|error| input_error(format!("{arch}: {error}")))?;
        let start = space.brought(&genotype, &graph)?;
        let changed = old.input != input || old.classes != classes;
        let retargeted = changed.then(|| {
            let shape = |[c, h, w]: [usize; 3]| format!("{c}×{h}×{w}");
            let (from, to) = (shape(old.input), shape(input));
            format!("made for the data: {to} and {classes} classes, where the space has {from} and {}", old.classes)
        });
        let layers = study::layers_of(&space, &genotype, &graph);
        metadata.layers = (!layers.is_empty()).then(|| serde_json::to_string(&layers).expect("names are JSON"));
        (metadata.space, metadata.architecture) = (Some(space.name.clone()), Some(arch.clone()));
        Ok(Candidate { space, arch, id, graph, start, trial, metadata, retargeted, study: self.study.clone() })
    }

    fn of_study(&self, folder: &Path, metadata: &mut Metadata) -> anyhow::Result<Found> {
        check_study(folder)?;
        let store = Store::open_read_only(&folder.join(STORE))?;
        let space = study::space(&store)?;
        let facts: StudyFacts = store
            .fact("study")?
            .ok_or_else(|| input_error(format!("{}: the study has not begun", folder.display())))?;
        metadata.study = Some(facts.study.clone());
        let Some(trial) = self.trial else {
            return Ok(Found { space, arch: self.arch.clone().unwrap_or_default(), trial: None });
        };
        let found = match trial {
            Trial::Number(number) => self.numbered(&store, &facts, (folder, number))?,
            Trial::Knee if self.sampler.is_some() => {
                return Err(input_error("--sampler: the knee is that of the search's front, expected it without"));
            }
            Trial::Knee => study::knee(&store, &facts)?
                .ok_or_else(|| input_error(format!("{}: no trial of the search is complete", folder.display())))?,
        };
        metadata.trial = Some(found.number);
        let values = study::outcomes(&store, &found.arch_id)?.into_iter().filter_map(|(name, outcome)| match outcome {
            IndicatorOutcome::Value(score) => Some((name, score.value)),
            IndicatorOutcome::Failed(_) => None,
        });
        metadata.indicators = values.collect();
        Ok(Found { space, arch: found.arch, trial: Some((found.sampler, found.number)) })
    }

    fn numbered(
        &self,
        store: &Store,
        facts: &StudyFacts,
        (folder, number): (&Path, u64),
    ) -> anyhow::Result<TrialRecord> {
        let sampler = self.sampler.as_deref().unwrap_or(&facts.search);
        let mut trials = store.trials(sampler)?;
        match trials.iter().position(|trial| trial.number == number) {
            Some(at) => Ok(trials.swap_remove(at)),
            None => {
                let (name, samplers) = (folder.display(), store.samplers().unwrap_or_default().join(", "));
                let there = match trials.len() {
                    0 => format!("no trials of `{sampler}`, it has those of {samplers}"),
                    count => format!("trials 0 to {} of `{sampler}`", count - 1),
                };
                Err(input_error(format!("{name}: no trial {number}: the study has {there}")))
            }
        }
    }
}

impl Candidate {
    /// The training's folder in the study's, where there is a study.
    pub(super) fn folder(&self, seed: u64) -> Option<PathBuf> {
        let name = match (&self.trial, &self.id) {
            (Some((sampler, number)), _) => format!("{sampler}-{number}"),
            (None, Some(id)) => id.to_string(),
            (None, None) => "network".to_owned(),
        };
        Some(self.study.as_ref()?.join(TRAININGS).join(format!("{name}-seed{seed}")))
    }
}
