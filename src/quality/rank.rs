//! Where a value stands in the reference sample, as a number that does not depend on who else is searched.
//!
//! Ranks are continuous: between two members of the sample they are interpolated, so that candidates which the sample
//! does not tell apart are still in order; before the best and behind the worst their logarithm goes on as steeply as
//! in the tenth of the sample that is next.

use crate::objective::Direction;
use serde::{Deserialize, Serialize};

/// How the standings in several indicators become one figure; more is better in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Σ ln(rank / n), ranks counted from the worst, 1, to the best, n: who is among the worst by one indicator is made up for
    /// by no other (Lee and Ham 2024, AZ-NAS). A tenth of −ln(rank / n) counted from the best is added, since
    /// the logarithm hardly tells the best from each other.
    #[default]
    LogRank,
    /// −Σ rank / n (Chen et al. 2021, Section 4: the answer of TEG-NAS's searches).
    RankSum,
    /// Σ ±(value − mean) / range, ranges and means being the sample's (after Chen et al. 2021, Section 3: the reward of
    /// TEG-NAS's agent).
    TegReward,
}

/// One indicator's values in the reference sample.
#[derive(Clone, Debug)]
pub(super) struct Ranking {
    direction: Direction,
    /// The distinct values turned so that smaller is better, ascending, each with its mean rank from 1.
    places: Vec<(f64, f64)>,
    count: f64,
    mean: f64,
}

/// What a rank counted from the best adds to one counted from the worst.
const FROM_BEST: f64 = 0.1;
/// Members of the sample that the slope beyond its ends is taken from.
const TAIL: f64 = 0.1;
/// The most that a rank's logarithm goes beyond the ends, so that one odd value does not decide.
const BEYOND: f64 = 2.0;

impl Ranking {
    /// The ranking of these values; none without a value.
    pub(super) fn new(direction: Direction, values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut costs: Vec<f64> = values.map(|value| direction.cost(value)).collect();
        costs.sort_by(f64::total_cmp);
        let mut places: Vec<(f64, f64)> = vec![];
        let mut before = 0;
        for group in costs.chunk_by(|a, b| a == b) {
            places.push((group[0], before as f64 + (group.len() + 1) as f64 / 2.0));
            before += group.len();
        }
        let count = costs.len() as f64;
        let mean = costs.iter().sum::<f64>() / count;
        (!places.is_empty()).then_some(Self { direction, places, count, mean })
    }

    /// How good a value is, more is better; 0 for the worst of the sample where ranks are counted.
    pub(super) fn merit(&self, combine: Combine, value: f64) -> f64 {
        let cost = self.direction.cost(value);
        match combine {
            Combine::LogRank => {
                self.log(cost, |rank| self.count + 1.0 - rank)
                    + FROM_BEST * (self.count.ln() - self.log(cost, |rank| rank))
            }
            Combine::RankSum => 1.0 - self.log(cost, |rank| rank).exp() / self.count,
            Combine::TegReward => {
                let range = self.places[self.places.len() - 1].0 - self.places[0].0;
                if range > 0.0 { (self.mean - cost) / range } else { 0.0 }
            }
        }
    }

    /// ln of the continuous rank, which `counted` makes of the one from the best.
    fn log(&self, cost: f64, counted: impl Fn(f64) -> f64) -> f64 {
        let after = self.places.partition_point(|place| place.0 < cost);
        let last = self.places.len() - 1;
        let tail = (self.places.len() as f64 * TAIL).ceil() as usize;
        let place = |at: usize| (self.places[at].0, counted(self.places[at].1));
        let beyond = |end: usize, inner: usize| {
            let ((at, rank), (inner_at, inner_rank)) = (place(end), place(inner));
            let slope = if at == inner_at { 0.0 } else { (inner_rank.ln() - rank.ln()) / (inner_at - at) };
            rank.ln() + (slope * (cost - at)).clamp(-BEYOND, BEYOND)
        };
        if after <= last && self.places[after].0 == cost {
            return place(after).1.ln();
        }
        match after {
            0 => beyond(0, tail.min(last)),
            _ if after > last => beyond(last, last.saturating_sub(tail)),
            _ => {
                let ((left, low), (right, high)) = (place(after - 1), place(after));
                (low + (high - low) * (cost - left) / (right - left)).ln()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_the_samples_and_go_on_between_and_beyond() {
        let sample = [4.0, 1.0, 2.0, 2.0, 8.0];
        let ranking = Ranking::new(Direction::Minimize, sample.into_iter()).unwrap();
        let check = |value: f64, from_best: f64, from_worst: f64| {
            let merit = ranking.merit(Combine::LogRank, value);
            assert!((merit - (from_worst.ln() + 0.1 * (5.0 / from_best).ln())).abs() < 1e-12, "{value}: {merit}");
        };
        check(1.0, 1.0, 5.0);
        check(2.0, 2.5, 3.5);
        check(1.5, 1.75, 4.25);
        check(8.0, 5.0, 1.0);
        // ln(2.5) and ln(3.5 / 5) for each step of 1, as from 2 to 1.
        check(0.5, 2.5f64.powf(-0.5), 5.0 * (5.0f64 / 3.5).sqrt());
        check(-1e9, (-BEYOND).exp(), 5.0 * BEYOND.exp());
        check(1e9, 5.0 * BEYOND.exp(), (-BEYOND).exp());
        assert_eq!(ranking.merit(Combine::RankSum, 2.0), 0.5);
        assert!((ranking.merit(Combine::TegReward, 8.0) + 4.6 / 7.0).abs() < 1e-12);
        let more = Ranking::new(Direction::Maximize, sample.into_iter()).unwrap();
        assert!((more.merit(Combine::LogRank, 8.0) - 1.1 * 5f64.ln()).abs() < 1e-12);
        assert!(Ranking::new(Direction::Maximize, std::iter::empty()).is_none());
    }
}
