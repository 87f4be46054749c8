//! How many Candle operations a stack of networks takes. On a GPU each is a launch or a view, so that their number, not
//! their size, is what small networks cost.
//!
//! Candle numbers tensors as they are made, views included, for the whole process: this binary has one test.

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tegu::graph::Graph;
use tegu::indicator::{Probes, SettingsSection, View};
use tegu::network::{Init, Member, Stack, Weights, WeightsError};
use tegu::space::SearchSpace;

/// The number of the next tensor.
fn next_tensor() -> usize {
    let tensor = Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap();
    let text = format!("{:?}", tensor.id());
    text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// Tensors that are made by the forward and the reverse pass of the kernels, and by the forward pass alone.
fn tensors(networks: &[(Graph, Weights)], images: &Tensor) -> [usize; 2] {
    let members: Vec<Member> = networks.iter().map(|(graph, weights)| Member { graph, weights }).collect();
    let stack = Stack::new(&members, std::slice::from_ref(images)).unwrap();
    let first = next_tensor();
    assert!(!stack.products().unwrap().is_empty());
    let second = next_tensor();
    stack.forward(|_, _| Ok::<_, WeightsError>(())).unwrap();
    [second - first, next_tensor() - second]
}

#[test]
fn twenty_four_networks_take_few_more_operations_than_one() {
    for (name, most_products, most_forward) in [("nas-bench-201", 3.0, 3.0), ("mobilenet-macro", 4.0, 4.0)] {
        let space = SearchSpace::open(name).unwrap();
        let probes = Probes::new(&space, SettingsSection::default().resolve(), 1, Device::Cpu).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(24);
        let graphs = std::iter::repeat_with(|| space.sample(&mut rng));
        let graphs = graphs.filter_map(|genotype| probes.graph(&space, &genotype, View::Kernel).ok()).take(12);
        // Twelve architectures, two networks of each.
        let networks: Vec<(Graph, Weights)> = graphs
            .flat_map(|graph| {
                let weights = |seed| Weights::random(&graph, Init::TorchDefault, seed, &Device::Cpu).unwrap();
                [(graph.clone(), weights(1)), (graph.clone(), weights(2))]
            })
            .collect();
        let dims = [vec![2], networks[0].0.input_shape().dims()].concat();
        let images = Tensor::randn(0f32, 1.0, dims, &Device::Cpu).unwrap();
        let alone: Vec<[usize; 2]> = networks.chunks(1).map(|one| tensors(one, &images)).collect();
        let together = tensors(&networks, &images);
        for (at, most) in [most_products, most_forward].into_iter().enumerate() {
            let largest = alone.iter().map(|one| one[at]).max().unwrap();
            let all: usize = alone.iter().map(|one| one[at]).sum();
            let what = ["products", "forward"][at];
            let (together, times) = (together[at], together[at] as f64 / largest as f64);
            println!("{name}, {what}: {together} for 24, {largest} for the largest, {all} one by one: {times:.2}");
            assert!(times <= most, "{name}, {what}: {together} tensors for 24 networks, {largest} for the largest");
        }
    }
}
