//! Who measures and scores: the devices of a server, their queues and agents.

use crate::device::remote::Registry;
use crate::device::remote::message::SCORE;
use crate::device::{Heartbeat, Registration};
use crate::nats::{Connection, NatsError, NatsOptions, jobs_stream};
use async_nats::jetstream::consumer::pull;
use futures_util::StreamExt;
use serde::Serialize;

/// What is known of a kind of device by its queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    pub agents: Vec<Heartbeat>,
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
                && let Ok(mut jobs) = stream.get_consumer::<pull::Config>("agents").await
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
