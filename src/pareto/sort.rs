//! Non-dominated sorting (Zhang, Tian, Cheng, Jin 2015: "An efficient approach to nondominated sorting for evolutionary
//! multiobjective optimization", ENS-BS), and the crowding distance (Deb, Pratap, Agarwal, Meyarivan 2002: "A fast and
//! elitist multiobjective genetic algorithm: NSGA-II", section III).
//!
//! In the order of costs, the first one counting first, nothing is dominated by what comes later. So vectors are put one by
//! one into the first front without one that dominates them, which is found by bisection: what a front dominates, all
//! fronts before it do, too.

use crate::objective::ObjectiveVector;
use std::borrow::Borrow;
use std::cmp::Ordering;

/// Indices of `vectors`, front by front: nothing dominates the first; the next is what only earlier fronts dominate.
/// Within a front they ascend. O(n log n) up to two objectives; more: O(objectives · n²) at most, far less where
/// there are many fronts.
///
/// # Panics
/// If the vectors have not all the same number of costs.
pub fn non_dominated_fronts<V: Borrow<ObjectiveVector>>(vectors: &[V]) -> Vec<Vec<usize>> {
    let vector = |at: usize| -> &ObjectiveVector { vectors[at].borrow() };
    let (feasible, mut broken): (Vec<usize>, Vec<usize>) = (0..vectors.len()).partition(|&at| vector(at).is_feasible());
    let costs: Vec<&[f64]> = feasible.iter().map(|&at| vector(at).costs()).collect();
    let mut fronts = fronts_of_costs(&costs);
    fronts.iter_mut().flatten().for_each(|at| *at = feasible[*at]);
    broken.sort_by(|&a, &b| vector(a).violation().total_cmp(&vector(b).violation()));
    let equal = broken.chunk_by(|&a, &b| vector(a).violation() == vector(b).violation());
    fronts.extend(equal.map(<[usize]>::to_vec));
    fronts
}

/// [`non_dominated_fronts`] of vectors without constraints.
fn fronts_of_costs(costs: &[&[f64]]) -> Vec<Vec<usize>> {
    let Some(objectives) = costs.first().map(|first| first.len()) else { return vec![] };
    assert!(costs.iter().all(|other| other.len() == objectives), "vectors of different objectives");
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_unstable_by(|&a, &b| lexicographic(costs[a], costs[b]));
    // Beside each other in memory, in this order.
    let rows: Vec<f64> = order.iter().flat_map(|&at| costs[at].iter().copied()).collect();
    let row = |place: usize| &rows[place * objectives..(place + 1) * objectives];
    let mut fronts: Vec<Vec<usize>> = vec![];
    for place in 0..order.len() {
        let own = row(place);
        let at = fronts.partition_point(|front| {
            let dominates = |&earlier: &usize| no_greater(row(earlier), own) && row(earlier) != own;
            match objectives {
                // The last one's second cost is the front's least.
                1 | 2 => front.last().is_some_and(dominates),
                _ => front.iter().rev().any(dominates),
            }
        });
        match fronts.get_mut(at) {
            Some(front) => front.push(place),
            None => fronts.push(vec![place]),
        }
    }
    for front in &mut fronts {
        front.iter_mut().for_each(|place| *place = order[*place]);
        front.sort_unstable();
    }
    fronts
}

/// The order of costs, the first one counting first.
pub(super) fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    // -0 and 0 are equal costs; adding 0 makes them the same.
    let orders = a.iter().zip(b).map(|(a, b)| (a + 0.0).total_cmp(&(b + 0.0)));
    orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn no_greater(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a <= b)
}

/// Crowding distance of each vector of one front: Σ over objectives of (next - previous) / (max - min), infinite for
/// the two ends. An objective in which all are equal adds nothing; of equal values the earlier vector comes first.
///
/// # Panics
/// If the vectors have not all the same number of costs.
pub fn crowding_distances<V: AsRef<[f64]>>(front: &[V]) -> Vec<f64> {
    let mut distances = vec![0.0; front.len()];
    let Some(objectives) = front.first().map(|vector| vector.as_ref().len()) else { return distances };
    assert!(front.iter().all(|vector| vector.as_ref().len() == objectives), "vectors of different objectives");
    for objective in 0..objectives {
        let value = |at: usize| front[at].as_ref()[objective];
        let mut order: Vec<usize> = (0..front.len()).collect();
        order.sort_by(|&a, &b| value(a).total_cmp(&value(b)));
        let (first, last) = (order[0], order[front.len() - 1]);
        let span = value(last) - value(first);
        // Also of a span that overflows: no vector is told from another by it.
        if span <= 0.0 || !span.is_finite() {
            continue;
        }
        distances[first] = f64::INFINITY;
        distances[last] = f64::INFINITY;
        for around in order.windows(3) {
            distances[around[1]] += (value(around[2]) - value(around[0])) / span;
        }
    }
    distances
}
