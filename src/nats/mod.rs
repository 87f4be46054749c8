//! The connection to a NATS server with JetStream, which carries work to other machines and their answers back.
//!
//! Everything of Tegu's there has a name that begins with `TEGU` or `tegu`:
//!
//! | name | what |
//! |---|---|
//! | stream `TEGU_JOBS_KIND`, subjects `tegu.jobs.KIND.ID` | work queue of one kind of device; a job is there once, until an agent has done it |
//! | stream `TEGU_RESULTS`, subjects `tegu.results.CLIENT.ID` | answers, until the client that asked has stored them |
//! | stream `TEGU_DEAD`, subjects `tegu.dead.KIND` | jobs that were given up, with the reason |
//! | object store `tegu-models` | ONNX files by their SHA-256 |
//! | key-value bucket `tegu-devices` | what a kind of device is |
//! | key-value bucket `tegu-agents`, keys `KIND.NAME` | agents, as of their last heartbeat |
//!
//! A subject of its own for each job and answer, of which a stream holds one, is the deduplication: it holds however long a
//! message waits, not just for a window of time.

mod options;

pub use options::{NatsOptions, Secret};

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, Stream};
use async_nats::jetstream::{Context, kv, object_store};
use async_nats::{Client, Event};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::future::Future;
use std::io::{Read, Write};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long answers and models are kept for a client that does not come back.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long a request that failed is left alone, at first and at most.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(2)];
/// Bytes from which on a message is compressed; the most that one may have when it is unpacked.
const COMPRESSED_FROM: usize = 32 << 10;
const MOST_UNPACKED: u64 = 64 << 20;

/// Why a server can't be used.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// Nobody said where it is.
    #[error("no NATS server: expected `nats: {{url: nats://HOST:4222}}` in the config, --nats, or TEGU_NATS_URL")]
    NoUrl,
    /// An option that can't be.
    #[error("nats.{field}: {reason}")]
    Options {
        /// Its name.
        field: &'static str,
        /// What was expected.
        reason: String,
    },
    /// It can't be reached, or does not let us in.
    #[error("NATS server {address}: {reason}")]
    Unreachable {
        /// Its address, without secrets.
        address: String,
        /// What was said.
        reason: String,
    },
    /// It refuses a request.
    #[error("NATS server: {what}: {reason}")]
    Request {
        /// What was asked.
        what: String,
        /// The answer.
        reason: String,
    },
}

impl NatsError {
    /// Whether the user's options are at fault.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::NoUrl | Self::Options { .. })
    }

    /// A refused request.
    pub(crate) fn request(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Request { what: what.into(), reason: reason.to_string() }
    }
}

/// A connection, which comes back by itself when the server does, and the thread that serves it.
pub struct Connection {
    client: Client,
    jetstream: Context,
    /// Last, so that what it serves goes first.
    runtime: Runtime,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If an option is wrong, the server can't be reached, does not let us in, or has no JetStream.
    pub fn open(options: &NatsOptions) -> Result<Self, NatsError> {
        let options = options.clone().or_environment();
        let Some(url) = options.url.clone() else { return Err(NatsError::NoUrl) };
        let unreachable = |reason: String| NatsError::Unreachable { address: options.address(), reason };
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).thread_name("nats").enable_all().build();
        let runtime = runtime.map_err(|error| unreachable(error.to_string()))?;
        let client = runtime.block_on(async {
            let servers: Vec<&str> = url.split(',').map(str::trim).collect();
            let connect = options.connect_options().await?.event_callback(log);
            connect.connect(servers).await.map_err(|error| unreachable(reason_of(&error)))
        })?;
        let jetstream = runtime.block_on(async {
            // It starts tasks of its own.
            let jetstream = async_nats::jetstream::new(client.clone());
            let missing = |reason: String| unreachable(format!("JetStream is not there (nats-server -js): {reason}"));
            // Read as plain JSON: what versions of the server say of an account differs.
            let said = client.request("$JS.API.INFO", Default::default()).await;
            let said = said.map_err(|error| missing(error.to_string()))?;
            let said: serde_json::Value = serde_json::from_slice(&said.payload).unwrap_or_default();
            if let Some(error) = said.get("error") {
                return Err(missing(error["description"].as_str().unwrap_or("refused").to_owned()));
            }
            Ok::<_, NatsError>(jetstream)
        })?;
        Ok(Self { client, jetstream, runtime })
    }

    /// Runs what waits for the server to its end.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Lets it run beside us.
    pub(crate) fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(future)
    }

    /// What speaks to the server; cheap to clone.
    pub(crate) fn server(&self) -> Server {
        Server { client: self.client.clone(), jetstream: self.jetstream.clone() }
    }
}

