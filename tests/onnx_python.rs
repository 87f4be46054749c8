//! Exported models are valid, and Python's onnxruntime computes what tract does.

mod common;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tegu::graph::Graph;
use tegu::onnx::{Batch, ExportOptions, Metadata, OPSET, export};
use tegu::runtime::{NamedTensor, Runtime, SessionOptions, TractRuntime, Values, random_inputs};

fn tensors(tensors: &[NamedTensor]) -> Value {
    let one = |tensor: &NamedTensor| {
        let Values::F32(values) = &tensor.values else { panic!("{}: expected floats", tensor.name) };
        (tensor.name.clone(), json!({ "dims": tensor.dims, "values": values, "type": "float32" }))
    };
    Value::Object(tensors.iter().map(one).collect())
}

/// Exports `graph` into `folder`, runs it with tract, and gives the case for the Python script.
fn case(folder: &Path, name: &str, graph: &Graph, batch: Batch, external_data_above: u64) -> Value {
    let path: PathBuf = folder.join(format!("{name}.onnx"));
    let weights = common::weights(graph, 1);
    let metadata = Metadata {
        space: Some("by-hand".into()),
        architecture: Some(format!("|{name}~0|")),
        trial: Some(7),
        weights_sha256: Some(weights.sha256().unwrap()),
        indicators: [("ntk_condition".to_owned(), -0.25)].into(),
        ..Metadata::new()
    };
    let options = ExportOptions { batch, file_name: format!("{name}.onnx"), external_data_above };
    let model = export(graph, &weights, &metadata, options).unwrap();
    assert_eq!(model.external_data.is_some(), external_data_above == 0 && !graph.parameters().is_empty(), "{name}");
    model.save(&path).unwrap();

    let options = SessionOptions { batch: Some(2), ..Default::default() };
    let mut session = TractRuntime.prepare(&path, &options).unwrap();
    let inputs = random_inputs(session.inputs(), 3);
    session.bind(inputs.clone()).unwrap();
    let outputs = session.outputs().unwrap();
    json!({
        "model": path,
        "inputs": tensors(&inputs),
        "outputs": tensors(&outputs),
        "opset": OPSET,
        "metadata": { "tegu.architecture": format!("|{name}~0|"), "tegu.trial": "7", "tegu.indicators": "{\"ntk_condition\":-0.25}" },
    })
}

#[test]
fn models_are_valid_and_python_computes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = vec![];
    for (name, graph) in common::graphs() {
        let in_memory = u64::MAX;
        cases.push(case(folder.path(), &format!("{name}_fixed"), &graph, Batch::Fixed(3), in_memory));
        cases.push(case(folder.path(), &format!("{name}_dynamic"), &graph, Batch::Dynamic, in_memory));
    }
    cases.push(case(folder.path(), "outside", &common::convolutions(), Batch::Fixed(1), 0));
    let file = folder.path().join("cases.json");
    std::fs::write(&file, serde_json::to_string(&cases).unwrap()).unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_onnx.py");
    let output = Command::new(common::python()).arg(script).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().filter(|line| line.contains(": fine")).count(), cases.len(), "{text}");
}
