//! A device elsewhere: agents of one kind, each a machine that measures, reached through a NATS server.
//!
//! A job is a message in the kind's work queue and its model an object of the store, so jobs outlive the client, the
//! server's restarts and the agents that take them. An answer is kept by the server until the client has stored what it
//! says; a client that comes back asks again, and what is answered by then is not measured twice.

pub(crate) mod message;
mod registry;

pub(crate) use registry::Registry;
pub use registry::{AgentState, Heartbeat, Registration};

use super::{Device, DeviceError, HardwareProfile, Location, sha256};
use crate::latency::Measurement;
use crate::nats::{Connection, NatsError, NatsOptions, Server, unpacked};
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt;
use futures_util::future::join_all;
use message::{Answer, Failure, FailureKind, Job, MESSAGES, MeasureWork, Outcome, ScoreOutcomes, ScoreWork, Work};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What the names of clients begin with that do not come back.
pub(super) const ONCE: &str = "once-";
/// How long an answer that was not acknowledged is left alone before the server sends it again: it may have been lost on
/// its way.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// How often a client that waits looks at the agents' heartbeats.
const LOOK: Duration = Duration::from_secs(5);
/// How long it waits for an answer before it makes sure that the job is still in the queue.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long it waits while no agent gives a sign of life.
const PATIENCE: Duration = Duration::from_secs(600);

/// What `kind` of device is, as its agents have registered it, as a profile whose location they are.
///
/// # Errors
/// If the server can't be used, no agent of the kind was ever there, or it was of another version.
pub fn profile(kind: &str, nats: &NatsOptions) -> Result<HardwareProfile, DeviceError> {
    let connection = Connection::open(nats)?;
    let server = connection.server();
    let registration = connection.block_on(registered(&server, kind))?;
    let fingerprint = registration.fingerprint();
    let location = Location::Agent { name: kind.to_owned(), fingerprint: Some(fingerprint) };
    Ok(HardwareProfile { name: kind.to_owned(), location, ..registration.profile })
}

/// What is registered as `kind`, by this version.
async fn registered(server: &Server, kind: &str) -> Result<Registration, DeviceError> {
    let registry = Registry::open(server).await?;
    let unavailable = |reason: String| DeviceError::Unavailable { device: kind.to_owned(), reason };
    let Some(found) = registry.registration(kind).await? else {
        let kinds = registry.kinds().await?;
        let known = if kinds.is_empty() { "none is".to_owned() } else { format!("there are {}", kinds.join(", ")) };
        return Err(unavailable(format!("no agent has registered it ({known}): start `tegu agent --device {kind}`")));
    };
    if found.tegu != env!("CARGO_PKG_VERSION") {
        let ours = env!("CARGO_PKG_VERSION");
        return Err(unavailable(format!("its agents are Tegu {}, this is {ours}", found.tegu)));
    }
    Ok(found)
}

/// A client of agents: what it asked, and what was answered.
pub(crate) struct Client {
    connection: Connection,
    server: Server,
    name: String,
    kind: String,
    answers: Arc<Answers>,
    models: async_nats::jetstream::object_store::ObjectStore,
    /// SHA-256 of models that the store has.
    uploaded: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct Answers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Not yet acknowledged, by the job's id.
    open: HashMap<String, (Answer, Message)>,
    /// Acknowledged: what comes once more is a copy.
    done: HashSet<String>,
    /// Whether nobody waits any more.
    given_up: bool,
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }
}

