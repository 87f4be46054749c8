//! The lanes against the folded cotangents, both against slopes, and the same bits on any number of threads.

use super::{LayerGradient, PerSampleGradients, lanes};
use crate::graph::{
    Activation, Attention, AttentionKind, Conv2d, Graph, GraphBuilder, Margins, NodeId, Op, Role, Shape, Window,
};
use crate::network::{Mode, TrainingPass, Weights, forward};
use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(in crate::network) fn draw(dims: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..dims.iter().product()).map(|_| rng.random_range(-1f32..1.0)).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

pub(in crate::network) fn images(graph: &Graph, count: usize) -> Tensor {
    draw(&[vec![count], graph.input_shape().dims()].concat(), 5)
}

/// Weights and scales away from 1, so that a forgotten scale shows.
pub(in crate::network) fn weights(graph: &Graph) -> Weights {
    let tensor = |(at, parameter): (usize, crate::graph::Parameter)| {
        let drawn = draw(&parameter.dims, 100 + at as u64);
        let tensor = match parameter.role {
            Role::Weight => drawn * (3.0 / parameter.fan_in as f64).sqrt(),
            Role::Scale | Role::RunningVariance => drawn.affine(0.5, 1.0),
            _ => drawn * 0.3,
        };
        (parameter.name, tensor.unwrap())
    };
    Weights::from_tensors(graph, graph.parameters().into_iter().enumerate().map(tensor).collect()).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(tensor: &Tensor) -> f32 {
    flat(tensor).into_iter().fold(0.0, |most, value| value.abs().max(most))
}

/// Relative to the largest number of the expected, but not to less than `scale`.
fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f32, scale: f32) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let scale = largest(expected).max(scale);
    let (found, expected) = (flat(found), flat(expected));
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let off = (found - expected).abs() / scale;
        assert!(off <= tolerance, "{what}: element {at} is {found}, expected {expected} ({off:.1e} apart)");
    }
}

fn layers(graph: &Graph, weights: &Weights, input: &Tensor, cotangents: usize, together: usize) -> Vec<LayerGradient> {
    let seeds = |outputs: &Tensor| {
        let (batch, outputs) = (outputs.dim(0)?, outputs.elem_count() / outputs.dim(0)?);
        Ok(draw(&[cotangents, batch, outputs], 11))
    };
    PerSampleGradients::on(graph, weights, input, seeds, together).unwrap().map(Result::unwrap).collect()
}

/// The two ways through a graph give the same.
fn check(name: &str, graph: &Graph, samples: usize, cotangents: usize) {
    let (weights, input) = (weights(graph), images(graph, samples));
    let folded = layers(graph, &weights, &input, cotangents, usize::MAX);
    let lanes = layers(graph, &weights, &input, cotangents, lanes::LANES);
    assert_eq!(lanes.len(), folded.len(), "{name}");
    let scale = folded.iter().map(|layer| largest(&layer.gradient)).fold(0.0, f32::max) * 1e-6;
    for (lanes, folded) in lanes.iter().zip(&folded) {
        assert_eq!((lanes.node, lanes.role), (folded.node, folded.role), "{name}");
        assert_eq!(lanes.gradient.dim(0).unwrap(), cotangents);
        let what = format!("{name}, {:?} of {}", lanes.role, graph.node(lanes.node).name);
        assert_close(&what, &lanes.gradient, &folded.gradient, 1e-4, scale);
    }
}

struct Net(GraphBuilder, usize);

impl Net {
    fn op(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        self.1 += 1;
        self.0.push(format!("node{}", self.1), op, inputs).unwrap()
    }

    fn conv(&mut self, from: NodeId, out_channels: usize, window: Window, groups: usize) -> NodeId {
        let conv = self.op(Op::Conv2d(Conv2d { out_channels, window, groups, bias: out_channels == 5 }), &[from]);
        self.op(Op::BatchNorm, &[conv])
    }

    fn act(&mut self, activation: Activation, from: NodeId) -> NodeId {
        self.op(Op::Activation(activation), &[from])
    }
}

