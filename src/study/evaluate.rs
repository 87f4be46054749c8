//! From genotypes to finished trials: score, export, measure, store.
//!
//! Candidates of a batch are scored in parallel, then measured one after the other, so that on a host that is
//! its own target scoring and measuring never overlap.

use super::progress::{Event, Observer};
use super::store::{IndicatorOutcome, MeasurementRecord, ReferenceRecord, StageSeconds, Store};
use super::store::{TrialRecord, TrialState};
use super::{MODELS, Plan, Source, StudyError};
use crate::device::{self, Device, DeviceError, HardwareProfile, Job, Location, OpenOptions};
use crate::genotype::{ArchId, Genotype};
use crate::graph::Graph;
use crate::indicator::{self, Indicator, IndicatorError, Probes, Score, Scores, Values};
use crate::latency::Measurement;
use crate::network::{Init, Weights};
use crate::onnx::{self, Batch, ExportOptions, Metadata, Precision};
use crate::quality::{Quality, QualityFacts, SampleScores};
use crate::sampler::{RandomSearch, Sampler};
use crate::space::Scale;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What turns genotypes into trials.
pub(super) struct Evaluator<'a> {
    plan: &'a Plan,
    store: &'a mut Store,
    models: PathBuf,
    options: &'a OpenOptions,
    probes: Probes,
    quality: Quality,
    /// What candidates are scored by.
    indicators: Vec<&'static dyn Indicator>,
    /// The plan's devices, in its order, once there is something to evaluate.
    devices: Vec<Box<dyn Device>>,
    /// Seconds that this run spent on scoring an architecture.
    scoring_s: HashMap<ArchId, f64>,
}

/// Why a trial has no objectives.
enum Failure {
    /// The candidate's own fault: the trial failed.
    Candidate(String),
    /// Nothing that another candidate would cure.
    Study(StudyError),
}

impl<E: Into<StudyError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Study(error.into())
    }
}

/// The name of an architecture's file among the models.
pub(crate) fn model_file(id: &ArchId) -> String {
    format!("{id}.onnx")
}

impl<'a> Evaluator<'a> {
    /// Draws and scores the reference sample, as far as the store does not have it. None if the observer
    /// interrupted it.
    pub(super) fn new(
        plan: &'a Plan,
        store: &'a mut Store,
        folder: &Path,
        options: &'a OpenOptions,
        observer: &mut dyn Observer,
    ) -> Result<Option<Self>, StudyError> {
        let compute = plan.config.compute.open().map_err(|error| {
            let built = "is Tegu built for it, with `--features cuda` or `--features metal`?";
            let reason = format!("compute: {} can't be opened ({built}): {error}", plan.config.compute);
            StudyError::Config { path: PathBuf::from(&plan.config.study), reason }
        })?;
        let probes = Probes::new(&plan.space, plan.settings.clone(), plan.config.seed, compute)?;
        let mut devices = vec![];
        if store.reference_sample()?.len() < plan.config.quality.reference {
            // Before time is spent on a study that can't go on.
            devices = usable_devices(plan, options)?;
        }
        let Some(sample) = reference(plan, store, &probes, observer)? else { return Ok(None) };
        let quality = Quality::new(&plan.recipe, &sample);
        store.put_fact("quality", &QualityFacts::new(plan.recipe.name, &quality))?;
        let indicators = indicator::distinct(indicator::teg().into_iter().chain(quality.indicators()));
        let (models, scoring_s) = (folder.join(MODELS), HashMap::new());
        Ok(Some(Self { plan, store, models, options, probes, quality, indicators, devices, scoring_s }))
    }

    /// The trials of a sampler that earlier runs finished.
    pub(super) fn stored(&self, sampler: &str) -> Result<Vec<TrialRecord>, StudyError> {
        Ok(self.store.trials(sampler)?)
    }

