//! `tegu runtime`: what runs models here, and getting what does not.

use super::network::input_error;
use super::{print, print_json};
use crate::runtime::{self, LoadOptions, Package};
use comfy_table::Table;
use std::path::PathBuf;

/// What runs models here.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List runtimes and execution providers, and why those that are missing are missing
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
            let found = runtime::survey(&LoadOptions { library: ort_lib.clone(), ..LoadOptions::default() });
            if *json {
                return print_json(&found);
            }
            let mut table = Table::new();
            table.set_header(["runtime", "provider", "state", "where"]);
            for runtime in found {
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
                for provider in runtime.providers {
                    let state = provider.reason.unwrap_or_else(|| "here".into());
                    table.add_row([runtime.name.clone(), provider.name, state, String::new()]);
                }
            }
            print(table)?;
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
