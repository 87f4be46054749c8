//! The commands that use tables: predict, import, transfer, diff.

use super::{open, profile_of};
use crate::cli::network::input_error;
use crate::cli::{print, print_json};
use crate::device::{self, Device, Job};
use crate::latency::Unit;
use crate::lut::{
    self, Costs, Counts, Extractor, ImportOptions, LatencyTable, Method, Prediction, SpaceRef, Status, count,
};
use crate::nats::NatsOptions;
use crate::onnx::read_metadata;
use crate::space::{NetworkChanges, Scale, SearchSpace};
use clap::ValueEnum;
use comfy_table::{CellAlignment, Table};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Predict latencies.
#[derive(Debug, clap::Args)]
pub(super) struct PredictArgs {
    /// The table
    table: PathBuf,
    /// Architectures as their space writes them, or ONNX files; for an imported table, entries joined by `;`
    #[arg(required = true, value_name = "ARCH|MODEL.onnx")]
    networks: Vec<String>,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// One JSON line a network
    #[arg(long)]
    json: bool,
}

/// Import a table.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// Once-for-All / ProxylessNAS (.yaml), FBNet (.json), or `arch,latency_ms` (.csv)
    file: PathBuf,
    /// Unit of its latencies: no such file says it
    #[arg(long, value_enum)]
    unit: UnitArg,
    /// Name of the device; the file's where absent
    #[arg(long)]
    device: Option<String>,
    /// Search space of the architectures of a CSV: operators are fitted to them, so that others can be predicted
    #[arg(long)]
    space: Option<String>,
    /// Column of latencies of a CSV; `latency_ms`, `latency` or `latency_us` where absent
    #[arg(long)]
    column: Option<String>,
    /// The table to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum UnitArg {
    Ms,
    Us,
    S,
}

/// Calibrate a table.
#[derive(Debug, clap::Args)]
pub(super) struct TransferArgs {
    /// The other device's table
    table: PathBuf,
    /// Hardware profile of the new device: a name or the path of a YAML file
    #[arg(long)]
    device: String,
    /// Networks to measure there
    #[arg(long, value_name = "K", default_value_t = 10)]
    anchors: usize,
    /// The table to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
}

/// Compare tables.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The first table
    before: PathBuf,
    /// The second one
    after: PathBuf,
    /// Print the difference as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn predict(args: &PredictArgs) -> anyhow::Result<()> {
    let table = LatencyTable::read(&args.table)?;
    let space = table.header.space.as_ref().map(SpaceRef::open).transpose()?;
    let mut operators = Operators { table: &table, space, device: None, args };
    for network in &args.networks {
        let counts = operators.of(network)?;
        let prediction = table.predict(&counts)?;
        if args.json {
            let mut line = serde_json::to_value(&prediction)?;
            line["network"] = json!(network);
            print_json(&line)?;
        } else {
            print(text(network, &prediction))?;
            print(entries(&prediction))?;
        }
    }
    Ok(())
}

struct Operators<'a> {
    table: &'a LatencyTable,
    space: Option<SearchSpace>,
    /// What shows the runtime's graph, once it was needed.
    device: Option<Box<dyn Device>>,
    args: &'a PredictArgs,
}

impl Operators<'_> {
    fn of(&mut self, network: &str) -> anyhow::Result<Counts> {
        let method = self.table.header.method;
        if method == Method::Imported {
            return Ok(listed(self.table, network));
        }
        let mut extractor = Extractor::new(method, self.table.header.batch, self.table.header.precision())?;
        let path = Path::new(network);
        let is_model = path.extension().is_some_and(|ending| ending == "onnx");
        let operators = if is_model && method == Method::Fused {
            extractor.operators_of_model(&Job::of_model(path), self.device()?)?
        } else {
            let arch = if is_model { self.architecture(path)? } else { network.to_owned() };
            let no_space = || input_error("the table names no space to read architectures of");
            let space = self.space.as_ref().ok_or_else(no_space)?;
            let graph = space.lower(&space.parse_arch(&arch)?, Scale::Full)?;
            let view = self.table.header.graph;
            let graph = view.of(&graph).map_err(|error| input_error(format!("{arch}: {error}")))?;
            match method {
                Method::Fused => extractor.operators(&graph, self.device()?)?,
                _ => lut::counted_operators(&graph, self.table.header.batch),
            }
        };
        Ok(count(operators, &mut Costs::new()))
    }

    fn device(&mut self) -> anyhow::Result<&mut dyn Device> {
        if self.device.is_none() {
            let profile = self.table.header.operators_profile().cloned();
            let profile = profile.map_or_else(|| profile_of(self.table, &self.args.table), Ok)?;
            self.device = Some(open(profile, self.args.ort_lib.as_ref())?);
        }
        Ok(&mut **self.device.as_mut().expect("was just opened"))
    }

    /// The architecture that a model of ours names.
    fn architecture(&self, model: &Path) -> anyhow::Result<String> {
        let metadata = read_metadata(model)?;
        let of_space = metadata.space == self.space.as_ref().map(|space| space.name.clone());
        metadata.architecture.filter(|_| of_space).ok_or_else(|| {
            input_error(format!(
                "{}: a table of this method knows architectures of its space only, and the model names none",
                model.display()
            ))
        })
    }
}

