//! The time that searches themselves take, beside pymoo's in the same run: `cargo bench --bench sampler -- PYTHON`, with a Python
//! that has pymoo (`python` on the path where absent; with `--profile dev` where that is built already).
//!
//! Ask and tell of one evaluation, in CPU time, on the same problems with the same populations and generations; the median of three
//! turns, each of ours and then of pymoo's. Then hypervolumes and sorting of the same points, beside moocore's and pymoo's.
//! Where no Python is given and `python` has no pymoo, it says so and gives our times alone.

#[path = "../tests/common/continuous.rs"]
mod continuous;

use anyhow::{Context, Result, ensure};
use continuous::{Reals, bounds, costs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tegu::genotype::{ArchId, Genotype};
use tegu::objective::ObjectiveVector;
use tegu::pareto::{hypervolume, non_dominated_fronts};
use tegu::sampler::{
    GeneSpace, Generational, Genes, RankAndCrowding, ReferenceDirections, Survival, Variation, das_dennis,
};

/// Turns of each.
const TURNS: usize = 3;

#[derive(Serialize)]
struct Search {
    sampler: &'static str,
    problem: &'static str,
    population: usize,
    partitions: usize,
    generations: usize,
}

const SEARCHES: [Search; 4] = [
    Search { sampler: "nsga2", problem: "zdt1", population: 100, partitions: 0, generations: 100 },
    Search { sampler: "nsga2", problem: "genes", population: 100, partitions: 0, generations: 100 },
    Search { sampler: "nsga2", problem: "dtlz2", population: 92, partitions: 0, generations: 100 },
    Search { sampler: "nsga3", problem: "dtlz2", population: 92, partitions: 12, generations: 100 },
];

/// Points and objectives.
const FRONTS: [(usize, usize); 6] = [(1000, 2), (1000, 3), (200, 4), (500, 4), (100, 5), (200, 5)];

/// What benches/sampler.py answers.
#[derive(Deserialize)]
struct Theirs {
    version: String,
    compiled: bool,
    /// Microseconds an evaluation.
    searches: Vec<f64>,
    fronts: Vec<TheirFront>,
}

#[derive(Deserialize)]
struct TheirFront {
    hypervolume_ms: f64,
    sorting_ms: f64,
    hypervolume: f64,
}

/// Seconds of this process on any core, so that what else runs on the machine counts less.
#[cfg(unix)]
fn clock() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a time that lives.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

#[cfg(not(unix))]
fn clock() -> f64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64()
}

/// As `Genes` of benches/sampler.py.
fn price(genotype: &Genotype) -> Vec<f64> {
    let genes = genotype.genes().iter().map(|&gene| f64::from(gene));
    let wanted = (0..20).map(|place| f64::from(place % 4));
    vec![genes.clone().sum(), genes.zip(wanted).map(|(gene, wanted)| (gene - wanted).abs()).sum()]
}

/// Microseconds an evaluation that ask and tell take.
fn overhead<V: Variation>(
    search: &Search,
    variation: V,
    survival: impl Survival,
    costs: impl Fn(&V::Individual) -> Vec<f64>,
) -> Result<f64> {
    let mut engine = Generational::start(variation, survival, search.population, 1)?;
    let (mut spent, mut evaluations) = (0.0, 0);
    for _ in 0..search.generations {
        let start = clock();
        let asked = engine.ask(search.population);
        spent += clock() - start;
        let vectors: Vec<ObjectiveVector> = asked.iter().map(|x| ObjectiveVector::feasible(costs(x))).collect();
        let start = clock();
        asked.iter().zip(&vectors).for_each(|(x, vector)| engine.tell(x, Some(vector)));
        spent += clock() - start;
        evaluations += asked.len();
    }
    ensure!(evaluations == search.population * search.generations, "{evaluations} evaluations");
    Ok(spent / evaluations as f64 * 1e6)
}

fn ours(search: &Search) -> Result<f64> {
    let reals = |crossover| Reals::new(bounds(search.problem), crossover);
    let of = |x: &Vec<f64>| costs(search.problem, x);
    match (search.sampler, search.problem) {
        (_, "genes") => {
            let id = |genotype: &Genotype| Some(ArchId::new(String::from_utf8_lossy(genotype.genes())));
            let genes = Genes::new(GeneSpace::new(vec![4; 20], Arc::new(id))?, 0.9, None)?;
            overhead(search, genes, RankAndCrowding, price)
        }
        ("nsga2", _) => overhead(search, reals((0.9, 15.0)), RankAndCrowding, of),
        _ => overhead(search, reals((1.0, 30.0)), ReferenceDirections::new(das_dennis(3, search.partitions)), of),
    }
}

