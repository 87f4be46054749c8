//! Doing the work of jobs that are found to be in order.

use super::AgentError;
use super::scoring::Scoring;
use crate::device::remote::message::{Failure, FailureKind, MeasureWork, Outcome, Work};
use crate::device::{self, Device, DeviceError, HardwareProfile, Location, OpenOptions};
use crate::latency::Measurement;
use std::path::{Path, PathBuf};

/// What an agent does its work with.
pub(super) enum Worker {
    Device { device: Box<dyn Device>, profile: HardwareProfile, open: OpenOptions },
    Scoring(Scoring),
}

impl Worker {
    /// Does work of one kind; a failure of all of it is an error.
    pub fn work(&mut self, works: Vec<(Work, Option<PathBuf>)>) -> Result<Vec<Outcome>, AgentError> {
        let other = |what: &str| {
            let reason = format!("this agent does not {what}");
            Outcome::Failed(Failure { kind: FailureKind::Refused, reason })
        };
        match self {
            Self::Scoring(scoring) => {
                let score = |(work, _)| match work {
                    Work::Score(work) => scoring.score(&work),
                    Work::Measure(_) => Ok(other("measure")),
                };
                Ok(works.into_iter().map(score).collect::<Result<_, DeviceError>>()?)
            }
            Self::Device { device, profile, open } => {
                let mut outcomes: Vec<Option<Outcome>> = vec![None; works.len()];
                loop {
                    // Those with one protocol take turns.
                    let waiting: Vec<(usize, &MeasureWork, &Path)> = works
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| outcomes[*at].is_none())
                        .filter_map(|(at, (work, file))| match (work, file) {
                            (Work::Measure(work), Some(file)) => Some((at, work, file.as_path())),
                            _ => None,
                        })
                        .collect();
                    let Some((_, first, _)) = waiting.first() else { break };
                    let protocol = first.protocol.clone();
                    let group: Vec<_> = waiting.into_iter().filter(|(_, work, _)| work.protocol == protocol).collect();
                    if profile.protocol != protocol {
                        profile.protocol = protocol;
                        *device = device::open(profile.clone(), open.clone())?;
                    }
                    let jobs: Vec<device::Job> = group
                        .iter()
                        .map(|(_, work, file)| device::Job {
                            model: file.to_path_buf(),
                            arch_id: work.arch_id.clone(),
                            input_dims: work.input_dims.clone(),
                        })
                        .collect();
                    let replays = matches!(profile.location, Location::Replay { .. });
                    for ((at, work, _), outcome) in group.iter().zip(device.measure_all(&jobs)) {
                        outcomes[*at] = Some(match outcome {
                            // A rehearsal: what was measured of another file of the architecture stands for this one.
                            Ok(measured) if replays => {
                                let model_sha256 = work.model_sha256.clone();
                                Outcome::Measured(Box::new(Measurement { model_sha256, ..measured }))
                            }
                            Ok(measured) => Outcome::Measured(Box::new(measured)),
                            Err(error) if error.is_unavailable() => return Err(error.into()),
                            Err(error) => Outcome::Failed(error.into()),
                        });
                    }
                }
                Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| other("score"))).collect())
            }
        }
    }
}
