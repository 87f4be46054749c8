//! Which vectors are better, and how good a set of them is; pure `f64`, everything is minimised.
//!
//! a dominates b: a is nowhere greater than b and somewhere less. With constraints (Deb et al. 2002, section VI): the
//! feasible dominates the infeasible; of two infeasible vectors the one with the lesser violation dominates.

mod beyond_noise;
mod front_quality;
mod hypervolume;
mod sort;

use crate::objective::ObjectiveVector;

pub use beyond_noise::{FrontBeyondNoise, Measured};
pub use front_quality::{Knee, igd_plus, knee};
pub use hypervolume::{hypervolume, hypervolume_contributions};
pub use sort::{crowding_distances, non_dominated_fronts};

/// Whether `a` dominates `b`, constraints first.
///
/// # Panics
/// If they have not the same number of costs.
pub fn dominates(a: &ObjectiveVector, b: &ObjectiveVector) -> bool {
    match (a.is_feasible(), b.is_feasible()) {
        (true, true) => dominates_costs(a.costs(), b.costs()),
        (feasible, false) => feasible || a.violation() < b.violation(),
        (false, true) => false,
    }
}

/// Whether `a` is nowhere greater than `b` and somewhere less.
///
/// # Panics
/// If they have not the same number of costs.
pub fn dominates_costs(a: &[f64], b: &[f64]) -> bool {
    assert_eq!(a.len(), b.len(), "vectors of different objectives");
    a.iter().zip(b).all(|(a, b)| a <= b) && a.iter().zip(b).any(|(a, b)| a < b)
}

/// The vectors that no other one dominates, each with what reached it.
///
/// Equal vectors stand beside each other. While nothing feasible has come, it holds what breaks the constraints least.
#[derive(Clone, Debug, PartialEq)]
pub struct ParetoFront<T> {
    members: Vec<(T, ObjectiveVector)>,
}

impl<T> ParetoFront<T> {
    /// A front without members.
    pub fn new() -> Self {
        Self { members: vec![] }
    }

    /// Takes `key` in unless a member dominates its vector, and drops the members that it dominates.
    /// Says whether it was taken.
    ///
    /// # Panics
    /// If `vector` has not as many costs as the members.
    pub fn insert(&mut self, key: T, vector: ObjectiveVector) -> bool {
        if self.members.iter().any(|(_, member)| dominates(member, &vector)) {
            return false;
        }
        self.members.retain(|(_, member)| !dominates(&vector, member));
        self.members.push((key, vector));
        true
    }

    /// The members in the order in which they came.
    pub fn members(&self) -> &[(T, ObjectiveVector)] {
        &self.members
    }

    /// The members by cost: the first objective counts first; equal ones in the order in which they came.
    pub fn sorted(&self) -> Vec<&(T, ObjectiveVector)> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by(|(_, a), (_, b)| sort::lexicographic(a.costs(), b.costs()));
        members
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// [`hypervolume()`] of the feasible members.
    ///
    /// # Panics
    /// If `reference` has not as many costs as the members.
    pub fn hypervolume(&self, reference: &[f64]) -> f64 {
        let feasible = self.members.iter().filter(|(_, vector)| vector.is_feasible());
        hypervolume(&feasible.map(|(_, vector)| vector.costs()).collect::<Vec<_>>(), reference)
    }
}

impl<T> Default for ParetoFront<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> FromIterator<(T, ObjectiveVector)> for ParetoFront<T> {
    fn from_iter<I: IntoIterator<Item = (T, ObjectiveVector)>>(vectors: I) -> Self {
        let mut front = Self::new();
        vectors.into_iter().for_each(|(key, vector)| {
            front.insert(key, vector);
        });
        front
    }
}

#[cfg(test)]
mod tests;
