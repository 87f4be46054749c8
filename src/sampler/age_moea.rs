//! AGE-MOEA (Panichella 2019: "An adaptive evolutionary algorithm based on non-Euclidean geometry for many-objective
//! optimization"): how curved the front is, is learnt from the front itself.
//!
//! The first front's costs, less the ideal point, are divided by the intercepts of the plane through its extreme vectors (by their
//! greatest where there is no such plane). Of the Lᵖ balls the one is taken that passes through the vector nearest to the
//! diagonal: p = ln M / ln(1 / mean of its costs). Extreme vectors score ∞; then, one by one, the vector that has the greatest
//! (sum of the Lᵖ distances to its two nearest neighbours among those scored before) / (its Lᵖ norm), which is its score.
//! Vectors of later fronts score 1 / Lᵖ norm. The best go on, front by front, the last front by score; so do tournaments
//! compare. Feasible candidates come first, then the least violation, failed trials last.

use super::generational::{Feasibility, Fitness, Generational, GenerationalOptions, Genes, Survival, Survivor};
use super::{GeneSpace, SamplerError};
use crate::objective::ObjectiveVector;
use crate::pareto::non_dominated_fronts;
use nalgebra::{DMatrix, DVector};
use rand_chacha::ChaCha8Rng;

/// Norms and distances up to this are no divisors.
const LEAST: f64 = 1e-8;
/// The least and the greatest p.
const EXPONENTS: [f64; 2] = [0.1, 20.0];

/// AGE-MOEA.
pub type AgeMoea = Generational<Genes, AdaptiveGeometry>;

impl AgeMoea {
    /// A search of `space` from `seed`.
    ///
    /// # Errors
    /// If the population is below 2 or a probability is out of 0 to 1.
    pub fn new(space: GeneSpace, options: &GenerationalOptions, seed: u64) -> Result<Self, SamplerError> {
        let genes = Genes::new(space, options.crossover, options.mutation)?;
        Self::start(genes, AdaptiveGeometry, options.population, seed)
    }
}

/// Survival by rank, then by a score of proximity and diversity in the front's own geometry.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveGeometry;

impl Survival for AdaptiveGeometry {
    fn name(&self) -> &'static str {
        "age_moea"
    }

    fn select(&mut self, candidates: &[Option<ObjectiveVector>], count: usize, _: &mut ChaCha8Rng) -> Vec<Survivor> {
        let Feasibility { feasible, mut others } = Feasibility::of(candidates);
        let vectors: Vec<&ObjectiveVector> = feasible.iter().filter_map(|&at| candidates[at].as_ref()).collect();
        let fronts = non_dominated_fronts(&vectors);
        let mut survivors = Vec::with_capacity(candidates.len());
        if let Some(first) = fronts.first() {
            let costs = |front: &[usize]| front.iter().map(|&at| vectors[at].costs()).collect::<Vec<_>>();
            let geometry = Geometry::of(&costs(first));
            for (rank, front) in fronts.iter().enumerate() {
                let costs = costs(front);
                let scores = if rank == 0 { geometry.diversity(&costs) } else { geometry.proximity(&costs) };
                let fitness = scores.into_iter().map(|room| Fitness { rank, room });
                survivors
                    .extend(front.iter().zip(fitness).map(|(&at, fitness)| Survivor { at: feasible[at], fitness }));
            }
        }
        // After all fronts.
        others.iter_mut().for_each(|other| other.fitness.rank = other.fitness.rank.saturating_add(fronts.len()));
        survivors.append(&mut others);
        survivors.sort_by(|a, b| a.fitness.order(&b.fitness));
        survivors.truncate(count);
        survivors
    }
}

/// The shape of a front.
#[derive(Debug)]
struct Geometry {
    ideal: Vec<f64>,
    range: Vec<f64>,
    /// Places of the vectors nearest to the axes.
    extremes: Vec<usize>,
    exponent: f64,
}

