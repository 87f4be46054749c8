//! TE-NAS's pruning (Chen, Gong, Wang 2021: "Neural architecture search on ImageNet in four GPU hours"): from the whole space,
//! each round drops the choice of each decision whose loss costs least, until one architecture is left.
//!
//! There, the cost is the sum of two ranks, of the changes of κ and of linear regions of a supernet without the choice. Here
//! a sub-space stands for its supernet: the change is that of the mean over architectures drawn from it, each choice as often as
//! any other. With metrics it goes by those and needs no trials before the end; without, it asks for `samples` of each sub-space
//! and goes by the standing of what was told (scalarised by [`Scalarize`]). After the one that is left, it asks for the
//! others of the last sub-space, and so on outwards: by the metrics' rank sum, or at random.

use super::draws::Draws;
use super::metrics::Metrics;
use super::rounds::{InRounds, Rounds, Told};
use super::scalar::Scalarize;
use super::{Problem, Sampler, SamplerError, at_least};
use crate::genotype::Genotype;
use crate::statistics::ranks;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The most architectures of a sub-space that are put in order; of a larger one, so many are drawn.
const ORDERED: usize = 4096;

/// How TE-NAS prunes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeNasOptions {
    /// Architectures that are drawn from a sub-space; with metrics, so many for each choice of a decision.
    pub samples: usize,
    /// What is better, of several objectives, where there are no metrics.
    pub scalarize: Scalarize,
}

impl Default for TeNasOptions {
    fn default() -> Self {
        Self { samples: 20, scalarize: Scalarize::RankSum }
    }
}

impl TeNasOptions {
    /// The search at its start.
    ///
    /// # Errors
    /// If `samples` is 0, or weights don't fit the objectives.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        at_least("samples", self.samples, 1)?;
        self.scalarize.check(problem.objectives)?;
        let whole = problem.space.choices().iter().map(|&count| genes(count)).collect();
        Ok(Box::new(InRounds::new(TeNas {
            options: self.clone(),
            draws: Draws::new(problem.space.clone()),
            rng: ChaCha8Rng::seed_from_u64(seed),
            metrics: problem.metrics.clone(),
            spaces: vec![whole],
            told: vec![],
            outwards: None,
        })))
    }
}

/// The choices of each decision that are left.
type SubSpace = Vec<Vec<u8>>;

fn genes(count: usize) -> Vec<u8> {
    (0..count).map(|choice| u8::try_from(choice).expect("a decision has at most 256 choices")).collect()
}

struct TeNas {
    options: TeNasOptions,
    draws: Draws,
    rng: ChaCha8Rng,
    metrics: Option<Metrics>,
    /// The whole space first, then what pruning left.
    spaces: Vec<SubSpace>,
    told: Vec<Told>,
    /// What is left of the sub-space that is asked for, when pruning is over.
    outwards: Option<VecDeque<Genotype>>,
}

impl Rounds for TeNas {
    fn name(&self) -> &'static str {
        "te_nas"
    }

    fn next(&mut self, told: Vec<Told>) -> Vec<Genotype> {
        let mut begun = !told.is_empty() || !self.told.is_empty();
        self.told.extend(told);
        while self.outwards.is_none() && self.is_open() {
            if let Some(metrics) = self.metrics.clone() {
                let drawn = self.balanced(self.options.samples * self.widest());
                let values = (0..metrics.names().len()).map(|metric| metrics.filled(metric, &drawn)).collect();
                self.prune(&drawn, values);
                continue;
            }
            // By what the round before has told.
            if begun {
                self.prune_by_trials();
            }
            begun = true;
            if self.is_open() {
                let drawn = self.balanced(self.options.samples);
                let new: Vec<Genotype> = drawn.into_iter().filter(|genotype| self.draws.take(genotype)).collect();
                if !new.is_empty() {
                    return new;
                }
            }
        }
        self.outward()
    }
}

impl TeNas {
    fn space(&self) -> &SubSpace {
        self.spaces.last().expect("the whole space stays")
    }

    /// Whether there is something to prune.
    fn is_open(&self) -> bool {
        self.widest() > 1
    }

