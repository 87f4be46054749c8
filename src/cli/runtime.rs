//! `tegu runtime`: what runs models here, and getting what does not.

use super::network::input_error;
use super::{print, print_json};
use crate::device::{self, DeviceError, HardwareProfile, OpenOptions};
use crate::runtime::{self, LoadOptions, Package, RuntimeKind, RuntimeSurvey};
use comfy_table::Table;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What runs models here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List runtimes, execution providers and hardware profiles, and why those that can't be used here can't
    List {
        /// ONNX Runtime's library; looked for in the usual places where absent
        #[arg(long, value_name = "FILE")]
        ort_lib: Option<PathBuf>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Get an ONNX Runtime library with pip, into Tegu's own folder
    Install {
        /// onnxruntime, onnxruntime-openvino or onnxruntime-gpu
        #[arg(default_value = "onnxruntime")]
        package: String,
        /// Version; the newest where absent
        #[arg(long)]
        version: Option<String>,
    },
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::List { ort_lib, json } => {
            let found = list(ort_lib.as_deref())?;
            if *json {
                return print_json(&found);
            }
            print(runtimes(&found))?;
            print(profiles(&found))?;
        }
        Command::Install { package, version } => {
            let package: Package = package.parse().map_err(|reason: String| input_error(reason))?;
            let installed = runtime::install(package, version.as_deref())?;
            let verb = if installed.was_there { "is there already" } else { "installed" };
            print(format!("{} {} {verb}: {}", package.name(), installed.version, installed.library.display()))?;
        }
    }
    Ok(())
}

/// A runtime, and the built-in profiles that ask for it.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    runtime: RuntimeSurvey,
    profiles: Vec<Usable>,
}

/// Whether a profile can be used here.
#[derive(Serialize)]
struct Usable {
    name: String,
    description: String,
    /// Why not; absent where it can.
    reason: Option<String>,
}

fn list(ort_lib: Option<&Path>) -> anyhow::Result<Vec<Listed>> {
    let found = runtime::survey(&LoadOptions { library: ort_lib.map(Path::to_owned), ..LoadOptions::default() });
    let profiles = HardwareProfile::built_in().map(HardwareProfile::find).collect::<Result<Vec<_>, _>>()?;
    // Each in a worker of its own, as it would be used: libraries of several packages don't go into one process.
    let reasons: Vec<Option<String>> = std::thread::scope(|scope| {
        let checks: Vec<_> =
            profiles.iter().map(|profile| scope.spawn(move || why_not(profile.clone(), ort_lib))).collect();
        checks.into_iter().map(|check| check.join().expect("a check does not panic")).collect()
    });
    let mut usable: Vec<(RuntimeKind, Usable)> = profiles
        .into_iter()
        .zip(reasons)
        .map(|(profile, reason)| {
            (profile.runtime, Usable { name: profile.name, description: profile.description, reason })
        })
        .collect();
    let with_profiles = |runtime: RuntimeSurvey| {
        let of_it = |(kind, _): &mut (RuntimeKind, Usable)| match kind {
            RuntimeKind::Tract => runtime.name == "tract",
            RuntimeKind::OnnxRuntime | RuntimeKind::Mock => runtime.name == "onnxruntime",
        };
        let profiles = usable.extract_if(.., of_it).map(|(_, usable)| usable).collect();
        Listed { runtime, profiles }
    };
    Ok(found.into_iter().map(with_profiles).collect())
}

fn why_not(profile: HardwareProfile, ort_lib: Option<&Path>) -> Option<String> {
    let library = ort_lib.filter(|_| profile.runtime == RuntimeKind::OnnxRuntime).map(Path::to_owned);
    let checked = device::open(profile, OpenOptions { library, ..OpenOptions::default() });
    match checked.and_then(|mut device| device.check()) {
        Ok(()) => None,
        Err(DeviceError::Unavailable { reason, .. }) => Some(reason),
        Err(error) => Some(error.to_string()),
    }
}

fn runtimes(found: &[Listed]) -> Table {
    let mut table = Table::new();
    table.set_header(["runtime", "provider", "state", "where"]);
    for Listed { runtime, .. } in found {
        let state = match (&runtime.version, &runtime.reason) {
            (_, Some(reason)) => reason.clone(),
            (version, None) => format!("here, {}", version.as_deref().unwrap_or("version unknown")),
        };
        let place = match (&runtime.library, &runtime.located) {
            (Some(library), Some(located)) => format!("{} ({})", library.display(), located.source),
            (Some(library), None) => library.display().to_string(),
            _ => "built in".into(),
        };
        let place = if runtime.reason.is_some() && runtime.library.is_none() { String::new() } else { place };
        table.add_row([runtime.name.clone(), String::new(), state, place]);
        for provider in &runtime.providers {
            let state = provider.reason.clone().unwrap_or_else(|| "here".into());
            table.add_row([runtime.name.clone(), provider.name.clone(), state, String::new()]);
        }
    }
    table
}

fn profiles(found: &[Listed]) -> Table {
    let mut table = Table::new();
    table.set_header(["profile", "what it is", "state"]);
    for usable in found.iter().flat_map(|listed| &listed.profiles) {
        let state = usable.reason.as_deref().unwrap_or("can be used here");
        table.add_row([usable.name.as_str(), &usable.description, state]);
    }
    table
}
