//! ONNX Runtime, loaded at run time through `ort`.
//!
//! A process holds one library and one environment for its whole life. Sessions have all graph optimisations on
//! (only the last level has the blocked layout that makes convolutions fast), their inputs are bound once, and
//! a node that another provider than the one asked for would run is an error.

use super::provider::{self, AssignedNode, RECORD_ASSIGNMENT};
use super::{
    GraphOptimization, LoadOptions, NamedTensor, Runtime, RuntimeError, RuntimeInfo, Session, SessionOptions, Values,
    WORKER_ENV, inputs, library,
};
use crate::graph::{Activation, GraphBuilder, Op, Shape};
use crate::network::{Init, Weights};
use crate::onnx::{self, ExportOptions, Metadata, inspect};
use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::logging::LogLevel;

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::IoBinding;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, Tensor, TensorElementType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The runtime of [`RuntimeKind::OnnxRuntime`](super::RuntimeKind::OnnxRuntime).
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    library: PathBuf,
    environment: Environment,
}

/// The last error that ONNX Runtime logged: its providers say there why they can't be had, not in what they return.
static COMPLAINT: Mutex<Option<String>> = Mutex::new(None);

/// Longest reason that is passed on; the cause stands at its end.
const LONGEST_REASON: usize = 600;

/// What this process has loaded.
static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);

impl OnnxRuntime {
    /// Finds the library and loads it.
    ///
    /// # Errors
    /// If it is not there or too old, or this process has another one loaded.
    pub fn load(options: &LoadOptions) -> Result<Self, RuntimeError> {
        let located = library::locate(options.library.as_deref(), options.execution_provider.as_deref())?;
        Self::open_sharing(located.path, options.shared_threads)
    }

    /// Loads the library at `path`.
    pub(super) fn open(path: PathBuf) -> Result<Self, RuntimeError> {
        Self::open_sharing(path, None)
    }

    fn open_sharing(path: PathBuf, shared_threads: Option<usize>) -> Result<Self, RuntimeError> {
        let unusable = |reason: String| RuntimeError::Unavailable(format!("ONNX Runtime can't be used: {reason}"));
        let library = path.canonicalize().map_err(|error| unusable(format!("{}: {error}", path.display())))?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = loaded.as_ref() {
            if loaded.library == library {
                return Ok(loaded.clone());
            }
            let (old, new) = (loaded.library.display(), library.display());
            return Err(unusable(format!("this process has {old} loaded, so it can't load {new}")));
        }
        for (name, value) in WORKER_ENV.iter().filter(|(name, _)| std::env::var_os(name).is_none()) {
            // SAFETY: std's own lock orders this with other Rust code; the library, the only C code here that
            // reads its environment, is not loaded yet.
            unsafe { std::env::set_var(name, value) };
        }
        let mut builder = ort::init_from(&library).map_err(|error| unusable(error.to_string()))?;
        if let Some(threads) = shared_threads.filter(|&threads| threads > 1) {
            let pool = GlobalThreadPoolOptions::default().with_intra_threads(threads);
            builder = builder.with_global_thread_pool(pool.map_err(|error| unusable(error.to_string()))?);
        }
        let environment = builder
            .with_telemetry(false)
            .with_logger(Arc::new(log))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(loaded.insert(Self { library, environment }).clone())
    }

    /// A builder of sessions with this provider, ready for a model.
    pub(super) fn builder(&self, options: &SessionOptions) -> Result<SessionBuilder, String> {
        fn text(error: ort::Error<SessionBuilder>) -> String {
            error.to_string()
        }
        *complaint() = None;
        let mut builder = ort::session::Session::builder(&self.environment).map_err(|error| error.to_string())?;
        let level = match options.graph_optimization {
            GraphOptimization::None => GraphOptimizationLevel::Disable,
            GraphOptimization::Basic => GraphOptimizationLevel::Level1,
            GraphOptimization::Extended => GraphOptimizationLevel::Level2,
            GraphOptimization::All => GraphOptimizationLevel::All,
        };
        builder = builder.with_optimization_level(level).map_err(text)?;
        builder = builder.with_config_entry(RECORD_ASSIGNMENT, "1").map_err(text)?;
        if let Some(threads) = options.threads {
            builder = builder.with_intra_threads(threads).map_err(text)?;
        }
        match &options.execution_provider {
            Some(provider) => provider::register(builder, provider, options.threads),
            None => Ok(builder),
        }
    }

