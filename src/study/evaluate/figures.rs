//! The figures of plugins, where they stand on the way from a genotype to a trial: an indicator's and a predictor's before
//! anything is measured, an objective's when all else is known.

use super::super::{Source, StudyError};
use super::{ACCURACY, Candidate, ECE, Evaluator, Observer, known};
use std::collections::BTreeMap;
use std::time::Instant;

impl Evaluator<'_> {
    /// Asks plugins for their figures of the sound candidates: those that come last, or the others. False if the observer
    /// interrupted it.
    pub(super) fn figures(
        &mut self,
        batch: &mut [Candidate],
        last: bool,
        observer: &dyn Observer,
    ) -> Result<bool, StudyError> {
        let plan = self.plan;
        let open: Vec<_> = plan.figures.iter().filter(|figure| figure.is_last() == last).collect();
        for candidate in batch.iter_mut().filter(|_| !open.is_empty()) {
            let begin = Instant::now();
            for figure in &open {
                if observer.interrupted() {
                    return Ok(false);
                }
                let values = self.known_values(candidate, last)?;
                figure.find(plan, (&mut *self.store, &self.models), candidate, &values)?;
            }
            candidate.record.seconds.scoring_s += begin.elapsed().as_secs_f64();
        }
        Ok(true)
    }

    /// What is known of a candidate, by name: its indicators and objectives; latencies only once all are measured.
    fn known_values(&self, candidate: &Candidate, measured: bool) -> Result<BTreeMap<String, f64>, StudyError> {
        let mut values = candidate.values.clone();
        for (objective, source) in self.plan.objectives.as_slice().iter().zip(&self.plan.sources) {
            if candidate.sound().is_some()
                && (measured || !matches!(source, Source::Latency(_)))
                && let Some(value) = self.value(candidate, source)?
            {
                values.insert(objective.name.clone(), value);
            }
        }
        Ok(values)
    }

    /// The value of one objective, if it is known.
    pub(super) fn value(&self, candidate: &Candidate, source: &Source) -> Result<Option<f64>, StudyError> {
        let (params, macs) = (candidate.record.params, candidate.record.macs);
        Ok(match source {
            Source::Quality => self.quality.of(&candidate.values),
            Source::Params => params.map(|params| params as f64),
            Source::Macs => macs.map(|macs| macs as f64),
            Source::Size => Some(candidate.size_mib(&self.models)?),
            Source::Accuracy => candidate.values.get(ACCURACY).copied(),
            Source::CalibrationError => candidate.values.get(ECE).copied(),
            Source::Plugin(name) => candidate.values.get(name).copied(),
            Source::Latency(device) => {
                let known = known(self.store, &candidate.record.arch_id, device)?;
                known.map(|latency| latency.p50_ms)
            }
        })
    }
}
