//! What exporters rely on, checked before anything is written.

use super::{ReportError, SearchSummary, StudyReport, TrialState};

impl StudyReport {
    /// Checks what the exporters rely on.
    ///
    /// # Errors
    /// If a number is not finite, the front names a trial that is absent or failed, a complete trial lacks an
    /// objective, a failed one has some, or the reference point has another length than the objectives.
    pub fn check(&self) -> Result<(), ReportError> {
        let invalid = |field: String, reason: &str| Err(ReportError::Invalid { field, reason: reason.to_owned() });
        let complete = self.trials.iter().any(|trial| trial.is_complete());
        let optimised = self.objectives.iter().filter(|objective| !objective.constraint).count();
        if self.reference_point.len() != optimised && (complete || !self.reference_point.is_empty()) {
            return invalid("reference_point".into(), "expected one value for each objective that is optimised");
        }
        for &index in &self.front {
            match self.trials.get(index) {
                Some(trial) if trial.is_complete() => {}
                _ => return invalid(format!("front: {index}"), "expected the index of a complete trial"),
            }
        }
        for trial in &self.trials {
            let field = |name: &str| format!("trial {}: {name}", trial.number);
            match &trial.state {
                TrialState::Complete => {
                    if let Some(lacking) = self.objectives.iter().find(|o| !trial.objectives.contains_key(&o.name)) {
                        return invalid(field(&lacking.name), "a complete trial has every objective");
                    }
                }
                TrialState::Failed(_) if !trial.objectives.is_empty() => {
                    return invalid(field("objectives"), "a failed trial has none");
                }
                TrialState::Failed(_) => {}
            }
            for (name, value) in trial.objectives.iter().chain(&trial.indicators) {
                if !value.is_finite() {
                    return invalid(field(name), "expected a finite number");
                }
            }
            for (device, measured) in &trial.measurements {
                let [low, high] = measured.ci95_ms;
                let once = [measured.load_ms, measured.first_run_ms].into_iter().flatten();
                let times: Vec<f64> = [measured.p50_ms, low, high].into_iter().chain(once).collect();
                if !times.into_iter().chain(measured.p90_ms).all(f64::is_finite) {
                    return invalid(field(device), "expected finite times");
                }
            }
        }
        let summaries = [Some(&self.search), self.control.as_ref()].into_iter().flatten();
        let seconds = |s: &SearchSummary| {
            [s.hypervolume, s.scoring_s, s.exporting_s, s.loading_s, s.measuring_s, s.waiting_s, s.total_s]
        };
        let history = self.hypervolume_history.iter().flat_map(|p| [Some(p.search), p.control]).flatten();
        let numbers = summaries
            .flat_map(seconds)
            .chain(history)
            .chain(self.reference_point.iter().copied())
            .chain(self.correlations.iter().map(|c| c.spearman))
            .chain(self.devices.iter().filter_map(|d| d.load_average))
            .chain([self.space_size]);
        match numbers.into_iter().find(|number| !number.is_finite()) {
            Some(number) => invalid("report".into(), &format!("expected finite numbers, found {number}")),
            None => Ok(()),
        }
    }
}
