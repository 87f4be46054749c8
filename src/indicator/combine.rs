//! From several indicators to one quality, against a reference sample of the space.
//!
//! A score by rank must not depend on who else is in the population, so ranks are taken in a sample that is
//! drawn once for a study. With rank r of n (1 is best, ties share their mean rank):
//! `log_rank` = −Σ ln(r/n) over the indicators, `rank_sum` = −Σ r. Both are better when higher.

use super::{Facts, Values};
use crate::objective::Direction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How indicators are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// −Σ ln(rank / n): a first place counts for more than two second places.
    #[default]
    LogRank,
    /// −Σ rank (Chen et al. 2021).
    RankSum,
}

/// The indicators' values in a sample of the space, dead architectures left out.
#[derive(Clone, Debug)]
pub struct Reference {
    /// For each indicator, its values turned so that smaller is better, ascending.
    columns: BTreeMap<String, Column>,
}

#[derive(Clone, Debug)]
struct Column {
    direction: Direction,
    costs: Vec<f64>,
    /// Members of the sample that have no value: worse than any.
    absent: usize,
}

impl Reference {
    /// The reference of these architectures' values; one that failed lacks some or all of them.
    pub fn new(indicators: &[&Facts], sample: &[Values]) -> Self {
        let column = |&&Facts { name, direction, .. }: &&Facts| {
            let value = |values: &Values| values.get(name).map(|&value| direction.cost(value));
            let mut costs: Vec<f64> = sample.iter().filter_map(value).collect();
            costs.sort_by(f64::total_cmp);
            let absent = sample.len() - costs.len();
            (name.to_owned(), Column { direction, costs, absent })
        };
        Self { columns: indicators.iter().map(column).collect() }
    }

    /// The quality of an architecture with these values, higher is better; none if a value is missing.
    pub fn quality(&self, combine: Combine, values: &Values) -> Option<f64> {
        let mut quality = 0.0;
        for (name, column) in &self.columns {
            let rank = column.rank(*values.get(name)?);
            quality -= match combine {
                Combine::LogRank => (rank / column.size()).ln(),
                Combine::RankSum => rank,
            };
        }
        Some(quality)
    }
}

impl Column {
    /// Sample and newcomer.
    fn size(&self) -> f64 {
        (self.costs.len() + self.absent + 1) as f64
    }

    fn rank(&self, value: f64) -> f64 {
        let cost = self.direction.cost(value);
        let better = self.costs.partition_point(|&other| other < cost);
        let ties = self.costs.partition_point(|&other| other <= cost) - better;
        1.0 + better as f64 + 0.5 * ties as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Indicator, NtkCondition};
    use super::*;

    fn values(kappa: f64, regions: f64) -> Values {
        [("kappa".to_owned(), kappa), ("regions".to_owned(), regions)].into()
    }

    #[test]
    fn quality_is_by_rank_in_the_sample() {
        let facts = |name, direction| Facts { name, direction, ..*NtkCondition.facts() };
        let (kappa, regions) = (facts("kappa", Direction::Minimize), facts("regions", Direction::Maximize));
        let sample = [values(10.0, 5.0), values(20.0, 7.0), Values::new()];
        let reference = Reference::new(&[&kappa, &regions], &sample);
        let check = |values: Values, ranks: [f64; 2]| {
            let expected: f64 = -ranks.iter().map(|rank| (rank / 4.0).ln()).sum::<f64>();
            let quality = reference.quality(Combine::LogRank, &values).unwrap();
            assert!((quality - expected).abs() < 1e-12, "{quality} is not {expected}");
            assert_eq!(reference.quality(Combine::RankSum, &values), Some(-ranks[0] - ranks[1]));
        };
        check(values(1.0, 9.0), [1.0, 1.0]);
        check(values(20.0, 6.0), [2.5, 2.0]);
        check(values(99.0, 0.0), [3.0, 3.0]);
        assert_eq!(reference.quality(Combine::LogRank, &Values::new()), None);
    }
}
