//! What a search optimises: name, direction, unit and constraint of each objective, and the vector that a
//! trial's values make.
//!
//! Searches minimise. [`Objectives::vector`] turns values in their own units into costs (a maximised value
//! changes its sign) and adds up how far they are out of their bounds. An excess is relative to its bound, so
//! that milliseconds and percent may be added:
//! violation = Σ max(0, v - at_most) / |at_most| + max(0, at_least - v) / |at_least|, where a bound of 0 divides by 1.

pub mod count;

use serde::{Deserialize, Serialize};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Less is better.
    Minimize,
    /// More is better.
    Maximize,
}

impl Direction {
    /// `value` as a cost (less is better); of a cost, the value.
    pub fn cost(self, value: f64) -> f64 {
        match self {
            Direction::Minimize => value,
            Direction::Maximize => -value,
        }
    }
}

/// One thing that a search optimises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// What it is called in reports and in a trial's values.
    pub name: String,
    /// Which way is better.
    pub direction: Direction,
    /// Unit of its values, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The least value allowed, in its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The greatest value allowed, in its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// Whether it is a constraint alone: within its bounds, more or less of it is all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub constraint: bool,
}

impl Objective {
    /// An objective without unit and bounds.
    pub fn new(name: impl Into<String>, direction: Direction) -> Self {
        Self { name: name.into(), direction, unit: None, at_least: None, at_most: None, constraint: false }
    }

    /// How far `value` is out of the bounds, relative to the bound it breaks; 0 within.
    pub fn violation(&self, value: f64) -> f64 {
        let excess = |over: f64, bound: f64| over.max(0.0) / if bound == 0.0 { 1.0 } else { bound.abs() };
        self.at_most.map_or(0.0, |bound| excess(value - bound, bound))
            + self.at_least.map_or(0.0, |bound| excess(bound - value, bound))
    }
}

/// The objectives of one search, in the order of its vectors, and its constraints: at least one that is optimised, with names
/// of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Objective>", into = "Vec<Objective>")]
pub struct Objectives(Vec<Objective>);

impl Objectives {
    /// These objectives.
    ///
    /// # Errors
    /// If none is optimised, two share a name, a bound is not finite or leaves no room below the other, or a constraint
    /// has none.
    pub fn new(objectives: Vec<Objective>) -> Result<Self, ObjectiveError> {
        if objectives.iter().all(|objective| objective.constraint) {
            return Err(ObjectiveError::None);
        }
        for (at, objective) in objectives.iter().enumerate() {
            let name = || objective.name.clone();
            if objectives[..at].iter().any(|earlier| earlier.name == objective.name) {
                return Err(ObjectiveError::Twice { name: name() });
            }
            let (least, most) = (objective.at_least, objective.at_most);
            if let Some(bound) = [least, most].into_iter().flatten().find(|bound| !bound.is_finite()) {
                return Err(ObjectiveError::NotFinite { name: name(), what: "bound", value: bound });
            }
            if let (Some(least), Some(most)) = (least, most)
                && least > most
            {
                return Err(ObjectiveError::Crossed { name: name(), least, most });
            }
            if objective.constraint && (least, most) == (None, None) {
                return Err(ObjectiveError::Unbounded { name: name() });
            }
        }
        Ok(Self(objectives))
    }

    /// The objectives and constraints in order.
    pub fn as_slice(&self) -> &[Objective] {
        &self.0
    }

    /// Those that a vector has a cost of, in order.
    pub fn optimised(&self) -> impl Iterator<Item = &Objective> {
        self.0.iter().filter(|objective| !objective.constraint)
    }

    /// The vector of a trial's `values`, which are in the objectives' order and units.
    ///
    /// # Errors
    /// If there are more or fewer values than objectives, or one is not finite (a failure is not a number).
    pub fn vector(&self, values: &[f64]) -> Result<ObjectiveVector, ObjectiveError> {
        if values.len() != self.0.len() {
            return Err(ObjectiveError::Count { expected: self.0.len(), found: values.len() });
        }
        let mut vector = ObjectiveVector { costs: Vec::with_capacity(values.len()), violation: 0.0 };
        for (objective, &value) in self.0.iter().zip(values) {
            if !value.is_finite() {
                return Err(ObjectiveError::NotFinite { name: objective.name.clone(), what: "value", value });
            }
            if !objective.constraint {
                vector.costs.push(objective.direction.cost(value));
            }
            vector.violation += objective.violation(value);
        }
        Ok(vector)
    }
}

impl TryFrom<Vec<Objective>> for Objectives {
    type Error = ObjectiveError;

    fn try_from(objectives: Vec<Objective>) -> Result<Self, ObjectiveError> {
        Self::new(objectives)
    }
}

