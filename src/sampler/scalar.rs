//! One order of trials that have several objectives, for strategies that compare trials by one number.
//!
//! Constraints first: what breaks them comes after all that keeps them, the least violation first; failed trials come last.
//! Costs are normalised by the least and the greatest among the feasible trials that are compared:
//! z_j = (c_j − min_j) / (max_j − min_j).

use super::SamplerError;
use crate::objective::ObjectiveVector;
use crate::pareto::{crowding_distances, non_dominated_fronts};
use crate::statistics::ranks;
use serde::{Deserialize, Serialize};

/// How several objectives make one order; with one objective all are that objective's order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scalarize {
    /// No scalar: front by front, the most crowded of a front last (NSGA-II's order).
    #[default]
    NonDominated,
    /// The sum of the ranks in each objective, as TEG-NAS does it.
    RankSum,
    /// max_j w_j · z_j, and a twentieth of Σ w_j · z_j, so that equal maxima are told apart (Knowles 2006).
    Chebyshev(Weights),
    /// Σ w_j · z_j.
    Weighted(Weights),
}

/// What each objective counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// A weight for each objective, in their order; all alike where absent.
    pub weights: Option<Vec<f64>>,
}

impl Scalarize {
    /// Checks the weights against the number of objectives.
    ///
    /// # Errors
    /// If there are more or fewer, or they are no weights.
    pub(super) fn check(&self, objectives: usize) -> Result<(), SamplerError> {
        let (Self::Chebyshev(Weights { weights: Some(weights) }) | Self::Weighted(Weights { weights: Some(weights) })) =
            self
        else {
            return Ok(());
        };
        let wrong = |value, expected| Err(SamplerError::Option { field: "weights", value, expected });
        if let Some(&weight) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            return wrong(weight, "finite numbers that are not negative");
        }
        if weights.iter().all(|&weight| weight == 0.0) {
            return wrong(0.0, "one above 0");
        }
        match weights.len() == objectives {
            true => Ok(()),
            false => wrong(weights.len() as f64, "as many numbers as objectives"),
        }
    }

    /// Where each of `trials` stands among them: less is better, infinite for failed ones.
    pub(super) fn standings(&self, trials: &[Option<&ObjectiveVector>]) -> Vec<f64> {
        let mut standings = vec![f64::INFINITY; trials.len()];
        if *self == Self::NonDominated {
            let there: Vec<usize> = (0..trials.len()).filter(|&at| trials[at].is_some()).collect();
            let vectors: Vec<ObjectiveVector> = trials.iter().filter_map(|trial| trial.cloned()).collect();
            for (rank, front) in non_dominated_fronts(&vectors).into_iter().enumerate() {
                let costs: Vec<&[f64]> = front.iter().map(|&at| vectors[at].costs()).collect();
                let crowded: Vec<f64> = crowding_distances(&costs).into_iter().map(|distance| -distance).collect();
                for (at, place) in front.iter().zip(ranks(&crowded)) {
                    standings[there[*at]] = rank as f64 + (place - 1.0) / front.len() as f64;
                }
            }
            return standings;
        }
        let feasible = |at: &usize| trials[*at].is_some_and(ObjectiveVector::is_feasible);
        let feasible: Vec<usize> = (0..trials.len()).filter(feasible).collect();
        let costs: Vec<&[f64]> = feasible.iter().filter_map(|&at| Some(trials[at]?.costs())).collect();
        let scalars = self.scalars(&costs);
        let worst = scalars.iter().copied().fold(0.0, f64::max);
        feasible.iter().zip(scalars).for_each(|(&at, scalar)| standings[at] = scalar);
        for (trial, standing) in trials.iter().zip(&mut standings) {
            if let Some(vector) = trial.filter(|vector| !vector.is_feasible()) {
                *standing = worst + 1.0 + vector.violation();
            }
        }
        standings
    }

    fn scalars(&self, costs: &[&[f64]]) -> Vec<f64> {
        let objectives = costs.first().map_or(0, |costs| costs.len());
        let column = |objective: usize| costs.iter().map(|costs| costs[objective]).collect::<Vec<f64>>();
        // Of each objective, a number for each trial.
        let columns: Vec<Vec<f64>> = (0..objectives)
            .map(|objective| match self {
                Self::RankSum => ranks(&column(objective)),
                _ => normalized(&column(objective)),
            })
            .collect();
        let weight = |objective: usize| match self {
            Self::Chebyshev(Weights { weights: Some(weights) })
            | Self::Weighted(Weights { weights: Some(weights) }) => weights[objective],
            _ => 1.0,
        };
        (0..costs.len())
            .map(|at| {
                let terms = || (0..objectives).map(|objective| weight(objective) * columns[objective][at]);
                match self {
                    Self::Chebyshev(_) => terms().fold(0.0, f64::max) + 0.05 * terms().sum::<f64>(),
                    _ => terms().sum(),
                }
            })
            .collect()
    }
}

