//! This machine as a device of searches that run elsewhere: takes jobs from a kind's queue, one group at a time, measures
//! them as a search here would, and answers.
//!
//! Whatever a client or a model does, it costs a job: what is no job is put among the dead, a model outside of the limits is
//! refused, and the one that brings the worker process down fails with the reason. A job that an agent took and never
//! answered comes back to the queue; the one that came back too often is given up.

mod admission;
mod lease;
mod scoring;
mod turn;

pub use admission::Admission;
pub use scoring::ScoringOptions;

use crate::device::remote::message::{Answer, Failure, FailureKind, Job, MESSAGES, MeasureWork, Outcome, SCORE, Work};
use crate::device::{self, AgentState, Device, DeviceError, HardwareProfile, OpenOptions, Registration, sandbox};
use crate::device::remote::Registry;
use crate::latency::Protocol;
use crate::nats::{Connection, NatsError, NatsOptions, Server, is_token, jobs_stream, unpacked};
use async_nats::jetstream::{AckKind, Message, consumer::PullConsumer, object_store::ObjectStore};
use futures_util::StreamExt;
use lease::Lease;
use scoring::Scoring;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// How long an agent waits for a job before it looks whether it is to stop.
const WAIT: Duration = Duration::from_secs(1);

/// What an agent is.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The name that searches know the device by; the same for all machines of one kind.
    pub device: String,
    /// The name of this machine among them.
    pub name: String,
    /// What it does.
    pub service: Service,
    /// The server.
    pub nats: NatsOptions,
    /// How the device is opened; the sandbox is the agent's own affair.
    pub open: OpenOptions,
    /// Its own folder: models while they are measured, and nothing else.
    pub folder: PathBuf,
    /// What it takes.
    pub admission: Admission,
    /// Models that are measured in turns, at most.
    pub together: usize,
    /// Deliveries of a job after which it is given up.
    pub tries: usize,
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// How long a job may be without a sign of life of its agent before another one gets it.
    pub ack_wait: Duration,
    /// Whether this machine is the device from now on, whatever was registered.
    pub replace: bool,
    /// The file that agents of one machine take turns by.
    pub turn: PathBuf,
    /// Whether the worker runs without a sandbox.
    pub unconfined: bool,
}

/// What an agent does.
#[derive(Clone, Debug)]
pub enum Service {
    /// Measures models.
    Measure(Box<HardwareProfile>),
    /// Scores architectures.
    Score(ScoringOptions),
}

/// What an agent has to say.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentEvent {
    /// It waits for work.
    Ready {
        /// Its key: `DEVICE.NAME`.
        agent: String,
        /// What its worker is kept from.
        sandbox: String,
        /// The kind's fingerprint.
        fingerprint: String,
    },
    /// It waits until the heartbeat of an agent of the same name is old.
    AwaitsLease {
        /// That agent.
        agent: String,
    },
    /// A job is answered.
    Answered {
        /// Its id.
        job: String,
        /// Since it was taken.
        seconds: f64,
        /// Why it has no figure.
        failed: Option<String>,
    },
    /// A message that is no job, or a job that was given up.
    Dead {
        /// Why.
        reason: String,
    },
}

/// Why an agent can't serve, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An option that can't be.
    #[error("{field}: {reason}")]
    Options {
        /// Its name.
        field: &'static str,
        /// What was expected.
        reason: String,
    },
    /// The server can't be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The device can't be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Another agent has the name.
    #[error("agent {agent} is at work already (instance {instance}): give this one another --name")]
    Taken {
        /// `DEVICE.NAME`.
        agent: String,
        /// The other one.
        instance: String,
    },
    /// The device is registered as another one.
    #[error("device `{device}` is registered as another one: {difference}; --replace makes this one the device (studies that began with the other refuse it)")]
    OtherDevice {
        /// Its name.
        device: String,
        /// The first thing that differs.
        difference: String,
    },
    /// Its folder can't be used.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl AgentError {
    /// Whether the user's input is at fault.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Options { .. } | Self::Taken { .. } | Self::OtherDevice { .. } => true,
            Self::Nats(error) => error.is_input(),
            Self::Device(error) => error.is_input(),
            Self::File { .. } => false,
        }
    }
}