impl From<Objectives> for Vec<Objective> {
    fn from(objectives: Objectives) -> Self {
        objectives.0
    }
}

/// What one trial reached: finite costs, each to be minimised, and how far it breaks the constraints.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveVector {
    costs: Vec<f64>,
    violation: f64,
}

impl ObjectiveVector {
    /// A vector that breaks no constraint.
    ///
    /// # Panics
    /// If a cost is not finite.
    pub fn feasible(costs: Vec<f64>) -> Self {
        Self::new(costs, 0.0)
    }

    /// A vector with its total constraint violation (0: feasible).
    ///
    /// # Panics
    /// If a cost or the violation is not finite, or the violation is negative.
    pub fn new(costs: Vec<f64>, violation: f64) -> Self {
        assert!(costs.iter().all(|cost| cost.is_finite()), "costs {costs:?} must be finite");
        assert!(violation.is_finite() && violation >= 0.0, "violation {violation} must be finite and not negative");
        Self { costs, violation }
    }

    /// The costs, in the objectives' order; less is better.
    pub fn costs(&self) -> &[f64] {
        &self.costs
    }

    /// How far the constraints are broken; 0 where they hold.
    pub fn violation(&self) -> f64 {
        self.violation
    }

    /// Whether the constraints hold.
    pub fn is_feasible(&self) -> bool {
        self.violation == 0.0
    }
}

impl AsRef<[f64]> for ObjectiveVector {
    fn as_ref(&self) -> &[f64] {
        &self.costs
    }
}

/// Why objectives or their values were refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ObjectiveError {
    /// There is nothing to optimise.
    #[error("no objectives: expected at least one")]
    None,
    /// A constraint that constrains nothing.
    #[error("constraint `{name}` has no bound")]
    Unbounded {
        /// The constraint.
        name: String,
    },
    /// Two objectives with one name.
    #[error("objective `{name}` is there twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// The bounds exclude everything.
    #[error("objective `{name}`: at_least {least} is above at_most {most}")]
    Crossed {
        /// The objective.
        name: String,
        /// Its lower bound.
        least: f64,
        /// Its upper bound.
        most: f64,
    },
    /// A bound or a value is infinite or not a number.
    #[error("objective `{name}`: {what} {value} is not a finite number")]
    NotFinite {
        /// The objective.
        name: String,
        /// `bound` or `value`.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// Values for other objectives than these.
    #[error("expected {expected} objective values, found {found}")]
    Count {
        /// How many objectives there are.
        expected: usize,
        /// How many values came.
        found: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objectives() -> Objectives {
        let latency = Objective {
            unit: Some("ms".into()),
            at_most: Some(20.0),
            ..Objective::new("latency", Direction::Minimize)
        };
        let accuracy = Objective { at_least: Some(90.0), ..Objective::new("accuracy", Direction::Maximize) };
        Objectives::new(vec![latency, accuracy]).unwrap()
    }

    #[test]
    fn values_become_costs_and_a_relative_violation() {
        let check = |values: [f64; 2], costs: [f64; 2], violation: f64| {
            assert_eq!(objectives().vector(&values), Ok(ObjectiveVector::new(costs.to_vec(), violation)));
        };
        check([20.0, 90.0], [20.0, -90.0], 0.0);
        check([25.0, 95.0], [25.0, -95.0], 0.25);
        check([25.0, 45.0], [25.0, -45.0], 0.75);
    }

    #[test]
    fn a_bound_of_zero_counts_the_excess_itself() {
        let objective = Objective { at_most: Some(0.0), ..Objective::new("drop", Direction::Minimize) };
        assert_eq!(objective.violation(3.0), 3.0);
    }

    #[test]
    fn a_failure_is_not_a_number() {
        let message = |values: &[f64]| objectives().vector(values).unwrap_err().to_string();
        assert_eq!(message(&[f64::NAN, 1.0]), "objective `latency`: value NaN is not a finite number");
        assert_eq!(message(&[1.0]), "expected 2 objective values, found 1");
    }

    #[test]
    fn yaml_is_checked_where_it_is_read() {
        let check = |text: &str, expected: &str| {
            let error = crate::yaml::parse::<Objectives>(text, std::path::Path::new("s.yaml")).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("[]", "no objectives");
        check("[{name: a, direction: minimize}, {name: a, direction: maximize}]", "objective `a` is there twice");
        check("[{name: a, direction: minimize, at_least: 2, at_most: 1}]", "at_least 2 is above at_most 1");
        check("[{name: a, direction: minimise}]", "did you mean `minimize`?");
        check("[{name: a, direction: minimize, at_mots: 1}]", "did you mean `at_most`?");
    }
}
