//! This machine as a device: a worker process, kept for many models, replaced after a failure of its own.
//!
//! Models are measured several at a time, in turns. One that brings the worker down costs itself alone: the others are
//! measured in a new worker. Their figures are stated for one pace of the machine, the median of what the reference
//! model took in all measurements so far, so that those of an hour ago can be compared with those of now.

use super::batch::{Culprit, Ended, Loss, Outcomes, follow};
use super::child::WorkerProcess;
use super::message::{CheckRequest, JobRequest, MeasureRequest, OptimizeRequest, Request, Setup};
use super::worker::Confinement;
use super::{Device, DeviceError, HardwareProfile, Job, OpenOptions, Stage, refuse_unsupported};
use crate::latency::statistics::median;
use crate::latency::{Measurement, Pace, Protocol};
use crate::runtime::SessionOptions;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// The most models that take turns: a round of more would take so long that little is common to all of it.
const MOST_IN_TURNS: usize = 64;

/// Measures in a worker process on this machine, within the profile's limits of time and memory.
pub struct LocalDevice {
    profile: HardwareProfile,
    executable: Option<PathBuf>,
    library: Option<PathBuf>,
    sandbox: Option<PathBuf>,
    runtime: Option<String>,
    worker: Option<WorkerProcess>,
    last_id: u64,
    /// Why the reference model can't be run here.
    no_reference: Option<String>,
    /// What it took, in each batch so far.
    reference_ms: Vec<f64>,
}

impl LocalDevice {
    /// A device of this profile. The worker starts with the first measurement.
    pub fn new(profile: HardwareProfile, options: OpenOptions) -> Self {
        let library = options.library.or_else(|| profile.library.clone());
        Self {
            profile,
            executable: options.executable,
            library,
            sandbox: options.sandbox,
            runtime: None,
            worker: None,
            last_id: 0,
            no_reference: None,
            reference_ms: vec![],
        }
    }

    fn take_worker(&mut self) -> Result<WorkerProcess, DeviceError> {
        if let Some(worker) = self.worker.take() {
            return Ok(worker);
        }
        let executable = self.executable.clone().map_or_else(own_executable, Ok)?;
        let readable = self.library.as_deref().and_then(Path::parent).map(Path::to_owned);
        let confinement =
            self.sandbox.clone().map(|folder| Confinement { folder, readable: readable.into_iter().collect() });
        WorkerProcess::start(&executable, confinement.as_ref())
    }

    /// Refuses a model of which too many nodes run elsewhere.
    fn within_coverage(&self, job: &Job, measured: Measurement) -> Result<Measurement, DeviceError> {
        match self.profile.budget.check_coverage(&measured) {
            Ok(()) => Ok(measured),
            Err(reason) => Err(DeviceError::Refused(format!("{}: {reason}", job.model.display()))),
        }
    }

    fn setup(&self) -> Setup {
        Setup {
            runtime: self.profile.runtime,
            library: self.library.clone(),
            session: SessionOptions {
                threads: self.profile.threads,
                execution_provider: self.profile.execution_provider.clone(),
                batch: Some(self.profile.batch),
                graph_optimization: self.profile.graph_optimization,
                ..SessionOptions::default()
            },
            cores: self.profile.cores.clone(),
            concurrent: self.profile.protocol.streams > 1,
        }
    }

    fn request(&mut self, jobs: &[&Job], protocol: &Protocol) -> Result<MeasureRequest, DeviceError> {
        self.last_id += 1;
        Ok(MeasureRequest {
            id: self.last_id,
            jobs: jobs.iter().map(|job| absolute(job)).collect::<Result<_, DeviceError>>()?,
            device: self.profile.name.clone(),
            setup: self.setup(),
            protocol: protocol.clone(),
            no_reference: self.no_reference.clone(),
            full_mib: self.profile.limits.memory_mib / 2,
        })
    }

    /// Sends the request to a worker and follows it to its end.
    fn ask(&mut self, id: u64, request: &Request, outcomes: &mut Outcomes) -> Result<Ended, DeviceError> {
        let kept = self.worker.is_some();
        let mut worker = self.take_worker()?;
        let protocol = &self.profile.protocol;
        let more_s = protocol.sustained_s + if protocol.streams > 1 { protocol.streams_s } else { 0.0 };
        let (worker, ended) = match worker.send(request) {
            true => follow(worker, id, outcomes, &self.profile.limits, more_s),
            false => (None, Ended::Lost(Culprit::Stage(Stage::Start), Loss::of(worker))),
        };
        self.worker = worker;
        match ended {
            // It did well before and ended through no fault of this request, between two requests perhaps.
            Ended::Lost(Culprit::Stage(_), Loss::Crashed(..)) if kept && outcomes.iter().all(Option::is_none) => {
                self.ask(id, request, outcomes)
            }
            ended => Ok(ended),
        }
    }

