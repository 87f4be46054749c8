//! How well surrogates rank, and what searches by them find, on the table of NAS-Bench-201:
//! `TEGU_DATA=folder cargo bench --bench surrogates [-- SECTION…]` (with `--profile dev` where that is built already).
//! The folder holds nb201_oracle.csv (see docs/samplers.md). Sections: `ranking`, `best`, `front`; all where none is named.
//! `seeds=N` changes the number of seeds, 20. What is printed are means over seeds with their standard error.
//!
//! - ranking: Kendall's τ of predictions and CIFAR-100 test accuracies of all cells that were not learnt from
//! - best: the greatest CIFAR-100 test accuracy among so many cells asked for
//! - front: the hypervolume of accuracy × latency_ms_gold_6226 up to the table's worst values, as a share of the whole table's

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tegu::genotype::{ArchId, Genotype};
use tegu::objective::ObjectiveVector;
use tegu::pareto::hypervolume;
use tegu::sampler::{BayesianOptions, GbdtOptions, GeneSpace, LinasOptions, Problem, PruneOptions, SamplerOptions};
use tegu::statistics::kendall;
use tegu::surrogate::{
    Acquisition, BoostedTreesOptions, Encoding, FreeStatistics, GaussianProcessOptions, KernelRidgeOptions, Loss,
    MlpOptions, RidgeOptions, Rows, Surrogate, SurrogateError, SurrogateOptions, TargetTransform, Ucb,
};

const OPERATORS: [&str; 5] = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];
const CHOICES: [usize; 6] = [5; 6];

/// All cells with their costs: the negative accuracy in percent, and milliseconds.
struct Table {
    cells: Vec<Genotype>,
    costs: Vec<[f64; 2]>,
    mflops: Vec<f64>,
    places: HashMap<Genotype, usize>,
}

