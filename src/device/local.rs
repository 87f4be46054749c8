//! This machine as a device: a worker process, kept for many models, replaced after a failure of its own.

use super::child::{Waited, WorkerProcess};
use super::message::{CheckRequest, FailureKind, MeasureRequest, OptimizeRequest, Reply, Request, Stage};
use super::{Device, DeviceError, HardwareProfile, Job, LastWords, OpenOptions};
use crate::latency::Measurement;
use crate::onnx;
use crate::runtime::SessionOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the worker's memory is looked at.
const WATCH: Duration = Duration::from_millis(20);

/// Measures in a worker process on this machine, within the profile's limits of time and memory.
pub struct LocalDevice {
    profile: HardwareProfile,
    executable: Option<PathBuf>,
    library: Option<PathBuf>,
    worker: Option<WorkerProcess>,
    last_id: u64,
}

impl LocalDevice {
    /// A device of this profile. The worker starts with the first measurement.
    pub fn new(profile: HardwareProfile, options: OpenOptions) -> Self {
        let library = options.library.or_else(|| profile.library.clone());
        Self { profile, executable: options.executable, library, worker: None, last_id: 0 }
    }

    fn take_worker(&mut self) -> Result<WorkerProcess, DeviceError> {
        if let Some(worker) = self.worker.take() {
            return Ok(worker);
        }
        let executable = self.executable.clone().map_or_else(own_executable, Ok)?;
        WorkerProcess::start(&executable)
    }

    /// Looks for operators that the profile says the target can't run.
    fn refuse_unsupported(&self, model: &Path) -> Result<(), DeviceError> {
        let unsupported = &self.profile.unsupported_operators;
        if unsupported.is_empty() {
            return Ok(());
        }
        let found = onnx::inspect(model)?.operators.into_keys().find(|operator| unsupported.contains(operator));
        found.map_or(Ok(()), |operator| {
            let (model, profile) = (model.to_owned(), self.profile.name.clone());
            Err(DeviceError::UnsupportedOperator { model, operator, profile })
        })
    }

    fn request(&mut self, job: &Job) -> Result<MeasureRequest, DeviceError> {
        self.last_id += 1;
        let absolute = std::path::absolute(&job.model);
        Ok(MeasureRequest {
            id: self.last_id,
            model: absolute.map_err(|error| DeviceError::Failed(format!("{}: {error}", job.model.display())))?,
            device: self.profile.name.clone(),
            runtime: self.profile.runtime,
            library: self.library.clone(),
            session: SessionOptions { input_dims: job.input_dims.clone(), ..self.session() },
            protocol: self.profile.protocol.clone(),
        })
    }

    fn session(&self) -> SessionOptions {
        SessionOptions {
            threads: self.profile.threads,
            execution_provider: self.profile.execution_provider.clone(),
            batch: Some(self.profile.batch),
            ..SessionOptions::default()
        }
    }

    /// Why a request about `model` has not the answer that was hoped for.
    fn failure(&self, model: &Path, stage: Stage, answer: Answer) -> DeviceError {
        let (model, limits) = (model.to_owned(), &self.profile.limits);
        match answer {
            Answer::Reply(Reply::Failed { kind, reason, .. }) => match kind {
                FailureKind::Unavailable => DeviceError::Unavailable { device: self.profile.name.clone(), reason },
                FailureKind::Refused => DeviceError::Refused(reason),
                FailureKind::Run => DeviceError::Failed(reason),
            },
            Answer::Reply(reply) => DeviceError::Failed(format!("not the expected answer: {reply:?}")),
            Answer::Crashed(how, last_words) => DeviceError::Crashed { model, how, stage, last_words },
            Answer::TimeLimit => DeviceError::TimeLimit { model, limit_s: limits.time_s, stage },
            Answer::MemoryLimit => DeviceError::MemoryLimit { model, limit_mib: limits.memory_mib, stage },
        }
    }