/// What an agent does its work with.
enum Worker {
    Device { device: Box<dyn Device>, profile: HardwareProfile, open: OpenOptions },
    Scoring(Scoring),
}

/// Serves until `stop` says so.
///
/// # Errors
/// If an option is wrong, the device or the server can't be used, the name is taken, or the device is registered as another one.
pub fn serve(
    options: &AgentOptions,
    stop: impl Fn() -> bool + Send + Sync,
    mut on: impl FnMut(&AgentEvent),
) -> Result<(), AgentError> {
    for (field, name) in [("--device", &options.device), ("--name", &options.name)] {
        if !is_token(name) {
            let reason = format!("`{name}`, expected letters, digits, - and _");
            return Err(AgentError::Options { field, reason });
        }
    }
    if options.device == SCORE && matches!(options.service, Service::Measure(_)) {
        let reason = format!("`{SCORE}` is the name of agents that score, give the device another one");
        return Err(AgentError::Options { field: "--device", reason });
    }
    let models = options.folder.join("models");
    let file = |source| AgentError::File { path: models.clone(), source };
    std::fs::create_dir_all(&models).map_err(file)?;
    let confinement = if options.unconfined { Err("--unconfined".to_owned()) } else { sandbox::available() };
    let sandbox = match &confinement {
        Ok(by) => by.clone(),
        Err(reason) => format!("none: {reason}"),
    };
    let folder = std::path::absolute(&options.folder).map_err(file)?;
    let open = OpenOptions { sandbox: confinement.ok().map(|_| folder), ..options.open.clone() };
    let (worker, registration) = match &options.service {
        Service::Measure(profile) => {
            let mut device = device::open((**profile).clone(), open.clone())?;
            device.check()?;
            let registration = Registration::here((**profile).clone(), device.runtime());
            (Worker::Device { device, profile: (**profile).clone(), open }, Some(registration))
        }
        Service::Score(scoring) => (Worker::Scoring(Scoring::new(scoring.clone(), open)), None),
    };
    let connection = Connection::open(&options.nats)?;
    let server = connection.server();
    connection.block_on(async {
        let registry = Registry::open(&server).await?;
        if let Some(registration) = &registration {
            register(&registry, options, registration).await?;
        }
        let fingerprint = registration.map(|registration| registration.fingerprint()).unwrap_or_default();
        let lease = Lease::take(&server, registry, options, &fingerprint, &sandbox, &mut on).await?;
        on(&AgentEvent::Ready { agent: lease.key().to_owned(), sandbox, fingerprint: fingerprint.clone() });
        let stream = server.jobs(&options.device).await?;
        let filter = format!("tegu.jobs.{}.>", options.device);
        let jobs = server.consumer(&stream, "agents", &filter, options.ack_wait).await?;
        server.results().await?;
        server.dead().await?;
        let store = server.models().await?;
        let worker = Arc::new(Mutex::new(worker));
        let mut agent = Agent { options, server: &server, fingerprint, store, models, lease, worker };
        let served = agent.serve(&jobs, &stop, &mut on).await;
        agent.lease.leave().await;
        served
    })
}

/// Makes `registration` the device's, unless another one is.
async fn register(
    registry: &Registry,
    options: &AgentOptions,
    registration: &Registration,
) -> Result<(), AgentError> {
    let device = options.device.clone();
    let found = match registry.registration(&device).await {
        Err(error) if !options.replace => return Err(error.into()),
        found => found.ok().flatten(),
    };
    match found.as_ref().and_then(|found| found.difference(registration)) {
        Some(difference) if !options.replace => Err(AgentError::OtherDevice { device, difference }),
        None if found.is_some() => Ok(()),
        _ => Ok(registry.register(&device, registration).await?),
    }
}

