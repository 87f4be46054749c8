//! Indicators of gradients on a small network, against PyTorch: the numbers are printed by `tests/data/gradients.py`.

use super::super::diswot::Teacher;
use super::super::probe_batch::{Difficulty, pick};
use super::super::{self as indicator, Probes, SettingsSection, View};
use crate::graph::{Activation, Conv2d, Graph, GraphBuilder, Op, Role, Shape, Window};
use crate::network::Weights;
use candle_core::{Device, Tensor};

const LABELS: [usize; 4] = [0, 1, 2, 0];

/// The script's `series`.
fn series(count: usize, start: f64) -> Vec<f32> {
    let value = |i: usize| (start + 0.731 * i as f64 * (1 + i % 7) as f64).sin();
    (0..count).map(|i| value(i) as f32).collect()
}

fn images() -> Tensor {
    Tensor::from_vec(series(4 * 2 * 16, 0.5), (4, 2, 4, 4), &Device::Cpu).unwrap()
}

fn graph() -> Graph {
    let mut graph = GraphBuilder::new(Shape::Map { channels: 2, height: 4, width: 4 });
    let conv = |out_channels, stride| {
        Op::Conv2d(Conv2d { out_channels, window: Window::same(3, stride), groups: 1, bias: false })
    };
    let mut last = graph.input();
    for (name, op) in [
        ("c1", conv(3, 1)),
        ("n1", Op::BatchNorm),
        ("r1", Op::Activation(Activation::Relu)),
        ("c2", conv(4, 2)),
        ("n2", Op::BatchNorm),
        ("r2", Op::Activation(Activation::Relu)),
        ("pool", Op::GlobalAvgPool),
        ("linear", Op::Linear { out_features: 3, bias: true }),
    ] {
        last = graph.push(name, op, &[last]).unwrap();
    }
    graph.finish(last)
}

/// The script's `tensors`.
fn weights(graph: &Graph, start: f64) -> Weights {
    let mut made = std::collections::HashMap::new();
    for parameter in graph.parameters() {
        let count = parameter.dims.iter().product();
        let drawn = made.keys().filter(|name: &&String| !name.contains("running")).count();
        let draw = |factor: f32| series(count, start + drawn as f64).into_iter().map(move |value| factor * value);
        let values: Vec<f32> = match parameter.role {
            Role::Weight => draw(0.6).collect(),
            Role::Scale => draw(0.3).map(|value| 1.0 + value).collect(),
            Role::Shift | Role::Bias | Role::Position => draw(0.2).collect(),
            Role::RunningMean => vec![0.0; count],
            Role::RunningVariance => vec![1.0; count],
        };
        made.insert(parameter.name, Tensor::from_vec(values, parameter.dims, &Device::Cpu).unwrap());
    }
    Weights::from_tensors(graph, made).unwrap()
}

fn probes(images: &Tensor, labels: &[usize]) -> Probes {
    let settings = SettingsSection::default().resolve();
    Probes::given(settings, [images.clone(), images.clone()], [labels.to_vec(), labels.to_vec()])
}

fn check(what: &str, ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 2e-4 * theirs.abs(), "{what}: {ours}, PyTorch has {theirs}");
}

#[test]
fn indicators_are_pytorchs() {
    let graph = graph();
    let probes = probes(&images(), &LABELS);
    for (name, expected) in [
        ("grad_norm", 0.675_493_225_545),
        ("snip", 1.218_644_819_721),
        ("plain", -0.021_661_189_085),
        ("l2_norm", 8.736_381_056_313),
        ("fisher", 0.006_752_376_894),
        ("grasp", 0.005_435_305_657),
        ("synflow", 5.996_957_085_246),
        ("zico", 10.794_835_517_693),
        ("grad_sign", 262.0),
        ("jacov", -4.925_895_612_750),
        ("epe_nas", 3.437_752_577_471),
    ] {
        let run = probes.run(&graph, View::Features, 0).on(weights(&graph, 1.0));
        check(name, indicator::named(name).unwrap().evaluate(&run).unwrap(), expected);
    }
}

#[test]
fn a_students_similarity_is_pytorchs() {
    let graph = graph();
    let probes = probes(&images(), &LABELS);
    let run = |start: f64| probes.run(&graph, View::Features, 0).on(weights(&graph, start));
    let teacher = Teacher::new(&run(1.0)).unwrap();
    assert_eq!(teacher.similarity(&run(1.0)).unwrap().score(), 0.0);
    let similarity = teacher.similarity(&run(2.5)).unwrap();
    check("semantic", similarity.semantic, -1.459_587_746_464);
    check("relation", similarity.relation, -0.040_533_480_591);
}

#[test]
fn difficulties_are_pytorchs() {
    let graph = graph();
    for (difficulty, expected) in [
        (Difficulty::El2n, [0.714_991_415, 0.948_491_699, 0.795_002_514, 0.647_818_599]),
        (Difficulty::GraNd, [0.911_000_803, 1.399_820_768, 1.245_017_933, 0.648_360_891]),
    ] {
        let ours = difficulty.of(&graph, &[weights(&graph, 1.0)], &images(), &LABELS).unwrap();
        ours.into_iter().zip(expected).for_each(|(ours, theirs)| check("difficulty", ours, theirs));
        let refused = |networks: &[Weights], labels: &[usize], reason: &str| {
            let error = difficulty.of(&graph, networks, &images(), labels).unwrap_err();
            assert_eq!(error.to_string(), format!("probe batch: expected {reason}"));
        };
        refused(&[], &LABELS, "one network or more, found none");
        refused(&[weights(&graph, 1.0)], &[0, 1, 2, 3], "4 labels below 3, found 4 up to 3");
    }
}

#[test]
fn the_hardest_of_each_class_are_picked_in_turns() {
    let (difficulties, labels) = ([1.0, 5.0, 3.0, 3.0, 9.0, 2.0], [0, 0, 0, 0, 7, 7]);
    assert_eq!(pick(&difficulties, &labels, 5, 0.0), [1, 4, 2, 5, 3]);
    assert_eq!(pick(&difficulties, &labels, 9, 0.5), [3, 5, 0]);
    assert!(pick(&difficulties, &labels, 2, 1.0).is_empty());
}

#[test]
fn blocks_that_change_a_gradients_size_are_harder_to_train() {
    let mut graph = GraphBuilder::new(Shape::Map { channels: 1, height: 4, width: 4 });
    // σ = 2: the score is 2 - 2 - 1/2. σ = 1/4, the mean of pixels that have v/4 each: 2 - 1/4 - 4.
    let input = graph.input();
    let doubled = graph.push("stage0.cell0.add", Op::Add, &[input, input]).unwrap();
    let pool = Op::AvgPool(Window::new([2; 2], [2; 2], [0; 2], [1; 2]));
    let pooled = graph.push("reduction1.pool", pool, &[doubled]).unwrap();
    let out = graph.push("head.pool", Op::GlobalAvgPool, &[pooled]).unwrap();
    let graph = graph.finish(out);
    let images = Tensor::ones((2, 1, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let probes = probes(&images, &[0, 0]);
    let run = probes.run(&graph, View::Features, 0);
    check("trainability", indicator::named("trainability").unwrap().evaluate(&run).unwrap(), -1.375);
}