    /// Scores those of `genotypes` that have no scores yet, in parallel. False if the observer interrupted it.
    pub(super) fn score(&mut self, genotypes: &[Genotype], observer: &mut dyn Observer) -> Result<bool, StudyError> {
        if self.devices.is_empty() && !genotypes.is_empty() {
            self.devices = usable_devices(self.plan, self.options)?;
        }
        let mut unknown: Vec<(ArchId, &Genotype)> = vec![];
        for genotype in genotypes {
            if let Some(id) = self.plan.space.id(genotype)
                && unknown.iter().all(|(known, _)| *known != id)
                && self.store.indicators(&id)?.is_empty()
            {
                unknown.push((id, genotype));
            }
        }
        let mut done = 0;
        let genotypes: Vec<&Genotype> = unknown.iter().map(|(_, genotype)| *genotype).collect();
        score_in_parallel(
            (self.plan, &self.probes),
            &self.indicators,
            &genotypes,
            observer,
            |index, outcomes, seconds, observer| {
                let id = &unknown[index].0;
                self.store.put_indicators(id, &outcomes)?;
                self.scoring_s.insert(id.clone(), seconds);
                done += 1;
                observer.on(&Event::Scoring { done, total: unknown.len() });
                Ok(())
            },
        )
    }

    /// Evaluates one candidate and stores the trial. Its scores are expected to be there.
    pub(super) fn trial(&mut self, sampler: &str, number: u64, genotype: &Genotype) -> Result<TrialRecord, StudyError> {
        let space = &self.plan.space;
        let arch_id = space.id(genotype).unwrap_or_else(|| ArchId::new("dead"));
        let mut record = TrialRecord {
            sampler: sampler.to_owned(),
            number,
            genotype: genotype.clone(),
            arch: space.arch(genotype),
            state: TrialState::Failed { reason: String::new() },
            params: None,
            live_params: None,
            macs: None,
            model_sha256: None,
            seconds: StageSeconds::default(),
            arch_id,
        };
        record.seconds.scoring_s = self.scoring_s.remove(&record.arch_id).unwrap_or(0.0);
        record.state = match self.objectives(&mut record) {
            Ok(objectives) => TrialState::Complete { objectives },
            Err(Failure::Candidate(reason)) => TrialState::Failed { reason },
            Err(Failure::Study(error)) => return Err(error),
        };
        self.store.put_trial(&record)?;
        Ok(record)
    }

    /// Stores where hypervolumes are measured from.
    pub(super) fn put_reference_point(&mut self, costs: &[f64]) -> Result<(), StudyError> {
        Ok(self.store.put_fact("reference_point", &costs)?)
    }

    fn objectives(&mut self, record: &mut TrialRecord) -> Result<BTreeMap<String, f64>, Failure> {
        let plan = self.plan;
        let candidate = |error: &dyn std::error::Error| Failure::Candidate(error.to_string());
        let graph = plan.space.lower(&record.genotype, Scale::Full).map_err(|error| candidate(&error))?;
        let cost = graph.cost();
        (record.params, record.macs) = (Some(cost.params), Some(cost.macs));
        let live = graph.live().map_err(|error| candidate(&error))?;
        record.live_params = Some(live.cost().params);
        let values = self.values(&record.arch_id)?;
        let mut objectives = BTreeMap::new();
        for (objective, source) in plan.objectives.as_slice().iter().zip(&plan.sources) {
            let value = match source {
                Source::Quality => self.quality.of(&values).expect("a scored candidate has all indicators"),
                Source::Params => cost.params as f64,
                Source::Macs => cost.macs as f64,
                Source::Latency(device) => self.latency_ms(device, record, &live, &values)?,
            };
            objectives.insert(objective.name.clone(), value);
        }
        if plan.devices.is_empty() {
            self.exported(record, &live, &values)?;
        }
        Ok(objectives)
    }

    fn values(&self, id: &ArchId) -> Result<Values, Failure> {
        let outcomes = self.store.indicators(id)?;
        if outcomes.is_empty() {
            return Err(Failure::Candidate(IndicatorError::Dead.to_string()));
        }
        let value = |(name, outcome): (String, IndicatorOutcome)| match outcome {
            IndicatorOutcome::Value(score) => Ok((name, score.value)),
            IndicatorOutcome::Failed(reason) => Err(Failure::Candidate(reason)),
        };
        outcomes.into_iter().map(value).collect()
    }

