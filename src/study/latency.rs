//! A study's latencies on one device: measured, predicted by a lookup table, or taken from a table of architectures.

use super::StudyError;
use super::candidate::Candidate;
use super::estimator::{Estimate, Estimator, opened};
use super::plan::PlannedDevice;
use super::store::{EstimateRecord, MeasurementRecord, Store};
use crate::config::LatencySource;
use crate::device::{Device, DeviceError, Job, Location, OpenOptions};
use crate::genotype::ArchId;
use crate::latency::{Measurement, Pace};
use std::path::Path;

/// What is known of a candidate's latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Latency {
    /// The median in ms.
    pub p50_ms: f64,
    /// Its interval: 95 % of a measurement, 90 % of a prediction.
    pub interval_ms: [f64; 2],
    /// Whether it was measured on the device.
    pub measured: bool,
}

/// What `store` knows of an architecture's latency on a device; a measurement before an estimate.
pub(super) fn known(store: &Store, id: &ArchId, device: &str) -> Result<Option<Latency>, StudyError> {
    if let Some(record) = store.measurement(id, device)? {
        let measurement: Measurement = serde_json::from_value(record.measurement).map_err(|error| {
            let reason = format!("measurement of {id} on {device}: {error}");
            StudyError::Stored { path: store.path().to_owned(), reason }
        })?;
        let interval_ms = measurement.ci95_ms;
        return Ok(Some(Latency { p50_ms: measurement.p50_ms, interval_ms, measured: true }));
    }
    let estimate = store.estimate(id, device)?;
    Ok(estimate.map(|one| Latency { p50_ms: one.p50_ms, interval_ms: one.interval_ms, measured: false }))
}

/// What answers for a device of the plan.
pub(super) struct Latencies {
    pub planned: PlannedDevice,
    estimator: Option<Estimator>,
    /// Measures; none where nothing is to be measured.
    device: Option<Box<dyn Device>>,
    /// The pace that all figures are stated for.
    pace: Option<Pace>,
}

impl Latencies {
    /// Opens what is needed, and finds out that it works before time is spent.
    pub fn open(planned: &PlannedDevice, store: &Store, options: &OpenOptions) -> Result<Self, StudyError> {
        let PlannedDevice { profile, source, table } = planned;
        let estimator = Estimator::open(planned, options)?;
        let measures = !matches!(estimator, Some(Estimator::Csv(_))) && *source != LatencySource::Predicted;
        let device = measures.then(|| opened(profile, options)).transpose()?;
        let pace = match table {
            Some(table) => table.header.pace.clone(),
            None => pace_of(store, &profile.name)?,
        };
        Ok(Self { planned: planned.clone(), estimator, device, pace })
    }

    /// The name of the device.
    pub fn name(&self) -> &str {
        &self.planned.profile.name
    }

    /// Whether candidates are measured here at all.
    pub fn measures(&self) -> bool {
        self.device.is_some()
    }

    /// Whether something else than a measurement answers first.
    pub fn estimates(&self) -> bool {
        self.estimator.is_some()
    }

    /// Looks up or predicts the latency of a candidate and stores it, unless the store has it; fails the candidate if there is
    /// none.
    pub fn estimate(&mut self, store: &mut Store, candidate: &mut Candidate) -> Result<(), StudyError> {
        let device = self.name().to_owned();
        let id = candidate.record.arch_id.clone();
        if candidate.sound().is_none() || store.estimate(&id, &device)?.is_some() {
            return Ok(());
        }
        let declared = candidate.declared.as_ref().expect("a sound candidate has a graph");
        let estimator = self.estimator.as_mut().expect("something estimates");
        match estimator.estimate(&candidate.record.arch, declared) {
            Ok(Estimate { source, p50_ms, interval_ms }) => {
                store.put_estimate(&EstimateRecord { arch_id: id, device, source, p50_ms, interval_ms })?;
            }
            Err(error) if error.is_unavailable() => return Err(error.into()),
            Err(error) => candidate.failure = Some(format!("{device}: {error}")),
        }
        Ok(())
    }

