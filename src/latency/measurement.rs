//! The record of one measurement: what `tegu profile --json` prints and a study keeps.

use super::host::Host;
use super::measure::{Samples, StopReason};
use super::protocol::Protocol;
use super::statistics::{outliers, p90, p99};
use crate::runtime::{RuntimeInfo, SessionOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Whether a figure can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It was warm, and the interval is as narrow as was asked for.
    Stable,
    /// It never got warm, or the interval is wider than was asked for.
    Noisy,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As it is serialised.
        f.write_str(match self {
            Self::Stable => "stable",
            Self::Noisy => "noisy",
        })
    }
}

/// The latency of one model on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// SHA-256 of the model file, hexadecimal.
    pub model_sha256: String,
    /// Name of the hardware profile.
    pub device: String,
    /// `tract`, `onnxruntime`.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// The library that was loaded, where one was.
    pub library: Option<PathBuf>,
    /// The provider that was asked for; `cpu` where none was.
    pub execution_provider: String,
    /// The provider's options.
    pub provider_options: BTreeMap<String, String>,
    /// How many nodes of the prepared model each provider runs; empty where the runtime does not tell.
    pub nodes_by_provider: BTreeMap<String, usize>,
    /// Threads within an operator.
    pub threads: usize,
    /// Leading dimension of the model's first input: samples in one run.
    pub batch: usize,
    /// Median latency of a run (of the whole batch): the median of the rounds' medians.
    pub p50_ms: f64,
    /// Its 95 % bootstrap interval over rounds: `[low, high]`.
    pub ci95_ms: [f64; 2],
    /// 90th percentile of single runs; absent with fewer than 64.
    pub p90_ms: Option<f64>,
    /// 99th percentile of single runs; absent with fewer than 662.
    pub p99_ms: Option<f64>,
    /// Timed runs.
    pub samples: usize,
    /// Rounds that they were made in.
    pub rounds: usize,
    /// Every timed run in seconds, by round, in the order of running.
    pub samples_s: Vec<Vec<f64>>,
    /// Runs of the warm-up.
    pub warm_up_runs: usize,
    /// Whether it ended because the model was warm.
    pub warm: bool,
    /// Time to load and prepare the model.
    pub load_ms: f64,
    /// Time of the very first run.
    pub first_run_ms: f64,
    /// Timed runs far from the median; counted in every figure all the same.
    pub outliers: usize,
    /// Why it ended.
    pub stop: StopReason,
    /// Whether the figure can be relied on.
    pub verdict: Verdict,
    /// The protocol's seed.
    pub seed: u64,
    /// The machine.
    pub host: Host,
}

/// What a [`Measurement`] is made of.
#[derive(Clone, Debug)]
pub struct Measured<'a> {
    /// SHA-256 of the model file, hexadecimal.
    pub model_sha256: String,
    /// Name of the hardware profile.
    pub device: &'a str,
    /// What ran the model.
    pub runtime: RuntimeInfo,
    /// How it was prepared.
    pub session: &'a SessionOptions,
    /// How many nodes each execution provider runs.
    pub nodes_by_provider: BTreeMap<String, usize>,
    /// Samples in one run.
    pub batch: usize,
    /// How it was timed.
    pub protocol: &'a Protocol,
    /// Seconds to load and prepare the model.
    pub load_s: f64,
    /// The timed runs.
    pub samples: Samples,
    /// The machine.
    pub host: Host,
}

