//! An indicator of one's own, beside those that come with Tegu: do networks that keep images apart have high scores by them?
//!
//! `cargo run --release --example own_indicator`

use rand::SeedableRng;
use tegu::indicator::{self, Facts, Indicator, IndicatorError, Probes, Run, SettingsSection, View, named};
use tegu::network::Compute;
use tegu::objective::Direction;
use tegu::space::SearchSpace;
use tegu::statistics::spearman;

/// How far apart an untrained network's outputs for different images are.
struct Separation;

const FACTS: Facts = Facts {
    name: "separation",
    direction: Direction::Maximize,
    description: "outputs of different images differ",
    formula: "mean over pairs of images of 1 - cos(f(x), f(x'))",
    source: "this example",
    view: View::Kernel,
    cost: "1 forward",
};

impl Indicator for Separation {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let outputs = run.activations()?.of(run.graph().output()).to_vec2::<f32>()?;
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let length = |a: &[f32]| product(a, a).sqrt().max(1e-12);
        let pairs = outputs.iter().enumerate().flat_map(|(place, a)| outputs[..place].iter().map(move |b| (a, b)));
        let apart: Vec<f64> = pairs.map(|(a, b)| 1.0 - product(a, b) / (length(a) * length(b))).collect();
        Ok(apart.iter().sum::<f64>() / apart.len() as f64)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = SearchSpace::open("nas-bench-201")?;
    let settings = SettingsSection { networks: Some(2), ..SettingsSection::default() };
    let probes = Probes::new(&space, settings.resolve(), 1, Compute::Cpu.open()?)?;
    let indicators: [&'static dyn Indicator; 4] = [&Separation, named("naswot")?, named("macs")?, named("depth")?];

    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut values: Vec<Vec<f64>> = vec![];
    while values.len() < 24 {
        let genotype = space.sample(&mut rng);
        let scores = indicator::score(&probes, &space, &genotype, &indicators);
        // A dead network has no scores: draw another one.
        let row: Option<Vec<f64>> =
            indicators.iter().map(|one| Some(scores[one.facts().name].as_ref().ok()?.value)).collect();
        if let Some(row) = row {
            println!("{:.4}  {}", row[0], space.arch(&genotype));
            values.push(row);
        }
    }
    let column = |number: usize| values.iter().map(|row| row[number]).collect::<Vec<f64>>();
    for (number, other) in indicators.iter().enumerate().skip(1) {
        let agreement = spearman(&column(0), &column(number)).ok_or("too few values")?;
        println!("rank correlation of {} with {}: {agreement:.2}", FACTS.name, other.facts().name);
    }
    Ok(())
}