/// From 0 for the least to 1 for the greatest.
fn normalized(values: &[f64]) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = high - low;
    values.iter().map(|value| if range > 0.0 { (value - low) / range } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(scalarize: &Scalarize, trials: &[Option<(&[f64], f64)>]) -> Vec<usize> {
        let vectors: Vec<_> = trials
            .iter()
            .map(|trial| trial.map(|(costs, broken)| ObjectiveVector::new(costs.to_vec(), broken)))
            .collect();
        let standings = scalarize.standings(&vectors.iter().map(Option::as_ref).collect::<Vec<_>>());
        let mut order: Vec<usize> = (0..trials.len()).collect();
        order.sort_by(|&a, &b| standings[a].total_cmp(&standings[b]));
        order
    }

    fn all() -> [Scalarize; 4] {
        let even = Weights::default;
        [Scalarize::NonDominated, Scalarize::RankSum, Scalarize::Chebyshev(even()), Scalarize::Weighted(even())]
    }

    #[test]
    fn constraints_come_first_and_failures_last() {
        for scalarize in all() {
            let trials = [
                None,
                Some((&[0.0, 0.0][..], 2.0)),
                Some((&[9.0, 9.0][..], 0.0)),
                Some((&[1.0, 1.0][..], 0.5)),
                Some((&[5.0, 5.0][..], 0.0)),
            ];
            assert_eq!(order(&scalarize, &trials), [4, 2, 3, 1, 0], "{scalarize:?}");
        }
    }

    #[test]
    fn one_objective_has_one_order() {
        for scalarize in all() {
            let trials = [3.0, 1.0, 2.0].map(|cost| Some((vec![cost], 0.0)));
            let trials: Vec<_> = trials.iter().map(|trial| trial.as_ref().map(|(costs, v)| (&costs[..], *v))).collect();
            assert_eq!(order(&scalarize, &trials), [1, 2, 0], "{scalarize:?}");
        }
    }

    #[test]
    fn each_has_its_own_favourite() {
        // The corner of a concave front, two ends of it, and one that two others dominate.
        let trials = [[0.0, 10.0], [6.5, 5.0], [10.0, 0.0], [7.0, 7.0]].map(|costs| (costs, 0.0));
        let trials: Vec<_> = trials.iter().map(|(costs, broken)| Some((&costs[..], *broken))).collect();
        let check =
            |scalarize: Scalarize, first: usize| assert_eq!(order(&scalarize, &trials)[0], first, "{scalarize:?}");
        let weights = |weights: [f64; 2]| Weights { weights: Some(weights.to_vec()) };
        check(Scalarize::Chebyshev(Weights::default()), 1);
        check(Scalarize::Weighted(weights([2.0, 1.0])), 0);
        check(Scalarize::Weighted(weights([1.0, 2.0])), 2);
        assert_eq!(order(&Scalarize::NonDominated, &trials)[3], 3);
    }

    #[test]
    fn weights_are_checked() {
        let check = |weights: &[f64], expected: &str| {
            let error = Scalarize::Weighted(Weights { weights: Some(weights.to_vec()) }).check(2).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        check(&[1.0], "weights is 1: expected as many numbers as objectives");
        check(&[1.0, -1.0], "weights is -1: expected finite numbers that are not negative");
        check(&[0.0, 0.0], "weights is 0: expected one above 0");
    }
}
