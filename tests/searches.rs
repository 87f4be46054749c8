//! The generational searches on continuous problems, beside pymoo at equal evaluations and populations.
//!
//! tests/data/searches.json holds the hypervolumes of pymoo's runs, searches.py made it.

#[path = "common/continuous.rs"]
mod continuous;

use continuous::{Reals, bounds, costs};
use serde::Deserialize;
use tegu::objective::ObjectiveVector;
use tegu::pareto::hypervolume;
use tegu::sampler::{AdaptiveGeometry, Generational, RankAndCrowding, ReferenceDirections, Survival, das_dennis};

/// Runs of pymoo's.
#[derive(Deserialize)]
struct Runs {
    sampler: String,
    problem: String,
    population: usize,
    partitions: usize,
    generations: usize,
    hypervolumes: Vec<f64>,
}

fn of_pymoo(sampler: &str) -> Vec<Runs> {
    let all: Vec<Runs> = serde_json::from_str(include_str!("data/searches.json")).unwrap();
    let runs: Vec<Runs> = all.into_iter().filter(|runs| runs.sampler == sampler).collect();
    assert_eq!(runs.len(), 6, "ZDT1-4, ZDT6, DTLZ2");
    runs
}

/// The hypervolume of the last population.
fn search(runs: &Runs, survival: impl Survival, crossover: (f64, f64), seed: u64) -> f64 {
    let problem = runs.problem.as_str();
    let reals = Reals::new(bounds(problem), crossover);
    let mut search = Generational::start(reals, survival, runs.population, seed).unwrap();
    for _ in 0..runs.generations {
        let asked = search.ask(runs.population);
        assert_eq!(asked.len(), runs.population, "evaluations are to be equal");
        asked.iter().for_each(|x| search.tell(x, Some(&ObjectiveVector::feasible(costs(problem, x)))));
    }
    search.ask(1);
    let vectors: Vec<&[f64]> =
        search.population().iter().map(|member| member.vector.as_ref().unwrap().costs()).collect();
    hypervolume(&vectors, &vec![1.1; vectors[0].len()])
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let (count, mean) = (values.len() as f64, values.iter().sum::<f64>() / values.len() as f64);
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

/// Mean hypervolumes are no less than 1 % below pymoo's, and above them by `most` at most.
fn check<S: Survival>(sampler: &str, survival: impl Fn(&Runs) -> S, crossover: (f64, f64), most: f64) {
    for runs in of_pymoo(sampler) {
        // Where one differs from the next more than the others', more of them.
        let seeds = if runs.problem == "zdt4" { 6 } else { 4 };
        let found: Vec<f64> = (1..=seeds).map(|seed| search(&runs, survival(&runs), crossover, seed)).collect();
        let ((found, error), (expected, of_pymoo)) = (mean_and_error(&found), mean_and_error(&runs.hypervolumes));
        let ratio = found / expected;
        let line =
            format!("{sampler} on {}: {found:.4} ± {error:.4}, pymoo {expected:.4} ± {of_pymoo:.4}", runs.problem);
        println!("{line}: {:+.2} %", 100.0 * (ratio - 1.0));
        assert!((0.99..=1.0 + most).contains(&ratio), "{line}");
    }
}

#[test]
fn nsga2_is_as_good_as_pymoos() {
    check("nsga2", |_| RankAndCrowding, (0.9, 15.0), 0.01);
}

#[test]
fn nsga3_is_as_good_as_pymoos() {
    let survival = |runs: &Runs| {
        let objectives = if runs.problem == "dtlz2" { 3 } else { 2 };
        ReferenceDirections::new(das_dennis(objectives, runs.partitions))
    };
    check("nsga3", survival, (1.0, 30.0), 0.01);
}

#[test]
fn age_moea_is_as_good_as_pymoos() {
    // pymoo leaves the last front without scores where it is not the first.
    check("age_moea", |_| AdaptiveGeometry, (0.9, 15.0), 0.02);
}
