//! The record of one measurement: what `tegu profile --json` prints and a study keeps.

use super::figures::{DOUBT, slowdown, throttled, widened};
use super::host::{Host, HostState};
use super::long::{Sustained, Throughput, ms};
use super::measure::{Samples, StopReason};
use super::protocol::Protocol;
use super::statistics::{median, outliers, p90, p99, round_medians};
use crate::runtime::{GraphOptimization, RuntimeInfo, SessionOptions};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Whether a figure can be relied on; of several reasons why not the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It was warm, and the interval is as narrow as was asked for.
    Stable,
    /// It never got warm, or the interval is wider than was asked for.
    Noisy,
    /// The machine got slower all the time: the reference did, or the clocks fell.
    Throttled,
    /// Nodes that the provider was asked to run ran elsewhere.
    Fallback,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As it is serialised.
        f.write_str(match self {
            Self::Stable => "stable",
            Self::Noisy => "noisy",
            Self::Throttled => "throttled",
            Self::Fallback => "fallback",
        })
    }
}

/// The reference model beside a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceFigures {
    /// SHA-256 of the reference model, hexadecimal.
    pub model_sha256: String,
    /// Its median over the measurement's rounds.
    pub p50_ms: f64,
    /// Its time on the machine that the corrected figures are stated for: `p50_ms / scale_ms` of a measurement is
    /// comparable with another one's.
    pub scale_ms: f64,
    /// Its time at each round in seconds, interpolated between its turns.
    pub by_round_s: Vec<f64>,
    /// How much slower it was in the last third of its turns than in the first; absent of few turns.
    pub slowdown: Option<f64>,
}

/// The pace of a machine: how long a reference model takes there. Figures that are stated for one pace are comparable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// SHA-256 of the reference model, hexadecimal.
    pub model_sha256: String,
    /// Its time in ms.
    pub reference_ms: f64,
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
    /// Share of the nodes that the provider which was asked for runs; absent where the runtime does not tell.
    #[serde(default)]
    pub ep_coverage: Option<f64>,
    /// The nodes that run elsewhere, as `name (operator)`.
    #[serde(default)]
    pub fallen_back: Vec<String>,
    /// How far ONNX Runtime was allowed to change the graph.
    #[serde(default, skip_serializing_if = "GraphOptimization::is_all")]
    pub graph_optimization: GraphOptimization,
    /// Threads within an operator.
    pub threads: usize,
    /// The cores that it was pinned to; absent where it was not.
    #[serde(default)]
    pub cores: Option<Vec<usize>>,
    /// Leading dimension of the model's first input: samples in one run.
    pub batch: usize,
    /// Median latency of a run (of the whole batch): the median of the rounds' medians, each corrected by the
    /// reference model's drift.
    pub p50_ms: f64,
    /// Its 95 % interval: bootstrap over rounds, widened by the deviation between processes. `[low, high]`.
    pub ci95_ms: [f64; 2],
    /// The same median without correction; absent in records of versions that corrected nothing.
    #[serde(default)]
    pub raw_p50_ms: Option<f64>,
    /// The reference model; absent where none ran.
    #[serde(default)]
    pub reference: Option<ReferenceFigures>,
    /// Why none did, where one was asked for.
    #[serde(default)]
    pub no_reference: Option<String>,
    /// Relative deviation between processes that the interval was widened by.
    #[serde(default)]
    pub between_process: f64,
    /// Worker processes that it was measured in.
    #[serde(default = "one")]
    pub processes: usize,
    /// Sessions of the model in each, whose rounds took turns; `p50_ms` is the mean of their medians.
    #[serde(default = "one")]
    pub loads: usize,
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
    /// How far resident memory rose while the model was loaded and first run; absent where the system does not tell.
    #[serde(default)]
    pub peak_memory_mib: Option<f64>,
    /// Energy of the processor package in one run, whatever else ran on it included; absent where the system has no
    /// counters, or keeps them to itself.
    #[serde(default)]
    pub energy_mj_per_run: Option<f64>,
    /// Samples a second; of concurrent streams where the protocol asks for several.
    #[serde(default)]
    pub throughput: Option<Throughput>,
    /// How it went on, where the protocol asks for a sustained run.
    #[serde(default)]
    pub sustained: Option<Sustained>,
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
    /// Its state before the first round.
    #[serde(default)]
    pub before: Option<HostState>,
    /// Its state after the last one.
    #[serde(default)]
    pub after: Option<HostState>,
}

