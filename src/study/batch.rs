//! A batch of candidates that are evaluated together, and whose time is whose.

use super::candidate::Candidate;
use super::flight::Flight;
use crate::genotype::ArchId;
use std::collections::HashSet;

/// What of a batch was scored, and how long it took.
pub(super) struct Scored {
    pub ids: HashSet<ArchId>,
    pub seconds: f64,
}

/// A batch of candidates on its way.
pub(super) struct Batch {
    pub candidates: Vec<Candidate>,
    pub scored: Scored,
    /// What devices elsewhere have been asked.
    pub flights: Vec<Flight>,
    /// Seconds that were spent on it so far; what others did meanwhile is not its own.
    pub spent_s: f64,
}

impl Batch {
    /// Gives each trial its share of the time that was spent on all of them.
    pub fn share_time(&mut self) {
        let (batch, Scored { ids, seconds }) = (&mut self.candidates, &self.scored);
        let mut scored_here: Vec<&mut Candidate> =
            batch.iter_mut().filter(|candidate| ids.contains(&candidate.record.arch_id.architecture())).collect();
        let share = seconds / scored_here.len().max(1) as f64;
        scored_here.iter_mut().for_each(|candidate| candidate.record.seconds.scoring_s += share);
        let known: f64 = batch.iter().map(|candidate| candidate.record.seconds.total_s()).sum();
        let waiting_s = (self.spent_s - known).max(0.0) / batch.len().max(1) as f64;
        batch.iter_mut().for_each(|candidate| candidate.record.seconds.waiting_s = waiting_s);
    }
}

/// The candidates at these places, in their order in the batch.
pub(super) fn chosen<'a>(batch: &'a mut [Candidate], places: &[usize]) -> Vec<&'a mut Candidate> {
    batch.iter_mut().enumerate().filter(|(place, _)| places.contains(place)).map(|(_, candidate)| candidate).collect()
}
