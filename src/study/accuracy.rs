//! Accuracy and calibration error after a short training as objectives of trials: the last and dearest fidelity, never computed
//! twice.

use super::candidate::Candidate;
use super::quantized::Rounding;
use super::store::{IndicatorOutcome, Store};
use super::{Plan, StudyError};
use crate::config::AccuracySection;
use crate::data::{DataSet, Normalisation, ReadOptions, located};
use crate::genotype::ArchId;
use crate::graph::Graph;
use crate::indicator::Score;
use crate::network::{Weights, WeightsError};
use crate::space::SpaceError;
use crate::space::{Scale, SearchSpace};
use crate::train::{
    Evaluated, Loaders, Metrics, Outcome, TrainError, TrainOptions, Trained, Training, Until, evaluate,
};
use candle_core::Device;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the objective, and of what the store keeps among an architecture's figures.
pub const ACCURACY: &str = "accuracy";
/// The same of the expected calibration error, of logits that are divided by the fitted temperature.
pub const ECE: &str = "ece";

/// What candidates are trained on, and how.
#[derive(Clone, Debug)]
pub struct PlannedAccuracy {
    /// The data.
    pub data: DataSet,
    /// How long, and by what recipe.
    pub options: TrainOptions,
    /// How samples are normalised, where the space's networks come with weights that know it.
    pub normalisation: Option<Normalisation>,
}

impl PlannedAccuracy {
    /// Reads the data of the section, whose path is looked for in `folder`, and holds them against the space's network.
    pub(super) fn open(section: &AccuracySection, folder: &Path, space: &SearchSpace) -> Result<Self, String> {
        let options = TrainOptions { epochs: section.epochs, ..section.train.clone() };
        options.check().map_err(|error| format!("train: {error}"))?;
        if options.split.validation <= 0.0 {
            return Err("train: split: validation: 0, expected a part to find the accuracy on".to_owned());
        }
        let data = DataSet::open(&located(folder, &section.data), &ReadOptions::default());
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
        Ok(Self { data, options, normalisation: space.normalisation().cloned() })
    }
}

/// Finds accuracies of candidates, one after the other on all cores.
pub(super) struct Accuracies {
    training: ShortTraining,
    /// Where layers' precisions are genes.
    rounding: Option<Rounding>,
}

type Outcomes = BTreeMap<String, IndicatorOutcome>;

impl Accuracies {
    /// None where the plan asks for no accuracy.
    pub fn new(plan: &Plan, folder: &Path, device: Device) -> Result<Option<Self>, StudyError> {
        let Some(planned) = &plan.accuracy else { return Ok(None) };
        let training = ShortTraining::new(planned, device)?;
        let rounding = plan
            .config
            .quantization
            .as_ref()
            .map(|section| Rounding::new(section, folder, &planned.data, &training.loaders));
        Ok(Some(Self { training, rounding: rounding.transpose()? }))
    }

    /// What rounds, where layers' precisions are genes.
    pub fn rounding(&self) -> Option<&Rounding> {
        self.rounding.as_ref()
    }

