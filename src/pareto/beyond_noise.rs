//! The front of what was measured: two costs whose intervals overlap are a tie.
//!
//! With `d = b − a` and `h` the arms of both intervals that face each other in quadrature, a is better than b where `d > h`.
//! a dominates b beyond noise if it is nowhere worse and somewhere better. Ties are not transitive, so that a vector that was
//! dropped may still dominate another one: the front keeps all costs that it has seen, and does not depend on their order.

use crate::objective::ObjectiveVector;

/// A vector of costs, and the interval of each: `[cost, cost]` for what is exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The costs.
    pub vector: ObjectiveVector,
    /// The interval of each cost, `[low, high]`.
    pub intervals: Vec<[f64; 2]>,
}

impl Measured {
    /// A vector of exact costs.
    pub fn exact(vector: ObjectiveVector) -> Self {
        let intervals = vector.costs().iter().map(|&cost| [cost, cost]).collect();
        Self { vector, intervals }
    }

    /// Whether `self` dominates `other` beyond noise; constraints first, as given.
    ///
    /// # Panics
    /// If they have not the same number of costs.
    pub fn dominates(&self, other: &Self) -> bool {
        match (self.vector.is_feasible(), other.vector.is_feasible()) {
            (true, true) => {}
            (feasible, false) => return feasible || self.vector.violation() < other.vector.violation(),
            (false, true) => return false,
        }
        let (a, b) = (self.vector.costs(), other.vector.costs());
        assert_eq!(a.len(), b.len(), "vectors of different objectives");
        let less = |x: &Self, y: &Self, at: usize| {
            let (low, high) = (x.vector.costs()[at], y.vector.costs()[at]);
            high - low > (x.intervals[at][1] - low).hypot(high - y.intervals[at][0])
        };
        (0..a.len()).all(|at| !less(other, self, at)) && (0..a.len()).any(|at| less(self, other, at))
    }
}

/// The vectors that no other one dominates beyond noise, each with what reached it.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontBeyondNoise<T> {
    seen: Vec<Measured>,
    /// Keys of those that nothing dominates, and their places among those seen.
    members: Vec<(T, usize)>,
}

impl<T> FrontBeyondNoise<T> {
    /// A front without members.
    pub fn new() -> Self {
        Self { seen: vec![], members: vec![] }
    }

    /// Takes `key` in unless something seen dominates it, and drops the members that it dominates. What was dropped never
    /// comes back. Says whether it was taken.
    ///
    /// # Panics
    /// If it has not as many costs as those before.
    pub fn insert(&mut self, key: T, measured: Measured) -> bool {
        let alive = self.seen.iter().all(|seen| !seen.dominates(&measured));
        self.members.retain(|(_, at)| !measured.dominates(&self.seen[*at]));
        self.seen.push(measured);
        if alive {
            self.members.push((key, self.seen.len() - 1));
        }
        alive
    }

    /// The keys of the members in the order in which they came.
    pub fn members(&self) -> impl Iterator<Item = &T> {
        self.members.iter().map(|(key, _)| key)
    }
}

impl<T> Default for FrontBeyondNoise<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quality that is exact, and a latency with an arm; both costs.
    fn measured(quality: f64, latency: f64, arm: f64) -> Measured {
        let vector = ObjectiveVector::feasible(vec![-quality, latency]);
        Measured { vector, intervals: vec![[-quality, -quality], [latency - arm, latency + arm]] }
    }

    fn check(vectors: &[(f64, f64, f64)], expected: &[usize]) {
        // Whatever the order in which they come.
        for turn in 0..vectors.len() {
            let mut front = FrontBeyondNoise::new();
            for at in (0..vectors.len()).map(|at| (at + turn) % vectors.len()) {
                let (quality, latency, arm) = vectors[at];
                front.insert(at, measured(quality, latency, arm));
            }
            let mut members: Vec<usize> = front.members().copied().collect();
            members.sort_unstable();
            assert_eq!(members, expected, "from {turn}");
        }
    }

    #[test]
    fn latencies_that_overlap_are_a_tie() {
        // Nothing is noisy: the plain front.
        check(&[(90.0, 5.0, 0.0), (91.0, 5.05, 0.0), (89.0, 6.0, 0.0)], &[0, 1]);
        // They can't be told apart by latency: the better one is left.
        check(&[(90.0, 5.0, 0.1), (91.0, 5.05, 0.1), (89.0, 6.0, 0.1)], &[1]);
        // Equally good: the noise does not say which is faster, so both are.
        check(&[(90.0, 5.0, 0.1), (90.0, 5.05, 0.1)], &[0, 1]);
        // Ties are not transitive: the second, itself dominated by the third, still dominates the first.
        check(&[(90.0, 5.0, 0.1), (91.0, 5.1, 0.1), (92.0, 5.2, 0.1)], &[2]);
        check(&[(90.0, 5.0, 0.05), (91.0, 5.06, 0.05), (92.0, 5.2, 0.05)], &[1, 2]);
    }

    #[test]
    fn constraints_come_first() {
        let broken = |violation: f64| {
            let vector = ObjectiveVector::new(vec![0.0, 0.0], violation);
            Measured { intervals: vec![[0.0, 0.0]; 2], vector }
        };
        assert!(measured(1.0, 9.0, 0.0).dominates(&broken(0.1)) && !broken(0.1).dominates(&measured(1.0, 9.0, 0.0)));
        assert!(broken(0.1).dominates(&broken(0.2)) && !broken(0.2).dominates(&broken(0.1)));
        let exact = Measured::exact(ObjectiveVector::feasible(vec![1.0, 2.0]));
        assert!(!exact.dominates(&exact));
    }
}
