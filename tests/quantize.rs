//! INT8 models: what runs on integers is near to fake quantisation by onnx's own reference, and to the model of floats.

mod common;

use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tegu::data::{DataSet, Normalisation, ReadOptions};
use tegu::graph::{Graph, Op};
use tegu::network::{Mode, Weights, fold_batch_norms, forward};
use tegu::onnx::{Batch, ExportOptions, Metadata, export};
use tegu::quantize::{Activations, Feed, FloatModel, Precision, QuantizeError, RangeMethod, Runner, Scheme};
use tegu::runtime::{
    GraphOptimization, LoadOptions, NamedTensor, RuntimeKind, SessionOptions, TractRuntime, Values, load,
};
use tegu::space::{NetworkChanges, Scale, SearchSpace};

const SAMPLES: usize = 24;

fn ort(graph_optimization: GraphOptimization) -> Runner {
    let library = Some(common::ort_library());
    let runtime = load(RuntimeKind::OnnxRuntime, &LoadOptions { library, ..Default::default() }).unwrap();
    Runner::new(runtime, SessionOptions { graph_optimization, ..Default::default() }).unwrap()
}

/// A table of samples of this shape, whose two classes differ in their mean.
fn data(folder: &Path, shape: [usize; 3]) -> DataSet {
    let elements: usize = shape.iter().product();
    let mut text: String = (0..elements).map(|at| format!("f{at},")).collect::<String>() + "label\n";
    for sample in 0..SAMPLES {
        for at in 0..elements {
            let wave = ((sample * elements + at) as f32 * 0.7371).sin() + ((at * (sample + 1)) as f32 * 0.0917).cos();
            write!(text, "{:.4},", wave + (sample % 2) as f32).unwrap();
        }
        writeln!(text, "{}", sample % 2).unwrap();
    }
    let path = folder.join(format!("{}x{}x{}.csv", shape[0], shape[1], shape[2]));
    std::fs::write(&path, text).unwrap();
    DataSet::open(&path, &ReadOptions { shape: Some(shape), ..Default::default() }).unwrap()
}

/// Small graphs of every operator, and architectures of spaces of each kind.
fn graphs() -> Vec<(String, Graph)> {
    let mut graphs: Vec<(String, Graph)> =
        common::graphs().into_iter().map(|(name, graph)| (name.to_owned(), graph)).collect();
    for (space, depth, input, width, count) in [
        ("nas-bench-201", Some(1), [3, 16, 16], 8, 3),
        ("mobilenet-macro", None, [3, 16, 16], 8, 3),
        ("darts", Some(2), [3, 16, 16], 4, 1),
        ("signals-1d", None, [3, 1, 32], 4, 1),
        ("tabular", None, [6, 1, 1], 8, 1),
        ("vit", None, [3, 32, 32], 4, 1),
    ] {
        let small = NetworkChanges { width: Some(width), depth, input: Some(input), ..Default::default() };
        let space = SearchSpace::open(space).unwrap().with_network(&small).unwrap();
        let mut rng = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(16);
        let drawn = std::iter::repeat_with(|| space.lower(&space.sample(&mut rng), Scale::Full).unwrap().live());
        let live = drawn.filter_map(Result::ok).take(count).enumerate();
        graphs.extend(live.map(|(number, graph)| (format!("{}-{number}", space.name), graph)));
    }
    graphs
}

fn model(graph: &Graph, weights: &Weights, batch: Batch, folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(format!("{name}.onnx"));
    let options = ExportOptions { batch, file_name: format!("{name}.onnx"), ..Default::default() };
    export(graph, weights, &Metadata::new(), options).unwrap().save(&path).unwrap();
    path
}

/// Largest difference of outputs, relative to the largest of them.
fn difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    let named = |rows: &[Vec<f32>]| {
        let values = Values::F32(rows.concat());
        vec![NamedTensor { name: "output".into(), dims: vec![rows.len(), rows[0].len()], values }]
    };
    common::difference(&named(found), &named(expected))
}

fn decibels(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    let pairs = || expected.iter().flatten().zip(found.iter().flatten());
    let noise: f32 = pairs().map(|(y, other)| (y - other).powi(2)).sum();
    10.0 * (pairs().map(|(y, _)| y * y).sum::<f32>() / noise.max(1e-30)).log10()
}

fn first_batch(set: &DataSet, count: usize) -> Vec<f32> {
    let normalisation = Normalisation::fit(&set.train());
    let elements = set.train().samples().elements();
    let mut values = vec![0.0; count * elements];
    for (index, sample) in values.chunks_exact_mut(elements).enumerate() {
        set.train().samples().write(index, sample);
        normalisation.apply(sample);
    }
    values
}