    fn widest(&self) -> usize {
        self.space().iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Architectures of the sub-space, each choice of a decision as often as any other, up to one.
    fn balanced(&mut self, count: usize) -> Vec<Genotype> {
        let space = self.spaces.last().expect("the whole space stays");
        let columns: Vec<Vec<u8>> = space
            .iter()
            .map(|choices| {
                let mut order = choices.clone();
                order.shuffle(&mut self.rng);
                let mut column: Vec<u8> = order.iter().copied().cycle().take(count).collect();
                column.shuffle(&mut self.rng);
                column
            })
            .collect();
        (0..count).map(|at| Genotype::new(columns.iter().map(|column| column[at]).collect())).collect()
    }

    fn prune_by_trials(&mut self) {
        let space = self.space();
        let inside = |told: &&Told| told.genotype.genes().iter().zip(space).all(|(gene, left)| left.contains(gene));
        let trials: Vec<&Told> = self.told.iter().filter(inside).collect();
        let vectors: Vec<_> = trials.iter().map(|told| told.vector.as_ref()).collect();
        let standings = self.options.scalarize.standings(&vectors);
        let worst = standings.iter().copied().filter(|standing| standing.is_finite()).fold(0.0, f64::max);
        let values = standings.into_iter().map(|standing| -standing.min(worst + 1.0)).collect();
        let genotypes: Vec<Genotype> = trials.iter().map(|told| told.genotype.clone()).collect();
        self.prune(&genotypes, vec![values]);
    }

    /// Drops from each decision the choice whose loss costs least, by the sum over metrics of the ranks among all choices.
    fn prune(&mut self, genotypes: &[Genotype], metrics: Vec<Vec<f64>>) {
        let space = self.space().clone();
        let places: Vec<(usize, u8)> =
            (0..space.len()).flat_map(|at| space[at].iter().map(move |&choice| (at, choice))).collect();
        let mut cost = vec![0.0; places.len()];
        for values in metrics {
            let lost: Vec<f64> = places
                .iter()
                .map(|&(at, choice)| {
                    let without = genotypes.iter().zip(&values).filter(|(genotype, _)| genotype.genes()[at] != choice);
                    mean(values.iter()).unwrap_or(0.0)
                        - mean(without.map(|(_, value)| value)).unwrap_or(f64::NEG_INFINITY)
                })
                .collect();
            cost.iter_mut().zip(ranks(&lost)).for_each(|(cost, rank)| *cost += rank);
        }
        let left = space.iter().enumerate().map(|(at, choices)| {
            let of =
                |choice: u8| places.iter().position(|&place| place == (at, choice)).map_or(0.0, |place| cost[place]);
            let least = choices.iter().copied().min_by(|&a, &b| of(a).total_cmp(&of(b)));
            choices.iter().copied().filter(|choice| choices.len() == 1 || Some(*choice) != least).collect()
        });
        let left = left.collect();
        self.spaces.push(left);
    }

    /// Those of the smallest sub-space that has some that are new.
    fn outward(&mut self) -> Vec<Genotype> {
        let mut next = vec![];
        while next.len() < self.options.samples {
            let mut left = match self.outwards.take() {
                Some(left) => left,
                None => self.ordered().into(),
            };
            match left.pop_front() {
                Some(genotype) => {
                    if self.draws.take(&genotype) {
                        next.push(genotype);
                    }
                    self.outwards = Some(left);
                }
                None if self.spaces.len() > 1 => {
                    self.spaces.pop();
                    self.outwards = Some(self.ordered().into());
                }
                None => {
                    self.outwards = Some(left);
                    match self.draws.draw(&mut self.rng) {
                        Some(genotype) => next.push(genotype),
                        None => break,
                    }
                }
            }
        }
        next
    }

    /// The sub-space's architectures, the most promising first.
    fn ordered(&mut self) -> Vec<Genotype> {
        let size: f64 = self.space().iter().map(|choices| choices.len() as f64).product();
        let mut genotypes = if size <= ORDERED as f64 { members(self.space()) } else { self.balanced(ORDERED) };
        genotypes.shuffle(&mut self.rng);
        let Some(metrics) = &self.metrics else { return genotypes };
        let mut sums = vec![0.0; genotypes.len()];
        for metric in 0..metrics.names().len() {
            let places = ranks(&metrics.filled(metric, &genotypes));
            sums.iter_mut().zip(places).for_each(|(sum, place)| *sum += place);
        }
        let mut order: Vec<usize> = (0..genotypes.len()).collect();
        order.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
        order.into_iter().map(|at| genotypes[at].clone()).collect()
    }
}

fn mean<'a>(values: impl Iterator<Item = &'a f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

/// All architectures of a sub-space.
fn members(space: &SubSpace) -> Vec<Genotype> {
    let extend = |rows: Vec<Vec<u8>>, choices: &Vec<u8>| {
        rows.iter().flat_map(|row| choices.iter().map(move |&choice| [&row[..], &[choice]].concat())).collect()
    };
    space.iter().fold(vec![vec![]], extend).into_iter().map(Genotype::new).collect()
}
