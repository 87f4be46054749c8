//! A candidate on its way to a trial: its graph, what the indicators said, its model file.

use super::accuracy::{ACCURACY, ECE};
use super::store::{IndicatorOutcome, StageSeconds, Store, StoreError, TrialRecord, TrialState};
use super::{Plan, StudyError};
use crate::device::HardwareProfile;
use crate::genotype::{ArchId, Genotype};
use crate::graph::Graph;
use crate::indicator::{IndicatorError, Values};
use crate::network::Init;
use crate::onnx::{self, Batch, ExportOptions, Metadata};
use crate::space::Scale;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A candidate that is being evaluated.
pub(super) struct Candidate {
    /// What is known of its trial so far.
    pub record: TrialRecord,
    /// What came of its indicators.
    pub values: Values,
    /// Its full network as the space lowers it.
    pub declared: Option<Graph>,
    /// What is exported and measured; none if it failed before it came to that.
    pub live: Option<Graph>,
    /// Why it is no use, once that is known: the candidate's own fault.
    pub failure: Option<String>,
}

/// What is known of an architecture, and where the id is a variant's, of that variant: its accuracy is its own.
///
/// # Errors
/// If the store can't be read.
pub fn outcomes(store: &Store, id: &ArchId) -> Result<BTreeMap<String, IndicatorOutcome>, StoreError> {
    let (architecture, own) = (id.architecture(), store.indicators(id)?);
    if architecture == *id {
        return Ok(own);
    }
    let mut all = store.indicators(&architecture)?;
    all.retain(|name, _| ![ACCURACY, ECE].contains(&name.as_str()));
    all.extend(own);
    Ok(all)
}

/// The name of an architecture's file among the models.
pub(crate) fn model_file(id: &ArchId) -> String {
    format!("{id}.onnx")
}

