//! The last measurement: the files that are deployed, beside those that the search measured, in turns on the study's devices.

use super::front::front;
use super::latency::{known, pace_of};
use super::store::{Store, TrialRecord};
use super::{LATENCY, MODELS, STORE, StudyError, StudyFacts, TRAININGS, model_file};
use crate::device::{self, Device, HardwareProfile, Job, OpenOptions};
use crate::files;
use crate::genotype::ArchId;
use crate::onnx::{self, OnnxModel};
use crate::quantize::{Feed, FloatModel, QuantizeError, RangeMethod, Runner, Scheme};
use crate::runtime::{SessionOptions, TractRuntime};
use crate::train::{self, TrainingRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Samples of noise that the ranges of a copy are found with.
const NOISE: usize = 8;

/// Name of the file of last measurements in a study's folder.
pub const REMEASURED: &str = "remeasured.json";

/// One file on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalFigure {
    /// Name of the device.
    pub device: String,
    /// The architecture, as its space writes it.
    pub arch: String,
    /// Its id.
    pub arch_id: ArchId,
    /// The sampler whose trial it is, and the trial's number, where it was named so.
    pub trial: Option<(String, u64)>,
    /// The file, in the study's folder; none of a copy that was made to be measured and is gone.
    pub file: Option<PathBuf>,
    /// SHA-256 of the bytes that were measured.
    pub sha256: String,
    /// Their number.
    pub bytes: u64,
    /// Whether its weights are trained; else they are drawn.
    pub trained: bool,
    /// `f32`, `f16` or `int8`.
    pub precision: String,
    /// The latency in ms that a table predicted while the study searched.
    pub predicted_ms: Option<f64>,
    /// The latency in ms that was measured while the study searched.
    pub searched_ms: Option<f64>,
    /// What was measured now.
    pub outcome: FinalOutcome,
    /// How many times as fast it is as the network's file of 32-bit floats and the same weights.
    pub speed_up: Option<f64>,
    /// Accuracy by part of the data, as the file has it.
    pub accuracy: BTreeMap<String, f64>,
    /// Expected calibration error by part of the data, as the file has it.
    pub ece: BTreeMap<String, f64>,
}

/// What came of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalOutcome {
    /// A latency.
    Measured {
        /// The median in ms.
        p50_ms: f64,
        /// Its 95 % interval.
        ci95_ms: [f64; 2],
        /// Whether it can be relied on.
        verdict: String,
    },
    /// Why there is none.
    Failed(String),
}

impl FinalOutcome {
    /// The median in ms.
    pub fn p50_ms(&self) -> Option<f64> {
        match self {
            Self::Measured { p50_ms, .. } => Some(*p50_ms),
            Self::Failed(_) => None,
        }
    }
}

impl FinalFigure {
    /// The trial, or the architecture of one that was not named by a trial.
    pub fn network(&self) -> String {
        match &self.trial {
            Some((sampler, number)) => format!("trial {number} of {sampler}"),
            None => self.arch.clone(),
        }
    }

    /// Whether it is an integer copy that is faster than its network of floats by more than both intervals; none where
    /// there is nothing to compare it with.
    fn is_faster(&self, figures: &[Self]) -> Option<bool> {
        let interval = |outcome: &FinalOutcome| match outcome {
            FinalOutcome::Measured { ci95_ms, .. } => Some(*ci95_ms),
            FinalOutcome::Failed(_) => None,
        };
        let floats = figures.iter().find(|other| other.precision == "f32" && self.is_copy_of(other))?;
        Some(interval(&self.outcome)?[1] < interval(&floats.outcome)?[0])
    }

    /// Whether `other` is of the same network, with the same weights, on the same device.
    fn is_copy_of(&self, other: &Self) -> bool {
        // The folder tells two trainings of one architecture apart.
        let folder = |figure: &Self| {
            figure.file.as_deref().filter(|_| figure.trained).and_then(Path::parent).map(Path::to_owned)
        };
        let of = |figure: &Self| (figure.arch_id.clone(), figure.device.clone(), figure.trained, folder(figure));
        of(self) == of(other)
    }
}