    /// Whether another machine measures.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere().is_some()
    }

    /// Another handle of a device that is another machine.
    pub fn elsewhere(&self) -> Option<Box<dyn Device>> {
        self.device.as_ref()?.elsewhere()
    }

    /// What is to be measured of `candidates`, whose models are exported.
    pub fn jobs(candidates: &[&mut Candidate], models: &Path) -> Vec<Job> {
        let job = |candidate: &&mut Candidate| Job {
            model: candidate.model(models),
            arch_id: Some(candidate.record.arch_id.clone()),
            ..Job::default()
        };
        candidates.iter().map(job).collect()
    }

    /// Measures the exported models of `candidates` together, stores what was found and fails the candidates of which nothing
    /// was. Gives the seconds that went into loading each.
    pub fn measure(
        &mut self,
        store: &mut Store,
        candidates: &mut [&mut Candidate],
        models: &Path,
    ) -> Result<Vec<f64>, StudyError> {
        let jobs = Self::jobs(candidates, models);
        let outcomes = self.device.as_mut().expect("a device that measures was opened").measure_all(&jobs);
        self.take(store, candidates, outcomes, models)
    }

    /// Stores the outcomes of `candidates` and fails those without a figure. Gives the seconds that went into loading each.
    pub fn take(
        &mut self,
        store: &mut Store,
        candidates: &mut [&mut Candidate],
        outcomes: Vec<Result<Measurement, DeviceError>>,
        models: &Path,
    ) -> Result<Vec<f64>, StudyError> {
        let name = self.name().to_owned();
        let replayed = self.replays();
        let jobs = Self::jobs(candidates, models);
        let mut records = vec![];
        let mut loading_s = vec![];
        for (candidate, outcome) in candidates.iter_mut().zip(outcomes) {
            let loaded = outcome.as_ref().ok().filter(|_| !replayed);
            loading_s.push(loaded.map_or(0.0, |one| (one.load_ms + one.first_run_ms) / 1e3));
            let exported = candidate.record.model_sha256.clone().unwrap_or_default();
            let mut measurement = match outcome {
                Ok(measurement) if measurement.model_sha256 == exported || replayed => measurement,
                Ok(measurement) => {
                    let reason = format!("{name}: measured {}, exported {exported}", measurement.model_sha256);
                    candidate.failure = Some(reason);
                    continue;
                }
                Err(error) if error.is_unavailable() => return Err(error.into()),
                Err(error) => {
                    candidate.failure = Some(format!("{name}: {error}"));
                    continue;
                }
            };
            if self.pace.is_none()
                && let Some(pace) = measurement.pace()
            {
                store.put_fact(&pace_key(&name), &pace)?;
                self.pace = Some(pace);
            }
            if let Some(pace) = &self.pace {
                measurement.state_for(pace);
            }
            records.push(MeasurementRecord {
                arch_id: candidate.record.arch_id.clone(),
                device: name.clone(),
                model_sha256: exported,
                measurement: serde_json::to_value(&measurement).expect("a measurement is JSON"),
            });
        }
        store.put_measurements(&records)?;
        if let Some(device) = &mut self.device {
            device.stored(&jobs);
        }
        Ok(loading_s)
    }

    /// Whether figures are of earlier measurements, of models with other bytes.
    fn replays(&self) -> bool {
        matches!(self.planned.profile.location, Location::Replay { .. })
    }
}

/// The pace that a study's figures of a device are stated for, once one was measured.
pub(super) fn pace_of(store: &Store, device: &str) -> Result<Option<Pace>, StudyError> {
    Ok(store.fact(&pace_key(device))?)
}

fn pace_key(device: &str) -> String {
    format!("pace@{device}")
}
