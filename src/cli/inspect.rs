//! `tegu inspect`: what an ONNX file is, where it comes from, what it costs, and what can't run it.

use super::network::named_dims;
use super::{print, print_json};
use crate::device::{self, HardwareProfile, Job, OpenOptions};
use crate::latency::Measurement;
use crate::onnx::{self, Metadata, ModelInfo};
use crate::runtime::{self, SessionOptions};
use crate::study::{Remembered, remembered};
use comfy_table::Table;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Say what an ONNX file is: provenance, operators, costs; and what a device can't run of it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The ONNX file
    model: PathBuf,
    /// Hardware profiles to try it on, each a name or the path of a YAML file; repeat for several
    #[arg(long)]
    device: Vec<String>,
    /// Sizes of an input that the model leaves open, as in image:1x3x224x224 (repeat for several inputs)
    #[arg(long, value_name = "NAME:SIZES", value_parser = named_dims)]
    input: Vec<(String, Vec<usize>)>,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found out.
struct Found {
    sha256: String,
    bytes: usize,
    info: ModelInfo,
    metadata: Metadata,
    /// Multiply-accumulates, or why they can't be counted.
    macs: Result<u64, String>,
    /// What the study that the file lies in knows of it.
    remembered: Option<Remembered>,
    /// What each device made of it.
    devices: Vec<(String, Result<Measurement, String>)>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let profiles = args.device.iter().map(|name| HardwareProfile::find(name)).collect::<Result<Vec<_>, _>>()?;
    let info = onnx::inspect(&args.model)?;
    let metadata = onnx::read_metadata(&args.model)?;
    let bytes = std::fs::read(&args.model)?;
    let sha256 = crate::genotype::hex(&Sha256::digest(&bytes));
    let input_dims: BTreeMap<String, Vec<usize>> = args.input.iter().cloned().collect();
    let options = SessionOptions { input_dims: input_dims.clone(), ..SessionOptions::default() };
    let macs = runtime::macs(&args.model, &options).map_err(|error| error.to_string());
    let measure = |profile: HardwareProfile| {
        let name = profile.name.clone();
        let options = OpenOptions { library: args.ort_lib.clone(), ..OpenOptions::default() };
        let job = Job { input_dims: input_dims.clone(), ..Job::of_model(&args.model) };
        let measured = device::open(profile, options).and_then(|mut device| device.measure(&job));
        (name, measured.map_err(|error| error.to_string()))
    };
    let devices = profiles.into_iter().map(measure).collect();
    let remembered = remembered(&args.model, &sha256)?;
    let found = Found { sha256, bytes: bytes.len(), info, metadata, macs, remembered, devices };
    if args.json { print_json(&found.json(&args.model)) } else { print(found.table(&args.model)) }
}

impl Found {
    fn provenance(&self) -> Vec<(&'static str, String)> {
        let Metadata {
            study,
            trial,
            space,
            architecture,
            seed,
            tegu_version,
            temperature,
            data_sha256,
            layers,
            quantization,
            ..
        } = self.metadata.clone();
        let numbers = |values: &BTreeMap<String, f64>| {
            let all: Vec<String> = values.iter().map(|(name, value)| format!("{name} {value:.5}")).collect();
            (!all.is_empty()).then(|| all.join(", "))
        };
        let all = [
            ("study", study.map(|study| trial.map_or(study.clone(), |trial| format!("{study}, trial {trial}")))),
            ("space", space),
            ("architecture", architecture),
            ("seed", seed.map(|seed| seed.to_string())),
            ("indicators", numbers(&self.metadata.indicators)),
            ("accuracy", numbers(&self.metadata.accuracy)),
            ("calibration error", numbers(&self.metadata.ece)),
            ("temperature", temperature.map(|value| format!("{value:.4}"))),
            ("data", data_sha256),
            ("layers", layers),
            ("quantisation", quantization),
            ("Tegu", tegu_version),
        ];
        all.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
    }

    fn table(&self, model: &Path) -> Table {
        let info = &self.info;
        let list = |all: Vec<String>| all.join(", ");
        let opset = |(domain, version): (&String, &i64)| match domain.as_str() {
            "" => version.to_string(),
            domain => format!("{domain} {version}"),
        };
        let mut rows = vec![
            ("file", format!("{}: {} bytes, sha256 {}", model.display(), self.bytes, self.sha256)),
            ("written by", info.producer.clone()),
            ("opset", list(info.opsets.iter().map(opset).collect()) + &format!(", IR {}", info.ir_version)),
            ("inputs", list(info.inputs.iter().map(ToString::to_string).collect())),
            ("outputs", list(info.outputs.iter().map(ToString::to_string).collect())),
            ("operators", list(info.operators.iter().map(|(name, count)| format!("{count} {name}")).collect())),
            ("constants", info.constants.to_string()),
            ("MACs", self.macs.as_ref().map_or_else(|reason| format!("not counted: {reason}"), u64::to_string)),
        ];
        rows.extend(self.provenance());
        let latency = |p50_ms: f64, [low, high]: [f64; 2]| format!("{p50_ms:.4} ms ({low:.4} to {high:.4})");
        let mut table = Table::new();
        for known in self.remembered.iter().flat_map(|known| &known.measurements) {
            rows.push(("measured", format!("{}: {}", known.device, latency(known.p50_ms, known.ci95_ms))));
        }
        for (device, outcome) in &self.devices {
            let text = match outcome {
                Ok(found) if found.fallen_back.is_empty() => latency(found.p50_ms, found.ci95_ms),
                Ok(found) => {
                    let share = found.ep_coverage.map_or(String::new(), |share| format!(" of {:.1} %", 100.0 * share));
                    let fallen = found.fallen_back.join(", ");
                    format!("{}; runs all{share} but {fallen}", latency(found.p50_ms, found.ci95_ms))
                }
                Err(reason) => format!("can't run it: {reason}"),
            };
            rows.push(("now", format!("{device}: {text}")));
        }
        for (name, text) in rows {
            table.add_row([name.to_owned(), text]);
        }
        table
    }

    fn json(&self, model: &Path) -> Value {
        let info = &self.info;
        let values = |all: &[onnx::ValueInfo]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let devices = self.devices.iter().map(|(device, outcome)| match outcome {
            Ok(found) => json!({ "device": device, "measurement": found }),
            Err(reason) => json!({ "device": device, "reason": reason }),
        });
        json!({
            "path": model,
            "sha256": self.sha256,
            "bytes": self.bytes,
            "producer": info.producer,
            "opsets": info.opsets,
            "ir_version": info.ir_version,
            "inputs": values(&info.inputs),
            "outputs": values(&info.outputs),
            "operators": info.operators,
            "constants": info.constants,
            "macs": self.macs.as_ref().ok(),
            "provenance": self.provenance().into_iter().collect::<BTreeMap<_, _>>(),
            "indicators": self.metadata.indicators,
            "accuracy": self.metadata.accuracy,
            "measured": self.remembered.as_ref().map(|known| &known.measurements),
            "devices": devices.collect::<Vec<_>>(),
        })
    }
}
