//! What is scored is what is shipped: one graph gives the same numbers in Candle, tract, ONNX Runtime in this process,
//! and Python's onnxruntime, and Python's onnx finds its file valid. Small graphs of every operator, and sampled
//! architectures of every space, those of users' YAML among them.

mod common;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tegu::genotype::Genotype;
use tegu::graph::{Graph, Op};
use tegu::indicator::{Probes, SettingsSection, View, all, score};
use tegu::network::{Compute, Init, Mode, Weights, fold_batch_norms, forward};
use tegu::onnx::{Batch, ExportOptions, Metadata, OPSET, export, inspect, read_metadata};
use tegu::runtime::{
    LoadOptions, NamedTensor, Runtime, RuntimeKind, SessionOptions, TractRuntime, Values, load, random_inputs,
};
use tegu::space::{NetworkChanges, Scale, SearchSpace};
use tegu::train::{logits, with_softmax};

/// Largest difference that is allowed, relative to the largest output.
const TOLERANCE: f32 = 1e-4;

/// How far the outputs of two inputs must be apart, relative to the largest output.
const SENSITIVE: f32 = 0.01;

/// What is added to variances of normalisations, where not many of them follow each other.
const ADDED: f64 = 0.01;

/// And where rounding is amplified: with `ADDED`, of 22 members of `mobilenet-v3` the furthest is 6e-4 from double precision in Candle, 7e-4 in
/// tract and in ONNX Runtime, of `regnet` 4e-4, 7e-5 and 6e-5 (one member, which other inputs put in other orders); with this, all three are
/// within 4e-6 and 2e-5.
const MORE_ADDED: f64 = 0.1;

/// Samples in a run, where the model leaves that open.
const OPEN_BATCH: usize = 2;

/// Graphs on their way through all runtimes.
struct Parity {
    folder: tempfile::TempDir,
    ort: Box<dyn Runtime>,
    /// What Python is to check, all at once.
    cases: Vec<Value>,
    /// Largest difference between two that compute the same.
    worst: f32,
    /// Smallest difference between the outputs of two inputs.
    sensitivity: f32,
    /// Added to variances ([`common::weights_with`]).
    added: f64,
}

