//! What several integration tests need: graphs of every operator, weights, comparison, data and Python from outside.
#![allow(dead_code)]

pub mod onnx;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use tegu::graph::{
    Activation, Attention, AttentionKind, Conv2d, Graph, GraphBuilder, Margins, NodeId, Op, Role, Shape, Window,
};
use tegu::network::{Mode, Weights, activations};
use tegu::runtime::{NamedTensor, Values};

/// The Python that has onnx and onnxruntime: `TEGU_TEST_PYTHON`, else the one that `tests/setup.sh` makes.
pub fn python() -> PathBuf {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = std::env::var_os("TEGU_TEST_PYTHON").map_or(made, PathBuf::from);
    assert!(python.exists(), "{} is missing: run tests/setup.sh, or set TEGU_TEST_PYTHON", python.display());
    python
}

/// ONNX Runtime's library in that Python's site-packages. Every test of a binary must take this same one.
pub fn ort_library() -> PathBuf {
    let lib = python().parent().and_then(Path::parent).expect("python is in PREFIX/bin").join("lib");
    let versions = std::fs::read_dir(&lib).unwrap_or_else(|error| panic!("{}: {error}", lib.display()));
    let mut capi = versions.flatten().map(|version| version.path().join("site-packages/onnxruntime/capi"));
    let capi = capi.find(|folder| folder.is_dir());
    capi.unwrap_or_else(|| panic!("no onnxruntime in {}: run tests/setup.sh", lib.display()))
}

/// A file or folder of the data folder beside the repository, `TEGU_DATA`. Where it is absent: `None`, after saying so on
/// the terminal itself, since the harness hides what a passing test prints.
///
/// # Panics
/// If it is absent where the variable `CI` is set: there, nothing is left out.
pub fn data(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("TEGU_DATA").map_or(beside, PathBuf::from).join(name);
    let missing = format!("{} is missing: set TEGU_DATA to the folder that holds {name}", path.display());
    present(path, missing)
}

/// The folder of Fashion-MNIST, `TEGU_FASHION_MNIST`, else where Debian's package `dataset-fashion-mnist` puts it, which
/// `tests/setup.sh` installs. As [`data`] where it is absent.
pub fn fashion_mnist() -> Option<PathBuf> {
    let installed = PathBuf::from("/usr/share/datasets/fashion-mnist");
    let path = std::env::var_os("TEGU_FASHION_MNIST").map_or(installed, PathBuf::from);
    let missing = format!("{} is missing: run tests/setup.sh fashion_mnist, or set TEGU_FASHION_MNIST", path.display());
    present(path, missing)
}

/// ONNX Runtime's library with OpenVINO: in `TEGU_TEST_HOME`, else where `tests/setup.sh openvino` puts it. As [`data`]
/// where it is absent: not every platform has one.
pub fn openvino_library() -> Option<PathBuf> {
    let runtimes = tegu_home().join("runtimes");
    let folders = std::fs::read_dir(&runtimes).into_iter().flatten().flatten().map(|entry| entry.path());
    let made_for = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("onnxruntime-openvino-");
    let folder = folders.filter(made_for).max().unwrap_or_else(|| runtimes.join("onnxruntime-openvino-VERSION"));
    let missing = format!("{} is missing: run tests/setup.sh openvino, or set TEGU_TEST_HOME", folder.display());
    present(folder.join("onnxruntime/capi"), missing)
}

/// `TEGU_HOME` of the tests.
pub fn tegu_home() -> PathBuf {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tegu");
    std::env::var_os("TEGU_TEST_HOME").map_or(made, PathBuf::from)
}