/// The entries of an imported table that `network` lists.
fn listed(table: &LatencyTable, network: &str) -> Counts {
    let mut counts = Counts::new();
    if table.entries.contains_key(network) {
        counts.insert(network.to_owned(), 1);
        return counts;
    }
    for key in network.split(';').map(str::trim).filter(|key| !key.is_empty()) {
        *counts.entry(key.to_owned()).or_default() += 1;
    }
    counts
}

fn text(network: &str, prediction: &Prediction) -> String {
    let interval = match prediction.interval90_ms {
        Some([low, high]) => format!(" (90 % interval {low:.4} to {high:.4})"),
        None => " (no interval: too few networks were timed)".to_owned(),
    };
    let mut text = format!("{network}: {:.4} ms{interval}", prediction.p50_ms);
    let estimated: Vec<&str> = prediction
        .entries
        .iter()
        .filter(|entry| entry.status == Status::Estimated)
        .map(|entry| entry.key.as_str())
        .collect();
    if !estimated.is_empty() {
        text += &format!("\nestimated, since no timed network has them: {}", estimated.join("; "));
    }
    text
}

fn entries(prediction: &Prediction) -> Table {
    let mut table = Table::new();
    table.set_header(["operator", "count", "ms", "entry"]);
    for entry in &prediction.entries {
        let status = format!("{:?}", entry.status).to_lowercase();
        table.add_row([entry.key.clone(), entry.count.to_string(), format!("{:.4}", entry.total_ms), status]);
    }
    table.add_row(["overhead".to_owned(), String::new(), format!("{:.4}", prediction.overhead_ms), String::new()]);
    for column in table.column_iter_mut().skip(1).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let unit = match args.unit {
        UnitArg::Ms => Unit::Ms,
        UnitArg::Us => Unit::Us,
        UnitArg::S => Unit::S,
    };
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let space = args.space.clone().map(|space| SpaceRef { space, changes: NetworkChanges::default() });
    let device = args.device.clone().unwrap_or(stem);
    let imported = lut::import(&args.file, &ImportOptions { unit, device, space, column: args.column.clone() })?;
    imported.table.write(&args.output)?;
    let left_out = match imported.left_out {
        0 => String::new(),
        rows => format!(", {rows} rows left out (dead, or without a latency)"),
    };
    print(format!("{}: {} entries{left_out}", args.output.display(), imported.table.entries.len()))
}

pub(super) fn transfer(args: &TransferArgs) -> anyhow::Result<()> {
    let table = LatencyTable::read(&args.table)?;
    let no_space = || input_error(format!("{}: names no space to make anchors of", args.table.display()));
    let space = table.header.space.as_ref().ok_or_else(no_space)?.open()?;
    let mut device = open(lut::brief(device::find(&args.device, &NatsOptions::default())?), args.ort_lib.as_ref())?;
    let found = lut::transfer(&table, &space, &mut *device, args.anchors)?;
    found.table.write(&args.output)?;
    print(format!(
        "{}: calibrated by {} anchors, rank correlation {:.3}, scale {:.4}",
        args.output.display(),
        found.anchors,
        found.correlation,
        found.table.scale / table.scale
    ))
}

pub(super) fn diff(args: &DiffArgs) -> anyhow::Result<()> {
    let found = lut::diff(&LatencyTable::read(&args.before)?, &LatencyTable::read(&args.after)?);
    if args.json {
        return print_json(&found);
    }
    for (field, before, after) in &found.headers {
        print(format!("{field}: {before} -> {after}"))?;
    }
    let changed = found.changes.iter().filter(|change| change.beyond_noise);
    let mut table = Table::new();
    table.set_header(["operator", "before µs", "after µs", "change"]);
    for change in changed.clone() {
        let by = 100.0 * (change.after_us / change.before_us - 1.0);
        let cells = [format!("{:.3}", change.before_us), format!("{:.3}", change.after_us), format!("{by:+.1} %")];
        table.add_row([vec![change.key.clone()], cells.to_vec()].concat());
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    let count = changed.count();
    if count > 0 {
        print(table)?;
    }
    let ratio = found.median_ratio.map(|ratio| format!(", median after/before {ratio:.4}")).unwrap_or_default();
    print(format!("{count} of {} common entries changed beyond the noise{ratio}", found.changes.len()))?;
    found.only_before.iter().try_for_each(|key| print(format!("only before: {key}")))?;
    found.only_after.iter().try_for_each(|key| print(format!("only after: {key}")))
}
