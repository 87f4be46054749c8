//! Tegu as a library: score a few random cells, write the best one as ONNX, and measure it.
//!
//! `cargo run --release --example library`

use rand::SeedableRng;
use tegu::indicator::{self, Probes, SettingsSection, Values};
use tegu::network::{Compute, Init, Weights};
use tegu::onnx::{self, ExportOptions, Metadata};
use tegu::quality::{Combine, Quality, RecipeSection, SampleScores};
use tegu::runtime::{self, LoadOptions, RuntimeKind, SessionOptions};
use tegu::space::{Scale, SearchSpace};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = SearchSpace::open("nas-bench-201")?;
    let probes = Probes::new(&space, SettingsSection::default().resolve(), 0, Compute::Cpu.open()?)?;

    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let recipe = RecipeSection::Teg.resolve(Combine::LogRank)?;
    let mut scored: Vec<(_, SampleScores)> = vec![];
    while scored.len() < 6 {
        let genotype = space.sample(&mut rng);
        let scores = indicator::score(&probes, &space, &genotype, &recipe.indicators());
        // A dead network has no scores: draw another one.
        if let Ok(scores) = scores
            .into_iter()
            .map(|(name, score)| Ok((name.to_owned(), score?)))
            .collect::<Result<_, indicator::IndicatorError>>()
        {
            scored.push((genotype, scores));
        }
    }

    let sample: Vec<SampleScores> = scored.iter().map(|(_, scores)| scores.clone()).collect();
    let standing = Quality::new(&recipe, &sample);
    let quality = |scores: &SampleScores| {
        let values: Values = scores.iter().map(|(name, score)| (name.clone(), score.value)).collect();
        standing.of(&values).unwrap_or(f64::MIN)
    };
    for (genotype, scores) in &scored {
        println!("{:.3}  {}", quality(scores), space.arch(genotype));
    }
    let (best, _) = scored.iter().max_by(|a, b| quality(&a.1).total_cmp(&quality(&b.1))).ok_or("nothing was scored")?;

    let graph = space.lower(best, Scale::Full)?.live()?;
    let weights = Weights::random(&graph, Init::TorchDefault, 0, &candle_core::Device::Cpu)?;
    let path = std::env::temp_dir().join("tegu-best.onnx");
    onnx::export(&graph, &weights, &Metadata::new(), ExportOptions::default())?.save(&path)?;

    let tract = runtime::load(RuntimeKind::Tract, &LoadOptions::default())?;
    let mut session = tract.prepare(&path, &SessionOptions::default())?;
    let inputs = runtime::random_inputs(session.inputs(), 0);
    session.bind(inputs)?;
    let samples = tegu::latency::measure(session.as_mut(), &Default::default())?;
    println!("{}: {:.2} ms", path.display(), samples.figures(0).p50_s * 1e3);
    Ok(())
}