struct Agent<'a> {
    options: &'a AgentOptions,
    server: &'a Server,
    fingerprint: String,
    store: ObjectStore,
    models: PathBuf,
    lease: Lease,
    worker: Arc<Mutex<Worker>>,
}

/// A job that an agent holds.
struct Held {
    message: Message,
    job: Job,
    taken: Instant,
}

impl Agent<'_> {
    async fn serve(
        &mut self,
        jobs: &PullConsumer,
        stop: &(impl Fn() -> bool + Send + Sync),
        on: &mut impl FnMut(&AgentEvent),
    ) -> Result<(), AgentError> {
        while !stop() {
            self.lease.check()?;
            let mut held = vec![];
            for message in taken(jobs, self.options.together).await {
                match self.admit(&message).await {
                    Ok(Some(job)) => held.push(Held { message, job, taken: Instant::now() }),
                    // Another agent has answered it.
                    Ok(None) => acknowledge(&message, AckKind::Ack).await,
                    Err(reason) => self.bury(&message, &reason, on).await,
                }
            }
            if held.is_empty() {
                continue;
            }
            let alive = self.keep_alive(&held);
            let done = self.work(&held).await;
            alive.abort();
            match done {
                Ok(outcomes) => {
                    for (held, outcome) in held.iter().zip(outcomes) {
                        self.answer(held, outcome, on).await?;
                    }
                }
                Err(error) => {
                    // No other job would fare better here, but another agent may.
                    for held in &held {
                        acknowledge(&held.message, AckKind::Nak(None)).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The job of a message; none if it is answered by now. An error is that of a message that is none, or was delivered
    /// too often.
    async fn admit(&self, message: &Message) -> Result<Option<Job>, String> {
        let job: Job = unpacked(&message.payload)
            .and_then(|text| serde_json::from_slice(&text).map_err(|error| format!("no job: {error}")))?;
        if job.version != MESSAGES {
            return Err(format!("version {} of the messages, this is {MESSAGES}", job.version));
        }
        if !is_token(&job.client) || !is_token(&job.id) {
            return Err(format!("client `{:.40}` and id `{:.40}` are no names", job.client, job.id));
        }
        let results = self.server.results().await.map_err(|error| error.to_string())?;
        if results.get_last_raw_message_by_subject(&job.answers_to()).await.is_ok() {
            return Ok(None);
        }
        let delivered = message.info().map_or(1, |info| info.delivered);
        if delivered > self.options.tries as i64 {
            let times = self.options.tries;
            let reason = format!("given up after {times} tries: the agents that took it never answered");
            let failure = Failure { kind: FailureKind::Failed, reason: reason.clone() };
            self.publish(&job, 0.0, Outcome::Failed(failure)).await.map_err(|error| error.to_string())?;
            return Err(reason);
        }
        Ok(Some(job))
    }

    /// Tells the server, from beside the work, that the jobs are being worked on.
    fn keep_alive(&self, held: &[Held]) -> tokio::task::JoinHandle<()> {
        let messages: Vec<Message> = held.iter().map(|held| held.message.clone()).collect();
        let every = self.options.ack_wait / 3;
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                for message in &messages {
                    acknowledge(message, AckKind::Progress).await;
                }
            }
        })
    }

    /// Does all of it, on a thread of its own: the outcomes in order.
    async fn work(&mut self, held: &[Held]) -> Result<Vec<Outcome>, AgentError> {
        let mut outcomes: Vec<Option<Outcome>> = vec![];
        let mut files = vec![];
        for held in held {
            let fetched = self.fetch(&held.job).await;
            outcomes.push(fetched.as_ref().err().map(|failure| Outcome::Failed(failure.clone())));
            files.push(fetched.ok().flatten());
        }
        let open: Vec<usize> = (0..held.len()).filter(|&at| outcomes[at].is_none()).collect();
        if !open.is_empty() {
            let works: Vec<(Work, Option<PathBuf>)> =
                open.iter().map(|&at| (held[at].job.work.clone(), files[at].clone())).collect();
            let (worker, turn) = (Arc::clone(&self.worker), self.options.turn.clone());
            self.lease.set(AgentState::Waiting);
            let state = self.lease.setter();
            let done = tokio::task::spawn_blocking(move || {
                let _turn = turn::wait(&turn)?;
                state(AgentState::Working);
                let mut worker = worker.lock().expect("no holder of the lock panics");
                worker.work(works)
            });
            let done = done.await.unwrap_or_else(|_| {
                let reason = "the agent's own code failed on it".to_owned();
                Ok(open.iter().map(|_| Outcome::Failed(Failure { kind: FailureKind::Failed, reason: reason.clone() })).collect())
            });
            self.lease.set(AgentState::Idle);
            for (at, outcome) in open.into_iter().zip(done?) {
                outcomes[at] = Some(outcome);
            }
        }
        for file in files.iter().flatten() {
            // What is left of it is removed with the next one.
            let _ = std::fs::remove_file(file);
        }
        Ok(outcomes.into_iter().map(|outcome| outcome.expect("every job has an outcome now")).collect())
    }

    /// Gets the model of a job that is for this device, where it has one. An error is the job's outcome.
    async fn fetch(&self, job: &Job) -> Result<Option<PathBuf>, Failure> {
        let failed = |kind, reason: String| Failure { kind, reason };
        if job.fingerprint != self.fingerprint || job.tegu != env!("CARGO_PKG_VERSION") {
            let ours = (env!("CARGO_PKG_VERSION"), &self.fingerprint);
            let reason = format!(
                "asked for device {:.40} of Tegu {:.40}, this agent is {} of Tegu {}",
                job.fingerprint, job.tegu, ours.1, ours.0
            );
            return Err(failed(FailureKind::OtherDevice, reason));
        }
        let refused = |reason| failed(FailureKind::Refused, reason);
        let admission = &self.options.admission;
        let Work::Measure(work) = &job.work else { return Ok(None) };
        let Service::Measure(profile) = &self.options.service else { return Ok(None) };
        admission.work(work, &profile.limits).map_err(refused)?;
        let digest = &work.model_sha256;
        let missing = |reason: String| failed(FailureKind::Failed, format!("model {digest}: {reason}"));
        let info = self.store.info(digest).await.map_err(|error| missing(error.to_string()))?;
        admission.size(info.size as u64).map_err(refused)?;
        let mut object = self.store.get(digest).await.map_err(|error| missing(error.to_string()))?;
        let mut bytes = vec![];
        let most = admission.most_bytes() + 1;
        (&mut object).take(most).read_to_end(&mut bytes).await.map_err(|error| missing(error.to_string()))?;
        let path = self.models.join(format!("{digest}.onnx"));
        let (admission, digest) = (admission.clone(), digest.clone());
        let file = path.clone();
        // Whatever a model of a stranger does to its reader, it ends here.
        let read = tokio::task::spawn_blocking(move || admission.model(&bytes, &digest, &file)).await;
        let read = read.unwrap_or_else(|_| Err("no ONNX model: it can't be read".to_owned()));
        read.map_err(refused)?;
        Ok(Some(path))
    }

    async fn answer(&mut self, held: &Held, outcome: Outcome, on: &mut impl FnMut(&AgentEvent)) -> Result<(), AgentError> {
        let seconds = held.taken.elapsed().as_secs_f64();
        let failed = match &outcome {
            Outcome::Failed(failure) => Some(failure.reason.clone()),
            _ => None,
        };
        self.publish(&held.job, seconds, outcome).await?;
        acknowledge(&held.message, AckKind::Ack).await;
        self.lease.answered();
        on(&AgentEvent::Answered { job: held.job.id.clone(), seconds, failed });
        Ok(())
    }

    async fn publish(&self, job: &Job, seconds: f64, outcome: Outcome) -> Result<(), NatsError> {
        let agent = self.lease.key().to_owned();
        let mut answer = Answer { version: MESSAGES, id: job.id.clone(), agent, seconds, outcome };
        let text = |answer: &Answer| serde_json::to_vec(answer).expect("answers are plain data");
        let published = self.server.publish(&job.answers_to(), &text(&answer)).await;
        let Err(error) = published else { return Ok(()) };
        let reason = format!("its answer can't be sent: {error}");
        answer.outcome = Outcome::Failed(Failure { kind: FailureKind::Failed, reason });
        self.server.publish(&job.answers_to(), &text(&answer)).await
    }

    /// Takes a message off the queue that is no job, or one no more, and keeps it where a person can look at it.
    async fn bury(&self, message: &Message, reason: &str, on: &mut impl FnMut(&AgentEvent)) {
        let text = String::from_utf8_lossy(&message.payload);
        let text: String = text.chars().take(4096).collect();
        let said = serde_json::json!({"reason": reason, "subject": message.subject.as_str(), "message": text});
        let subject = format!("tegu.dead.{}", self.options.device);
        match self.server.publish(&subject, said.to_string().as_bytes()).await {
            Ok(()) => acknowledge(message, AckKind::Term).await,
            Err(error) => tracing::warn!("a dead message stays in the queue: {error}"),
        }
        on(&AgentEvent::Dead { reason: reason.to_owned() });
    }
}

impl Worker {
    /// Does work of one kind; a failure of all of it is an error.
    fn work(&mut self, works: Vec<(Work, Option<PathBuf>)>) -> Result<Vec<Outcome>, AgentError> {
        let other = |what: &str| {
            let reason = format!("this agent does not {what}");
            Outcome::Failed(Failure { kind: FailureKind::Refused, reason })
        };
        match self {
            Self::Scoring(scoring) => {
                let score = |(work, _)| match work {
                    Work::Score(work) => scoring.score(&work),
                    Work::Measure(_) => Ok(other("measure")),
                };
                Ok(works.into_iter().map(score).collect::<Result<_, DeviceError>>()?)
            }
            Self::Device { device, profile, open } => {
                let mut outcomes: Vec<Option<Outcome>> = vec![None; works.len()];
                loop {
                    // Those with one protocol take turns.
                    let waiting: Vec<(usize, &MeasureWork, &Path)> = works
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| outcomes[*at].is_none())
                        .filter_map(|(at, (work, file))| match (work, file) {
                            (Work::Measure(work), Some(file)) => Some((at, work, file.as_path())),
                            _ => None,
                        })
                        .collect();
                    let Some((_, first, _)) = waiting.first() else { break };
                    let protocol = first.protocol.clone();
                    let group: Vec<_> = waiting.into_iter().filter(|(_, work, _)| work.protocol == protocol).collect();
                    if profile.protocol != protocol {
                        profile.protocol = protocol;
                        *device = device::open(profile.clone(), open.clone())?;
                    }
                    let jobs: Vec<device::Job> = group
                        .iter()
                        .map(|(_, work, file)| device::Job {
                            model: file.to_path_buf(),
                            arch_id: work.arch_id.clone(),
                            input_dims: work.input_dims.clone(),
                        })
                        .collect();
                    for ((at, _, _), outcome) in group.iter().zip(device.measure_all(&jobs)) {
                        outcomes[*at] = Some(match outcome {
                            Ok(measurement) => Outcome::Measured(Box::new(measurement)),
                            Err(error) if error.is_unavailable() => return Err(error.into()),
                            Err(error) => Outcome::Failed(error.into()),
                        });
                    }
                }
                Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| other("score"))).collect())
            }
        }
    }
}

