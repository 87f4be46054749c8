//! Where the front begins and ends in each objective (Deb and Jain 2014, section IV-C): the ideal point, the extreme points, and
//! the intercepts of the plane through these.
//!
//! Two departures, after pymoo: a nadir point is never beyond the worst costs seen, and what is within a thousandth of
//! the ideal counts as on the axis. Objectives may have any units: costs are first divided by the first front's range.

use nalgebra::{DMatrix, DVector};

/// Costs other than the axis's own, in the achievement function that extreme points make least.
const OFF_AXIS: f64 = 1e6;
/// What counts as on the axis, of the front's range.
const ON_AXIS: f64 = 1e-3;
/// Ranges up to this, of the front's, are no ranges.
const LEAST: f64 = 1e-6;

/// The normalisation, as known so far.
#[derive(Clone, Debug, Default)]
pub struct Normalisation {
    /// The least costs seen.
    ideal: Vec<f64>,
    /// The greatest costs seen.
    worst: Vec<f64>,
    /// For each objective the vector nearest to its axis.
    extremes: Vec<Vec<f64>>,
    /// What is normalised to 1, less the ideal.
    range: Vec<f64>,
}

impl Normalisation {
    /// Learns from a population, whose first front is at `front`.
    ///
    /// # Panics
    /// If the population or its front is empty, or they have not all the same number of costs.
    pub fn update(&mut self, population: &[&[f64]], front: &[usize]) {
        let objectives = population[0].len();
        self.ideal.resize(objectives, f64::INFINITY);
        self.worst.resize(objectives, f64::NEG_INFINITY);
        bound(&mut self.ideal, population.iter().copied(), f64::min);
        bound(&mut self.worst, population.iter().copied(), f64::max);
        let above_ideal = |costs: Vec<f64>| -> Vec<f64> { costs.iter().zip(&self.ideal).map(|(a, b)| a - b).collect() };
        let greatest = |rows: &mut dyn Iterator<Item = &[f64]>| {
            let mut costs = vec![f64::NEG_INFINITY; objectives];
            rows.for_each(|row| bound(&mut costs, std::iter::once(row), f64::max));
            above_ideal(costs)
        };
        let of_front = greatest(&mut front.iter().map(|&at| population[at]));
        let of_population = greatest(&mut population.iter().copied());
        let scale: Vec<f64> = of_front.iter().map(|&range| if range > 0.0 { range } else { 1.0 }).collect();

        let known = std::mem::take(&mut self.extremes);
        let rows = || known.iter().map(Vec::as_slice).chain(front.iter().map(|&at| population[at]));
        let extreme = |axis: usize| {
            let off = |costs: &&[f64]| self.achievement(costs, axis, &scale);
            rows().min_by(|a, b| off(a).total_cmp(&off(b))).expect("a front is not empty").to_vec()
        };
        self.extremes = (0..objectives).map(extreme).collect();

        let worst = above_ideal(self.worst.clone());
        let planes = self.intercepts(&scale).map(|range| range.iter().zip(&worst).map(|(a, b)| a.min(*b)).collect());
        self.range = planes.unwrap_or(of_front);
        for ((range, fallback), scale) in self.range.iter_mut().zip(of_population).zip(scale) {
            if *range <= LEAST * scale {
                *range = if fallback > 0.0 { fallback } else { 1.0 };
            }
        }
    }

    /// `costs` with 0 at the ideal and 1 at the end of the front.
    pub fn normalise(&self, costs: &[f64]) -> Vec<f64> {
        let parts = costs.iter().zip(&self.ideal).zip(&self.range);
        parts.map(|((cost, ideal), range)| (cost - ideal) / range).collect()
    }

    /// How far from `axis` a vector is, and, on it, how far out.
    fn achievement(&self, costs: &[f64], axis: usize, scale: &[f64]) -> f64 {
        let scaled = costs.iter().zip(&self.ideal).zip(scale).map(|((cost, ideal), scale)| (cost - ideal) / scale);
        let weighted = scaled.enumerate().map(|(objective, cost)| match cost {
            cost if cost < ON_AXIS => 0.0,
            cost if objective == axis => cost,
            cost => cost * OFF_AXIS,
        });
        weighted.fold(0.0, f64::max)
    }

    /// Where the plane through the extreme points meets the axes, from the ideal; `None` if there is no such plane, or it misses
    /// one.
    fn intercepts(&self, scale: &[f64]) -> Option<Vec<f64>> {
        let size = scale.len();
        let entry = |row: usize, column: usize| (self.extremes[row][column] - self.ideal[column]) / scale[column];
        let points = DMatrix::from_fn(size, size, entry);
        let ones = DVector::from_element(size, 1.0);
        let plane = points.clone().lu().solve(&ones)?;
        let met = (&points * &plane - &ones).amax() <= 1e-6;
        let intercepts: Vec<f64> = plane.iter().map(|slope| 1.0 / slope).collect();
        let sound = met && intercepts.iter().all(|&intercept| intercept > LEAST && intercept.is_finite());
        sound.then(|| intercepts.iter().zip(scale).map(|(intercept, scale)| intercept * scale).collect())
    }
}

fn bound<'a>(bounds: &mut [f64], rows: impl Iterator<Item = &'a [f64]>, pick: fn(f64, f64) -> f64) {
    for row in rows {
        assert_eq!(row.len(), bounds.len(), "vectors of different objectives");
        bounds.iter_mut().zip(row).for_each(|(bound, cost)| *bound = pick(*bound, *cost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(populations: &[&[&[f64]]], expected: &[(&[f64], &[f64])]) {
        let mut normalisation = Normalisation::default();
        for population in populations {
            normalisation.update(population, &(0..population.len()).collect::<Vec<_>>());
        }
        for (costs, expected) in expected {
            let found = normalisation.normalise(costs);
            assert!(found.iter().zip(*expected).all(|(a, b)| (a - b).abs() < 1e-9), "{costs:?}: {found:?}");
        }
    }

    #[test]
    fn the_plane_through_the_extremes() {
        // Whatever the units.
        let front: &[&[f64]] = &[&[10.0, 3e-6], &[12.0, 1e-6], &[10.5, 1.5e-6]];
        check(&[front], &[(front[0], &[0.0, 1.0]), (front[1], &[1.0, 0.0]), (front[2], &[0.25, 0.25])]);
        // Extremes off their axes: 2a + b = 1 and a + 2b = 1 meet the axes at 3, beyond the worst seen, which is 2.
        check(&[&[&[2.0, 1.0], &[1.0, 2.0], &[0.0, 2.0], &[2.0, 0.0]]], &[(&[2.0, 1.0], &[1.0, 0.5])]);
    }

    #[test]
    fn no_plane_and_no_range() {
        check(&[&[&[3.0, 4.0]]], &[(&[3.0, 4.0], &[0.0, 0.0])]);
        check(&[&[&[3.0, 4.0], &[3.0, 4.0]]], &[(&[5.0, 4.0], &[2.0, 0.0])]);
        // All three extremes are on one line.
        let line: &[&[f64]] = &[&[0.0, 2.0, 1.0], &[1.0, 1.0, 1.0], &[2.0, 0.0, 1.0]];
        check(&[line], &[(&[1.0, 1.0, 1.0], &[0.5, 0.5, 0.0])]);
    }

    #[test]
    fn it_remembers() {
        let (first, second): (&[&[f64]], &[&[f64]]) = (&[&[0.0, 4.0], &[4.0, 0.0]], &[&[1.0, 1.0]]);
        check(&[first, second], &[(&[1.0, 1.0], &[0.25, 0.25])]);
    }
}
