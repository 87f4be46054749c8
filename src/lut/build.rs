//! Building a table: networks are timed in rounds until their cross-validated error stops to get less.
//!
//! Some of the networks are drawn at random, since only their errors are those of the space; the others are chosen for what
//! they tell about the operators. Operators that none of the timed networks has are timed in chains of their own.

use super::LutError;
use super::anchors::{Anchors, TOGETHER};
use super::assemble;
use super::choose::Design;
use super::counted;
use super::features::{Extractor, Network, network, remove};
use super::fit::Fit;
use super::journal::{Begin, Journal};
use super::operator::{Costs, Counts, OpCost, count};
use super::options::{BuildEvent, BuildOptions, Observer};
use super::table::{FailedEntry, LatencyTable, Method, Role, Timed};
use crate::device::{Device, DeviceError, Job};
use crate::genotype::ArchId;
use crate::graph::Graph;
use crate::latency::Measurement;
use crate::latency::statistics::median;
use crate::space::SearchSpace;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::time::Instant;

/// Networks whose operators are looked at, to choose from.
const POOL: usize = 240;
/// The part of the budget that looking at them may take.
const POOL_SHARE: f64 = 0.3;
/// Networks drawn at random in the first round, and in each later one.
const RANDOM: [usize; 2] = [20, 20];
/// Networks chosen in the first round, and in each later one.
const CHOSEN: [usize; 2] = [20, 10];
/// Random networks that the intervals need: with 60 errors, "90 %" covers 86 to 94 % most of the time.
const RANDOM_WANTED: usize = 60;
/// The most rounds.
const ROUNDS: usize = 10;
/// An error that is not this much less than the best before is no progress.
const PROGRESS: f64 = 0.03;
/// The fewest timed networks that a table is made of.
const FEWEST: usize = 5;
/// Further networks that are looked at for operators that the timed ones lack.
const RARE: usize = 1000;
/// The most operators that are timed in chains, and the lengths of a chain.
const CHAINS: usize = 24;
const LENGTHS: [usize; 2] = [2, 8];

/// Builds the table of `space` on `device`. What is found is kept in the file at `journal` at once; with what an earlier run
/// left there, the build goes on.
///
/// # Errors
/// If the device can't be used, too few networks can be measured, or the observer interrupts it.
pub fn build(
    space: &SearchSpace,
    device: &mut dyn Device,
    options: &BuildOptions,
    journal: &Path,
    observer: &mut dyn Observer,
) -> Result<LatencyTable, LutError> {
    let begin = Begin {
        tegu: env!("CARGO_PKG_VERSION").to_owned(),
        profile: device.profile().clone(),
        space: options.space.clone(),
        definition: space.definition().clone(),
        method: options.method,
        seed: options.seed,
    };
    let journal = Journal::open(journal, begin)?;
    device.check()?;
    let extractor = extractor(journal.method, device)?;
    let mut builder =
        Builder { space, device, options, journal, extractor, begun: Instant::now(), observer, error: None };
    builder.draw_and_time()?;
    builder.table()
}

/// A network of the pool; its operators, where they could be had.
struct Pooled {
    network: Network,
    counts: Option<Counts>,
}

/// Something to time.
struct Task<'a> {
    arch: String,
    arch_id: Option<ArchId>,
    role: Role,
    counts: Counts,
    graph: &'a Graph,
}

struct Builder<'a> {
    space: &'a SearchSpace,
    device: &'a mut dyn Device,
    options: &'a BuildOptions,
    journal: Journal,
    extractor: Extractor,
    begun: Instant,
    observer: &'a mut dyn Observer,
    error: Option<f64>,
}

