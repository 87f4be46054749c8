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
use std::time::Duration;

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
    pause: Duration,
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
        let Location::Replay { study, device, pause_ms } = &profile.location else {
            panic!("profile `{}` is no replay", profile.name);
        };
        let pause = Duration::from_millis(pause_ms.unwrap_or(0));
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
                let others =
                    if recorded.is_empty() { ": it is empty".to_owned() } else { format!(", only of {}", names()) };
                return Err(wrong(format!("has no records of device `{device}`{others}")));
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
        Ok(Self { profile, study, outcomes, pause })
    }
}

impl Device for ReplayDevice {
    fn profile(&self) -> &HardwareProfile {
        &self.profile
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        // Its records were read when it was opened.
        Ok(())
    }

    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError> {
        std::thread::sleep(self.pause);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(arch: &str, device: &str, reason: &str) -> String {
        format!("{{\"arch_id\": \"{arch}\", \"device\": \"{device}\", \"failed\": \"{reason}\"}}\n")
    }

    /// Opens the records `lines`, of the device named in `more`.
    fn open(lines: &str, more: &str) -> Result<ReplayDevice, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("r.jsonl"), lines).unwrap();
        let text = format!("name: a\ndescription: b\nlocation: {{replay: {{study: r.jsonl{more}}}}}");
        let profile = HardwareProfile::parse(&text, &folder.path().join("a.yaml")).unwrap();
        let shorter = |error: DeviceError| error.to_string().replace(&format!("{}/", folder.path().display()), "");
        ReplayDevice::new(profile).map_err(shorter)
    }

    fn answer(device: &mut ReplayDevice, arch: &str) -> String {
        let job = Job { arch_id: Some(ArchId::new(arch)), ..Job::of_model("m.onnx") };
        device.measure(&job).unwrap_err().to_string()
    }

    #[test]
    fn the_last_record_of_the_device_counts() {
        let lines =
            [failed("0a", "x", "first"), failed("0a", "y", "other"), failed("0a", "x", "last"), "\n".to_owned()];
        let mut device = open(&lines.concat(), ", device: x").unwrap();
        assert_eq!(answer(&mut device, "0a"), "last");
        assert!(answer(&mut device, "0b").starts_with("no measurement of architecture 0b is recorded in "));
    }

    fn check(lines: &str, more: &str, expected: &str) {
        assert_eq!(open(lines, more).unwrap_err(), expected);
    }

    #[test]
    fn records_that_cant_be_used_are_named() {
        let two = failed("0a", "x", "r") + &failed("0a", "y", "r");
        check(&two, "", "r.jsonl: has records of `x`, `y`: name one as `location.replay.device`");
        check(&two, ", device: z", "r.jsonl: has no records of device `z`, only of `x`, `y`");
        check("", ", device: z", "r.jsonl: has no records of device `z`: it is empty");
        check("{\"arch_id\": \"0a\"}", "", "r.jsonl: architecture 0a: expected either `measurement` or `failed`");
        let misspelt = "{\"arch_id\": \"0a\", \"fail\": \"r\"}";
        let error = open(&(two + misspelt), "").unwrap_err();
        assert!(error.starts_with("r.jsonl: line 3: unknown field `fail`"), "{error}");
    }

    #[test]
    fn records_that_are_not_there_are_named() {
        let text = "name: a\ndescription: b\nlocation: {replay: {study: nosuch.jsonl}}";
        let profile = HardwareProfile::parse(text, Path::new("a.yaml")).unwrap();
        let error = ReplayDevice::new(profile).unwrap_err().to_string();
        assert_eq!(error, "nosuch.jsonl: No such file or directory (os error 2)");
    }
}