#[test]
fn integers_are_near_to_fake_quantisation() {
    let folder = tempfile::tempdir().unwrap();
    let (fast, plain) = (ort(GraphOptimization::All), ort(GraphOptimization::None));
    let tract = Runner::new(Box::new(TractRuntime), SessionOptions::default()).unwrap();
    let (mut cases, mut lowest) = (vec![], f32::INFINITY);
    for (number, (name, graph)) in graphs().into_iter().enumerate() {
        let weights = common::weights(&graph, number as u64);
        let batch = if number % 2 == 0 { Batch::Dynamic } else { Batch::Fixed(2) };
        let path = model(&graph, &weights, batch, folder.path(), &name);
        if !graph.nodes().iter().any(|node| matches!(node.op, Op::Conv2d(_) | Op::Linear { .. })) {
            let error = FloatModel::read(&path).unwrap_err().to_string();
            assert!(error.contains("nothing to quantise"), "{error}");
            continue;
        }
        let input = graph.input_shape().dims();
        let set = data(folder.path(), [input[0], input[1], input[2]]);
        let float = FloatModel::read(&path).unwrap();
        let feed = Feed::new(&float, &set, set.train()).unwrap();
        let ranges = float.ranges(&plain, &feed, RangeMethod::MinMax).unwrap();
        let expected = fast.outputs(&std::fs::read(&path).unwrap(), &feed).unwrap();
        let folded = fast.outputs(&float.folded().bytes, &feed).unwrap();
        assert!(difference(&folded, &expected) < 1e-5, "{name}: folding changes it");

        let asymmetric = Scheme { others: Precision::Asymmetric, ..Scheme::default() };
        let signed = Scheme { activations: Activations::Symmetric, ..Scheme::default() };
        for (kind, scheme) in [("symmetric", Scheme::default()), ("asymmetric", asymmetric), ("signed", signed)] {
            let quantized = float.quantize(&ranges, &scheme).unwrap();
            let found = fast.outputs(&quantized.bytes, &feed).unwrap();
            let fake = plain.outputs(&quantized.bytes, &feed).unwrap();
            // In floats a product lands on the other side of a half now and then; of that one step, a deep network of random
            // weights makes more and more, but not more than of all that quantisation changes.
            let deep = graph.nodes().iter().filter(|node| matches!(node.op, Op::Conv2d(_))).count() > 12;
            let allowed = if deep { difference(&fake, &expected).max(1e-2) } else { 1e-2 };
            let apart = difference(&found, &fake);
            assert!(apart <= allowed, "{name}, {kind}: integers differ from fake quantisation by {apart}");
            let (integers, rounding) = (decibels(&found, &fake), decibels(&fake, &expected));
            println!("{name}, {kind}: {apart:.1e}, {integers:.1} dB of integers, {rounding:.1} dB of quantisation");
            assert!(integers > rounding + 6.0, "{name}, {kind}: {integers} dB, quantisation itself {rounding} dB");
            let apart = difference(&tract.outputs(&quantized.bytes, &feed).unwrap(), &fake);
            assert!(apart <= allowed, "{name}, {kind}: tract differs by {apart}");
            let ratio = decibels(&found, &expected);
            assert!(ratio > 12.0, "{name}, {kind}: {ratio} dB");
            lowest = lowest.min(ratio);
            let file = folder.path().join(format!("{name}.{kind}.onnx"));
            quantized.save(&file).unwrap();
            let layers = float.layers().len();
            // Of signed activations ONNX Runtime has fully connected layers, and none beside a hard sigmoid.
            let connected = graph.nodes().iter().any(|node| matches!(node.op, Op::Linear { .. }));
            let signed = usize::from(connected && !name.starts_with("gate"));
            let integer = if kind == "signed" { signed } else { layers };
            let dims = [&[2], input.as_slice()].concat();
            cases.push(json!({
                "model": file, "integer": integer, "tolerance": allowed, "output": found[..2].concat(),
                // onnx's reference pads the wrong sides of a pool that is not square.
                "reference": name != "rectangles",
                "input": {"dims": dims, "values": first_batch(&set, 2)},
            }));
        }
    }
    println!("{} models, the least ratio is {lowest} dB", cases.len());
    let file = folder.path().join("cases.json");
    std::fs::write(&file, serde_json::to_string(&cases).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_quantized.py");
    let output = Command::new(common::python()).arg(script).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches(": fine, ").count(), cases.len(), "{text}");
}

/// An architecture with its weights, calibrated.
struct Calibrated {
    _folder: tempfile::TempDir,
    float: FloatModel,
    feed: Feed,
    runner: Runner,
}

