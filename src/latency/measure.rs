//! Timing several sessions in turns: a warm-up each, then rounds in a new order each, the reference model among them.
//!
//! ```text
//! round r:  reference | B (2 un-timed + 10 timed runs) | A | … | reference (every 10 models) | …
//! ```
//!
//! What disturbs the machine for a second disturbs one round of all models, not all rounds of one; what slows it for
//! minutes slows the reference as well. The rounds end when all intervals are narrow enough: models that were there in the
//! same rounds compare best. A model whose budget is spent leaves before.

use super::figures::{Figures, figures};
use super::protocol::{FEWEST_ROUNDS, Protocol};
use super::statistics::median;
use crate::runtime::{RuntimeError, Session};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The most runs in a turn, so that the samples of a tiny model stay few enough to be kept.
const MOST_RUNS: usize = 256;

/// A window of the warm-up is at least this long, and has 2 to 64 runs.
const WINDOW_S: f64 = 0.005;

/// Seconds of a turn of the reference, of which there is one between any two models': a machine whose pace jumps (a virtual
/// one, with neighbours) does so within a round, and only what ran just before and just after tells at which pace a turn was.
const REFERENCE_TURN_S: f64 = 0.002;
/// The fewest runs of such a turn.
const REFERENCE_RUNS: usize = 3;

/// A reference that runs shorter than this says nothing: it is the clock and the call that would be timed.
const SHORTEST_REFERENCE_S: f64 = 10e-6;

/// Un-timed runs of a turn refill caches that another model used; beside a run of this length they don't count.
const CACHES_S: f64 = 0.1;

/// Why a measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The interval is as narrow as was asked for, and so are those of all that took turns with it.
    NarrowInterval,
    /// The seconds of the protocol's budget are spent.
    TimeBudget,
    /// The protocol's most rounds are done.
    MostRounds,
}

/// What was found about one model; all times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// The very first run, which may compile, allocate and page in.
    pub first_run_s: f64,
    /// Runs of the warm-up, the first one included.
    pub warm_up_runs: usize,
    /// Whether the warm-up ended because two windows agreed.
    pub warm: bool,
    /// One time a run, by round, in the order of running.
    pub rounds: Vec<Vec<f64>>,
    /// The reference's time at each round, interpolated between its turns; empty where there is no reference.
    pub reference_s: Vec<f64>,
    /// Median times of the reference's turns from the first round to the last, in the order of running.
    pub reference_turns_s: Vec<f64>,
    /// Sessions of the model that took turns: round r is of session r mod this.
    pub loads: usize,
    /// Why it ended.
    pub stop: StopReason,
}

impl Samples {
    /// The median and its interval, the same for the same seed.
    pub fn figures(&self, seed: u64) -> Figures {
        figures(&self.rounds, &self.reference_s, self.loads, seed)
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The reference model.
    Reference,
    /// The model of this number.
    Model(usize),
}

/// The sessions that are measured, as [`measure_in_turns`] sees them.
pub trait Bench {
    /// Says whose turn begins; `false` ends everything: nobody waits for an answer. Where a model has several sessions
    /// (the protocol's `loads`), each turn is the next one's.
    fn turn(&mut self, who: Who) -> bool;

    /// Runs once; how many seconds it took.
    ///
    /// # Errors
    /// If the run fails, which ends the measurement of this one.
    fn run(&mut self, who: Who) -> Result<f64, RuntimeError>;

    /// The timed runs of one turn, in seconds.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    fn timed(&mut self, who: Who, runs: usize) -> Result<Vec<f64>, RuntimeError> {
        (0..runs).map(|_| self.run(who)).collect()
    }

    /// Seconds on a clock that goes on between runs.
    fn now(&self) -> f64;

    /// Takes the outcome of a model, as soon as it has one; `false` ends everything.
    fn done(&mut self, model: usize, outcome: Result<Samples, RuntimeError>) -> bool;

    /// There is no reference from now on, for this reason.
    fn without_reference(&mut self, reason: String);
}

/// Measures the models `0..count` of `bench`, beside the reference where it has one; each outcome goes to
/// [`Bench::done`].
pub fn measure_in_turns(bench: &mut dyn Bench, count: usize, has_reference: bool, protocol: &Protocol) {
    // Where the client is gone there is nobody to tell.
    let _ = turns(bench, count, has_reference, protocol);
}

/// The client is gone.
struct Gone;