/// Every operator, on sides that differ.
pub(in crate::network) fn every_operator() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(3, 13, 10)), 0);
    let input = net.0.input();
    let window = |kernel, stride, padding, dilation| Window::new([kernel; 2], [stride; 2], [padding; 2], [dilation; 2]);
    let stem = net.conv(input, 6, Window::same(3, 1), 1);
    let relu = net.act(Activation::Relu, stem);
    let dense = net.conv(relu, 6, Window::same(3, 1), 1);
    let again = net.conv(relu, 6, Window::same(1, 1), 1);
    let plain = net.conv(stem, 6, Window::same(5, 1), 6);
    let same = net.op(Op::Identity, &[relu]);
    let zero = net.op(Op::Zero, &[relu]);
    let average = net.op(Op::AvgPool(Window::same(3, 1)), &[stem]);
    let most = net.op(Op::MaxPool(Window::same(3, 1)), &[relu]);
    let sum = net.op(Op::Add, &[dense, again, plain, same, zero, average, most, stem, stem]);
    let relu6 = net.act(Activation::Relu6, sum);
    let depthwise = net.conv(relu6, 6, Window::same(5, 2), 6);
    let grouped = net.conv(relu6, 12, Window::same(3, 2), 3);
    let narrow = net.conv(grouped, 6, window(1, 1, 1, 1), 1);
    let narrow = net.conv(narrow, 6, window(3, 1, 0, 1), 2);
    let both = net.op(Op::Add, &[depthwise, narrow]);
    let swish = net.act(Activation::HardSwish, both);
    let dilated = net.conv(swish, 4, window(3, 1, 2, 2), 1);
    let wide = net.conv(swish, 5, window(7, 3, 3, 1), 1);
    let odd = net.conv(swish, 5, window(2, 2, 2, 3), 1);
    let pooled = net.op(Op::AvgPool(Window::same(3, 2)), &[dilated]);
    let cropped = net.op(Op::Pad(Margins::CROP), &[wide]);
    let cropped = net.op(Op::GlobalAvgPool, &[cropped]);
    let flat = net.conv(relu6, 6, Window::new([1, 7], [1, 2], [0, 3], [1; 2]), 1);
    let tall = net.conv(flat, 6, Window::new([3, 1], [2, 1], [2, 0], [2, 1]), 6);
    let uneven = net.op(Op::Pad(Margins::new([-1, 2], [3, -1])), &[tall]);
    let uneven = net.conv(uneven, 4, Window::new([2, 3], [2, 1], [1, 0], [1, 2]), 2);
    let average = net.op(Op::AvgPool(Window::new([3, 1], [1; 2], [1, 0], [1; 2])), &[uneven]);
    let most = net.op(Op::MaxPool(Window::new([1, 2], [2, 1], [0, 1], [1; 2])), &[average]);
    let uneven = net.op(Op::GlobalAvgPool, &[most]);
    let most = net.op(Op::MaxPool(window(2, 2, 0, 1)), &[dilated]);
    let halves = [net.op(Op::GlobalAvgPool, &[pooled]), net.op(Op::GlobalAvgPool, &[most])];
    let gate = net.op(Op::AvgPool(window(5, 5, 0, 1)), &[dilated]);
    let gate = net.conv(gate, 4, Window::same(1, 1), 1);
    let hard = net.act(Activation::HardSigmoid, gate);
    let gate = net.act(Activation::Sigmoid, gate);
    let gated = net.op(Op::Mul, &[dilated, gate]);
    let gated = net.op(Op::Mul, &[gated, hard]);
    let squared = net.op(Op::Mul, &[gated, gated]);
    let squared = net.op(Op::GlobalAvgPool, &[squared]);
    let (wide, odd) = (net.op(Op::GlobalAvgPool, &[wide]), net.op(Op::GlobalAvgPool, &[odd]));
    let joined = net.op(Op::Concat, &[halves[0], wide, halves[1], squared, odd, cropped, uneven]);
    let dropped = net.op(Op::Dropout { probability: 0.2 }, &[joined]);
    let hidden = net.op(Op::Linear { out_features: 7, bias: true }, &[dropped]);
    let hidden = net.act(Activation::Relu, hidden);
    let logits = net.op(Op::Linear { out_features: 4, bias: false }, &[hidden]);
    let softmax = net.op(Op::Softmax, &[logits]);
    let mixed = net.op(Op::Linear { out_features: 3, bias: false }, &[softmax]);
    net.0.finish(mixed)
}

/// What transformers are made of; keys and values of fewer pixels than queries, values of more channels.
pub(in crate::network) fn transformer() -> Graph {
    let mut net = Net(GraphBuilder::new(Shape::map(3, 12, 8)), 0);
    let input = net.0.input();
    let patches = Window::new([2; 2], [2; 2], [0; 2], [1; 2]);
    let stem = net.conv(input, 8, patches, 1);
    let at = net.op(Op::PositionEmbedding, &[stem]);
    let mut at = net.op(Op::Identity, &[at]);
    for kind in [AttentionKind::Softmax, AttentionKind::Linear] {
        let normal = net.op(Op::LayerNorm, &[at]);
        let less = net.op(Op::AvgPool(patches), &[normal]);
        let project = |net: &mut Net, from, out_channels| {
            let window = Window::same(1, 1);
            net.op(Op::Conv2d(Conv2d { out_channels, window, groups: 1, bias: true }), &[from])
        };
        let parts = [project(&mut net, normal, 4), project(&mut net, less, 4), project(&mut net, less, 8)];
        let looked = net.op(Op::Attention(Attention { heads: 2, kind }), &parts);
        at = net.op(Op::Add, &[at, looked]);
        let normal = net.op(Op::LayerNorm, &[at]);
        let hidden = project(&mut net, normal, 12);
        let gelu = net.act(Activation::Gelu, hidden);
        let back = project(&mut net, gelu, 8);
        at = net.op(Op::Add, &[at, back]);
    }
    let normal = net.op(Op::LayerNorm, &[at]);
    let pooled = net.op(Op::GlobalAvgPool, &[normal]);
    let logits = net.op(Op::Linear { out_features: 3, bias: true }, &[pooled]);
    net.0.finish(logits)
}

