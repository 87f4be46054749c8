//! A device behind a plugin: it runs the models, Tegu makes measurements of the times that it gives.
//!
//! ```text
//! tegu    evaluate {"model": "/abs/m.onnx", "sha256": "…", "batch": 1, "threads": 1, "protocol": {…}}
//! plugin  {"rounds_ms": [[1.01, 1.02], …], "load_ms": 12.5, "first_run_ms": 1.5, "peak_memory_mib": 30, "energy_mj_per_run": 2}
//! ```

use super::{Device, DeviceError, HardwareProfile, Job, Location, refuse_unsupported, sha256};
use crate::latency::{FEWEST_ROUNDS, Host, HostState, Measured, Measurement, Samples, StopReason};
use crate::plugin::{self as plugins, Kind, Plugin, PluginError, Start};
use crate::runtime::{ExecutionProvider, RuntimeInfo, SessionOptions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// What a device says of itself at the start, beside what every plugin does.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DeviceFacts {
    /// What runs the models.
    pub runtime: String,
    /// Its version.
    pub runtime_version: String,
    /// Its provider; the CPU where absent.
    #[serde(default)]
    pub execution_provider: Option<String>,
}

/// The times of one model; all of them greater than 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Each timed run in ms, by round.
    pub rounds_ms: Vec<Vec<f64>>,
    /// Time to load and prepare the model.
    #[serde(default)]
    pub load_ms: Option<f64>,
    /// Time of the first run.
    #[serde(default)]
    pub first_run_ms: Option<f64>,
    /// How far memory rose.
    #[serde(default)]
    pub peak_memory_mib: Option<f64>,
    /// Energy of a run.
    #[serde(default)]
    pub energy_mj_per_run: Option<f64>,
}

impl Times {
    /// Checks the numbers.
    ///
    /// # Errors
    /// What was found, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        let rounds = self.rounds_ms.len();
        if rounds < FEWEST_ROUNDS {
            return Err(format!("rounds_ms: {rounds} rounds, expected {FEWEST_ROUNDS} or more"));
        }
        if let Some(round) = self.rounds_ms.iter().position(Vec::is_empty) {
            return Err(format!("rounds_ms[{round}]: no run, expected 1 or more"));
        }
        let runs = self.rounds_ms.iter().flatten().map(|&time| ("rounds_ms", time));
        let others = [("load_ms", self.load_ms), ("first_run_ms", self.first_run_ms)];
        let more = [("peak_memory_mib", self.peak_memory_mib), ("energy_mj_per_run", self.energy_mj_per_run)];
        let given = |(field, value): (&'static str, Option<f64>)| Some((field, value?));
        let mut from_0 = others.into_iter().chain(more).filter_map(given);
        if let Some((field, time)) = runs.into_iter().find(|(_, time)| !(time.is_finite() && *time > 0.0)) {
            return Err(format!("{field}: {time}, expected more than 0"));
        }
        match from_0.find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
            Some((field, value)) => Err(format!("{field}: {value}, expected 0 or more")),
            None => Ok(()),
        }
    }
}

/// Measures through a plugin, one model after the other.
pub struct PluginDevice {
    profile: HardwareProfile,
    plugin: Plugin,
    facts: DeviceFacts,
}

impl PluginDevice {
    /// Starts the plugin that the profile names.
    ///
    /// # Errors
    /// [`DeviceError::Plugin`] if it can't be started, or is no device.
    ///
    /// # Panics
    /// If the profile's location is no plugin.
    pub fn new(profile: HardwareProfile) -> Result<Self, DeviceError> {
        let Location::Plugin(section) = &profile.location else { panic!("profile `{}` is no plugin", profile.name) };
        let limits = plugins::Limits { time_s: profile.limits.time_s, memory_mib: profile.limits.memory_mib };
        let started = section.find(Path::new(""), &[Kind::Device]).and_then(|(found, options)| {
            let start = Start { options, seed: profile.protocol.seed, ..Start::default() };
            let plugin = Plugin::start_within(found, start, limits)?;
            Ok((plugin.facts()?, plugin))
        });
        let (facts, plugin) = started?;
        Ok(Self { profile, plugin, facts })
    }