fn calibrated() -> Calibrated {
    let folder = tempfile::tempdir().unwrap();
    let graph = common::convolutions();
    let path = model(&graph, &common::weights(&graph, 5), Batch::Dynamic, folder.path(), "convolutions");
    let set = data(folder.path(), [3, 12, 12]);
    let float = FloatModel::read(&path).unwrap();
    let feed = Feed::new(&float, &set, set.train()).unwrap();
    Calibrated { _folder: folder, float, feed, runner: ort(GraphOptimization::All) }
}

#[test]
fn layers_are_chosen_by_name_and_compared_alone() {
    let Calibrated { float, feed, runner, .. } = calibrated();
    let names: Vec<String> = float.layers().into_iter().map(|layer| layer.name).collect();
    assert_eq!(names, ["stem.conv_bias", "depthwise", "grouped", "dilated", "hidden", "logits"]);
    assert_eq!(float.layers()[0].parameters, 8 * 3 * 9 + 8);
    let ranges = float.ranges(&runner, &feed, RangeMethod::MinMax).unwrap();
    let before = runner.outputs(&float.folded().bytes, &feed).unwrap();
    let of = |scheme: &Scheme| runner.outputs(&float.quantize(&ranges, scheme).unwrap().bytes, &feed).unwrap();

    let none = Scheme { others: Precision::Float, ..Scheme::default() };
    assert_eq!(of(&none), before);
    let all = decibels(&of(&Scheme::default()), &before);
    let one = Scheme { layers: [("grouped".to_owned(), Precision::Symmetric)].into(), ..none };
    let alone = decibels(&of(&one), &before);
    assert!(alone > all, "{alone} {all}");

    let mut heard = vec![];
    let told =
        float.sensitivities(&ranges, &Scheme::default(), (&runner, &feed), |done, of| heard.push((done, of))).unwrap();
    assert_eq!((heard.len(), told.len()), (6, 6));
    assert!(told.windows(2).all(|pair| pair[0].decibels <= pair[1].decibels), "{told:?}");
    let grouped = told.iter().find(|found| found.layer == "grouped").unwrap();
    assert!((grouped.decibels as f32 - alone).abs() < 0.1, "{grouped:?} {alone}");

    let unknown = Scheme { layers: [("groupd".to_owned(), Precision::Float)].into(), ..Scheme::default() };
    let error = float.quantize(&ranges, &unknown).unwrap_err();
    assert!(error.is_input() && error.to_string().contains("did you mean `grouped`?"), "{error}");
    let error = float.quantize(&BTreeMap::new(), &Scheme::default()).unwrap_err().to_string();
    assert!(error.contains("it has no range"), "{error}");
}

#[test]
fn every_method_finds_ranges() {
    let Calibrated { float, feed, runner, .. } = calibrated();
    let widths = |method: RangeMethod| -> f32 {
        float.ranges(&runner, &feed, method).unwrap().values().map(|range| range.high - range.low).sum()
    };
    let (all, middle) = (widths(RangeMethod::MinMax), widths(RangeMethod::Percentile(99.0)));
    let entropy = widths(RangeMethod::Entropy);
    assert!(middle < all && entropy <= all && entropy > 0.2 * all, "{all} {middle} {entropy}");
}

#[test]
fn models_and_samples_that_do_not_fit_are_named() {
    let Calibrated { float, feed, runner, _folder } = calibrated();
    let ranges = float.ranges(&runner, &feed, RangeMethod::MinMax).unwrap();
    let quantized = _folder.path().join("int8.onnx");
    float.quantize(&ranges, &Scheme::default()).unwrap().save(&quantized).unwrap();
    let refused = |error: QuantizeError, expected: &str| {
        assert!(error.is_input() && error.to_string().contains(expected), "{error}");
    };
    refused(FloatModel::read(&quantized).unwrap_err(), "quantised already");
    refused(FloatModel::read(&_folder.path().join("absent.onnx")).unwrap_err(), "absent.onnx");
    let other = data(_folder.path(), [3, 10, 12]);
    refused(
        Feed::new(&float, &other, other.train()).unwrap_err(),
        "3×10×12, the model takes input: float32 [batch, 3, 12, 12]",
    );
    if let Some(old) = common::data("onnx/light_squeezenet.onnx") {
        refused(FloatModel::read(&old).unwrap_err(), "opset 9, expected 13 or later");
    }
}