fn turns(bench: &mut dyn Bench, count: usize, has_reference: bool, protocol: &Protocol) -> Result<(), Gone> {
    let mut reference = if has_reference { Reference::start(bench, protocol)? } else { None };
    let mut active = vec![];
    for number in 0..count {
        begin(bench, Who::Model(number))?;
        match Timed::start(bench, number, protocol) {
            Ok(timed) => active.push(timed),
            Err(error) => end(bench, number, Err(error))?,
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(protocol.seed ^ rng_stream(count));
    while !active.is_empty() {
        // This turn of the reference closes the last one of the round before it and opens the next one.
        Reference::take_turn(&mut reference, bench)?;
        let stops: Vec<Option<StopReason>> =
            active.iter().map(|timed| timed.stop(reference.as_ref(), protocol)).collect();
        let all = stops.iter().all(Option::is_some);
        for (timed, stop) in std::mem::take(&mut active).into_iter().zip(stops) {
            match stop {
                None => active.push(timed),
                Some(StopReason::NarrowInterval) if !all && timed.spent_s < protocol.budget_s => active.push(timed),
                Some(stop) => end(bench, timed.number, Ok(timed.samples(reference.as_ref(), protocol.loads, stop)))?,
            }
        }
        active.shuffle(&mut rng);
        let mut failed = vec![];
        for (at, timed) in active.iter_mut().enumerate() {
            if at > 0 {
                Reference::take_turn(&mut reference, bench)?;
            }
            begin(bench, Who::Model(timed.number))?;
            if let Err(error) = timed.turn(bench) {
                failed.push(timed.number);
                end(bench, timed.number, Err(error))?;
            }
        }
        active.retain(|timed| !failed.contains(&timed.number));
    }
    Ok(())
}

/// Another order for another number of models, so that nobody relies on one.
fn rng_stream(count: usize) -> u64 {
    ChaCha8Rng::seed_from_u64(count as u64).random()
}

fn begin(bench: &mut dyn Bench, who: Who) -> Result<(), Gone> {
    if bench.turn(who) { Ok(()) } else { Err(Gone) }
}

fn end(bench: &mut dyn Bench, number: usize, outcome: Result<Samples, RuntimeError>) -> Result<(), Gone> {
    if bench.done(number, outcome) { Ok(()) } else { Err(Gone) }
}

/// Times one `session`, whose inputs are bound, by `protocol`, without a reference.
///
/// # Errors
/// If a run fails.
pub fn measure(session: &mut dyn Session, protocol: &Protocol) -> Result<Samples, RuntimeError> {
    struct Alone<'a>(&'a mut dyn Session, Instant, Option<Result<Samples, RuntimeError>>);

    impl Bench for Alone<'_> {
        fn turn(&mut self, _: Who) -> bool {
            true
        }

        fn run(&mut self, _: Who) -> Result<f64, RuntimeError> {
            let start = Instant::now();
            self.0.run()?;
            Ok(start.elapsed().as_secs_f64())
        }

        fn now(&self) -> f64 {
            self.1.elapsed().as_secs_f64()
        }

        fn done(&mut self, _: usize, outcome: Result<Samples, RuntimeError>) -> bool {
            self.2 = Some(outcome);
            true
        }

        fn without_reference(&mut self, _: String) {}
    }

    // There is one session to be had.
    let protocol = &Protocol { loads: 1, ..protocol.clone() };
    let mut alone = Alone(session, Instant::now(), None);
    measure_in_turns(&mut alone, 1, false, protocol);
    alone.2.expect("a model's measurement has an outcome")
}

/// The reference's turns so far.
struct Reference {
    untimed: usize,
    runs: usize,
    /// Time in the middle of the turn, and the median of its runs.
    turns: Vec<(f64, f64)>,
}

impl Reference {
    fn start(bench: &mut dyn Bench, protocol: &Protocol) -> Result<Option<Self>, Gone> {
        begin(bench, Who::Reference)?;
        let reason = match warm_up(bench, Who::Reference, protocol) {
            Err(error) => error.to_string(),
            Ok(warm_up) if warm_up.run_s < SHORTEST_REFERENCE_S => {
                format!("it runs in less than {:.0} µs", SHORTEST_REFERENCE_S * 1e6)
            }
            Ok(warm_up) => {
                let runs = runs_for(REFERENCE_TURN_S, warm_up.run_s).max(REFERENCE_RUNS);
                return Ok(Some(Self { untimed: untimed_runs(protocol, warm_up.run_s), runs, turns: vec![] }));
            }
        };
        bench.without_reference(reason);
        Ok(None)
    }

    fn take_turn(reference: &mut Option<Self>, bench: &mut dyn Bench) -> Result<(), Gone> {
        let Some(known) = reference else { return Ok(()) };
        begin(bench, Who::Reference)?;
        match turn(bench, Who::Reference, known.untimed, known.runs) {
            Ok((at, samples)) => known.turns.push((at, median(&samples))),
            Err(error) => {
                *reference = None;
                bench.without_reference(error.to_string());
            }
        }
        Ok(())
    }

    /// Its time at `at`: on the line between the turns before and after.
    fn time_at(&self, at: f64) -> f64 {
        let after = self.turns.partition_point(|turn| turn.0 < at);
        match (self.turns.get(after.wrapping_sub(1)), self.turns.get(after)) {
            (Some(&(t0, s0)), Some(&(t1, s1))) => s0 + (s1 - s0) * (at - t0) / (t1 - t0),
            (Some(&(_, s)), None) | (None, Some(&(_, s))) => s,
            (None, None) => unreachable!("its turn comes before any model's"),
        }
    }

    /// Medians of the turns from the last one before `from` to the first one after `to`.
    fn turns_between(&self, from: f64, to: f64) -> Vec<f64> {
        let first = self.turns.partition_point(|turn| turn.0 < from).saturating_sub(1);
        let last = self.turns.partition_point(|turn| turn.0 < to).min(self.turns.len().saturating_sub(1));
        self.turns[first..=last].iter().map(|turn| turn.1).collect()
    }
}