fn present(path: PathBuf, missing: String) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("\nNOT CHECKED by {test}: {missing}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

/// Weights with which the output depends on the input as a trained network's does, and nothing cancels: the running
/// statistics of batch normalisation are near those of a batch, or constants would soon be all that is left.
pub fn weights(graph: &Graph, seed: u64) -> Weights {
    weights_with(graph, seed, 0.01)
}

/// [`weights`], where `added` to variances is larger for networks that are deep and narrow: a channel that hardly varies is made louder by a
/// normalisation, its rounding as well, twenty times over.
pub fn weights_with(graph: &Graph, seed: u64, added: f64) -> Weights {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |dims: &[usize], low: f32, high: f32| {
        let values = (0..dims.iter().product()).map(|_| rng.random_range(low..high)).collect();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    };
    let mut tensors = HashMap::new();
    for parameter in graph.parameters() {
        let bound = (6.0 / parameter.fan_in as f32).sqrt();
        let (low, high) = match parameter.role {
            Role::Scale | Role::RunningVariance => (0.5, 1.5),
            Role::Shift | Role::RunningMean | Role::Bias | Role::Position => (-0.3, 0.3),
            Role::Weight => (-bound, bound),
        };
        tensors.insert(parameter.name, draw(&parameter.dims, low, high));
    }
    let drawn = Weights::from_tensors(graph, tensors.clone()).unwrap();
    let input = draw(&[vec![4], graph.input_shape().dims()].concat(), -1.7, 1.7);
    let results = activations(graph, &drawn, &input, Mode::Train).unwrap();
    for node in graph.nodes().iter().filter(|node| node.op == Op::BatchNorm) {
        let operand = results.of(node.inputs[0]).transpose(0, 1).unwrap().flatten_from(1).unwrap();
        let (mean, variance) = (operand.mean(1).unwrap(), (operand.var(1).unwrap() + added).unwrap());
        let mut change = |name: &str, by: &dyn Fn(&Tensor) -> candle_core::Result<Tensor>| {
            let tensor = tensors.get_mut(&format!("{}.{name}", node.name)).unwrap();
            *tensor = by(tensor).unwrap();
        };
        change("running_mean", &|drawn| (drawn * variance.sqrt()?)? + &mean);
        change("running_var", &|drawn| drawn * &variance);
    }
    Weights::from_tensors(graph, tensors).unwrap()
}

/// Largest difference between the outputs of two runs, relative to the largest magnitude of each output.
#[track_caller]
pub fn difference(left: &[NamedTensor], right: &[NamedTensor]) -> f32 {
    assert_eq!(left.len(), right.len());
    let one = |(left, right): (&NamedTensor, &NamedTensor)| {
        assert_eq!((&left.name, &left.dims), (&right.name, &right.dims));
        let (Values::F32(left), Values::F32(right)) = (&left.values, &right.values) else { panic!("expected floats") };
        let largest = left.iter().fold(1e-6f32, |most, value| most.max(value.abs()));
        // Not `max`, which would pass over NaN.
        let differences = left.iter().zip(right).map(|(left, right)| (left - right).abs() / largest);
        differences.fold(0f32, |most, value| if value <= most { most } else { value })
    };
    left.iter().zip(right).map(one).fold(0.0, |most, value| if value <= most { most } else { value })
}

/// NASNet-A's cells, as `genotypes.py` of DARTS's code has them.
pub const NASNET_A: &str = "Genotype(normal = [('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), \
    ('sep_conv_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), \
    ('skip_connect', 1)], normal_concat = [2, 3, 4, 5, 6], reduce = [('sep_conv_5x5', 1), ('sep_conv_7x7', 0), \
    ('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 0), ('skip_connect', 3), \
    ('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1)], reduce_concat = [4, 5, 6])";

struct Net(GraphBuilder);

impl Net {
    fn op(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> NodeId {
        self.0.push(name, op, inputs).unwrap()
    }

    fn conv(&mut self, name: &str, input: NodeId, out_channels: usize, window: Window, groups: usize) -> NodeId {
        let bias = name.ends_with("_bias");
        self.op(name, Op::Conv2d(Conv2d { out_channels, window, groups, bias }), &[input])
    }
}

/// Small graphs that together have every operator, with the name of what each is about.
pub fn graphs() -> Vec<(&'static str, Graph)> {
    vec![
        ("convolutions", convolutions()),
        ("cell", cell()),
        ("gate", gate()),
        ("rectangles", rectangles()),
        ("signal", signal()),
        ("transformer", transformer()),
        ("input_is_output", input_is_output()),
        ("identity_is_output", identity_is_output()),
        ("names_that_collide", names_that_collide()),
    ]
}

/// Grouped, depthwise, strided, dilated, biased; batch norm; ReLU and ReLU6; linear; softmax.
pub fn convolutions() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(3, 12, 12)));
    let input = net.0.input();
    let stem = net.conv("stem.conv_bias", input, 8, Window::same(3, 1), 1);
    let norm = net.op("stem.norm", Op::BatchNorm, &[stem]);
    let relu6 = net.op("stem.relu6", Op::Activation(Activation::Relu6), &[norm]);
    let again = net.op("stem.relu6_again", Op::Activation(Activation::Relu6), &[relu6]);
    let depthwise = net.conv("depthwise", again, 8, Window::same(5, 2), 8);
    let grouped = net.conv("grouped", depthwise, 12, Window::same(3, 1), 4);
    let dilated = Window::new([3; 2], [1; 2], [2; 2], [2; 2]);
    let dilated = net.conv("dilated", grouped, 12, dilated, 1);
    let relu = net.op("relu", Op::Activation(Activation::Relu), &[dilated]);
    let pooled = net.op("pooled", Op::GlobalAvgPool, &[relu]);
    let dropped = net.op("dropped", Op::Dropout { probability: 0.3 }, &[pooled]);
    let hidden = net.op("hidden", Op::Linear { out_features: 7, bias: false }, &[dropped]);
    let logits = net.op("logits", Op::Linear { out_features: 5, bias: true }, &[hidden]);
    let softmax = net.op("softmax", Op::Softmax, &[logits]);
    net.0.finish(softmax)
}

