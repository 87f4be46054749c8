//! This machine as a device: a worker process, kept for many models, replaced after a failure of its own.

use super::child::{Waited, WorkerProcess};
use super::message::{MeasureRequest, Reply, Request, Stage};
use super::{Device, DeviceError, HardwareProfile, Job, OpenOptions};
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
            session: SessionOptions {
                threads: self.profile.threads,
                execution_provider: self.profile.execution_provider.clone(),
                input_dims: job.input_dims.clone(),
                batch: Some(self.profile.batch),
            },
            protocol: self.profile.protocol.clone(),
        })
    }

    /// Waits for the answer to request `id`. Returns a worker that can go on along with it.
    fn answer(
        &self,
        mut worker: WorkerProcess,
        id: u64,
        model: &Path,
    ) -> Result<(WorkerProcess, Result<Measurement, DeviceError>), DeviceError> {
        let limits = &self.profile.limits;
        let model = model.to_owned();
        let start = Instant::now();
        let mut stage = Stage::Start;
        loop {
            match worker.wait(WATCH) {
                Waited::Reply(Reply::Stage { id: of, stage: now }) if of == id => stage = now,
                Waited::Reply(Reply::Measured { id: of, measurement }) if of == id => {
                    return Ok((worker, Ok(*measurement)));
                }
                Waited::Reply(Reply::Failed { id: of, reason }) if of == id => {
                    return Ok((worker, Err(DeviceError::Failed(reason))));
                }
                Waited::Reply(reply) => tracing::debug!("unexpected reply: {reply:?}"),
                Waited::Nothing => {}
                Waited::Gone => {
                    let (how, last_words) = worker.end();
                    return Err(DeviceError::Crashed { model, how, stage, last_words });
                }
            }
            if start.elapsed().as_secs_f64() > limits.time_s {
                return Err(DeviceError::TimeLimit { model, limit_s: limits.time_s, stage });
            }
            if worker.memory().is_some_and(|bytes| bytes > limits.memory_mib.saturating_mul(1 << 20)) {
                return Err(DeviceError::MemoryLimit { model, limit_mib: limits.memory_mib, stage });
            }
        }
    }
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

    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError> {
        self.refuse_unsupported(&job.model)?;
        let request = self.request(job)?;
        let (id, request) = (request.id, Request::Measure(request));
        let mut worker = self.take_worker()?;
        if !worker.send(&request) {
            // It ended between two measurements, through no fault of this model.
            drop(worker);
            worker = self.take_worker()?;
            worker.send(&request);
        }
        // A worker that has to be stopped, or is gone, is dropped with the error.
        let (worker, outcome) = self.answer(worker, id, &job.model)?;
        self.worker = Some(worker);
        outcome
    }
}