    fn latency_ms(
        &mut self,
        device: &str,
        record: &mut TrialRecord,
        live: &Graph,
        values: &Values,
    ) -> Result<f64, Failure> {
        if let Some(known) = self.store.measurement(&record.arch_id, device)? {
            record.model_sha256 = Some(known.model_sha256);
            let measurement: Measurement = serde_json::from_value(known.measurement)
                .map_err(|error| Failure::Candidate(format!("stored measurement on {device}: {error}")))?;
            return Ok(measurement.p50_ms);
        }
        if let Some(reason) = self.store.failure(&record.arch_id)? {
            // The other sampler had it: a model that hangs is not waited for twice.
            return Err(Failure::Candidate(reason));
        }
        let cost = live.cost();
        // A graph's costs are those of 32-bit floats.
        let needed =
            (cost.peak_activation_bytes + size_of::<f32>() as u64 * cost.params) * self.precision().bytes() / 4;
        within("budget.memory_mib", needed, self.profile(device).budget.memory_mib)?;
        let (model, exported) = self.exported(record, live, values)?;
        within("budget.model_mib", file_bytes(&model)?, self.profile(device).budget.model_mib)?;
        let begin = Instant::now();
        let job = Job { model, arch_id: Some(record.arch_id.clone()), ..Job::default() };
        let measured = self.device(device).measure(&job);
        record.seconds.measuring_s += begin.elapsed().as_secs_f64();
        let measurement = measured.map_err(|error| {
            if error.is_unavailable() {
                return Failure::Study(error.into());
            }
            Failure::Candidate(format!("{device}: {error}"))
        })?;
        let replayed = matches!(self.profile(device).location, Location::Replay { .. });
        if measurement.model_sha256 != exported && !replayed {
            let reason = format!("{device}: measured {}, exported {exported}", measurement.model_sha256);
            return Err(Failure::Candidate(reason));
        }
        self.store.put_measurement(&MeasurementRecord {
            arch_id: record.arch_id.clone(),
            device: device.to_owned(),
            model_sha256: exported,
            measurement: serde_json::to_value(&measurement).expect("a measurement is JSON"),
        })?;
        Ok(measurement.p50_ms)
    }

    /// The candidate's model file, written unless it is there, and its SHA-256.
    fn exported(&self, record: &mut TrialRecord, live: &Graph, values: &Values) -> Result<(PathBuf, String), Failure> {
        let model = self.models.join(model_file(&record.arch_id));
        if let Some(known) = record.model_sha256.as_ref().filter(|_| model.is_file()) {
            return Ok((model, known.clone()));
        }
        let begin = Instant::now();
        let sha256 = self.export(&model, record, live, values)?;
        record.seconds.exporting_s += begin.elapsed().as_secs_f64();
        record.model_sha256 = Some(sha256.clone());
        Ok((model, sha256))
    }

    /// Writes the candidate's full network; gives the file's SHA-256.
    fn export(&self, path: &Path, record: &TrialRecord, live: &Graph, values: &Values) -> Result<String, Failure> {
        let candidate = |error: &dyn std::error::Error| Failure::Candidate(format!("export: {error}"));
        let seed = self.plan.config.seed;
        let weights = Weights::random(live, Init::TorchDefault, seed, &candle_core::Device::Cpu)
            .map_err(|error| candidate(&error))?;
        let metadata = Metadata {
            space: Some(self.plan.space.name.clone()),
            architecture: Some(record.arch.clone()),
            study: Some(self.plan.config.study.clone()),
            trial: Some(record.number),
            seed: Some(seed),
            indicators: values.clone(),
            weights_sha256: Some(weights.sha256().map_err(|error| candidate(&error))?),
            ..Metadata::new()
        };
        let file_name = model_file(&record.arch_id);
        let options =
            ExportOptions { batch: self.batch(), file_name, precision: self.precision(), ..ExportOptions::default() };
        let model = onnx::export(live, &weights, &metadata, options).map_err(|error| candidate(&error))?;
        model.save(path)?;
        Ok(model.sha256())
    }

    /// The devices' precision, which is the same for all.
    fn precision(&self) -> Precision {
        self.plan.devices.first().map_or(Precision::default(), |profile| profile.precision)
    }

    /// The devices' batch size where it is one, else left open.
    fn batch(&self) -> Batch {
        let mut sizes: Vec<usize> = self.plan.devices.iter().map(|profile| profile.batch).collect();
        sizes.dedup();
        match sizes[..] {
            [size] => Batch::Fixed(size),
            _ => Batch::Dynamic,
        }
    }

    fn profile(&self, name: &str) -> &HardwareProfile {
        let found = self.plan.devices.iter().find(|profile| profile.name == name);
        found.expect("objectives name devices of the plan")
    }

    fn device(&mut self, name: &str) -> &mut dyn Device {
        let found = self.devices.iter_mut().find(|device| device.profile().name == name);
        &mut **found.expect("objectives name devices of the plan, which are opened before anything is scored")
    }
}

