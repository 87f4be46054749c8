//! A stack against its networks one by one, by the rules for any device.

use super::{Member, Stack};
use crate::graph::{Activation, Conv2d, Graph, GraphBuilder, Op, Shape, Window};
use crate::network::reverse::tests::{draw, every_operator, weights};
use crate::network::{Mode, PerSampleGradients, Weights, WeightsError, activations};
use candle_core::Tensor;
use std::collections::HashMap;

/// A short network that shares some operators with [`every_operator`], and takes one map twice.
fn short(convolutions: usize) -> Graph {
    let mut net = GraphBuilder::new(Shape::map(3, 13, 10));
    let conv = |out_channels| Op::Conv2d(Conv2d { out_channels, window: Window::same(3, 1), groups: 1, bias: false });
    let mut last = net.input();
    for number in 0..convolutions {
        let conv = net.push(format!("conv{number}"), conv(6), &[last]).unwrap();
        let norm = net.push(format!("norm{number}"), Op::BatchNorm, &[conv]).unwrap();
        let relu = net.push(format!("relu{number}"), Op::Activation(Activation::Relu), &[norm]).unwrap();
        last = net.push(format!("sum{number}"), Op::Add, &[relu, relu, norm]).unwrap();
    }
    let dead = net.push("dead", conv(6), &[last]).unwrap();
    net.push("dead norm", Op::BatchNorm, &[dead]).unwrap();
    let pooled = net.push("pooled", Op::GlobalAvgPool, &[last]).unwrap();
    let logits = net.push("logits", Op::Linear { out_features: 3, bias: true }, &[pooled]).unwrap();
    net.finish(logits)
}

/// Networks of three architectures, two of each.
fn networks() -> Vec<(Graph, Weights)> {
    let graphs = [every_operator(), short(1), short(4)];
    let network = |at: usize| {
        let graph = graphs[at % 3].clone();
        let weights = weights(&graph).map(|_, tensor| tensor * (1.0 - 0.1 * (at / 3) as f64)).unwrap();
        (graph, weights)
    };
    (0..6).map(network).collect()
}

fn members(networks: &[(Graph, Weights)]) -> Vec<Member<'_>> {
    networks.iter().map(|(graph, weights)| Member { graph, weights }).collect()
}

fn batches(samples: usize) -> [Tensor; 2] {
    [5, 6].map(|seed| draw(&[samples, 3, 13, 10], seed))
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, found: &[f32], expected: &[f32], scale: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(scale, |most, value| value.abs().max(most));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs() / scale;
        assert!(off <= 1e-4, "{what}: element {at} is {found}, expected {expected} ({off:.1e} apart)");
    }
}

#[test]
fn results_are_those_of_each_network() {
    let (networks, batches) = (networks(), batches(5));
    let stack = Stack::new(&members(&networks), &batches).unwrap();
    let expected: Vec<Vec<_>> = networks
        .iter()
        .map(|(graph, weights)| batches.iter().map(|x| activations(graph, weights, x, Mode::Train).unwrap()).collect())
        .collect();
    let mut seen = 0;
    let see = |nodes: &[(usize, _)], results: Tensor| -> Result<(), WeightsError> {
        seen += nodes.len();
        for (at, &(member, id)) in nodes.iter().enumerate() {
            for (batch, expected) in expected[member].iter().enumerate() {
                // [channels, samples, pixels] to [samples, channels, pixels]
                let found = results.get(at)?.get(batch)?.transpose(0, 1)?;
                let what = format!("{} of network {member}", networks[member].0.node(id).name);
                assert_close(&what, &flat(&found), &flat(expected.of(id)), 1e-3);
            }
        }
        Ok(())
    };
    stack.forward(see).unwrap();
    let is_run = |op: &Op| !matches!(op, Op::Input | Op::Identity | Op::Dropout { .. });
    let all = networks.iter().flat_map(|(graph, _)| graph.nodes()).filter(|node| is_run(&node.op)).count();
    assert_eq!(seen, all);
}

#[test]
fn products_are_those_of_each_networks_gradients() {
    const SAMPLES: usize = 4;
    let (networks, batches) = (networks(), batches(SAMPLES));
    let stack = Stack::new(&members(&networks), &batches).unwrap();
    let mut found: HashMap<_, _> =
        stack.products().unwrap().into_iter().map(|one| ((one.member, one.node), one.products)).collect();
    for (member, (graph, weights)) in networks.iter().enumerate() {
        let layers = |images: &Tensor| -> Vec<_> {
            PerSampleGradients::folded(graph, weights, images).unwrap().map(Result::unwrap).collect()
        };
        let (first, second) = (layers(&batches[0]), layers(&batches[1]));
        let product = |a: &Tensor, b: &Tensor| flat(&a.matmul(&b.t().unwrap()).unwrap());
        let mut expected = vec![];
        for (first, second) in first.iter().zip(&second) {
            let products =
                [product(&first.gradient, &first.gradient), product(&second.gradient, &first.gradient)].concat();
            expected.push((first.node, products));
        }
        let largest = |values: &[f32]| values.iter().fold(0f32, |most, value| value.abs().max(most));
        let most = expected.iter().map(|(_, products)| largest(products)).fold(0.0, f32::max);
        for (node, expected) in expected {
            let what = format!("{} of network {member}", graph.node(node).name);
            let found = found.remove(&(member, node)).unwrap_or_else(|| panic!("nothing of {what}"));
            // Where little but rounding is left of a gradient, it is held against the network's.
            assert_close(&what, &found, &expected, 1e-4 * most);
        }
    }
    // What leads nowhere has no gradient.
    assert!(found.values().flatten().all(|&value| value == 0.0), "{:?}", found.keys());
}

#[test]
fn what_does_not_fit_is_refused() {
    let networks = networks();
    let members = members(&networks);
    let small = [draw(&[2, 3, 5, 5], 1)];
    for (batches, expected) in [(&small[..], "a network takes [3, 13, 10]"), (&[], "a stack needs a batch")] {
        let error = Stack::new(&members, batches).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
