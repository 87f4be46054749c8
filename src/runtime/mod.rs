//! Loading and running an ONNX file: one file a runtime.
//!
//! Runtimes are foreign code: run them in a worker process, which holds one ONNX Runtime library for its
//! whole life. Spawn it with [`WORKER_ENV`].

mod execution_provider;
mod feed;
mod inputs;
mod install;
mod library;
mod mock;
mod onnxruntime;
mod provider;
mod survey;
mod tract;

pub use crate::files::tegu_home;
pub use execution_provider::ExecutionProvider;
pub use feed::random_inputs;
pub use install::{InstallError, Installed, Package, install};
pub use library::{Located, Source, Tried, locate};
pub use mock::MockRuntime;
pub use onnxruntime::OnnxRuntime;
pub use survey::{ProviderSurvey, RuntimeSurvey, survey};
pub use tract::{TractRuntime, macs};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Environment of a worker process: without it, ONNX Runtime 1.30 and later write into the user's cache folder.
pub const WORKER_ENV: &[(&str, &str)] = &[("ORT_DISABLE_TELEMETRY", "1")];

/// Which engine runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Pure Rust, always there.
    Tract,
    /// Microsoft's ONNX Runtime, loaded at run time.
    OnnxRuntime,
    /// Misbehaves on request, for tests.
    Mock,
}

/// How a model is prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionOptions {
    /// Threads within an operator; all cores where absent.
    pub threads: Option<usize>,
    /// ONNX Runtime's provider; the CPU where absent.
    pub execution_provider: Option<ExecutionProvider>,
    /// Sizes of inputs whose model leaves them open, by input name.
    #[serde(default)]
    pub input_dims: BTreeMap<String, Vec<usize>>,
    /// The size of a leading (batch) dimension that the model leaves open.
    pub batch: Option<usize>,
    /// How far ONNX Runtime may change the graph.
    #[serde(default, skip_serializing_if = "GraphOptimization::is_all")]
    pub graph_optimization: GraphOptimization,
}

/// How far ONNX Runtime may change the graph before it runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphOptimization {
    /// Not at all.
    None,
    /// Constants are folded, what has no effect is removed.
    Basic,
    /// Operators are fused.
    Extended,
    /// Layouts are changed as well.
    #[default]
    All,
}

impl GraphOptimization {
    /// Whether it is the default, which is not written down.
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// Values of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 16-bit floats.
    F16(Vec<half::f16>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// Bytes.
    U8(Vec<u8>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl Values {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Type of the elements, in ONNX's words.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "float32",
            Self::F16(_) => "float16",
            Self::F64(_) => "float64",
            Self::I64(_) => "int64",
            Self::I32(_) => "int32",
            Self::U8(_) => "uint8",
            Self::I8(_) => "int8",
            Self::Bool(_) => "bool",
        }
    }
}

/// One named tensor in or out.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Name of the model's input or output.
    pub name: String,
    /// Dimensions.
    pub dims: Vec<usize>,
    /// Elements, last dimension fastest.
    pub values: Values,
}

/// Which runtime a measurement used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeInfo {
    /// `tract` or `onnxruntime`.
    pub name: String,
    /// Its version, with build details where it tells them.
    pub version: String,
    /// The library that was loaded, where one was.
    pub library: Option<PathBuf>,
}

/// An engine that runs ONNX models.
pub trait Runtime {
    /// Name, version, library.
    fn info(&self) -> RuntimeInfo;

    /// Whether models can be run with these options at all: the execution provider is there and works.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] with the reason why not.
    fn check(&self, options: &SessionOptions) -> Result<(), RuntimeError>;

    /// Loads a model, once, for many runs.
    ///
    /// # Errors
    /// If the model can't be read or holds an operator that the runtime or the provider can't run (named), an
    /// input has an open dimension that the options don't give (named), or the provider is not there.
    fn prepare(&self, model: &Path, options: &SessionOptions) -> Result<Box<dyn Session>, RuntimeError>;

    /// Writes what the runtime makes of a model (operators fused, layouts chosen) as an ONNX file at `output`.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] if the runtime does not show that, or as [`Runtime::prepare`].
    fn optimize(&self, _model: &Path, _options: &SessionOptions, _output: &Path) -> Result<(), RuntimeError> {
        Err(RuntimeError::Unavailable(format!("{} does not show the graph that it runs", self.info().name)))
    }
}

/// A model that is ready to run.
pub trait Session: Send {
    /// Names, dimensions and element types of the inputs; the values are zeros.
    fn inputs(&self) -> &[NamedTensor];

    /// Fixes the inputs of the runs to come.
    ///
    /// # Errors
    /// If names, dimensions or element types are not the model's.
    fn bind(&mut self, inputs: Vec<NamedTensor>) -> Result<(), RuntimeError>;

    /// Runs the model on the bound inputs and waits for the result; this is what is timed.
    ///
    /// # Errors
    /// If the runtime fails.
    fn run(&mut self) -> Result<(), RuntimeError>;

    /// Runs once more and gives the outputs.
    ///
    /// # Errors
    /// If the runtime fails.
    fn outputs(&mut self) -> Result<Vec<NamedTensor>, RuntimeError>;

    /// How many nodes of the prepared model each execution provider runs; empty where the runtime has none
    /// or does not tell.
    fn nodes_by_provider(&self) -> BTreeMap<String, usize> {
        BTreeMap::new()
    }

    /// The nodes that another execution provider runs than the one that was asked for, as `name (operator)`.
    fn fallen_back(&self) -> Vec<String> {
        vec![]
    }
}

/// How a runtime is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Path of the runtime's library (`--ort-lib`); looked for where absent.
    pub library: Option<PathBuf>,
    /// Execution provider that will be asked for: of several libraries in Tegu's folder, the one made for it is taken.
    pub execution_provider: Option<String>,
    /// Threads that all sessions of this process share, where sessions take turns: the threads of one that has just
    /// run would still be spinning beside the next one's. Absent: each session has its own.
    pub shared_threads: Option<usize>,
}

/// Opens a runtime.
///
/// # Errors
/// [`RuntimeError::Unavailable`] if its library is not there, too old, or another one than this process has
/// loaded already.
pub fn load(kind: RuntimeKind, options: &LoadOptions) -> Result<Box<dyn Runtime>, RuntimeError> {
    Ok(match kind {
        RuntimeKind::Tract => Box::new(TractRuntime),
        RuntimeKind::Mock => Box::new(MockRuntime),
        RuntimeKind::OnnxRuntime => Box::new(OnnxRuntime::load(options)?),
    })
}

/// Why a model can't be run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The runtime's library is not there or can't be used.
    #[error("{0}")]
    Unavailable(String),
    /// The model can't be prepared.
    #[error("can't prepare {model}: {reason}", model = model.display())]
    Prepare {
        /// The file.
        model: PathBuf,
        /// Operator, input or provider, and what is wrong with it.
        reason: String,
    },
    /// Inputs that are not the model's.
    #[error("input `{name}`: {reason}")]
    Input {
        /// Name of the input.
        name: String,
        /// What was found and expected.
        reason: String,
    },
    /// A run failed.
    #[error("run failed: {0}")]
    Run(String),
}
