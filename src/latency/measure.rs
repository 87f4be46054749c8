//! Timing a session: the first run, a warm-up until it is warm, rounds until the interval is narrow enough.

use super::protocol::{FEWEST_ROUNDS, Protocol};
use super::statistics::{median, median_interval, round_medians};
use crate::runtime::{RuntimeError, Session};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The most runs in a round, so that the samples of a tiny model stay few enough to be kept.
const MOST_RUNS: usize = 256;

/// A window of the warm-up is at least this long, and has 2 to 64 runs.
const WINDOW_S: f64 = 0.005;

/// Why a measurement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The interval is as narrow as was asked for.
    NarrowInterval,
    /// The seconds of the protocol's budget are spent.
    TimeBudget,
    /// The protocol's most rounds are done.
    MostRounds,
}

/// What [`measure`] found; all times in seconds.
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
    /// Median of the rounds' medians.
    pub p50_s: f64,
    /// Its 95 % interval.
    pub ci95_s: (f64, f64),
    /// Why it ended.
    pub stop: StopReason,
}

impl Samples {
    /// Half the interval's width as a fraction of the median.
    pub fn half_width(&self) -> f64 {
        half_width(self.p50_s, self.ci95_s)
    }
}

/// Times `session`, whose inputs are bound, by `protocol`.
///
/// The parts (a warm-up, a round) take the run as a function, so that several sessions can take turns.
///
/// # Errors
/// If a run fails.
pub fn measure(session: &mut dyn Session, protocol: &Protocol) -> Result<Samples, RuntimeError> {
    sample(protocol, &mut || {
        let start = Instant::now();
        session.run()?;
        Ok(start.elapsed().as_secs_f64())
    })
}

/// One run; how many seconds it took.
type Run<'a> = dyn FnMut() -> Result<f64, RuntimeError> + 'a;

fn sample(protocol: &Protocol, run: &mut Run) -> Result<Samples, RuntimeError> {
    let first_run_s = run()?;
    let warm_up = warm_up(protocol, run)?;
    let runs = runs_per_round(protocol, warm_up.run_s);
    let (mut rounds, mut spent) = (vec![], 0.0);
    loop {
        let samples = round(runs, run)?;
        spent += samples.iter().sum::<f64>();
        rounds.push(samples);
        if rounds.len() < FEWEST_ROUNDS || (rounds.len() < protocol.rounds && spent < protocol.budget_s) {
            continue;
        }
        let medians = round_medians(&rounds);
        let (p50_s, ci95_s) = (median(&medians), median_interval(&medians, protocol.seed));
        let stop = if rounds.len() >= protocol.rounds && half_width(p50_s, ci95_s) <= protocol.target_half_width {
            StopReason::NarrowInterval
        } else if spent >= protocol.budget_s {
            StopReason::TimeBudget
        } else if rounds.len() >= protocol.max_rounds {
            StopReason::MostRounds
        } else {
            continue;
        };
        let warm_up_runs = warm_up.runs + 1;
        return Ok(Samples { first_run_s, warm_up_runs, warm: warm_up.warm, rounds, p50_s, ci95_s, stop });
    }
}

struct WarmUp {
    runs: usize,
    warm: bool,
    /// Median of the last window.
    run_s: f64,
}

