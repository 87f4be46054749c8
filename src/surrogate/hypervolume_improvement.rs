//! The hypervolume that an architecture is expected to add to a front, its costs being independent and normal.
//!
//! One cost: expected improvement. Two: exact. The front, sorted by the first cost, divides the plane into strips; with
//! ψ(a) = E max(0, a - cost), the expectation is Σ over strips [l, h] under the level t of (ψ₁(h) - ψ₁(l)) · ψ₂(t) (Emmerich et al.
//! 2011; O(n) a prediction). More: the mean over seeded draws of the volume added.

use super::Prediction;
use super::acquisition::expected_improvement;
use crate::pareto::{dominates_costs, hypervolume};
use crate::statistics::normal_quantile;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws where there are three costs or more.
const DRAWS: usize = 64;

/// A front that architectures are to improve.
pub struct ExpectedVolume {
    reference: Vec<f64>,
    /// Members below the reference, by the first cost; none dominates another.
    front: Vec<Vec<f64>>,
    /// Standard normal draws, of each cost; none where the expectation is exact.
    draws: Vec<Vec<f64>>,
}

impl ExpectedVolume {
    /// The front of `points`, whose volume is measured up to `reference`. The seed counts from three costs on.
    ///
    /// # Panics
    /// If a point has not as many costs as `reference`.
    pub fn new<V: AsRef<[f64]>>(points: &[V], reference: &[f64], seed: u64) -> Self {
        let count = if reference.len() > 2 { DRAWS } else { 0 };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // The middles of the probabilities are never 0 or 1.
        let mut draw = |_| normal_quantile((rng.random_range(0..1u64 << 32) as f64 + 0.5) / (1u64 << 32) as f64);
        let draws = (0..count).map(|_| (0..reference.len()).map(&mut draw).collect()).collect();
        let mut area = Self { reference: reference.to_vec(), front: vec![], draws };
        points.iter().for_each(|point| area.add(point.as_ref()));
        area
    }

    /// Takes a point into the front, unless it adds nothing.
    ///
    /// # Panics
    /// If it has not as many costs as the reference.
    pub fn add(&mut self, point: &[f64]) {
        assert_eq!(point.len(), self.reference.len(), "a point of other objectives than the reference");
        let outside = point.iter().zip(&self.reference).any(|(cost, bound)| cost >= bound);
        if outside || self.front.iter().any(|member| member == point || dominates_costs(member, point)) {
            return;
        }
        self.front.retain(|member| !dominates_costs(point, member));
        let place = self.front.partition_point(|member| member[0] < point[0]);
        self.front.insert(place, point.to_vec());
    }

    /// The volume that `prediction`, one of each cost, is expected to add.
    ///
    /// # Panics
    /// If there are not as many predictions as costs.
    pub fn expected(&self, prediction: &[Prediction]) -> f64 {
        assert_eq!(prediction.len(), self.reference.len(), "a prediction of each cost");
        match prediction {
            [only] => expected_improvement(*only, self.front.first().map_or(self.reference[0], |best| best[0])),
            [first, second] => self.strips(*first, *second),
            _ => self.drawn(prediction),
        }
    }

    fn strips(&self, first: Prediction, second: Prediction) -> f64 {
        let (mut below, mut level, mut sum) = (0.0, self.reference[1], 0.0);
        for end in self.front.iter().map(Vec::as_slice).chain([self.reference.as_slice()]) {
            let reached = expected_improvement(first, end[0]);
            sum += (reached - below).max(0.0) * expected_improvement(second, level);
            (below, level) = (reached, end[1]);
        }
        sum
    }

    fn drawn(&self, prediction: &[Prediction]) -> f64 {
        let added = |draw: &Vec<f64>| {
            let point: Vec<f64> = prediction.iter().zip(draw).map(|(p, z)| p.mean + p.deviation * z).collect();
            let sides = point.iter().zip(&self.reference).map(|(cost, bound)| (bound - cost).max(0.0));
            let whole: f64 = sides.product();
            if whole == 0.0 {
                return 0.0;
            }
            let clip = |member: &Vec<f64>| member.iter().zip(&point).map(|(a, b)| a.max(*b)).collect::<Vec<f64>>();
            let shared: Vec<Vec<f64>> = self.front.iter().map(clip).collect();
            (whole - hypervolume(&shared, &self.reference)).max(0.0)
        };
        self.draws.iter().map(added).sum::<f64>() / self.draws.len() as f64
    }
}