/// The plan's devices, opened and found to work.
fn usable_devices(plan: &Plan, options: &OpenOptions) -> Result<Vec<Box<dyn Device>>, DeviceError> {
    let usable = |profile: &HardwareProfile| {
        let mut device = device::open(profile.clone(), options.clone())?;
        device.check()?;
        Ok(device)
    };
    plan.devices.iter().map(usable).collect()
}

/// Fails a candidate that needs more than the profile's budget.
fn within(field: &str, bytes: u64, budget_mib: Option<f64>) -> Result<(), Failure> {
    let mib = bytes as f64 / (1024.0 * 1024.0);
    match budget_mib.filter(|&budget| mib > budget) {
        Some(budget) => Err(Failure::Candidate(format!("needs {mib:.2} MiB, the profile's `{field}` is {budget} MiB"))),
        None => Ok(()),
    }
}

fn file_bytes(path: &Path) -> Result<u64, StudyError> {
    let facts = std::fs::metadata(path).map_err(|source| StudyError::File { path: path.to_owned(), source })?;
    // Weights that do not fit into the file stand beside it.
    let data = std::fs::metadata(path.with_extension("onnx.data")).map_or(0, |facts| facts.len());
    Ok(facts.len() + data)
}

/// Makes another stream than the search's: its first population is not the sample that it is ranked in.
const REFERENCE_STREAM: u64 = 0x5eed_0000_0000_0000;

/// The reference sample's scores, drawn and scored as far as the store does not have them.
fn reference(
    plan: &Plan,
    store: &mut Store,
    probes: &Probes,
    observer: &mut dyn Observer,
) -> Result<Option<Vec<SampleScores>>, StudyError> {
    let mut draws = RandomSearch::new(plan.genes()?, plan.config.seed ^ REFERENCE_STREAM);
    let sample = draws.ask(plan.config.quality.reference);
    let known: Vec<u64> = store.reference_sample()?.iter().map(|record| record.number).collect();
    let unknown: Vec<usize> = (0..sample.len()).filter(|&number| !known.contains(&(number as u64))).collect();
    let genotypes: Vec<&Genotype> = unknown.iter().map(|&number| &sample[number]).collect();
    let mut done = known.len();
    let indicators = plan.recipe.with_teg();
    let finished =
        score_in_parallel((plan, probes), &indicators, &genotypes, observer, |index, indicators, _, observer| {
            let genotype = genotypes[index];
            let arch_id = plan.space.id(genotype).expect("samplers draw living networks only");
            let number = unknown[index] as u64;
            store.put_reference(&ReferenceRecord { number, arch: plan.space.arch(genotype), arch_id, indicators })?;
            done += 1;
            observer.on(&Event::Reference { done, total: sample.len() });
            Ok(())
        })?;
    if !finished {
        return Ok(None);
    }
    let known = |record: ReferenceRecord| {
        record.indicators.into_iter().filter_map(|(name, outcome)| Some((name, outcome.score()?))).collect()
    };
    Ok(Some(store.reference_sample()?.into_iter().map(known).collect()))
}

type Outcomes = BTreeMap<String, IndicatorOutcome>;

/// Scores candidates on all cores; `done` gets each as it is finished, on this thread. False if the observer
/// interrupted it: what runs is finished, what waits is left.
fn score_in_parallel(
    (plan, probes): (&Plan, &Probes),
    indicators: &[&'static dyn Indicator],
    genotypes: &[&Genotype],
    observer: &mut dyn Observer,
    mut done: impl FnMut(usize, Outcomes, f64, &mut dyn Observer) -> Result<(), StudyError>,
) -> Result<bool, StudyError> {
    if observer.interrupted() {
        return Ok(false);
    }
    let mut result = Ok(());
    let flow = indicator::score_each(probes, &plan.space, genotypes, indicators, |index, scores, time| {
        result = done(index, outcomes(scores), time.as_secs_f64(), observer);
        match result.is_err() || observer.interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    result.map(|()| flow.is_continue())
}

fn outcomes(scores: Scores) -> Outcomes {
    let outcome = |(name, score): (&str, Result<Score, IndicatorError>)| match score {
        Ok(score) => (name.to_owned(), IndicatorOutcome::Value(score)),
        Err(error) => (name.to_owned(), IndicatorOutcome::Failed(error.to_string())),
    };
    scores.into_iter().map(outcome).collect()
}