fn one() -> usize {
    1
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
    /// The nodes that another provider runs than the one that was asked for.
    pub fallen_back: Vec<String>,
    /// The cores that it was pinned to.
    pub cores: Option<Vec<usize>>,
    /// Samples in one run.
    pub batch: usize,
    /// How it was timed.
    pub protocol: &'a Protocol,
    /// Seconds to load and prepare the model.
    pub load_s: f64,
    /// The timed runs.
    pub samples: Samples,
    /// SHA-256 of the reference model, or why there is none.
    pub reference: Result<String, Option<String>>,
    /// How far memory rose.
    pub peak_memory_mib: Option<f64>,
    /// Joules of all timed runs.
    pub energy_j: Option<f64>,
    /// Of concurrent streams.
    pub throughput: Option<Throughput>,
    /// How it went on.
    pub sustained: Option<Sustained>,
    /// The machine.
    pub host: Host,
    /// Its state before.
    pub before: HostState,
    /// Its state after.
    pub after: HostState,
}

impl Measurement {
    /// Computes the figures.
    pub fn new(measured: Measured) -> Self {
        let verdict = measured.verdict();
        let Measured { model_sha256, device, runtime, session, nodes_by_provider, fallen_back, .. } = measured;
        let Measured { protocol, load_s, samples, host, throughput, .. } = measured;
        let figures = samples.figures(protocol.seed);
        let ci95_s = widened(figures.p50_s, figures.ci95_s, protocol.between_process.hypot(figures.between_loads));
        let all: Vec<f64> = samples.rounds.concat();
        let nodes: usize = nodes_by_provider.values().sum();
        let (execution_provider, provider_options) = match &session.execution_provider {
            Some(provider) => (provider.name.clone(), provider.options.clone()),
            None => ("cpu".to_owned(), BTreeMap::new()),
        };
        let (reference, no_reference) = match (measured.reference, figures.reference_s) {
            (Ok(model_sha256), Some(reference_s)) => {
                let (p50_ms, slowdown) = (ms(reference_s), slowdown(&samples.reference_turns_s));
                let by_round_s = samples.reference_s;
                (Some(ReferenceFigures { model_sha256, p50_ms, scale_ms: p50_ms, by_round_s, slowdown }), None)
            }
            (Ok(_), None) => (None, None),
            (Err(reason), _) => (None, reason),
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
            ep_coverage: (nodes > 0).then(|| 1.0 - fallen_back.len() as f64 / nodes as f64),
            fallen_back,
            graph_optimization: session.graph_optimization,
            threads: session.threads.unwrap_or(host.cores),
            cores: measured.cores,
            batch: measured.batch,
            p50_ms: ms(figures.p50_s),
            ci95_ms: [ms(ci95_s.0), ms(ci95_s.1)],
            raw_p50_ms: Some(ms(figures.raw_p50_s)),
            reference,
            no_reference,
            between_process: protocol.between_process,
            processes: 1,
            loads: samples.loads,
            p90_ms: p90(&all).map(ms),
            p99_ms: p99(&all).map(ms),
            samples: all.len(),
            rounds: samples.rounds.len(),
            warm_up_runs: samples.warm_up_runs,
            warm: samples.warm,
            load_ms: ms(load_s),
            first_run_ms: ms(samples.first_run_s),
            peak_memory_mib: measured.peak_memory_mib,
            energy_mj_per_run: measured.energy_j.map(|joules| 1e3 * joules / all.len() as f64),
            throughput: Some(throughput.unwrap_or_else(|| Throughput::of_one(measured.batch, &all))),
            sustained: measured.sustained,
            outliers: outliers(&all),
            stop: samples.stop,
            verdict,
            seed: protocol.seed,
            samples_s: samples.rounds,
            host,
            before: Some(measured.before),
            after: Some(measured.after),
        }
    }

    /// The pace that its figures are stated for; none without a reference.
    pub fn pace(&self) -> Option<Pace> {
        let reference = self.reference.as_ref()?;
        Some(Pace { model_sha256: reference.model_sha256.clone(), reference_ms: reference.scale_ms })
    }

    /// States the corrected figures for this pace, so that measurements of one device are comparable whenever they were
    /// made; the more is corrected, the wider the interval gets. Without the same reference nothing changes.
    pub fn state_for(&mut self, pace: &Pace) {
        let same = |reference: &&mut ReferenceFigures| reference.model_sha256 == pace.model_sha256;
        if let Some(reference) = self.reference.as_mut().filter(same).filter(|one| one.scale_ms != pace.reference_ms) {
            let factor = pace.reference_ms / reference.scale_ms;
            reference.scale_ms = pace.reference_ms;
            let doubt = DOUBT * factor.ln() * self.p50_ms;
            let arm = |end: f64| (end - self.p50_ms).hypot(doubt);
            let [low, high] = [self.p50_ms - arm(self.ci95_ms[0]), self.p50_ms + arm(self.ci95_ms[1])];
            self.p50_ms = round_ms(self.p50_ms * factor);
            self.ci95_ms = [low.max(0.0), high].map(|end| round_ms(end * factor));
        }
    }

