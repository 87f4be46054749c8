//! Networks made smaller: what goes together, what stays, what the smaller network computes.

mod common;

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use tegu::graph::{Activation, Conv2d, Graph, GraphBuilder, NodeId, Op, Role, Shape, Window};
use tegu::network::{Gradients, Mode, Weights, forward};
use tegu::onnx::{Batch, ExportOptions, Metadata, export};
use tegu::prune::{Choice, Importance, Prunable, Width, at_input, importance, order};
use tegu::runtime::{LoadOptions, Runtime, RuntimeKind, SessionOptions, TractRuntime, Values, load, random_inputs};
use tegu::space::{Scale, SearchSpace};

const SPACES: [&str; 5] = ["resnet", "mobilenet-v3", "darts", "nasnet", "regnet"];

/// Members of a space at the size of its probe network, with weights.
fn members(space: &str, count: usize) -> Vec<(String, Graph, Weights)> {
    let space = SearchSpace::open(space).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(35);
    let drawn = std::iter::repeat_with(|| space.sample(&mut rng)).filter_map(|genotype| {
        let graph = space.lower(&genotype, Scale::Probe).unwrap().live().ok()?;
        let weights = common::weights_with(&graph, 3, 0.01);
        Some((format!("{} {}", space.name, space.arch(&genotype)), graph, weights))
    });
    drawn.take(count).collect()
}

fn run(graph: &Graph, weights: &Weights) -> Vec<f32> {
    let dims = [vec![2], graph.input_shape().dims()].concat();
    let values: Vec<f32> = (0..dims.iter().product()).map(|at| (at as f32 * 0.37).sin() * 1.7).collect();
    let input = Tensor::from_vec(values, dims, &Device::Cpu).unwrap();
    forward(graph, weights, &input, Mode::Inference).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference relative to the largest number; not a number where one of them is none.
fn difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let largest = right.iter().fold(1e-6f32, |most, value| most.max(value.abs()));
    let differences = left.iter().zip(right).map(|(left, right)| (left - right).abs() / largest);
    differences.fold(0f32, |most, value| if value <= most { most } else { value })
}

/// Some of the groups to some of their channels, some of the blocks gone.
fn random_choice(prunable: &Prunable, rng: &mut ChaCha8Rng) -> Choice {
    let groups = prunable.groups().all().iter();
    let widths = groups.filter_map(|group| {
        let width = match rng.random_range(0..3) {
            0 => return None,
            1 => Width::Fraction(rng.random_range(0.01..=1.0)),
            _ => Width::Channels(rng.random_range(1..=group.channels)),
        };
        Some((group.name.clone(), width))
    });
    let widths = widths.collect();
    let blocks = prunable.blocks().iter();
    let removed = blocks.filter(|_| rng.random_bool(0.4)).map(|block| block.name.clone()).collect();
    Choice { widths, removed }
}

struct Net(GraphBuilder);

impl Net {
    fn new(channels: usize, size: usize) -> Self {
        Self(GraphBuilder::new(Shape::map(channels, size, size)))
    }

