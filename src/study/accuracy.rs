//! Accuracy after a short training as an objective of trials: the last and dearest fidelity, never computed twice.

use super::StudyError;
use super::store::IndicatorOutcome;
use crate::config::AccuracySection;
use crate::data::{DataSet, ReadOptions};
use crate::graph::Graph;
use crate::indicator::Score;
use crate::space::{Scale, SearchSpace};
use crate::train::{Event, Loaders, Observer, Outcome, TrainError, TrainOptions, Training};
use candle_core::Device;
use std::path::{Path, PathBuf};

/// Name of the objective, and of what the store keeps among an architecture's figures.
pub const ACCURACY: &str = "accuracy";

/// What candidates are trained on, and how.
#[derive(Clone, Debug)]
pub struct PlannedAccuracy {
    /// The data.
    pub data: DataSet,
    /// How long, and by what recipe.
    pub options: TrainOptions,
}

impl PlannedAccuracy {
    /// Reads the data of the section, whose path is looked for in `folder`, and holds them against the space's network.
    pub(super) fn open(section: &AccuracySection, folder: &Path, space: &SearchSpace) -> Result<Self, String> {
        let options = TrainOptions { epochs: section.epochs, ..section.train.clone() };
        options.check().map_err(|error| format!("train: {error}"))?;
        if options.split.validation <= 0.0 {
            return Err("train: split: validation: 0, expected a part to find the accuracy on".to_owned());
        }
        let data = DataSet::open(&folder.join(&section.data), &ReadOptions::default());
        let data = data.map_err(|error| format!("data: {error}"))?;
        let network = space.network(Scale::Full);
        let (shape, classes) = (data.shape(), data.classes().len());
        if (network.input, network.classes) != (shape, classes) {
            return Err(format!(
                "data: {} has samples of {shape:?} and {classes} classes, the space's networks take {:?} and tell {} apart: expected \
                 `space: {{network: {{input: {shape:?}, classes: {classes}}}}}`",
                data.path().display(),
                network.input,
                network.classes
            ));
        }
        Ok(Self { data, options })
    }
}

/// Trains candidates, one after the other on all cores.
pub(super) struct ShortTraining {
    loaders: Loaders,
    options: TrainOptions,
    device: Device,
}

impl ShortTraining {
    pub fn new(planned: &PlannedAccuracy, device: Device) -> Result<Self, StudyError> {
        let loaders = Loaders::new(&planned.data, &planned.options, &device);
        let loaders = loaders.map_err(|error| StudyError::Config {
            path: PathBuf::new(),
            reason: format!("objectives: {ACCURACY}: {error}"),
        })?;
        Ok(Self { loaders, options: planned.options.clone(), device })
    }

    /// The best validation accuracy of `graph`, or why there is none; nothing if `interrupted` says so.
    pub fn run(&self, graph: &Graph, interrupted: &dyn Fn() -> bool) -> Result<Option<IndicatorOutcome>, StudyError> {
        let folder = tempfile::tempdir().map_err(|source| StudyError::File { path: std::env::temp_dir(), source })?;
        let (data, options, device) = (&self.loaders, &self.options, &self.device);
        let training = Training { graph, data, options, folder: folder.path(), device };
        Ok(match training.run(&mut Watch(interrupted)) {
            Ok(Outcome::Interrupted) => None,
            Ok(Outcome::Finished(trained)) => {
                let best = trained.curve.iter().find(|epoch| epoch.epoch == trained.best_epoch);
                let accuracy = best.and_then(|epoch| epoch.validation_accuracy);
                let value = accuracy.expect("there is a validation part");
                Some(IndicatorOutcome::Value(Score { value, networks: vec![value] }))
            }
            // A full disk is not the candidate's fault.
            Err(TrainError::File { path, source }) => return Err(StudyError::File { path, source }),
            Err(error) => Some(IndicatorOutcome::Failed(error.to_string())),
        })
    }
}

/// Asks whether to go on before each step.
struct Watch<'a>(&'a dyn Fn() -> bool);

impl Observer for Watch<'_> {
    fn on(&mut self, _: Event) {}

    fn interrupted(&self) -> bool {
        (self.0)()
    }
}
