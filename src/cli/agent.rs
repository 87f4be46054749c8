//! `tegu agent`: this machine as a device of searches that run elsewhere.

use super::network::input_error;
use super::{interrupt, print};
use crate::agent::{self, Admission, AgentEvent, AgentOptions, ScoringOptions, Service};
use crate::device::{HardwareProfile, Limits, OpenOptions};
use crate::nats::NatsOptions;
use crate::network::Compute;
use crate::runtime::{self, RuntimeKind, tegu_home};
use std::path::PathBuf;
use std::time::Duration;

/// Make this machine a device of searches that run elsewhere.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Hardware profile that it measures by: a name, or the path of a YAML file
    #[arg(long, required_unless_present = "score", conflicts_with = "score")]
    profile: Option<String>,
    /// Score architectures instead of measuring models
    #[arg(long)]
    score: bool,
    /// NATS server, nats://HOST:PORT; TEGU_NATS_URL where absent (credentials: TEGU_NATS_USER, _PASSWORD, _NKEY, _CREDS, _CA, _CERT, _KEY)
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// The name that searches know the device by, the same for all machines of its kind; the profile's where absent
    #[arg(long, conflicts_with = "score")]
    device: Option<String>,
    /// The name of this machine among them; the host's where absent
    #[arg(long)]
    name: Option<String>,
    /// This machine is the device from now on, whatever was registered under its name
    #[arg(long)]
    replace: bool,
    /// Models that are measured in turns, at most
    #[arg(long, value_name = "N", default_value_t = 8)]
    together: usize,
    /// Largest model that it takes, in MiB
    #[arg(long, value_name = "MIB", default_value_t = Admission::default().model_mib)]
    model_mib: f64,
    /// Most operators of a model that it takes
    #[arg(long, value_name = "N", default_value_t = Admission::default().nodes)]
    nodes: usize,
    /// Deliveries after which a job is given up
    #[arg(long, value_name = "N", default_value_t = 3)]
    tries: usize,
    /// With --score: seconds and MiB that a job may take
    #[arg(long, value_names = ["SECONDS", "MIB"], num_args = 2, requires = "score")]
    limits: Vec<u64>,
    /// With --score: what computes (auto, cpu, cuda:N, metal)
    #[arg(long, default_value_t, requires = "score")]
    compute: Compute,
    /// Its own folder; in Tegu's own where absent
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The file by which agents of this machine take turns; one for the machine where absent
    #[arg(long, value_name = "FILE")]
    turn: Option<PathBuf>,
    /// Let models read files and use the network (where a driver needs it, and nobody else can send jobs)
    #[arg(long)]
    unconfined: bool,
    /// Seconds between heartbeats
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    heartbeat: f64,
    /// Seconds without a sign of life of this agent after which its jobs are another one's
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    ack_wait: f64,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Print events as JSON lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let seconds = |field: &str, value: f64| match value {
        0.05..=3600.0 => Ok(Duration::from_secs_f64(value)),
        _ => Err(input_error(format!("{field}: {value}, expected 0.05 to 3600 seconds"))),
    };
    if args.together == 0 || args.tries == 0 || args.model_mib.is_nan() || args.model_mib <= 0.0 {
        return Err(input_error("--together, --tries and --model-mib must be more than 0"));
    }
    let (service, device, library) = match &args.profile {
        Some(profile) => {
            let profile = HardwareProfile::find(profile)?;
            let device = args.device.clone().unwrap_or_else(|| profile.name.clone());
            let library = library(&profile, args.ort_lib.clone())?;
            (Service::Measure(Box::new(profile)), device, library)
        }
        None => {
            let limits = match args.limits[..] {
                [time_s, memory_mib] => Limits { time_s: time_s as f64, memory_mib },
                _ => Limits::default(),
            };
            (Service::Score(ScoringOptions { compute: args.compute, limits }), "score".to_owned(), None)
        }
    };
    let name = args.name.clone().unwrap_or_else(host_name);
    let options = AgentOptions {
        folder: args.folder.clone().unwrap_or_else(|| tegu_home().join("agents").join(format!("{device}.{name}"))),
        turn: args.turn.clone().unwrap_or_else(|| std::env::temp_dir().join("tegu-agents.lock")),
        device,
        name,
        service,
        nats: NatsOptions::at(args.nats.as_deref()),
        open: OpenOptions { library, ..OpenOptions::default() },
        admission: Admission { model_mib: args.model_mib, nodes: args.nodes },
        together: args.together,
        tries: args.tries,
        heartbeat: seconds("--heartbeat", args.heartbeat)?,
        ack_wait: seconds("--ack-wait", args.ack_wait)?,
        replace: args.replace,
        unconfined: args.unconfined,
    };
    interrupt::listen();
    agent::serve(&options, interrupt::pressed, |event| {
        let line = if args.json { serde_json::to_string(event).unwrap_or_default() } else { describe(event) };
        // Nobody has to listen.
        let _ = print(line);
    })?;
    Ok(())
}

/// ONNX Runtime's library, found before the worker is kept from looking for it.
fn library(profile: &HardwareProfile, given: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    if profile.runtime != RuntimeKind::OnnxRuntime {
        return Ok(given);
    }
    let given = given.or_else(|| profile.library.clone());
    let provider = profile.execution_provider.as_ref().map(|provider| provider.name.as_str());
    Ok(Some(std::path::absolute(runtime::locate(given.as_deref(), provider)?.path)?))
}

fn host_name() -> String {
    let name = sysinfo::System::host_name().unwrap_or_else(|_| "agent".to_owned());
    let token = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    name.chars().map(token).take(100).collect()
}

fn describe(event: &AgentEvent) -> String {
    match event {
        AgentEvent::AwaitsLease { agent } => {
            format!("{agent} has given a sign of life lately: waiting whether it gives another one")
        }
        AgentEvent::Ready { agent, sandbox, fingerprint } if fingerprint.is_empty() => {
            format!("{agent} is ready (sandbox: {sandbox})")
        }
        AgentEvent::Ready { agent, sandbox, fingerprint } => {
            format!("{agent} is ready (fingerprint {fingerprint}, sandbox: {sandbox})")
        }
        AgentEvent::Answered { job, seconds, failed: None } => format!("{job} answered in {seconds:.2} s"),
        AgentEvent::Answered { job, seconds, failed: Some(reason) } => {
            format!("{job} failed in {seconds:.2} s: {reason}")
        }
        AgentEvent::Dead { reason } => format!("a message that is no job any more: {reason}"),
    }
}
