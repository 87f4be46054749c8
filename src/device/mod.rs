//! Where a model is measured: a worker process on this machine, or the records of an earlier study; or what a table says.
//!
//! Foreign code (runtimes, execution providers) runs in the worker only. When it crashes, hangs or eats the
//! memory, one measurement fails with a reason, and the next one gets a new worker.

mod batch;
mod child;
mod local;
mod message;
mod pin;
mod plugin;
mod profile;
pub(crate) mod remote;
mod replay;
#[cfg_attr(not(target_os = "linux"), path = "sandbox_off.rs")]
pub mod sandbox;
mod scorer;
mod table;
pub mod worker;

pub use crate::onnx::Precision;
pub use crate::process::LastWords;
pub use local::LocalDevice;
pub use message::Stage;
pub use plugin::{DeviceFacts, PluginDevice, Times};
pub use profile::{Budget, HardwareProfile, Limits, Location, ProfileError};
pub use remote::{AgentDevice, AgentState, Heartbeat, Registration, profile as agent_profile};
pub use replay::{Record, ReplayDevice};
pub(crate) use scorer::Scorer;
pub use table::{LatencyCsv, LatencyRow, read_latencies};

use crate::genotype::ArchId;
use crate::latency::Measurement;
use crate::nats::{NatsError, NatsOptions};
use crate::onnx::{self, OnnxError};
use crate::plugin::PluginError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One model to measure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// The ONNX file.
    pub model: PathBuf,
    /// Its architecture; absent for a model that is no candidate of a search.
    pub arch_id: Option<ArchId>,
    /// Sizes of inputs whose model leaves them open, by input name.
    pub input_dims: BTreeMap<String, Vec<usize>>,
}

impl Job {
    /// The model at this path, whatever it is.
    pub fn of_model(model: impl Into<PathBuf>) -> Self {
        Self { model: model.into(), ..Self::default() }
    }
}

/// A place where models are measured.
pub trait Device: Send {
    /// What it is.
    fn profile(&self) -> &HardwareProfile;

    /// Whether models can be measured at all: the worker starts, the runtime's library and its provider are there.
    ///
    /// # Errors
    /// With the reason why not.
    fn check(&mut self) -> Result<(), DeviceError>;

    /// Measures the latency of one model.
    ///
    /// # Errors
    /// With the reason why there is no figure. A device that failed once can be asked again.
    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError>;

    /// Measures the latency of several models, where the device can do so in turns; an outcome for each job, in
    /// their order.
    fn measure_all(&mut self, jobs: &[Job]) -> Vec<Result<Measurement, DeviceError>> {
        jobs.iter().map(|job| self.measure(job)).collect()
    }

    /// Says that what was measured of `jobs` is stored, so that a device which keeps answers may forget them.
    fn stored(&mut self, _jobs: &[Job]) {}

    /// Another handle of the same device for another thread, if it is a machine of its own: what it measures and what
    /// is computed here do not disturb each other.
    fn elsewhere(&self) -> Option<Box<dyn Device>> {
        None
    }

    /// The runtime and its version, once a [`check`](Self::check) has found it.
    fn runtime(&self) -> Option<String> {
        None
    }

    /// Writes what the device's runtime makes of a model (operators fused, layouts chosen) as an ONNX file at `output`.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] if it does not show that; else with the reason why this model has none.
    fn optimize(&mut self, _job: &Job, _output: &Path) -> Result<(), DeviceError> {
        let reason = "it does not show the graph that it runs".to_owned();
        Err(DeviceError::Unavailable { device: self.profile().name.clone(), reason })
    }
}

/// What [`open`] needs beside the profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The `tegu` executable that becomes the worker; the running one where absent.
    pub executable: Option<PathBuf>,
    /// The runtime's library, before the profile's.
    pub library: Option<PathBuf>,
    /// The one folder that the worker may write to, for models of strangers; it has the run of the machine where absent.
    pub sandbox: Option<PathBuf>,
    /// Where agents are reached; the environment says what is absent.
    pub nats: NatsOptions,
    /// Who asks agents: answers belong to a client, and wait for one of the same name. A new one where absent.
    pub client: Option<String>,
}

/// The device of this name: `agent:NAME` is one elsewhere, anything else a [profile](HardwareProfile::find).
///
/// # Errors
/// If there is none.
pub fn find(name: &str, nats: &NatsOptions) -> Result<HardwareProfile, DeviceError> {
    match name.strip_prefix("agent:") {
        Some(kind) => agent_profile(kind, nats),
        None => Ok(HardwareProfile::find(name)?),
    }
}

