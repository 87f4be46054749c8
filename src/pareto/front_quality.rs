//! How near a set of vectors is to a front that is known, and where a front bends.

use super::sort::lexicographic;

/// IGD+ (Ishibuchi, Masuda, Tanigaki, Nojima 2015: "Modified distance calculation in generational distance and inverted
/// generational distance"): the mean over `target` of the distance to the nearest of `points`, where only objectives in which
/// the point is worse count: d(z, a) = √Σ max(aᵢ - zᵢ, 0)². 0 is best. Unlike IGD it never prefers a set that is dominated.
/// Objectives should have like units; normalise both sets where they have not. `None` if either set is empty.
///
/// # Panics
/// If the vectors have not all the same number of costs.
pub fn igd_plus<V: AsRef<[f64]>, W: AsRef<[f64]>>(points: &[V], target: &[W]) -> Option<f64> {
    let square = |a: &[f64], z: &[f64]| -> f64 {
        assert_eq!(a.len(), z.len(), "vectors of different objectives");
        a.iter().zip(z).map(|(a, z)| (a - z).max(0.0).powi(2)).sum()
    };
    let nearest = |z: &W| points.iter().map(|a| square(a.as_ref(), z.as_ref())).fold(f64::INFINITY, f64::min).sqrt();
    let some = !points.is_empty() && !target.is_empty();
    some.then(|| target.iter().map(nearest).sum::<f64>() / target.len() as f64)
}

/// Where a front bends most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// Its place among the vectors.
    pub at: usize,
    /// How far the front bulges there from the plane, from 0 (it does not) to 1/√objectives.
    pub bulge: f64,
}

/// The knee of a front: the vector that is farthest below the plane through the ends of the axes, each objective normalised
/// to 0 at the least and 1 at the greatest cost of the front (Das 1999: "On characterizing the 'knee' of the Pareto curve based
/// on normal-boundary intersection"). With two objectives that is the line through both ends of the front. The distance
/// is (1 - Σ normalised costs) / √objectives, of the objectives that differ at all; of equal distances the first in the order of costs
/// is taken. A front without a bulge has its knee at an end. `None` if the front is empty.
///
/// # Panics
/// If the vectors have not all the same number of costs.
pub fn knee<V: AsRef<[f64]>>(front: &[V]) -> Option<Knee> {
    let objectives = front.first()?.as_ref().len();
    assert!(front.iter().all(|vector| vector.as_ref().len() == objectives), "vectors of different objectives");
    let range = |objective: usize| {
        let costs = front.iter().map(|vector| vector.as_ref()[objective]);
        let (least, most) = costs.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), cost| (a.min(cost), b.max(cost)));
        (objective, least, most - least)
    };
    let ranges: Vec<_> = (0..objectives).map(range).filter(|(_, _, span)| *span > 0.0).collect();
    if ranges.is_empty() {
        return Some(Knee { at: 0, bulge: 0.0 });
    }
    let bulge = |vector: &[f64]| {
        let sum: f64 = ranges.iter().map(|(objective, least, span)| (vector[*objective] - least) / span).sum();
        (1.0 - sum) / (ranges.len() as f64).sqrt()
    };
    let knees = front.iter().enumerate().map(|(at, vector)| Knee { at, bulge: bulge(vector.as_ref()) });
    knees.min_by(|a, b| {
        let costs = || lexicographic(front[a.at].as_ref(), front[b.at].as_ref());
        b.bulge.total_cmp(&a.bulge).then_with(costs)
    })
}