/// The folding of graphs, on architectures of every space, against Candle, and through ONNX.
#[test]
fn folded_graphs_compute_the_same() {
    for (number, (name, graph)) in graphs().into_iter().enumerate() {
        let weights = common::weights(&graph, number as u64);
        let (folded, folded_weights) = fold_batch_norms(&graph, &weights).unwrap();
        let dims = [&[2], graph.input_shape().dims().as_slice()].concat();
        let values: Vec<f32> = (0..dims.iter().product()).map(|at| (at as f32 * 0.37).sin()).collect();
        let input = candle_core::Tensor::from_vec(values, dims, &candle_core::Device::Cpu).unwrap();
        let rows = |graph: &Graph, weights: &Weights| {
            let output = forward(graph, weights, &input, Mode::Inference).unwrap();
            output.flatten_from(1).unwrap().to_vec2::<f32>().unwrap()
        };
        let apart = difference(&rows(&folded, &folded_weights), &rows(&graph, &weights));
        assert!(apart < 1e-5, "{name}: {apart}");
        if name.starts_with("nas-bench") || name.starts_with("mobilenet") {
            let left = folded.nodes().iter().filter(|node| node.op == Op::BatchNorm).count();
            let before = graph.nodes().iter().filter(|node| node.op == Op::BatchNorm).count();
            assert!(left * 4 <= before, "{name}: {left} of {before} normalisations stay");
        }
    }
}

/// Runs `tegu quantize` in `folder`; gives its exit code, standard output and standard error.
fn tegu(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let library = common::ort_library();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tegu"));
    command.arg("quantize").args(args).arg("--ort-lib").arg(library).current_dir(folder);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_writes_copies_that_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let graph = common::convolutions();
    model(&graph, &common::weights(&graph, 5), Batch::Dynamic, path, "net");
    let set = data(path, [3, 12, 12]);
    let table = ["net.onnx", "--data", "3x12x12.csv", "--feature-shape", "3x12x12"];

    let (code, out, error) =
        tegu(path, &[table.as_slice(), &["--json", "--sensitivity", "--keep", "grouped"]].concat());
    assert_eq!(code, Some(0), "{error}");
    let said: serde_json::Value = serde_json::from_str(&out).unwrap();
    let bytes = std::fs::read(path.join("net.int8.onnx")).unwrap();
    assert_eq!((said["path"].as_str(), said["bytes"].as_u64()), (Some("net.int8.onnx"), Some(bytes.len() as u64)));
    assert_eq!((said["accuracy"]["part"].as_str(), said["accuracy"]["samples"].as_u64()), (Some("train"), Some(24)));
    assert_eq!(said["sensitivity"].as_array().unwrap().len(), 5, "all layers but that which is kept");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(
        text.contains("tegu.quantization") && text.contains(set.sha256()) && !text.contains("grouped.weight.integers")
    );
    assert!(text.contains("dilated.weight.integers"));

    let (code, out, error) =
        tegu(path, &["net.onnx", "--fp16", "-o", "half.onnx", "--data", "3x12x12.csv", "--feature-shape", "3x12x12"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("half.onnx") && out.contains("% before"), "{out}");
    let float = FloatModel::read(&path.join("net.onnx")).unwrap();
    let feed = Feed::new(&float, &set, set.train()).unwrap();
    let runner = ort(GraphOptimization::All);
    let expected = runner.outputs(&float.folded().bytes, &feed).unwrap();
    let half = std::fs::read(path.join("half.onnx")).unwrap();
    assert!(half.len() * 2 < 3 * float.folded().bytes.len());
    assert!(difference(&runner.outputs(&half, &feed).unwrap(), &expected) < 2e-2);
    let tract = Runner::new(Box::new(TractRuntime), SessionOptions::default()).unwrap();
    assert!(difference(&tract.outputs(&half, &feed).unwrap(), &expected) < 2e-2);

    let refused = |args: &[&str], expected: &str| {
        let (code, out, error) = tegu(path, args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}: {error}");
        assert!(error.contains(expected), "{args:?}: `{error}` does not say `{expected}`");
    };
    refused(&["net.onnx"], "--data: missing, expected images");
    refused(&["absent.onnx", "--fp16"], "absent.onnx: No such file");
    refused(&["3x12x12.csv", "--fp16"], "not a valid ONNX model");
    refused(&["net.int8.onnx", "--fp16"], "quantised already");
    refused(&["net.onnx", "--data", "absent"], "absent");
    refused(&["net.onnx", "--data", "3x12x12.csv"], "432×1×1, the model takes input");
    refused(&[table.as_slice(), &["--keep", "groupd"]].concat(), "did you mean `grouped`?");
    refused(&[table.as_slice(), &["-o", "./net.onnx"]].concat(), "is the model itself");
    refused(&[table.as_slice(), &["--range", "max"]].concat(), "expected minmax, percentile");
    refused(&["net.onnx", "--fp16", "--range", "entropy"], "cannot be used with");
}
