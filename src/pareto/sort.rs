//! Fast non-dominated sorting and the crowding distance (Deb, Pratap, Agarwal, Meyarivan 2002: "A fast and elitist
//! multiobjective genetic algorithm: NSGA-II", section III).

use super::dominates;
use crate::objective::ObjectiveVector;

/// Indices of `vectors`, front by front: nothing dominates the first; the next is what only earlier fronts dominate.
/// Within a front they ascend. O(objectives · n²).
///
/// # Panics
/// If the vectors have not all the same number of costs.
pub fn non_dominated_fronts(vectors: &[ObjectiveVector]) -> Vec<Vec<usize>> {
    let mut dominated: Vec<Vec<usize>> = vec![vec![]; vectors.len()];
    let mut dominators = vec![0usize; vectors.len()];
    for a in 0..vectors.len() {
        for b in a + 1..vectors.len() {
            if dominates(&vectors[a], &vectors[b]) {
                dominated[a].push(b);
                dominators[b] += 1;
            } else if dominates(&vectors[b], &vectors[a]) {
                dominated[b].push(a);
                dominators[a] += 1;
            }
        }
    }
    let mut fronts = vec![];
    let mut front: Vec<usize> = (0..vectors.len()).filter(|&at| dominators[at] == 0).collect();
    while !front.is_empty() {
        let mut next = vec![];
        for &at in &front {
            for &worse in &dominated[at] {
                dominators[worse] -= 1;
                if dominators[worse] == 0 {
                    next.push(worse);
                }
            }
        }
        next.sort_unstable();
        fronts.push(std::mem::replace(&mut front, next));
    }
    fronts
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