impl Table {
    fn read() -> Result<Self> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let folder = std::env::var_os("TEGU_DATA").map_or(beside, Into::into);
        let path = folder.join("nb201_oracle.csv");
        let mut reader = csv::Reader::from_path(&path).with_context(|| format!("{}: set TEGU_DATA", path.display()))?;
        let headers = reader.headers()?.clone();
        let column = |name: &str| headers.iter().position(|header| header == name).with_context(|| name.to_owned());
        let (arch, accuracy, latency, mflops) = (
            column("arch_str")?,
            column("cifar100_test_200ep_pct")?,
            column("latency_ms_gold_6226")?,
            column("conv_mflops")?,
        );
        let mut table = Self { cells: vec![], costs: vec![], mflops: vec![], places: HashMap::new() };
        for record in reader.records() {
            let record = record?;
            let operators = record[arch].split('|').filter_map(|edge| edge.split_once('~'));
            let gene = |(operator, _)| OPERATORS.iter().position(|name| *name == operator).map(|gene| gene as u8);
            let genes = operators.map(gene).collect::<Option<Vec<u8>>>().context("an unknown operator")?;
            ensure!(genes.len() == CHOICES.len(), "{} has not six edges", &record[arch]);
            table.places.insert(Genotype::new(genes.clone()), table.cells.len());
            table.cells.push(Genotype::new(genes));
            table.costs.push([-record[accuracy].parse::<f64>()?, record[latency].parse()?]);
            table.mflops.push(record[mflops].parse()?);
        }
        Ok(table)
    }

    fn space(&self) -> Result<GeneSpace> {
        let id = |genotype: &Genotype| {
            Some(ArchId::new(genotype.genes().iter().map(|gene| char::from(b'0' + gene)).collect::<String>()))
        };
        Ok(GeneSpace::new(CHOICES.to_vec(), Arc::new(id))?)
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
                let values = |at: &[usize]| at.iter().map(|&at| table.costs[at][0]).collect::<Vec<f64>>();
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

/// The costs of what a sampler asks for, in the order of asking.
fn search(
    table: &Table,
    options: &SamplerOptions,
    objectives: usize,
    evaluations: usize,
    seed: u64,
) -> Result<Vec<[f64; 2]>> {
    let mut sampler = options.sampler(&Problem::new(table.space()?, objectives), seed)?;
    let mut found = vec![];
    while found.len() < evaluations {
        let genotypes = sampler.ask(evaluations - found.len());
        ensure!(!genotypes.is_empty(), "{} gave up after {}", sampler.name(), found.len());
        for genotype in genotypes {
            let costs = table.costs[table.places[&genotype]];
            sampler.tell(&genotype, Some(&ObjectiveVector::feasible(costs[..objectives].to_vec())));
            found.push(costs);
        }
    }
    Ok(found)
}

/// A table of searches: for each the mean over seeds of `judge` at each of `evaluations`.
fn searches(
    table: &Table,
    samplers: &[(&str, SamplerOptions)],
    objectives: usize,
    evaluations: &[usize],
    seeds: u64,
    judge: impl Fn(&[[f64; 2]]) -> f64 + Sync,
) -> Result<()> {
    let last = *evaluations.last().context("evaluations")?;
    let heads: String = evaluations.iter().map(|count| format!(" {count:>16}")).collect();
    println!("{:38}{heads} {:>9}", "sampler", "s a run");
    for (name, options) in samplers {
        let start = Instant::now();
        let of_seed = |seed| -> Result<Vec<f64>> {
            let found = search(table, options, objectives, last, seed)?;
            Ok(evaluations.iter().map(|&count| judge(&found[..count])).collect())
        };
        let found = (0..seeds).into_par_iter().map(of_seed).collect::<Result<Vec<_>>>()?;
        let seconds = start.elapsed().as_secs_f64() / seeds as f64;
        let cell = |at: usize| {
            let (mean, error) = summary(&found.iter().map(|found| found[at]).collect::<Vec<f64>>());
            format!(" {:>16}", format!("{mean:.4} ± {error:.4}"))
        };
        println!("{name:38}{} {seconds:>9.2}", (0..evaluations.len()).map(cell).collect::<String>());
    }
    Ok(())
}

fn bayesian(acquisition: Acquisition) -> SamplerOptions {
    SamplerOptions::Bayesian(BayesianOptions { acquisition: Some(acquisition), ..BayesianOptions::default() })
}

fn best(table: &Table, seeds: u64) -> Result<()> {
    println!("\nbest CIFAR-100 test accuracy among the cells asked for, {seeds} seeds");
    let pruned = GbdtOptions { prune: Some(PruneOptions::default()), ..GbdtOptions::default() };
    let samplers = [
        ("random", SamplerOptions::Random),
        ("gbdt", SamplerOptions::Gbdt(GbdtOptions::default())),
        ("gbdt, pruning", SamplerOptions::Gbdt(pruned)),
        ("linas", SamplerOptions::Linas(LinasOptions::default())),
        ("bayesian, greedy", bayesian(Acquisition::Greedy)),
        ("bayesian, ucb", bayesian(Acquisition::Ucb(Ucb::default()))),
        ("bayesian, expected improvement", bayesian(Acquisition::ExpectedImprovement)),
        ("bayesian, diversity", bayesian(Acquisition::Diversity)),
        ("bayesian, committee", bayesian(Acquisition::Committee)),
        ("bayesian, uncertainty", bayesian(Acquisition::Uncertainty)),
    ];
    let judge = |found: &[[f64; 2]]| -found.iter().map(|costs| costs[0]).fold(f64::INFINITY, f64::min);
    searches(table, &samplers, 1, &[60, 100, 200], seeds, judge)
}

fn front(table: &Table, seeds: u64) -> Result<()> {
    println!("\nshare of the hypervolume of accuracy and latency (gold 6226), {seeds} seeds");
    let worst = |objective: usize| table.costs.iter().map(|costs| costs[objective]).fold(f64::MIN, f64::max);
    let reference = [worst(0), worst(1)];
    let whole = hypervolume(&table.costs, &reference);
    let small = SamplerOptions::Linas(LinasOptions { initial: 10, batch: 5, ..LinasOptions::default() });
    let samplers = [
        ("random", SamplerOptions::Random),
        ("nsga2", SamplerOptions::default()),
        ("linas", SamplerOptions::Linas(LinasOptions::default())),
        ("linas, 10 + batches of 5", small),
        ("gbdt", SamplerOptions::Gbdt(GbdtOptions::default())),
        ("bayesian, greedy", bayesian(Acquisition::Greedy)),
        ("bayesian, ucb", bayesian(Acquisition::Ucb(Ucb::default()))),
        ("bayesian, expected improvement", bayesian(Acquisition::ExpectedImprovement)),
    ];
    let judge = |found: &[[f64; 2]]| hypervolume(found, &reference) / whole;
    searches(table, &samplers, 2, &[60, 100, 200], seeds, judge)
}

type Section = fn(&Table, u64) -> Result<()>;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let seeds = words.iter().find_map(|word| word.strip_prefix("seeds="));
    let seeds: u64 = seeds.map_or(Ok(20), str::parse)?;
    let sections: Vec<&String> = words.iter().filter(|word| !word.contains('=')).collect();
    let table = Table::read()?;
    let all: [(&str, Section); 3] = [("ranking", ranking), ("best", best), ("front", front)];
    for (name, section) in all {
        if sections.is_empty() || sections.iter().any(|wanted| *wanted == name) {
            section(&table, seeds)?;
        }
    }
    Ok(())
}
