//! `tegu plugin`: which plugins there are, and whether one keeps to the protocol.

use super::{print, print_json};
use crate::conformance::{self, Conformance, Outcome};
use crate::plugin;
use comfy_table::Table;
use serde_json::json;

/// Executables of others that take part in a search.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the plugins in ./plugins, in the folders of TEGU_PLUGINS, and in Tegu's own folder
    List {
        /// One JSON line a plugin
        #[arg(long)]
        json: bool,
    },
    /// Try everything that a search may ask of a plugin; exit code 1 if a check fails
    Check {
        /// The plugin's name, or the path of its folder
        name: String,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
}

/// A plugin that does not keep to the protocol.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{name}`: {failed} of {all} checks failed")]
struct ChecksFailed {
    name: String,
    failed: usize,
    all: usize,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::List { json: true } => list_json(),
        Command::List { json: false } => list(),
        Command::Check { name, json } => check(name, *json),
    }
}

fn list() -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header(["plugin", "kind", "version", "what it is", "folder"]);
    for listed in plugin::installed() {
        let folder = listed.folder.display().to_string();
        let name = listed.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match listed.manifest {
            Ok(found) => table.add_row([found.name, found.kind.to_string(), found.version, found.description, folder]),
            Err(error) => table.add_row([name, "-".into(), "-".into(), format!("can't be used: {error}"), folder]),
        };
    }
    match table.row_count() {
        0 => print("no plugins in ./plugins, in the folders of TEGU_PLUGINS, and in Tegu's own folder"),
        _ => print(table),
    }
}

fn list_json() -> anyhow::Result<()> {
    for listed in plugin::installed() {
        let (manifest, error) = match listed.manifest {
            Ok(manifest) => (Some(manifest), None),
            Err(error) => (None, Some(error.to_string())),
        };
        print_json(&json!({"folder": listed.folder, "manifest": manifest, "error": error}))?;
    }
    Ok(())
}

fn check(name: &str, json: bool) -> anyhow::Result<()> {
    let found: Conformance = conformance::check(name);
    if json {
        print_json(&found)?;
    } else {
        for check in &found.checks {
            let word = match check.outcome {
                Outcome::Passed => "pass",
                Outcome::Failed => "FAIL",
                Outcome::Skipped => "skip",
            };
            print(format!("{word}  {}: {}", check.name, check.note))?;
        }
    }
    match found.checks.iter().filter(|check| check.outcome == Outcome::Failed).count() {
        0 => Ok(()),
        failed => Err(ChecksFailed { name: found.plugin, failed, all: found.checks.len() }.into()),
    }
}