fn theirs(python: &str, fronts: &[Vec<Vec<f64>>]) -> Result<Theirs> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/sampler.py");
    let mut child = Command::new(python)
        .arg(script)
        // Threads that wait for each other would count as time.
        .envs([("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{python}: no such Python; give the path of one that has pymoo"))?;
    let jobs = serde_json::json!({"searches": SEARCHES, "fronts": fronts});
    let mut stdin = child.stdin.take().context("no pipe to Python")?;
    // A script that ended has said on stderr why.
    let written = stdin.write_all(jobs.to_string().as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{python} {script}: failed; `{python} -m pip install pymoo==0.6.2` if pymoo is missing"
    );
    written?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("{script}: unexpected answer"))
}

/// Points near a quarter of a sphere, hardly any dominated.
fn front(points: usize, objectives: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let point = |rng: &mut ChaCha8Rng| -> Vec<f64> {
        let costs: Vec<f64> = (0..objectives).map(|_| rng.random::<f64>() + 1e-3).collect();
        let length = costs.iter().map(|cost| cost * cost).sum::<f64>().sqrt();
        costs.iter().map(|cost| 1.0 - cost / length).collect()
    };
    (0..points).map(|_| point(rng)).collect()
}

/// The least milliseconds of three calls.
fn fastest<R>(call: impl Fn() -> R) -> f64 {
    let time = |_| {
        let start = clock();
        black_box(call());
        (clock() - start) * 1e3
    };
    (0..3).map(time).fold(f64::INFINITY, f64::min)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Right-aligned, `-` where absent.
fn cell(value: Option<f64>, decimals: usize) -> String {
    value.map_or(format!("{:>12}", "-"), |value| format!("{value:>12.decimals$}"))
}

fn main() -> Result<()> {
    let given = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let fronts: Vec<_> = FRONTS.iter().map(|&(points, objectives)| front(points, objectives, &mut rng)).collect();
    let (mut of_ours, mut of_theirs) = (vec![], vec![]);
    for turn in 0..TURNS {
        of_ours.push(SEARCHES.iter().map(ours).collect::<Result<Vec<f64>>>()?);
        if of_theirs.len() == turn {
            match (theirs(given.as_deref().unwrap_or("python"), &fronts), &given) {
                (Ok(theirs), _) => of_theirs.push(theirs),
                (Err(error), Some(_)) => return Err(error),
                (Err(error), None) => eprintln!("no times of pymoo's: {error:#}"),
            }
        }
    }
    match of_theirs.last() {
        Some(last) => println!("pymoo {}, compiled modules: {}; median of {TURNS} turns", last.version, last.compiled),
        None => println!("median of {TURNS} turns"),
    }
    println!(
        "\n{:<8}{:<8}{:>12}{:>12}{:>12}{:>12}",
        "search", "problem", "evaluations", "tegu, µs", "pymoo, µs", "ratio"
    );
    for (at, search) in SEARCHES.iter().enumerate() {
        let ours = median(of_ours.iter().map(|turn| turn[at]).collect()).context("no turns")?;
        let theirs = median(of_theirs.iter().map(|turn| turn.searches[at]).collect());
        let evaluations = search.population * search.generations;
        print!("{:<8}{:<8}{evaluations:>12}{ours:>12.2}", search.sampler, search.problem);
        println!("{}{}", cell(theirs, 2), cell(theirs.map(|theirs| theirs / ours), 1));
    }
    print!("\n{:<8}{:<11}{:>12}{:>12}", "points", "objectives", "volume, ms", "moocore");
    println!("{:>12}{:>12}", "sorting, ms", "pymoo");
    for (at, points) in fronts.iter().enumerate() {
        let reference = vec![1.1; points[0].len()];
        let found = hypervolume(points, &reference);
        for expected in of_theirs.iter().map(|turn| turn.fronts[at].hypervolume) {
            ensure!((found - expected).abs() <= 1e-9 * expected, "hypervolume {found}, moocore {expected}");
        }
        let vectors: Vec<ObjectiveVector> = points.iter().cloned().map(ObjectiveVector::feasible).collect();
        let volume = fastest(|| hypervolume(points, &reference));
        let sorting = fastest(|| non_dominated_fronts(&vectors));
        let least = |of: fn(&TheirFront) -> f64| of_theirs.iter().map(|turn| of(&turn.fronts[at])).reduce(f64::min);
        print!(
            "{:<8}{:<11}{volume:>12.2}{}",
            points.len(),
            reference.len(),
            cell(least(|front| front.hypervolume_ms), 2)
        );
        println!("{sorting:>12.2}{}", cell(least(|front| front.sorting_ms), 2));
    }
    Ok(())
}