/// The rules of reverse against Candle's differentiation of what goes forward, one cotangent at a time.
#[test]
fn transformers_have_candles_gradients() {
    let graph = transformer();
    let (weights, input) = (weights(&graph), images(&graph, 3));
    let seeds = draw(&[2, 3, 3], 11);
    for together in [usize::MAX, lanes::LANES] {
        let found = layers(&graph, &weights, &input, 2, together);
        assert_eq!(
            found.len(),
            graph.parameters().iter().filter(|p| matches!(p.role, Role::Weight | Role::Scale)).count()
        );
        for cotangent in 0..2 {
            let pass = TrainingPass::run(&graph, &weights, &input, &Default::default()).unwrap();
            let expected = pass.gradients(&[seeds.get(cotangent).unwrap()]).unwrap();
            for layer in &found {
                let name = format!("{}.weight", graph.node(layer.node).name);
                let found = layer.gradient.get(cotangent).unwrap();
                assert_close(&name, &found, &expected[&name].flatten_all().unwrap(), 1e-4, 1e-2);
            }
        }
    }
}

#[test]
fn lanes_give_what_folded_cotangents_give() {
    let graph = every_operator();
    check("every operator", &graph, 5, 3);
    check("every operator, several walks", &graph, 3, 2 * lanes::LANES + 1);
    check("transformer", &transformer(), 5, 3);
    check("transformer, several walks", &transformer(), 3, lanes::LANES + 1);
}

/// Central differences of Σ outputs · seed, over some elements of every weight.
#[test]
fn gradients_are_the_slopes() {
    let mut net = Net(GraphBuilder::new(Shape::map(2, 7, 6)), 0);
    let input = net.0.input();
    let stem = net.conv(input, 4, Window::same(3, 1), 1);
    let swish = net.act(Activation::HardSwish, stem);
    let depthwise = net.conv(swish, 4, Window::same(3, 2), 4);
    let shortcut = net.act(Activation::HardSigmoid, stem);
    let shortcut = net.op(Op::AvgPool(Window::same(3, 2)), &[shortcut]);
    let cropped = net.op(Op::Pad(Margins::CROP), &[stem]);
    let cropped = net.conv(cropped, 4, Window::same(2, 2), 1);
    let sum = net.op(Op::Add, &[depthwise, shortcut, cropped]);
    let pooled = net.op(Op::GlobalAvgPool, &[sum]);
    let logits = net.op(Op::Linear { out_features: 3, bias: true }, &[pooled]);
    check_slopes(&net.0.finish(logits));
    check_slopes(&transformer());
}

fn check_slopes(graph: &Graph) {
    const STEP: f64 = 2e-3;
    let (weights, input) = (weights(graph), images(graph, 3));
    let seed = draw(&[2, 3, 3], 11);
    let loss = |weights: &Weights, cotangent: usize| -> f32 {
        let outputs = forward(graph, weights, &input, Mode::Train).unwrap();
        (outputs * seed.get(cotangent).unwrap()).unwrap().sum_all().unwrap().to_scalar().unwrap()
    };
    for layer in layers(graph, &weights, &input, 2, lanes::LANES) {
        let name = format!("{}.weight", graph.node(layer.node).name);
        let original = weights.get(&name).unwrap().clone();
        for (element, cotangent) in (0..original.elem_count()).step_by(3).flat_map(|e| [(e, 0), (e, 1)]) {
            let moved = |step: f64| {
                let mut values = flat(&original);
                values[element] += step as f32;
                let mut tensors: std::collections::HashMap<_, _> =
                    weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
                tensors.insert(name.clone(), Tensor::from_vec(values, original.dims(), &Device::Cpu).unwrap());
                loss(&Weights::from_tensors(graph, tensors).unwrap(), cotangent)
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP) as f32;
            let found = flat(&layer.gradient.get(cotangent).unwrap())[element];
            assert!((found - slope).abs() < 5e-3, "{name}, element {element}: {found}, the slope is {slope}");
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_threads() {
    let graph = every_operator();
    let weights = weights(&graph);
    let input = images(&graph, 2 * lanes::LANES + 2);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let all = PerSampleGradients::new(&graph, &weights, &input).unwrap();
            all.flat_map(|layer| flat(&layer.unwrap().gradient)).map(f32::to_bits).collect::<Vec<_>>()
        })
    };
    assert_eq!(on(1), on(4));
}
