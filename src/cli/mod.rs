//! Arguments, progress, messages: the only module that prints.
//!
//! Exit codes: 0 all went well, 1 it failed, 2 the input is at fault (arguments, a config, a space, a profile, a
//! model), 130 interrupted.

mod agent;
mod bench;
mod correlate;
mod data;
mod devices;
mod export;
mod indicators;
mod inspect;
mod interrupt;
mod lut;
mod network;
mod plugin;
mod probing;
mod profile;
mod progress;
mod quantize;
mod remeasure;
mod report;
mod runtime;
mod score;
mod search;
mod space;
mod train;
mod worker;

use crate::agent::AgentError;
use crate::data::DataError;
use crate::device::{DeviceError, ProfileError};
use crate::lut::LutError;
use crate::nats::NatsError;
use crate::onnx::OnnxError;
use crate::quality::TruthError;
use crate::quantize::QuantizeError;
use crate::space::SpaceError;
use crate::study::StudyError;
use crate::study::store::StoreError;
use crate::tabular::{SpaceTrainingError, TableError};
use crate::train::TrainError;
use crate::yaml::YamlError;
use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Hardware-aware neural architecture search: networks that are good and fast on your device.
#[derive(Debug, Parser)]
#[command(name = "tegu", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print results only, no progress
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more: -v for what is done, -vv for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const EXIT_CODES: &str =
    "Exit codes: 0 all went well, 1 it failed, 2 the input is at fault, 130 interrupted (the same command goes on).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run or resume a search; ends with a Pareto front, ONNX models and a report
    Search(search::Args),
    /// Score architectures without training
    Score(score::Args),
    /// List the indicators with their formulas and sources
    Indicators(indicators::Args),
    /// Hold every indicator against the accuracies of trained networks
    Correlate(correlate::Args),
    /// Compare search strategies on a table of known values; train a space for such a table
    Bench(bench::Args),
    /// Write one architecture as ONNX
    Export(export::Args),
    /// Train a chosen architecture, and export it
    Train(train::Args),
    /// Say what an ONNX file is: provenance, operators, costs
    Inspect(inspect::Args),
    /// Make an INT8 or FP16 copy of a model, and say what it costs
    Quantize(quantize::Args),
    /// Measure the front's models again, and all that was trained and quantised of them
    Remeasure(remeasure::Args),
    /// Measure the latency of any ONNX model
    Profile(profile::Args),
    /// Lookup tables: predict what a device would measure
    Lut(lut::Args),
    /// Write and print the report of a study again
    Report(report::Args),
    /// What a search space holds
    Space(space::Args),
    /// What runs models here
    Runtime(runtime::Args),
    /// Executables of others that take part in a search
    Plugin(plugin::Args),
    /// Make this machine a device of searches that run elsewhere
    Agent(agent::Args),
    /// List the devices and agents of a NATS server
    Devices(devices::Args),
    /// Measure models for a parent process (JSON lines on standard input and output)
    #[command(hide = true)]
    Worker(worker::Args),
}

/// Input that a command refuses.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct InputError(String);

/// The user stopped it.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: the same command goes on where it stopped")]
struct Interrupted;

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Worker(args) = &cli.command {
        return worker::run(args);
    }
    log_to_stderr(cli.verbose, cli.quiet);
    let result = match &cli.command {
        Command::Search(args) => search::run(args, cli.quiet),
        Command::Score(args) => score::run(args, cli.quiet),
        Command::Indicators(args) => indicators::run(args),
        Command::Correlate(args) => correlate::run(args, cli.quiet),
        Command::Bench(args) => bench::run(args, cli.quiet),
        Command::Export(args) => export::run(args),
        Command::Train(args) => train::run(args, cli.quiet),
        Command::Inspect(args) => inspect::run(args),
        Command::Quantize(args) => quantize::run(args, cli.quiet),
        Command::Remeasure(args) => remeasure::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Lut(args) => lut::run(args, cli.quiet),
        Command::Report(args) => report::run(args),
        Command::Space(args) => space::run(args),
        Command::Runtime(args) => runtime::run(args),
        Command::Plugin(args) => plugin::run(args),
        Command::Agent(args) => agent::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Worker(_) => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {}", if error.is::<Interrupted>() { "tegu" } else { "error" }, message(&error));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// The error and its causes, without those that a text before has said already.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let input = error.is::<InputError>()
        || error.is::<YamlError>()
        || error.is::<SpaceError>()
        || error.is::<ProfileError>()
        || error.is::<TruthError>()
        || error.is::<TableError>()
        || error.downcast_ref().is_some_and(DeviceError::is_input)
        || error.downcast_ref().is_some_and(AgentError::is_input)
        || error.downcast_ref().is_some_and(NatsError::is_input)
        || error.downcast_ref().is_some_and(LutError::is_input)
        || error.downcast_ref().is_some_and(StoreError::is_input)
        || error.downcast_ref().is_some_and(OnnxError::is_input)
        || error.downcast_ref().is_some_and(TrainError::is_input)
        || error.downcast_ref().is_some_and(SpaceTrainingError::is_input)
        || error.downcast_ref().is_some_and(QuantizeError::is_input)
        || error.downcast_ref().is_some_and(|error| !matches!(error, DataError::Candle(_) | DataError::Worker))
        || error.downcast_ref().is_some_and(StudyError::is_input);
    match (input, error.is::<Interrupted>()) {
        (true, _) => 2,
        (_, true) => 130,
        _ => 1,
    }
}

fn log_to_stderr(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "tegu=info,warn",
        _ => "tegu=debug,info",
    };
    let filter = EnvFilter::try_from_env("TEGU_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}

/// Prints a result, with a line break behind it.
fn print(text: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// The format of all JSON that is printed (docs/json.md): another number where a field is renamed, removed or means something
/// else; not where one is added.
const JSON_FORMAT: u32 = 1;

/// Prints `value` as one JSON line.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(versioned(&serde_json::to_string(value)?)?)
}

/// JSON whose objects begin with `format`: itself, or the elements of a list.
fn versioned(json: &str) -> serde_json::Result<String> {
    if let Some(fields) = json.strip_prefix('{') {
        let comma = if fields.trim_start().starts_with('}') { "" } else { "," };
        return Ok(format!("{{\"format\":{JSON_FORMAT}{comma}{fields}"));
    }
    if !json.starts_with('[') {
        return Ok(json.to_owned());
    }
    let elements: Vec<&serde_json::value::RawValue> = serde_json::from_str(json)?;
    let elements: serde_json::Result<Vec<String>> =
        elements.into_iter().map(|element| versioned(element.get())).collect();
    Ok(format!("[{}]", elements?.join(",")))
}

/// Whether nobody reads the results any more (`tegu score … | head`).
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn json_says_its_format() {
        let check = |json: &str, expected: &str| assert_eq!(versioned(json).unwrap(), expected);
        check("{}", r#"{"format":1}"#);
        check("{\n  \"b\": 1.50,\n  \"a\": {}\n}", "{\"format\":1,\n  \"b\": 1.50,\n  \"a\": {}\n}");
        check(r#"[{"a":[{}]}, 3]"#, r#"[{"format":1,"a":[{}]},3]"#);
        check("[]", "[]");
        check("null", "null");
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
