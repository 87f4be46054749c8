//! The front of a study that is in its store, and the trial that is its knee.

use super::store::{Store, TrialRecord};
use super::{StudyError, StudyFacts, measured, repeated};
use crate::objective::Objectives;
use crate::pareto::{self, FrontBeyondNoise};

/// Indexes of those of `records` that nothing dominates beyond noise, among those that keep all bounds.
///
/// # Errors
/// If the store can't be read.
pub fn front_of(store: &Store, objectives: &Objectives, records: &[&TrialRecord]) -> Result<Vec<usize>, StudyError> {
    let mut front = FrontBeyondNoise::new();
    for (index, record) in records.iter().enumerate() {
        if let Some(measured) = measured(store, objectives, record)?.filter(|one| one.vector.is_feasible()) {
            front.insert(index, measured);
        }
    }
    Ok(front.members().copied().collect())
}

/// The trials on the front of the search, of all its repeats.
///
/// # Errors
/// If the store can't be read.
pub fn front(store: &Store, facts: &StudyFacts) -> Result<Vec<TrialRecord>, StudyError> {
    let mut all = vec![];
    for repeat in 0..facts.repeats {
        all.extend(store.trials(&repeated(&facts.search, repeat))?);
    }
    let members = front_of(store, &facts.objectives, &all.iter().collect::<Vec<_>>())?;
    Ok(members.into_iter().map(|index| all[index].clone()).collect())
}

/// The trial at the knee of the search's front ([`pareto::knee`]); none where no trial is complete.
///
/// # Errors
/// If the store can't be read.
pub fn knee(store: &Store, facts: &StudyFacts) -> Result<Option<TrialRecord>, StudyError> {
    let mut front = front(store, facts)?;
    let costs = |record: &TrialRecord| {
        super::vector(&facts.objectives, record).expect("a member of the front is complete").costs().to_vec()
    };
    let costs: Vec<Vec<f64>> = front.iter().map(costs).collect();
    Ok(pareto::knee(&costs).map(|knee| front.swap_remove(knee.at)))
}
