//! One request for several jobs as its client sees it: who is at work, for how long, and whose fault it is when the
//! worker has to be replaced.

use super::child::{Waited, WorkerProcess};
use super::message::{FailureKind, Reply, Stage};
use super::{DeviceError, LastWords, Limits};
use crate::latency::Measurement;
use crate::process::WATCH;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Outcomes of jobs so far, by their number in the request.
pub(super) type Outcomes = Vec<Option<Result<Measurement, DeviceError>>>;

/// How a request ended.
pub(super) enum Ended {
    /// The worker can go on. Jobs without an outcome found no room.
    Done,
    /// The runtime is there: its name and version.
    Ready(Option<String>),
    /// The runtime can't be had.
    Unavailable(String),
    /// The worker is gone; this was its work, and what happened.
    Lost(Culprit, Loss),
}

/// What a worker was working on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Culprit {
    /// The job of this number, at this stage.
    Job(usize, Stage),
    /// No job: the runtime or the reference.
    Stage(Stage),
}

/// Why a worker is gone.
pub(super) enum Loss {
    /// It ended by itself.
    Crashed(String, LastWords),
    /// It was stopped.
    TimeLimit,
    /// It was stopped.
    MemoryLimit,
}

impl Loss {
    /// Of a worker that ended by itself.
    pub(super) fn of(worker: WorkerProcess) -> Self {
        let (how, last_words) = worker.end();
        Self::Crashed(how, last_words)
    }

    /// As the error of a model.
    pub(super) fn error(&self, model: PathBuf, stage: Stage, limits: &Limits) -> DeviceError {
        match self {
            Self::Crashed(how, last_words) => {
                DeviceError::Crashed { model, how: how.clone(), stage, last_words: last_words.clone() }
            }
            Self::TimeLimit => DeviceError::TimeLimit { model, limit_s: limits.time_s, stage },
            Self::MemoryLimit => DeviceError::MemoryLimit { model, limit_mib: limits.memory_mib, stage },
        }
    }

    /// As a sentence about what is no model's fault.
    pub(super) fn reason(&self, stage: Stage, limits: &Limits) -> String {
        match self {
            Self::Crashed(how, last_words) => format!("the worker {how} while {stage}{last_words}"),
            Self::TimeLimit => {
                format!("not done within {} s, the profile's `limits.time_s` (stopped while {stage})", limits.time_s)
            }
            Self::MemoryLimit => format!(
                "the worker alone needs more than {} MiB, the profile's `limits.memory_mib` (stopped while {stage})",
                limits.memory_mib
            ),
        }
    }
}

/// How long each job has been at work.
struct AtWork {
    spent: Vec<Duration>,
    /// What is no job's.
    other: Duration,
    now: Culprit,
    since: Instant,
}

impl AtWork {
    fn turn_to(&mut self, now: Culprit) {
        let spent = self.since.elapsed();
        match self.now {
            Culprit::Job(job, _) => self.spent[job] += spent,
            // The reference has a turn in every round: only the one that does not end is too long.
            Culprit::Stage(_) => self.other = Duration::ZERO,
        }
        (self.now, self.since) = (now, Instant::now());
    }

    fn seconds(&self) -> f64 {
        let before = match self.now {
            Culprit::Job(job, _) => self.spent[job],
            Culprit::Stage(_) => self.other,
        };
        (before + self.since.elapsed()).as_secs_f64()
    }
}

/// Follows the request `id` to its end; each job may be at work for `limits.time_s` and `more_s` altogether. Gives the
/// worker back where it can go on.
pub(super) fn follow(
    mut worker: WorkerProcess,
    id: u64,
    outcomes: &mut Outcomes,
    limits: &Limits,
    more_s: f64,
) -> (Option<WorkerProcess>, Ended) {
    let mut at_work = AtWork {
        spent: vec![Duration::ZERO; outcomes.len()],
        other: Duration::ZERO,
        now: Culprit::Stage(Stage::Start),
        since: Instant::now(),
    };
    let mut looked: Option<Instant> = None;
    loop {
        match worker.wait(WATCH) {
            Waited::Reply(Reply::Stage { id: of, job, stage }) if of == id => {
                at_work.turn_to(match job.filter(|&job| job < outcomes.len()) {
                    Some(job) => Culprit::Job(job, stage),
                    None => Culprit::Stage(stage),
                });
            }
            Waited::Reply(Reply::Measured { id: of, job, measurement }) if of == id && job < outcomes.len() => {
                outcomes[job] = Some(Ok(*measurement));
            }
            Waited::Reply(Reply::Failed { id: of, job: Some(job), kind, reason })
                if of == id && job < outcomes.len() =>
            {
                outcomes[job] = Some(Err(match kind {
                    FailureKind::Refused => DeviceError::Refused(reason),
                    FailureKind::Run | FailureKind::Unavailable => DeviceError::Failed(reason),
                }));
            }
            Waited::Reply(Reply::Done { id: of }) if of == id => return (Some(worker), Ended::Done),
            Waited::Reply(Reply::Ready { id: of, runtime }) if of == id => {
                return (Some(worker), Ended::Ready(runtime));
            }
            Waited::Reply(Reply::Failed { id: of, job: None, reason, .. }) if of == id => {
                return (Some(worker), Ended::Unavailable(reason));
            }
            Waited::Reply(reply) => tracing::debug!("unexpected reply: {reply:?}"),
            Waited::Nothing => {}
            Waited::Gone => {
                return (None, Ended::Lost(at_work.now, Loss::of(worker)));
            }
        }
        // A worker that has to be stopped is dropped here. Its turns come faster than it is worth looking.
        if looked.is_some_and(|looked| looked.elapsed() < WATCH) {
            continue;
        }
        looked = Some(Instant::now());
        if at_work.seconds() > limits.time_s + more_s {
            return (None, Ended::Lost(at_work.now, Loss::TimeLimit));
        }
        if worker.memory().is_some_and(|bytes| bytes > limits.memory_mib.saturating_mul(1 << 20)) {
            return (None, Ended::Lost(at_work.now, Loss::MemoryLimit));
        }
    }
}
