mod options;

use super::*;
use crate::pareto::ParetoFront;
use std::collections::HashSet;

/// A space in which every genotype is an architecture of its own.
pub(super) fn space(choices: &[usize]) -> GeneSpace {
    let id = |genotype: &Genotype| Some(ArchId::new(crate::genotype::hex(genotype.genes())));
    GeneSpace::new(choices.to_vec(), Arc::new(id)).unwrap()
}

/// A space in which only the sum of the genes counts, and a sum of 0 can't be built.
pub(super) fn sums(choices: &[usize]) -> GeneSpace {
    let sum = |genotype: &Genotype| genotype.genes().iter().map(|&gene| u32::from(gene)).sum::<u32>();
    let id = move |genotype: &Genotype| (sum(genotype) > 0).then(|| ArchId::new(sum(genotype).to_string()));
    GeneSpace::new(choices.to_vec(), Arc::new(id)).unwrap()
}

fn nsga2(space: GeneSpace, seed: u64) -> Nsga2 {
    Nsga2::new(space, Nsga2Options { population: 16, ..Nsga2Options::default() }, seed).unwrap()
}

fn nsga3(space: GeneSpace, seed: u64) -> Nsga3 {
    Nsga3::new(&Problem::new(space, 2), &Nsga3Options::default(), seed).unwrap()
}

fn age_moea(space: GeneSpace, seed: u64) -> AgeMoea {
    AgeMoea::new(space, &GenerationalOptions { population: 16, ..GenerationalOptions::default() }, seed).unwrap()
}

/// Random search, and those that are to beat it.
fn samplers(space: &GeneSpace, seed: u64) -> [Box<dyn Sampler>; 4] {
    [
        Box::new(RandomSearch::new(space.clone(), seed)),
        Box::new(nsga2(space.clone(), seed)),
        Box::new(nsga3(space.clone(), seed)),
        Box::new(age_moea(space.clone(), seed)),
    ]
}

/// Two objectives, and two metrics that say something of them; the second fails for some architectures.
fn problem(space: &GeneSpace) -> Problem {
    let measure = |metric: usize, genotypes: &[Genotype]| {
        let value = |genotype: &Genotype| match metric {
            0 => Some(genotype.genes().iter().map(|&gene| f64::from(gene)).sum()),
            _ => evaluate(genotype, 4).map(|vector| 10.0 * (vector.costs()[1] / 10.0).round()),
        };
        genotypes.iter().map(value).collect()
    };
    let metrics = Metrics::new(vec!["sum".into(), "error".into()], Arc::new(measure));
    Problem { metrics: Some(metrics), ..Problem::new(space.clone(), 2) }
}

/// Every strategy, small enough for some rounds to pass in a hundred trials; and some with other options.
fn every() -> Vec<SamplerOptions> {
    let changed = [
        "ageing_evolution: {population: 12, tournament: 4, batch: 3, scalarize: {chebyshev: {weights: [1, 2]}}}",
        "ageing_evolution: {population: 12, tournament: 4, batch: 1, scalarize: rank_sum}",
        "teg_evolution: {population: 16, tournament: 8, batch: 5}",
        "local_search: {improvement: best, initial: 1, batch: 16}",
        "reinforce: {learning_rate: 0.1, batch: 8}",
        "te_nas: {samples: 6, scalarize: {weighted: {}}}",
        "robot: {evaluations: 8, pool: 200, batch: 7, scalarize: rank_sum}",
        "successive_halving: {eta: 2, batch: 5, levels: [[error]]}",
    ];
    let read = |text: &&str| crate::yaml::parse(text, std::path::Path::new("s.yaml")).unwrap();
    [SamplerOptions::all(), changed.iter().map(read).collect()].concat()
}

/// Asks for up to `outstanding` at a time, and tells some of them back in an order drawn by `shuffle` before it asks for
/// more.
fn run_out_of_order(sampler: &mut dyn Sampler, evaluations: usize, outstanding: usize, shuffle: u64) -> Vec<Genotype> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(shuffle);
    let (mut archive, mut open): (Vec<Genotype>, Vec<Genotype>) = (vec![], vec![]);
    loop {
        let room = (outstanding - open.len()).min(evaluations - archive.len());
        let asked = sampler.ask(room);
        archive.extend(asked.iter().cloned());
        open.extend(asked);
        if open.is_empty() {
            return archive;
        }
        for _ in 0..rng.random_range(1..=open.len()) {
            let genotype = open.swap_remove(rng.random_range(0..open.len()));
            sampler.tell(&genotype, evaluate(&genotype, 5).as_ref());
        }
    }
}

