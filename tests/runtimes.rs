//! What the runtimes tell about themselves and about models, and how they refuse what they can't run.
//! That they compute alike is in `parity.rs`.

mod common;

use std::path::{Path, PathBuf};
use tegu::onnx::{Batch, ExportOptions, Metadata, export, inspect, read_metadata};
use tegu::runtime::{
    ExecutionProvider, GraphOptimization, LoadOptions, NamedTensor, Runtime, RuntimeError, RuntimeKind, SessionOptions,
    load, random_inputs,
};

fn runtime(kind: RuntimeKind) -> Box<dyn Runtime> {
    let library = (kind == RuntimeKind::OnnxRuntime).then(common::ort_library);
    load(kind, &LoadOptions { library, ..Default::default() }).unwrap()
}

fn run(kind: RuntimeKind, model: &Path, options: &SessionOptions) -> Result<Vec<NamedTensor>, RuntimeError> {
    let mut session = runtime(kind).prepare(model, options)?;
    session.bind(random_inputs(session.inputs(), 5))?;
    session.run()?;
    session.outputs()
}

fn exported(folder: &Path, name: &str, batch: Batch) -> PathBuf {
    let (_, graph) = common::graphs().into_iter().find(|(found, _)| *found == name).unwrap();
    let path = folder.join(format!("{name}.onnx"));
    let options = ExportOptions { batch, ..Default::default() };
    export(&graph, &common::weights(&graph, 2), &Metadata::new(), options).unwrap().save(&path).unwrap();
    path
}

#[test]
fn onnx_runtime_tells_who_runs_what() {
    let folder = tempfile::tempdir().unwrap();
    let model = exported(folder.path(), "convolutions", Batch::Fixed(1));
    let runtime = runtime(RuntimeKind::OnnxRuntime);
    let info = runtime.info();
    assert!(info.version.starts_with("1."), "{info:?}");
    assert!(info.library.is_some_and(|library| library.is_absolute()));
    let session = runtime.prepare(&model, &SessionOptions { threads: Some(1), ..Default::default() }).unwrap();
    let nodes = session.nodes_by_provider();
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["CPUExecutionProvider"]);
    assert!(nodes["CPUExecutionProvider"] > 5, "{nodes:?}");
}

