//! An agent's way with jobs: take, admit, keep alive while they are worked on, answer; or bury.

use super::lease::Lease;
use super::work::Worker;
use super::{AgentError, AgentEvent, AgentOptions, Service, turn};
use crate::device::AgentState;
use crate::device::remote::message::{Answer, Failure, FailureKind, Job, MESSAGES, Outcome, Work};
use crate::nats::{NatsError, Server, is_token, unpacked};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// How long an agent waits for a job before it looks whether it is to stop.
const WAIT: Duration = Duration::from_secs(1);

/// An agent at work.
pub(super) struct Agent<'a> {
    pub options: &'a AgentOptions,
    pub server: &'a Server,
    pub fingerprint: String,
    pub store: ObjectStore,
    pub results: Stream,
    pub models: PathBuf,
    pub lease: Lease,
    pub worker: Arc<Mutex<Worker>>,
}

/// A job that an agent holds.
struct Held {
    message: Message,
    job: Job,
    taken: Instant,
}

impl Agent<'_> {
    /// Serves until `stop` says so.
    pub async fn serve(
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
        if self.results.get_last_raw_message_by_subject(&job.answers_to()).await.is_ok() {
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
                Ok(open
                    .iter()
                    .map(|_| Outcome::Failed(Failure { kind: FailureKind::Failed, reason: reason.clone() }))
                    .collect())
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

    async fn answer(
        &mut self,
        held: &Held,
        outcome: Outcome,
        on: &mut impl FnMut(&AgentEvent),
    ) -> Result<(), AgentError> {
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
