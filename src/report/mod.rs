//! Exporters of a study: one file an exporter (terminal table, JSON, CSV, HTML).
//!
//! Each takes a [`StudyReport`], which holds nothing but finished facts with their units, so that an exporter
//! never reaches back into the study; it may describe a study that still runs. [`write()`] puts the files of
//! a study's folder in place.

use crate::files;
use crate::lut::{LatencyTable, Validation};
use crate::objective::Direction;
use crate::quality::{Correlations, QualityFacts};
use crate::study::store::StoreError;
use crate::study::{FinalFigure, REPORTS};
use crate::tabular::Bench;
use crate::train::TrainingRecord;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod check;
mod collect;
mod controls;
pub mod correlation;
pub mod csv;
pub mod drawing;
pub mod html;
pub mod json;
mod number;
pub mod table;

pub use collect::collect;
pub use controls::{ControlRow, Preference, Seeds};

/// Everything that a report of a study shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyReport {
    /// Name of the study.
    pub study: String,
    /// Name of the search space.
    pub space: String,
    /// Number of genotypes in the space.
    pub space_size: f64,
    /// Version of Tegu that ran the study.
    pub tegu_version: String,
    /// The study's seed.
    pub seed: u64,
    /// When the study was created, RFC 3339.
    pub created: String,
    /// The resolved config.
    pub config_yaml: String,
    /// What was optimised, in the order of [`reference_point`](Self::reference_point).
    pub objectives: Vec<ObjectiveInfo>,
    /// The indicators that were computed. One with an objective's name is that objective.
    pub indicators: Vec<IndicatorInfo>,
    /// How the indicators became a quality, where they did.
    #[serde(default)]
    pub quality: Option<QualityFacts>,
    /// Where trials were measured.
    pub devices: Vec<DeviceInfo>,
    /// All finished trials of the search and of the control, in the order in which they were evaluated.
    pub trials: Vec<TrialRow>,
    /// The search's Pareto front: indexes into [`trials`](Self::trials), complete trials only.
    pub front: Vec<usize>,
    /// What the search reached and cost.
    pub search: SearchSummary,
    /// What the control (random search with the same number of evaluations) reached and cost.
    pub control: Option<SearchSummary>,
    /// Where hypervolumes are measured from: one value for each objective, in its unit; empty while no trial is complete.
    pub reference_point: Vec<f64>,
    /// Hypervolume as evaluations went on.
    #[serde(default)]
    pub hypervolume_history: Vec<HypervolumePoint>,
    /// The search's best figures beside those of controls; empty where there is no control.
    #[serde(default)]
    pub controls: Vec<ControlRow>,
    /// How far seeds are apart, where the study was repeated.
    #[serde(default)]
    pub seeds: Option<Seeds>,
    /// Which choices the front prefers; empty while there is none.
    #[serde(default)]
    pub preferences: Vec<Preference>,
    /// Rank correlations over complete trials; [`correlation::correlate`] makes them.
    #[serde(default)]
    pub correlations: Vec<Correlation>,
    /// Trainings of the study's architectures, by the names of their folders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trainings: BTreeMap<String, TrainingRecord>,
    /// What is deployed, measured last beside what the search measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remeasured: Vec<FinalFigure>,
    /// For each device, whether integers pay there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub integers: Vec<String>,
}

/// An objective as a reader needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveInfo {
    /// Its name, the key of [`TrialRow::objectives`].
    pub name: String,
    /// Which way is better.
    pub direction: Direction,
    /// Unit of its values; empty where it has none.
    #[serde(default)]
    pub unit: String,
    /// The device whose median latency this objective is; the unit is then `ms` and the measurement's confidence
    /// interval is shown with the value.
    #[serde(default)]
    pub device: Option<String>,
    /// Whether it is a constraint alone; such ones come after those that are optimised.
    #[serde(default)]
    pub constraint: bool,
    /// The least value allowed.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// The greatest value allowed.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// An indicator as a reader needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndicatorInfo {
    /// Its name, the key of [`TrialRow::indicators`].
    pub name: String,
    /// What it says of a network.
    pub description: String,
    /// Which way is better.
    pub direction: Direction,
    /// How it is computed.
    pub formula: String,
    /// Paper and section.
    pub source: String,
}