impl Parity {
    fn new() -> Self {
        let library = Some(common::ort_library());
        let ort = load(RuntimeKind::OnnxRuntime, &LoadOptions { library, ..Default::default() }).unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            ort,
            cases: vec![],
            worst: 0.0,
            sensitivity: f32::INFINITY,
            added: ADDED,
        }
    }

    /// Exports `graph`, and compares Candle, tract and ONNX Runtime.
    fn check(&mut self, name: &str, graph: &Graph, metadata: Metadata, batch: Batch, external_data_above: u64) {
        let weights = common::weights_with(graph, self.cases.len() as u64, self.added);
        let metadata = Metadata { weights_sha256: Some(weights.sha256().unwrap()), ..metadata };
        let path: PathBuf = self.folder.path().join(format!("{name}.onnx"));
        let file_name = format!("{name}.onnx");
        let options = ExportOptions { batch, file_name, external_data_above, ..Default::default() };
        let model = export(graph, &weights, &metadata, options).unwrap();
        assert_eq!(model.external_data.is_some(), external_data_above == 0 && !graph.parameters().is_empty(), "{name}");
        model.save(&path).unwrap();
        assert_eq!(read_metadata(&path).unwrap(), metadata, "{name}");
        check_operators(name, graph, &path);

        let options = SessionOptions { batch: Some(OPEN_BATCH), ..Default::default() };
        let mut expected = None;
        let mut inputs = vec![];
        for (runtime, of) in [(&TractRuntime as &dyn Runtime, "tract"), (&*self.ort, "ONNX Runtime")] {
            let mut session = runtime.prepare(&path, &options).unwrap();
            inputs = random_inputs(session.inputs(), 3);
            session.bind(inputs.clone()).unwrap();
            let outputs = session.outputs().unwrap();
            let expected = expected.get_or_insert_with(|| candle(graph, &weights, &inputs, &outputs[0].name));
            let difference = common::difference(expected, &outputs);
            assert!(difference <= TOLERANCE, "{name}, {batch:?}: {of} differs from Candle by {difference}");
            self.worst = self.worst.max(difference);
        }
        let expected = expected.unwrap();
        self.sensitivity = self.sensitivity.min(sensitivity(&expected[0]));
        self.cases.push(json!({
            "model": path,
            "inputs": tensors(&inputs),
            "outputs": tensors(&expected),
            "opset": OPSET,
            "metadata": {
                "tegu.space": metadata.space,
                "tegu.architecture": metadata.architecture,
                "tegu.trial": metadata.trial.unwrap().to_string(),
                "tegu.indicators": "{\"ntk_condition\":-0.25}",
                "tegu.weights_sha256": metadata.weights_sha256,
            },
        }));
    }

    /// Checks `count` architectures of a space, drawn from a seed; the networks of each are the next of `sizes`.
    fn check_space(&mut self, space: &str, count: usize, sizes: &[NetworkChanges]) {
        let mut rng = ChaCha8Rng::seed_from_u64(201);
        let (mut seen, mut operators, mut removed) = (BTreeSet::new(), BTreeSet::new(), false);
        let mut extremes = SearchSpace::open(space).unwrap().extremes(Scale::Full).unwrap().into_iter();
        while seen.len() < count {
            let space = SearchSpace::open(space).unwrap();
            let space = space.with_network(&sizes[seen.len() % sizes.len()]).unwrap();
            let genotype = extremes.next().unwrap_or_else(|| space.sample(&mut rng));
            let arch = space.arch(&genotype);
            let declared = space.lower(&genotype, Scale::Full).unwrap();
            // A dead architecture fails its trial; a space has few of them.
            let Ok(live) = declared.live() else { continue };
            if !seen.insert(arch.clone()) {
                continue;
            }
            check_live(&arch, &declared, &live);
            operators.extend(genotype.genes().iter().copied());
            removed |= live.nodes().len() < declared.nodes().len();
            let (name, number) = (format!("{}-{}", space.name, seen.len()), seen.len() as u64);
            let batch = [Batch::Fixed(1), Batch::Dynamic, Batch::Fixed(3)][seen.len() % 3];
            self.check(&name, &live, metadata(&space.name, &arch, number), batch, u64::MAX);
        }
        let choices = SearchSpace::open(space).unwrap().choices().iter().copied().max().unwrap();
        assert_eq!(operators.len(), choices, "{space}: operators that no sampled architecture has");
        assert!(removed, "{space}: no sampled architecture had anything to remove");
    }

    /// Checks a staged space's smallest member, its largest, and `count` more, drawn from a seed.
    fn check_stages(&mut self, space: &str, count: usize, network: &NetworkChanges) {
        let space = SearchSpace::open(space).unwrap().with_network(network).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let ends = [false, true].map(|largest| {
            let end = |&choices: &usize| if largest { choices as u8 - 1 } else { 0 };
            Genotype::new(space.choices().iter().map(end).collect())
        });
        let drawn = std::iter::repeat_with(|| space.sample(&mut rng)).take(count);
        for (number, genotype) in ends.into_iter().chain(drawn).enumerate() {
            let arch = space.arch(&genotype);
            let declared = space.lower(&genotype, Scale::Full).unwrap();
            let live = declared.live().unwrap();
            check_live(&arch, &declared, &live);
            let batch = [Batch::Fixed(1), Batch::Dynamic, Batch::Fixed(3)][number % 3];
            self.check(
                &format!("{}-{number}", space.name),
                &live,
                metadata(&space.name, &arch, number as u64),
                batch,
                u64::MAX,
            );
        }
    }

    /// Python's onnx and onnxruntime on all models so far. Gives the largest difference from Candle.
    fn check_with_python(&self) -> f32 {
        let file = self.folder.path().join("cases.json");
        std::fs::write(&file, serde_json::to_string(&self.cases).unwrap()).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_onnx.py");
        let output = Command::new(common::python()).arg(script).arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let differences = text.lines().filter_map(|line| line.split(": fine, differs by ").nth(1)?.parse().ok());
        let differences: Vec<f32> = differences.collect();
        assert_eq!(differences.len(), self.cases.len(), "{text}");
        differences.into_iter().fold(0.0, f32::max)
    }

    fn finish(self) {
        let python = self.check_with_python();
        let Self { cases, worst, sensitivity, .. } = self;
        println!("{} models: runtimes differ by {worst:.1e} at most, Python by {python:.1e}", cases.len());
        // Or a network that hardly looks at its input would agree, whatever is wrong with it.
        assert!(sensitivity > SENSITIVE, "outputs of two inputs differ by {sensitivity} only");
        println!("outputs of two inputs differ by {sensitivity:.1e} at least");
    }
}

fn metadata(space: &str, arch: &str, trial: u64) -> Metadata {
    Metadata {
        space: Some(space.into()),
        architecture: Some(arch.into()),
        study: Some("parity".into()),
        trial: Some(trial),
        seed: Some(u64::MAX),
        indicators: [("ntk_condition".to_owned(), -0.25)].into(),
        ..Metadata::new()
    }
}

/// The graph's output in Candle, as a runtime would give it.
fn candle(graph: &Graph, weights: &Weights, inputs: &[NamedTensor], output: &str) -> Vec<NamedTensor> {
    let Values::F32(values) = &inputs[0].values else { panic!("expected floats") };
    let input = candle_core::Tensor::from_slice(values, &*inputs[0].dims, &candle_core::Device::Cpu).unwrap();
    let result = forward(graph, weights, &input, Mode::Inference).unwrap();
    let values = Values::F32(result.flatten_all().unwrap().to_vec1().unwrap());
    vec![NamedTensor { name: output.to_owned(), dims: result.dims().to_vec(), values }]
}

