//! Which networks to time: those that tell most about their operators.
//!
//! Greedy D-optimal design (Fedorov 1972): the next network is the one of largest leverage `vᵀ A⁻¹ v` with
//! `A = εI + Σ v vᵀ` over those chosen before, `v` being the shares of the network's time that its operators are expected to
//! take. An operator that no chosen network has gives a large leverage, so the operators are covered first.

use nalgebra::{DMatrix, DVector};

/// Below which variance an operator's share counts as known.
const EPSILON: f64 = 1e-4;

/// Chooses networks one by one.
#[derive(Clone, Debug)]
pub struct Design {
    inverse: DMatrix<f64>,
}

impl Design {
    /// A design for this many operators.
    pub fn new(operators: usize) -> Self {
        Self { inverse: DMatrix::identity(operators, operators) / EPSILON }
    }

    /// Takes a network into account that is timed anyway. `shares` are by the operators' places.
    pub fn take(&mut self, shares: &[(usize, f64)]) {
        let along = self.times(shares);
        let leverage: f64 = shares.iter().map(|(at, share)| share * along[*at]).sum();
        self.inverse -= &along * along.transpose() / (1.0 + leverage);
    }

    /// How much timing this network would tell.
    pub fn leverage(&self, shares: &[(usize, f64)]) -> f64 {
        let pairs = shares.iter().flat_map(|(i, a)| shares.iter().map(move |(j, b)| a * b * self.inverse[(*i, *j)]));
        pairs.sum()
    }

    /// The best one of `candidates`, which is taken into account from now on.
    pub fn next<'a>(&mut self, candidates: impl Iterator<Item = (usize, &'a [(usize, f64)])>) -> Option<usize> {
        let scored = candidates.map(|(name, shares)| (self.leverage(shares), name, shares));
        let (_, name, shares) = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))?;
        self.take(shares);
        Some(name)
    }

    fn times(&self, shares: &[(usize, f64)]) -> DVector<f64> {
        let mut product = DVector::zeros(self.inverse.nrows());
        for (at, share) in shares {
            product += self.inverse.column(*at) * *share;
        }
        product
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_yet_is_chosen_first() {
        let networks: [&[(usize, f64)]; 4] =
            [&[(0, 0.5), (1, 0.5)], &[(0, 0.45), (1, 0.55)], &[(0, 0.2), (2, 0.8)], &[(1, 0.9), (3, 0.1)]];
        let mut design = Design::new(4);
        design.take(networks[0]);
        let mut left: Vec<usize> = vec![1, 2, 3];
        let mut order = vec![];
        while let Some(next) = design.next(left.iter().map(|&at| (at, networks[at]))) {
            order.push(next);
            left.retain(|&at| at != next);
        }
        assert_eq!(order, [2, 3, 1]);
    }
}