impl Measurement {
    /// Computes the figures.
    pub fn new(measured: Measured) -> Self {
        let Measured { model_sha256, device, runtime, session, nodes_by_provider, batch, .. } = measured;
        let Measured { protocol, load_s, samples, host, .. } = measured;
        let stable = samples.warm && samples.stop == StopReason::NarrowInterval;
        let all: Vec<f64> = samples.rounds.concat();
        let (execution_provider, provider_options) = match &session.execution_provider {
            Some(provider) => (provider.name.clone(), provider.options.clone()),
            None => ("cpu".to_owned(), BTreeMap::new()),
        };
        Self {
            model_sha256,
            device: device.to_owned(),
            runtime: runtime.name,
            runtime_version: runtime.version,
            library: runtime.library,
            execution_provider,
            provider_options,
            nodes_by_provider,
            threads: session.threads.unwrap_or(host.cores),
            batch,
            p50_ms: ms(samples.p50_s),
            ci95_ms: [ms(samples.ci95_s.0), ms(samples.ci95_s.1)],
            p90_ms: p90(&all).map(ms),
            p99_ms: p99(&all).map(ms),
            samples: all.len(),
            rounds: samples.rounds.len(),
            warm_up_runs: samples.warm_up_runs,
            warm: samples.warm,
            load_ms: ms(load_s),
            first_run_ms: ms(samples.first_run_s),
            outliers: outliers(&all),
            stop: samples.stop,
            verdict: if stable { Verdict::Stable } else { Verdict::Noisy },
            seed: protocol.seed,
            samples_s: samples.rounds,
            host,
        }
    }
}

/// Milliseconds to the nanosecond: no clock is finer.
fn ms(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(samples: Samples) -> Measurement {
        let info = RuntimeInfo { name: "tract".to_owned(), version: "0.23.9".to_owned(), library: None };
        Measurement::new(Measured {
            model_sha256: "00".to_owned(),
            device: "here",
            runtime: info,
            session: &SessionOptions { threads: Some(1), ..SessionOptions::default() },
            nodes_by_provider: BTreeMap::new(),
            batch: 1,
            protocol: &Protocol::default(),
            load_s: 0.25,
            samples,
            host: Host::here(),
        })
    }

    fn samples(warm: bool, stop: StopReason) -> Samples {
        let rounds = vec![vec![0.002; 10]; 7];
        Samples { first_run_s: 0.5, warm_up_runs: 4, warm, rounds, p50_s: 0.002, ci95_s: (0.0019, 0.0021), stop }
    }

    #[test]
    fn figures_carry_their_units() {
        let found = measured(samples(true, StopReason::NarrowInterval));
        assert_eq!((found.p50_ms, found.ci95_ms, found.p90_ms, found.p99_ms), (2.0, [1.9, 2.1], Some(2.0), None));
        assert_eq!((found.load_ms, found.first_run_ms, found.samples, found.rounds), (250.0, 500.0, 70, 7));
        assert_eq!((found.verdict, found.outliers), (Verdict::Stable, 0));
        assert_eq!(found.execution_provider, "cpu");
    }

    #[test]
    fn times_survive_writing_and_reading() {
        for nanoseconds in (0..200_000_u64).map(|i| i * i * 7919 % 100_000_007) {
            let seconds = std::time::Duration::from_nanos(nanoseconds).as_secs_f64();
            for time in [seconds, ms(seconds), ms(seconds * 1.000_000_123_4)] {
                let read: f64 = serde_json::from_str(&serde_json::to_string(&time).unwrap()).unwrap();
                assert_eq!(read.to_bits(), time.to_bits(), "{time}");
            }
        }
    }

    #[test]
    fn a_figure_is_noisy_unless_warm_and_narrow() {
        assert_eq!(measured(samples(false, StopReason::NarrowInterval)).verdict, Verdict::Noisy);
        assert_eq!(measured(samples(true, StopReason::TimeBudget)).verdict, Verdict::Noisy);
        assert_eq!(measured(samples(true, StopReason::MostRounds)).verdict, Verdict::Noisy);
    }

    #[test]
    fn a_record_reads_back_as_it_was() {
        let found = measured(samples(true, StopReason::NarrowInterval));
        let json = serde_json::to_string(&found).unwrap();
        assert!(json.contains(r#""verdict":"stable""#) && json.contains(r#""stop":"narrow_interval""#), "{json}");
        assert_eq!(serde_json::from_str::<Measurement>(&json).unwrap(), found);
    }
}
