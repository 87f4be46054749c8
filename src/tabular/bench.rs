//! Strategies from many seeds on a table, and what they had found after each evaluation.
//!
//! With one objective the figure is the best value so far. With several it is the hypervolume of the front so far as a
//! fraction of that of the table's own front. The reference point is the worst value of each objective in the table, unless
//! another one is given. Means over seeds, with 95 % intervals by Student's t; gains over random search are paired by seed, as
//! strategies of one seed begin with the same draws.

use super::{Table, TableError};
use crate::genotype::Genotype;
use crate::objective::{Direction, ObjectiveVector, Objectives};
use crate::pareto::ParetoFront;
use crate::sampler::{Problem, Sampler, SamplerOptions};
use crate::statistics::mean_interval;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Instant;

/// The control that goes by counting.
const MACS: &str = "macs_top_k";
/// Trials that are asked for at once, as a study does.
const BATCH: usize = 16;

/// What is run.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The strategies; random search and counting MACs are added as controls.
    pub samplers: Vec<SamplerOptions>,
    /// Trials of a run.
    pub evaluations: usize,
    /// Runs of a strategy.
    pub seeds: usize,
    /// The first seed.
    pub seed: u64,
    /// Where hypervolumes are measured from, in the objectives' order and units.
    pub reference: Option<Vec<f64>>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Bench {
    /// The table's file.
    pub truth: String,
    /// Architectures that can be found.
    pub architectures: usize,
    /// How many of them there are if those are one that the space knows to be the same.
    pub distinct: usize,
    /// Rows left out since the network is dead, …
    pub dead: usize,
    /// … and since a value is missing.
    pub incomplete: usize,
    /// What is searched for.
    pub objectives: Vec<Summary>,
    /// What curves show: `best` or `hypervolume_fraction`.
    pub figure: &'static str,
    /// Which way that is better.
    pub direction: Direction,
    /// Where hypervolumes are measured from; none with one objective.
    pub reference_point: Option<Vec<f64>>,
    /// Rows on the table's own front.
    pub true_front: usize,
    /// Trials of a run.
    pub evaluations: usize,
    /// Runs of a strategy.
    pub seeds: usize,
    /// The first seed.
    pub seed: u64,
    /// The strategies in the order given, then the controls.
    pub samplers: Vec<Row>,
}

/// An objective, and what the table has of it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The column.
    pub name: String,
    /// Which way is better.
    pub direction: Direction,
    /// Mean of all rows.
    pub mean: f64,
    /// Median of all rows.
    pub median: f64,
    /// The best.
    pub best: f64,
}

/// A strategy.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub sampler: String,
    /// Whether it is a control.
    pub control: bool,
    /// Its options; none of the control by MACs.
    pub options: Option<SamplerOptions>,
    /// The figure at the end, over seeds.
    pub best_mean: f64,
    /// Its 95 % interval; none of one seed.
    pub best_ci95: Option<[f64; 2]>,
    /// How much better than random search of the same seed, in the figure's unit.
    pub gain_over_random: f64,
    /// Its 95 % interval; none of one seed.
    pub gain_ci95: Option<[f64; 2]>,
    /// Of one objective: how much better than the table's mean, percent of that (Yang et al. 2020's RI, of the best found).
    pub over_mean_pct: Option<f64>,
    /// The same of the table's median.
    pub over_median_pct: Option<f64>,
    /// Seconds that the strategy itself took, a run.
    pub sampler_s: f64,
    /// The figure after each evaluation.
    pub curve: Curve,
}

/// A figure after each evaluation; where a run has nothing left to ask for, it keeps its last one.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Evaluations: 1, 2, …
    pub evaluations: Vec<usize>,
    /// Mean over seeds.
    pub mean: Vec<f64>,
    /// 95 % interval of the mean; empty of one seed.
    pub ci95: Vec<[f64; 2]>,
}

