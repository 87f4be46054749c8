//! The volume that a set of vectors dominates, up to a reference point; exact for any number of objectives.
//!
//! Two objectives: a sweep. More: WFG (While, Bradstreet, Barone 2012: "A fast way of calculating exact hypervolumes"),
//! sliced along the last objective. With p₁ … pₙ ordered so that the last objective falls,
//! volume = Σₖ (r - pₖ)_last · exclusive(pₖ; pₖ₊₁ … pₙ), where the exclusive part, in the remaining objectives, is the
//! box of pₖ less the volume of {max(pₖ, pⱼ) : j > k}.

use super::dominates_costs;
use std::borrow::Cow;

type Points<'a> = Vec<Cow<'a, [f64]>>;

/// The volume of what lies between at least one of `points` and `reference`, in the product of the objectives' units.
/// A point that is not below the reference in every objective adds nothing; no points have the volume 0.
///
/// # Panics
/// If a point has not as many costs as `reference`, or there are no objectives.
pub fn hypervolume<V: AsRef<[f64]>>(points: &[V], reference: &[f64]) -> f64 {
    assert!(!reference.is_empty(), "hypervolume without objectives");
    let points = points.iter().map(AsRef::as_ref);
    let inside = points.filter(|point| {
        assert_eq!(point.len(), reference.len(), "a point of other objectives than the reference");
        point.iter().zip(reference).all(|(cost, bound)| cost < bound)
    });
    volume(inside.map(Cow::Borrowed).collect(), reference)
}

fn volume(mut points: Points<'_>, reference: &[f64]) -> f64 {
    let last = reference.len() - 1;
    match last {
        0 => points.iter().map(|point| reference[0] - point[0]).fold(0.0, f64::max),
        1 => area(points, reference),
        _ => {
            points = non_dominated(points);
            points.sort_by(|a, b| b[last].total_cmp(&a[last]));
            (0..points.len())
                .map(|k| (reference[last] - points[k][last]) * exclusive(&points, k, &reference[..last]))
                .sum()
        }
    }
}

/// What `points[k]` dominates and none of the later points does, in the objectives that `reference` has.
fn exclusive(points: &[Cow<'_, [f64]>], k: usize, reference: &[f64]) -> f64 {
    let point = &points[k][..reference.len()];
    let whole: f64 = point.iter().zip(reference).map(|(cost, bound)| bound - cost).product();
    let shared = points[k + 1..].iter().map(|later| point.iter().zip(later.iter()).map(|(a, b)| a.max(*b)).collect());
    whole - volume(shared.collect(), reference)
}

fn area(mut points: Points<'_>, reference: &[f64]) -> f64 {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    let mut least = reference[1];
    let mut area = 0.0;
    for point in points {
        if point[1] < least {
            area += (reference[0] - point[0]) * (least - point[1]);
            least = point[1];
        }
    }
    area
}

/// Keeps one of equal points and none that is dominated; without this the recursion would not end early.
fn non_dominated(points: Points<'_>) -> Points<'_> {
    let mut kept: Points = vec![];
    for point in points {
        if kept.iter().any(|other| *other == point || dominates_costs(other, &point)) {
            continue;
        }
        kept.retain(|other| !dominates_costs(&point, other));
        kept.push(point);
    }
    kept
}