/// For each device, how many of the INT8 copies are faster than the floats, and which are not.
pub fn integers_pay(figures: &[FinalFigure]) -> Vec<String> {
    let mut devices: Vec<&str> = figures.iter().map(|figure| figure.device.as_str()).collect();
    devices.dedup();
    let mut lines = vec![];
    for device in devices {
        let copies: Vec<(&FinalFigure, bool)> = figures
            .iter()
            .filter(|figure| figure.device == device && figure.precision == "int8")
            .filter_map(|figure| Some((figure, figure.is_faster(figures)?)))
            .collect();
        if copies.is_empty() {
            continue;
        }
        let faster = copies.iter().filter(|(_, faster)| *faster).count();
        let not: Vec<String> = copies
            .iter()
            .filter(|(_, faster)| !faster)
            .map(|(copy, _)| {
                let trained = if copy.trained { ", trained" } else { "" };
                format!("{}{trained} ({:.2} times as fast)", copy.network(), copy.speed_up.unwrap_or(f64::NAN))
            })
            .collect();
        let not = if not.is_empty() { String::new() } else { format!("; not faster beyond noise: {}", not.join(", ")) };
        lines.push(format!(
            "{device}: INT8 is faster than 32-bit floats for {faster} of {} networks{not}",
            copies.len()
        ));
    }
    lines
}

/// A file that is to be measured.
struct File {
    path: PathBuf,
    figure: FinalFigure,
}

/// Measures the models of the front again, and all that was trained of the study's architectures, in turns on each of the
/// study's devices; with `int8`, an INT8 copy of each of the front's models as well. Writes [`REMEASURED`].
///
/// # Errors
/// If there is no study, none of its devices can measure, or a file can't be read or written.
pub fn remeasure(folder: &Path, int8: bool, options: &OpenOptions) -> Result<Vec<FinalFigure>, StudyError> {
    let store = Store::open_read_only(&folder.join(STORE))?;
    let broken = |reason: String| StudyError::Stored { path: store.path().to_owned(), reason };
    let facts: StudyFacts = store.fact("study")?.ok_or_else(|| broken("no study that has begun".into()))?;
    let config: serde_json::Value = store.fact("config")?.unwrap_or_default();
    let profiles: Vec<HardwareProfile> = serde_json::from_value(config["devices"].clone())
        .map_err(|error| broken(format!("config.devices: {error}")))?;
    let mut devices = vec![];
    for profile in profiles {
        let mut device = device::open(profile, options.clone())?;
        device.check()?;
        devices.push(device);
    }
    if devices.is_empty() {
        let reason = format!("no objective `{LATENCY}…`: the study has no device to measure on");
        return Err(StudyError::Config { path: folder.to_owned(), reason });
    }
    let copies = tempfile::tempdir().map_err(|source| StudyError::File { path: std::env::temp_dir(), source })?;
    let mut files = of_front(folder, &front(&store, &facts)?, int8.then_some(copies.path()))?;
    files.extend(of_trainings(folder)?);
    let mut figures = vec![];
    for device in &mut devices {
        figures.extend(measured_on(&mut **device, &store, &files)?);
    }
    let text = serde_json::to_vec_pretty(&figures).expect("numbers and text are JSON");
    let path = folder.join(REMEASURED);
    files::write_whole(&path, &text).map_err(|source| StudyError::File { path, source })?;
    Ok(figures)
}

/// What [`remeasure`] has left in a study's folder; nothing where it was never called.
///
/// # Errors
/// If the file can't be read.
pub fn remeasured(folder: &Path) -> Result<Vec<FinalFigure>, StudyError> {
    let path = folder.join(REMEASURED);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StudyError::Stored {
            path,
            reason: format!("{error}, expected what `tegu remeasure` writes"),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        Err(source) => Err(StudyError::File { path, source }),
    }
}

/// The models of the front, which the search measured, and with `copies` an INT8 copy of each in that folder.
fn of_front(folder: &Path, front: &[TrialRecord], copies: Option<&Path>) -> Result<Vec<File>, StudyError> {
    let mut files = vec![];
    for record in front {
        let name = Path::new(MODELS).join(model_file(&record.arch_id));
        let path = folder.join(&name);
        if !path.is_file() {
            // One that was predicted and is measured for the first time has no file of its own.
            continue;
        }
        let trial = Some((record.sampler.clone(), record.number));
        let file =
            |path: PathBuf, name: Option<PathBuf>| File::new(path, name, &record.arch, &record.arch_id, trial.clone());
        if let Some(copies) = copies {
            let copy = copies.join(model_file(&record.arch_id));
            let quantized = int8_copy(&path).map_err(|error| unusable(&path, &error))?;
            quantized.save(&copy)?;
            let mut copy = file(copy, None)?;
            copy.figure.precision = "int8".into();
            files.push(copy);
        }
        files.push(file(path, Some(name))?);
    }
    Ok(files)
}