/// An error with its causes, without what may be secret: the client library names servers and reasons only.
fn reason_of(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => format!("{error}: {source}"),
        _ => error.to_string(),
    }
}

async fn log(event: Event) {
    match event {
        Event::Connected => tracing::info!("connected to the NATS server"),
        Event::Disconnected => tracing::warn!("the NATS server is gone, waiting for it to come back"),
        other => tracing::debug!("NATS: {other}"),
    }
}

/// The server's side of a connection.
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
    pub jetstream: Context,
}

/// Whether `text` may be a part of a subject, a stream's name and a key.
pub(crate) fn is_token(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

impl Server {
    /// The work queue of a kind.
    pub async fn jobs(&self, kind: &str) -> Result<Stream, NatsError> {
        let config = Config {
            name: jobs_stream(kind),
            subjects: vec![format!("tegu.jobs.{kind}.>")],
            retention: RetentionPolicy::WorkQueue,
            ..once_a_subject()
        };
        self.stream(config).await
    }

    /// Answers.
    pub async fn results(&self) -> Result<Stream, NatsError> {
        let config = Config {
            name: "TEGU_RESULTS".to_owned(),
            subjects: vec!["tegu.results.>".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            max_age: KEPT,
            ..once_a_subject()
        };
        self.stream(config).await
    }

    /// Jobs that were given up.
    pub async fn dead(&self) -> Result<Stream, NatsError> {
        let subjects = vec!["tegu.dead.>".to_owned()];
        self.stream(Config { name: "TEGU_DEAD".to_owned(), subjects, max_age: KEPT, ..Config::default() }).await
    }

    async fn stream(&self, config: Config) -> Result<Stream, NatsError> {
        let what = format!("stream {}", config.name);
        self.jetstream.get_or_create_stream(config).await.map_err(|error| NatsError::request(what, error))
    }

    /// The store of ONNX files.
    pub async fn models(&self) -> Result<object_store::ObjectStore, NatsError> {
        let bucket = "tegu-models";
        if let Ok(store) = self.jetstream.get_object_store(bucket).await {
            return Ok(store);
        }
        let config = object_store::Config { bucket: bucket.to_owned(), max_age: KEPT, ..Default::default() };
        let made = self.jetstream.create_object_store(config).await;
        made.map_err(|error| NatsError::request(format!("object store {bucket}"), error))
    }

    /// A key-value bucket. Its stream is made as the client library would, which first asks for figures of the account
    /// that servers before 2.10 do not give.
    pub async fn bucket(&self, bucket: &str) -> Result<kv::Store, NatsError> {
        let config = Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..Config::default()
        };
        self.stream(config).await?;
        let found = self.jetstream.get_key_value(bucket).await;
        found.map_err(|error| NatsError::request(format!("bucket {bucket}"), error))
    }

    /// The consumer of a stream that all who share `name` take messages from, each of which is one's for `ack_wait`.
    pub async fn consumer(
        &self,
        stream: &Stream,
        name: &str,
        filter: &str,
        ack_wait: Duration,
    ) -> Result<PullConsumer, NatsError> {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait,
            // Unbounded: who gives up a message after some tries says so itself, and why.
            max_deliver: -1,
            max_ack_pending: 100_000,
            // Each agent that waits is a request that waits.
            max_waiting: 16_384,
            filter_subject: filter.to_owned(),
            inactive_threshold: KEPT,
            ..Default::default()
        };
        let made = stream.create_consumer(config).await;
        made.map_err(|error| NatsError::request(format!("consumer {name}"), error))
    }

    /// Publishes a message until the server has it; one that its stream has already is there.
    pub async fn publish(&self, subject: &str, message: &[u8]) -> Result<(), NatsError> {
        let payload = packed(message);
        if payload.len() > self.client.server_info().max_payload {
            let most = self.client.server_info().max_payload;
            let reason = format!("{} bytes, the server's `max_payload` is {most}", payload.len());
            return Err(NatsError::request(subject, reason));
        }
        let mut wait = BACKOFF[0];
        loop {
            let published = match self.jetstream.publish(subject.to_owned(), payload.clone().into()).await {
                Ok(acknowledged) => acknowledged.await.map(drop),
                Err(error) => Err(error),
            };
            match published {
                Ok(()) => return Ok(()),
                Err(error) if reason_of(&error).contains("maximum messages per subject") => return Ok(()),
                Err(error) => tracing::debug!("{subject}: {}; trying again", reason_of(&error)),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACKOFF[1]);
        }
    }
}