    fn op(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> NodeId {
        self.0.push(name, op, inputs).unwrap()
    }

    fn conv(&mut self, name: &str, out_channels: usize, kernel: usize, groups: usize, input: NodeId) -> NodeId {
        let conv = Conv2d { out_channels, window: Window::same(kernel, 1), groups, bias: false };
        self.op(name, Op::Conv2d(conv), &[input])
    }

    fn head(mut self, features: NodeId, classes: usize) -> Graph {
        let pool = self.op("pool", Op::GlobalAvgPool, &[features]);
        let linear = self.op("linear", Op::Linear { out_features: classes, bias: true }, &[pool]);
        self.0.finish(linear)
    }
}

/// A stem and one residual block, on 8×8 pixels.
fn residual() -> Graph {
    let mut net = Net::new(3, 8);
    let input = net.0.input();
    let stem = net.conv("stem", 8, 3, 1, input);
    let norm = net.op("stem.norm", Op::BatchNorm, &[stem]);
    let relu = net.op("stem.relu", Op::Activation(Activation::Relu), &[norm]);
    let inner = net.conv("inner", 6, 3, 1, relu);
    let inner_norm = net.op("inner.norm", Op::BatchNorm, &[inner]);
    let outer = net.conv("outer", 8, 1, 1, inner_norm);
    let sum = net.op("sum", Op::Add, &[outer, relu]);
    net.head(sum, 5)
}

/// Name, channels, producers, readers of each group.
fn described(graph: &Graph) -> Vec<String> {
    let prunable = Prunable::new(graph.clone(), &common::weights(graph, 1), Importance::L1).unwrap();
    let names = |ids: &[NodeId]| ids.iter().map(|&id| graph.node(id).name.clone()).collect::<Vec<_>>().join(" ");
    let of = |group: &tegu::prune::Group| {
        let (made, read) = (names(&group.producers), names(&group.readers));
        format!("{} {}: {made} -> {read}", group.name, group.channels)
    };
    prunable.groups().all().iter().map(of).collect()
}

#[test]
fn what_goes_together_is_a_group() {
    assert_eq!(described(&residual()), ["stem 8: stem outer -> inner linear", "inner 6: inner -> outer"]);

    let mut net = Net::new(3, 8);
    let input = net.0.input();
    let [a, b] = [("a", 4), ("b", 6)].map(|(name, channels)| net.conv(name, channels, 1, 1, input));
    let joined = net.op("joined", Op::Concat, &[a, b]);
    let c = net.conv("c", 10, 1, 1, input);
    let norm = net.op("norm", Op::BatchNorm, &[c]);
    let sum = net.op("sum", Op::Add, &[joined, norm]);
    let depth_wise = net.conv("depth_wise", 10, 3, 10, sum);
    let squeeze = net.op("squeeze", Op::AvgPool(Window::new([8; 2], [8; 2], [0; 2], [1; 2])), &[depth_wise]);
    let reduce = net.conv("reduce", 3, 1, 1, squeeze);
    let expand = net.conv("expand", 10, 1, 1, reduce);
    let gated = net.op("gated", Op::Mul, &[depth_wise, expand]);
    // What convolutions of several groups read and make stays.
    let before = net.conv("before", 8, 1, 1, gated);
    let grouped = net.conv("grouped", 8, 3, 2, before);
    let doubled = net.conv("doubled", 6, 1, 1, grouped);
    let doubled = net.conv("two_each", 12, 3, 6, doubled);
    let wide = net.conv("wide", 7, 1, 1, doubled);
    let graph = net.head(wide, 5);
    let expected = [
        "a 4: a c depth_wise expand -> reduce before",
        "b 6: b c depth_wise expand -> reduce before",
        "reduce 3: reduce -> expand",
        "wide 7: wide -> linear",
    ];
    assert_eq!(described(&graph), expected);

    // One layer whose channels are of two groups names both.
    let mut net = Net::new(3, 8);
    let input = net.0.input();
    let c = net.conv("c", 10, 1, 1, input);
    let [a, b] = [("a", 4), ("b", 6)].map(|(name, channels)| net.conv(name, channels, 1, 1, input));
    let joined = net.op("joined", Op::Concat, &[a, b]);
    let sum = net.op("sum", Op::Add, &[joined, c]);
    assert_eq!(described(&net.head(sum, 5)), ["c[0..4] 4: c a -> linear", "c[4..10] 6: c b -> linear"]);
}

#[test]
fn what_all_channels_make_is_the_same_to_the_bit() {
    for (name, graph, weights) in SPACES.iter().flat_map(|space| members(space, 2)) {
        let prunable = Prunable::new(graph.clone(), &weights, Importance::L1).unwrap();
        let all = prunable.groups().all().iter().map(|group| (group.name.clone(), Width::Fraction(1.0)));
        let all: BTreeMap<String, Width> = all.collect();
        assert_eq!(all.len(), prunable.groups().all().len(), "{name}: names are not unique");
        assert!(all.len() > 1, "{name}");
        let (same, its) = prunable.prune(&weights, &Choice { widths: all, ..Choice::default() }).unwrap();
        assert_eq!(same, graph, "{name}");
        assert_eq!(run(&same, &its), run(&graph, &weights), "{name}");
    }
}

/// The weights with zeros for all that belongs to these channels of groups, variances excepted.
fn without(prunable: &Prunable, weights: &Weights, channels: &HashSet<(usize, usize)>) -> Weights {
    let graph = prunable.whole();
    let mut masks: HashMap<String, Vec<f32>> = HashMap::new();
    for id in graph.ids() {
        let slots = prunable.groups().slots(id).iter();
        let gone = slots.map(|slot| slot.is_some_and(|slot| channels.contains(&(slot.group, slot.channel))));
        let mask: Vec<f32> = gone.map(|gone| if gone { 0.0 } else { 1.0 }).collect();
        let parameters = graph.node_parameters(id).into_iter();
        let masked = parameters.filter(|parameter| parameter.role != Role::RunningVariance);
        masks.extend(masked.map(|parameter| (parameter.name, mask.clone())));
    }
    let masked = weights.map(|name, tensor| match masks.get(name) {
        Some(mask) => {
            let mut dims = vec![1; tensor.rank()];
            dims[0] = mask.len();
            tensor.broadcast_mul(&Tensor::from_slice(mask, dims, &Device::Cpu)?)
        }
        None => Ok(tensor.clone()),
    });
    masked.unwrap()
}

#[test]
fn channels_of_zeros_change_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (name, graph, weights) in SPACES.iter().flat_map(|space| members(space, 3)) {
        for by in [Importance::L1, Importance::L2] {
            let prunable = Prunable::new(graph.clone(), &weights, by).unwrap();
            let (mut gone, mut choice) = (HashSet::new(), Choice::default());
            for (at, group) in prunable.groups().all().iter().enumerate() {
                let count = rng.random_range(1..=group.channels);
                gone.extend(prunable.orders()[at][count..].iter().map(|&channel| (at, channel)));
                choice.widths.insert(group.name.clone(), Width::Channels(count));
            }
            let zeros = without(&prunable, &weights, &gone);
            // Found again: what is zero is the least important, the rest in the order that it was in.
            let prunable = Prunable::new(graph.clone(), &zeros, by).unwrap();
            let (smaller, its) = prunable.prune(&zeros, &choice).unwrap();
            assert!(gone.is_empty() || smaller.cost().params < graph.cost().params, "{name}");
            let (expected, found) = (run(&graph, &zeros), run(&smaller, &its));
            let apart = difference(&found, &expected);
            assert!(apart <= 1e-5, "{name}: {apart}");
        }
    }
}