/// Sums of several, absent edges, identities, padded pools, concatenation with zeros.
pub fn cell() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(4, 9, 9)));
    let input = net.0.input();
    let conv = net.conv("conv", input, 4, Window::same(1, 1), 1);
    let average = net.op("average", Op::AvgPool(Window::same(3, 1)), &[conv]);
    let strided_average = net.op("strided_average", Op::AvgPool(Window::same(3, 2)), &[conv]);
    let skip = net.op("skip", Op::Identity, &[input]);
    let none = net.op("none", Op::Zero, &[input]);
    let sum = net.op("sum", Op::Add, &[average, skip, none, conv]);
    let most = net.op("most", Op::MaxPool(Window::new([2; 2], [2; 2], [0; 2], [1; 2])), &[sum]);
    let padded = net.op("padded_most", Op::MaxPool(Window::same(3, 2)), &[sum]);
    let small = net.conv("small", most, 4, Window::new([2; 2], [1; 2], [1; 2], [1; 2]), 1);
    let nothing = net.op("nothing", Op::Zero, &[small]);
    let shifted = net.op("shifted", Op::Pad(Margins::CROP), &[sum]);
    let shifted = net.conv("shifted_conv", shifted, 4, Window::new([1; 2], [2; 2], [1; 2], [1; 2]), 1);
    let joined = net.op("joined", Op::Concat, &[small, padded, nothing, strided_average, shifted]);
    net.0.finish(joined)
}

/// Squeeze and excitation: gates of `[channels, 1, 1]`; hard-swish, sigmoid and hard-sigmoid.
pub fn gate() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(6, 8, 8)));
    let input = net.0.input();
    let swish = net.op("swish", Op::Activation(Activation::HardSwish), &[input]);
    let squeeze = net.op("squeeze", Op::AvgPool(Window::new([8; 2], [8; 2], [0; 2], [1; 2])), &[swish]);
    let excite = net.conv("excite_bias", squeeze, 6, Window::same(1, 1), 1);
    let sigmoid = net.op("sigmoid", Op::Activation(Activation::Sigmoid), &[excite]);
    let gated = net.op("gated", Op::Mul, &[swish, sigmoid]);
    let hard = net.op("hard_sigmoid", Op::Activation(Activation::HardSigmoid), &[excite]);
    let gated = net.op("gated_hard", Op::Mul, &[gated, hard]);
    let squared = net.op("squared", Op::Mul, &[gated, gated]);
    net.0.finish(squared)
}