/// The stream of jobs of a kind.
pub(crate) fn jobs_stream(kind: &str) -> String {
    format!("TEGU_JOBS_{kind}")
}

/// A stream that holds one message of a subject, and refuses a second one.
fn once_a_subject() -> Config {
    Config {
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        ..Config::default()
    }
}

/// A message as it travels: large ones compressed.
fn packed(message: &[u8]) -> Vec<u8> {
    if message.len() < COMPRESSED_FROM {
        return message.to_vec();
    }
    let mut encoder = GzEncoder::new(vec![], Compression::fast());
    encoder.write_all(message).and_then(|()| encoder.finish()).expect("memory can be written to")
}

/// The message that travelled.
///
/// # Errors
/// If it is no compressed message, or unpacks to more than a message may have.
pub(crate) fn unpacked(payload: &[u8]) -> Result<Vec<u8>, String> {
    if !payload.starts_with(&[0x1f, 0x8b]) {
        return Ok(payload.to_vec());
    }
    let mut message = vec![];
    let read = GzDecoder::new(payload).take(MOST_UNPACKED + 1).read_to_end(&mut message);
    read.map_err(|error| format!("can't be unpacked: {error}"))?;
    if message.len() as u64 > MOST_UNPACKED {
        return Err(format!("unpacks to more than {} MiB", MOST_UNPACKED >> 20));
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        for size in [0, 10, COMPRESSED_FROM, 1 << 20] {
            let message: Vec<u8> = (0..size).map(|at| b"{}[]:,ab"[at % 8]).collect();
            assert_eq!(unpacked(&packed(&message)).unwrap(), message);
        }
        assert!(packed(&[b'a'; 1 << 20]).len() < 10_000);
    }

    #[test]
    fn what_is_broken_or_a_bomb_is_refused() {
        let whole = packed(&[b'a'; 1 << 20]);
        assert!(unpacked(&whole[..whole.len() / 2]).unwrap_err().starts_with("can't be unpacked"));
        let bomb = packed(&vec![0; (MOST_UNPACKED + 1) as usize]);
        assert_eq!(unpacked(&bomb).unwrap_err(), "unpacks to more than 64 MiB");
    }

    #[test]
    fn names_are_parts_of_subjects() {
        assert!(["raspi4", "host-cpu-ort", "A_1"].iter().all(|name| is_token(name)));
        assert!(["", "a.b", "a b", "*", ">", "ä", &"x".repeat(101)].iter().all(|name| !is_token(name)));
    }
}