    fn write_optimized(&self, model: &Path, options: &SessionOptions, output: &Path) -> Result<(), String> {
        let info = inspect(model).map_err(|error| inputs::without_path(&error.to_string(), model))?;
        let specs = inputs::resolve(&info.inputs, options)?;
        let mut builder = self.builder(options)?;
        for (symbol, size) in inputs::symbol_sizes(&info.inputs, &specs) {
            builder = builder.with_dimension_override(&symbol, size as i64).map_err(|error| error.to_string())?;
        }
        builder = builder.with_optimized_model_path(output).map_err(|error| error.to_string())?;
        builder.commit_from_file(model).map(|_| ()).map_err(|error| error.to_string())
    }

    fn session(&self, model: &Path, options: &SessionOptions) -> Result<OrtSession, String> {
        let info = inspect(model).map_err(|error| inputs::without_path(&error.to_string(), model))?;
        let specs = inputs::resolve(&info.inputs, options)?;
        let wanted = provider::lookup(options.execution_provider.as_ref().map_or("cpu", |asked| &asked.name))?;
        let symbols = inputs::symbol_sizes(&info.inputs, &specs);
        let commit = |strict: bool| {
            let mut builder = self.builder(options)?;
            for (symbol, &size) in &symbols {
                builder = builder.with_dimension_override(symbol, size as i64).map_err(|error| error.to_string())?;
            }
            if strict {
                builder = builder.with_disable_cpu_fallback().map_err(|error| error.to_string())?;
            }
            builder.commit_from_file(model).map_err(|error| error.to_string())
        };
        let allowed = options.execution_provider.as_ref().is_some_and(|asked| asked.allow_fallback);
        let strict = wanted.name != "cpu" && !allowed;
        let in_file =
            info.operators.iter().filter(|(operator, _)| *operator != "Constant").map(|(_, count)| count).sum();
        let asked = options.execution_provider.clone().unwrap_or_default();
        let refuse = |assignment: &BTreeMap<String, Vec<AssignedNode>>| {
            let total = provider::counts(&asked, wanted, assignment, in_file).values().sum();
            provider::refuse_fallback(wanted, assignment, total)
        };
        let session = match commit(strict) {
            // ONNX Runtime says that nodes fall back, not which: a session that lets them tells.
            Err(reason) if strict && reason.contains("fallback") => {
                refuse(&provider::assignment(&commit(false)?)?)?;
                return Err(reason);
            }
            session => session?,
        };
        let assignment = provider::assignment(&session)?;
        if !allowed {
            refuse(&assignment)?;
        }
        let fallen_back = provider::fallen_back(wanted, &assignment).into_iter().map(ToString::to_string).collect();
        let nodes = provider::counts(&asked, wanted, &assignment, in_file);
        OrtSession::new(session, specs, nodes, fallen_back).map_err(|error| error.to_string())
    }
}

impl Runtime for OnnxRuntime {
    fn info(&self) -> RuntimeInfo {
        let version = version(ort::info(), &self.library);
        RuntimeInfo { name: "onnxruntime".into(), version, library: Some(self.library.clone()) }
    }

    fn check(&self, options: &SessionOptions) -> Result<(), RuntimeError> {
        // Some providers say only when a session is made that their hardware is not there.
        let session =
            || self.builder(options)?.commit_from_memory(&smallest_model()?).map_err(|error| error.to_string());
        session().map(|_| ()).map_err(|reason| RuntimeError::Unavailable(explained(&reason)))
    }

    fn prepare(&self, model: &Path, options: &SessionOptions) -> Result<Box<dyn Session>, RuntimeError> {
        let failed = |reason: String| {
            let reason = reason.trim_start_matches(&format!("{}: ", model.display()));
            RuntimeError::Prepare { model: model.to_owned(), reason: explained(reason) }
        };
        Ok(Box::new(self.session(model, options).map_err(failed)?))
    }