impl Geometry {
    /// That of a front, which has at least one vector.
    fn of(front: &[&[f64]]) -> Self {
        let objectives = front[0].len();
        let least = |objective: usize| front.iter().map(|costs| costs[objective]).fold(f64::INFINITY, f64::min);
        let ideal: Vec<f64> = (0..objectives).map(least).collect();
        let above: Vec<Vec<f64>> =
            front.iter().map(|costs| costs.iter().zip(&ideal).map(|(a, b)| a - b).collect()).collect();
        let extremes = extremes(&above);
        let range = intercepts(&above, &extremes).unwrap_or_else(|| {
            (0..objectives).map(|objective| above.iter().map(|costs| costs[objective]).fold(0.0, f64::max)).collect()
        });
        let range = range.into_iter().map(|range| if range > 0.0 { range } else { 1.0 }).collect();
        let mut geometry = Self { ideal, range, extremes, exponent: 1.0 };
        geometry.exponent = geometry.exponent(front);
        geometry
    }

    /// p of the ball through the vector nearest to the diagonal, extreme ones aside.
    fn exponent(&self, front: &[&[f64]]) -> f64 {
        let objectives = self.ideal.len() as f64;
        let inner = (0..front.len()).filter(|at| !self.extremes.contains(at)).map(|at| self.normalise(front[at]));
        let off = |costs: &[f64]| {
            let mean = costs.iter().sum::<f64>() / objectives;
            costs.iter().map(|cost| (cost - mean).powi(2)).sum::<f64>()
        };
        let Some(middle) = inner.min_by(|a, b| off(a).total_cmp(&off(b))) else { return 1.0 };
        let exponent = objectives.ln() / (objectives / middle.iter().sum::<f64>()).ln();
        // Also of a front that bulges beyond all balls, or is one point.
        if exponent.is_nan() || exponent <= EXPONENTS[0] { 1.0 } else { exponent.min(EXPONENTS[1]) }
    }

    fn normalise(&self, costs: &[f64]) -> Vec<f64> {
        costs.iter().zip(&self.ideal).zip(&self.range).map(|((cost, ideal), range)| (cost - ideal) / range).collect()
    }

    fn norm(&self, differences: impl Iterator<Item = f64>) -> f64 {
        let p = self.exponent;
        differences.map(|difference| difference.abs().powf(p)).sum::<f64>().powf(1.0 / p)
    }

    /// Scores of a later front.
    fn proximity(&self, front: &[&[f64]]) -> Vec<f64> {
        front.iter().map(|costs| 1.0 / self.norm(self.normalise(costs).into_iter()).max(LEAST)).collect()
    }

    /// Scores of the first front.
    fn diversity(&self, front: &[&[f64]]) -> Vec<f64> {
        let normal: Vec<Vec<f64>> = front.iter().map(|costs| self.normalise(costs)).collect();
        let norms: Vec<f64> = normal
            .iter()
            .map(|costs| self.norm(costs.iter().copied()))
            .map(|norm| if norm < LEAST { 1.0 } else { norm })
            .collect();
        let mut scores = vec![f64::INFINITY; front.len()];
        let mut waiting: Vec<usize> = (0..front.len()).filter(|at| !self.extremes.contains(at)).collect();
        // Of each vector, the distances to the two nearest of those scored before.
        let mut nearest = vec![[f64::INFINITY; 2]; front.len()];
        let meet = |nearest: &mut [[f64; 2]], waiting: &[usize], scored: usize| {
            for &at in waiting {
                let differences = || normal[at].iter().zip(&normal[scored]).map(|(a, b)| a - b);
                let [first, second] = &mut nearest[at];
                // No norm is less than the greatest difference, and powers take time.
                if differences().any(|difference| difference.abs() >= *second) {
                    continue;
                }
                let distance = self.norm(differences()).max(LEAST);
                if distance < *first {
                    (*first, *second) = (distance, *first);
                } else {
                    *second = second.min(distance);
                }
            }
        };
        self.extremes.iter().for_each(|&scored| meet(&mut nearest, &waiting, scored));
        while !waiting.is_empty() {
            // One neighbour alone where the only extreme vector is that of all objectives.
            let score = |at: usize| nearest[at].iter().filter(|distance| distance.is_finite()).sum::<f64>() / norms[at];
            let best = (0..waiting.len())
                .fold(0, |best, place| if score(waiting[place]) > score(waiting[best]) { place } else { best });
            let scored = waiting.remove(best);
            scores[scored] = score(scored);
            meet(&mut nearest, &waiting, scored);
        }
        scores
    }
}

