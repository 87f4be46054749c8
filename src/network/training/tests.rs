//! The pass through blocked maps against Candle's own differentiation, and the same bits on any number of threads.

use super::{Gradients, TrainingPass, WayBack};
use crate::graph::{Activation, Conv2d, Graph, GraphBuilder, NodeId, Op, Role, Shape, Window};
use crate::network::reverse::tests::{draw, every_operator, images, transformer, weights};
use candle_core::Tensor;
use std::collections::HashMap;

type Factors = HashMap<NodeId, Tensor>;

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(tensor: &Tensor) -> f32 {
    flat(tensor).into_iter().fold(0.0, |most, value| value.abs().max(most))
}

/// Relative to the largest number of the expected, but not to less than `scale`.
fn assert_close(what: &str, found: &Tensor, expected: &Tensor, scale: f32) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let scale = largest(expected).max(scale);
    for (at, (found, expected)) in flat(found).iter().zip(&flat(expected)).enumerate() {
        let off = (found - expected).abs() / scale;
        assert!(off <= 1e-4, "{what}: element {at} is {found}, expected {expected} ({off:.1e} apart)");
    }
}

fn cotangent(pass: &TrainingPass) -> Tensor {
    draw(pass.output().dims(), 11)
}

fn assert_gradients(name: &str, found: &Gradients, expected: &Gradients) {
    assert!(found.keys().eq(expected.keys()), "{name}: {:?}, expected {:?}", found.keys(), expected.keys());
    // A bias in front of a normalisation has no gradient but rounding.
    let scale = expected.values().map(largest).fold(0.0, f32::max) * 1e-3;
    for (parameter, expected) in expected {
        assert_close(&format!("{name}, {parameter}"), &found[parameter], expected, scale);
    }
}

fn check_with(name: &str, graph: &Graph, samples: usize, factors: &Factors) {
    let (weights, input) = (weights(graph), images(graph, samples));
    let expected = TrainingPass::run_candle(graph, &[graph.output()], &weights, &input, factors).unwrap();
    let found = TrainingPass::run(graph, &weights, &input, factors).unwrap();
    assert_close(name, &found.output(), &expected.output(), 0.0);
    assert_eq!(found.statistics().len(), expected.statistics().len(), "{name}");
    for (found, expected) in found.statistics().iter().zip(expected.statistics()) {
        assert_eq!(found.node, expected.node, "{name}");
        let scale = largest(&expected.variance).sqrt();
        assert_close(&format!("{name}, mean of {}", found.node), &found.mean, &expected.mean, scale);
        assert_close(&format!("{name}, variance of {}", found.node), &found.variance, &expected.variance, 0.0);
    }
    let cotangents = [cotangent(&expected)];
    assert_gradients(name, &found.gradients(&cotangents).unwrap(), &expected.gradients(&cotangents).unwrap());
}

fn check(name: &str, graph: &Graph, samples: usize) {
    check_with(name, graph, samples, &Factors::new());
}

struct Net(GraphBuilder, usize);

impl Net {
    fn new(input: Shape) -> (Self, NodeId) {
        let net = Self(GraphBuilder::new(input), 0);
        let input = net.0.input();
        (net, input)
    }

    fn op(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        self.1 += 1;
        self.0.push(format!("node{}", self.1), op, inputs).unwrap()
    }

    fn conv(&mut self, from: NodeId, out_channels: usize, window: Window, groups: usize) -> NodeId {
        let bias = out_channels % 2 == 1;
        self.op(Op::Conv2d(Conv2d { out_channels, window, groups, bias }), &[from])
    }

    fn finish(mut self, from: NodeId, classes: usize) -> Graph {
        let pooled = self.op(Op::GlobalAvgPool, &[from]);
        let logits = self.op(Op::Linear { out_features: classes, bias: true }, &[pooled]);
        self.0.finish(logits)
    }
}

#[test]
fn every_operator_has_candles_gradients() {
    check("every operator", &every_operator(), 5);
    check("every operator, one sample a part and more", &every_operator(), 35);
}

