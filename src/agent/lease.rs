//! An agent's name is its own while its heart beats: two agents of one name would measure on one device at once.

use super::{AgentError, AgentEvent, AgentOptions};
use crate::device::remote::Registry;
use crate::device::{AgentState, Heartbeat};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Heartbeats that may be missed before a name is free.
const MISSED: u32 = 3;

/// The name, kept by a task of its own.
pub(super) struct Lease {
    key: String,
    shared: Arc<Mutex<Shared>>,
    task: tokio::task::JoinHandle<()>,
    registry: Arc<Registry>,
}

struct Shared {
    state: AgentState,
    done: u64,
    /// Why the agent has to end.
    lost: Option<Lost>,
}

enum Lost {
    Taken(String),
    OtherDevice,
}

impl Lease {
    /// Takes the name, as soon as no other agent lives by it.
    pub async fn take(
        registry: Registry,
        options: &AgentOptions,
        fingerprint: &str,
        sandbox: &str,
        on: &mut impl FnMut(&AgentEvent),
    ) -> Result<Self, AgentError> {
        let key = format!("{}.{}", options.device, options.name);
        let mut revision = None;
        if let Some((other, found)) = registry.agent(&key).await? {
            on(&AgentEvent::AwaitsLease { agent: key.clone() });
            tokio::time::sleep(Duration::from_secs_f64(other.every_s.clamp(0.05, 60.0)) * MISSED).await;
            match registry.agent(&key).await? {
                Some((_, now)) if now == found => revision = Some(found),
                None => {}
                Some((other, _)) => return Err(AgentError::Taken { agent: key, instance: other.instance }),
            }
        }
        let mut heartbeat = Heartbeat {
            kind: options.device.clone(),
            name: options.name.clone(),
            instance: format!("{:016x}", rand::random::<u64>()),
            tegu: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: fingerprint.to_owned(),
            sandbox: sandbox.to_owned(),
            state: AgentState::Idle,
            done: 0,
            every_s: options.heartbeat.as_secs_f64(),
            unix_s: unix_now_s(),
        };
        let Ok(first) = registry.beat(&key, &heartbeat, revision).await? else {
            return Err(AgentError::Taken { agent: key, instance: "another one".to_owned() });
        };
        let registry = Arc::new(registry);
        let shared = Arc::new(Mutex::new(Shared { state: AgentState::Idle, done: 0, lost: None }));
        let (kept, told, own, every) = (Arc::clone(&registry), Arc::clone(&shared), key.clone(), options.heartbeat);
        let task = tokio::spawn(async move {
            let mut revision = first;
            loop {
                tokio::time::sleep(every).await;
                {
                    let shared = told.lock().expect("no holder of the lock panics");
                    (heartbeat.state, heartbeat.done) = (shared.state, shared.done);
                }
                heartbeat.unix_s = unix_now_s();
                let lost = match kept.beat(&own, &heartbeat, Some(revision)).await {
                    Ok(Ok(next)) => {
                        revision = next;
                        let registered = kept.registration(&heartbeat.kind).await.ok().flatten();
                        let other = registered.is_some_and(|found| found.fingerprint() != heartbeat.fingerprint);
                        other.then_some(Lost::OtherDevice)
                    }
                    Ok(Err(())) => Some(Lost::Taken("another one".to_owned())),
                    Err(error) => {
                        tracing::debug!("heartbeat: {error}");
                        None
                    }
                };
                if lost.is_some() {
                    told.lock().expect("no holder of the lock panics").lost = lost;
                    return;
                }
            }
        });
        Ok(Self { key, shared, task, registry })
    }

    /// `DEVICE.NAME`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the name is still ours, and the device what it was.
    pub fn check(&self) -> Result<(), AgentError> {
        let agent = self.key.clone();
        match &self.shared.lock().expect("no holder of the lock panics").lost {
            None => Ok(()),
            Some(Lost::Taken(instance)) => Err(AgentError::Taken { agent, instance: instance.clone() }),
            Some(Lost::OtherDevice) => {
                let device = agent.split('.').next().unwrap_or_default().to_owned();
                let difference = "another agent has replaced what was registered".to_owned();
                Err(AgentError::OtherDevice { device, difference })
            }
        }
    }

    /// Says what the agent does.
    pub fn set(&self, state: AgentState) {
        self.setter()(state);
    }

    /// As [`set`](Self::set), for another thread.
    pub fn setter(&self) -> impl Fn(AgentState) + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move |state| shared.lock().expect("no holder of the lock panics").state = state
    }

    /// Counts an answer.
    pub fn answered(&self) {
        self.shared.lock().expect("no holder of the lock panics").done += 1;
    }

    /// Gives the name back.
    pub async fn leave(&self) {
        self.task.abort();
        if self.check().is_ok()
            && let Err(error) = self.registry.leave(&self.key).await
        {
            tracing::debug!("the name is free in a while: {error}");
        }
    }
}

fn unix_now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
