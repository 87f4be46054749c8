//! What a single latency does not say: how it is after minutes of running, and how many samples a second several
//! concurrent streams get through.

use super::statistics::median;
use crate::runtime::{RuntimeError, Session};
use serde::{Deserialize, Serialize};
use std::sync::Barrier;
use std::time::Instant;

/// A window is at least this long, and there are at most [`MOST_WINDOWS`].
const SHORTEST_WINDOW_S: f64 = 1.0;
const MOST_WINDOWS: f64 = 60.0;

/// Runs of each stream before all of them start together.
const UNTIMED_RUNS: usize = 3;

/// A model that was kept running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sustained {
    /// How long it ran, in seconds.
    pub seconds: f64,
    /// The windows of that time, in their order.
    pub windows: Vec<Window>,
    /// Median of the first window.
    pub first_p50_ms: f64,
    /// Median of the last window.
    pub last_p50_ms: f64,
    /// The last over the first: 1.1 is 10 % slower in the end.
    pub ratio: f64,
}

/// A part of a sustained run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Seconds from the beginning of all to that of the window.
    pub from_s: f64,
    /// Runs in it.
    pub runs: usize,
    /// Their median.
    pub p50_ms: f64,
}

/// Runs without a pause for `seconds` on the clock `now`.
///
/// # Errors
/// If a run fails.
pub fn sustain(
    seconds: f64,
    now: &mut dyn FnMut() -> f64,
    run: &mut dyn FnMut() -> Result<f64, RuntimeError>,
) -> Result<Sustained, RuntimeError> {
    let window_s = (seconds / MOST_WINDOWS).max(SHORTEST_WINDOW_S.min(seconds / 2.0));
    let begin = now();
    let mut windows = vec![];
    while now() - begin < seconds {
        let (from_s, mut samples) = (now() - begin, vec![]);
        while samples.is_empty() || now() - begin < from_s + window_s {
            samples.push(run()?);
        }
        windows.push(Window { from_s, runs: samples.len(), p50_ms: ms(median(&samples)) });
    }
    let (first_p50_ms, last_p50_ms) = match &windows[..] {
        [first, .., last] => (first.p50_ms, last.p50_ms),
        [only] => (only.p50_ms, only.p50_ms),
        [] => (f64::NAN, f64::NAN),
    };
    Ok(Sustained { seconds: now() - begin, windows, first_p50_ms, last_p50_ms, ratio: last_p50_ms / first_p50_ms })
}

/// How much gets through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Sessions that run at the same time, each on threads of its own.
    pub streams: usize,
    /// Samples a second of all streams together.
    pub samples_per_s: f64,
    /// Median latency of a run (of the whole batch) while all streams run.
    pub p50_ms: f64,
}

impl Throughput {
    /// Of one stream whose timed runs took these seconds.
    ///
    /// # Panics
    /// If there is no run.
    pub fn of_one(batch: usize, runs: &[f64]) -> Self {
        let samples_per_s = (batch * runs.len()) as f64 / runs.iter().sum::<f64>();
        Self { streams: 1, samples_per_s, p50_ms: ms(median(runs)) }
    }
}

/// Runs all `sessions`, whose inputs are bound, at the same time for `seconds`; each run is of `batch` samples.
///
/// # Errors
/// If a run fails.
///
/// # Panics
/// If there is no session.
pub fn throughput(sessions: &mut [Box<dyn Session>], batch: usize, seconds: f64) -> Result<Throughput, RuntimeError> {
    let (streams, start) = (sessions.len(), Barrier::new(sessions.len()));
    let stream = |session: &mut Box<dyn Session>| {
        let untimed = (0..UNTIMED_RUNS).try_for_each(|_| session.run());
        // Also one that failed: the others wait for it.
        start.wait();
        untimed?;
        let begin = Instant::now();
        let mut samples = vec![];
        while samples.is_empty() || begin.elapsed().as_secs_f64() < seconds {
            let run = Instant::now();
            session.run()?;
            samples.push(run.elapsed().as_secs_f64());
        }
        Ok((samples.len() as f64 / begin.elapsed().as_secs_f64(), samples))
    };
    let outcomes: Vec<Result<(f64, Vec<f64>), RuntimeError>> = std::thread::scope(|scope| {
        let running: Vec<_> = sessions.iter_mut().map(|session| scope.spawn(|| stream(session))).collect();
        let panicked = || Err(RuntimeError::Run("a stream panicked".to_owned()));
        running.into_iter().map(|stream| stream.join().unwrap_or_else(|_| panicked())).collect()
    });
    let (mut rate, mut samples) = (0.0, vec![]);
    for outcome in outcomes {
        let (runs_per_s, of_stream) = outcome?;
        rate += runs_per_s;
        samples.extend(of_stream);
    }
    Ok(Throughput { streams, samples_per_s: rate * batch as f64, p50_ms: ms(median(&samples)) })
}

/// Milliseconds to the nanosecond: no clock is finer.
pub(super) fn ms(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{MockRuntime, Runtime, SessionOptions};
    use std::cell::Cell;

    #[test]
    fn a_model_that_gets_slower_shows_it() {
        // 10 ms at first, a tenth slower every 30 s.
        let clock = Cell::new(0.0);
        let mut run = || {
            let time = 0.01 * (1.0 + 0.1 * (clock.get() / 30.0_f64).floor());
            clock.set(clock.get() + time);
            Ok(time)
        };
        let found = sustain(120.0, &mut || clock.get(), &mut run).unwrap();
        assert_eq!((found.windows.len(), found.first_p50_ms, found.last_p50_ms), (60, 10.0, 13.0));
        assert!((found.ratio - 1.3).abs() < 1e-9 && (119.9..120.5).contains(&found.seconds), "{found:?}");
        assert!((199..=201).contains(&found.windows[0].runs), "{found:?}");
    }

    #[test]
    fn a_short_time_has_two_windows() {
        let clock = Cell::new(0.0);
        let mut run = || {
            clock.set(clock.get() + 0.0625);
            Ok(0.0625)
        };
        assert_eq!(sustain(0.5, &mut || clock.get(), &mut run).unwrap().windows.len(), 2);
    }

    #[test]
    fn streams_run_at_the_same_time() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m");
        std::fs::write(&model, "sleep_us 10000").unwrap();
        let session = || MockRuntime.prepare(&model, &SessionOptions::default()).unwrap();
        let found = throughput(&mut [session(), session(), session()], 4, 0.2).unwrap();
        // Three sleep at once: up to 300 runs of 4 samples a second.
        assert!(found.streams == 3 && (600.0..=1200.0).contains(&found.samples_per_s), "{found:?}");
        assert!(found.p50_ms >= 10.0);
        std::fs::write(&model, "fail no").unwrap();
        assert_eq!(throughput(&mut [session(), session()], 1, 0.1).unwrap_err().to_string(), "run failed: no");
        let one = Throughput::of_one(8, &[0.004, 0.004, 0.008]);
        assert_eq!((one.streams, one.samples_per_s, one.p50_ms), (1, 1500.0, 4.0));
    }
}
