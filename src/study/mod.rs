//! The loop of a search: ask, evaluate, tell, store. It exists in this one place.
//!
//! A study is a folder with a store. Whatever is finished is stored before it is reported, and a study is resumed by
//! asking the samplers again and answering from the store what it has.

mod accuracy;
mod batch;
mod candidate;
mod error;
mod estimator;
mod evaluate;
mod flight;
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
mod scoring;
pub mod store;
mod tracker;

pub use accuracy::{ACCURACY, ECE, PlannedAccuracy};
pub use candidate::outcomes;
pub use error::StudyError;
pub use front::{front, front_of, knee};
pub use plan::{Plan, PlannedDevice, Source, space};
pub use plugin::{Figure, FigureFacts, PlannedFigure, PluginIdentity};
pub use progress::{Event, Observer, Role};
pub use quantized::layers_of;
pub use remeasure::{FinalFigure, FinalOutcome, REMEASURED, integers_pay, remeasure, remeasured};
pub use remembered::{Remembered, RememberedLatency, remembered};

use crate::device::OpenOptions;
use crate::difference::{Difference, difference};
use crate::files;
use crate::genotype::Genotype;
use crate::objective::{ObjectiveVector, Objectives};
use crate::pareto::Measured;
use crate::sampler::Sampler;
use crate::space::Decision;
use batch::Batch;
pub(crate) use candidate::model_file;
use evaluate::Evaluator;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
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
                let space = plan.space.text().into();
                store.put_new_facts(&[("study", facts), ("config", fingerprint), (plan::SPACE, space)])?;
            }
        }
        let client = match store.fact("client")? {
            Some(client) => client,
            None => {
                let client = format!("study-{:016x}", rand::random::<u64>());
                store.put_fact("client", &client)?;
                client
            }
        };
        let options = OpenOptions { nats: plan.config.nats.clone(), client: Some(client), ..options };
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

/// Asks, evaluates, stores, tells, until the budget is spent or the space exhausted. Where devices elsewhere measure, the
/// next batches are under way meanwhile, as far as the sampler proposes them; trials are stored and told in the order of asking.
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
    let (mut asked, mut done) = (0, 0);
    let mut under_way: VecDeque<UnderWay> = VecDeque::new();
    loop {
        while asked < trials && (under_way.is_empty() || under_way.len() < evaluator.most_batches()) {
            let batch = sampler.ask((trials - asked).min(BATCH));
            if batch.is_empty() {
                break;
            }
            let known = &stored[asked.min(stored.len())..(asked + batch.len()).min(stored.len())];
            check(tracker, &name, known, &batch)?;
            let new = &batch[known.len()..];
            let Some(scored) = evaluator.score(new, observer)? else { return Ok(Outcome::Interrupted) };
            let evaluated = if new.is_empty() {
                None
            } else {
                let (place, front) = ((name.as_str(), asked + known.len()), tracker.front((role, repeat)));
                let Some(begun) = evaluator.begin(place, (new, scored), front, observer)? else {
                    return Ok(Outcome::Interrupted);
                };
                Some(begun)
            };
            asked += batch.len();
            under_way.push_back(UnderWay { known: known.to_vec(), genotypes: batch, evaluated });
        }
        let Some(UnderWay { known: mut records, genotypes, evaluated }) = under_way.pop_front() else { break };
        if let Some(batch) = evaluated {
            let Some(new) = evaluator.finish(batch, observer)? else { return Ok(Outcome::Interrupted) };
            records.extend(new);
        }
        for (genotype, record) in genotypes.iter().zip(records) {
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

/// What a sampler has asked for and was not told yet.
struct UnderWay {
    /// The trials that an earlier run finished, the first ones.
    known: Vec<TrialRecord>,
    genotypes: Vec<Genotype>,
    /// The others.
    evaluated: Option<Batch>,
}

/// Whether stored trials are what the sampler asks for now.
fn check(tracker: &Tracker, name: &str, known: &[TrialRecord], batch: &[Genotype]) -> Result<(), StudyError> {
    match known.iter().zip(batch).find(|(record, genotype)| record.genotype != **genotype) {
        None => Ok(()),
        Some((record, genotype)) => Err(StudyError::Diverged {
            folder: tracker.folder.clone(),
            sampler: name.to_owned(),
            number: record.number,
            found: record.arch.clone(),
            asked: tracker.plan.space.arch(genotype),
        }),
    }
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
