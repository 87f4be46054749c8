//! `tegu devices`: who measures and scores for a NATS server's searches.

use super::{print, print_json};
use crate::agent::{DeviceStatus, devices};
use crate::device::{AgentState, Heartbeat};
use crate::nats::NatsOptions;
use comfy_table::Table;
use std::time::{SystemTime, UNIX_EPOCH};

/// List the devices and agents of a NATS server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// NATS server, nats://HOST:PORT; TEGU_NATS_URL where absent
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// Print them as JSON, with their profiles
    #[arg(long)]
    json: bool,
}

/// Heartbeats that may be missed before an agent counts as lost.
const MISSED: f64 = 3.0;

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let found = devices(&NatsOptions::at(args.nats.as_deref()))?;
    if args.json {
        return print_json(&found);
    }
    if found.is_empty() {
        return print("no agent has registered: `tegu agent --profile PROFILE --nats URL` makes a machine a device");
    }
    print(table(&found))
}

fn table(found: &[DeviceStatus]) -> Table {
    let mut table = Table::new();
    table.set_header(["device", "what", "queue", "agent", "version", "state", "done", "heartbeat"]);
    for device in found {
        let what = device.registration.as_ref().map_or("scores architectures".to_owned(), |found| {
            let runtime = found.runtime.clone().unwrap_or_else(|| "no runtime".to_owned());
            format!("{}, {}, {} ({})", found.profile.name, runtime, found.cpu.as_deref().unwrap_or("?"), found.arch)
        });
        let mut queue = format!("{} wait, {} held", device.waiting, device.held);
        if device.dead > 0 {
            queue += &format!(", {} given up", device.dead);
        }
        let row = |agent: Option<&Heartbeat>| {
            let version = agent.map(|agent| agent.tegu.clone());
            let version = version.or_else(|| device.registration.as_ref().map(|found| found.tegu.clone()));
            let agent = agent.map_or(["none".to_owned(), "-".to_owned(), "-".to_owned(), "-".to_owned()], columns);
            let [name, state, done, heartbeat] = agent;
            [
                device.device.clone(),
                what.clone(),
                queue.clone(),
                name,
                version.unwrap_or_default(),
                state,
                done,
                heartbeat,
            ]
        };
        if device.agents.is_empty() {
            table.add_row(row(None));
        }
        for agent in &device.agents {
            table.add_row(row(Some(agent)));
        }
    }
    table
}

fn columns(agent: &Heartbeat) -> [String; 4] {
    let age_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64() - agent.unix_s);
    let state = match agent.state {
        _ if age_s > MISSED * agent.every_s => "lost",
        AgentState::Idle => "idle",
        AgentState::Waiting => "waits for its turn",
        AgentState::Working => "at work",
    };
    [agent.name.clone(), state.to_owned(), agent.done.to_string(), format!("{:.0} s ago", age_s.max(0.0))]
}