/// Two costs that pull against each other: an operator's price, and an error that falls with it by a gain of its own
/// in each place, and less beside an equal neighbour. One in `failing` architectures fails.
pub(super) fn evaluate(genotype: &Genotype, failing: usize) -> Option<ObjectiveVector> {
    let genes: Vec<usize> = genotype.genes().iter().map(|&gene| usize::from(gene)).collect();
    let hash = genes.iter().fold(7usize, |hash, gene| (hash * 31 + gene) % 10_007);
    if failing > 0 && hash % failing == 0 {
        return None;
    }
    let price = |at: usize, gene: usize| ((gene * 53 + at * 29) % 17 + 4 * gene) as f64;
    let gain = |at: usize, gene: usize| (5 * gene + (gene * gene * 13 + at * 41) % 19) as f64;
    let cost: f64 = genes.iter().enumerate().map(|(at, &gene)| price(at, gene)).sum();
    let pairs = genes.windows(2).filter(|pair| pair[0] == pair[1]).count() as f64;
    let quality: f64 = genes.iter().enumerate().map(|(at, &gene)| gain(at, gene)).sum::<f64>() - 8.0 * pairs;
    Some(ObjectiveVector::feasible(vec![cost, 300.0 - quality]))
}

/// Runs `sampler` for `evaluations`, asking for `batch` at once, and gives what it asked for.
pub(super) fn run(sampler: &mut dyn Sampler, evaluations: usize, batch: usize, failing: usize) -> Vec<Genotype> {
    let mut archive = vec![];
    while archive.len() < evaluations {
        let genotypes = sampler.ask(batch.min(evaluations - archive.len()));
        if genotypes.is_empty() {
            break;
        }
        for genotype in genotypes {
            sampler.tell(&genotype, evaluate(&genotype, failing).as_ref());
            archive.push(genotype);
        }
    }
    archive
}

pub(super) fn front_volume(archive: &[Genotype]) -> f64 {
    let vectors = archive.iter().filter_map(|genotype| Some(((), evaluate(genotype, 0)?)));
    vectors.collect::<ParetoFront<()>>().hypervolume(&[300.0, 300.0])
}

#[test]
fn generations_beat_random_search() {
    let check = |choices: &[usize], evaluations: usize| {
        const SEEDS: u64 = 24;
        let volumes: Vec<[f64; 4]> = (0..SEEDS)
            .map(|seed| {
                samplers(&space(choices), seed)
                    .map(|mut sampler| front_volume(&run(sampler.as_mut(), evaluations, 16, 0)))
            })
            .collect();
        for at in 1..4 {
            let gains: Vec<f64> = volumes.iter().map(|volumes| volumes[at] / volumes[0] - 1.0).collect();
            let mean = gains.iter().sum::<f64>() / SEEDS as f64;
            let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (SEEDS - 1) as f64;
            let error = (variance / SEEDS as f64).sqrt();
            assert!(mean > 4.0 * error, "{at}, {choices:?}: mean gain {mean} with a standard error of {error}");
        }
    };
    check(&[5; 6], 200);
    check(&[3; 8], 200);
}

#[test]
fn the_number_of_workers_does_not_count() {
    let space = space(&[4; 6]);
    for options in every() {
        let start = |seed: u64| options.sampler(&problem(&space), seed).unwrap();
        let alone = run_out_of_order(start(1).as_mut(), 120, 1, 0);
        assert_eq!(alone.len(), 120, "{options:?}");
        for (outstanding, shuffle) in [(2, 1), (8, 2), (8, 3), (16, 4), (120, 5)] {
            let archive = run_out_of_order(start(1).as_mut(), 120, outstanding, shuffle);
            assert_eq!(archive, alone, "{outstanding} outstanding: {options:?}");
        }
        let other = run_out_of_order(start(2).as_mut(), 120, 1, 0);
        assert!(other != alone || options == SamplerOptions::Grid, "{options:?}");

        // Resumed after 50 trials, by replaying them as a study does: in batches, as they were stored.
        let mut resumed = start(1);
        let replayed = run(resumed.as_mut(), 50, 16, 5);
        let rest = run(resumed.as_mut(), 70, 16, 5);
        assert_eq!([replayed, rest].concat(), alone, "{options:?}");
    }
}

#[test]
fn what_is_not_asked_for_is_ignored() {
    let space = space(&[4; 6]);
    for options in every() {
        let start = || options.sampler(&problem(&space), 1).unwrap();
        let mut sampler = start();
        let stranger = Genotype::new(vec![3, 3, 3, 3, 3, 3]);
        sampler.tell(&stranger, Some(&ObjectiveVector::feasible(vec![-1e9, -1e9])));
        assert_eq!(run(sampler.as_mut(), 60, 8, 0), run(start().as_mut(), 60, 8, 0), "{options:?}");
    }
}

