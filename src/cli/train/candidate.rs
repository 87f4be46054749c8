//! Which architecture is trained: a trial of a study, or one of a space by name.

use crate::cli::network::input_error;
use crate::data::DataSet;
use crate::genotype::ArchId;
use crate::graph::Graph;
use crate::onnx::Metadata;
use crate::space::{NetworkChanges, Scale, SearchSpace};
use crate::study::store::{IndicatorOutcome, Store};
use crate::study::{self, STORE, StudyFacts, TRAININGS};
use std::path::{Path, PathBuf};

/// The architecture to train.
#[derive(Debug, clap::Args)]
pub(super) struct CandidateArgs {
    /// The study's folder, such as runs/quickstart
    #[arg(required_unless_present = "space", conflicts_with = "space")]
    study: Option<PathBuf>,
    /// The trial's number in the study
    #[arg(long, value_name = "N", requires = "study", conflicts_with = "arch", required_unless_present = "arch")]
    trial: Option<u64>,
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

/// What is trained.
pub(super) struct Candidate {
    pub space: SearchSpace,
    pub arch: String,
    pub id: Option<ArchId>,
    /// The live graph of the full network, for the data's shape and classes.
    pub graph: Graph,
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
        let changed = old.input != input || old.classes != classes;
        let retargeted = changed.then(|| {
            let shape = |[c, h, w]: [usize; 3]| format!("{c}×{h}×{w}");
            let (from, to) = (shape(old.input), shape(input));
            format!("made for the data: {to} and {classes} classes, where the space has {from} and {}", old.classes)
        });
        (metadata.space, metadata.architecture) = (Some(space.name.clone()), Some(arch.clone()));
        Ok(Candidate { space, arch, id, graph, trial, metadata, retargeted, study: self.study.clone() })
    }

    fn of_study(&self, folder: &Path, metadata: &mut Metadata) -> anyhow::Result<Found> {
        let path = folder.join(STORE);
        if !path.is_file() {
            return Err(input_error(format!("{}: no study here, expected {STORE} in the folder", folder.display())));
        }
        let store = Store::open_read_only(&path)?;
        let space = study::space(&store)?;
        let facts: StudyFacts = store
            .fact("study")?
            .ok_or_else(|| input_error(format!("{}: the study has not begun", folder.display())))?;
        metadata.study = Some(facts.study.clone());
        let Some(number) = self.trial else {
            return Ok(Found { space, arch: self.arch.clone().unwrap_or_default(), trial: None });
        };
        let sampler = self.sampler.clone().unwrap_or_else(|| facts.search.clone());
        let trials = store.trials(&sampler)?;
        let found = trials.iter().find(|trial| trial.number == number).ok_or_else(|| {
            let (name, samplers) = (folder.display(), store.samplers().unwrap_or_default().join(", "));
            let there = match trials.len() {
                0 => format!("no trials of `{sampler}`, it has those of {samplers}"),
                count => format!("trials 0 to {} of `{sampler}`", count - 1),
            };
            input_error(format!("{name}: no trial {number}: the study has {there}"))
        })?;
        metadata.trial = Some(number);
        let values = store.indicators(&found.arch_id)?.into_iter().filter_map(|(name, outcome)| match outcome {
            IndicatorOutcome::Value(score) => Some((name, score.value)),
            IndicatorOutcome::Failed(_) => None,
        });
        metadata.indicators = values.collect();
        Ok(Found { space, arch: found.arch.clone(), trial: Some((sampler, number)) })
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
