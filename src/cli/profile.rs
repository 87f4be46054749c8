//! `tegu profile`: measure any ONNX model.

use super::network::named_dims;
use super::{print, print_json};
use crate::device::{self, Job, OpenOptions};
use crate::latency::{HostState, Measurement, Sustained, Throughput};
use crate::nats::NatsOptions;
use comfy_table::Table;
use std::path::PathBuf;

/// Measure the latency of any ONNX model.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The ONNX file
    model: PathBuf,
    /// Hardware profile: a name (such as host-cpu-tract), the path of a YAML file, or agent:NAME (at TEGU_NATS_URL)
    #[arg(long, default_value = "host-cpu-tract")]
    device: String,
    /// Sizes of an input that the model leaves open, as in image:1x3x224x224 (repeat for several inputs)
    #[arg(long, value_name = "NAME:SIZES", value_parser = named_dims)]
    input: Vec<(String, Vec<usize>)>,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Print the measurement as JSON, with all samples
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let profile = device::find(&args.device, &NatsOptions::default())?;
    let options = OpenOptions { library: args.ort_lib.clone(), ..OpenOptions::default() };
    let job = Job { input_dims: args.input.iter().cloned().collect(), ..Job::of_model(&args.model) };
    let mut device = device::open(profile, options)?;
    let measurement = device.measure(&job)?;
    if args.json {
        return print_json(&measurement);
    }
    print(table(&measurement))
}

fn table(measured: &Measurement) -> Table {
    let mut table = Table::new();
    let percentile = |value: Option<f64>| value.map_or("- (too few samples)".into(), |ms| format!("{ms:.4} ms"));
    let [low, high] = measured.ci95_ms;
    let mut rows = vec![
        ("device", measured.device.clone()),
        ("runtime", format!("{} {}", measured.runtime, measured.runtime_version)),
        ("execution provider", provider(measured)),
        ("threads", threads(measured)),
        ("batch", measured.batch.to_string()),
        ("median", format!("{:.4} ms (95 % interval {low:.4} to {high:.4})", measured.p50_ms)),
        ("reference", reference(measured)),
        ("p90", percentile(measured.p90_ms)),
        ("p99", percentile(measured.p99_ms)),
        ("samples", samples(measured)),
        ("loading", format!("{:.1} ms, first run {:.3} ms", measured.load_ms, measured.first_run_ms)),
    ];
    let throughput = |found: &Throughput| match found.streams {
        1 => format!("{:.1} samples/s", found.samples_per_s),
        streams => format!("{:.1} samples/s in {streams} streams, {:.4} ms each", found.samples_per_s, found.p50_ms),
    };
    let sustained = |found: &Sustained| {
        let Sustained { first_p50_ms, last_p50_ms, ratio, .. } = found;
        let last = format!("{last_p50_ms:.4} ms at the end, {ratio:.3} times");
        format!("{first_p50_ms:.4} ms at the beginning of {:.0} s, {last}", found.seconds)
    };
    let optional = [
        ("throughput", measured.throughput.as_ref().map(throughput)),
        ("sustained", measured.sustained.as_ref().map(sustained)),
        ("peak memory", measured.peak_memory_mib.map(|mib| format!("{mib:.1} MiB"))),
        ("energy", measured.energy_mj_per_run.map(|mj| format!("{mj:.3} mJ a run (whole processor)"))),
        (
            "machine",
            measured
                .after
                .as_ref()
                .map(|after| machine(measured.before.as_ref(), after))
                .filter(|text| !text.is_empty()),
        ),
        ("fallen back", (!measured.fallen_back.is_empty()).then(|| measured.fallen_back.join(", "))),
    ];
    rows.extend(optional.into_iter().filter_map(|(name, text)| Some((name, text?))));
    rows.extend([("verdict", measured.verdict.to_string()), ("model", measured.model_sha256.clone())]);
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    table
}

fn provider(measured: &Measurement) -> String {
    match measured.ep_coverage {
        Some(share) => format!("{}, runs {:.1} % of the nodes", measured.execution_provider, 100.0 * share),
        None => measured.execution_provider.clone(),
    }
}

fn threads(measured: &Measurement) -> String {
    match &measured.cores {
        Some(cores) => format!("{}, pinned to cores {cores:?}", measured.threads),
        None => measured.threads.to_string(),
    }
}

fn reference(measured: &Measurement) -> String {
    let raw = measured.raw_p50_ms.map_or(String::new(), |ms| format!("; median without it {ms:.4} ms"));
    match (&measured.reference, &measured.no_reference) {
        (Some(found), _) => format!("{:.4} ms, stated for {:.4} ms{raw}", found.p50_ms, found.scale_ms),
        (None, Some(reason)) => format!("none: {reason}"),
        (None, None) => "none".to_owned(),
    }
}

fn samples(measured: &Measurement) -> String {
    let processes =
        if measured.processes > 1 { format!(" of {} processes", measured.processes) } else { String::new() };
    let loads = if measured.loads > 1 { format!(" of {} loads", measured.loads) } else { String::new() };
    let Measurement { samples, rounds, outliers, .. } = measured;
    format!("{samples} in {rounds} rounds{loads}{processes}, {outliers} outliers")
}

/// What the system tells of itself, before and after.
fn machine(before: Option<&HostState>, after: &HostState) -> String {
    let part = |unit: &str, of: fn(&HostState) -> Option<f64>| {
        let (before, after) = (before.and_then(of), of(after)?);
        Some(before.map_or(format!("{after:.2} {unit}"), |before| format!("{before:.2} → {after:.2} {unit}")))
    };
    let parts = [
        part("load", |state| state.load_1m),
        part("MHz", |state| state.clock_mhz),
        part("°C", |state| state.temperature_c),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