fn warm_up(protocol: &Protocol, run: &mut Run) -> Result<WarmUp, RuntimeError> {
    let second = run()?;
    let window = runs_for(WINDOW_S, second).clamp(2, 64);
    let (mut runs, mut spent, mut before) = (1, second, None::<f64>);
    loop {
        let samples = round(window, run)?;
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

fn round(runs: usize, run: &mut Run) -> Result<Vec<f64>, RuntimeError> {
    (0..runs).map(|_| run()).collect()
}

/// As many as the protocol wants, unless the rounds would then not fit the budget.
fn runs_per_round(protocol: &Protocol, run_s: f64) -> usize {
    let wanted = runs_for(protocol.min_round_s, run_s).min(MOST_RUNS).max(protocol.runs_per_round);
    let affordable = (protocol.budget_s / (protocol.rounds as f64 * run_s)) as usize;
    wanted.min(affordable).max(1)
}

/// How many runs of `run_s` take `seconds`. (A float that is too large becomes the largest integer.)
fn runs_for(seconds: f64, run_s: f64) -> usize {
    (seconds / run_s).ceil() as usize
}

fn half_width(p50_s: f64, (low, high): (f64, f64)) -> f64 {
    (high - low) / 2.0 / p50_s
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples a model whose n-th run takes `time(n)` seconds; no time passes.
    fn sampled(protocol: &Protocol, time: impl Fn(usize) -> f64) -> Samples {
        let mut runs = 0;
        let samples = sample(protocol, &mut || {
            runs += 1;
            Ok(time(runs - 1))
        });
        samples.unwrap()
    }

    #[test]
    fn a_quiet_model_takes_the_fewest_rounds() {
        let samples = sampled(&Protocol::default(), |n| if n == 0 { 0.5 } else { 0.002 });
        assert_eq!((samples.first_run_s, samples.p50_s, samples.ci95_s), (0.5, 0.002, (0.002, 0.002)));
        assert_eq!((samples.stop, samples.rounds.len(), samples.rounds[0].len()), (StopReason::NarrowInterval, 7, 10));
        assert!(samples.warm);
    }

    #[test]
    fn the_warm_up_lasts_until_windows_agree() {
        // Each run is 1 % faster than the one before, up to the 100th.
        let warming = |n: usize| 0.001 * 0.99_f64.powi(n.min(100) as i32);
        let samples = sampled(&Protocol::default(), warming);
        assert!(samples.warm && samples.warm_up_runs >= 95, "{} runs", samples.warm_up_runs);
        assert!(samples.rounds.iter().flatten().all(|&s| s < 1.02 * warming(100)));
    }

    #[test]
    fn the_warm_up_is_bounded() {
        let protocol = Protocol { warm_up_s: 0.1, budget_s: 0.2, ..Protocol::default() };
        let samples = sampled(&protocol, |n| 0.001 * 1.01_f64.powi(n as i32));
        assert!(!samples.warm);
        assert!(samples.warm_up_runs < 100);
    }

    #[test]
    fn a_noisy_model_ends_with_the_budget_or_the_most_rounds() {
        let noisy = |n: usize| if (n / 10).is_multiple_of(2) { 0.002 } else { 0.003 };
        let samples = sampled(&Protocol::default(), noisy);
        assert_eq!((samples.stop, samples.rounds.len()), (StopReason::MostRounds, 40));
        let samples = sampled(&Protocol { budget_s: 0.3, ..Protocol::default() }, noisy);
        assert_eq!(samples.stop, StopReason::TimeBudget);
        assert!(samples.half_width() > 0.01);
    }

    #[test]
    fn a_slow_model_gets_fewer_runs_but_enough_rounds() {
        let samples = sampled(&Protocol::default(), |_| 3.0);
        assert_eq!((samples.stop, samples.rounds.len()), (StopReason::TimeBudget, 5));
        assert!(samples.rounds.iter().all(|round| round.len() == 1));
        let samples = sampled(&Protocol::default(), |_| 0.1);
        assert_eq!((samples.rounds.len(), samples.rounds[0].len()), (7, 7));
    }

    #[test]
    fn a_fast_model_fills_its_rounds() {
        assert_eq!(sampled(&Protocol::default(), |_| 100e-6).rounds[0].len(), 100);
        assert_eq!(sampled(&Protocol::default(), |_| 5e-6).rounds[0].len(), MOST_RUNS);
        assert_eq!(sampled(&Protocol::default(), |_| 0.0).rounds[0].len(), MOST_RUNS);
    }

    #[test]
    fn a_run_that_fails_ends_it() {
        let mut runs = 0;
        let failed = sample(&Protocol::default(), &mut || {
            runs += 1;
            if runs == 9 { Err(RuntimeError::Run("out of memory".to_owned())) } else { Ok(0.001) }
        });
        assert_eq!(failed.unwrap_err().to_string(), "run failed: out of memory");
    }
}