/// What is live computes what was declared, as it is initialised. (Later, batch normalisation would make a constant
/// of an absent edge; the live network, which is the one that is trained, has none.)
fn check_live(arch: &str, declared: &Graph, live: &Graph) {
    let device = candle_core::Device::Cpu;
    let weights = Weights::random(declared, Init::default(), 1, &device).unwrap();
    let dims = [vec![1], declared.input_shape().dims()].concat();
    let specs = [NamedTensor { name: "input".into(), values: Values::F32(vec![0.0; dims.iter().product()]), dims }];
    let inputs = random_inputs(&specs, 4);
    let [declared, live] = [declared, live].map(|graph| candle(graph, &weights, &inputs, "output"));
    let difference = common::difference(&declared, &live);
    assert!(difference <= 1e-6, "{arch}: the live graph differs from the declared one by {difference}");
}

/// How far the outputs of a batch's first two samples are apart, relative to the largest output.
fn sensitivity(output: &NamedTensor) -> f32 {
    let Values::F32(values) = &output.values else { panic!("expected floats") };
    if output.dims[0] < 2 {
        return f32::INFINITY;
    }
    let (first, others) = values.split_at(values.len() / output.dims[0]);
    let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    first.iter().zip(others).fold(0f32, |most, (left, right)| most.max((left - right).abs())) / largest
}

/// The file has the graph's layers, and no others; that each leads to the output is for Python to check.
#[track_caller]
fn check_operators(name: &str, graph: &Graph, path: &Path) {
    let operators = inspect(path).unwrap().operators;
    let found = ["Conv", "BatchNormalization", "Gemm"].map(|of| operators.get(of).copied().unwrap_or(0));
    let count = |of: fn(&Op) -> bool| graph.nodes().iter().filter(|node| of(&node.op)).count();
    let expected = [
        count(|op| matches!(op, Op::Conv2d(_))),
        count(|op| matches!(op, Op::BatchNorm)),
        count(|op| matches!(op, Op::Linear { .. })),
    ];
    assert_eq!(found, expected, "{name}: convolutions, batch normalisations, linear layers");
}

fn tensors(tensors: &[NamedTensor]) -> Value {
    let one = |tensor: &NamedTensor| {
        let Values::F32(values) = &tensor.values else { panic!("{}: expected floats", tensor.name) };
        (tensor.name.clone(), json!({ "dims": tensor.dims, "values": values, "type": "float32" }))
    };
    Value::Object(tensors.iter().map(one).collect())
}

fn size(width: usize, depth: usize) -> NetworkChanges {
    NetworkChanges { width: Some(width), depth: Some(depth), ..Default::default() }
}

#[test]
fn every_operator() {
    let mut parity = Parity::new();
    for (name, graph) in common::graphs() {
        let metadata = || metadata("by-hand", &format!("|{name}~0|"), 7);
        parity.check(&format!("{name}-fixed"), &graph, metadata(), Batch::Fixed(3), u64::MAX);
        parity.check(&format!("{name}-dynamic"), &graph, metadata(), Batch::Dynamic, u64::MAX);
    }
    parity.check("outside", &common::convolutions(), metadata("by-hand", "outside", 7), Batch::Fixed(1), 0);
    parity.finish();
}

/// Full width; two networks at the full depth of 5 cells a stage, too, the others with 1 or 2.
#[test]
fn nas_bench_201() {
    let mut parity = Parity::new();
    let mut sizes = vec![size(16, 5)];
    sizes.extend((1..12).map(|index| size(16, 1 + index % 2)));
    parity.check_space("nas-bench-201", 24, &sizes);
    parity.finish();
}

#[test]
fn mobilenet_macro() {
    let mut parity = Parity::new();
    parity.check_space("mobilenet-macro", 24, &[NetworkChanges::default()]);
    parity.finish();
}

/// Few cells, and few channels; one network with two reductions.
#[test]
fn darts() {
    let mut parity = Parity::new();
    parity.check_space("darts", 24, &[size(8, 4), size(4, 3), size(6, 2)]);
    parity.finish();
}

#[test]
fn tinybench() {
    let mut parity = Parity::new();
    parity.check_space("tinybench", 24, &[NetworkChanges::default()]);
    parity.finish();
}

/// The smallest, the largest and 20 drawn members of a space of stages, on fewer pixels and narrower.
fn check_small_stages(space: &str, side: usize, width: usize, added: f64) {
    let mut parity = Parity { added, ..Parity::new() };
    let input = Some([3, side, side]);
    let network = NetworkChanges { input, classes: Some(10), width: Some(width), depth: None };
    parity.check_stages(space, 20, &network);
    parity.finish();
}

