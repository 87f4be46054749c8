//! `tegu quantize`: an INT8 or FP16 copy of a model, and what that costs.

use super::data::DataOptions;
use super::network::input_error;
use super::probing::Counter;
use super::{print, print_json};
use crate::data::{DataSet, Part};
use crate::onnx::OnnxModel;
use crate::quantize::{
    Accuracy, Activations, Feed, FloatModel, Precision, RangeMethod, Runner, Scheme, Sensitivity, with_metadata,
};
use crate::runtime::{RuntimeKind, SessionOptions, TractRuntime};
use comfy_table::Table;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Make an INT8 copy of a model with calibration data, or an FP16 copy.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The ONNX file, of 32-bit floats
    model: PathBuf,
    /// Calibration data, whose test part shows the accuracy: a folder of images (`class/*.png`, perhaps in train/, test/),
    /// of CIFAR's or MNIST's files, or a file .npz or .csv; needed but for --fp16
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    #[command(flatten)]
    options: DataOptions,
    /// The file to write; MODEL.int8.onnx or MODEL.fp16.onnx where absent
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// 16-bit floats instead of 8-bit integers; needs no data
    #[arg(long, conflicts_with_all = ["range", "activations", "weights", "keep", "reduce_range", "sensitivity"])]
    fp16: bool,
    /// How ranges of activations are found: minmax, percentile, percentile:99.9, entropy
    #[arg(long, value_name = "METHOD", default_value = "minmax")]
    range: RangeMethod,
    /// How activations are rounded: asymmetric (unsigned; CPUs), symmetric (signed; TensorRT)
    #[arg(long, default_value = "asymmetric", value_parser = activations)]
    activations: Activations,
    /// How weights are rounded: symmetric (a scale for each channel), asymmetric (one scale); where neither this nor --keep is
    /// given, as the search has decided for each layer, else symmetric
    #[arg(long, value_parser = weights)]
    weights: Option<Precision>,
    /// A layer or operator that stays in floats (repeat for several)
    #[arg(long, value_name = "NAME")]
    keep: Vec<String>,
    /// Weights of 7 bits, for x86 processors with AVX2 and without VNNI
    #[arg(long)]
    reduce_range: bool,
    /// Samples that ranges are found with, the same number of each class
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    calibration: usize,
    /// Samples that accuracies are found with; all where absent
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    samples: Option<usize>,
    /// Quantise each layer alone as well, and say what it costs
    #[arg(long)]
    sensitivity: bool,
    /// What runs the model: onnxruntime or tract; ONNX Runtime where it is found, else tract, where absent
    #[arg(long, value_parser = runtime)]
    runtime: Option<RuntimeKind>,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Seed of the choice of samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
}

fn activations(text: &str) -> Result<Activations, String> {
    serde_json::from_value(text.into()).map_err(|_| format!("found `{text}`, expected asymmetric or symmetric"))
}

fn weights(text: &str) -> Result<Precision, String> {
    match text {
        "symmetric" => Ok(Precision::Symmetric),
        "asymmetric" => Ok(Precision::Asymmetric),
        _ => Err(format!("found `{text}`, expected symmetric or asymmetric")),
    }
}

fn runtime(text: &str) -> Result<RuntimeKind, String> {
    match text {
        "onnxruntime" => Ok(RuntimeKind::OnnxRuntime),
        "tract" => Ok(RuntimeKind::Tract),
        _ => Err(format!("found `{text}`, expected onnxruntime or tract")),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| format!("found `{text}`, expected 1 or more"))
}

/// The metadata that say what layers are to become.
const LAYERS: &str = "tegu.layers";

/// What the copy has to do with the original.
struct Compared {
    /// `test`, or `train` where the data have no test part.
    part: &'static str,
    before: Accuracy,
    after: Accuracy,
}

pub(super) fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let float = FloatModel::read(&args.model)?;
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| args.model.with_extension(if args.fp16 { "fp16.onnx" } else { "int8.onnx" }));
    if same_file(&output, &args.model) {
        return Err(input_error(format!("--output: {} is the model itself, expected another file", output.display())));
    }
    let set = args.data.as_ref().map(|path| args.options.open(path)).transpose()?;
    let runner = match (args.runtime, &args.ort_lib) {
        (Some(RuntimeKind::Tract), _) => Runner::new(Box::new(TractRuntime), SessionOptions::default())?,
        (Some(_), library) => Runner::onnxruntime(library.clone())?,
        (None, library) => Runner::best(library.clone())?,
    };
    let (model, sensitivities) = match (&set, args.fp16) {
        (_, true) => (float.to_half()?, vec![]),
        (None, false) => {
            let reason = "--data: missing, expected images to find the ranges of activations with (or --fp16)";
            return Err(input_error(reason));
        }
        (Some(set), false) => int8(args, &float, set, &runner, quiet)?,
    };
    let compared = set.as_ref().map(|set| compared(args, &float, set, &runner, &model)).transpose()?;
    let model = with_provenance(args, &float, set.as_ref(), compared.as_ref(), &model)?;
    model.save(&output)?;
    let before_bytes = std::fs::metadata(&args.model)?.len();
    if args.json {
        return print_json(&as_json(args, &float, &runner, (&output, &model, before_bytes), compared, &sensitivities));
    }
    for found in &sensitivities {
        let Sensitivity { layer, decibels, changed, accuracy_change } = found;
        print(format!(
            "{layer}: {decibels:.1} dB, {changed} samples change class, accuracy {:+.2} %",
            100.0 * accuracy_change
        ))?;
    }
    print(table(&runner, (&output, &model, before_bytes), compared))
}