/// Runs the strategies, as many at once as there are cores; `progress` is told of finished runs and their number.
///
/// # Errors
/// If a strategy can't be made for the table, or the reference point is not one of its objectives.
pub fn bench(
    table: &Table,
    options: &BenchOptions,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Bench, TableError> {
    let problem = table.problem();
    let macs = table.macs();
    let given = options.samplers.iter().filter(|given| **given != SamplerOptions::Random);
    let contenders: Vec<Option<&SamplerOptions>> =
        given.map(Some).chain([Some(&SamplerOptions::Random)]).chain(macs.is_some().then_some(None)).collect();
    for contender in contenders.iter().flatten() {
        start(contender, &problem, options.seed)?;
    }
    let figure = Figure::new(table, options.reference.as_deref())?;
    let (total, done) = (contenders.len() * options.seeds, std::sync::atomic::AtomicUsize::new(0));
    let run = |at: usize| {
        let seed = options.seed.wrapping_add((at % options.seeds) as u64);
        let sampler: Box<dyn Sampler> = match (contenders[at / options.seeds], &macs) {
            (Some(contender), _) => start(contender, &problem, seed)?,
            (None, macs) => Box::new(TopMacs::new(macs.as_deref().unwrap_or_default(), &problem, seed)),
        };
        let found = figure.follow(table, sampler, options.evaluations);
        progress(1 + done.fetch_add(1, std::sync::atomic::Ordering::Relaxed), total);
        Ok(found)
    };
    let runs: Vec<Run> = (0..total).into_par_iter().map(run).collect::<Result<_, TableError>>()?;
    let runs: Vec<&[Run]> = runs.chunks(options.seeds.max(1)).collect();
    let random = contenders.iter().position(|of| *of == Some(&SamplerOptions::Random)).unwrap_or(0);
    let objectives = summaries(table);
    let row = |(contender, of): (&Option<&SamplerOptions>, &&[Run])| {
        row(*contender, of, runs[random], (&figure, &objectives), options.evaluations)
    };
    Ok(Bench {
        truth: table.path.display().to_string(),
        architectures: table.len(),
        distinct: table.distinct,
        dead: table.dead,
        incomplete: table.incomplete,
        figure: if figure.reference.is_some() { "hypervolume_fraction" } else { "best" },
        direction: figure.direction,
        reference_point: figure.reference_point(&table.objectives),
        true_front: figure.true_front,
        evaluations: options.evaluations,
        seeds: options.seeds,
        seed: options.seed,
        samplers: contenders.iter().zip(&runs).map(row).collect(),
        objectives,
    })
}

fn start(options: &SamplerOptions, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, TableError> {
    options.sampler(problem, seed).map_err(|source| TableError::Sampler { sampler: options.name(), source })
}

fn row(
    contender: Option<&SamplerOptions>,
    runs: &[Run],
    random: &[Run],
    (figure, objectives): (&Figure, &[Summary]),
    evaluations: usize,
) -> Row {
    let at = |runs: &[Run], trial: usize| runs.iter().filter_map(|run| run.at(trial)).collect::<Vec<f64>>();
    let ends = at(runs, evaluations - 1);
    let (best, best_ci95) = mean_interval(&ends);
    let gains: Vec<f64> = ends
        .iter()
        .zip(at(random, evaluations - 1))
        .map(|(end, random)| figure.direction.cost(random) - figure.direction.cost(*end))
        .collect();
    let (gain, gain_ci95) = mean_interval(&gains);
    let points: Vec<_> = (0..evaluations).map(|trial| mean_interval(&at(runs, trial))).collect();
    let best_mean = best.unwrap_or(0.0);
    let over = |of: f64| {
        let better = figure.direction.cost(of) - figure.direction.cost(best_mean);
        (objectives.len() == 1 && of != 0.0).then(|| 100.0 * better / of.abs())
    };
    Row {
        sampler: contender.map_or_else(|| MACS.to_owned(), SamplerOptions::name),
        control: contender.is_none_or(|options| *options == SamplerOptions::Random),
        options: contender.cloned(),
        best_mean,
        best_ci95,
        gain_over_random: gain.unwrap_or(0.0),
        gain_ci95,
        over_mean_pct: over(objectives[0].mean),
        over_median_pct: over(objectives[0].median),
        sampler_s: runs.iter().map(|run| run.sampler_s).sum::<f64>() / runs.len().max(1) as f64,
        curve: Curve {
            evaluations: (1..=evaluations).collect(),
            mean: points.iter().map(|(mean, _)| mean.unwrap_or(0.0)).collect(),
            ci95: points.iter().filter_map(|(_, interval)| *interval).collect(),
        },
    }
}

fn summaries(table: &Table) -> Vec<Summary> {
    let of = |(at, objective): (usize, &crate::objective::Objective)| {
        let mut values: Vec<f64> = table.values().iter().map(|row| row[at]).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        let ends = [values[0], values[values.len() - 1]];
        Summary {
            name: objective.name.clone(),
            direction: objective.direction,
            mean: values.iter().sum::<f64>() / values.len() as f64,
            median: low + (high - low) / 2.0,
            best: ends[usize::from(objective.direction == Direction::Maximize)],
        }
    };
    table.objectives.as_slice().iter().enumerate().map(of).collect()
}

/// One run: the figure after each trial.
struct Run {
    figures: Vec<f64>,
    sampler_s: f64,
}

impl Run {
    fn at(&self, trial: usize) -> Option<f64> {
        self.figures.get(trial).or(self.figures.last()).copied()
    }
}

/// What is followed.
struct Figure {
    direction: Direction,
    /// Costs; none with one objective.
    reference: Option<Vec<f64>>,
    /// Hypervolume of the table's front.
    whole: f64,
    true_front: usize,
}

impl Figure {
    fn new(table: &Table, given: Option<&[f64]>) -> Result<Self, TableError> {
        let objectives = table.objectives.as_slice();
        let vectors: Vec<ObjectiveVector> =
            table.values().iter().filter_map(|values| table.objectives.vector(values).ok()).collect();
        let front: ParetoFront<usize> = vectors.iter().cloned().enumerate().collect();
        let true_front = front.len();
        if objectives.len() == 1 {
            return match given {
                None => Ok(Self { direction: objectives[0].direction, reference: None, whole: 0.0, true_front }),
                Some(_) => Err(TableError::Reference { reason: "has no use with one objective".to_owned() }),
            };
        }
        let reference: Vec<f64> = match given {
            Some(given) if given.len() != objectives.len() => {
                let reason =
                    format!("{} values, expected one for each of {} objectives", given.len(), objectives.len());
                return Err(TableError::Reference { reason });
            }
            Some(given) => {
                objectives.iter().zip(given).map(|(objective, value)| objective.direction.cost(*value)).collect()
            }
            None => (0..objectives.len())
                .map(|at| vectors.iter().map(|vector| vector.costs()[at]).fold(f64::NEG_INFINITY, f64::max))
                .collect(),
        };
        let whole = front.hypervolume(&reference);
        if whole <= 0.0 || !whole.is_finite() {
            let reason = "nothing in the table is better in every objective, expected one that has a hypervolume";
            return Err(TableError::Reference { reason: reason.to_owned() });
        }
        Ok(Self { direction: Direction::Maximize, reference: Some(reference), whole, true_front })
    }

    fn reference_point(&self, objectives: &Objectives) -> Option<Vec<f64>> {
        // A cost's cost is the value again.
        let value = |(objective, cost): (&crate::objective::Objective, &f64)| objective.direction.cost(*cost);
        Some(objectives.as_slice().iter().zip(self.reference.as_ref()?).map(value).collect())
    }

    fn follow(&self, table: &Table, mut sampler: Box<dyn Sampler>, evaluations: usize) -> Run {
        let mut front: ParetoFront<()> = ParetoFront::new();
        let (mut figures, mut sampler_s) = (Vec::with_capacity(evaluations), 0.0);
        while figures.len() < evaluations {
            let begin = Instant::now();
            let batch = sampler.ask(BATCH.min(evaluations - figures.len()));
            sampler_s += begin.elapsed().as_secs_f64();
            if batch.is_empty() {
                break;
            }
            for genotype in batch {
                let vector = table.value(&genotype).and_then(|values| table.objectives.vector(values).ok());
                let taken = vector.as_ref().is_some_and(|vector| front.insert((), vector.clone()));
                let begin = Instant::now();
                sampler.tell(&genotype, vector.as_ref());
                sampler_s += begin.elapsed().as_secs_f64();
                let last = figures.last().copied();
                figures.push(match last.filter(|_| !taken) {
                    Some(same) => same,
                    None => self.of(&front),
                });
            }
        }
        Run { figures, sampler_s }
    }

    fn of(&self, front: &ParetoFront<()>) -> f64 {
        match &self.reference {
            Some(reference) => front.hypervolume(reference) / self.whole,
            // Everything that is asked for has a value, so the front has a member.
            None => front.members().first().map_or(0.0, |(_, vector)| self.direction.cost(vector.costs()[0])),
        }
    }
}

/// The architectures with the most multiply-accumulates first; of equal ones, in an order of the seed.
struct TopMacs {
    order: VecDeque<Genotype>,
}

impl TopMacs {
    fn new(macs: &[(Genotype, u64)], problem: &Problem, seed: u64) -> Self {
        let mut order: Vec<&(Genotype, u64)> = macs.iter().collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        order.sort_by_key(|(_, macs)| std::cmp::Reverse(*macs));
        let mut seen = std::collections::HashSet::new();
        let new = |(genotype, _): &&(Genotype, u64)| problem.space.id(genotype).is_some_and(|id| seen.insert(id));
        Self { order: order.into_iter().filter(new).map(|(genotype, _)| genotype.clone()).collect() }
    }
}

impl Sampler for TopMacs {
    fn name(&self) -> &str {
        MACS
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        let count = n.min(self.order.len());
        self.order.drain(..count).collect()
    }

    fn tell(&mut self, _: &Genotype, _: Option<&ObjectiveVector>) {}
}
