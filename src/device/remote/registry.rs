//! Which devices agents serve: what a kind of device is, registered by its first agent, and the agents as of their last
//! heartbeat.

use super::super::{DeviceError, HardwareProfile};
use crate::difference::{Difference, difference};
use crate::genotype::hex;
use crate::latency::Host;
use crate::nats::{NatsError, Server, is_token};
use async_nats::jetstream::kv::{Operation, Store};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Names of the buckets.
const DEVICES: &str = "tegu-devices";
const AGENTS: &str = "tegu-agents";

/// What a kind of device is: figures of devices that differ in any of it are not those of one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Version of Tegu that its agents are.
    pub tegu: String,
    /// The processor's name, where the system tells.
    pub cpu: Option<String>,
    /// Logical cores.
    pub cores: usize,
    /// `x86_64`, `aarch64`, …
    pub arch: String,
    /// Operating system and its version.
    pub os: String,
    /// The runtime and its version, where it tells.
    pub runtime: Option<String>,
    /// How its agents measure.
    pub profile: HardwareProfile,
}

impl Registration {
    /// This machine, measured on by `profile`, with this runtime.
    pub fn here(profile: HardwareProfile, runtime: Option<String>) -> Self {
        let Host { cpu, cores, arch, os, .. } = Host::here();
        Self { tegu: env!("CARGO_PKG_VERSION").to_owned(), cpu, cores, arch, os, runtime, profile }
    }

    /// A digest of all of it.
    ///
    /// # Panics
    /// Never: a registration is JSON.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(serde_json::to_vec(self).expect("a registration is JSON")))[..16].to_owned()
    }

    /// The first thing in which `other` differs, for a message.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let [first, second] = [self, other].map(|one| serde_json::to_value(one).expect("a registration is JSON"));
        let Difference { field, first, second } = difference(&first, &second)?;
        Some(format!("{field}: {first} registered, {second} here"))
    }
}

/// What an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It waits for work.
    Idle,
    /// It waits until another agent of its machine is done.
    Waiting,
    /// It measures, or scores.
    Working,
}

/// An agent, as of its last heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The kind of device that it serves; `score` if it scores.
    pub kind: String,
    /// Its name, one of the kind's.
    pub name: String,
    /// Another one of each start.
    pub instance: String,
    /// Version of Tegu.
    pub tegu: String,
    /// The kind's fingerprint, as it sees it.
    pub fingerprint: String,
    /// What its runtime is kept from (`landlock, seccomp`), or why it is not.
    pub sandbox: String,
    /// What it does.
    pub state: AgentState,
    /// Jobs that it has answered since its start.
    pub done: u64,
    /// Seconds between heartbeats.
    pub every_s: f64,
    /// When, by its own clock, in seconds since 1970.
    pub unix_s: f64,
}

/// The registry of a server.
pub(crate) struct Registry {
    devices: Store,
    agents: Store,
}

impl Registry {
    pub async fn open(server: &Server) -> Result<Self, NatsError> {
        Ok(Self { devices: server.bucket(DEVICES).await?, agents: server.bucket(AGENTS).await? })
    }

    /// What `kind` is; none where no agent has registered it.
    pub async fn registration(&self, kind: &str) -> Result<Option<Registration>, NatsError> {
        let what = || format!("device `{kind}`");
        if !is_token(kind) {
            return Err(NatsError::request(what(), "expected a name of letters, digits, - and _"));
        }
        let Some(bytes) = self.devices.get(kind).await.map_err(|error| NatsError::request(what(), error))? else {
            return Ok(None);
        };
        let parsed = serde_json::from_slice(&bytes);
        let other = |error| format!("registered by another version of Tegu, or damaged ({error})");
        parsed.map(Some).map_err(|error| NatsError::request(what(), other(error)))
    }

    /// Says what `kind` is, in the place of what is registered.
    pub async fn register(&self, kind: &str, registration: &Registration) -> Result<(), NatsError> {
        let bytes = serde_json::to_vec(registration).expect("a registration is JSON");
        let put = self.devices.put(kind, bytes.into()).await;
        put.map(drop).map_err(|error| NatsError::request(format!("device `{kind}`"), error))
    }

    /// Names of all kinds.
    pub async fn kinds(&self) -> Result<Vec<String>, NatsError> {
        keys(&self.devices).await
    }

    /// The agents of a kind, of all where there is none, with the revision of each heartbeat.
    pub async fn agents(&self, kind: Option<&str>) -> Result<Vec<(Heartbeat, u64)>, NatsError> {
        let mut agents = vec![];
        for key in keys(&self.agents).await? {
            if kind.is_none_or(|kind| key.split('.').next() == Some(kind))
                && let Some((heartbeat, revision)) = self.agent(&key).await?
            {
                agents.push((heartbeat, revision));
            }
        }
        Ok(agents)
    }

    /// An agent, and the revision of its heartbeat.
    pub async fn agent(&self, key: &str) -> Result<Option<(Heartbeat, u64)>, NatsError> {
        let entry = self.agents.entry(key).await.map_err(|error| NatsError::request(key, error))?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else { return Ok(None) };
        let parsed = serde_json::from_slice(&entry.value);
        Ok(parsed.ok().map(|heartbeat| (heartbeat, entry.revision)))
    }

    /// Writes a heartbeat over the one of `revision`, where there is one; gives its revision. The inner error is that of another
    /// agent's heartbeat in between.
    pub async fn beat(
        &self,
        key: &str,
        heartbeat: &Heartbeat,
        revision: Option<u64>,
    ) -> Result<Result<u64, ()>, NatsError> {
        let bytes = serde_json::to_vec(heartbeat).expect("a heartbeat is JSON");
        let written = match revision {
            Some(revision) => self.agents.update(key, bytes.into(), revision).await.map_err(|error| error.to_string()),
            None => self.agents.create(key, bytes.into()).await.map_err(|error| error.to_string()),
        };
        let error = match written {
            Ok(revision) => return Ok(Ok(revision)),
            Err(error) => error,
        };
        // An answer that was lost on its way: is it ours that is there?
        match self.agent(key).await? {
            Some((found, revision)) if found.instance == heartbeat.instance => Ok(Ok(revision)),
            Some((_, found)) if Some(found) != revision => Ok(Err(())),
            _ => Err(NatsError::request(key, error)),
        }
    }

    /// Removes an agent that ends.
    pub async fn leave(&self, key: &str) -> Result<(), NatsError> {
        self.agents.purge(key).await.map_err(|error| NatsError::request(key, error))
    }
}

/// The keys of a bucket, by the subjects of its stream: the client library's own list waits for ever for a value that is
/// replaced while it is read.
async fn keys(store: &Store) -> Result<Vec<String>, NatsError> {
    let failed = |error: &dyn std::fmt::Display| NatsError::request("the registry", error);
    let prefix = format!("$KV.{}.", store.name);
    let subjects = store.stream.info_with_subjects(format!("{prefix}>")).await;
    let mut subjects = subjects.map_err(|error| failed(&error))?;
    let mut all = vec![];
    while let Some(subject) = subjects.next().await {
        let (subject, _) = subject.map_err(|error| failed(&error))?;
        all.extend(subject.strip_prefix(&prefix).map(str::to_owned));
    }
    all.sort();
    Ok(all)
}

impl From<NatsError> for DeviceError {
    fn from(error: NatsError) -> Self {
        Self::Nats(error)
    }
}
