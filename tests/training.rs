//! A training pass on blocked maps against Candle's own differentiation, on sampled architectures of every space.

mod common;

use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use tegu::graph::Graph;
use tegu::network::{Mode, TrainingPass, forward};
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

/// Outputs and all gradients to 1e-4 of the largest number of each, against double precision: deep networks pass rounding on.
fn check(name: &str, graph: &Graph, batch: usize) {
    let weights = common::weights(graph, 3);
    let input = draw(&[vec![batch], graph.input_shape().dims()].concat(), 5);
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
    let tracked = weights.map(|_, tensor| double(tensor)).unwrap().tracked().unwrap();
    let expected = forward(graph, &tracked, &double(&input).unwrap(), Mode::Train).unwrap();
    let cotangent = draw(expected.dims(), 11);
    let gradients = (&expected * double(&cotangent).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();

    let pass = TrainingPass::run(graph, &weights, &input, &HashMap::new()).unwrap();
    let close = |what: &str, found: &Tensor, expected: &Tensor, scale: f32| {
        let (found, expected) = (flat(found), flat(expected));
        let scale = largest(&expected).max(scale);
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        assert!(off <= 1e-4, "{name}, {what}: {off:.1e} apart");
    };
    close("output", &pass.output(), &expected, 0.0);
    let found = pass.gradients(&cotangent).unwrap();
    let known: Vec<_> = tracked.iter().filter_map(|(name, var)| Some((name, gradients.get(var)?))).collect();
    assert!(found.keys().eq(known.iter().map(|(name, _)| *name)), "{name}");
    let scale = known.iter().map(|(_, gradient)| largest(&flat(gradient))).fold(0.0, f32::max) * 1e-3;
    for (parameter, expected) in known {
        close(parameter, &found[parameter], expected, scale);
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
        let small = NetworkChanges { width: Some(8), depth: Some(1), ..Default::default() };
        let space = SearchSpace::open(path.to_str().unwrap()).unwrap().with_network(&small).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut checked = 0;
        while checked < 3 {
            let genotype = space.sample(&mut rng);
            let declared = space.lower(&genotype, Scale::Full).unwrap();
            let Ok(live) = declared.live() else { continue };
            check(&format!("{} {}", path.display(), space.arch(&genotype)), &live, 4);
            checked += 1;
        }
    }
}
