//! `tegu profile`: measure any ONNX model.

use super::network::named_dims;
use super::{print, print_json};
use crate::device::{self, HardwareProfile, Job, OpenOptions};
use crate::latency::Measurement;
use comfy_table::Table;
use std::path::PathBuf;

/// Measure the latency of any ONNX model.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The ONNX file
    model: PathBuf,
    /// Hardware profile: a name (such as host-cpu-tract) or the path of a YAML file
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
    let profile = HardwareProfile::find(&args.device)?;
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
    let rows = [
        ("device", measured.device.clone()),
        ("runtime", format!("{} {}", measured.runtime, measured.runtime_version)),
        ("execution provider", measured.execution_provider.clone()),
        ("threads", measured.threads.to_string()),
        ("batch", measured.batch.to_string()),
        ("median", format!("{:.4} ms (95 % interval {low:.4} to {high:.4})", measured.p50_ms)),
        ("p90", percentile(measured.p90_ms)),
        ("p99", percentile(measured.p99_ms)),
        ("samples", format!("{} in {} rounds, {} outliers", measured.samples, measured.rounds, measured.outliers)),
        ("loading", format!("{:.1} ms, first run {:.3} ms", measured.load_ms, measured.first_run_ms)),
        ("verdict", measured.verdict.to_string()),
        ("model", measured.model_sha256.clone()),
    ];
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    table
}
