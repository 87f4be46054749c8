//! How well surrogates rank, on the table of NAS-Bench-201: `TEGU_DATA=folder cargo bench --bench surrogates [-- seeds=N]`
//! (with `--profile dev` where that is built already). The folder holds nb201_oracle.csv (see docs/samplers.md).
//!
//! Printed is Kendall's τ of predictions and CIFAR-100 test accuracies of all cells that were not learnt from: means over 20 seeds with
//! their standard error. What searches by them find is what `tegu bench samplers` says.

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::path::Path;
use std::time::Instant;
use tegu::genotype::Genotype;
use tegu::statistics::kendall;
use tegu::surrogate::{
    BoostedTreesOptions, Encoding, FreeStatistics, GaussianProcessOptions, KernelRidgeOptions, Loss, MlpOptions,
    RidgeOptions, Rows, Surrogate, SurrogateError, SurrogateOptions, TargetTransform,
};

const OPERATORS: [&str; 5] = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];
const CHOICES: [usize; 6] = [5; 6];

/// All cells with their costs: the negative accuracy in percent.
struct Table {
    cells: Vec<Genotype>,
    costs: Vec<f64>,
    mflops: Vec<f64>,
}

impl Table {
    fn read() -> Result<Self> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let folder = std::env::var_os("TEGU_DATA").map_or(beside, Into::into);
        let path = folder.join("nb201_oracle.csv");
        let mut reader = csv::Reader::from_path(&path).with_context(|| format!("{}: set TEGU_DATA", path.display()))?;
        let headers = reader.headers()?.clone();
        let column = |name: &str| headers.iter().position(|header| header == name).with_context(|| name.to_owned());
        let (arch, accuracy, mflops) =
            (column("arch_str")?, column("cifar100_test_200ep_pct")?, column("conv_mflops")?);
        let mut table = Self { cells: vec![], costs: vec![], mflops: vec![] };
        for record in reader.records() {
            let record = record?;
            let operators = record[arch].split('|').filter_map(|edge| edge.split_once('~'));
            let gene = |(operator, _)| OPERATORS.iter().position(|name| *name == operator).map(|gene| gene as u8);
            let genes = operators.map(gene).collect::<Option<Vec<u8>>>().context("an unknown operator")?;
            ensure!(genes.len() == CHOICES.len(), "{} has not six edges", &record[arch]);
            table.cells.push(Genotype::new(genes));
            table.costs.push(-record[accuracy].parse::<f64>()?);
            table.mflops.push(record[mflops].parse()?);
        }
        Ok(table)
    }
}

/// Mean and standard error.
fn summary(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    (mean, (variance / count).sqrt())
}

type Fit<'a> = Box<dyn Fn(&Rows, &[f64], u64) -> Result<Box<dyn Surrogate>, SurrogateError> + Sync + 'a>;

fn ranking(table: &Table, seeds: u64) -> Result<()> {
    let rows = Encoding::new(&CHOICES).rows(&table.cells);
    let mut free = Rows::new(1);
    table.mflops.iter().for_each(|mflops| free.push([*mflops]));
    let thousand: Vec<usize> = (0..1000).collect();
    let (free_rows, statistics) = (rows.select(&thousand), free.select(&thousand));
    let of = |options: SurrogateOptions| -> Fit<'_> { Box::new(move |rows, y, seed| options.fit(rows, y, seed)) };
    let mlp = |loss| of(SurrogateOptions::Mlp(MlpOptions { loss, ..MlpOptions::default() }));
    let pretrained: Fit<'_> = Box::new(|rows, targets, seed| {
        let free = FreeStatistics { rows: &free_rows, statistics: &statistics, epochs: 100 };
        MlpOptions::default().fit_pretrained(rows, targets, &free, seed)
    });
    let (rank, z) = (TargetTransform::RankGauss, TargetTransform::ZScore);
    let kernel = || SurrogateOptions::KernelRidge(KernelRidgeOptions::default());
    let process = || SurrogateOptions::GaussianProcess(GaussianProcessOptions::default());
    let trees = || SurrogateOptions::BoostedTrees(BoostedTreesOptions::default());
    let models: Vec<(&str, TargetTransform, Fit<'_>)> = vec![
        ("ridge, z-score", z, of(SurrogateOptions::Ridge(RidgeOptions::default()))),
        ("ridge", rank, of(SurrogateOptions::Ridge(RidgeOptions::default()))),
        ("kernel ridge, z-score", z, of(kernel())),
        ("kernel ridge", rank, of(kernel())),
        ("Gaussian process, z-score", z, of(process())),
        ("Gaussian process", rank, of(process())),
        ("boosted trees, z-score", z, of(trees())),
        ("boosted trees", rank, of(trees())),
        ("MLP, MSE, z-score", z, mlp(Loss::Mse)),
        ("MLP, MSE", rank, mlp(Loss::Mse)),
        ("MLP, pairwise", rank, mlp(Loss::Pairwise)),
        ("MLP, ListNet", rank, mlp(Loss::ListNet)),
        ("MLP, DiffKendall", rank, mlp(Loss::DiffKendall)),
        ("MLP, DiffKendall, pretrained", rank, pretrained),
    ];
    println!("\nKendall's tau on the cells that were not learnt from, CIFAR-100, {seeds} seeds");
    println!("{:30} {:>14} {:>14} {:>9}", "model", "100 labels", "200 labels", "s a fit");
    for (name, transform, fit) in &models {
        let mut cells = String::new();
        let mut seconds = 0.0;
        for count in [100, 200] {
            let of_seed = |seed: u64| -> Result<(f64, f64)> {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut rest: Vec<usize> = sample(&mut rng, table.cells.len(), table.cells.len()).into_vec();
                let known = rest.split_off(table.cells.len() - count);
                let values = |at: &[usize]| at.iter().map(|&at| table.costs[at]).collect::<Vec<f64>>();
                let start = Instant::now();
                let fitted = fit(&rows.select(&known), &transform.apply(&values(&known)), seed)?;
                let predictions = fitted.predict(&rows.select(&rest));
                let seconds = start.elapsed().as_secs_f64();
                let means: Vec<f64> = predictions.iter().map(|prediction| prediction.mean).collect();
                Ok((kendall(&means, &values(&rest)).context("constant predictions")?, seconds))
            };
            let found = (0..seeds).into_par_iter().map(of_seed).collect::<Result<Vec<_>>>()?;
            let (mean, error) = summary(&found.iter().map(|found| found.0).collect::<Vec<f64>>());
            seconds = summary(&found.iter().map(|found| found.1).collect::<Vec<f64>>()).0;
            cells += &format!(" {:>14}", format!("{mean:.3} ± {error:.3}"));
        }
        println!("{name:30}{cells} {seconds:>9.2}");
    }
    Ok(())
}

fn main() -> Result<()> {
    let seeds = std::env::args().find_map(|word| word.strip_prefix("seeds=").map(str::parse));
    ranking(&Table::read()?, seeds.unwrap_or(Ok(20))?)
}
