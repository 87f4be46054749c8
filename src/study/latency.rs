//! A study's latencies on one device: measured, predicted by a lookup table, or taken from a table of architectures.

use super::StudyError;
use super::candidate::Candidate;
use super::plan::PlannedDevice;
use super::store::{EstimateRecord, EstimateSource, MeasurementRecord, Store};
use crate::config::LatencySource;
use crate::device::{self, Device, DeviceError, Job, LatencyCsv, Location, OpenOptions};
use crate::genotype::ArchId;
use crate::latency::{Measurement, Pace};
use crate::lut::{Costs, Extractor, LutError, Method, count, counted_operators};
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
    csv: Option<LatencyCsv>,
    device: Option<Box<dyn Device>>,
    /// Shows the operators of a model, where it is another one than the device itself.
    shows: Option<Box<dyn Device>>,
    /// Finds operators that only a device shows.
    extractor: Option<Extractor>,
    /// The pace that all figures are stated for.
    pace: Option<Pace>,
}

impl Latencies {
    /// Opens what is needed, and finds out that it works before time is spent.
    pub fn open(planned: &PlannedDevice, store: &Store, options: &OpenOptions) -> Result<Self, StudyError> {
        let PlannedDevice { profile, source, table } = planned;
        let open = |profile: &device::HardwareProfile| -> Result<Box<dyn Device>, DeviceError> {
            let mut device = device::open(profile.clone(), options.clone())?;
            device.check()?;
            Ok(device)
        };
        let csv = LatencyCsv::of(profile)?;
        let header = table.as_ref().map(|table| &table.header);
        let fused = header.is_some_and(|header| header.method == Method::Fused);
        let shows = header.and_then(|header| header.operators_of.as_ref()).filter(|_| fused).map(open).transpose()?;
        let needed = csv.is_none() && (*source != LatencySource::Predicted || (fused && shows.is_none()));
        let device = if needed { Some(open(profile)?) } else { None };
        let fused =
            header.filter(|_| fused).map(|header| Extractor::new(header.method, header.batch, header.precision()));
        let pace = match header {
            Some(header) => header.pace.clone(),
            None => store.fact(&pace_key(&profile.name))?,
        };
        Ok(Self { planned: planned.clone(), csv, device, shows, extractor: fused.transpose()?, pace })
    }

    /// The name of the device.
    pub fn name(&self) -> &str {
        &self.planned.profile.name
    }

    /// Whether candidates are measured here at all.
    pub fn measures(&self) -> bool {
        self.csv.is_none() && self.planned.source != LatencySource::Predicted
    }

    /// Whether something else than a measurement answers first.
    pub fn estimates(&self) -> bool {
        self.csv.is_some() || self.planned.table.is_some()
    }

    /// Looks up or predicts the latency of a candidate and stores it, unless the store has it; fails the candidate if there is
    /// none.
    pub fn estimate(&mut self, store: &mut Store, candidate: &mut Candidate) -> Result<(), StudyError> {
        let device = self.name().to_owned();
        let id = candidate.record.arch_id.clone();
        if candidate.sound().is_none() || store.estimate(&id, &device)?.is_some() {
            return Ok(());
        }
        let found = match &self.csv {
            Some(csv) => csv.p50_ms(&candidate.record.arch).map(|p50_ms| (EstimateSource::Table, p50_ms, [p50_ms; 2])),
            None => match self.predict(candidate) {
                Ok((p50_ms, interval_ms)) => Ok((EstimateSource::Predicted, p50_ms, interval_ms)),
                Err(LutError::Device(error)) if error.is_unavailable() => return Err(error.into()),
                Err(error) => Err(DeviceError::Failed(error.to_string())),
            },
        };
        match found {
            Ok((source, p50_ms, interval_ms)) => {
                store.put_estimate(&EstimateRecord { arch_id: id, device, source, p50_ms, interval_ms })?;
            }
            Err(error) => candidate.failure = Some(format!("{device}: {error}")),
        }
        Ok(())
    }

    fn predict(&mut self, candidate: &Candidate) -> Result<(f64, [f64; 2]), LutError> {
        let table = self.planned.table.as_ref().expect("something predicts");
        let graph = table.header.graph.of(candidate.declared.as_ref().expect("a sound candidate has a graph"))?;
        let operators = match (&mut self.extractor, self.shows.as_mut().or(self.device.as_mut())) {
            (Some(extractor), Some(device)) => extractor.operators(&graph, &mut **device)?,
            _ => counted_operators(&graph, table.header.batch),
        };
        let mut costs = Costs::new();
        let counts = count(operators, &mut costs);
        let mut table = std::borrow::Cow::Borrowed(table);
        if counts.keys().any(|key| !table.entries.contains_key(key)) {
            table.to_mut().estimate(&costs);
        }
        let prediction = table.predict(&counts)?;
        Ok((prediction.p50_ms, prediction.interval90_ms.unwrap_or([prediction.p50_ms; 2])))
    }

    /// Measures the exported models of `candidates` together, stores what was found and fails the candidates of which nothing
    /// was. Gives the seconds that went into loading each.
    pub fn measure(
        &mut self,
        store: &mut Store,
        candidates: &mut [&mut Candidate],
        models: &Path,
    ) -> Result<Vec<f64>, StudyError> {
        let name = self.name().to_owned();
        let replayed = matches!(self.planned.profile.location, Location::Replay { .. });
        let job = |candidate: &&mut Candidate| Job {
            model: candidate.model(models),
            arch_id: Some(candidate.record.arch_id.clone()),
            ..Job::default()
        };
        let jobs: Vec<Job> = candidates.iter().map(job).collect();
        let device = self.device.as_mut().expect("a device that measures was opened");
        let mut records = vec![];
        let mut loading_s = vec![];
        for (candidate, outcome) in candidates.iter_mut().zip(device.measure_all(&jobs)) {
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
        Ok(loading_s)
    }
}

fn pace_key(device: &str) -> String {
    format!("pace@{device}")
}