impl Candidate {
    /// Lowers `genotype`, whose scores are expected to be in the store.
    pub fn new(plan: &Plan, store: &Store, place: (&str, u64), genotype: &Genotype) -> Result<Self, StudyError> {
        let space = &plan.space;
        let arch_id = space.id(genotype).unwrap_or_else(|| ArchId::new("dead"));
        let record = TrialRecord {
            sampler: place.0.to_owned(),
            number: place.1,
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
        let mut candidate = Self { record, values: Values::new(), declared: None, live: None, failure: None };
        let outcomes = outcomes(store, &candidate.record.arch_id)?;
        if let Err(reason) = candidate.lower(plan, outcomes) {
            candidate.failure = Some(reason);
        } else if let Some(reason) = store.failure(&candidate.record.arch_id)? {
            // The other sampler had it: a model that hangs is not waited for twice.
            candidate.failure = Some(reason);
        }
        Ok(candidate)
    }

    fn lower(&mut self, plan: &Plan, outcomes: BTreeMap<String, IndicatorOutcome>) -> Result<(), String> {
        let graph = plan.space.lower(&self.record.genotype, Scale::Full).map_err(|error| error.to_string())?;
        let cost = graph.cost();
        (self.record.params, self.record.macs) = (Some(cost.params), Some(cost.macs));
        let live = graph.live().map_err(|error| error.to_string())?;
        self.record.live_params = Some(live.cost().params);
        if outcomes.is_empty() {
            return Err(IndicatorError::Dead.to_string());
        }
        (self.declared, self.live) = (Some(graph), Some(live));
        self.take(outcomes);
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Takes what came of indicators; one that failed fails the candidate.
    pub fn take(&mut self, outcomes: BTreeMap<String, IndicatorOutcome>) {
        for (name, outcome) in outcomes {
            match outcome {
                IndicatorOutcome::Value(score) => {
                    self.values.insert(name, score.value);
                }
                IndicatorOutcome::Failed(reason) => self.failure = Some(reason),
            }
        }
    }

    /// The graph, while nothing speaks against the candidate.
    pub fn sound(&self) -> Option<&Graph> {
        self.live.as_ref().filter(|_| self.failure.is_none())
    }

    /// Where its model is or is going to be.
    pub fn model(&self, models: &Path) -> PathBuf {
        models.join(model_file(&self.record.arch_id))
    }

    /// What a model of it says of itself.
    pub fn metadata(&self, plan: &Plan) -> Metadata {
        Metadata {
            space: Some(plan.space.name.clone()),
            architecture: Some(self.record.arch.clone()),
            study: Some(plan.config.study.clone()),
            trial: Some(self.record.number),
            seed: (!plan.space.is_pretrained()).then_some(plan.config.seed),
            // Figures of plugins are of the file itself, which is the same whenever it is written.
            indicators: self.values.iter().filter(|(name, _)| !plan.is_figure(name)).map(owned).collect(),
            ..Metadata::new()
        }
    }

    /// Writes the full network of a sound candidate among the `models`; gives the file's SHA-256. The error's inner result
    /// is the candidate's own fault, the outer one everybody's.
    pub fn export(&self, plan: &Plan, models: &Path) -> Result<Result<String, String>, StudyError> {
        let Some(live) = self.sound() else { return Ok(Err("nothing to export".to_owned())) };
        let seed = plan.config.seed;
        let drawn = (Init::TorchDefault, seed);
        let weights = match plan.space.weights(&self.record.genotype, live, drawn, &candle_core::Device::Cpu) {
            Ok(weights) => weights,
            Err(error) => return Ok(Err(format!("export: {error}"))),
        };
        let weights_sha256 = match weights.sha256() {
            Ok(digest) => digest,
            Err(error) => return Ok(Err(format!("export: {error}"))),
        };
        let metadata = Metadata { weights_sha256: Some(weights_sha256), ..self.metadata(plan) };
        let file_name = model_file(&self.record.arch_id);
        let options =
            ExportOptions { batch: batch(plan), file_name, precision: plan.precision(), ..ExportOptions::default() };
        match onnx::export(live, &weights, &metadata, options) {
            Ok(model) => {
                model.save(&self.model(models))?;
                Ok(Ok(model.sha256()))
            }
            Err(error) => Ok(Err(format!("export: {error}"))),
        }
    }

    /// Fails a candidate whose activations and weights need more memory than the profile's budget.
    pub fn within_memory(&mut self, profile: &HardwareProfile) {
        let Some(live) = self.sound() else { return };
        let cost = live.cost();
        // A graph's costs are those of 32-bit floats.
        let needed = (cost.peak_activation_bytes + 4 * cost.params) * profile.precision.bytes() / 4;
        self.within("budget.memory_mib", mib(needed), profile.budget.memory_mib);
    }

    /// Fails a candidate whose model file is larger than the profile's budget.
    pub fn within_size(&mut self, profile: &HardwareProfile, models: &Path) -> Result<(), StudyError> {
        if self.sound().is_some() && profile.budget.model_mib.is_some() {
            let mib = self.size_mib(models)?;
            self.within("budget.model_mib", mib, profile.budget.model_mib);
        }
        Ok(())
    }

    /// Size of its model, which is there.
    pub fn size_mib(&self, models: &Path) -> Result<f64, StudyError> {
        Ok(mib(file_bytes(&self.model(models))?))
    }

    fn within(&mut self, field: &str, mib: f64, budget_mib: Option<f64>) {
        if let Some(budget) = budget_mib.filter(|&budget| mib > budget) {
            self.failure = Some(format!("needs {mib:.2} MiB, the profile's `{field}` is {budget} MiB"));
        }
    }
}

/// The devices' batch size where it is one, else left open.
pub(super) fn batch(plan: &Plan) -> Batch {
    let mut sizes: Vec<usize> = plan.devices.iter().map(|device| device.profile.batch).collect();
    sizes.dedup();
    match sizes[..] {
        [size] => Batch::Fixed(size),
        _ => Batch::Dynamic,
    }
}

fn owned((name, value): (&String, &f64)) -> (String, f64) {
    (name.clone(), *value)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

fn file_bytes(path: &Path) -> Result<u64, StudyError> {
    let facts = std::fs::metadata(path).map_err(|source| StudyError::File { path: path.to_owned(), source })?;
    // Weights that do not fit into the file stand beside it.
    let data = std::fs::metadata(path.with_extension("onnx.data")).map_or(0, |facts| facts.len());
    Ok(facts.len() + data)
}