#[track_caller]
fn check_refused(kind: RuntimeKind, model: &Path, options: &SessionOptions, expected: &[&str]) {
    let error = run(kind, model, options).expect_err("a refusal").to_string();
    for part in expected {
        assert!(error.contains(part), "expected `{part}` in: {error}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = exported(folder.path(), "gate", Batch::Dynamic);
    let plain = SessionOptions::default;
    let with = |name: &str| {
        let provider = ExecutionProvider { name: name.into(), ..Default::default() };
        SessionOptions { execution_provider: Some(provider), batch: Some(1), ..plain() }
    };
    let both = [RuntimeKind::Tract, RuntimeKind::OnnxRuntime];
    let broken = folder.path().join("broken.onnx");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    let empty = folder.path().join("empty.onnx");
    std::fs::write(&empty, "").unwrap();
    for kind in both {
        let open = "input `input` has open dimensions (input: float32 [batch, 6, 8, 8]): give them, like `--input input:1x6x8x8`";
        check_refused(kind, &model, &plain(), &["gate.onnx", open]);
        check_refused(kind, &broken, &plain(), &["broken.onnx", "not a valid ONNX model", "truncated"]);
        check_refused(kind, &empty, &plain(), &["the file is empty"]);
        check_refused(kind, &folder.path().join("absent.onnx"), &plain(), &["absent.onnx", "No such file"]);
    }
    check_refused(RuntimeKind::Tract, &model, &with("cuda"), &["tract has no execution providers, found `cuda`"]);
    let get = "`tegu runtime install onnxruntime-gpu`";
    check_refused(RuntimeKind::OnnxRuntime, &model, &with("cuda"), &["no execution provider `cuda`", get]);
    check_refused(
        RuntimeKind::OnnxRuntime,
        &model,
        &with("cdua"),
        &["no execution provider `cdua`", "did you mean `cuda`?"],
    );
}

#[test]
fn one_process_holds_one_library() {
    let first = runtime(RuntimeKind::OnnxRuntime).info().library.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("libonnxruntime.so.1.99.0");
    std::fs::copy(&first, &other).unwrap();
    let error = load(RuntimeKind::OnnxRuntime, &LoadOptions { library: Some(other), ..Default::default() });
    let error = error.err().unwrap().to_string();
    assert!(error.contains("loaded, so it can't load"), "{error}");
}

#[test]
fn metadata_and_facts_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (path, graph) = (folder.path().join("m.onnx"), common::convolutions());
    let weights = common::weights(&graph, 1);
    let metadata = Metadata {
        space: Some("nas-bench-201".into()),
        architecture: Some("|nor_conv_3x3~0|".into()),
        study: Some("first".into()),
        trial: Some(12),
        seed: Some(u64::MAX),
        indicators: [("ntk_condition".to_owned(), 12.5), ("linear_regions".to_owned(), 1e-7)].into(),
        weights_sha256: Some(weights.sha256().unwrap()),
        ..Metadata::new()
    };
    let model = export(&graph, &weights, &metadata, ExportOptions::default()).unwrap();
    assert_eq!(model, export(&graph, &weights, &metadata, ExportOptions::default()).unwrap());
    assert_eq!(model.sha256().len(), 64);
    model.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), model.bytes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    assert_eq!(read_metadata(&path).unwrap(), metadata);

    let info = inspect(&path).unwrap();
    assert_eq!(info.inputs[0].to_string(), "input: float32 [1, 3, 12, 12]");
    assert_eq!(info.outputs[0].to_string(), "output: float32 [1, 5]");
    assert_eq!((info.operators["Conv"], info.operators["Clip"], info.operators["Gemm"]), (4, 2, 2));
    assert_eq!((info.opsets[""], info.ir_version), (17, 8));
    assert!(info.producer.starts_with("tegu "), "{}", info.producer);
}

#[test]
fn external_data_needs_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let graph = common::convolutions();
    let options = ExportOptions { file_name: "big.onnx".into(), external_data_above: 0, ..Default::default() };
    let model = export(&graph, &common::weights(&graph, 2), &Metadata::new(), options).unwrap();
    assert!(model.bytes.len() < model.external_data.as_ref().unwrap().bytes.len());
    let error = model.save(&folder.path().join("other.onnx")).unwrap_err().to_string();
    assert!(error.ends_with("refers to `big.onnx.data`: save it as `big.onnx`, or export it for this name"), "{error}");
    let path = folder.path().join("big.onnx");
    model.save(&path).unwrap();
    let inside = exported(folder.path(), "convolutions", Batch::Fixed(1));
    for kind in [RuntimeKind::Tract, RuntimeKind::OnnxRuntime] {
        let outside = run(kind, &path, &SessionOptions::default()).unwrap();
        let inside = run(kind, &inside, &SessionOptions::default()).unwrap();
        assert!(common::difference(&outside, &inside) < 1e-6, "{kind:?}");
    }
}

#[test]
fn levels_of_graph_optimization_change_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let model = exported(folder.path(), "convolutions", Batch::Fixed(1));
    let runtime = runtime(RuntimeKind::OnnxRuntime);
    let operators = |graph_optimization| {
        let options = SessionOptions { graph_optimization, ..Default::default() };
        let output = folder.path().join("optimized.onnx");
        runtime.optimize(&model, &options, &output).unwrap();
        inspect(&output).unwrap().operators
    };
    let [none, extended, all] =
        [GraphOptimization::None, GraphOptimization::Extended, GraphOptimization::All].map(operators);
    assert!(none.values().sum::<usize>() > extended.values().sum(), "{none:?} {extended:?}");
    // The layouts that the last level chooses cost nodes that reorder.
    assert!(all != extended && all.keys().any(|operator| operator.starts_with("Reorder")), "{all:?}");
}
