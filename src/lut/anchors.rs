//! Networks of the table that are measured again with every group of others: what has become of the machine's pace since.
//!
//! The reference model tells the pace as well, but not all models slow down alike. Networks of the same space are closer to what
//! is measured: the median of `now / then` over the anchors is the factor that a group's figures are divided by.

use super::LutError;
use super::features::{Extractor, network, remove};
use super::table::{Role, Timed};
use crate::device::{Device, DeviceError, Job};
use crate::latency::statistics::median;
use crate::latency::{Measurement, Pace};
use crate::space::SearchSpace;

/// How many there are: with each one's figure a percent off, the median of eight is half a percent off.
const ANCHORS: usize = 8;
/// Networks that are measured together, the anchors not counted.
pub(super) const TOGETHER: usize = 50;

/// The anchors of a table.
pub(super) struct Anchors {
    jobs: Vec<Job>,
    then_ms: Vec<f64>,
    pace: Option<Pace>,
}

impl Anchors {
    /// The first random networks among `timed`, whose times are stated for `pace`; none while there are too few.
    pub fn of(
        timed: &[Timed],
        pace: Option<Pace>,
        space: &SearchSpace,
        extractor: &mut Extractor,
    ) -> Result<Option<Self>, LutError> {
        let first: Vec<&Timed> = timed.iter().filter(|timed| timed.role == Role::Random).take(ANCHORS).collect();
        if first.len() < ANCHORS {
            return Ok(None);
        }
        let (mut jobs, mut then_ms) = (vec![], vec![]);
        for timed in first {
            let Some(network) = network(space, &space.parse_arch(&timed.arch)?)? else { continue };
            jobs.push(Job { arch_id: Some(network.arch_id), ..Job::of_model(extractor.export(&network.graph)?) });
            then_ms.push(timed.p50_ms);
        }
        Ok(Some(Self { jobs, then_ms, pace }))
    }

    /// Measures `jobs` together with the anchors, and states their figures for the anchors' pace.
    pub fn measure(&self, device: &mut dyn Device, jobs: &[Job]) -> Vec<Result<Measurement, DeviceError>> {
        let all: Vec<Job> = jobs.iter().chain(&self.jobs).cloned().collect();
        let mut answers = device.measure_all(&all);
        let anchors = answers.split_off(jobs.len());
        let ratio = |(now, then): (Result<Measurement, DeviceError>, &f64)| Some(now.ok()?.p50_ms / then);
        let ratios: Vec<f64> = anchors.into_iter().zip(&self.then_ms).filter_map(ratio).collect();
        if ratios.is_empty() {
            tracing::warn!(
                "none of the anchors could be measured again: figures are not held against the table's pace"
            );
            return answers;
        }
        let factor = 1.0 / median(&ratios);
        answers.iter_mut().flatten().for_each(|one| one.calibrate(factor, self.pace.as_ref()));
        answers
    }
}

impl Drop for Anchors {
    fn drop(&mut self) {
        self.jobs.iter().for_each(|job| remove(&job.model));
    }
}
