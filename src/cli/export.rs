//! `tegu export`: one architecture as an ONNX file.

use super::network::{SpaceArgs, input_error};
use super::{print, print_json};
use crate::network::{Init, Weights};
use crate::onnx::{self, Batch, ExportOptions, Metadata, Precision};
use crate::space::Scale;
use serde_json::json;
use std::path::PathBuf;

/// Write one architecture as ONNX.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    space: SpaceArgs,
    /// The architecture, as its space writes it
    arch: String,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Samples in one run, or `dynamic`
    #[arg(long, default_value = "1", value_parser = batch)]
    batch: Batch,
    /// Element type of weights and activations: f32, or f16 (input and output stay 32-bit floats)
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Weights as safetensors; where absent, those of the space's own model, or drawn from the seed
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Seed of the weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn batch(text: &str) -> Result<Batch, String> {
    match text {
        "dynamic" => Ok(Batch::Dynamic),
        _ => text
            .parse()
            .ok()
            .filter(|&size| size > 0)
            .map(Batch::Fixed)
            .ok_or_else(|| "expected a number of samples or dynamic".into()),
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let space = args.space.open()?;
    let genotype = space.parse_arch(&args.arch)?;
    let graph = space.lower(&genotype, Scale::Full)?;
    let live = graph.live().map_err(|error| input_error(format!("{}: {error}", args.arch)))?;
    let cpu = candle_core::Device::Cpu;
    let (weights, seed) = match &args.weights {
        Some(path) => {
            let weights = Weights::load(&live, path, &cpu);
            (weights.map_err(|error| input_error(format!("{}: {error}", path.display())))?, None)
        }
        None => {
            let drawn = (!space.is_pretrained()).then_some(args.seed);
            (space.weights(&genotype, &live, (Init::default(), args.seed), &cpu)?, drawn)
        }
    };
    let metadata = Metadata {
        space: Some(space.name.clone()),
        architecture: Some(space.arch(&genotype)),
        seed,
        weights_sha256: Some(weights.sha256()?),
        ..Metadata::new()
    };
    let file_name = args.output.file_name().ok_or_else(|| input_error("--output names no file"))?;
    let file_name = file_name.to_string_lossy().into_owned();
    let options = ExportOptions { batch: args.batch, file_name, precision: args.precision, ..ExportOptions::default() };
    let model = onnx::export(&live, &weights, &metadata, options)?;
    model.save(&args.output)?;
    let cost = live.cost();
    if args.json {
        return print_json(&json!({
            "path": args.output, "sha256": model.sha256(), "bytes": model.bytes.len(), "opset": onnx::OPSET,
            "precision": args.precision,
            "params": cost.params, "macs": cost.macs, "peak_activation_bytes": cost.peak_activation_bytes,
        }));
    }
    let file = args.output.display();
    print(format!("{file}: {} bytes, {} parameters, {} MACs", model.bytes.len(), cost.params, cost.macs))?;
    print(format!("sha256 {}", model.sha256()))
}