impl Client {
    /// The client of this name, which asks agents of `kind`; its answers so far are there.
    pub fn open(name: &str, kind: &str, nats: &NatsOptions) -> Result<Self, DeviceError> {
        let connection = Connection::open(nats)?;
        let server = connection.server();
        let (models, consumer) = connection.block_on(async {
            // So that a job finds its queue, whether or not there is an agent yet.
            server.jobs(kind).await?;
            let results = server.results().await?;
            let filter = message::answer_subject(name, "*");
            // What the server takes for delivered may have gone to a client that was killed: all that is there comes again.
            if let Err(error) = results.delete_consumer(name).await {
                tracing::debug!("a new client: {error}");
            }
            let consumer = server.consumer(&results, name, &filter, ACK_WAIT).await?;
            Ok::<_, NatsError>((server.models().await?, consumer))
        })?;
        let answers = Arc::new(Answers::default());
        let kept = Arc::clone(&answers);
        connection.spawn(async move {
            loop {
                match consumer.messages().await {
                    Ok(mut messages) => {
                        while let Some(next) = messages.next().await {
                            match next {
                                Ok(message) => take(&kept, message).await,
                                Err(error) => {
                                    tracing::debug!("answers: {error}");
                                    break;
                                }
                            }
                        }
                    }
                    Err(error) => tracing::debug!("answers: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let uploaded = Mutex::default();
        let (name, kind) = (name.to_owned(), kind.to_owned());
        Ok(Self { connection, server, name, kind, answers, models, uploaded })
    }

    /// Has the agents do all of `jobs`; their outcomes in order, none if that was given up.
    fn ask(&self, jobs: &[Job]) -> Result<Option<Vec<Outcome>>, DeviceError> {
        let ids: HashSet<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
        let mut asked: Option<Instant> = None;
        // Looked for when an answer is long in coming: most come at once.
        let mut sign = None;
        let mut looked = (Instant::now(), Instant::now());
        loop {
            let missing: Vec<&Job> = {
                let state = self.answers.lock();
                if state.given_up {
                    return Ok(None);
                }
                jobs.iter().filter(|job| !state.open.contains_key(&job.id)).collect()
            };
            if missing.is_empty() {
                break;
            }
            if asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
                self.publish(&missing)?;
                asked = Some(Instant::now());
            }
            {
                let state = self.answers.lock();
                let waits = |state: &mut State| !state.given_up && ids.iter().any(|&id| !state.open.contains_key(id));
                drop(self.answers.changed.wait_timeout_while(state, LOOK, waits));
            }
            if looked.0.elapsed() >= LOOK {
                looked.0 = Instant::now();
                let now = self.sign_of_life();
                if now != sign {
                    (sign, looked.1) = (now, Instant::now());
                } else if looked.1.elapsed() > PATIENCE {
                    let reason = format!("no agent has given a sign of life for {} s", PATIENCE.as_secs());
                    return Err(DeviceError::Unavailable { device: self.kind.clone(), reason });
                }
            }
        }
        let state = self.answers.lock();
        Ok(Some(jobs.iter().map(|job| state.open[&job.id].0.outcome.clone()).collect()))
    }

    /// Revisions of the heartbeats of a kind's agents; none while the server is away.
    fn sign_of_life(&self) -> Option<Vec<u64>> {
        let agents = async { Registry::open(&self.server).await?.agents(Some(&self.kind)).await };
        let agents = self.connection.block_on(agents);
        Some(agents.ok()?.into_iter().map(|(_, revision)| revision).collect())
    }

    fn publish(&self, jobs: &[&Job]) -> Result<(), DeviceError> {
        let published = jobs.iter().map(|job| {
            let (server, subject) = (self.server.clone(), message::job_subject(&self.kind, &job.id));
            let message = serde_json::to_vec(job).expect("jobs are plain data");
            async move { server.publish(&subject, &message).await }
        });
        let published = self.connection.block_on(join_all(published));
        Ok(published.into_iter().collect::<Result<(), NatsError>>()?)
    }

    /// Puts the model at `path` into the store, unless it is there; gives its SHA-256.
    fn upload(&self, path: &Path) -> Result<String, DeviceError> {
        let failed = |error: std::io::Error| DeviceError::Failed(format!("{}: {error}", path.display()));
        if path.with_extension("onnx.data").exists() {
            let reason = "its weights are in a second file, which an agent does not take";
            return Err(DeviceError::Refused(format!("{}: {reason}", path.display())));
        }
        let digest = sha256(path).map_err(failed)?;
        if self.uploaded.lock().expect("no holder of the lock panics").contains(&digest) {
            return Ok(digest);
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        self.connection.block_on(async {
            while self.models.info(&digest).await.is_err() {
                match self.models.put(digest.as_str(), &mut bytes.as_slice()).await {
                    Ok(_) => break,
                    Err(error) => tracing::debug!("{digest}: {error}; trying again"),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        self.uploaded.lock().expect("no holder of the lock panics").insert(digest.clone());
        Ok(digest)
    }

    /// Says that what was answered to these jobs is stored: the server may forget it.
    fn acknowledge(&self, ids: impl Iterator<Item = String>) {
        let mut state = self.answers.lock();
        let messages: Vec<Message> = ids
            .filter_map(|id| {
                let (_, message) = state.open.remove(&id)?;
                state.done.insert(id);
                Some(message)
            })
            .collect();
        drop(state);
        self.connection.block_on(join_all(messages.iter().map(Message::ack)));
    }

    /// Has agents score architectures: the outcome of each, in the order of the works and of their genotypes; none if it was
    /// [given up](Self::give_up).
    pub fn score(&self, works: Vec<ScoreWork>) -> Result<Option<Vec<Result<ScoreOutcomes, String>>>, DeviceError> {
        let job = |work| Job::new(&self.name, "", Work::Score(Box::new(work)));
        let jobs: Vec<Job> = works.into_iter().map(job).collect();
        let Some(outcomes) = self.ask(&jobs)? else { return Ok(None) };
        let mut scored = vec![];
        for (job, outcome) in jobs.iter().zip(outcomes) {
            let Work::Score(work) = &job.work else { continue };
            match outcome {
                Outcome::Scored(scores) if scores.len() == work.genotypes.len() => {
                    scored.extend(scores.into_iter().map(Ok))
                }
                Outcome::Failed(Failure { kind: FailureKind::OtherDevice, reason }) => {
                    return Err(DeviceError::Unavailable { device: self.kind.clone(), reason });
                }
                Outcome::Failed(Failure { reason, .. }) => {
                    scored.extend(work.genotypes.iter().map(|_| Err(reason.clone())))
                }
                _ => {
                    let reason = "an agent answered something else than scores";
                    scored.extend(work.genotypes.iter().map(|_| Err(reason.to_owned())));
                }
            }
        }
        // They are a function of the job: what is lost is computed again.
        self.acknowledge(jobs.into_iter().map(|job| job.id));
        Ok(Some(scored))
    }

    /// Ends all waiting.
    pub fn give_up(&self) {
        self.answers.lock().given_up = true;
        self.answers.changed.notify_all();
    }
}

impl Drop for Client {
    /// Nobody comes back for the answers to a client that asks once.
    fn drop(&mut self) {
        if self.name.starts_with(ONCE) {
            let open: Vec<String> = self.answers.lock().open.keys().cloned().collect();
            self.acknowledge(open.into_iter());
            self.connection.block_on(async {
                if let Ok(results) = self.server.results().await
                    && let Err(error) = results.delete_consumer(&self.name).await
                {
                    tracing::debug!("{}: {error}", self.name);
                }
            });
        }
    }
}

/// Keeps an answer; one that is none, or is there already, is taken off the stream.
async fn take(answers: &Answers, message: Message) {
    let parsed = unpacked(&message.payload);
    let parsed = parsed.and_then(|text| serde_json::from_slice::<Answer>(&text).map_err(|error| error.to_string()));
    let acknowledged = match parsed {
        Ok(answer) if answer.version != MESSAGES => {
            tracing::warn!(
                "{} answers in version {} of the messages, this is {MESSAGES}",
                answer.agent,
                answer.version
            );
            message.ack_with(AckKind::Term).await
        }
        Ok(answer) => {
            {
                let mut state = answers.lock();
                if !state.done.contains(&answer.id) {
                    let id = answer.id.clone();
                    // The first answer counts; it is acknowledged by the last message that brought it.
                    match state.open.get_mut(&id) {
                        Some((_, last)) => *last = message,
                        None => {
                            state.open.insert(id, (answer, message));
                        }
                    }
                    answers.changed.notify_all();
                    return;
                }
            }
            message.ack().await
        }
        Err(reason) => {
            tracing::warn!("an answer that is none: {reason}");
            message.ack_with(AckKind::Term).await
        }
    };
    if let Err(error) = acknowledged {
        tracing::debug!("answer not acknowledged: {error}");
    }
}

/// Agents of one kind as a device.
#[derive(Clone)]
pub struct AgentDevice {
    profile: HardwareProfile,
    fingerprint: String,
    client: Arc<Client>,
}

impl AgentDevice {
    /// The agents that the profile's location names; `client` is whose answers are looked for.
    ///
    /// # Errors
    /// If the server can't be used, or the kind is not what it was.
    ///
    /// # Panics
    /// If the profile's location is no agent.
    pub fn open(profile: HardwareProfile, client: &str, nats: &NatsOptions) -> Result<Self, DeviceError> {
        let Location::Agent { name, fingerprint } = &profile.location else {
            panic!("profile `{}` is no agent's", profile.name);
        };
        let client = Client::open(client, name, nats)?;
        let found = client.connection.block_on(registered(&client.server, name))?.fingerprint();
        if let Some(planned) = fingerprint.as_ref().filter(|planned| **planned != found) {
            let reason = format!("the device has changed: its fingerprint was {planned}, and is {found}");
            return Err(DeviceError::Unavailable { device: name.clone(), reason });
        }
        Ok(Self { profile, fingerprint: found, client: Arc::new(client) })
    }

    fn job(&self, job: &super::Job) -> Result<Job, DeviceError> {
        let work = MeasureWork {
            model_sha256: self.client.upload(&job.model)?,
            arch_id: job.arch_id.clone(),
            input_dims: job.input_dims.clone(),
            protocol: self.profile.protocol.clone(),
        };
        Ok(Job::new(&self.client.name, &self.fingerprint, Work::Measure(work)))
    }

    fn measurement(&self, outcome: Outcome) -> Result<Measurement, DeviceError> {
        match outcome {
            Outcome::Measured(measurement) => Ok(Measurement { device: self.profile.name.clone(), ..*measurement }),
            Outcome::Failed(Failure { kind: FailureKind::Refused, reason }) => Err(DeviceError::Refused(reason)),
            Outcome::Failed(Failure { kind: FailureKind::Failed, reason }) => Err(DeviceError::Failed(reason)),
            Outcome::Failed(Failure { kind: FailureKind::OtherDevice, reason }) => {
                Err(DeviceError::Unavailable { device: self.client.kind.clone(), reason })
            }
            Outcome::Scored(_) => Err(DeviceError::Failed("an agent answered scores to a model".to_owned())),
        }
    }
}

impl Device for AgentDevice {
    fn profile(&self) -> &HardwareProfile {
        &self.profile
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        // It was found to be registered when it was opened; its agents may well start later.
        Ok(())
    }

    fn measure(&mut self, job: &super::Job) -> Result<Measurement, DeviceError> {
        self.measure_all(std::slice::from_ref(job)).pop().expect("one job has one outcome")
    }

    fn measure_all(&mut self, jobs: &[super::Job]) -> Vec<Result<Measurement, DeviceError>> {
        let asked: Vec<Result<Job, DeviceError>> = jobs.iter().map(|job| self.job(job)).collect();
        let open: Vec<Job> = asked.iter().flatten().cloned().collect();
        let asked_all = self.client.ask(&open).and_then(|outcomes| {
            let reason = || "nobody waits for it any more".to_owned();
            outcomes.ok_or_else(|| DeviceError::Unavailable { device: self.client.kind.clone(), reason: reason() })
        });
        let mut outcomes = match asked_all {
            Ok(outcomes) => outcomes.into_iter(),
            Err(error) => {
                let (device, reason) = (&self.client.kind, error.to_string());
                let failed = |_| Err(DeviceError::Unavailable { device: device.clone(), reason: reason.clone() });
                return jobs.iter().map(failed).collect();
            }
        };
        let outcome = |job: Result<Job, DeviceError>| {
            job?;
            self.measurement(outcomes.next().expect("every job that was asked has an outcome"))
        };
        asked.into_iter().map(outcome).collect()
    }

    fn stored(&mut self, jobs: &[super::Job]) {
        let ids = jobs.iter().filter_map(|job| Some(self.job(job).ok()?.id));
        self.client.acknowledge(ids);
    }

    fn elsewhere(&self) -> Option<Box<dyn Device>> {
        Some(Box::new(self.clone()))
    }
}