/// What becomes of the layers: as the arguments say; where these say nothing of layers, as the search has decided.
fn scheme(args: &Args, float: &FloatModel) -> anyhow::Result<Scheme> {
    let Args { activations, reduce_range, .. } = *args;
    let decided = float.metadata(LAYERS).filter(|_| args.keep.is_empty() && args.weights.is_none());
    if let Some(text) = decided {
        let path = float.path().display();
        let layers = serde_json::from_str(text).map_err(|error| {
            input_error(format!("{path}: metadata `{LAYERS}`: {error}, expected layers and precisions"))
        })?;
        return Ok(Scheme { activations, layers, others: Precision::Float, reduce_range });
    }
    let layers = args.keep.iter().map(|name| (name.clone(), Precision::Float)).collect();
    Ok(Scheme { activations, layers, others: args.weights.unwrap_or_default(), reduce_range })
}

fn int8(
    args: &Args,
    float: &FloatModel,
    set: &DataSet,
    runner: &Runner,
    quiet: bool,
) -> anyhow::Result<(OnnxModel, Vec<Sensitivity>)> {
    let scheme = scheme(args, float)?;
    let feed = Feed::new(float, set, set.train().balanced(args.calibration, args.seed))?;
    let ranges = float.ranges(runner, &feed, args.range)?;
    let model = float.quantize(&ranges, &scheme)?;
    if !args.sensitivity {
        return Ok((model, vec![]));
    }
    let counter = Counter::new("layers", quiet);
    let told = float.sensitivities(&ranges, &scheme, (runner, &feed), |done, total| counter.show(done, total));
    counter.finish();
    Ok((model, told?))
}

fn compared(
    args: &Args,
    float: &FloatModel,
    set: &DataSet,
    runner: &Runner,
    model: &OnnxModel,
) -> anyhow::Result<Compared> {
    let (part, samples): (&str, Part) = match set.test() {
        Some(test) => ("test", test),
        None => ("train", set.train()),
    };
    let samples = args.samples.map_or(samples.clone(), |count| samples.balanced(count, args.seed));
    let feed = Feed::new(float, set, samples)?;
    let before = runner.accuracy(&float.folded().bytes, &feed)?;
    Ok(Compared { part, before, after: runner.accuracy(&model.bytes, &feed)? })
}

/// The model with what it was made of; figures of the model of floats are not those of the copy.
fn with_provenance(
    args: &Args,
    float: &FloatModel,
    set: Option<&DataSet>,
    compared: Option<&Compared>,
    model: &OnnxModel,
) -> anyhow::Result<OnnxModel> {
    let scheme = if args.fp16 { None } else { Some(scheme(args, float)?) };
    let said = json!({
        "precision": precision(args), "range": (!args.fp16).then_some(args.range),
        "scheme": scheme,
        "kept": args.keep, "calibration_samples": (!args.fp16).then_some(args.calibration),
        "calibration_sha256": set.filter(|_| !args.fp16).map(DataSet::sha256),
        "float_sha256": float.sha256(),
    });
    let accuracy = compared.map(|compared| json!({compared.part: compared.after.share()}).to_string());
    let entries = [("tegu.quantization", Some(said.to_string())), ("tegu.accuracy", accuracy), ("tegu.ece", None)];
    Ok(with_metadata(model, &entries)?)
}

fn precision(args: &Args) -> &'static str {
    if args.fp16 { "f16" } else { "int8" }
}

fn same_file(output: &Path, model: &Path) -> bool {
    let absolute = |path: &Path| path.canonicalize().ok();
    output == model || (absolute(output).is_some() && absolute(output) == absolute(model))
}

fn as_json(
    args: &Args,
    float: &FloatModel,
    runner: &Runner,
    (output, model, before_bytes): (&Path, &OnnxModel, u64),
    compared: Option<Compared>,
    sensitivities: &[Sensitivity],
) -> Value {
    let accuracy = compared.map(|Compared { part, before, after }| {
        json!({"part": part, "samples": before.samples, "before": before.share(), "after": after.share()})
    });
    let layers: Vec<String> = float.layers().into_iter().map(|layer| layer.name).collect();
    json!({
        "path": output, "sha256": model.sha256(), "bytes": model.bytes.len(), "float_bytes": before_bytes,
        "precision": precision(args), "range": (!args.fp16).then_some(args.range),
        "layers": layers, "kept": args.keep, "runtime": runner.info().name, "accuracy": accuracy,
        "sensitivity": sensitivities,
    })
}

fn table(
    runner: &Runner,
    (output, model, before_bytes): (&Path, &OnnxModel, u64),
    compared: Option<Compared>,
) -> Table {
    let mut table = Table::new();
    let bytes = model.bytes.len();
    let smaller = before_bytes as f64 / bytes as f64;
    table.add_row(["file".to_owned(), output.display().to_string()]);
    table.add_row(["sha256".to_owned(), model.sha256()]);
    table.add_row(["bytes".to_owned(), format!("{bytes} ({before_bytes} before: {smaller:.2} times)")]);
    table.add_row(["run by".to_owned(), runner.info().name]);
    if let Some(Compared { part, before, after }) = compared {
        let percent = |accuracy: Accuracy| 100.0 * accuracy.share();
        let change = percent(after) - percent(before);
        let text = format!(
            "{:.2} % before, {:.2} % after ({change:+.2}), {} samples of the {part} part",
            percent(before),
            percent(after),
            before.samples
        );
        table.add_row(["accuracy".to_owned(), text]);
    }
    table
}
