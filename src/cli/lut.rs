//! `tegu lut`: lookup tables of a device.

mod progress;
mod tables;

use super::network::{SpaceArgs, input_error};
use super::{Interrupted, interrupt, print, print_json};
use crate::device::{self, Device, HardwareProfile, OpenOptions};
use crate::latency::statistics::{median, quantile};
use crate::lut::{self, BuildOptions, LatencyTable, LutError, Method, Status, Validation};
use crate::nats::NatsOptions;
use crate::report;
use clap::{Subcommand, ValueEnum};
use comfy_table::{CellAlignment, Table};
use progress::Progress;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Build, check and use lookup tables.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the table of a space on a device; the same command goes on after an interruption
    Build(BuildArgs),
    /// Hold a table against whole networks that it has not seen
    Validate(ValidateArgs),
    /// Predict the latency of architectures, or of an ONNX model
    Predict(tables::PredictArgs),
    /// Take over a table that somebody else made (.yaml, .json), or measured networks (.csv)
    Import(tables::ImportArgs),
    /// Calibrate a table for another device by a few networks that are measured there
    Transfer(tables::TransferArgs),
    /// What changed from one table to another, beyond the noise
    Diff(tables::DiffArgs),
}

/// Build a table.
#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// Hardware profile: a name (such as host-cpu-ort-1thread) or the path of a YAML file
    profile: String,
    #[command(flatten)]
    space: SpaceArgs,
    /// The table to write; what is measured is kept beside it, in FILE.partial, until the table is there
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// When to stop measuring, at the latest, as in 90s, 10m, 1h; it ends earlier when the error gets no less
    #[arg(long, default_value = "10m", value_parser = duration)]
    budget: Duration,
    /// fused: operators of the runtime's own graph, fitted to whole networks (of our graph where it shows none);
    /// counted: operators of our graph, fitted; micro: each operator alone, as others do it
    #[arg(long, value_enum, default_value = "fused")]
    method: MethodArg,
    /// Seed of the networks' choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Start over: removes the table and what an earlier run has left
    #[arg(long)]
    fresh: bool,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Print what was built as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MethodArg {
    Fused,
    Counted,
    Micro,
}

