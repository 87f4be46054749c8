//! A training pass on blocked maps against Candle's own differentiation, and a transformer's against differences, on sampled architectures of
//! every space.

mod common;

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use tegu::graph::{Graph, Op, Role};
use tegu::network::{Gradients, Mode, TrainingPass, Weights, forward};
use tegu::space::{NetworkChanges, Scale, SearchSpace};

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| value.abs().max(most))
}

fn draw(dims: &[usize], seed: u64) -> Tensor {
    use rand::RngExt;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..dims.iter().product()).map(|_| rng.random_range(-1f32..1.0)).collect();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// The largest difference relative to the largest number of the expected, but not to less than `scale`.
fn apart(found: &Tensor, expected: &Tensor, scale: f32) -> f32 {
    let (found, expected) = (flat(found), flat(expected));
    let most = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    most / largest(&expected).max(scale)
}

/// Output and gradients of all parameters that have one, by Candle's differentiation in double precision.
fn candles(graph: &Graph, weights: &Weights, input: &Tensor) -> (Tensor, Gradients) {
    let precision = DType::F64;
    let tracked = weights.map(|_, tensor| tensor.to_dtype(precision)).unwrap().tracked().unwrap();
    let output = forward(graph, &tracked, &input.to_dtype(precision).unwrap(), Mode::Train).unwrap();
    let cotangent = draw(output.dims(), 11).to_dtype(precision).unwrap();
    let all = (&output * cotangent).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |(name, var): (&str, &Tensor)| Some((name.to_owned(), all.get(var)?.clone()));
    (output.detach(), tracked.iter().filter_map(of).collect())
}

/// Output and gradients are 1e-4 of the largest number of each from double precision, for one of a few inputs: where a number
/// is within rounding of a ReLU's kink, its gradient is as right as none, so an input that has such a one says nothing.
fn check(name: &str, graph: &Graph, batch: usize) {
    let weights = common::weights(graph, 3);
    let mut worst = Vec::new();
    for seed in 5..11 {
        let input = draw(&[vec![batch], graph.input_shape().dims()].concat(), seed);
        let (output, expected) = candles(graph, &weights, &input);
        let pass = TrainingPass::run(graph, &weights, &input, &HashMap::new()).unwrap();
        let off = apart(&pass.output(), &output, 0.0);
        assert!(off <= 1e-4, "{name}, output: {off:.1e} apart");
        let found = pass.gradients(&[draw(output.dims(), 11)]).unwrap();
        assert!(found.keys().eq(expected.keys()), "{name}");
        // What a later normalisation takes away again (a bias in front of it) has no gradient but rounding.
        let whole = expected.values().map(|gradient| largest(&flat(gradient))).fold(0.0, f32::max);
        let scale = |exact: &Tensor| if largest(&flat(exact)) < 1e-9 * whole { whole } else { 1e-2 * whole };
        let off = |(name, exact): (&String, &Tensor)| (apart(&found[name], exact, scale(exact)), name.clone());
        let all = expected.iter().map(off);
        let most = all.max_by(|a, b| a.0.total_cmp(&b.0)).expect("a network has parameters");
        if most.0 <= 1e-4 {
            return;
        }
        worst.push(most);
    }
    panic!("{name}: no input whose gradients are right; apart for each: {worst:?}");
}

/// As far as that in parameters, in both directions.
const STEP: f64 = 1e-6;

/// Gradients are differences: of the output, by its cotangent, of a network whose parameters of one role are moved in a drawn direction,
/// in double precision. (What Candle differentiates, Candle's differentiation says nothing about.)
fn check_differences(name: &str, graph: &Graph, batch: usize) {
    let weights = common::weights(graph, 3);
    let input = draw(&[vec![batch], graph.input_shape().dims()].concat(), 5);
    let pass = TrainingPass::run(graph, &weights, &input, &HashMap::new()).unwrap();
    let cotangent = draw(pass.output().dims(), 11);
    let found = pass.gradients(std::slice::from_ref(&cotangent)).unwrap();
    let exact = |tensor: &Tensor| tensor.to_dtype(DType::F64);
    let product = |one: &Tensor, other: &Tensor| -> f64 {
        (exact(one).unwrap() * exact(other).unwrap()).unwrap().sum_all().unwrap().to_scalar().unwrap()
    };
    for role in [Role::Weight, Role::Bias, Role::Scale, Role::Shift, Role::Position] {
        let all = graph.parameters().into_iter().filter(|one| one.role == role).zip(20..);
        let directions: HashMap<String, Tensor> = all.map(|(one, seed)| (one.name, draw(&one.dims, seed))).collect();
        let output = |step: f64| {
            let moved = weights.map(|name, tensor| match directions.get(name) {
                Some(direction) => exact(tensor)? + (exact(direction)? * step)?,
                None => exact(tensor),
            });
            forward(graph, &moved.unwrap(), &exact(&input).unwrap(), Mode::Train).unwrap()
        };
        let difference = product(&(output(STEP) - output(-STEP)).unwrap(), &cotangent) / (2.0 * STEP);
        let along = |(name, direction): (&String, &Tensor)| product(&found[name], direction);
        let gradient: f64 = directions.iter().map(along).sum();
        let scale = directions.keys().map(|name| product(&found[name], &found[name])).sum::<f64>().sqrt();
        assert!(
            (gradient - difference).abs() <= 1e-3 * scale,
            "{name}, {role:?}: {gradient} of gradients of length {scale}, expected {difference}"
        );
    }
}

#[test]
fn sampled_architectures_of_every_space_have_candles_gradients() {
    let mut spaces: Vec<_> = std::fs::read_dir("models").unwrap().map(|entry| entry.unwrap().path()).collect();
    spaces.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    spaces.push("tests/data/odd-cells.yaml".into());
    spaces.push("tests/data/odd-chains.yaml".into());
    spaces.sort();
    for path in spaces {
        let space = SearchSpace::open(path.to_str().unwrap()).unwrap();
        let input = space.network(Scale::Full).input.map(|side| side.min(64));
        let small = NetworkChanges { input: Some(input), width: Some(8), ..Default::default() };
        // Spaces of stages decide their own depths. Twenty normalisations of few numbers would amplify rounding.
        let shallow = space.clone().with_network(&NetworkChanges { depth: Some(1), ..small.clone() });
        let (space, batch) = shallow.map_or_else(|_| (space.with_network(&small).unwrap(), 24), |shallow| (shallow, 8));
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut checked = 0;
        while checked < 3 {
            let genotype = space.sample(&mut rng);
            let declared = space.lower(&genotype, Scale::Full).unwrap();
            let Ok(live) = declared.live() else { continue };
            checked += 1;
            let name = format!("{} {}", path.display(), space.arch(&genotype));
            // A transformer's training pass is Candle's differentiation itself.
            match live.nodes().iter().any(|node| matches!(node.op, Op::Attention(_))) {
                true => check_differences(&name, &live, 2),
                false => check(&name, &live, batch),
            }
        }
    }
}