/// The parameters that make a node's result zeros where they are; none if some of them are outside of the block's body.
fn silence(graph: &Graph, id: NodeId, body: &[NodeId]) -> Option<Vec<String>> {
    let node = graph.node(id);
    let layers = match node.op {
        _ if !body.contains(&id) => return None,
        Op::Conv2d(_) | Op::Linear { .. } | Op::BatchNorm => {
            let trained = [Role::Weight, Role::Bias, Role::Scale, Role::Shift];
            let parameters = graph.node_parameters(id).into_iter();
            let names =
                parameters.filter(|parameter| trained.contains(&parameter.role)).map(|parameter| parameter.name);
            return Some(names.collect());
        }
        Op::Activation(Activation::Sigmoid | Activation::HardSigmoid) => return None,
        Op::Mul | Op::MaxPool(_) | Op::AvgPool(_) | Op::Activation(_) => &node.inputs[..1],
        Op::Add | Op::Concat => &node.inputs,
        op => panic!("{}: {op:?}", node.name),
    };
    let names: Option<Vec<Vec<String>>> = layers.iter().map(|&input| silence(graph, input, body)).collect();
    Some(names?.concat())
}

#[test]
fn a_block_that_is_gone_is_one_that_adds_zeros() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut checked = 0;
    for (name, graph, weights) in SPACES.iter().flat_map(|space| members(space, 3)) {
        let prunable = Prunable::new(graph.clone(), &weights, Importance::L1).unwrap();
        let (mut choice, mut zeros, mut gone) = (Choice::default(), HashSet::new(), HashSet::new());
        for block in prunable.blocks() {
            let added = graph.node(block.sum).inputs.iter().filter(|&&input| input != block.shortcut);
            let silent: Option<Vec<Vec<String>>> = added.map(|&input| silence(&graph, input, &block.body)).collect();
            if let (Some(names), true) = (silent, rng.random_bool(0.6)) {
                zeros.extend(names.concat());
                choice.removed.insert(block.name.clone());
                gone.extend(block.body.iter().copied().chain([block.sum]));
            }
        }
        checked += choice.removed.len();
        let silent =
            weights.map(|name, tensor| if zeros.contains(name) { tensor.zeros_like() } else { Ok(tensor.clone()) });
        let (smaller, its) = prunable.prune(&weights, &choice).unwrap();
        assert_eq!(smaller.nodes().len() + gone.len(), graph.nodes().len(), "{name}");
        let apart = difference(&run(&smaller, &its), &run(&graph, &silent.unwrap()));
        assert!(apart <= 1e-6, "{name}: {apart}");
    }
    assert!(checked >= 10, "only {checked} blocks");
}