    /// Sends the request to a worker and waits for its answer; also says what the worker did last.
    fn ask(&mut self, id: u64, request: &Request) -> Result<(Stage, Answer), DeviceError> {
        let mut worker = self.take_worker()?;
        if !worker.send(request) {
            // It ended between two requests, through no fault of this one.
            drop(worker);
            worker = self.take_worker()?;
            worker.send(request);
        }
        let limits = &self.profile.limits;
        let start = Instant::now();
        let mut stage = Stage::Start;
        loop {
            match worker.wait(WATCH) {
                Waited::Reply(Reply::Stage { id: of, stage: now }) if of == id => stage = now,
                Waited::Reply(
                    reply @ (Reply::Ready { id: of }
                    | Reply::Measured { id: of, .. }
                    | Reply::Optimized { id: of }
                    | Reply::Failed { id: of, .. }),
                ) if of == id => {
                    self.worker = Some(worker);
                    return Ok((stage, Answer::Reply(reply)));
                }
                Waited::Reply(reply) => tracing::debug!("unexpected reply: {reply:?}"),
                Waited::Nothing => {}
                Waited::Gone => {
                    let (how, last_words) = worker.end();
                    return Ok((stage, Answer::Crashed(how, last_words)));
                }
            }
            // A worker that has to be stopped is dropped here.
            if start.elapsed().as_secs_f64() > limits.time_s {
                return Ok((stage, Answer::TimeLimit));
            }
            if worker.memory().is_some_and(|bytes| bytes > limits.memory_mib.saturating_mul(1 << 20)) {
                return Ok((stage, Answer::MemoryLimit));
            }
        }
    }
}

/// What became of a request. Only after a reply is there a worker that can go on.
enum Answer {
    Reply(Reply),
    Crashed(String, LastWords),
    TimeLimit,
    MemoryLimit,
}

/// The running executable; on Linux as the link that leads to it even after its file was replaced.
fn own_executable() -> Result<PathBuf, DeviceError> {
    let link = Path::new("/proc/self/exe");
    if cfg!(target_os = "linux") && link.exists() {
        return Ok(link.to_owned());
    }
    std::env::current_exe().map_err(|error| DeviceError::NoWorker {
        executable: "tegu".into(),
        reason: format!("can't find the running executable: {error}"),
    })
}

impl Device for LocalDevice {
    fn profile(&self) -> &HardwareProfile {
        &self.profile
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        self.last_id += 1;
        let id = self.last_id;
        let (runtime, library, session) = (self.profile.runtime, self.library.clone(), self.session());
        let request = Request::Check(CheckRequest { id, runtime, library, session });
        let limits = self.profile.limits.clone();
        let reason = match self.ask(id, &request)? {
            (_, Answer::Reply(Reply::Ready { .. })) => return Ok(()),
            (_, Answer::Reply(Reply::Failed { reason, .. })) => reason,
            (_, Answer::Reply(reply)) => format!("the worker's answer is not the expected one: {reply:?}"),
            (stage, Answer::Crashed(how, last_words)) => format!("the worker {how} while {stage}{last_words}"),
            (stage, Answer::TimeLimit) => {
                format!("not done within {} s, the profile's `limits.time_s` (stopped while {stage})", limits.time_s)
            }
            (stage, Answer::MemoryLimit) => format!(
                "the worker alone needs more than {} MiB, the profile's `limits.memory_mib` (stopped while {stage})",
                limits.memory_mib
            ),
        };
        Err(DeviceError::Unavailable { device: self.profile.name.clone(), reason })
    }

    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError> {
        self.refuse_unsupported(&job.model)?;
        let request = self.request(job)?;
        let id = request.id;
        match self.ask(id, &Request::Measure(request))? {
            (_, Answer::Reply(Reply::Measured { measurement, .. })) => Ok(*measurement),
            (stage, answer) => Err(self.failure(&job.model, stage, answer)),
        }
    }

    fn optimize(&mut self, job: &Job, output: &Path) -> Result<(), DeviceError> {
        self.last_id += 1;
        let id = self.last_id;
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| DeviceError::Failed(format!("{}: {error}", path.display())))
        };
        let request = OptimizeRequest {
            id,
            model: absolute(&job.model)?,
            output: absolute(output)?,
            runtime: self.profile.runtime,
            library: self.library.clone(),
            session: SessionOptions { input_dims: job.input_dims.clone(), ..self.session() },
        };
        match self.ask(id, &Request::Optimize(request))? {
            (_, Answer::Reply(Reply::Optimized { .. })) => Ok(()),
            (stage, answer) => Err(self.failure(&job.model, stage, answer)),
        }
    }
}
