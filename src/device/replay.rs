//! A device that answers with measurements that were recorded: deterministic, and without the hardware.
//!
//! The records are JSON lines, `{"arch_id": …, "measurement": {…}}` or `{"arch_id": …, "failed": "reason"}`; of
//! several records of one architecture on one device the last counts.

use super::{Device, DeviceError, HardwareProfile, Job, Location};
use crate::genotype::ArchId;
use crate::latency::Measurement;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// One line of the records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which architecture.
    pub arch_id: ArchId,
    /// Name of the profile that it was measured on; the measurement's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measurement: Option<Measurement>,
    /// Why nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Record {
    /// The record of what a device answered.
    pub fn new(arch_id: ArchId, device: &str, outcome: &Result<Measurement, DeviceError>) -> Self {
        let failed = outcome.as_ref().err().map(ToString::to_string);
        Self { arch_id, device: Some(device.to_owned()), measurement: outcome.as_ref().ok().cloned(), failed }
    }

    fn device(&self) -> Option<&str> {
        let measured = self.measurement.as_ref().map(|measurement| measurement.device.as_str());
        self.device.as_deref().or(measured)
    }

    fn outcome(self) -> Result<Result<Measurement, String>, String> {
        match (self.measurement, self.failed) {
            (Some(measurement), None) => Ok(Ok(measurement)),
            (None, Some(reason)) => Ok(Err(reason)),
            _ => Err("expected either `measurement` or `failed`".to_owned()),
        }
    }
}

/// Recorded measurements in the place of a device.
#[derive(Clone, Debug)]
pub struct ReplayDevice {
    profile: HardwareProfile,
    study: PathBuf,
    outcomes: HashMap<ArchId, Result<Measurement, String>>,
}

impl ReplayDevice {
    /// Reads the records that the profile names.
    ///
    /// # Errors
    /// If they can't be read, or are of several devices and the profile does not say which.
    ///
    /// # Panics
    /// If the profile's location is no replay.
    pub fn new(profile: HardwareProfile) -> Result<Self, DeviceError> {
        let Location::Replay { study, device } = &profile.location else {
            panic!("profile `{}` is no replay", profile.name);
        };
        let study = if study.is_dir() { study.join("measurements.jsonl") } else { study.clone() };
        let wrong = |reason: String| DeviceError::Records { study: study.clone(), reason };
        let records = read(&study).map_err(wrong)?;
        let recorded: BTreeSet<String> =
            records.iter().filter_map(|record| record.device()).map(str::to_owned).collect();
        let names = || recorded.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        match device {
            None if recorded.len() > 1 => {
                return Err(wrong(format!("has records of {}: name one as `location.replay.device`", names())));
            }
            Some(device) if !recorded.contains(device) => {
                return Err(wrong(format!("has no records of device `{device}`, only of {}", names())));
            }
            _ => {}
        }
        let wanted = |record: &Record| device.is_none() || record.device() == device.as_deref();
        let outcomes = records.into_iter().filter(wanted).map(|record| {
            let arch_id = record.arch_id.clone();
            let outcome = record.outcome().map_err(|reason| wrong(format!("architecture {arch_id}: {reason}")))?;
            Ok((arch_id, outcome))
        });
        let outcomes = outcomes.collect::<Result<_, DeviceError>>()?;
        Ok(Self { profile, study, outcomes })
    }
}

impl Device for ReplayDevice {
    fn profile(&self) -> &HardwareProfile {
        &self.profile
    }

    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError> {
        let arch = job.arch_id.as_ref();
        match arch.and_then(|arch| self.outcomes.get(arch)) {
            Some(outcome) => outcome.clone().map_err(DeviceError::Failed),
            None => Err(DeviceError::NoRecord {
                arch: arch.map_or_else(|| job.model.display().to_string(), ToString::to_string),
                study: self.study.clone(),
            }),
        }
    }
}

fn read(path: &Path) -> Result<Vec<Record>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(at, line)| serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1))).collect()
}