/// For each axis the vector nearest to it that is not yet another one's; all vectors where there are no more than axes.
fn extremes(above: &[Vec<f64>]) -> Vec<usize> {
    let objectives = above[0].len();
    if above.len() <= objectives {
        return (0..above.len()).collect();
    }
    let mut found: Vec<usize> = vec![];
    for axis in 0..objectives {
        let off = |at: usize| {
            let others = above[at].iter().enumerate().filter(|(objective, _)| *objective != axis);
            others.map(|(_, cost)| cost * cost).sum::<f64>()
        };
        let free = (0..above.len()).filter(|at| !found.contains(at));
        found.extend(free.min_by(|&a, &b| off(a).total_cmp(&off(b))));
    }
    found
}

/// Where the plane through the extreme vectors meets the axes; `None` if there is no such plane, or it misses one.
fn intercepts(above: &[Vec<f64>], extremes: &[usize]) -> Option<Vec<f64>> {
    let objectives = above[0].len();
    if extremes.len() < objectives {
        return None;
    }
    let points = DMatrix::from_fn(objectives, objectives, |row, column| above[extremes[row]][column]);
    let plane = points.lu().solve(&DVector::from_element(objectives, 1.0))?;
    let intercepts: Vec<f64> = plane.iter().map(|slope| 1.0 / slope).collect();
    intercepts.iter().all(|intercept| intercept.is_finite() && *intercept > 0.0).then_some(intercepts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn select(vectors: &[[f64; 2]], count: usize) -> Vec<Survivor> {
        let candidates: Vec<_> =
            vectors.iter().map(|vector| Some(ObjectiveVector::feasible(vector.to_vec()))).collect();
        AdaptiveGeometry.select(&candidates, count, &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn the_exponent_is_that_of_the_front() {
        for p in [0.5f64, 1.0, 2.0, 5.0] {
            // xᵖ + yᵖ = 1 in units of its own.
            let at = |x: f64| vec![3.0 + 20.0 * x.powf(1.0 / p), 0.1 * (1.0 - x).powf(1.0 / p)];
            let front: Vec<Vec<f64>> = (0..=10).map(|x| at(f64::from(x) / 10.0)).collect();
            let geometry = Geometry::of(&front.iter().map(Vec::as_slice).collect::<Vec<_>>());
            assert!((geometry.exponent - p).abs() < 1e-9, "{geometry:?}");
            assert_eq!(geometry.extremes, [10, 0]);
        }
        assert_eq!(Geometry::of(&[&[1.0, 2.0]]).exponent, 1.0);
        assert_eq!(Geometry::of(&[&[1.0, 2.0], &[1.0, 2.0], &[1.0, 2.0]]).range, [1.0, 1.0]);
    }

    #[test]
    fn ends_go_on_then_what_is_far_from_others() {
        let angles = [0.0f64, 5.0, 10.0, 45.0, 50.0, 90.0];
        let front = angles.map(|angle| angle.to_radians().sin_cos()).map(|(x, y)| [x, y]);
        let places = |count: usize| {
            let mut places: Vec<usize> = select(&front, count).iter().map(|survivor| survivor.at).collect();
            places.sort_unstable();
            places
        };
        assert_eq!((places(2), places(3), places(4)), (vec![0, 5], vec![0, 3, 5], vec![0, 2, 3, 5]));
        // Of a later front the nearest to the ideal point.
        let worse = [[0.0, 1.0], [1.0, 0.0], [0.2, 0.2], [0.9, 0.9], [0.5, 0.8], [0.3, 0.4]];
        let found = select(&worse, 4);
        assert_eq!((found.len(), found[3].at, found[3].fitness.rank), (4, 5, 1));
    }
}