    /// The times of the model of this SHA-256, checked.
    fn times(&mut self, model: &Path, sha256: &str) -> Result<Times, PluginError> {
        let HardwareProfile { batch, threads, protocol, .. } = &self.profile;
        let mut params = json!({"model": model, "sha256": sha256, "batch": batch, "protocol": protocol});
        if let Some(threads) = threads {
            params["threads"] = json!(threads);
        }
        let times: Times = self.plugin.ask_for("evaluate", &params)?;
        match times.check() {
            Ok(()) => Ok(times),
            Err(reason) => Err(self.plugin.answer("evaluate", reason)),
        }
    }
}

impl Device for PluginDevice {
    fn profile(&self) -> &HardwareProfile {
        &self.profile
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        // It was started when it was opened.
        Ok(())
    }

    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError> {
        let failed = |error: std::io::Error| DeviceError::Failed(format!("{}: {error}", job.model.display()));
        let model = std::path::absolute(&job.model).map_err(failed)?;
        let model_sha256 = sha256(&model).map_err(failed)?;
        refuse_unsupported(&self.profile, &job.model)?;
        let before = HostState::now();
        let times = self.times(&model, &model_sha256).map_err(|error| match error.is_unavailable() {
            true => DeviceError::Plugin(error),
            false => DeviceError::Failed(format!("{}: {error}", job.model.display())),
        })?;
        let seconds = |ms: f64| ms / 1e3;
        let rounds: Vec<Vec<f64>> =
            times.rounds_ms.iter().map(|round| round.iter().copied().map(seconds).collect()).collect();
        let runs = rounds.iter().map(Vec::len).sum::<usize>() as f64;
        let protocol = &self.profile.protocol;
        let mut samples = Samples {
            first_run_s: seconds(times.first_run_ms.unwrap_or(0.0)),
            warm_up_runs: 0,
            // The plugin's own affair.
            warm: true,
            rounds,
            reference_s: vec![],
            reference_turns_s: vec![],
            loads: 1,
            stop: StopReason::TimeBudget,
        };
        if samples.figures(protocol.seed).half_width() <= protocol.target_half_width {
            samples.stop = StopReason::NarrowInterval;
        } else if samples.rounds.len() >= protocol.max_rounds {
            samples.stop = StopReason::MostRounds;
        }
        let provider = self.facts.execution_provider.clone();
        let session = SessionOptions {
            threads: self.profile.threads,
            execution_provider: provider.map(|name| ExecutionProvider {
                name,
                options: [].into(),
                allow_fallback: false,
            }),
            batch: Some(self.profile.batch),
            ..SessionOptions::default()
        };
        let (runtime, version) = (self.facts.runtime.clone(), self.facts.runtime_version.clone());
        let reason = format!("plugin `{}` measures by itself", self.plugin.name());
        Ok(Measurement::new(Measured {
            model_sha256,
            device: &self.profile.name,
            runtime: RuntimeInfo { name: runtime, version, library: None },
            session: &session,
            nodes_by_provider: [].into(),
            fallen_back: vec![],
            cores: None,
            batch: self.profile.batch,
            protocol,
            load_s: seconds(times.load_ms.unwrap_or(0.0)),
            samples,
            reference: Err(Some(reason)),
            peak_memory_mib: times.peak_memory_mib,
            energy_j: times.energy_mj_per_run.map(|mj| mj * runs / 1e3),
            throughput: None,
            sustained: None,
            host: Host::here(),
            before,
            after: HostState::now(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_out_of_range_are_named() {
        let check = |json: serde_json::Value, expected: &str| {
            let times: Times = serde_json::from_value(json).unwrap();
            assert_eq!(times.check().err().unwrap_or_default(), expected);
        };
        let rounds = vec![vec![1.0, 2.0]; 5];
        check(json!({"rounds_ms": rounds, "load_ms": 0.0}), "");
        check(json!({"rounds_ms": rounds[1..]}), "rounds_ms: 4 rounds, expected 5 or more");
        check(json!({"rounds_ms": [[1.0], [1.0], [1.0], [], [1.0]]}), "rounds_ms[3]: no run, expected 1 or more");
        check(json!({"rounds_ms": [[1.0], [1.0], [1.0], [0.0], [1.0]]}), "rounds_ms: 0, expected more than 0");
        check(json!({"rounds_ms": rounds, "load_ms": -1.0}), "load_ms: -1, expected 0 or more");
        check(json!({"rounds_ms": rounds, "energy_mj_per_run": -2.5}), "energy_mj_per_run: -2.5, expected 0 or more");
    }
}