/// torchvision's ResNet-50 has 16 blocks, 12 of them with the identity as shortcut.
#[test]
fn blocks_of_a_residual_network_are_found() {
    let space = SearchSpace::open("resnet").unwrap();
    let genotype = space.parse_arch("bottleneck/3,1,1/4,1,1/6,1,1/3,1,1").unwrap();
    let graph = space.lower(&genotype, Scale::Probe).unwrap().live().unwrap();
    let prunable = Prunable::new(graph.clone(), &common::weights(&graph, 1), Importance::L1).unwrap();
    assert_eq!(prunable.blocks().len(), 12);
    // Two convolutions inside of each block, the sums of each of 4 stages, the stem.
    assert_eq!(prunable.groups().all().len(), 2 * 16 + 4 + 1);
}

#[test]
fn costs_go_down_as_counted() {
    let graph = residual();
    let weights = common::weights(&graph, 1);
    let prunable = Prunable::new(graph.clone(), &weights, Importance::L1).unwrap();
    let cost = |choice: &Choice| {
        let cost = prunable.graph(choice).unwrap().cost();
        assert_eq!(prunable.prune(&weights, choice).unwrap().0.cost(), cost);
        (cost.params, cost.macs)
    };
    // Stem 8·3·9 and its normalisation's 16; 6·8·9 and 12; 8·6; 5·8 + 5.
    let whole = (216 + 16 + 432 + 12 + 48 + 45, 64 * (216 + 432 + 48) + 40);
    assert_eq!(cost(&Choice::default()), whole);
    let half = |width| Choice { widths: [("stem".into(), width)].into(), ..Choice::default() };
    // 4·3·9 and 8; 6·4·9 and 12; 4·6; 5·4 + 5.
    let narrow = (108 + 8 + 216 + 12 + 24 + 25, 64 * (108 + 216 + 24) + 20);
    assert_eq!(cost(&half(Width::Fraction(0.5))), narrow);
    assert_eq!(cost(&half(Width::Channels(4))), narrow);
    let both = Choice { removed: ["sum".into()].into(), ..half(Width::Channels(4)) };
    assert_eq!(cost(&both), (108 + 8 + 25, 64 * 108 + 20));
}

