//! The loop of a search: ask, evaluate, tell, store. It exists in this one place.
//!
//! A study is a folder with a store. Whatever is finished is stored before it is reported, and a study is resumed by
//! asking the samplers again and answering from the store what it has.

mod accuracy;
mod candidate;
mod estimator;
mod evaluate;
mod front;
mod latency;
mod metrics;
mod plan;
mod plugin;
mod progress;
mod quantized;
mod reference;
mod remeasure;
mod remembered;
pub mod store;
mod tracker;

pub use accuracy::{ACCURACY, ECE, PlannedAccuracy};
pub use candidate::outcomes;
pub use front::{front, front_of, knee};
pub use plan::{Plan, PlannedDevice, Source, space};
pub use plugin::{Figure, FigureFacts, PlannedFigure, PluginIdentity};
pub use progress::{Event, Observer, Role};
pub use quantized::layers_of;
pub use remeasure::{FinalFigure, FinalOutcome, REMEASURED, integers_pay, remeasure, remeasured};
pub use remembered::{Remembered, RememberedLatency, remembered};

use crate::device::{DeviceError, OpenOptions, ProfileError};
use crate::difference::{Difference, difference};
use crate::files;
use crate::indicator::IndicatorError;
use crate::lut::LutError;
use crate::objective::{ObjectiveVector, Objectives};
use crate::onnx::OnnxError;
use crate::pareto::Measured;
use crate::plugin::PluginError;
use crate::sampler::Sampler;
use crate::space::{Decision, SpaceError};
use crate::yaml::YamlError;
pub(crate) use candidate::model_file;
use evaluate::Evaluator;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use store::{Store, StoreError, TrialRecord, TrialState};
use tracker::Tracker;

/// A study on disk.
#[derive(Debug)]
pub struct Study {
    plan: Plan,
    folder: PathBuf,
    store: Store,
    options: OpenOptions,
}

/// How a run of a study ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All trials are done.
    Finished,
    /// The observer asked it to stop; the same command goes on.
    Interrupted,
}

/// Why a study can't go on.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The config can't be read.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// A value of the config is out of its range.
    #[error("{path}: {reason}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Field, what was found, what was expected.
        reason: String,
    },
    /// The config is not the one that the study was made with.
    #[error(
        "{folder} holds a study with another config ({difference}): take another name for the study, or start over with --fresh",
        folder = folder.display()
    )]
    Changed {
        /// The study's folder.
        folder: PathBuf,
        /// The first field that differs, and both values.
        difference: String,
    },
    /// The samplers ask for something else than the study has: it was made by another version.
    #[error("{folder}: trial {number} of {sampler} is {found} in the study, but {asked} now: it was made by another version of Tegu (start over with --fresh)", folder = folder.display())]
    Diverged {
        /// The study's folder.
        folder: PathBuf,
        /// The sampler.
        sampler: String,
        /// The trial.
        number: u64,
        /// The stored architecture.
        found: String,
        /// The architecture that the sampler asks for.
        asked: String,
    },
    /// The space is refused.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A profile is refused.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A device can't be opened.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Candle's device can't be opened, or the probe batches not be made.
    #[error(transparent)]
    Indicator(#[from] IndicatorError),
    /// A model can't be written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A plugin can't be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A lookup table can't be used.
    #[error(transparent)]
    Lut(#[from] LutError),
    /// What is stored is not what it should be.
    #[error("{path}: {reason}", path = path.display())]
    Stored {
        /// The store.
        path: PathBuf,
        /// Which entry, and what is wrong.
        reason: String,
    },
    /// A file can't be written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StudyError {
    /// Whether it is the user's input that is at fault.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Yaml(_) | Self::Config { .. } | Self::Changed { .. } | Self::Space(_) | Self::Profile(_) => true,
            Self::Store(error) => error.is_input(),
            Self::Device(error) => error.is_input(),
            Self::Lut(error) => error.is_input(),
            Self::Plugin(error) => error.is_input(),
            _ => false,
        }
    }
}

/// The name of a latency objective is this and the name of its device.
pub const LATENCY: &str = "latency_ms@";
/// Name of the store in a study's folder.
pub const STORE: &str = "study.sqlite";
/// Name of the folder of ONNX models in a study's folder.
pub const MODELS: &str = "models";
/// Name of the folder of trainings in a study's folder, a folder each (see [`records`](crate::train::records)).
pub const TRAININGS: &str = "training";
/// Names of the report's files in a study's folder.
pub const REPORTS: [&str; 4] = ["front.json", "front.csv", "trials.csv", "report.html"];

