//! A search space of one's own: written as YAML, walked through as a whole, its front written down.
//!
//! `cargo run --release --example own_space`

use std::path::Path;
use tegu::indicator::{self, Probes, SettingsSection, named};
use tegu::network::{Compute, Init, Weights};
use tegu::objective::ObjectiveVector;
use tegu::onnx::{self, ExportOptions, Metadata};
use tegu::pareto::ParetoFront;
use tegu::space::{Scale, SearchSpace};

/// Four layers of one of three convolutions each, for grey images of 14×14: 81 networks.
const SPACE: &str = "
name: digits
description: chains of 4 convolutions with 3 choices each
networks:
  full: {input: [1, 14, 14], classes: 10, width: 8}
  probe: {input: [1, 14, 14], classes: 10, width: 3}
  thin: {input: [1, 3, 3], classes: 10, width: 1}
stem: [conv: {kernel: 3, channels: width}, batch_norm, relu]
chain:
  stages:
    - {layers: 2, channels: width, stride: 1}
    - {layers: 2, channels: 2*width, stride: 2}
  operators:
    point: [conv: {kernel: 1, stride: stride}, batch_norm, relu]
    depthwise:
      - conv: {kernel: 3, channels: same, groups: same, stride: stride}
      - batch_norm
      - conv: {kernel: 1}
      - batch_norm
      - relu
    full: [conv: {kernel: 3, stride: stride}, batch_norm, relu]
head: [global_avg_pool, linear: {features: classes}]
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = SearchSpace::parse(SPACE, Path::new("digits.yaml"))?;
    println!("{}: {} networks, {} decisions", space.description, space.size(), space.choices().len());

    // Expressivity against what a run costs.
    let settings = SettingsSection { networks: Some(1), ..SettingsSection::default() };
    let probes = Probes::new(&space, settings.resolve(), 1, Compute::Cpu.open()?)?;
    let zen = named("zen")?;
    let mut front = ParetoFront::new();
    for genotype in space.enumerate() {
        let mut scores = indicator::score(&probes, &space, &genotype, &[zen]);
        let score = scores.remove("zen").ok_or("no score")??.value;
        let macs = space.lower(&genotype, Scale::Full)?.live()?.cost().macs;
        front.insert((genotype, score), ObjectiveVector::feasible(vec![macs as f64, -score]));
    }
    println!("front of MACs and zen:");
    for ((genotype, score), vector) in front.sorted() {
        println!("  {:>7} MACs  {score:>8.2}  {}", vector.costs()[0], space.arch(genotype));
    }

    let ((best, _), _) = front.sorted().into_iter().last().ok_or("the front is empty")?;
    let graph = space.lower(best, Scale::Full)?.live()?;
    let weights = Weights::random(&graph, Init::TorchDefault, 0, &candle_core::Device::Cpu)?;
    let path = std::env::temp_dir().join("tegu-own-space.onnx");
    onnx::export(&graph, &weights, &Metadata::new(), ExportOptions::default())?.save(&path)?;
    println!("{} is {}", path.display(), space.arch(best));
    Ok(())
}