#[test]
fn the_most_important_stay() {
    let graph = residual();
    let weights = common::weights(&graph, 1);
    let groups = tegu::prune::Groups::of(&graph);
    let by_hand = |norm: fn(&[f32]) -> f32, node: &str, scale: Option<&str>| -> Vec<f64> {
        let rows: Vec<Vec<f32>> =
            weights.get(&format!("{node}.weight")).unwrap().flatten_from(1).unwrap().to_vec2().unwrap();
        let scales = scale.map(|name| weights.get(name).unwrap().to_vec1::<f32>().unwrap());
        let scale = |at: usize| scales.as_ref().map_or(1.0, |scales| scales[at].abs());
        rows.iter().enumerate().map(|(at, row)| f64::from(norm(row) * scale(at))).collect()
    };
    let l1: fn(&[f32]) -> f32 = |row| row.iter().map(|value| value.abs()).sum();
    let l2: fn(&[f32]) -> f32 = |row| row.iter().map(|value| value * value).sum::<f32>().sqrt();
    for (by, norm) in [(Importance::L1, l1), (Importance::L2, l2)] {
        let found = importance(&graph, &groups, &weights, by).unwrap();
        let stem = by_hand(norm, "stem", Some("stem.norm.weight"));
        let sums: Vec<f64> = stem.iter().zip(by_hand(norm, "outer", None)).map(|(left, right)| left + right).collect();
        for (expected, found) in [sums, by_hand(norm, "inner", Some("inner.norm.weight"))].iter().zip(&found) {
            assert!(
                expected.iter().zip(found).all(|(left, right)| (left - right).abs() < 1e-5),
                "{expected:?} {found:?}"
            );
        }
    }
    assert_eq!(order(&[1.0, 3.0, 1.0, 2.0, 3.0]), [1, 4, 3, 0, 2]);

    // With gradients that are 0 except for one weight of each of some channels, those count alone.
    let mut gradients: Gradients =
        weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.zeros_like().unwrap())).collect();
    let mut only = |name: &str, at: usize| {
        let zeros = gradients[name].clone();
        let mut values: Vec<f32> = zeros.flatten_all().unwrap().to_vec1().unwrap();
        values[at] = -2.0;
        gradients.insert(name.to_owned(), Tensor::from_vec(values, zeros.dims(), &Device::Cpu).unwrap());
    };
    only("inner.weight", 4 * 72 + 5);
    only("inner.norm.bias", 2);
    only("outer.weight", 7 * 6);
    only("linear.weight", 3);
    let found = importance(&graph, &groups, &weights, Importance::Taylor(&gradients)).unwrap();
    let of = |name: &str, at: usize| {
        2.0 * f64::from(weights.get(name).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()[at].abs())
    };
    let mut expected = vec![vec![0.0; 8], vec![0.0; 6]];
    expected[1][4] = of("inner.weight", 4 * 72 + 5);
    expected[1][2] = of("inner.norm.bias", 2);
    expected[0][7] = of("outer.weight", 42);
    assert_eq!(found, expected);
    gradients.remove("inner.weight");
    let error = importance(&graph, &groups, &weights, Importance::Taylor(&gradients)).unwrap_err().to_string();
    assert_eq!(error, "parameter `gradient of inner.weight` is missing");

    // Of a narrower network, each channel is one of a wider network's.
    let prunable = Prunable::new(graph, &weights, Importance::L1).unwrap();
    let stem = |count| {
        let choice = Choice { widths: [("stem".into(), Width::Channels(count))].into(), ..Choice::default() };
        let (_, its) = prunable.prune(&weights, &choice).unwrap();
        its.get("stem.weight").unwrap().flatten_from(1).unwrap().to_vec2::<f32>().unwrap()
    };
    for count in 1..8 {
        let wider = stem(count + 1);
        assert!(stem(count).iter().all(|row| wider.contains(row)), "{count}");
    }
}

