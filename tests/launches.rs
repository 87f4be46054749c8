//! How many Candle operations a stack of networks takes. On a GPU each is a launch or a view, so that their number, not
//! their size, is what small networks cost.
//!
//! Candle numbers tensors as they are made, views included, for the whole process: this binary has one test.

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tegu::graph::Graph;
use tegu::network::{Init, Member, Stack, Weights, WeightsError};
use tegu::space::{NetworkChanges, Scale, SearchSpace};

/// The number of the next tensor.
fn next_tensor() -> usize {
    let tensor = Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap();
    let text = format!("{:?}", tensor.id());
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Operations of a stack, tensors that are made by the forward and the reverse pass of the kernels, and by the forward
/// pass alone.
fn counts(networks: &[(Graph, Weights)], images: &Tensor) -> [usize; 3] {
    let members: Vec<Member> = networks.iter().map(|(graph, weights)| Member { graph, weights }).collect();
    let stack = Stack::new(&members, std::slice::from_ref(images)).unwrap();
    let first = next_tensor();
    assert!(!stack.products().unwrap().is_empty());
    let second = next_tensor();
    stack.forward(|_, _| Ok::<_, WeightsError>(())).unwrap();
    [stack.operations(), second - first, next_tensor() - second]
}

#[test]
fn twenty_four_networks_take_few_more_operations_than_one() {
    // As deep as the networks that kernels look at; the count does not depend on their size.
    for (name, depth, most) in [("nas-bench-201", Some(3), 2.5), ("mobilenet-macro", None, 3.5)] {
        let changes = NetworkChanges { input: Some([3, 8, 8]), width: Some(2), depth, classes: None };
        let space = SearchSpace::open(name).unwrap().with_network(&changes).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(24);
        let graphs = std::iter::repeat_with(|| space.sample(&mut rng));
        let graphs = graphs.filter_map(|genotype| space.lower(&genotype, Scale::Full).unwrap().live().ok()).take(12);
        // Twelve architectures, two networks of each.
        let networks: Vec<(Graph, Weights)> = graphs
            .flat_map(|graph| {
                let weights = |seed| Weights::random(&graph, Init::TorchDefault, seed, &Device::Cpu).unwrap();
                [(graph.clone(), weights(1)), (graph.clone(), weights(2))]
            })
            .collect();
        let images = Tensor::randn(0f32, 1.0, (2, 3, 8, 8), &Device::Cpu).unwrap();
        let alone: Vec<[usize; 3]> = networks.chunks(1).map(|one| counts(one, &images)).collect();
        let together = counts(&networks, &images);
        for (at, what) in ["operations", "tensors of the products", "tensors forward"].into_iter().enumerate() {
            let largest = alone.iter().map(|one| one[at]).max().unwrap();
            let all: usize = alone.iter().map(|one| one[at]).sum();
            let (together, times) = (together[at], together[at] as f64 / largest as f64);
            println!("{name}, {what}: {together} for 24, {largest} for the largest, {all} one by one: {times:.2}");
            assert!(times <= most, "{name}, {what}: {together} for 24 networks, {largest} for the largest");
        }
    }
}
