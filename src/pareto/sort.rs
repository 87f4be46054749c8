//! Non-dominated sorting (Zhang, Tian, Cheng, Jin 2015: "An efficient approach to nondominated sorting for evolutionary
//! multiobjective optimization", ENS-BS), and the crowding distance (Deb, Pratap, Agarwal, Meyarivan 2002: "A fast and
//! elitist multiobjective genetic algorithm: NSGA-II", section III).
//!
//! In the order of costs, the first one counting first, nothing is dominated by what comes later. So vectors are put one by
//! one into the first front without one that dominates them, which is found by bisection: what a front dominates, all
//! fronts before it do, too. Equal vectors come one after the other. So of any other vector in a front it is to be asked only whether
//! it is nowhere greater in the costs but the first: with two of these, a staircase answers that.

use crate::objective::ObjectiveVector;
use std::borrow::Borrow;
use std::cmp::Ordering;

/// Indices of `vectors`, front by front: nothing dominates the first; the next is what only earlier fronts dominate.
/// Within a front they ascend. O(n log² n) up to three objectives (but for moves in memory); more: O(objectives · n²) at most,
/// far less where there are many fronts.
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
    let mut fronts: Vec<Front> = vec![];
    // The front of the vector before.
    let mut last = 0;
    for (place, &at) in order.iter().enumerate() {
        let own = costs[at];
        if place == 0 || costs[order[place - 1]] != own {
            last = fronts.partition_point(|front| front.dominates(own));
        }
        if last == fronts.len() {
            fronts.push(Front::default());
        }
        fronts[last].push(at, own);
    }
    let members = |front: Front| {
        let mut members = front.members;
        members.sort_unstable();
        members
    };
    fronts.into_iter().map(members).collect()
}

#[derive(Default)]
struct Front {
    members: Vec<usize>,
    /// Up to three objectives: where the second and the third cost are least, the second ascending, the third descending.
    steps: Vec<[f64; 2]>,
    /// More: the costs of all members but the first one, one member after the other.
    rest: Vec<f64>,
}

impl Front {
    /// Whether a member dominates a vector that comes after all members, and equals none.
    fn dominates(&self, costs: &[f64]) -> bool {
        match step(costs) {
            Some([second, third]) => {
                let below = self.steps.partition_point(|step| step[0] <= second);
                below > 0 && self.steps[below - 1][1] <= third
            }
            None => {
                let own = &costs[1..];
                // The latest ones are the most like it.
                self.rest.chunks_exact(own.len()).rev().any(|other| other.iter().zip(own).all(|(a, b)| a <= b))
            }
        }
    }

    /// Takes in a vector that comes after all members, of which none dominates it.
    fn push(&mut self, at: usize, costs: &[f64]) {
        self.members.push(at);
        match step(costs) {
            Some(step) => {
                let begin = self.steps.partition_point(|other| other[0] < step[0]);
                let covered = self.steps[begin..].iter().take_while(|other| other[1] >= step[1]).count();
                self.steps.splice(begin..begin + covered, [step]);
            }
            None => self.rest.extend(&costs[1..]),
        }
    }
}

/// All costs but the first, where these are two at most.
fn step(costs: &[f64]) -> Option<[f64; 2]> {
    let cost = |objective: usize| costs.get(objective).copied().unwrap_or(0.0);
    (costs.len() <= 3).then(|| [cost(1), cost(2)])
}

/// The order of costs, the first one counting first.
pub(super) fn lexicographic(a: &[f64], b: &[f64]) -> Ordering {
    // -0 and 0 are equal costs; adding 0 makes them the same.
    let orders = a.iter().zip(b).map(|(a, b)| (a + 0.0).total_cmp(&(b + 0.0)));
    orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
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