/// Windows that are not square, and margins: in front of a convolution, of a pool, of two readers; what is cut off.
pub fn rectangles() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(3, 13, 10)));
    let input = net.0.input();
    let flat = net.conv("flat", input, 6, Window::new([1, 7], [1; 2], [0, 3], [1; 2]), 1);
    let tall = net.conv("tall_bias", flat, 6, Window::new([7, 1], [1, 2], [3, 0], [1; 2]), 6);
    let around = net.op("around", Op::Pad(Margins::new([0, 1], [1, 2])), &[tall]);
    let stepped = net.conv("stepped", around, 4, Window::new([3, 2], [2, 1], [1, 0], [1, 2]), 2);
    let average = net.op("average", Op::AvgPool(Window::new([3, 1], [1; 2], [1, 0], [1; 2])), &[stepped]);
    let below = net.op("below", Op::Pad(Margins::new([0; 2], [1; 2])), &[average]);
    let most = net.op("most", Op::MaxPool(Window::new([2, 3], [1; 2], [0, 1], [1; 2])), &[below]);
    let mixed = net.op("mixed", Op::Pad(Margins::new([-1, 2], [1, -1])), &[most]);
    let again = net.conv("again", mixed, 4, Window::same(1, 1), 1);
    let sum = net.op("sum", Op::Add, &[mixed, again]);
    let cut = net.op("cut", Op::Pad(Margins::new([0, -1], [-2, 0])), &[sum]);
    net.0.finish(cut)
}

/// A signal: one row.
fn signal() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(5, 1, 40)));
    let input = net.0.input();
    let stem = net.conv("stem", input, 8, Window::new([1, 7], [1, 2], [0, 3], [1; 2]), 1);
    let norm = net.op("norm", Op::BatchNorm, &[stem]);
    let relu = net.op("relu", Op::Activation(Activation::Relu), &[norm]);
    let depthwise = net.conv("depthwise", relu, 8, Window::new([1, 5], [1; 2], [0, 8], [1, 4]), 8);
    let most = net.op("most", Op::MaxPool(Window::new([1, 3], [1, 2], [0, 1], [1; 2])), &[depthwise]);
    let pooled = net.op("pooled", Op::GlobalAvgPool, &[most]);
    let logits = net.op("logits", Op::Linear { out_features: 6, bias: true }, &[pooled]);
    net.0.finish(logits)
}

/// Positions, layer norm, GELU; both kinds of attention, keys and values of fewer pixels than queries, values of more channels.
pub fn transformer() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(6, 8, 6)));
    let input = net.0.input();
    let mut at = net.op("positions", Op::PositionEmbedding, &[input]);
    for (name, kind) in [("softmax", AttentionKind::Softmax), ("linear", AttentionKind::Linear)] {
        let normal = net.op(&format!("{name}.norm"), Op::LayerNorm, &[at]);
        let window = Window::new([2; 2], [2; 2], [0; 2], [1; 2]);
        let less = net.conv(&format!("{name}.less_bias"), normal, 4, window, 1);
        let queries = net.conv(&format!("{name}.queries"), normal, 4, Window::same(1, 1), 1);
        let keys = net.conv(&format!("{name}.keys_bias"), less, 4, Window::same(1, 1), 1);
        let values = net.conv(&format!("{name}.values"), less, 6, Window::same(1, 1), 1);
        let attention = Op::Attention(Attention { heads: 2, kind });
        let looked = net.op(&format!("{name}.attention"), attention, &[queries, keys, values]);
        let gelu = net.op(&format!("{name}.gelu"), Op::Activation(Activation::Gelu), &[looked]);
        at = net.op(&format!("{name}.sum"), Op::Add, &[at, gelu]);
    }
    net.0.finish(at)
}

fn input_is_output() -> Graph {
    let net = GraphBuilder::new(Shape::map(2, 3, 3));
    let input = net.input();
    net.finish(input)
}

fn identity_is_output() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(2, 3, 3)));
    let input = net.0.input();
    let relu = net.op("relu", Op::Activation(Activation::Relu), &[input]);
    let identity = net.op("identity", Op::Identity, &[relu]);
    net.0.finish(identity)
}

fn names_that_collide() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(2, 3, 3)));
    let input = net.0.input();
    let output = net.op("output", Op::Activation(Activation::Relu), &[input]);
    let conv = net.conv("a", output, 2, Window::same(1, 1), 1);
    let weight = net.op("a.weight", Op::Activation(Activation::Sigmoid), &[conv]);
    let last = net.op("batch_size", Op::Add, &[weight, output]);
    net.0.finish(last)
}
