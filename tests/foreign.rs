//! Models of others, read into graphs: the numbers are those that tract and ONNX Runtime make of the file; what can't be read is named.

mod common;

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tegu::foreign::read;
use tegu::graph::Graph;
use tegu::network::{Mode, Weights, forward};
use tegu::onnx::{ExportOptions, Metadata, export};
use tegu::runtime::{LoadOptions, Runtime, RuntimeKind, SessionOptions, TractRuntime, Values, load, random_inputs};
use tegu::space::{Scale, SearchSpace};

/// Largest difference, relative to the largest number.
const TOLERANCE: f32 = 1e-4;

fn made(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/foreign").join(name)
}

#[test]
fn what_cannot_be_read_is_named_all_at_once() {
    let error = read(&made("refused.onnx"), None).unwrap_err().to_string();
    let expected = "3 operators can't be read: LRN `norm`: graphs have no such operator; \
        InstanceNormalization `instance`: graphs have no such operator; Elu `elu`: graphs have no such operator";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn what_cannot_be_read_of_real_models_is_named() {
    let Some(folder) = common::data("onnx") else { return };
    for (name, named) in [
        ("light_inception_v1.onnx", "LRN `"),
        ("light_shufflenet.onnx", "channel shuffle"),
        ("silero_vad.onnx", "expected one of each"),
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", "leaves its size open"),
    ] {
        let error = read(&folder.join(name), None).unwrap_err().to_string();
        println!("{error}");
        assert!(error.contains(named), "{name}: {error}");
    }
}

/// tests/data/foreign/make.py wrote them.
#[test]
fn numbers_of_exporters_habits_are_those_of_the_file() {
    check(&made("keras.onnx"), None);
    check(&made("pytorch.onnx"), None);
}

/// ResNet-50 has 25,557,032 parameters that are trained (torchvision's).
/// The weights of the two `light_` models are constants, each output 0.001: they show that the operators are read, not the numbers.
#[test]
fn numbers_of_real_models_are_those_of_the_file() {
    let Some(folder) = common::data("onnx") else { return };
    check(&folder.join("wonnx_opt-mnist.onnx"), None);
    check(&folder.join("ch_ppocr_mobile_v2.0_cls_infer.onnx"), Some([3, 48, 192]));
    check(&folder.join("light_squeezenet.onnx"), None);
    assert_eq!(check(&folder.join("light_resnet50.onnx"), None), 25_557_032);
}

/// Compares Candle on what is read with tract and ONNX Runtime on the file; its parameters.
fn check(path: &Path, input: Option<[usize; 3]>) -> u64 {
    let network = read(path, input).unwrap_or_else(|error| panic!("{error}"));
    let cost = network.graph.cost();
    println!("{}: {} parameters, {} MACs, {}", path.display(), cost.params, cost.macs, network.graph.output_shape());
    let library = Some(common::ort_library());
    let ort = load(RuntimeKind::OnnxRuntime, &LoadOptions { library, ..Default::default() }).unwrap();
    for (runtime, of) in [(&TractRuntime as &dyn Runtime, "tract"), (&*ort, "ONNX Runtime")] {
        let dims: BTreeMap<String, Vec<usize>> =
            input.map(|[c, h, w]| ("x".to_owned(), vec![1, c, h, w])).into_iter().collect();
        let options = SessionOptions { input_dims: dims, ..SessionOptions::default() };
        let mut session = runtime.prepare(path, &options).unwrap();
        let inputs = random_inputs(session.inputs(), 3);
        session.bind(inputs.clone()).unwrap();
        let theirs = session.outputs().unwrap();
        let Values::F32(values) = &inputs[0].values else { panic!("floats") };
        let mut input = Tensor::from_slice(values, inputs[0].dims.clone(), &Device::Cpu).unwrap();
        if input.dims()[1..] != network.graph.input_shape().dims() {
            input = input.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        }
        let ours = run(&network.graph, &network.weights, &input);
        let Values::F32(theirs) = &theirs[0].values else { panic!("floats") };
        assert_eq!(ours.len(), theirs.len(), "{}", path.display());
        let difference = difference(&ours, theirs);
        println!("{}: {of} differs by {difference:e}", path.display());
        assert!(difference <= TOLERANCE, "{}: {of}: {difference}", path.display());
    }
    cost.params
}

/// What is written is read as what it was, operator by operator.
#[test]
fn networks_of_spaces_come_back() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["resnet", "mobilenet-v3", "darts", "nasnet", "nas-bench-201"] {
        let space = SearchSpace::open(name).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..3 {
            let genotype = space.sample(&mut rng);
            let Ok(graph) = space.lower(&genotype, Scale::Probe).unwrap().live() else { continue };
            let weights = common::weights_with(&graph, 5, 0.01);
            let path = folder.path().join("model.onnx");
            export(&graph, &weights, &Metadata::new(), ExportOptions::default()).unwrap().save(&path).unwrap();
            let arch = space.arch(&genotype);
            let found = read(&path, None).unwrap_or_else(|error| panic!("{arch}: {error}"));
            assert_eq!(found.graph.cost().params, graph.cost().params, "{arch}");
            let dims = [vec![2], graph.input_shape().dims()].concat();
            let input = Tensor::randn(0f32, 1.0, dims, &Device::Cpu).unwrap();
            let ours = run(&found.graph, &found.weights, &input);
            let difference = difference(&ours, &run(&graph, &weights, &input));
            assert!(difference <= TOLERANCE, "{arch}: {difference}");
        }
    }
}

fn run(graph: &Graph, weights: &Weights, input: &Tensor) -> Vec<f32> {
    forward(graph, weights, input, Mode::Inference).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference relative to the largest number; not a number where one of them is none.
fn difference(left: &[f32], right: &[f32]) -> f32 {
    let largest = right.iter().fold(1e-6f32, |most, value| most.max(value.abs()));
    let differences = left.iter().zip(right).map(|(left, right)| (left - right).abs() / largest);
    differences.fold(0f32, |most, value| if value <= most { most } else { value })
}
