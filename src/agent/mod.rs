//! This machine as a device of searches that run elsewhere: takes jobs from a kind's queue, one group at a time, measures
//! them as a search here would, and answers.
//!
//! Whatever a client or a model does, it costs a job: what is no job is put among the dead, a model outside of the limits is
//! refused, and the one that brings the worker process down fails with the reason. A job that an agent took and never
//! answered comes back to the queue; the one that came back too often is given up.

mod admission;
mod jobs;
mod lease;
mod scoring;
mod status;
mod turn;
mod work;

pub use admission::Admission;
pub use scoring::ScoringOptions;
pub use status::{DeviceStatus, devices};

use crate::device::remote::Registry;
use crate::device::remote::message::SCORE;
use crate::device::{self, DeviceError, HardwareProfile, OpenOptions, Registration, sandbox};
use crate::nats::{Connection, NatsError, NatsOptions, is_token};
use jobs::Agent;
use lease::Lease;
use scoring::Scoring;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use work::Worker;

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
    #[error(
        "device `{device}` is registered as another one: {difference}; --replace makes this one the device (studies that began with the other refuse it)"
    )]
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
        let lease = Lease::take(registry, options, &fingerprint, &sandbox, &mut on).await?;
        // What an agent of this name left behind that was killed.
        std::fs::remove_dir_all(&models).and_then(|()| std::fs::create_dir_all(&models)).map_err(file)?;
        on(&AgentEvent::Ready { agent: lease.key().to_owned(), sandbox, fingerprint: fingerprint.clone() });
        let stream = server.jobs(&options.device).await?;
        let filter = format!("tegu.jobs.{}.>", options.device);
        let jobs = server.consumer(&stream, "agents", &filter, options.ack_wait).await?;
        let results = server.results().await?;
        server.dead().await?;
        let store = server.models().await?;
        let worker = Arc::new(Mutex::new(worker));
        let models = models.clone();
        let mut agent = Agent { options, server: &server, fingerprint, store, results, models, lease, worker };
        let served = agent.serve(&jobs, &stop, &mut on).await;
        agent.lease.leave().await;
        served
    })
}

/// Makes `registration` the device's, unless another one is.
async fn register(registry: &Registry, options: &AgentOptions, registration: &Registration) -> Result<(), AgentError> {
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