/// Losses of several results are added up on the way back.
#[test]
fn several_outputs_are_candles() {
    let graph = every_operator();
    let (weights, input) = (weights(&graph), images(&graph, 5));
    let blocks = graph.ids().filter(|&id| matches!(graph.node(id).op, Op::Conv2d(_) | Op::Add));
    let outputs: Vec<NodeId> = [graph.output()].into_iter().chain(blocks.step_by(3)).collect();
    assert!(outputs.len() > 3);
    let expected = TrainingPass::run_candle(&graph, &outputs, &weights, &input, &Factors::new()).unwrap();
    let found = TrainingPass::run_to(&graph, &outputs, &weights, &input, &Factors::new()).unwrap();
    assert!(matches!(found.way_back, WayBack::Blocked(_)));
    for (found, expected) in found.outputs().iter().zip(expected.outputs()) {
        assert_close("output", found, expected, 0.0);
    }
    let cotangents: Vec<Tensor> = expected.outputs().iter().map(|output| draw(output.dims(), 11)).collect();
    assert_gradients("outputs", &found.gradients(&cotangents).unwrap(), &expected.gradients(&cotangents).unwrap());
}

/// Transformers are Candle's to differentiate, on the CPU as well.
#[test]
fn transformers_are_candles() {
    let graph = transformer();
    let pass = TrainingPass::run(&graph, &weights(&graph), &images(&graph, 2), &Factors::new()).unwrap();
    assert!(matches!(pass.way_back, WayBack::Candle(..)));
    let cotangent = cotangent(&pass);
    let found = pass.gradients(&[cotangent]).unwrap();
    // All parameters but running statistics, positions and shifts among them.
    let trained = |role| !matches!(role, Role::RunningMean | Role::RunningVariance);
    let expected = graph.parameters().into_iter().filter(|parameter| trained(parameter.role));
    assert!(
        expected.map(|parameter| parameter.name).collect::<std::collections::BTreeSet<_>>().iter().eq(found.keys())
    );
}

/// A window of every kind on channels that fill no block, one, and several panels of blocks.
#[test]
fn convolutions_have_candles_gradients() {
    let window = |kernel, stride, padding, dilation| Window::new([kernel; 2], [stride; 2], [padding; 2], [dilation; 2]);
    let cases = [
        (3, 16, 1, Window::same(3, 1), [9, 8]),
        (16, 48, 1, Window::same(3, 1), [7, 7]),
        (20, 70, 1, Window::same(3, 2), [8, 11]),
        (80, 17, 1, Window::same(1, 1), [5, 6]),
        (33, 34, 1, window(1, 2, 0, 1), [7, 8]),
        (64, 64, 1, Window::same(3, 1), [14, 14]),
        (10, 12, 1, window(4, 3, 1, 2), [17, 15]),
        (32, 64, 8, Window::same(3, 1), [6, 6]),
        (40, 20, 4, Window::same(3, 2), [6, 9]),
        (12, 24, 12, Window::same(3, 1), [6, 6]),
        (37, 37, 37, Window::same(5, 2), [11, 13]),
        (16, 16, 16, window(3, 1, 2, 2), [16, 16]),
        (9, 9, 9, window(7, 3, 3, 1), [23, 9]),
        (20, 18, 1, Window::new([1, 7], [1; 2], [0, 3], [1; 2]), [6, 9]),
        (17, 40, 1, Window::new([3, 1], [2, 1], [1, 0], [2, 1]), [11, 5]),
        (24, 24, 24, Window::new([1, 9], [1, 2], [0, 8], [1, 2]), [1, 33]),
        (16, 16, 16, Window::new([5, 2], [1, 3], [4, 0], [2, 4]), [9, 14]),
        (12, 8, 4, Window::new([2, 3], [3, 1], [1, 0], [1, 2]), [8, 10]),
        (5, 33, 1, Window::new([4, 1], [2, 5], [3, 2], [1; 2]), [7, 8]),
    ];
    for (channels, out_channels, groups, of, [height, width]) in cases {
        let (mut net, input) = Net::new(Shape::map(channels, height, width));
        // The gradient with respect to its input shows in the scale of a normalisation in front of it.
        let norm = net.op(Op::BatchNorm, &[input]);
        let conv = net.conv(norm, out_channels, of, groups);
        let swish = net.op(Op::Activation(Activation::HardSwish), &[conv]);
        let graph = net.finish(swish, 3);
        check(&format!("{channels} to {out_channels} channels in {groups} groups, {of:?}"), &graph, 3);
    }
}