/// A device, what ran the models there, and the state that it was in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceInfo {
    /// Its name, the key of [`TrialRow::measurements`].
    pub name: String,
    /// `tract` or `onnxruntime`.
    pub runtime: String,
    /// The runtime's version.
    pub runtime_version: String,
    /// ONNX Runtime's execution provider.
    #[serde(default)]
    pub execution_provider: Option<String>,
    /// Threads within an operator; all cores where absent.
    #[serde(default)]
    pub threads: Option<usize>,
    /// Inputs in one run.
    pub batch: usize,
    /// The machine.
    pub host: HostInfo,
    /// Load average of the last minute when measuring began, where the system tells it.
    #[serde(default)]
    pub load_average: Option<f64>,
}

/// The machine of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostInfo {
    /// Model of the processor.
    pub cpu: String,
    /// Logical processors.
    pub logical_cores: usize,
    /// Main memory, bytes.
    pub memory_bytes: u64,
    /// Operating system and version.
    pub os: String,
    /// Further facts worth keeping (GPU, governor, container limits, …), by name.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrialState {
    /// Scored and measured.
    Complete,
    /// The reason why it failed.
    Failed(String),
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRow {
    /// Its number in the study.
    pub number: usize,
    /// The sampler that proposed it.
    pub sampler: String,
    /// Whether it belongs to the control rather than to the search.
    #[serde(default)]
    pub control: bool,
    /// The architecture, in the notation of its space.
    pub arch: String,
    /// The id that isomorphic architectures share.
    pub arch_id: String,
    /// How it ended.
    pub state: TrialState,
    /// Objectives by name: all of them where complete, none where failed.
    #[serde(default)]
    pub objectives: BTreeMap<String, f64>,
    /// Indicators by name, those that are known.
    #[serde(default)]
    pub indicators: BTreeMap<String, f64>,
    /// Parameters, where known.
    #[serde(default)]
    pub params: Option<u64>,
    /// Multiply-accumulates of one input, where known.
    #[serde(default)]
    pub macs: Option<u64>,
    /// Parameters that the output depends on, where known.
    #[serde(default)]
    pub live_params: Option<u64>,
    /// Latencies by device.
    #[serde(default)]
    pub measurements: BTreeMap<String, MeasurementSummary>,
    /// The ONNX file that was measured, relative to the report's folder.
    #[serde(default)]
    pub model: Option<String>,
    /// SHA-256 of that file.
    #[serde(default)]
    pub model_sha256: Option<String>,
    /// Whether it stands on the front.
    #[serde(default)]
    pub on_front: bool,
}

/// What one device measured of one trial, or what was said in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasurementSummary {
    /// Median latency of a run.
    pub p50_ms: f64,
    /// 95 % confidence interval of the median; 90 % of a prediction.
    pub ci95_ms: [f64; 2],
    /// 90th percentile.
    #[serde(default)]
    pub p90_ms: Option<f64>,
    /// Whether the measurement can be trusted: `stable`, or what is wrong with it, which is then shown with it;
    /// `predicted` or `table` where there is none, and the interval is then that of the prediction.
    pub verdict: String,
    /// Timed runs.
    pub samples: usize,
    /// Loading and preparing the model; absent where nothing was measured.
    pub load_ms: Option<f64>,
    /// The first run, before any warm-up; absent where nothing was measured.
    pub first_run_ms: Option<f64>,
}

/// What a search reached and cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSummary {
    /// The sampler.
    pub sampler: String,
    /// Trials, failed ones included.
    pub evaluations: usize,
    /// Failed trials.
    pub failed: usize,
    /// Hypervolume of its front from the reference point.
    pub hypervolume: f64,
    /// Seconds spent on indicators.
    pub scoring_s: f64,
    /// Seconds spent on ONNX files.
    pub exporting_s: f64,
    /// Seconds spent on preparing sessions and their first runs.
    #[serde(default)]
    pub loading_s: f64,
    /// Seconds spent on measurements.
    pub measuring_s: f64,
    /// Seconds spent on all else: predictions, the store, the sampler.
    #[serde(default)]
    pub waiting_s: f64,
    /// Seconds in all.
    pub total_s: f64,
}

