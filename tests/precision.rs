//! Models of other element types than 32-bit floats: those that we export in half precision, and foreign ones of FP16 and
//! INT8, measured and computed right by the runtimes that can.

mod common;
#[path = "common/study.rs"]
mod study;

use common::onnx::{DataType, Model};
use half::f16;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use tegu::graph::Graph;
use tegu::network::{Init, Mode, Weights, forward};
use tegu::onnx::{Batch, ExportOptions, Metadata, Precision, export, inspect};
use tegu::runtime::{
    LoadOptions, NamedTensor, Runtime, RuntimeError, RuntimeKind, SessionOptions, TractRuntime, Values, load,
    random_inputs,
};
use tegu::space::{NetworkChanges, Scale, SearchSpace};

/// Largest difference from 32-bit floats that is allowed, relative to the largest output.
const TOLERANCE: f32 = 2e-2;

fn ort() -> Box<dyn Runtime> {
    let library = Some(common::ort_library());
    load(RuntimeKind::OnnxRuntime, &LoadOptions { library, ..Default::default() }).unwrap()
}

/// Inputs and outputs of one run.
fn run(runtime: &dyn Runtime, model: &Path) -> Result<(Vec<NamedTensor>, Vec<NamedTensor>), RuntimeError> {
    let mut session = runtime.prepare(model, &SessionOptions { batch: Some(2), ..Default::default() })?;
    let inputs = random_inputs(session.inputs(), 3);
    session.bind(inputs.clone())?;
    Ok((inputs, session.outputs()?))
}

fn floats(tensor: &NamedTensor) -> &[f32] {
    let Values::F32(values) = &tensor.values else { panic!("{} is no float32", tensor.name) };
    values
}

fn candle(graph: &Graph, weights: &Weights, input: &NamedTensor) -> NamedTensor {
    let device = candle_core::Device::Cpu;
    let tensor = candle_core::Tensor::from_slice(floats(input), &*input.dims, &device).unwrap();
    let result = forward(graph, weights, &tensor, Mode::Inference).unwrap();
    let values = Values::F32(result.flatten_all().unwrap().to_vec1().unwrap());
    NamedTensor { name: "output".into(), dims: result.dims().to_vec(), values }
}

/// Small graphs of every operator, and architectures of two spaces.
fn graphs() -> Vec<(String, Graph)> {
    let mut graphs: Vec<(String, Graph)> =
        common::graphs().into_iter().map(|(name, graph)| (name.to_owned(), graph)).collect();
    for space in ["nas-bench-201", "mobilenet-macro"] {
        let depth = (space == "nas-bench-201").then_some(1);
        let small = NetworkChanges { width: Some(8), depth, ..Default::default() };
        let space = SearchSpace::open(space).unwrap().with_network(&small).unwrap();
        let mut rng = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(16);
        let drawn = std::iter::repeat_with(|| space.lower(&space.sample(&mut rng), Scale::Full).unwrap().live());
        let live = drawn.filter_map(Result::ok).take(2).enumerate();
        graphs.extend(live.map(|(number, graph)| (format!("{}-{number}", space.name), graph)));
    }
    graphs
}