/// Gets the device of `profile` ready.
///
/// # Errors
/// If it is a replay whose records can't be read, an agent that can't be reached, a plugin that can't be started, or a table,
/// which runs no model.
pub fn open(profile: HardwareProfile, options: OpenOptions) -> Result<Box<dyn Device>, DeviceError> {
    Ok(match profile.location {
        Location::Local => Box::new(LocalDevice::new(profile, options)),
        Location::Replay { .. } => Box::new(ReplayDevice::new(profile)?),
        Location::Plugin(_) => Box::new(PluginDevice::new(profile)?),
        Location::Agent { ref name, .. } => {
            let client = options.client.unwrap_or_else(|| format!("{}{:016x}", remote::ONCE, rand::random::<u64>()));
            let client = format!("{client}-{name}");
            Box::new(AgentDevice::open(profile, &client, &options.nats)?)
        }
        Location::Table { file, .. } => {
            let reason = "a table of latencies answers for architectures in a search, it runs no model".to_owned();
            return Err(DeviceError::Records { study: file, reason });
        }
    })
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A table of latencies can't be read.
    #[error(transparent)]
    Table(#[from] crate::sheet::SheetError),
    /// The worker process can't be used at all.
    #[error("no worker process: {executable}: {reason}", executable = executable.display())]
    NoWorker {
        /// What was started.
        executable: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The runtime or its provider can't be had: no model can be measured.
    #[error("device `{device}` can't be used: {reason}")]
    Unavailable {
        /// Name of the profile.
        device: String,
        /// What is missing.
        reason: String,
    },
    /// The runtime refused the model; the reason names the file, and the operator or input.
    #[error("{0}")]
    Refused(String),
    /// The runtime failed while it ran the model; the reason names the file.
    #[error("{0}")]
    Failed(String),
    /// It took longer than the profile allows.
    #[error("{model}: not done within {limit_s} s, the profile's `limits.time_s` (stopped while {stage})", model = model.display())]
    TimeLimit {
        /// The file.
        model: PathBuf,
        /// Seconds allowed.
        limit_s: f64,
        /// What the worker was doing.
        stage: Stage,
    },
    /// It needs more memory than the profile allows.
    #[error("{model}: needs more than {limit_mib} MiB, the profile's `limits.memory_mib` (stopped while {stage})", model = model.display())]
    MemoryLimit {
        /// The file.
        model: PathBuf,
        /// MiB allowed.
        limit_mib: u64,
        /// What the worker was doing.
        stage: Stage,
    },
    /// The worker process ended by itself.
    #[error("{model}: the worker {how} while {stage}{last_words}", model = model.display())]
    Crashed {
        /// The file.
        model: PathBuf,
        /// Signal or exit code.
        how: String,
        /// What the worker was doing.
        stage: Stage,
        /// The end of what it wrote to its standard error, if anything.
        last_words: LastWords,
    },
    /// The model has an operator that the profile says it can't run.
    #[error("{model}: operator `{operator}` is among the `unsupported_operators` of profile `{profile}`", model = model.display())]
    UnsupportedOperator {
        /// The file.
        model: PathBuf,
        /// The operator.
        operator: String,
        /// Name of the profile.
        profile: String,
    },
    /// The profile is refused.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The server that agents are reached through can't be used.
    #[error(transparent)]
    Nats(NatsError),
    /// The file is no ONNX model.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A plugin can't be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The records of a replay, or a table, can't be used.
    #[error("{study}: {reason}", study = study.display())]
    Records {
        /// The file.
        study: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A replay without a record of this architecture.
    #[error("no measurement of architecture {arch} is recorded in {study}", study = study.display())]
    NoRecord {
        /// Id of the architecture.
        arch: String,
        /// The file of records.
        study: PathBuf,
    },
}

impl DeviceError {
    /// Whether it is the user's input that is at fault: the model, or the records of a replay.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::UnsupportedOperator { .. }
            | Self::Onnx(_)
            | Self::Records { .. }
            | Self::NoRecord { .. }
            | Self::Profile(_)
            | Self::Table(_) => true,
            Self::Nats(error) => error.is_input(),
            Self::Plugin(error) => error.is_input(),
            _ => false,
        }
    }

    /// Whether another model would fail as well.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::NoWorker { .. } | Self::Unavailable { .. } | Self::Records { .. } | Self::Table(_) | Self::Nats(_)
        ) || matches!(self, Self::Plugin(error) if error.is_unavailable())
    }
}

/// Looks for operators that the profile says the target can't run.
fn refuse_unsupported(profile: &HardwareProfile, model: &Path) -> Result<(), DeviceError> {
    let unsupported = &profile.unsupported_operators;
    if unsupported.is_empty() {
        return Ok(());
    }
    let found = onnx::inspect(model)?.operators.into_keys().find(|operator| unsupported.contains(operator));
    found.map_or(Ok(()), |operator| {
        let (model, profile) = (model.to_owned(), profile.name.clone());
        Err(DeviceError::UnsupportedOperator { model, operator, profile })
    })
}

/// SHA-256 of the file, hexadecimal.
fn sha256(path: &Path) -> std::io::Result<String> {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    let mut file = std::fs::File::open(path)?;
    let mut block = vec![0; 1 << 16];
    loop {
        match std::io::Read::read(&mut file, &mut block)? {
            0 => return Ok(crate::genotype::hex(&digest.finalize())),
            read => digest.update(&block[..read]),
        }
    }
}