    /// Multiplies the corrected figures by what other models than the reference say of the machine, which makes them ones for
    /// `pace`.
    pub fn calibrate(&mut self, factor: f64, pace: Option<&Pace>) {
        self.p50_ms = round_ms(self.p50_ms * factor);
        self.ci95_ms = self.ci95_ms.map(|end| round_ms(end * factor));
        if let (Some(reference), Some(pace)) = (&mut self.reference, pace)
            && reference.model_sha256 == pace.model_sha256
        {
            reference.scale_ms = pace.reference_ms;
        }
    }

    /// One measurement of those that several processes made of the same model, stated for one scale and not widened
    /// yet; `deviation` is the relative one between processes.
    ///
    /// # Panics
    /// If there is none.
    pub fn of_processes(all: Vec<Self>, deviation: f64) -> Self {
        let count = all.len();
        let middle = |value: &dyn Fn(&Self) -> Option<f64>| {
            let values: Option<Vec<f64>> = all.iter().map(value).collect();
            values.map(|values| median(&values))
        };
        let some = |value: Option<f64>| value.expect("each process has this figure");
        let p50_ms = some(middle(&|one| Some(one.p50_ms)));
        let arm = |end: usize| some(middle(&|one| Some(one.ci95_ms[end] - one.p50_ms))) / (count as f64).sqrt();
        let (low, high) = widened(p50_ms, (p50_ms + arm(0), p50_ms + arm(1)), deviation / (count as f64).sqrt());
        let raw_p50_ms = middle(&|one| one.raw_p50_ms);
        let (energy_mj_per_run, peak_memory_mib) =
            (middle(&|one| one.energy_mj_per_run), middle(&|one| one.peak_memory_mib));
        let (load_ms, first_run_ms) =
            (some(middle(&|one| Some(one.load_ms))), some(middle(&|one| Some(one.first_run_ms))));
        let reference_ms = middle(&|one| Some(one.reference.as_ref()?.p50_ms));
        let verdict = all.iter().map(|one| one.verdict).max().expect("there is a process");
        let mut all = all.into_iter();
        let mut whole = all.next().expect("there is a process");
        for one in all {
            whole.samples_s.extend(one.samples_s);
            whole.warm_up_runs += one.warm_up_runs;
            whole.warm &= one.warm;
            if one.stop != StopReason::NarrowInterval {
                whole.stop = one.stop;
            }
            if let (Some(whole), Some(one)) = (&mut whole.reference, one.reference) {
                whole.by_round_s.extend(one.by_round_s);
                whole.slowdown = [whole.slowdown, one.slowdown].into_iter().flatten().max_by(f64::total_cmp);
            }
            whole.after = one.after;
        }
        let samples: Vec<f64> = whole.samples_s.concat();
        (whole.p50_ms, whole.ci95_ms) = (round_ms(p50_ms), [round_ms(low), round_ms(high)]);
        (whole.raw_p50_ms, whole.energy_mj_per_run, whole.peak_memory_mib) =
            (raw_p50_ms, energy_mj_per_run, peak_memory_mib);
        (whole.load_ms, whole.first_run_ms) = (round_ms(load_ms), round_ms(first_run_ms));
        if let (Some(reference), Some(p50_ms)) = (&mut whole.reference, reference_ms) {
            reference.p50_ms = round_ms(p50_ms);
        }
        (whole.p90_ms, whole.p99_ms) = (p90(&samples).map(ms), p99(&samples).map(ms));
        (whole.samples, whole.rounds, whole.outliers) = (samples.len(), whole.samples_s.len(), outliers(&samples));
        (whole.processes, whole.between_process, whole.verdict) = (count, deviation, verdict);
        whole
    }
}

impl Measured<'_> {
    fn verdict(&self) -> Verdict {
        let samples = &self.samples;
        let rounds = round_medians(&samples.rounds);
        let turns = if samples.reference_turns_s.is_empty() { &rounds } else { &samples.reference_turns_s };
        let clocks_fell = match (self.before.clock_mhz, self.after.clock_mhz) {
            (Some(before), Some(after)) => after < CLOCKS_FELL * before,
            _ => false,
        };
        // A clock that is read while nothing runs says little: the reference must have felt it.
        let felt = slowdown(turns).is_some_and(|slowdown| slowdown > 1.0 / CLOCKS_FELL.sqrt());
        match () {
            () if !self.fallen_back.is_empty() => Verdict::Fallback,
            () if throttled(turns) || (clocks_fell && felt) => Verdict::Throttled,
            () if samples.warm && samples.stop == StopReason::NarrowInterval => Verdict::Stable,
            () => Verdict::Noisy,
        }
    }
}

/// Clocks fell where they are below this share of what they were.
const CLOCKS_FELL: f64 = 0.95;

/// Milliseconds to the nanosecond.
fn round_ms(milliseconds: f64) -> f64 {
    ms(milliseconds / 1e3)
}

#[cfg(test)]
mod tests;
