//! The figures of plugins, where they stand on the way from a genotype to a trial: an indicator's and a predictor's before
//! anything is measured, an objective's when all else is known.

use super::super::{Source, StudyError};
use super::{Candidate, Evaluator, Observer};
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
}