impl Study {
    /// Opens the study of `plan` in `folder`: a new one, or the one that is there.
    ///
    /// # Errors
    /// If the folder holds a study with another config, or can't be written.
    pub fn open(plan: Plan, folder: &Path, options: OpenOptions) -> Result<Self, StudyError> {
        let models = folder.join(MODELS);
        std::fs::create_dir_all(&models).map_err(|source| StudyError::File { path: models.clone(), source })?;
        let mut store = Store::open(&folder.join(STORE))?;
        files::remove_drafts(&models).map_err(|source| StudyError::File { path: models, source })?;
        let fingerprint = plan.fingerprint();
        match store.fact::<serde_json::Value>("config")? {
            Some(stored) => {
                if let Some(Difference { field, first, second }) = difference(&stored, &fingerprint) {
                    let difference = format!("{field}: {first} in the study, {second} in the config");
                    return Err(StudyError::Changed { folder: folder.to_owned(), difference });
                }
            }
            None => {
                let facts = serde_json::to_value(StudyFacts::new(&plan)?).expect("facts are JSON");
                store.put_new_facts(&[("study", facts), ("config", fingerprint)])?;
            }
        }
        Ok(Self { plan, folder: folder.to_owned(), store, options })
    }

    /// Removes the study in `folder`, if there is one: its store, its models, trainings and reports, and nothing else.
    ///
    /// # Errors
    /// If it is in use, or a file can't be removed.
    pub fn remove(folder: &Path) -> Result<(), StudyError> {
        let path = folder.join(STORE);
        if !path.exists() {
            return Ok(());
        }
        // Nobody else is to be writing while it goes, and it is to be a study, of whichever version.
        match Store::open(&path) {
            Ok(_) | Err(StoreError::OtherVersion { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| StudyError::File { path, source }
        };
        for inner in [MODELS, TRAININGS, quantized::TRAINED].map(|name| folder.join(name)) {
            if inner.exists() {
                std::fs::remove_dir_all(&inner).map_err(failed(&inner))?;
            }
        }
        // The store goes last: without it, this is no study to start over any more.
        let store = ["-wal", "-shm", ".lock", ""].map(|ending| format!("{STORE}{ending}"));
        for name in REPORTS.iter().copied().chain([REMEASURED]).chain(store.iter().map(String::as_str)) {
            let path = folder.join(name);
            if path.exists() {
                std::fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        Ok(())
    }

    /// What the study does.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the study has.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Runs the study to its end, from where it stands: the reference sample, the search, the control.
    ///
    /// # Errors
    /// If the store or the folder can't be written, or the study was made by a version that asks otherwise.
    /// A candidate that fails is a trial, not an error.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Outcome, StudyError> {
        let Some(mut evaluator) = Evaluator::new(&self.plan, &mut self.store, &self.folder, &self.options, observer)?
        else {
            return Ok(Outcome::Interrupted);
        };
        let mut tracker = Tracker::new(&self.plan, &self.folder);
        for repeat in 0..self.plan.config.search.repeats {
            let (sampler, control) =
                (self.plan.sampler(repeat, &self.options)?, self.plan.control(repeat, &self.options)?);
            for (role, sampler) in [(Role::Search, Some(sampler)), (Role::Control, control)] {
                let Some(sampler) = sampler else { continue };
                if drive((role, repeat), sampler, &mut evaluator, &mut tracker, observer)? == Outcome::Interrupted {
                    return Ok(Outcome::Interrupted);
                }
            }
        }
        Ok(Outcome::Finished)
    }
}

/// The name that trials of a repeat have: that of the sampler, from the second on with the repeat's number.
pub(crate) fn repeated(sampler: &str, repeat: usize) -> String {
    if repeat == 0 { sampler.to_owned() } else { format!("{sampler}#{}", repeat + 1) }
}

/// Asks, evaluates, stores, tells, until the budget is spent or the space exhausted.
fn drive(
    (role, repeat): (Role, usize),
    mut sampler: Box<dyn Sampler>,
    evaluator: &mut Evaluator,
    tracker: &mut Tracker,
    observer: &mut dyn Observer,
) -> Result<Outcome, StudyError> {
    let name = repeated(sampler.name(), repeat);
    let trials = tracker.plan.config.search.trials;
    let stored = evaluator.stored(&name)?;
    let mut done = 0;
    while done < trials {
        let batch = sampler.ask((trials - done).min(BATCH));
        if batch.is_empty() {
            break;
        }
        let known = stored.iter().skip(done).take(batch.len());
        if let Some((record, genotype)) = known.zip(&batch).find(|(record, genotype)| record.genotype != **genotype) {
            return Err(StudyError::Diverged {
                folder: tracker.folder.clone(),
                sampler: name,
                number: record.number,
                found: record.arch.clone(),
                asked: tracker.plan.space.arch(genotype),
            });
        }
        let unknown = stored.len().saturating_sub(done).min(batch.len());
        if !evaluator.score(&batch[unknown..], observer)? {
            return Ok(Outcome::Interrupted);
        }
        let mut records: Vec<TrialRecord> = stored[done.min(stored.len())..][..unknown].to_vec();
        if unknown < batch.len() {
            let (place, front) = ((name.as_str(), done + unknown), tracker.front((role, repeat)));
            let Some(new) = evaluator.trials(place, &batch[unknown..], front, observer)? else {
                return Ok(Outcome::Interrupted);
            };
            records.extend(new);
        }
        for (genotype, record) in batch.iter().zip(records) {
            let vector = vector(&tracker.plan.objectives, &record);
            sampler.tell(genotype, vector.as_ref());
            done += 1;
            let hypervolume = tracker.trial((role, repeat, evaluator.store()), &record, vector)?;
            let resumed = done <= stored.len();
            observer.on(&Event::Trial { role, record: &record, done, total: trials, resumed, hypervolume });
        }
        tracker.end_of_batch(evaluator)?;
    }
    Ok(Outcome::Finished)
}

/// Most candidates that are scored together, before they are measured.
const BATCH: usize = 16;

/// What a report needs to know of a study beside its trials: the fact `study` of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StudyFacts {
    /// Name of the study.
    pub study: String,
    /// Name of the space.
    pub space: String,
    /// Number of genotypes of the space.
    pub space_size: f64,
    /// The study's seed.
    pub seed: u64,
    /// The version of Tegu that began it.
    pub tegu_version: String,
    /// When it began, in seconds since 1970.
    pub created_unix_s: u64,
    /// What is optimised.
    pub objectives: Objectives,
    /// Name of the search's sampler.
    pub search: String,
    /// Name of the control's sampler, where there is one.
    pub control: Option<String>,
    /// How often both are run.
    #[serde(default = "once")]
    pub repeats: usize,
    /// What is decided, and what there is to choose from; empty in studies that were begun before it was kept.
    #[serde(default)]
    pub decisions: Vec<Decision>,
}

fn once() -> usize {
    1
}

impl StudyFacts {
    fn new(plan: &Plan) -> Result<Self, StudyError> {
        Ok(Self {
            study: plan.config.study.clone(),
            space: plan.space.name.clone(),
            space_size: plan.space.size(),
            seed: plan.config.seed,
            tegu_version: env!("CARGO_PKG_VERSION").to_owned(),
            created_unix_s: unix_now_s(),
            objectives: plan.objectives.clone(),
            search: plan.config.search.sampler.name(),
            control: plan.has_control().then(|| crate::sampler::SamplerOptions::Random.name()),
            repeats: plan.config.search.repeats,
            decisions: plan.space.decisions(),
        })
    }
}

/// The objectives of a trial as samplers and fronts see them; none if it failed.
pub fn vector(objectives: &Objectives, record: &TrialRecord) -> Option<ObjectiveVector> {
    let TrialState::Complete { objectives: values } = &record.state else { return None };
    vector_of(objectives, values)
}

/// The vector of these values, by their objectives' names.
fn vector_of(objectives: &Objectives, values: &BTreeMap<String, f64>) -> Option<ObjectiveVector> {
    let value = |objective: &crate::objective::Objective| values.get(&objective.name).copied();
    let values: Option<Vec<f64>> = objectives.as_slice().iter().map(value).collect();
    objectives.vector(&values?).ok()
}

/// The vector of a complete trial with what is known of its noise: latencies have intervals, all else is exact.
///
/// # Errors
/// If the store can't be read.
pub fn measured(store: &Store, objectives: &Objectives, record: &TrialRecord) -> Result<Option<Measured>, StudyError> {
    let Some(vector) = vector(objectives, record) else { return Ok(None) };
    let mut measured = Measured::exact(vector);
    for (objective, interval) in objectives.optimised().zip(&mut measured.intervals) {
        if let Some(device) = objective.name.strip_prefix(LATENCY)
            && let Some(latency) = latency::known(store, &record.arch_id, device)?
        {
            *interval = latency.interval_ms;
        }
    }
    Ok(Some(measured))
}

fn unix_now_s() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map(|elapsed| elapsed.as_secs()).unwrap_or_default()
}
