//! Networks whose layers' precisions are genes (SimQ-NAS): an architecture is trained once, as floats, and rounded as each of its
//! variants asks for. What is held to be accurate, measured and kept is one and the same model.

use super::accuracy::ShortlyTrained;
use super::candidate::{Candidate, batch};
use super::{Plan, StudyError};
use crate::config::QuantizationSection;
use crate::data::{DataSet, Part};
use crate::files;
use crate::genotype::{ArchId, Genotype};
use crate::graph::Graph;
use crate::onnx::{self, ExportOptions, OnnxModel};
use crate::quantize::{Feed, FloatModel, Precision, QuantizeError, Ranges, Runner, Scheme, with_metadata};
use crate::runtime::{SessionOptions, TractRuntime};
use crate::space::SearchSpace;
use crate::train::{self, Loaders, Metrics, ModelOptions, Predictions};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the folder, in a study's, of networks of floats after their short training.
pub const TRAINED: &str = "trained";

/// The precisions of those layers of a network that are to be rounded, by the layers' names in its model; nothing where the
/// space does not decide that, or has decided for floats.
pub fn layers_of(space: &SearchSpace, genotype: &Genotype, graph: &Graph) -> BTreeMap<String, Precision> {
    let mut layers = space.precisions(genotype, graph);
    layers.retain(|_, precision| *precision != Precision::Float);
    layers.into_iter().map(|(node, precision)| (onnx::value_name(graph, &node), precision)).collect()
}

/// Rounds trained networks.
pub(super) struct Rounding {
    section: QuantizationSection,
    folder: PathBuf,
    data: DataSet,
    calibration: Part,
    validation: Part,
    runner: Runner,
}

impl Rounding {
    pub fn new(
        section: &QuantizationSection,
        study: &Path,
        data: &DataSet,
        loaders: &Loaders,
    ) -> Result<Self, StudyError> {
        let folder = study.join(TRAINED);
        std::fs::create_dir_all(&folder).map_err(|source| StudyError::File { path: folder.clone(), source })?;
        // Not in a worker process: tract is no foreign code.
        let runner = Runner::new(Box::new(TractRuntime), SessionOptions::default());
        let runner = runner.map_err(|error| file_error(&folder, error))?;
        let validation = loaders.validation.as_ref().expect("a plan has a validation part").part().clone();
        let calibration = loaders.train.part().balanced(section.calibration, 0);
        Ok(Self { section: section.clone(), folder, data: data.clone(), calibration, validation, runner })
    }

    /// Whether the architecture is trained.
    pub fn has(&self, of_floats: &ArchId) -> bool {
        self.path(of_floats).is_file()
    }

    /// Keeps a network of floats.
    pub fn keep(
        &self,
        plan: &Plan,
        candidate: &Candidate,
        shortly: &ShortlyTrained,
        loaders: &Loaders,
    ) -> Result<(), StudyError> {
        let path = self.path(&candidate.record.arch_id.architecture());
        let file_name = path.file_name().expect("a model has a name").to_string_lossy().into_owned();
        let export = ExportOptions { batch: batch(plan), file_name, ..ExportOptions::default() };
        let options = ModelOptions { pixels: false, softmax: false, fold: true, export };
        let metadata = candidate.metadata(plan);
        let model = train::export(&shortly.trained, &shortly.evaluated, loaders, metadata, options);
        let model = model.map_err(|error| StudyError::Stored { path: path.clone(), reason: error.to_string() })?;
        Ok(model.save(&path)?)
    }

    /// Writes a candidate's model among the `models`; gives the file's SHA-256, or why there is none.
    pub fn export(
        &self,
        plan: &Plan,
        candidate: &Candidate,
        models: &Path,
    ) -> Result<Result<String, String>, StudyError> {
        let model = match told(self.float(candidate).and_then(|float| self.rounded(plan, candidate, &float)))? {
            Ok(model) => model,
            Err(reason) => return Ok(Err(reason)),
        };
        model.save(&candidate.model(models))?;
        Ok(Ok(model.sha256()))
    }

    /// How good a candidate's model is on the validation samples.
    pub fn metrics(&self, plan: &Plan, candidate: &Candidate) -> Result<Result<Metrics, String>, StudyError> {
        let outputs = || {
            let float = self.float(candidate)?;
            let model = self.rounded(plan, candidate, &float)?;
            self.runner.outputs(&model.bytes, &Feed::new(&float, &self.data, self.validation.clone())?)
        };
        let rows = match told(outputs())? {
            Ok(rows) => rows,
            Err(reason) => return Ok(Err(reason)),
        };
        let classes = rows.first().map_or(0, Vec::len);
        let predictions = Predictions::new(classes, rows.concat(), self.validation.labels());
        // The temperature is in the model.
        Ok(predictions.map(|predictions| predictions.metrics(1.0)).map_err(|error| error.to_string()))
    }

    fn path(&self, of_floats: &ArchId) -> PathBuf {
        self.folder.join(super::model_file(of_floats))
    }

    fn float(&self, candidate: &Candidate) -> Result<FloatModel, QuantizeError> {
        FloatModel::read(&self.path(&candidate.record.arch_id.architecture()))
    }

    fn rounded(&self, plan: &Plan, candidate: &Candidate, float: &FloatModel) -> Result<OnnxModel, QuantizeError> {
        let graph = candidate.sound().expect("what is rounded is sound");
        let layers = layers_of(&plan.space, &candidate.record.genotype, graph);
        let QuantizationSection { activations, range, reduce_range, .. } = self.section;
        let scheme = Scheme { activations, layers, others: Precision::Float, reduce_range };
        let architecture = ("tegu.architecture", Some(candidate.record.arch.clone()));
        if scheme.layers.is_empty() {
            return with_metadata(&float.folded(), &[architecture]);
        }
        let model = float.quantize(&self.ranges(float)?, &scheme)?;
        let said = json!({
            "precision": "int8", "range": range, "activations": activations, "layers": scheme.layers,
            "calibration_samples": self.calibration.len(), "calibration_sha256": self.data.sha256(),
            "float_sha256": float.sha256(),
        });
        // Figures of the model of floats are not those of the copy.
        let gone = [("tegu.accuracy", None), ("tegu.ece", None)];
        with_metadata(&model, &[&gone[..], &[architecture, ("tegu.quantization", Some(said.to_string()))]].concat())
    }

    /// The ranges of a trained network, which are found once.
    fn ranges(&self, float: &FloatModel) -> Result<Ranges, QuantizeError> {
        let path = float.path().with_extension("ranges.json");
        if let Some(known) = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(known);
        }
        let feed = Feed::new(float, &self.data, self.calibration.clone())?;
        let ranges = float.ranges(&self.runner, &feed, self.section.range)?;
        let text = serde_json::to_vec(&ranges).expect("names and finite numbers are JSON");
        files::write_whole(&path, &text).map_err(QuantizeError::Temporary)?;
        Ok(ranges)
    }
}

/// What came of a candidate's model, or why there is none; a full disk is not its fault.
fn told<T>(found: Result<T, QuantizeError>) -> Result<Result<T, String>, StudyError> {
    match found {
        Err(QuantizeError::Temporary(source)) => Err(StudyError::File { path: std::env::temp_dir(), source }),
        found => Ok(found.map_err(|error| format!("quantization: {error}"))),
    }
}

fn file_error(path: &Path, error: QuantizeError) -> StudyError {
    match error {
        QuantizeError::Temporary(source) => StudyError::File { path: path.to_owned(), source },
        error => StudyError::Stored { path: path.to_owned(), reason: error.to_string() },
    }
}