/// Check a table.
#[derive(Debug, clap::Args)]
struct ValidateArgs {
    /// The table
    table: PathBuf,
    /// Networks to measure
    #[arg(long, value_name = "N", default_value_t = 100)]
    archs: usize,
    /// Another table of the same space and device, held against the same networks
    #[arg(long, value_name = "TABLE")]
    beside: Option<PathBuf>,
    /// Seed of the networks' choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Write a page with the plot
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the figures as JSON; with --beside, the other table's as `beside`
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let result = match &args.command {
        Command::Build(args) => build(args, quiet),
        Command::Validate(args) => validate(args, quiet),
        Command::Predict(args) => tables::predict(args),
        Command::Import(args) => tables::import(args),
        Command::Transfer(args) => tables::transfer(args),
        Command::Diff(args) => tables::diff(args),
    };
    result.map_err(|error| match error.downcast_ref() {
        Some(LutError::Interrupted) => Interrupted.into(),
        _ => error,
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}`: expected a time such as 90s, 10m or 1h");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<f64>().map_err(|_| wrong())? * scale;
    Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero()).ok_or_else(wrong)
}

/// The device of `profile`.
fn open(profile: HardwareProfile, ort_lib: Option<&PathBuf>) -> anyhow::Result<Box<dyn Device>> {
    let options = OpenOptions { library: ort_lib.cloned(), ..OpenOptions::default() };
    Ok(device::open(profile, options)?)
}

fn build(args: &BuildArgs, quiet: bool) -> anyhow::Result<()> {
    let profile = lut::brief(device::find(&args.profile, &NatsOptions::default())?);
    let space = args.space.open()?;
    let method = match args.method {
        MethodArg::Fused => Method::Fused,
        MethodArg::Counted => Method::Counted,
        MethodArg::Micro => Method::Micro,
    };
    let options = BuildOptions { method, space: args.space.reference(), seed: args.seed, budget: args.budget };
    let partial = args.output.with_added_extension("partial");
    if args.fresh {
        for path in [&args.output, &partial] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(input_error(format!("{}: {error}", path.display())));
                }
                _ => {}
            }
        }
    } else if args.output.exists() && !partial.exists() {
        let table = LatencyTable::read(&args.output)?;
        if !is_of(&table, &profile, &options) {
            let reason = "holds another table (device, space, method or seed): --fresh replaces it";
            return Err(input_error(format!("{}: {reason}", args.output.display())));
        }
        return report_build(&table, args);
    }
    let mut device = open(profile, args.ort_lib.as_ref())?;
    interrupt::listen();
    let mut progress = Progress::new(quiet);
    let table = lut::build(&space, &mut *device, &options, &partial, &mut progress);
    progress.finish();
    let table = table?;
    table.write(&args.output)?;
    if let Err(error) = std::fs::remove_file(&partial) {
        tracing::warn!("{}: {error}", partial.display());
    }
    report_build(&table, args)
}

/// Whether a build of these options made the table.
fn is_of(table: &LatencyTable, profile: &HardwareProfile, options: &BuildOptions) -> bool {
    let header = &table.header;
    let fell_back = (options.method, header.method) == (Method::Fused, Method::Counted);
    header.profile.as_ref() == Some(profile)
        && header.space.as_ref() == Some(&options.space)
        && header.seed == options.seed
        && (header.method == options.method || fell_back)
}

fn report_build(table: &LatencyTable, args: &BuildArgs) -> anyhow::Result<()> {
    let errors: Vec<f64> = table.errors.iter().map(|error| 100.0 * error.abs()).collect();
    let figures = (!errors.is_empty()).then(|| (median(&errors), quantile(&errors, 0.9)));
    let of = |status: Status| table.entries.values().filter(|entry| entry.status == status).count();
    if args.json {
        return print_json(&json!({
            "path": args.output, "method": table.header.method, "entries": table.entries.len(),
            "estimated": of(Status::Estimated), "networks": table.networks.len(), "failed": table.failed,
            "median_error_pct": figures.map(|figures| figures.0), "p90_error_pct": figures.map(|figures| figures.1),
            "half_width90_pct": table.half_width().map(|half| 100.0 * half),
        }));
    }
    let (entries, estimated, networks) = (table.entries.len(), of(Status::Estimated), table.networks.len());
    let method = format!("{:?}", table.header.method).to_lowercase();
    print(format!(
        "{}: {entries} entries ({method}) from {networks} timed networks and chains",
        args.output.display()
    ))?;
    if estimated > 0 {
        print(format!("{estimated} entries are estimated: no timed network has them"))?;
    }
    if let Some((median, p90)) = figures {
        let count = errors.len();
        print(format!("error of {count} networks that were left out: median {median:.2} %, 90 % below {p90:.2} %"))?;
    }
    table.failed.iter().try_for_each(|failed| print(format!("failed: {}: {}", failed.entry, failed.reason)))
}

/// The profile that a table was measured with.
fn profile_of(table: &LatencyTable, path: &Path) -> anyhow::Result<HardwareProfile> {
    let profile = table.header.profile.clone();
    profile
        .ok_or_else(|| input_error(format!("{}: an imported table names no profile to measure with", path.display())))
}

/// The device that shows the operators of a table, where it is another one than the table's own.
fn shows(table: &LatencyTable, ort_lib: Option<&PathBuf>) -> anyhow::Result<Option<Box<dyn Device>>> {
    table.header.operators_of.clone().map(|profile| open(profile, ort_lib)).transpose()
}

fn validate(args: &ValidateArgs, quiet: bool) -> anyhow::Result<()> {
    if args.archs == 0 {
        return Err(input_error("--archs must be 1 or more"));
    }
    let table = LatencyTable::read(&args.table)?;
    let profile = profile_of(&table, &args.table)?;
    let reference = table.header.space.clone();
    let space = reference.ok_or_else(|| input_error("the table names no space to draw networks from"))?.open()?;
    let mut device = open(profile, args.ort_lib.as_ref())?;
    let mut shows = shows(&table, args.ort_lib.as_ref())?;
    device.check()?;
    let mut tables = vec![table];
    if let Some(beside) = &args.beside {
        let other = LatencyTable::read(beside)?;
        if other.header.space != tables[0].header.space {
            return Err(input_error(format!("{}: is of another space", beside.display())));
        }
        tables.push(other);
    }
    interrupt::listen();
    let mut progress = Progress::new(quiet);
    let shows = shows.as_mut().map(|device| &mut **device as &mut dyn Device);
    let found = lut::validate(&tables, &space, &mut *device, shows, (args.archs, args.seed), &mut progress);
    progress.finish();
    let found = found?;
    if let Some(path) = &args.html {
        report::write_validation(&tables, &found, path)?;
    }
    if args.json {
        let mut figures = serde_json::to_value(&found[0])?;
        if let Some(beside) = found.get(1) {
            figures["beside"] = serde_json::to_value(beside)?;
        }
        return print_json(&figures);
    }
    print(figures(&tables, &found))?;
    let Validation { dead, failed, .. } = &found[0];
    print(format!("{dead} dead architectures were drawn and left out"))?;
    failed.iter().try_for_each(|failed| print(format!("failed: {}: {}", failed.entry, failed.reason)))
}

fn figures(tables: &[LatencyTable], found: &[Validation]) -> Table {
    let mut table = Table::new();
    table.set_header(["table", "networks", "ρ", "τ", "median error", "90 % below", "within 90 % interval"]);
    let figure = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
    for (of, found) in tables.iter().zip(found) {
        table.add_row([
            format!("{:?}", of.header.method).to_lowercase(),
            found.networks.to_string(),
            figure(found.spearman, 4),
            figure(found.kendall, 4),
            format!("{:.2} %", found.median_error_pct),
            format!("{:.2} %", found.p90_error_pct),
            found.coverage90_pct.map_or("-".to_owned(), |share| format!("{share:.1} %")),
        ]);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("20"), Ok(Duration::from_secs(20)));
        for wrong in ["", "m", "10d", "0s", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