    /// Finds the figures of a sound candidate that the store has not, stores them and gives them to the candidate. False if
    /// `interrupted` said so.
    pub fn find(
        &self,
        plan: &Plan,
        store: &mut Store,
        candidate: &mut Candidate,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<bool, StudyError> {
        let id = candidate.record.arch_id.clone();
        let mut known = store.indicators(&id)?;
        known.retain(|name, _| [ACCURACY, ECE].contains(&name.as_str()));
        if !known.contains_key(ACCURACY) {
            let live = candidate.sound().expect("what is trained is sound");
            let start = plan.space.brought(&candidate.record.genotype, live);
            let unfit =
                |error: WeightsError| SpaceError::Lower { space: plan.space.name.clone(), reason: error.to_string() };
            let start = start.map_err(unfit)?;
            let found = match &self.rounding {
                None => self
                    .training
                    .run(live, start.as_ref(), interrupted)?
                    .map(|trained| outcomes(trained.map(|one| one.metrics()))),
                Some(rounding) => self.rounded(rounding, plan, (store, &id), candidate, interrupted)?,
            };
            let Some(found) = found else { return Ok(false) };
            store.put_indicators(&id, &found)?;
            known = found;
        }
        candidate.take(known);
        Ok(true)
    }

    /// The figures of a candidate whose layers may be of integers. Its architecture is trained once, as floats.
    fn rounded(
        &self,
        rounding: &Rounding,
        plan: &Plan,
        (store, id): (&mut Store, &ArchId),
        candidate: &Candidate,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Outcomes>, StudyError> {
        let of_floats = id.architecture();
        let failed = store.indicators(&of_floats)?.remove(ACCURACY).filter(|known| known.clone().score().is_none());
        if let Some(failed) = failed {
            return Ok(Some([(ACCURACY.to_owned(), failed)].into()));
        }
        if !rounding.has(&of_floats) {
            let live = candidate.sound().expect("what is trained is sound");
            match self.training.run(live, None, interrupted)? {
                None => return Ok(None),
                Some(Err(reason)) => {
                    let found = outcomes(Err(reason));
                    store.put_indicators(&of_floats, &found)?;
                    return Ok(Some(found));
                }
                Some(Ok(trained)) => rounding.keep(plan, candidate, &trained, &self.training.loaders)?,
            }
        }
        Ok(Some(outcomes(rounding.metrics(plan, candidate)?)))
    }
}

fn outcomes(found: Result<Metrics, String>) -> Outcomes {
    let value = |value: f64| IndicatorOutcome::Value(Score { value, networks: vec![value] });
    match found {
        Ok(metrics) => [(ACCURACY.to_owned(), value(metrics.accuracy)), (ECE.to_owned(), value(metrics.ece))].into(),
        Err(reason) => [(ACCURACY.to_owned(), IndicatorOutcome::Failed(reason))].into(),
    }
}

/// A network after a short training.
pub(super) struct ShortlyTrained {
    pub trained: Box<Trained>,
    pub evaluated: Evaluated,
}

impl ShortlyTrained {
    /// How good it is on the validation samples, logits divided by the temperature.
    fn metrics(&self) -> Metrics {
        *self.evaluated.after.get("validation").expect("there is a validation part")
    }
}

struct ShortTraining {
    loaders: Loaders,
    options: TrainOptions,
    device: Device,
}

impl ShortTraining {
    fn new(planned: &PlannedAccuracy, device: Device) -> Result<Self, StudyError> {
        let PlannedAccuracy { data, options, normalisation } = planned;
        let loaders = Loaders::normalised(data, options, normalisation.as_ref(), &device);
        let mut loaders = loaders.map_err(|error| StudyError::Config {
            path: PathBuf::new(),
            reason: format!("objectives: {ACCURACY}: {error}"),
        })?;
        // What a search has looked at is no test any more.
        loaders.test = None;
        Ok(Self { loaders, options: options.clone(), device })
    }

    /// `graph` trained, from `start` if there is one, or why it can't be; nothing if `interrupted` says so.
    fn run(
        &self,
        graph: &Graph,
        start: Option<&Weights>,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Result<ShortlyTrained, String>>, StudyError> {
        let folder = tempfile::tempdir().map_err(|source| StudyError::File { path: std::env::temp_dir(), source })?;
        let (data, options, device) = (&self.loaders, &self.options, &self.device);
        let training = Training { graph, start, data, options, folder: folder.path(), device };
        let evaluated = match training.run(&mut Until(interrupted)) {
            Ok(Outcome::Interrupted) => return Ok(None),
            Ok(Outcome::Finished(trained)) => evaluate(&trained, data).map(|evaluated| (trained, evaluated)),
            Err(error) => Err(error),
        };
        match evaluated {
            Ok((trained, evaluated)) => Ok(Some(Ok(ShortlyTrained { trained, evaluated }))),
            // A full disk is not the candidate's fault.
            Err(TrainError::File { path, source }) => Err(StudyError::File { path, source }),
            Err(error) => Ok(Some(Err(error.to_string()))),
        }
    }
}