/// Up to `most` messages of the queue; waits a moment for the first.
async fn taken(jobs: &PullConsumer, most: usize) -> Vec<Message> {
    let mut taken = vec![];
    if let Ok(mut batch) = jobs.batch().max_messages(1).expires(WAIT).messages().await
        && let Some(Ok(message)) = batch.next().await
    {
        taken.push(message);
    } else {
        // Where the server is away, there is nothing to wait for either.
        tokio::time::sleep(Duration::from_millis(20)).await;
        return taken;
    }
    if most > 1
        && let Ok(mut batch) = jobs.fetch().max_messages(most - 1).messages().await
    {
        while let Some(Ok(message)) = batch.next().await {
            taken.push(message);
        }
    }
    taken
}

async fn acknowledge(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        // It comes back, and is found to be answered.
        tracing::debug!("not acknowledged: {error}");
    }
}

/// What is known of a kind of device by its queue.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct DeviceStatus {
    /// Its name.
    pub device: String,
    /// What it is; none for agents that score.
    pub registration: Option<Registration>,
    /// Jobs that wait.
    pub waiting: u64,
    /// Jobs that agents hold.
    pub held: u64,
    /// Messages that were given up.
    pub dead: u64,
    /// Its agents, as of their last heartbeats.
    pub agents: Vec<crate::device::Heartbeat>,
}