    /// Measures those of `jobs` that have no outcome yet, by `protocol`.
    fn measure_rest(&mut self, jobs: &[Job], outcomes: &mut Outcomes, protocol: &Protocol) {
        let mut waiting: VecDeque<usize> = (0..jobs.len()).filter(|&job| outcomes[job].is_none()).collect();
        // Those that were at work when the memory of all was too much.
        let mut alone = VecDeque::new();
        while let Some(first) = waiting.front().or(alone.front()) {
            let batch: Vec<usize> = match waiting.is_empty() {
                true => vec![*first],
                false => waiting.iter().copied().take(MOST_IN_TURNS).collect(),
            };
            match self.measure_batch(jobs, &batch, outcomes, protocol) {
                Ok(Some(too_much)) => {
                    waiting.retain(|&job| job != too_much);
                    alone.push_back(too_much);
                }
                Ok(None) => {}
                Err(error_of) => {
                    // No other model would fare better.
                    for job in waiting.drain(..).chain(alone.drain(..)) {
                        outcomes[job].get_or_insert_with(|| Err(error_of(&jobs[job].model)));
                    }
                }
            }
            waiting.retain(|&job| outcomes[job].is_none());
            alone.retain(|&job| outcomes[job].is_none());
        }
    }

    /// Measures the jobs of these numbers in turns. Gives the one that is to be tried again alone. An error is that of
    /// every model.
    fn measure_batch(
        &mut self,
        jobs: &[Job],
        batch: &[usize],
        outcomes: &mut Outcomes,
        protocol: &Protocol,
    ) -> Result<Option<usize>, ErrorOf> {
        let of_batch: Vec<&Job> = batch.iter().map(|&job| &jobs[job]).collect();
        let mut found: Outcomes = batch.iter().map(|_| None).collect();
        let limits = self.profile.limits.clone();
        let ended = self.request(&of_batch, protocol).and_then(|request| {
            let id = request.id;
            self.ask(id, &Request::Measure(request), &mut found)
        });
        let answered = found.iter().flatten().count();
        for (&job, outcome) in batch.iter().zip(found) {
            outcomes[job] = outcome;
        }
        match ended {
            Ok(Ended::Done | Ended::Ready(_)) if answered == 0 => {
                Err(Box::new(|model| DeviceError::Failed(format!("{}: the worker gave no answer", model.display()))))
            }
            Ok(Ended::Done | Ended::Ready(_)) => Ok(None),
            Ok(Ended::Unavailable(reason)) => {
                let device = self.profile.name.clone();
                Err(Box::new(move |_| DeviceError::Unavailable { device: device.clone(), reason: reason.clone() }))
            }
            Ok(Ended::Lost(Culprit::Job(at, Stage::Run | Stage::Load), Loss::MemoryLimit)) if batch.len() > 1 => {
                Ok(outcomes[batch[at]].is_none().then_some(batch[at]))
            }
            Ok(Ended::Lost(Culprit::Job(at, stage), loss)) => {
                let job = batch[at];
                outcomes[job] = Some(Err(loss.error(jobs[job].model.clone(), stage, &limits)));
                Ok(None)
            }
            Ok(Ended::Lost(Culprit::Stage(stage @ Stage::Reference), loss)) if self.no_reference.is_none() => {
                self.no_reference = Some(loss.reason(stage, &limits));
                Ok(None)
            }
            Ok(Ended::Lost(Culprit::Stage(stage), loss)) => {
                Err(Box::new(move |model| loss.error(model.to_owned(), stage, &limits)))
            }
            Err(DeviceError::NoWorker { executable, reason }) => {
                Err(Box::new(move |_| DeviceError::NoWorker { executable: executable.clone(), reason: reason.clone() }))
            }
            Err(error) => {
                let reason = error.to_string();
                Err(Box::new(move |_| DeviceError::Failed(reason.clone())))
            }
        }
    }

    /// Measures in as many fresh workers as the protocol has processes, and makes one of each model's figures.
    fn measure_in_processes(&mut self, jobs: &[Job], outcomes: &mut Outcomes) {
        let protocol = Protocol { between_process: 0.0, ..self.profile.protocol.clone() };
        let mut measured: Vec<Vec<Measurement>> = vec![vec![]; jobs.len()];
        for _ in 0..protocol.processes {
            self.worker = None;
            self.measure_rest(jobs, outcomes, &protocol);
            for (all, outcome) in measured.iter_mut().zip(outcomes.iter_mut()) {
                if let Some(Ok(one)) = outcome.take_if(|outcome| outcome.is_ok()) {
                    all.push(one);
                }
            }
        }
        self.rescale(measured.iter_mut().flatten());
        let deviation = between_process(&measured);
        for (all, outcome) in measured.into_iter().zip(outcomes).filter(|(_, outcome)| outcome.is_none()) {
            *outcome = Some(Ok(Measurement::of_processes(all, deviation)));
        }
    }

