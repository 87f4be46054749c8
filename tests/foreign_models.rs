//! Models that Tegu did not make: both runtimes measure them, or say what they need or can't run.

mod common;

use std::collections::BTreeMap;
use tegu::runtime::{LoadOptions, NamedTensor, RuntimeError, RuntimeKind, SessionOptions, Values, load, random_inputs};

fn run(kind: RuntimeKind, model: &str, dims: &[(&str, &[usize])]) -> Result<Vec<NamedTensor>, RuntimeError> {
    let library = (kind == RuntimeKind::OnnxRuntime).then(common::ort_library);
    let runtime = load(kind, &LoadOptions { library, ..Default::default() })?;
    let input_dims: BTreeMap<String, Vec<usize>> =
        dims.iter().map(|(name, dims)| (name.to_string(), dims.to_vec())).collect();
    let options = SessionOptions { input_dims, ..Default::default() };
    let mut session = runtime.prepare(&common::data(&format!("onnx/{model}")), &options)?;
    session.bind(random_inputs(session.inputs(), 1))?;
    session.run()?;
    session.outputs()
}

type Dims<'a> = &'a [(&'a str, &'a [usize])];

/// Runs the model with both runtimes, which must agree to 1e-4 of the largest magnitude.
#[track_caller]
fn check_runs(model: &str, dims: Dims) {
    let tract = run(RuntimeKind::Tract, model, dims).unwrap();
    let ort = run(RuntimeKind::OnnxRuntime, model, dims).unwrap();
    for (tract, ort) in tract.iter().zip(&ort) {
        assert_eq!((&tract.name, &tract.dims), (&ort.name, &ort.dims), "{model}");
        let (Values::F32(tract), Values::F32(ort)) = (&tract.values, &ort.values) else { panic!("expected floats") };
        let largest = tract.iter().fold(0f32, |most, value| most.max(value.abs()));
        let difference = tract.iter().zip(ort).fold(0f32, |most, (left, right)| most.max((left - right).abs()));
        assert!(difference <= 1e-4 * largest, "{model}: differs by {difference}, the largest is {largest}");
    }
}

/// Expects that the runtime refuses the model, with this text at the end of its message.
#[track_caller]
fn check_refused(kind: RuntimeKind, model: &str, dims: Dims, expected: &str) {
    let error = run(kind, model, dims).unwrap_err().to_string();
    assert!(error.ends_with(expected), "{error}\nexpected {expected}");
}

#[test]
fn fixed_models_run_as_they_are() {
    check_runs("light_inception_v1.onnx", &[]);
    check_runs("light_resnet50.onnx", &[]);
    check_runs("light_shufflenet.onnx", &[]);
    check_runs("light_squeezenet.onnx", &[]);
    check_runs("wonnx_opt-mnist.onnx", &[]);
}

#[test]
fn open_models_run_with_sizes() {
    check_runs("ch_ppocr_mobile_v2.0_cls_infer.onnx", &[("x", &[1, 3, 48, 192])]);
    check_runs("magika_standard_v3_3.onnx", &[("bytes", &[1, 2048])]);
}

#[test]
fn open_inputs_are_named() {
    for kind in [RuntimeKind::Tract, RuntimeKind::OnnxRuntime] {
        let expected =
            "input `x` has open dimensions (x: float32 [?, 3, ?, ?]): give them, like `--input x:1x3x224x224`";
        check_refused(kind, "ch_ppocr_mobile_v2.0_cls_infer.onnx", &[], expected);
        let expected = "(bytes: int32 [unk__214, 2048]): give them, like `--input bytes:1x2048`";
        check_refused(kind, "magika_standard_v3_3.onnx", &[], expected);
        let expected =
            "input `state` has open dimensions (state: float32 [2, ?, 128]): give them, like `--input state:2x1x128`";
        check_refused(kind, "silero_vad.onnx", &[("input", &[1, 256])], expected);
    }
}

#[test]
fn an_operator_that_tract_cannot_run_is_named() {
    let dims: Dims = &[("input", &[1, 256]), ("state", &[2, 1, 128])];
    let error = run(RuntimeKind::Tract, "silero_vad.onnx", dims).unwrap_err().to_string();
    let expected = "tract: can't run operator If of node `If_0_then_branch__Inline_0__/decoder/If`: ";
    assert!(error.contains(expected), "{error}\nexpected {expected}");
    let ort = run(RuntimeKind::OnnxRuntime, "silero_vad.onnx", dims).unwrap();
    assert_eq!(ort[1].dims, [2, 1, 128]);
}