/// Edges that leave one node are computed together, some of them lead nowhere; a map is seen with and without
/// normalisation and activation.
#[test]
fn views_of_one_map_add_up() {
    let (mut net, input) = Net::new(Shape::map(3, 8, 8));
    let stem = net.conv(input, 20, Window::same(3, 1), 1);
    let norm = net.op(Op::BatchNorm, &[stem]);
    let again = net.op(Op::BatchNorm, &[stem]);
    let relu = net.op(Op::Activation(Activation::Relu), &[norm]);
    let relu6 = net.op(Op::Activation(Activation::Relu6), &[stem]);
    let swish = net.op(Op::Activation(Activation::HardSwish), &[stem]);
    let edges = [relu, relu, relu, relu6, swish, again].map(|from| net.conv(from, 20, Window::same(3, 1), 1));
    let nowhere = net.conv(relu, 36, Window::same(3, 1), 1);
    net.op(Op::BatchNorm, &[nowhere]);
    let normed = [edges[0], edges[1]].map(|edge| net.op(Op::BatchNorm, &[edge]));
    let twice = net.op(Op::Activation(Activation::Relu), &[relu6]);
    let renormed = net.op(Op::BatchNorm, &[relu]);
    let all = [normed[0], normed[1], edges[2], edges[3], edges[4], edges[5], norm, stem, stem, again, twice, renormed];
    let sum = net.op(Op::Add, &all);
    let last = net.op(Op::BatchNorm, &[sum]);
    let last = net.op(Op::Activation(Activation::Relu), &[last]);
    check("views of one map", &net.finish(last, 4), 6);
}

#[test]
fn factors_multiply_results_and_gradients() {
    let graph = every_operator();
    let maps = graph.ids().skip(1).filter(|&id| !matches!(graph.node(id).op, Op::Linear { .. } | Op::Softmax));
    let mut factors = Factors::new();
    for (at, id) in maps.enumerate() {
        let dims = [vec![4], graph.node(id).shape.dims()].concat();
        let dims = match at % 4 {
            0 => [&[4][..], &vec![1; dims.len() - 1]].concat(),
            1 => dims,
            _ => continue,
        };
        factors.insert(id, draw(&dims, 40 + at as u64).affine(0.3, 1.0).unwrap());
    }
    check_with("factors", &graph, 4, &factors);
}

#[test]
fn bits_do_not_depend_on_the_threads() {
    let graph = every_operator();
    let (weights, input) = (weights(&graph), images(&graph, 37));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let pass = TrainingPass::run(&graph, &weights, &input, &Factors::new()).unwrap();
            let mut bits: Vec<u32> = flat(&pass.output()).into_iter().map(f32::to_bits).collect();
            let cotangent = cotangent(&pass);
            let gradients = pass.gradients(&[cotangent]).unwrap();
            bits.extend(gradients.values().flat_map(flat).map(f32::to_bits));
            bits
        })
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(5));
}

#[test]
fn wrong_shapes_are_errors() {
    let graph = every_operator();
    let weights = weights(&graph);
    let input = draw(&[2, 3, 12, 10], 5);
    let error = TrainingPass::run(&graph, &weights, &input, &Factors::new()).unwrap_err();
    assert!(error.to_string().contains("expected [2, 3, 13, 10]"), "{error}");
    let pass = TrainingPass::run(&graph, &weights, &images(&graph, 2), &Factors::new()).unwrap();
    let error = pass.gradients(&[draw(&[2, 4], 1)]).unwrap_err();
    assert!(error.to_string().contains("expected [[2, 3]]"), "{error}");
}