    fn optimize(&self, model: &Path, options: &SessionOptions, output: &Path) -> Result<(), RuntimeError> {
        self.write_optimized(model, options, output).map_err(|reason| {
            let reason = reason.trim_start_matches(&format!("{}: ", model.display()));
            RuntimeError::Prepare { model: model.to_owned(), reason: explained(reason) }
        })
    }
}

/// A model of one ReLU.
fn smallest_model() -> Result<Vec<u8>, String> {
    let mut graph = GraphBuilder::new(Shape::map(1, 1, 1));
    let relu =
        graph.push("relu", Op::Activation(Activation::Relu), &[graph.input()]).map_err(|error| error.to_string())?;
    let graph = graph.finish(relu);
    let weights = Weights::random(&graph, Init::default(), 0, &candle_core::Device::Cpu);
    let weights = weights.map_err(|error| error.to_string())?;
    let model = onnx::export(&graph, &weights, &Metadata::new(), ExportOptions::default());
    Ok(model.map_err(|error| error.to_string())?.bytes)
}

fn complaint() -> MutexGuard<'static, Option<String>> {
    COMPLAINT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes a message of ONNX Runtime on to `tracing`, and keeps it if it is an error.
fn log(level: LogLevel, category: &str, _id: &str, place: &str, message: &str) {
    match level {
        LogLevel::Verbose => tracing::trace!(target: "onnxruntime", category, place, "{message}"),
        LogLevel::Info => tracing::debug!(target: "onnxruntime", category, place, "{message}"),
        LogLevel::Warning => tracing::warn!(target: "onnxruntime", category, place, "{message}"),
        LogLevel::Error | LogLevel::Fatal => {
            tracing::error!(target: "onnxruntime", category, place, "{message}");
            *complaint() = Some(message.to_owned());
        }
    }
}

/// `reason` in one line, with the last complaint where that is another one, without all but its end.
pub(super) fn explained(reason: &str) -> String {
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = one_line(reason);
    let complaint = complaint().take().map(|complaint| one_line(&complaint));
    if let Some(other) = complaint.filter(|complaint| !complaint.contains(&text) && !text.contains(complaint)) {
        text = format!("{text}: {other}");
    }
    let surplus = text.chars().count().saturating_sub(LONGEST_REASON);
    if surplus == 0 { text } else { format!("… {}", text.chars().skip(surplus).collect::<String>()) }
}

/// The version and commit in a build information, like `git-branch=rel-1.31.1, git-commit-id=…`.
fn version(build: &str, library: &Path) -> String {
    let field = |name: &str| build.split_once(name).map(|(_, rest)| rest.split(',').next().unwrap_or(rest).trim());
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    let number = name.split_once(".so.").map(|(_, number)| number).filter(|number| number.contains('.'));
    let branch = field("git-branch=").map(|branch| branch.trim_start_matches("rel-"));
    let number = number.or(branch).unwrap_or("unknown version");
    field("git-commit-id=").map_or_else(|| number.to_owned(), |commit| format!("{number} ({commit})"))
}

struct OrtSession {
    session: ort::session::Session,
    binding: IoBinding,
    specs: Vec<NamedTensor>,
    bound: bool,
    nodes: BTreeMap<String, usize>,
    fallen_back: Vec<String>,
}

impl OrtSession {
    fn new(
        session: ort::session::Session,
        specs: Vec<NamedTensor>,
        nodes: BTreeMap<String, usize>,
        fallen_back: Vec<String>,
    ) -> Result<Self, ort::Error> {
        let mut binding = session.create_binding()?;
        let host = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
        for output in session.outputs() {
            binding.bind_output_to_device(output.name(), &host)?;
        }
        Ok(Self { session, binding, specs, bound: false, nodes, fallen_back })
    }

    fn bound(&self) -> Result<(), RuntimeError> {
        if self.bound { Ok(()) } else { Err(RuntimeError::Run("no inputs are bound".into())) }
    }
}

impl Session for OrtSession {
    fn inputs(&self) -> &[NamedTensor] {
        &self.specs
    }