    /// States all figures for the same pace of the machine.
    fn rescale<'a>(&mut self, measured: impl Iterator<Item = &'a mut Measurement>) {
        let mut measured: Vec<&mut Measurement> = measured.filter(|one| one.reference.is_some()).collect();
        let paces: Vec<f64> = measured.iter().flat_map(|one| &one.reference).map(|found| found.p50_ms).collect();
        if paces.is_empty() {
            return;
        }
        self.reference_ms.push(median(&paces));
        let reference_ms = median(&self.reference_ms);
        for one in &mut measured {
            if let Some(pace) = one.pace() {
                one.state_for(&Pace { reference_ms, ..pace });
            }
        }
    }
}

/// The job as a worker is asked for it, whose folder may be another.
fn absolute(job: &Job) -> Result<JobRequest, DeviceError> {
    let model = std::path::absolute(&job.model);
    let model = model.map_err(|error| DeviceError::Failed(format!("{}: {error}", job.model.display())))?;
    Ok(JobRequest { model, input_dims: job.input_dims.clone() })
}

/// The error of a model, where all models have the same.
type ErrorOf = Box<dyn Fn(&Path) -> DeviceError>;

/// The relative deviation of a model's figures between processes, from all models together: the root of the mean of
/// their variances.
fn between_process(measured: &[Vec<Measurement>]) -> f64 {
    let variance = |all: &&Vec<Measurement>| {
        let mean = all.iter().map(|one| one.p50_ms).sum::<f64>() / all.len() as f64;
        let squares = all.iter().map(|one| (one.p50_ms / mean - 1.0).powi(2)).sum::<f64>();
        squares / (all.len() - 1) as f64
    };
    let variances: Vec<f64> = measured.iter().filter(|all| all.len() > 1).map(|all| variance(&all)).collect();
    (variances.iter().sum::<f64>() / variances.len().max(1) as f64).sqrt()
}

/// The running executable; on Linux as the link that leads to it even after its file was replaced.
pub(super) fn own_executable() -> Result<PathBuf, DeviceError> {
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
        let (id, limits) = (self.last_id, self.profile.limits.clone());
        let request = Request::Check(CheckRequest { id, setup: self.setup() });
        let reason = match self.ask(id, &request, &mut vec![])? {
            Ended::Ready(runtime) => {
                self.runtime = runtime;
                return Ok(());
            }
            Ended::Done => return Ok(()),
            Ended::Unavailable(reason) => reason,
            Ended::Lost(Culprit::Job(_, stage) | Culprit::Stage(stage), loss) => loss.reason(stage, &limits),
        };
        Err(DeviceError::Unavailable { device: self.profile.name.clone(), reason })
    }

    fn runtime(&self) -> Option<String> {
        self.runtime.clone()
    }

    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError> {
        self.measure_all(std::slice::from_ref(job)).pop().expect("one job has one outcome")
    }

    fn measure_all(&mut self, jobs: &[Job]) -> Vec<Result<Measurement, DeviceError>> {
        let refused = |job: &Job| refuse_unsupported(&self.profile, &job.model).err().map(Err);
        let mut outcomes: Outcomes = jobs.iter().map(refused).collect();
        if self.profile.protocol.processes > 1 {
            self.measure_in_processes(jobs, &mut outcomes);
        } else {
            let protocol = self.profile.protocol.clone();
            self.measure_rest(jobs, &mut outcomes, &protocol);
            self.rescale(outcomes.iter_mut().flatten().filter_map(|outcome| outcome.as_mut().ok()));
        }
        let outcomes = outcomes.into_iter().map(|outcome| outcome.expect("every job has an outcome now"));
        jobs.iter().zip(outcomes).map(|(job, outcome)| self.within_coverage(job, outcome?)).collect()
    }

    fn optimize(&mut self, job: &Job, output: &Path) -> Result<(), DeviceError> {
        let output = std::path::absolute(output)
            .map_err(|error| DeviceError::Failed(format!("{}: {error}", output.display())))?;
        self.last_id += 1;
        let request = OptimizeRequest { id: self.last_id, job: absolute(job)?, output, setup: self.setup() };
        let mut outcomes: Outcomes = vec![None];
        match self.ask(request.id, &Request::Optimize(request), &mut outcomes)? {
            Ended::Done | Ended::Ready(_) => outcomes.pop().flatten().map_or(Ok(()), |failed| failed.map(drop)),
            Ended::Unavailable(reason) => Err(DeviceError::Unavailable { device: self.profile.name.clone(), reason }),
            Ended::Lost(Culprit::Job(_, stage) | Culprit::Stage(stage), loss) => {
                Err(loss.error(job.model.clone(), stage, &self.profile.limits))
            }
        }
    }
}