/// Those that learn from trials, in one objective and in two, against as many random draws.
#[test]
fn searches_beat_random_search() {
    const SEEDS: u64 = 16;
    let space = space(&[5; 6]);
    let gain = |options: &SamplerOptions, volume: &dyn Fn(&[Genotype]) -> f64, objectives: usize| {
        let reached = |options: &SamplerOptions, seed: u64| {
            let mut sampler = options.sampler(&Problem::new(space.clone(), objectives), seed).unwrap();
            let mut archive = vec![];
            while archive.len() < 200 {
                for genotype in sampler.ask(200 - archive.len()) {
                    let vector = evaluate(&genotype, 0).unwrap();
                    let costs = vector.costs()[2 - objectives..].to_vec();
                    sampler.tell(&genotype, Some(&ObjectiveVector::feasible(costs)));
                    archive.push(genotype);
                }
            }
            volume(&archive)
        };
        let gains: Vec<f64> =
            (0..SEEDS).map(|seed| reached(options, seed) - reached(&SamplerOptions::Random, seed)).collect();
        let mean = gains.iter().sum::<f64>() / SEEDS as f64;
        let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (SEEDS - 1) as f64;
        mean / (variance / SEEDS as f64).sqrt()
    };
    let best = |archive: &[Genotype]| {
        archive.iter().map(|genotype| -evaluate(genotype, 0).unwrap().costs()[1]).fold(f64::NEG_INFINITY, f64::max)
    };
    let names = ["local_search", "ageing_evolution", "te_nas", "reinforce"];
    for options in SamplerOptions::all().iter().filter(|options| names.contains(&options.name().as_str())) {
        let (one, two) = (gain(options, &best, 1), gain(options, &front_volume, 2));
        // Pruning ends in one corner of the front; the policy's reward is a relative change.
        let wanted = match options.name().as_str() {
            "reinforce" => [2.0, f64::NEG_INFINITY],
            "te_nas" => [4.0, 0.0],
            _ => [4.0, 2.0],
        };
        assert!(one > wanted[0] && two > wanted[1], "{}: gains of {one} and {two} standard errors", options.name());
    }
}

#[test]
fn a_search_is_a_function_of_its_seed() {
    let space = space(&[4; 6]);
    for at in 0..4 {
        let archive = |seed: u64, batch: usize| run(samplers(&space, seed)[at].as_mut(), 100, batch, 5);
        assert_eq!(archive(1, 16), archive(1, 16));
        assert_eq!(archive(1, 16), archive(1, 1), "one at a time");
        assert_eq!(archive(1, 16), archive(1, 7), "across generations");
        assert_ne!(archive(1, 16), archive(2, 16));
    }
}

#[test]
fn the_first_generation_is_random_searchs() {
    let [mut random, mut others @ ..] = samplers(&sums(&[9; 8]), 3);
    let first = random.ask(16);
    others.iter_mut().for_each(|sampler| assert_eq!(sampler.ask(16), first, "{}", sampler.name()));
}

#[test]
fn the_order_of_telling_does_not_count() {
    let archive = |at: usize, backwards: bool| {
        let sampler = &mut samplers(&space(&[4; 6]), 4)[at];
        let mut archive = vec![];
        for _ in 0..6 {
            let mut genotypes = [sampler.ask(10), sampler.ask(10)].concat();
            assert_eq!((genotypes.len(), sampler.ask(1).len()), (16, 0), "waits for what is not told");
            archive.extend(genotypes.iter().cloned());
            if backwards {
                genotypes.reverse();
            }
            genotypes.iter().for_each(|genotype| sampler.tell(genotype, evaluate(genotype, 4).as_ref()));
        }
        archive
    };
    (1..4).for_each(|at| assert_eq!(archive(at, false), archive(at, true)));
}

#[test]
fn every_architecture_comes_once_until_none_is_left() {
    let check = |space: GeneSpace, architectures: usize| {
        for mut sampler in every().iter().map(|options| options.sampler(&problem(&space), 5).unwrap()) {
            let archive = run(sampler.as_mut(), usize::MAX, 16, 3);
            let ids: HashSet<ArchId> = archive.iter().map(|genotype| space.id(genotype).unwrap()).collect();
            assert_eq!((archive.len(), ids.len()), (architectures, architectures), "{}", sampler.name());
            assert!(sampler.ask(1).is_empty());
        }
    };
    check(space(&[5, 1, 4, 3]), 60);
    check(sums(&[3; 5]), 10);
    check(sums(&[1, 1]), 0);
}