/// A model in the rounds.
struct Timed {
    number: usize,
    first_run_s: f64,
    warm_up: WarmUp,
    untimed: usize,
    runs: usize,
    rounds: Vec<Vec<f64>>,
    /// When each round was in its middle.
    at: Vec<f64>,
    spent_s: f64,
}

impl Timed {
    fn start(bench: &mut dyn Bench, number: usize, protocol: &Protocol) -> Result<Self, RuntimeError> {
        let first_run_s = bench.run(Who::Model(number))?;
        let warm_up = warm_up(bench, Who::Model(number), protocol)?;
        let (untimed, runs) = (untimed_runs(protocol, warm_up.run_s), runs_per_turn(protocol, warm_up.run_s));
        Ok(Self { number, first_run_s, warm_up, untimed, runs, rounds: vec![], at: vec![], spent_s: 0.0 })
    }

    fn turn(&mut self, bench: &mut dyn Bench) -> Result<(), RuntimeError> {
        let (at, samples) = turn(bench, Who::Model(self.number), self.untimed, self.runs)?;
        self.spent_s += samples.iter().sum::<f64>();
        self.rounds.push(samples);
        self.at.push(at);
        Ok(())
    }

    fn reference_s(&self, reference: Option<&Reference>) -> Vec<f64> {
        reference.map_or(vec![], |reference| self.at.iter().map(|&at| reference.time_at(at)).collect())
    }

    fn stop(&self, reference: Option<&Reference>, protocol: &Protocol) -> Option<StopReason> {
        let rounds = self.rounds.len();
        let spent = self.spent_s >= protocol.budget_s;
        if rounds < FEWEST_ROUNDS || (rounds < protocol.rounds && !spent) {
            return None;
        }
        let narrow = || {
            let figures = figures(&self.rounds, &self.reference_s(reference), protocol.loads, protocol.seed);
            figures.half_width() <= protocol.target_half_width
        };
        match () {
            () if rounds >= protocol.rounds && narrow() => Some(StopReason::NarrowInterval),
            () if spent => Some(StopReason::TimeBudget),
            () if rounds >= protocol.max_rounds => Some(StopReason::MostRounds),
            () => None,
        }
    }

    fn samples(self, reference: Option<&Reference>, loads: usize, stop: StopReason) -> Samples {
        let (from, to) = (self.at[0], self.at[self.at.len() - 1]);
        Samples {
            first_run_s: self.first_run_s,
            warm_up_runs: self.warm_up.runs + 1,
            warm: self.warm_up.warm,
            reference_s: self.reference_s(reference),
            reference_turns_s: reference.map_or(vec![], |reference| reference.turns_between(from, to)),
            rounds: self.rounds,
            loads,
            stop,
        }
    }
}

/// One turn: the time in the middle of its timed runs, and these.
fn turn(bench: &mut dyn Bench, who: Who, untimed: usize, runs: usize) -> Result<(f64, Vec<f64>), RuntimeError> {
    for _ in 0..untimed {
        bench.run(who)?;
    }
    let begin = bench.now();
    let samples = bench.timed(who, runs)?;
    Ok(((begin + bench.now()) / 2.0, samples))
}

struct WarmUp {
    runs: usize,
    warm: bool,
    /// Median of the last window.
    run_s: f64,
}

fn warm_up(bench: &mut dyn Bench, who: Who, protocol: &Protocol) -> Result<WarmUp, RuntimeError> {
    let second = bench.run(who)?;
    let window = runs_for(WINDOW_S, second).clamp(2, 64);
    let (mut runs, mut spent, mut before) = (1, second, None::<f64>);
    loop {
        let samples = (0..window).map(|_| bench.run(who)).collect::<Result<Vec<f64>, _>>()?;
        runs += window;
        spent += samples.iter().sum::<f64>();
        let run_s = median(&samples);
        if let Some(before) = before {
            let warm = (run_s - before).abs() <= protocol.warm_up_agreement * before;
            if warm || spent >= protocol.warm_up_s {
                return Ok(WarmUp { runs, warm, run_s });
            }
        }
        before = Some(run_s);
    }
}

fn untimed_runs(protocol: &Protocol, run_s: f64) -> usize {
    if run_s < CACHES_S { protocol.untimed_runs } else { 0 }
}

/// As many as the protocol wants, unless the rounds would then not fit the budget.
fn runs_per_turn(protocol: &Protocol, run_s: f64) -> usize {
    let wanted = runs_for(protocol.min_round_s, run_s).min(MOST_RUNS).max(protocol.runs_per_round);
    let affordable = (protocol.budget_s / (protocol.rounds as f64 * run_s)) as usize;
    wanted.min(affordable).max(1)
}

/// How many runs of `run_s` take `seconds`. (A float that is too large becomes the largest integer.)
fn runs_for(seconds: f64, run_s: f64) -> usize {
    (seconds / run_s).ceil() as usize
}

#[cfg(test)]
mod tests;
