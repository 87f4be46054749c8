//! An agent that scores: architectures of whatever space a search sends.

use crate::device::remote::message::{Outcome, ScoreWork};
use crate::device::{DeviceError, Limits, OpenOptions, Scorer};
use crate::network::Compute;

/// How an agent scores.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoringOptions {
    /// What computes.
    pub compute: Compute,
    /// What one job may take.
    pub limits: Limits,
}

/// What scores.
pub(super) struct Scoring(Scorer);

impl Scoring {
    pub fn new(options: ScoringOptions, open: OpenOptions) -> Self {
        Self(Scorer::new(options.compute, options.limits, open))
    }

    /// The outcome of a job. An error is not the job's fault.
    pub fn score(&mut self, work: &ScoreWork) -> Result<Outcome, DeviceError> {
        match self.0.score(work) {
            Ok(scores) => Ok(Outcome::Scored(scores)),
            Err(error) if error.is_unavailable() => Err(error),
            Err(error) => Ok(Outcome::Failed(error.into())),
        }
    }
}