/// All devices that agents have registered, and the agents that score.
///
/// # Errors
/// If the server can't be used.
pub fn devices(nats: &NatsOptions) -> Result<Vec<DeviceStatus>, NatsError> {
    let connection = Connection::open(nats)?;
    let server = connection.server();
    connection.block_on(async {
        let registry = Registry::open(&server).await?;
        let agents = registry.agents(None).await?;
        let mut kinds = registry.kinds().await?;
        if agents.iter().any(|(agent, _)| agent.kind == SCORE) {
            kinds.push(SCORE.to_owned());
        }
        let mut all = vec![];
        for device in kinds {
            let registration = if device == SCORE { None } else { registry.registration(&device).await.ok().flatten() };
            let (mut waiting, mut held) = (0, 0);
            if let Ok(stream) = server.jetstream.get_stream(jobs_stream(&device)).await
                && let Ok(mut jobs) = stream.get_consumer::<async_nats::jetstream::consumer::pull::Config>("agents").await
                && let Ok(info) = jobs.info().await
            {
                (waiting, held) = (info.num_pending, info.num_ack_pending as u64);
            }
            let mut dead = 0;
            if let Ok(stream) = server.dead().await
                && let Ok(mut subjects) = stream.info_with_subjects(format!("tegu.dead.{device}")).await
            {
                while let Some(Ok((_, count))) = subjects.next().await {
                    dead += count as u64;
                }
            }
            let agents = agents.iter().map(|(agent, _)| agent).filter(|agent| agent.kind == device).cloned().collect();
            all.push(DeviceStatus { device, registration, waiting, held, dead, agents });
        }
        Ok(all)
    })
}

/// Whether `protocol` asks for no more than a measurement may take.
fn within(protocol: &Protocol, limit_s: f64) -> Result<(), String> {
    protocol.check().map_err(|error| error.to_string())?;
    let asked = [
        ("warm_up_s", protocol.warm_up_s),
        ("budget_s", protocol.budget_s),
        ("min_round_s", protocol.min_round_s),
        ("sustained_s", protocol.sustained_s),
        ("streams_s", if protocol.streams > 1 { protocol.streams_s } else { 0.0 }),
    ];
    match asked.into_iter().find(|(_, seconds)| !(0.0..=limit_s).contains(seconds)) {
        Some((field, seconds)) => Err(format!("protocol.{field}: {seconds}, this agent's `limits.time_s` is {limit_s}")),
        None => Ok(()),
    }
}