/// Hypervolume after a number of evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HypervolumePoint {
    /// Evaluations so far, of each search.
    pub evaluations: usize,
    /// The search's hypervolume.
    pub search: f64,
    /// Seconds that the search has taken to it.
    #[serde(default)]
    pub search_s: f64,
    /// The control's hypervolume.
    #[serde(default)]
    pub control: Option<f64>,
    /// Seconds that the control has taken to it.
    #[serde(default)]
    pub control_s: Option<f64>,
}

/// Spearman's ρ of two quantities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correlation {
    /// An indicator, `params`, `macs` or `random`.
    pub of: String,
    /// An objective, `params` or `macs`.
    pub with: String,
    /// Spearman's rank correlation, in [-1, 1].
    pub spearman: f64,
    /// Trials that have both.
    pub trials: usize,
}

/// Why a report can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The report contradicts itself.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field.
        field: String,
        /// What was found and expected.
        reason: String,
    },
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file can't be written.
    #[error("{path}: {source}", path = path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Writes `front.json`, `front.csv`, `trials.csv` and `report.html` into `folder`. Each file is replaced as a
/// whole, so that a reader never sees half of one.
///
/// # Errors
/// If the report contradicts itself (see [`StudyReport::check`]), or a file can't be written.
pub fn write(report: &StudyReport, folder: &Path) -> Result<(), ReportError> {
    report.check()?;
    let texts = [json::front(report), csv::front(report), csv::trials(report), html::page(report)];
    REPORTS.into_iter().zip(texts).try_for_each(|(name, text)| replace(&folder.join(name), &text))
}

/// Writes the page of scores that are held against the truth, `truth` being that of each architecture.
///
/// # Errors
/// If the file can't be written.
pub fn write_correlations(correlations: &Correlations, truth: &[f64], path: &Path) -> Result<(), ReportError> {
    replace(path, &html::correlations(correlations, truth))
}

/// Writes the page of search strategies on a table.
///
/// # Errors
/// If the file can't be written.
pub fn write_samplers(bench: &Bench, path: &Path) -> Result<(), ReportError> {
    replace(path, &html::samplers(bench))
}

/// Writes the page of lookup tables that are held against measurements, the first one being what it is about.
///
/// # Errors
/// If the file can't be written.
pub fn write_validation(tables: &[LatencyTable], found: &[Validation], path: &Path) -> Result<(), ReportError> {
    replace(path, &html::validation(tables, found))
}

/// Writes a file as a whole.
fn replace(path: &Path, text: &str) -> Result<(), ReportError> {
    files::write_whole(path, text.as_bytes())
        .map_err(|source| ReportError::Unwritable { path: path.to_owned(), source })
}

impl StudyReport {
    /// The indicators that no objective has the name of: those that are objectives too are shown once.
    pub fn other_indicators(&self) -> impl Iterator<Item = &IndicatorInfo> {
        self.indicators.iter().filter(|indicator| self.objectives.iter().all(|o| o.name != indicator.name))
    }

    /// The trials on the front, best value of the first objective first.
    pub fn front_rows(&self) -> Vec<&TrialRow> {
        let mut rows: Vec<&TrialRow> = self.front.iter().filter_map(|&index| self.trials.get(index)).collect();
        if let Some(first) = self.objectives.first() {
            let cost = |row: &TrialRow| match (row.objectives.get(&first.name), first.direction) {
                (Some(value), Direction::Minimize) => *value,
                (Some(value), Direction::Maximize) => -value,
                (None, _) => f64::INFINITY,
            };
            rows.sort_by(|a, b| cost(a).total_cmp(&cost(b)).then(a.number.cmp(&b.number)));
        }
        rows
    }
}

impl TrialRow {
    /// Whether it was scored and measured.
    pub fn is_complete(&self) -> bool {
        self.state == TrialState::Complete
    }

    /// The measurement behind an objective that is the latency of a device.
    pub fn measurement(&self, objective: &ObjectiveInfo) -> Option<&MeasurementSummary> {
        self.measurements.get(objective.device.as_ref()?)
    }
}

#[cfg(test)]
mod tests;