#[test]
fn what_is_left_runs_everywhere() {
    let library = Some(common::ort_library());
    let ort = load(RuntimeKind::OnnxRuntime, &LoadOptions { library, ..Default::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let spaces = SPACES.iter().chain(&["nas-bench-201", "signals-1d", "vit-stages"]);
    for (name, graph, weights) in spaces.flat_map(|space| members(space, 2)) {
        let prunable = Prunable::new(graph, &weights, Importance::L2).unwrap();
        for _ in 0..3 {
            let choice = random_choice(&prunable, &mut rng);
            let (smaller, its) = prunable.prune(&weights, &choice).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(smaller, prunable.graph(&choice).unwrap(), "{name}");
            assert_eq!(smaller.output_shape(), prunable.whole().output_shape(), "{name}");
            let options = ExportOptions { batch: Batch::Fixed(1), ..Default::default() };
            export(&smaller, &its, &Metadata::new(), options).unwrap().save(&path).unwrap();
            for (runtime, of) in [(&TractRuntime as &dyn Runtime, "tract"), (&*ort, "ONNX Runtime")] {
                let mut session = runtime.prepare(&path, &SessionOptions::default()).unwrap();
                let inputs = random_inputs(session.inputs(), 3);
                session.bind(inputs.clone()).unwrap();
                let theirs = session.outputs().unwrap();
                let (Values::F32(given), Values::F32(theirs)) = (&inputs[0].values, &theirs[0].values) else {
                    panic!("floats")
                };
                let input = Tensor::from_slice(given, inputs[0].dims.clone(), &Device::Cpu).unwrap();
                let ours = forward(&smaller, &its, &input, Mode::Inference).unwrap();
                let apart = difference(theirs, &ours.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                assert!(apart <= 1e-4, "{name}, {choice:?}: {of} differs by {apart}");
            }
        }
    }
}

#[test]
fn inputs_of_other_sizes() {
    for (name, graph, weights) in ["resnet", "mobilenet-v3", "regnet"].iter().flat_map(|space| members(space, 2)) {
        let Shape::Map { channels, height, width } = graph.input_shape() else { panic!("a map") };
        assert_eq!(at_input(&graph, [channels, height, width]).unwrap(), graph, "{name}");
        let larger = at_input(&graph, [channels, height + 32, width + 64]).unwrap();
        assert_eq!(larger.parameters(), graph.parameters(), "{name}");
        assert_eq!(larger.output_shape(), graph.output_shape(), "{name}");
        assert!(larger.cost().macs > graph.cost().macs, "{name}");
        assert!(run(&larger, &weights).iter().all(|value| value.is_finite()), "{name}");
        // There and back.
        assert_eq!(at_input(&larger, [channels, height, width]).unwrap(), graph, "{name}");
    }
    let check = |graph: &Graph, size: [usize; 3], expected: &str| {
        let error = at_input(graph, size).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&residual(), [1, 8, 8], "node `input`: it has 3 channels, not 1");
    let (_, vit, _) = members("vit", 1).swap_remove(0);
    let size = vit.input_shape().dims()[1] * 2;
    check(&vit, [vit.input_shape().channels(), size, size], "it has a weight for each place of [");
    let mut net = Net::new(3, 8);
    let input = net.0.input();
    let window = Window::new([8; 2], [1; 2], [0; 2], [1; 2]);
    let flat = net.op("flat", Op::Conv2d(Conv2d { out_channels: 4, window, groups: 1, bias: true }), &[input]);
    check(&net.head(flat, 5), [3, 9, 8], "node `flat`: its kernel is as large as its map, [3, 8, 8]");
}

#[test]
fn a_wrong_choice_is_named() {
    let graph = residual();
    let prunable = Prunable::new(graph.clone(), &common::weights(&graph, 1), Importance::L1).unwrap();
    let check = |json: serde_json::Value, expected: &str| {
        let choice: Choice = serde_json::from_value(json).unwrap();
        assert_eq!(prunable.graph(&choice).unwrap_err().to_string(), expected);
    };
    let wide = "expected more than none and at most all of its 6 channels";
    let width = |width: serde_json::Value| serde_json::json!({"widths": {"inner": width}});
    check(width(serde_json::json!({"channels": 7})), &format!("group `inner`: width Channels(7), {wide}"));
    check(width(serde_json::json!({"channels": 0})), &format!("group `inner`: width Channels(0), {wide}"));
    check(width(serde_json::json!({"fraction": 1.5})), &format!("group `inner`: width Fraction(1.5), {wide}"));
    let unknown = serde_json::json!({"widths": {"iner": {"channels": 1}}});
    check(unknown, "no group `iner`; did you mean `inner`?");
    check(serde_json::json!({"removed": ["stem"]}), "no block `stem`");
}