#[test]
fn failed_trials_do_not_stop_a_search_and_do_not_breed() {
    for at in 1..4 {
        let sampler = &mut samplers(&space(&[5; 6]), 6)[at];
        for genotype in sampler.ask(16) {
            sampler.tell(&genotype, None);
        }
        assert_eq!(sampler.ask(16).len(), 16, "a generation of failures alone");

        let volume = |failing| -> f64 {
            let of = |seed| {
                let archive = run(samplers(&space(&[5; 6]), seed)[at].as_mut(), 160, 16, failing);
                let measured = archive.into_iter().filter(|genotype| evaluate(genotype, failing).is_some());
                front_volume(&measured.collect::<Vec<_>>())
            };
            (0..8).map(of).sum()
        };
        let (with, without) = (volume(3), volume(0));
        assert!(with > 0.9 * without, "{at}: {with} with failures, {without} without");
    }
}

#[test]
fn constraints_steer() {
    let limit = 90.0;
    for at in 1..4 {
        let sampler = &mut samplers(&space(&[5; 6]), 7)[at];
        let mut feasible = [0; 10];
        for count in &mut feasible {
            for genotype in sampler.ask(16) {
                let vector = evaluate(&genotype, 0).unwrap();
                let violation = (vector.costs()[0] / limit - 1.0).max(0.0);
                *count += usize::from(violation == 0.0);
                sampler.tell(&genotype, Some(&ObjectiveVector::new(vector.costs().to_vec(), violation)));
            }
        }
        assert!(feasible[0] < 8 && feasible[7..].iter().sum::<usize>() >= 33, "{at}: {feasible:?}");
    }
}

/// One objective, and five: nothing assumes two.
#[test]
fn any_number_of_objectives() {
    for objectives in [1, 5] {
        let (space, population) = (space(&[4; 6]), Some(20));
        let problem = Problem::new(space.clone(), objectives);
        let nsga3 = Nsga3Options { population, ..Default::default() };
        for options in [SamplerOptions::Nsga3(nsga3), SamplerOptions::AgeMoea(Default::default())] {
            let mut sampler = options.sampler(&problem, 3).unwrap();
            let mut means = vec![];
            for _ in 0..8 {
                let asked = sampler.ask(20);
                let price = |genotype: &Genotype| -> Vec<f64> {
                    (0..objectives)
                        .map(|k| genotype.genes().iter().map(|&gene| f64::from(gene) + k as f64).sum())
                        .collect()
                };
                means.push(asked.iter().map(|genotype| price(genotype)[0]).sum::<f64>() / asked.len() as f64);
                asked.iter().for_each(|x| sampler.tell(x, Some(&ObjectiveVector::feasible(price(x)))));
            }
            assert!(means[7] < means[0] - 2.0, "{objectives} objectives, {}: {means:?}", sampler.name());
        }
    }
}

/// Of the last quarter of 160 trials, more keep a hard bound than random search's.
#[test]
fn constraints_steer_every_search() {
    let feasible = |text: &str| {
        let options: SamplerOptions = crate::yaml::parse(text, std::path::Path::new("s.yaml")).unwrap();
        let mut feasible = 0;
        for seed in 0..4 {
            let mut sampler = options.sampler(&Problem::new(space(&[5; 6]), 2), seed).unwrap();
            let mut told = 0;
            while told < 160 {
                for genotype in sampler.ask(160 - told) {
                    let vector = evaluate(&genotype, 0).unwrap();
                    let violation = (vector.costs()[0] / 90.0 - 1.0).max(0.0);
                    feasible += usize::from(told >= 120 && violation == 0.0);
                    sampler.tell(&genotype, Some(&ObjectiveVector::new(vector.costs().to_vec(), violation)));
                    told += 1;
                }
            }
        }
        feasible
    };
    let options = [
        "random",
        "ageing_evolution: {population: 20}",
        "ageing_evolution: {population: 20, scalarize: {weighted: {}}}",
        "teg_evolution: {population: 20, tournament: 8}",
        "local_search: {}",
        "te_nas: {}",
        "reinforce: {learning_rate: 0.1}",
    ];
    let found = options.map(feasible);
    assert!(found[1..].iter().all(|count| *count > found[0] + 20), "{found:?} of 160: {options:?}");
}

/// So that a study of an earlier version is resumed: the same seed gives the same archive.
#[test]
fn archives_stay_what_they_were() {
    let check = |sampler: &mut dyn Sampler, failing: usize, expected: u64| {
        let archive = run(sampler, 200, 16, failing);
        let genes = archive.iter().flat_map(|genotype| genotype.genes());
        let digest = genes
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, &gene| (hash ^ u64::from(gene)).wrapping_mul(0x0000_0100_0000_01b3));
        assert_eq!(digest, expected, "{}", sampler.name());
    };
    check(&mut nsga2(space(&[5; 6]), 1), 0, 1_543_178_947_957_079_562);
    check(&mut nsga2(space(&[3, 7, 1, 2, 9]), 2), 4, 951_493_703_866_039_738);
}