    fn bind(&mut self, inputs: Vec<NamedTensor>) -> Result<(), RuntimeError> {
        for input in inputs::check(&self.specs, inputs)? {
            let name = input.name.clone();
            let bound = to_ort(input).and_then(|value| self.binding.bind_input(&name, &value));
            bound.map_err(|error| RuntimeError::Input { name, reason: error.to_string() })?;
        }
        self.bound = true;
        Ok(())
    }

    fn run(&mut self) -> Result<(), RuntimeError> {
        self.bound()?;
        self.session
            .run_binding(&self.binding)
            .map(|_| ())
            .map_err(|error| RuntimeError::Run(explained(&error.to_string())))
    }

    fn outputs(&mut self) -> Result<Vec<NamedTensor>, RuntimeError> {
        self.bound()?;
        let names: Vec<String> = self.session.outputs().iter().map(|output| output.name().to_owned()).collect();
        let failed = |error: ort::Error| RuntimeError::Run(explained(&error.to_string()));
        let outputs = self.session.run_binding(&self.binding).map_err(failed)?;
        let read = |name: String| {
            let value = outputs.get(&name).ok_or_else(|| RuntimeError::Run(format!("output `{name}` is absent")))?;
            from_ort(name, value)
        };
        names.into_iter().map(read).collect()
    }

    fn nodes_by_provider(&self) -> BTreeMap<String, usize> {
        self.nodes.clone()
    }

    fn fallen_back(&self) -> Vec<String> {
        self.fallen_back.clone()
    }
}

fn to_ort(input: NamedTensor) -> Result<DynValue, ort::Error> {
    let dims = input.dims;
    Ok(match input.values {
        Values::F32(values) => Tensor::from_array((dims, values))?.into_dyn(),
        Values::F16(values) => Tensor::from_array((dims, values))?.into_dyn(),
        Values::F64(values) => Tensor::from_array((dims, values))?.into_dyn(),
        Values::I64(values) => Tensor::from_array((dims, values))?.into_dyn(),
        Values::I32(values) => Tensor::from_array((dims, values))?.into_dyn(),
        Values::U8(values) => Tensor::from_array((dims, values))?.into_dyn(),
        Values::I8(values) => Tensor::from_array((dims, values))?.into_dyn(),
        Values::Bool(values) => Tensor::from_array((dims, values))?.into_dyn(),
    })
}

fn from_ort(name: String, value: &DynValue) -> Result<NamedTensor, RuntimeError> {
    fn elements<T: ort::value::PrimitiveTensorElementType + Copy>(value: &DynValue) -> Result<Vec<T>, RuntimeError> {
        let extracted = value.try_extract_tensor::<T>().map_err(|error| RuntimeError::Run(error.to_string()))?;
        Ok(extracted.1.to_vec())
    }
    let shape = value.dtype().tensor_shape();
    let shape = shape.ok_or_else(|| RuntimeError::Run(format!("output `{name}` is no tensor")))?;
    let dims = shape.iter().map(|&dim| dim as usize).collect();
    let values = match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => Values::F32(elements(value)?),
        Some(TensorElementType::Float16) => Values::F16(elements(value)?),
        Some(TensorElementType::Float64) => Values::F64(elements(value)?),
        Some(TensorElementType::Int64) => Values::I64(elements(value)?),
        Some(TensorElementType::Int32) => Values::I32(elements(value)?),
        Some(TensorElementType::Uint8) => Values::U8(elements(value)?),
        Some(TensorElementType::Int8) => Values::I8(elements(value)?),
        Some(TensorElementType::Bool) => Values::Bool(elements(value)?),
        other => {
            return Err(RuntimeError::Run(format!(
                "output `{name}` has elements of type {other:?}, which can't be read"
            )));
        }
    };
    Ok(NamedTensor { name, dims, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_build_information() {
        let build = "ORT Build Info: git-branch=rel-1.31.1, git-commit-id=abc, build type=Release";
        assert_eq!(version(build, Path::new("libonnxruntime.so.1")), "1.31.1 (abc)");
        assert_eq!(
            version("git-branch=HEAD, git-commit-id=abc", Path::new("libonnxruntime.so.1.30.0")),
            "1.30.0 (abc)"
        );
        assert_eq!(version("", Path::new("onnxruntime.dll")), "unknown version");
    }
}