/// Half the width, on fewer pixels.
#[test]
fn mobilenet_v3() {
    check_small_stages("mobilenet-v3", 64, 8, MORE_ADDED);
}

/// A quarter of the width, on fewer pixels.
#[test]
fn resnet() {
    check_small_stages("resnet", 64, 16, ADDED);
}

/// A third of the channels, on fewer pixels.
#[test]
fn vision_transformers() {
    check_small_stages("vit", 96, 24, ADDED);
}

/// Half of the channels, on fewer pixels.
#[test]
fn vision_transformers_of_stages() {
    check_small_stages("vit-stages", 96, 16, ADDED);
}

/// Half the width, on fewer pixels.
#[test]
fn regnet() {
    check_small_stages("regnet", 64, 16, MORE_ADDED);
}

#[test]
fn tabular() {
    let mut parity = Parity::new();
    parity.check_stages("tabular", 20, &NetworkChanges::default());
    parity.finish();
}

/// Few cells, and few channels; one network with two reductions.
#[test]
fn nasnet() {
    let mut parity = Parity::new();
    parity.check_space("nasnet", 30, &[size(8, 4), size(4, 3), size(6, 2)]);
    parity.finish();
}

#[test]
fn signals_1d() {
    let mut parity = Parity::new();
    parity.check_stages("signals-1d", 20, &NetworkChanges::default());
    parity.finish();
}

/// What is absent of a cell's result stays as zeros, as wide as it was: DARTS with the operator `none`, which its search has, and cells some
/// of whose nodes have nothing else. What makes a graph of a live one keeps them so.
#[test]
fn absent_nodes_of_cells() {
    let text = std::fs::read_to_string("models/darts.yaml").unwrap();
    let none = "  operators:\n    none: [avg_pool: {kernel: 1, stride: stride}, zero]\n";
    let text = text.replacen("  operators:\n", none, 1);
    let space = SearchSpace::parse(&text, Path::new("darts-with-none.yaml")).unwrap();
    let arch = "|none~0|none~1|+|none~0|sep_conv_3x3~1|+|skip_connect~0|dil_conv_3x3~2|+|skip_connect~2|none~3|/\
                |max_pool_3x3~0|skip_connect~1|+|none~1|none~2|+|max_pool_3x3~0|skip_connect~3|+|skip_connect~2|none~1|";
    let genotype = space.parse_arch(arch).unwrap();
    let small = space.clone().with_network(&size(4, 4)).unwrap();
    let declared = small.lower(&genotype, Scale::Full).unwrap();
    let live = declared.live().unwrap();
    check_live(arch, &declared, &live);
    assert_eq!(Graph::from_json(&live.to_json()).unwrap(), live);

    let weights = common::weights(&live, 3);
    let (folded, folded_weights) = fold_batch_norms(&live, &weights).unwrap();
    let dims = [vec![2], live.input_shape().dims()].concat();
    let values = Values::F32(vec![0.0; dims.iter().product()]);
    let inputs = random_inputs(&[NamedTensor { name: "input".into(), values, dims }], 4);
    let expected = candle(&live, &weights, &inputs, "output");
    let difference = common::difference(&expected, &candle(&folded, &folded_weights, &inputs, "output"));
    assert!(difference <= TOLERANCE, "folded, it differs by {difference}");
    let classifier = with_softmax(&live).unwrap();
    assert_eq!(logits(&classifier).unwrap(), live);

    let mut parity = Parity::new();
    for (name, graph) in [("live", &live), ("folded", &folded), ("classifier", &classifier)] {
        parity.check(name, graph, metadata("darts-with-none", arch, 1), Batch::Dynamic, u64::MAX);
    }
    parity.finish();

    let settings = SettingsSection { batch: Some(4), networks: Some(1), ..SettingsSection::default() };
    let probes = Probes::new(&space, settings.resolve(), 3, Compute::Cpu.open().unwrap()).unwrap();
    let drawn: Vec<_> = all().into_iter().filter(|one| one.facts().view != View::Brought).collect();
    for (name, score) in score(&probes, &space, &genotype, &drawn) {
        assert!(score.is_ok(), "{name}: {score:?}");
    }
}

/// A space is data: operators that the built-in spaces don't have go the same way.
#[test]
fn spaces_of_users() {
    let mut parity = Parity::new();
    for file in ["odd-cells.yaml", "odd-chains.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
        parity.check_space(path.to_str().unwrap(), 24, &[NetworkChanges::default()]);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/odd-stages.yaml");
    parity.check_stages(path.to_str().unwrap(), 20, &NetworkChanges::default());
    parity.finish();
}
