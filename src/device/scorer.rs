//! A worker process that scores architectures for somebody else, within limits of time and memory.

use super::child::{Waited, WorkerProcess};
use super::message::{Reply, Request, ScoreRequest, Stage};
use super::remote::message::{ScoreOutcomes, ScoreWork};
use super::worker::Confinement;
use super::{DeviceError, Limits, OpenOptions, local};
use crate::network::Compute;
use crate::process::WATCH;
use std::path::Path;
use std::time::Instant;

/// The process, kept for many requests, replaced after a failure of its own.
pub(crate) struct Scorer {
    compute: Compute,
    limits: Limits,
    options: OpenOptions,
    worker: Option<WorkerProcess>,
    last_id: u64,
}

impl Scorer {
    /// One that computes on `compute`. The process starts with the first request.
    pub fn new(compute: Compute, limits: Limits, options: OpenOptions) -> Self {
        Self { compute, limits, options, worker: None, last_id: 0 }
    }

    /// The scores of each architecture.
    pub fn score(&mut self, work: &ScoreWork) -> Result<Vec<ScoreOutcomes>, DeviceError> {
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => {
                let executable = self.options.executable.clone().map_or_else(local::own_executable, Ok)?;
                let folder = self.options.sandbox.clone();
                let confinement = folder.map(|folder| Confinement { folder, readable: vec![] });
                WorkerProcess::start(&executable, confinement.as_ref())?
            }
        };
        self.last_id += 1;
        let (id, compute) = (self.last_id, self.compute);
        let request = Request::Score(ScoreRequest { id, work: work.clone(), compute });
        let (begun, model) = (Instant::now(), Path::new("score"));
        let gone = |worker: WorkerProcess| {
            let (how, last_words) = worker.end();
            Err(DeviceError::Crashed { model: model.to_owned(), how, stage: Stage::Run, last_words })
        };
        if !worker.send(&request) {
            return gone(worker);
        }
        loop {
            match worker.wait(WATCH) {
                Waited::Reply(Reply::Scored { id: of, scores }) if of == id => {
                    self.worker = Some(worker);
                    return Ok(scores);
                }
                Waited::Reply(Reply::Failed { id: of, reason, .. }) if of == id => {
                    self.worker = Some(worker);
                    return Err(DeviceError::Refused(reason));
                }
                Waited::Reply(reply) => tracing::debug!("unexpected reply: {reply:?}"),
                Waited::Nothing => {}
                Waited::Gone => return gone(worker),
            }
            // A worker that has to be stopped is dropped here.
            let Limits { time_s, memory_mib } = self.limits;
            if begun.elapsed().as_secs_f64() > time_s {
                return Err(DeviceError::TimeLimit { model: model.to_owned(), limit_s: time_s, stage: Stage::Run });
            }
            if worker.memory().is_some_and(|bytes| bytes > memory_mib.saturating_mul(1 << 20)) {
                return Err(DeviceError::MemoryLimit {
                    model: model.to_owned(),
                    limit_mib: memory_mib,
                    stage: Stage::Run,
                });
            }
        }
    }
}