#[test]
fn half_precision_is_near_to_full() {
    let (folder, ort) = (tempfile::tempdir().unwrap(), ort());
    let (mut cases, mut worst) = (vec![], 0f32);
    for (number, (name, graph)) in graphs().into_iter().enumerate() {
        let weights = common::weights(&graph, number as u64);
        let path = folder.path().join(format!("{name}.onnx"));
        let batch = if number % 2 == 0 { Batch::Dynamic } else { Batch::Fixed(2) };
        let options = ExportOptions { batch, precision: Precision::F16, ..Default::default() };
        let model = export(&graph, &weights, &Metadata::new(), options).unwrap();
        model.save(&path).unwrap();
        let full = export(&graph, &weights, &Metadata::new(), ExportOptions { batch, ..Default::default() }).unwrap();
        let parameters: usize =
            graph.parameters().iter().map(|parameter| parameter.dims.iter().product::<usize>()).sum();
        let (saved, expected) = (full.bytes.len() as f64 - model.bytes.len() as f64, 2.0 * parameters as f64);
        // Two casts are all that is there in their place.
        assert!((saved - expected).abs() < 600.0, "{name}: {saved} bytes less, expected {expected}");

        let (inputs, outputs) = run(&*ort, &path).unwrap();
        let expected = [candle(&graph, &weights, &inputs[0])];
        let difference = common::difference(&expected, &outputs);
        assert!(difference <= TOLERANCE, "{name}: ONNX Runtime differs from Candle's 32-bit floats by {difference}");
        worst = worst.max(difference);
        let (_, outputs) = run(&TractRuntime, &path).unwrap();
        let difference = common::difference(&expected, &outputs);
        assert!(difference <= TOLERANCE, "{name}: tract differs by {difference}");
        worst = worst.max(difference);
        let tensor = |tensor: &NamedTensor| json!({"dims": tensor.dims, "values": floats(tensor), "type": "float32"});
        cases.push(json!({
            "model": path, "opset": 17, "tolerance": TOLERANCE,
            "inputs": {"input": tensor(&inputs[0])}, "outputs": {"output": tensor(&expected[0])},
        }));
    }
    println!("{} models: differ by {worst:.1e} at most", cases.len());
    let file = folder.path().join("cases.json");
    std::fs::write(&file, serde_json::to_string(&cases).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_onnx.py");
    let output = Command::new(common::python()).arg(script).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.matches(": fine, ").count(), cases.len(), "{text}");
}

#[test]
fn a_search_ships_what_the_devices_precision_says() {
    let place = study::Workplace::new();
    let device = |name: &str, precision: &str| {
        let text = format!("name: {name}\ndescription: of a test\nprecision: {precision}\n");
        place.write(&format!("{name}.yaml"), text);
    };
    device("half", "f16");
    device("full", "f32");
    place.write_study(
        "halves",
        &[("host-cpu-tract", "half.yaml"), ("trials: 20", "trials: 6"), ("control: random", "control: none")],
    );
    let front = place.search("halves");
    for trial in front["front"].as_array().unwrap() {
        let model = place.folder("halves").join(trial["model"].as_str().unwrap());
        assert_eq!(inspect(&model).unwrap().operators["Cast"], 2, "{trial}");
    }
    let latency = study::STUDY.lines().find(|line| line.contains("protocol:")).unwrap();
    let both = "half.yaml\n  - latency:\n      device: full.yaml";
    place.write_study("mixed", &[(latency, ""), ("host-cpu-tract", both)]);
    let finished = place.run(&["search", "mixed.yaml", "--quiet"]);
    let expected =
        "objectives: precision: f16 of `half`, f32 of `full`: expected one precision for all devices of a study";
    assert!(finished.code == Some(2) && finished.stderr.contains(expected), "{finished:?}");
}

#[test]
fn a_weight_that_half_precision_can_not_hold_is_named() {
    let graph = common::gate();
    let weights = Weights::random(&graph, Init::default(), 1, &candle_core::Device::Cpu).unwrap();
    let mut tensors = std::collections::HashMap::new();
    for parameter in graph.parameters() {
        let scale = if parameter.name.ends_with("bias") { 1.0 } else { 1e6 };
        tensors.insert(parameter.name.clone(), (weights.get(&parameter.name).unwrap() * scale).unwrap());
    }
    let weights = Weights::from_tensors(&graph, tensors).unwrap();
    let options = ExportOptions { precision: Precision::F16, ..Default::default() };
    let error = export(&graph, &weights, &Metadata::new(), options).unwrap_err().to_string();
    assert!(error.starts_with("node `excite_bias.weight`: it holds "), "{error}");
    assert!(error.ends_with(", 16-bit floats end at 65504"), "{error}");
}