impl Builder<'_> {
    fn draw_and_time(&mut self) -> Result<(), LutError> {
        let mut pool = self.pool()?;
        self.look_at(&mut pool)?;
        pool.retain(|pooled| pooled.counts.is_some());
        if self.extractor.method() == Method::Micro {
            self.operators_alone(&pool)?;
            return self.time(pool.iter().take(RANDOM_WANTED).map(|pooled| task(pooled, Role::Random)).collect());
        }
        self.rounds(&pool)?;
        self.chains(&pool)
    }

    fn spent_s(&self) -> f64 {
        self.journal.before_s + self.begun.elapsed().as_secs_f64()
    }

    fn left_s(&self) -> f64 {
        (self.options.budget.as_secs_f64() - self.spent_s()).max(0.0)
    }

    /// Living architectures drawn at random, each once.
    fn pool(&self) -> Result<Vec<Pooled>, LutError> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed);
        let (mut pool, mut known) = (vec![], HashSet::new());
        for _ in 0..20 * POOL {
            if pool.len() == POOL {
                break;
            }
            let drawn = network(self.space, &self.space.sample(&mut rng))?;
            if let Some(network) = drawn.filter(|network| known.insert(network.arch_id.clone())) {
                pool.push(Pooled { network, counts: None });
            }
        }
        Ok(pool)
    }

    /// Finds the operators of the pool's networks, as far as the budget's share goes.
    fn look_at(&mut self, pool: &mut [Pooled]) -> Result<(), LutError> {
        let total = pool.len();
        for (at, pooled) in pool.iter_mut().enumerate() {
            let id = pooled.network.arch_id.clone();
            pooled.counts = self.journal.counts.get(&id).cloned();
            if pooled.counts.is_some() || self.journal.failed.iter().any(|failed| failed.entry == pooled.network.arch) {
                continue;
            }
            let enough = at >= RANDOM[0] + CHOSEN[0];
            if enough && self.spent_s() > POOL_SHARE * self.options.budget.as_secs_f64() {
                tracing::info!("the operators of {at} networks are known: the time for more is over");
                break;
            }
            match self.operators(&pooled.network.graph) {
                Ok((counts, costs)) => {
                    self.journal.put_counts(self.spent_s(), Some(&id), &counts, &costs)?;
                    pooled.counts = Some(counts);
                }
                Err(LutError::Device(error)) => {
                    let (entry, reason) = (pooled.network.arch.clone(), error.to_string());
                    self.journal.put_failed(self.spent_s(), FailedEntry { entry, reason })?;
                }
                Err(error) => return Err(error),
            }
            self.observer.on(BuildEvent::Operators { done: at + 1, total });
            self.go_on()?;
        }
        Ok(())
    }

    fn operators(&mut self, graph: &Graph) -> Result<(Counts, Costs), LutError> {
        let mut costs = Costs::new();
        let found = match self.extractor.operators(graph, self.device) {
            Err(LutError::Device(error)) if error.is_unavailable() && self.journal.counts.is_empty() => {
                tracing::info!("operators are counted in our own graph: {error}");
                self.journal.put_method(self.spent_s(), Method::Counted)?;
                self.extractor = extractor(Method::Counted, self.device)?;
                self.extractor.operators(graph, self.device)?
            }
            found => found?,
        };
        let counts = count(found, &mut costs);
        Ok((counts, costs))
    }

    fn go_on(&self) -> Result<(), LutError> {
        if self.observer.interrupted() { Err(LutError::Interrupted) } else { Ok(()) }
    }

    fn rounds(&mut self, pool: &[Pooled]) -> Result<(), LutError> {
        let (mut best, mut idle) = (f64::INFINITY, 0);
        let reserved = (RANDOM[0] + (ROUNDS - 1) * RANDOM[1]).min(pool.len() / 2);
        for round in 0..ROUNDS {
            // The pool itself is a random sample: its first networks are the random ones, whatever is chosen.
            let random = (RANDOM[0] + round * RANDOM[1]).min(reserved);
            let mut tasks: Vec<Task> = pool[..random].iter().map(|pooled| task(pooled, Role::Random)).collect();
            let chosen = self.choose(&pool[reserved..], CHOSEN[0] + round * CHOSEN[1], &tasks);
            tasks.extend(chosen.into_iter().map(|pooled| task(pooled, Role::Chosen)));
            self.time(tasks)?;
            if self.left_s() <= 0.0 || self.journal.timed.len() < FEWEST {
                break;
            }
            let error = self.left_out_error();
            self.error = Some(error);
            idle = if error < best * (1.0 - PROGRESS) { 0 } else { idle + 1 };
            best = best.min(error);
            if (idle >= 2 && random >= RANDOM_WANTED) || random == reserved {
                break;
            }
        }
        Ok(())
    }

    /// Median relative error of random networks that the fit did not have.
    fn left_out_error(&self) -> f64 {
        let (_, costs, rows) = assemble::rows(&self.journal.timed, &self.journal.costs);
        let fit = Fit::new(&costs, &rows);
        let errors = fit.left_out(&costs, &rows);
        let of_random = self.journal.timed.iter().zip(&errors).filter(|(timed, _)| timed.role == Role::Random);
        let magnitudes: Vec<f64> = of_random.map(|(_, error)| error.abs()).collect();
        if magnitudes.is_empty() { f64::INFINITY } else { median(&magnitudes) }
    }

    /// The `most` networks of `candidates` that tell most beside `tasks`; those that are timed already first.
    fn choose<'p>(&self, candidates: &'p [Pooled], most: usize, tasks: &[Task]) -> Vec<&'p Pooled> {
        let keys: Vec<&String> = self.journal.costs.keys().collect();
        let place = |key: &String| keys.binary_search(&key).expect("each counted operator has a cost");
        let shares = |counts: &Counts| -> Vec<(usize, f64)> {
            let guesses: Vec<(usize, f64)> =
                counts.iter().map(|(key, n)| (place(key), f64::from(*n) * guess(&self.journal.costs[key]))).collect();
            let total: f64 = guesses.iter().map(|(_, guess)| guess).sum();
            guesses.into_iter().map(|(at, guess)| (at, guess / total.max(f64::MIN_POSITIVE))).collect()
        };
        let mut design = Design::new(keys.len());
        tasks.iter().for_each(|task| design.take(&shares(&task.counts)));
        let of = |pooled: &Pooled| pooled.counts.as_ref().map(&shares).unwrap_or_default();
        let all: Vec<Vec<(usize, f64)>> = candidates.iter().map(of).collect();
        let done = |at: &usize| {
            self.journal
                .timed
                .iter()
                .any(|timed| timed.role == Role::Chosen && timed.arch == candidates[*at].network.arch)
        };
        let mut chosen: Vec<usize> = (0..candidates.len()).filter(done).take(most).collect();
        chosen.iter().for_each(|&at| design.take(&all[at]));
        while chosen.len() < most {
            let left = (0..candidates.len()).filter(|at| {
                !chosen.contains(at) && !self.journal.failed.iter().any(|f| f.entry == candidates[*at].network.arch)
            });
            let Some(next) = design.next(left.map(|at| (at, all[at].as_slice()))) else { break };
            chosen.push(next);
        }
        chosen.into_iter().map(|at| &candidates[at]).collect()
    }

    /// Times what of `tasks` was not tried yet, while the budget lasts.
    fn time(&mut self, tasks: Vec<Task>) -> Result<(), LutError> {
        let new: Vec<Task> = tasks.into_iter().filter(|task| !self.journal.knows(&task.arch)).collect();
        let total = self.journal.timed.len() + new.len();
        for together in new.chunks(TOGETHER) {
            // A table needs a few networks whatever the budget.
            if self.left_s() <= 0.0 && self.journal.timed.len() >= 2 * FEWEST {
                break;
            }
            self.go_on()?;
            let export = |task: &Task| {
                let model = self.extractor.export(task.graph)?;
                Ok(Job { arch_id: task.arch_id.clone(), ..Job::of_model(model) })
            };
            let jobs: Vec<Job> = together.iter().map(export).collect::<Result<_, LutError>>()?;
            let answers = match self.anchors()? {
                Some(anchors) => anchors.measure(self.device, &jobs),
                None => self.device.measure_all(&jobs),
            };
            for ((task, job), answer) in together.iter().zip(&jobs).zip(answers) {
                remove(&job.model);
                self.keep(task, answer)?;
            }
            let (done, error, left_s) = (self.journal.timed.len(), self.error, Some(self.left_s()));
            self.observer.on(BuildEvent::Timed { done, total, error, left_s });
        }
        Ok(())
    }

    fn anchors(&mut self) -> Result<Option<Anchors>, LutError> {
        let pace = self.journal.measurement.as_ref().and_then(Measurement::pace);
        Anchors::of(&self.journal.timed, pace, self.space, &mut self.extractor)
    }

    fn keep(&mut self, task: &Task, answer: Result<Measurement, DeviceError>) -> Result<(), LutError> {
        let at_s = self.spent_s();
        match answer {
            Ok(measured) if measured.p50_ms <= 0.0 => {
                let reason = "measured as 0 ms: faster than the clock tells".to_owned();
                self.journal.put_failed(at_s, FailedEntry { entry: task.arch.clone(), reason })
            }
            Ok(mut measured) => {
                if let Some(pace) = self.journal.measurement.as_ref().and_then(Measurement::pace) {
                    measured.state_for(&pace);
                }
                let timed = Timed {
                    arch: task.arch.clone(),
                    arch_id: task.arch_id.clone(),
                    role: task.role,
                    p50_ms: measured.p50_ms,
                    ci95_ms: measured.ci95_ms,
                    rounds: measured.rounds,
                    counts: task.counts.clone(),
                };
                self.journal.put_timed(at_s, timed, &measured)
            }
            Err(error) if error.is_unavailable() => Err(error.into()),
            Err(error) => {
                tracing::warn!("{}: {error}", task.arch);
                self.journal.put_failed(at_s, FailedEntry { entry: task.arch.clone(), reason: error.to_string() })
            }
        }
    }

    /// Times chains of operators that rare networks have and none of the timed ones.
    fn chains(&mut self, pool: &[Pooled]) -> Result<(), LutError> {
        let timed: HashSet<&ArchId> = self.journal.timed.iter().filter_map(|timed| timed.arch_id.as_ref()).collect();
        let mut covered: BTreeSet<String> = BTreeSet::new();
        for pooled in pool.iter().filter(|pooled| timed.contains(&pooled.network.arch_id)) {
            covered.extend(self.extractor.groups(&pooled.network.graph).into_iter().map(|group| group.operator.key));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed ^ 0x7261_7265);
        let mut found: Vec<(String, Graph)> = vec![];
        for _ in 0..RARE {
            let Some(network) = network(self.space, &self.space.sample(&mut rng))? else { continue };
            for group in self.extractor.groups(&network.graph) {
                let new = found.len() < CHAINS * LENGTHS.len() && covered.insert(group.operator.key.clone());
                for repeats in LENGTHS.into_iter().filter(|_| new) {
                    let chain = counted::chain(&network.graph, &group, repeats)?;
                    found.extend(chain.map(|chain| (format!("{repeats} × {}", group.operator.key), chain)));
                }
                if new && found.last().is_none_or(|(name, _)| !name.ends_with(&group.operator.key)) {
                    let alone = counted::chain(&network.graph, &group, 1)?;
                    found.extend(alone.map(|alone| (format!("1 × {}", group.operator.key), alone)));
                }
            }
        }
        self.time_chains(&found)
    }

    /// Times each operator of the pool alone.
    fn operators_alone(&mut self, pool: &[Pooled]) -> Result<(), LutError> {
        let (mut known, mut found) = (BTreeSet::new(), vec![]);
        for pooled in pool {
            for group in self.extractor.groups(&pooled.network.graph) {
                if known.insert(group.operator.key.clone()) {
                    let alone = counted::chain(&pooled.network.graph, &group, 1)?;
                    found.extend(alone.map(|alone| (format!("1 × {}", group.operator.key), alone)));
                }
            }
        }
        self.time_chains(&found)
    }

    fn time_chains(&mut self, chains: &[(String, Graph)]) -> Result<(), LutError> {
        let mut tasks = vec![];
        for (name, graph) in chains.iter().filter(|(name, _)| !self.journal.knows(name)).collect::<Vec<_>>() {
            match self.operators(graph) {
                Ok((counts, costs)) => {
                    self.journal.put_counts(self.spent_s(), None, &counts, &costs)?;
                    tasks.push(Task { arch: name.clone(), arch_id: None, role: Role::Chain, counts, graph });
                }
                Err(LutError::Device(error)) => {
                    let failed = FailedEntry { entry: name.clone(), reason: error.to_string() };
                    self.journal.put_failed(self.spent_s(), failed)?;
                }
                Err(error) => return Err(error),
            }
        }
        self.time(tasks)
    }

    fn table(self) -> Result<LatencyTable, LutError> {
        let networks = self.journal.timed.iter().filter(|timed| timed.role != Role::Chain).count();
        if networks < FEWEST {
            let first = self.journal.failed.first().map(|failed| failed.reason.clone());
            return Err(LutError::TooFew { measured: networks, wanted: FEWEST, first });
        }
        Ok(assemble::table(self.options, self.journal))
    }
}

fn extractor(method: Method, device: &dyn Device) -> Result<Extractor, LutError> {
    Extractor::new(method, device.profile().batch, device.profile().precision)
}

fn task(pooled: &Pooled, role: Role) -> Task<'_> {
    let Pooled { network, counts } = pooled;
    let counts = counts.clone().unwrap_or_default();
    Task { arch: network.arch.clone(), arch_id: Some(network.arch_id.clone()), role, counts, graph: &network.graph }
}

/// About what an operator takes, in µs: only shares of it count.
fn guess(cost: &OpCost) -> f64 {
    1.0 + cost.macs / 3e4 + cost.grouped_macs / 5e3 + cost.elements / 1e4
}