/// An INT8 copy of a model with drawn weights. Its ranges are found with noise: there is no accuracy to lose, but where a range
/// begins at zero a runtime has no need of the rectifier before it.
fn int8_copy(path: &Path) -> Result<OnnxModel, QuantizeError> {
    let model = FloatModel::read(path)?;
    let runner = Runner::new(Box::new(TractRuntime), SessionOptions::default())?;
    let ranges = model.ranges(&runner, &Feed::noise(&model, NOISE, 0)?, RangeMethod::MinMax)?;
    model.quantize(&ranges, &Scheme::default())
}

fn unusable(path: &Path, error: &QuantizeError) -> StudyError {
    StudyError::Stored { path: path.to_owned(), reason: error.to_string() }
}

/// All models in the folders of the study's trainings.
fn of_trainings(folder: &Path) -> Result<Vec<File>, StudyError> {
    let trainings = folder.join(TRAININGS);
    let records = train::records(&trainings)
        .map_err(|error| StudyError::Stored { path: trainings.clone(), reason: error.to_string() })?;
    let mut files = vec![];
    for (name, TrainingRecord { arch, arch_id, trial, .. }) in records {
        let Some(arch_id) = arch_id else { continue };
        let inner = trainings.join(&name);
        let failed = |source| StudyError::File { path: inner.clone(), source };
        let mut models = vec![];
        for entry in std::fs::read_dir(&inner).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "onnx") {
                models.push(path);
            }
        }
        models.sort();
        for path in models {
            let file_name = path.file_name().expect("it is an entry of a folder");
            let in_study = Path::new(TRAININGS).join(&name).join(file_name);
            let mut file = File::new(path.clone(), Some(in_study), &arch, &arch_id, trial.clone())?;
            file.figure.trained = true;
            files.push(file);
        }
    }
    Ok(files)
}

impl File {
    fn new(
        path: PathBuf,
        file: Option<PathBuf>,
        arch: &str,
        arch_id: &ArchId,
        trial: Option<(String, u64)>,
    ) -> Result<Self, StudyError> {
        let metadata = onnx::read_metadata(&path)?;
        let bytes = std::fs::metadata(&path).map_err(|source| StudyError::File { path: path.clone(), source })?.len();
        let figure = FinalFigure {
            device: String::new(),
            arch: arch.to_owned(),
            arch_id: arch_id.clone(),
            trial,
            file,
            sha256: String::new(),
            bytes,
            trained: false,
            precision: metadata.precision()?,
            predicted_ms: None,
            searched_ms: None,
            outcome: FinalOutcome::Failed(String::new()),
            speed_up: None,
            accuracy: metadata.accuracy,
            ece: metadata.ece,
        };
        Ok(Self { path, figure })
    }
}

/// The files measured in turns, stated for the pace that the study's figures are stated for.
fn measured_on(device: &mut dyn Device, store: &Store, files: &[File]) -> Result<Vec<FinalFigure>, StudyError> {
    let name = device.profile().name.clone();
    let pace = pace_of(store, &name)?;
    let jobs: Vec<Job> = files.iter().map(|file| Job::of_model(&file.path)).collect();
    let mut figures = vec![];
    for (file, outcome) in files.iter().zip(device.measure_all(&jobs)) {
        let mut figure = FinalFigure { device: name.clone(), ..file.figure.clone() };
        let estimate = store.estimate(&figure.arch_id, &name)?;
        let searched = known(store, &figure.arch_id, &name)?.filter(|latency| latency.measured);
        (figure.predicted_ms, figure.searched_ms) = (estimate.map(|one| one.p50_ms), searched.map(|one| one.p50_ms));
        figure.outcome = match outcome {
            Ok(mut measurement) => {
                pace.iter().for_each(|pace| measurement.state_for(pace));
                figure.sha256 = measurement.model_sha256;
                let (p50_ms, ci95_ms) = (measurement.p50_ms, measurement.ci95_ms);
                FinalOutcome::Measured { p50_ms, ci95_ms, verdict: measurement.verdict.to_string() }
            }
            Err(error) if error.is_unavailable() => return Err(error.into()),
            Err(error) => FinalOutcome::Failed(error.to_string()),
        };
        figures.push(figure);
    }
    let floats: Vec<FinalFigure> = figures.iter().filter(|figure| figure.precision == "f32").cloned().collect();
    for figure in figures.iter_mut().filter(|figure| figure.precision != "f32") {
        let float_ms = floats.iter().find(|float| figure.is_copy_of(float)).and_then(|float| float.outcome.p50_ms());
        figure.speed_up = float_ms.zip(figure.outcome.p50_ms()).map(|(float_ms, own_ms)| float_ms / own_ms);
    }
    Ok(figures)
}