/// `tegu profile` measures it on both runtimes.
#[track_caller]
fn check_measured(model: &Path, runtime: &str) {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("p.yaml");
    let protocol = "{warm_up_s: 0.02, min_round_s: 0, budget_s: 0.05, rounds: 5, max_rounds: 5, runs_per_round: 3}";
    let text = format!("name: p\ndescription: of a test\nruntime: {runtime}\nthreads: 1\nprotocol: {protocol}\n");
    std::fs::write(&profile, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tegu"));
    command.arg("profile").arg(model).arg("--device").arg(&profile).arg("--json");
    if runtime == "onnxruntime" {
        command.arg("--ort-lib").arg(common::ort_library());
    }
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{}, {runtime}", model.display());
    let record: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(record["p50_ms"].as_f64().unwrap() > 0.0, "{record}");
}

fn le<T, const N: usize>(values: &[T], bytes: fn(&T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(bytes).collect()
}

/// Half-precision input, constant and output: `max(x, 0) + 1.5`.
fn half_model(folder: &Path) -> PathBuf {
    let model = Model::default().input("x", DataType::Float16, &[1, 3, 8, 8]);
    let model = model.output("y", DataType::Float16, &[1, 3, 8, 8]);
    let model = model.constant("c", DataType::Float16, &[1], le(&[f16::from_f32(1.5)], |value| value.to_le_bytes()));
    model.op("Relu", &["x"], "relu").op("Add", &["relu", "c"], "y").save(folder, "half")
}

#[test]
fn half_precision_inputs_and_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = half_model(folder.path());
    assert_eq!(inspect(&path).unwrap().inputs[0].to_string(), "x: float16 [1, 3, 8, 8]");
    for (runtime, name) in [(&*ort(), "onnxruntime"), (&TractRuntime, "tract")] {
        let (inputs, outputs) = run(runtime, &path).unwrap();
        let (Values::F16(inputs), Values::F16(outputs)) = (&inputs[0].values, &outputs[0].values) else {
            panic!("expected 16-bit floats of {name}")
        };
        assert!(inputs.iter().any(|input| input.to_f32() > 1.0) && inputs.iter().any(|input| input.to_f32() < -1.0));
        for (input, output) in inputs.iter().zip(outputs) {
            let expected = input.to_f32().max(0.0) + 1.5;
            assert!((output.to_f32() - expected).abs() <= 2e-3, "{name}: {output} of {input}");
        }
        check_measured(&path, name);
    }
}

/// Bytes in and out: `round((max((x - zero) · 0.5, 0)) / 0.25) + zero'`.
fn bytes_model(folder: &Path, signed: bool) -> PathBuf {
    let (data_type, zero, name) = if signed { (DataType::Int8, 0, "int8") } else { (DataType::Uint8, 1, "uint8") };
    let model = Model::default().input("x", data_type, &[1, 4, 8, 8]).output("y", data_type, &[1, 4, 8, 8]);
    let model = model.constant("s_x", DataType::Float, &[], le(&[0.5f32], |value| value.to_le_bytes()));
    let model = model.constant("s_y", DataType::Float, &[], le(&[0.25f32], |value| value.to_le_bytes()));
    let model = model.constant("zero", data_type, &[], vec![zero]);
    let model = model.op("DequantizeLinear", &["x", "s_x", "zero"], "real").op("Relu", &["real"], "relu");
    model.op("QuantizeLinear", &["relu", "s_y", "zero"], "y").save(folder, name)
}

#[test]
fn bytes_in_and_out() {
    let folder = tempfile::tempdir().unwrap();
    for signed in [false, true] {
        let path = bytes_model(folder.path(), signed);
        for (runtime, name) in [(&*ort(), "onnxruntime"), (&TractRuntime, "tract")] {
            let (inputs, outputs) = run(runtime, &path).unwrap();
            let wide = |values: &Values| match values {
                Values::U8(values) => values.iter().map(|&value| i32::from(value)).collect::<Vec<_>>(),
                Values::I8(values) => values.iter().map(|&value| i32::from(value)).collect(),
                other => panic!("{name}: {}", other.type_name()),
            };
            let zero = i32::from(!signed);
            let expected: Vec<i32> =
                wide(&inputs[0].values).iter().map(|&value| 2 * (value - zero).max(0) + zero).collect();
            assert_eq!(wide(&outputs[0].values), expected, "{name}");
            assert_eq!(inputs[0].values.type_name(), outputs[0].values.type_name());
            check_measured(&path, name);
        }
    }
}

/// A quantised convolution as quantisers write it: Q/DQ around activations, DQ before the weights.
fn quantised_model(folder: &Path) -> PathBuf {
    let float = |value: f32| le(&[value], |value| value.to_le_bytes());
    let weights: Vec<u8> = (0..8 * 3 * 9).map(|at: i32| ((at * 37 % 255) - 127) as i8 as u8).collect();
    let model = Model::default().input("x", DataType::Float, &[1, 3, 8, 8]);
    let model = model.output("y", DataType::Float, &[1, 8, 6, 6]);
    let model =
        model.constant("s_x", DataType::Float, &[], float(0.02)).constant("z_x", DataType::Uint8, &[], vec![128]);
    let model = model.constant("s_w", DataType::Float, &[], float(0.01)).constant("z_w", DataType::Int8, &[], vec![0]);
    let model =
        model.constant("s_y", DataType::Float, &[], float(0.1)).constant("z_y", DataType::Uint8, &[], vec![128]);
    let model = model.constant("w", DataType::Int8, &[8, 3, 3, 3], weights);
    let model =
        model.op("QuantizeLinear", &["x", "s_x", "z_x"], "q_x").op("DequantizeLinear", &["q_x", "s_x", "z_x"], "d_x");
    let model = model.op("DequantizeLinear", &["w", "s_w", "z_w"], "d_w").op("Conv", &["d_x", "d_w"], "conv");
    let model = model.op("QuantizeLinear", &["conv", "s_y", "z_y"], "q_y");
    model.op("DequantizeLinear", &["q_y", "s_y", "z_y"], "y").save(folder, "qdq")
}

#[test]
fn a_quantised_convolution() {
    let folder = tempfile::tempdir().unwrap();
    let path = quantised_model(folder.path());
    let (inputs, outputs) = run(&*ort(), &path).unwrap();
    let expected = convolved(floats(&inputs[0]));
    assert!(expected.iter().any(|value| value.abs() > 2.0), "{expected:?}");
    for (runtime, name) in [(&*ort(), "onnxruntime"), (&TractRuntime, "tract")] {
        let (_, outputs) = run(runtime, &path).unwrap();
        for (found, expected) in floats(&outputs[0]).iter().zip(&expected) {
            // A step of the output's quantisation: where it rounds is the runtime's own.
            assert!((found - expected).abs() <= 0.1001, "{name}: {found}, expected {expected}");
        }
        check_measured(&path, name);
    }
    assert_eq!(outputs[0].dims, [1, 8, 6, 6]);
}

/// What [`quantised_model`] says, without the last rounding.
fn convolved(input: &[f32]) -> Vec<f32> {
    let quantised: Vec<f32> = input
        .iter()
        .map(|x| ((x / 0.02).round_ties_even() + 128.0).clamp(0.0, 255.0))
        .map(|q| (q - 128.0) * 0.02)
        .collect();
    let weight = |at: usize| ((at as i32 * 37 % 255) - 127) as f32 * 0.01;
    let mut output = vec![];
    for out in 0..8 {
        for (row, column) in (0..36).map(|at| (at / 6, at % 6)) {
            let terms = (0..27).map(|at| {
                let (channel, y, x) = (at / 9, at % 9 / 3, at % 3);
                quantised[channel * 64 + (row + y) * 8 + column + x] * weight(out * 27 + at)
            });
            output.push(terms.sum::<f32>().clamp(-12.8, 12.7));
        }
    }
    output
}
