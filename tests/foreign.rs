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
use tegu::runtime::{Runtime, SessionOptions, TractRuntime, Values, random_inputs};
use tegu::space::{Scale, SearchSpace};

/// Largest difference, relative to the largest number.
const TOLERANCE: f32 = 1e-4;

fn model(name: &str) -> PathBuf {
    let folder = std::env::var("TEGU_DATA").expect("TEGU_DATA names the folder of test data");
    Path::new(&folder).join("onnx").join(name)
}

#[test]
fn what_cannot_be_read_is_named() {
    for (name, named) in [
        ("light_inception_v1.onnx", "LRN `"),
        ("light_shufflenet.onnx", "channel shuffle"),
        ("silero_vad.onnx", "expected one of each"),
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", "leaves its size open"),
    ] {
        let error = read(&model(name), None).unwrap_err().to_string();
        println!("{error}");
        assert!(error.contains(named), "{name}: {error}");
    }
}

/// ResNet-50 has 25,557,032 parameters that are trained (torchvision's), SqueezeNet 1.1 1,235,496.
#[test]
fn numbers_are_those_of_the_file() {
    for (name, input, params) in [
        ("wonnx_opt-mnist.onnx", None, None),
        ("ch_ppocr_mobile_v2.0_cls_infer.onnx", Some([3, 48, 192]), None),
        ("light_squeezenet.onnx", None, None),
        ("light_resnet50.onnx", None, Some(25_557_032)),
    ] {
        let path = model(name);
        let network = read(&path, input).unwrap_or_else(|error| panic!("{error}"));
        let cost = network.graph.cost();
        println!("{name}: {} parameters, {} MACs, {}", cost.params, cost.macs, network.graph.output_shape());
        assert!(params.is_none_or(|params| cost.params == params), "{name}: {}", cost.params);
        let dims: BTreeMap<String, Vec<usize>> =
            input.map(|[c, h, w]| ("x".to_owned(), vec![1, c, h, w])).into_iter().collect();
        let options = SessionOptions { input_dims: dims, ..SessionOptions::default() };
        let mut session = TractRuntime.prepare(&path, &options).unwrap();
        let inputs = random_inputs(session.inputs(), 3);
        session.bind(inputs.clone()).unwrap();
        let theirs = session.outputs().unwrap();
        let Values::F32(values) = &inputs[0].values else { panic!("floats") };
        let input = Tensor::from_slice(values, inputs[0].dims.clone(), &Device::Cpu).unwrap();
        let ours = run(&network.graph, &network.weights, &input);
        let Values::F32(theirs) = &theirs[0].values else { panic!("floats") };
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let difference = difference(&ours, theirs);
        println!("{name}: differs by {difference}");
        assert!(difference <= TOLERANCE, "{name}: {difference}");
    }
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
