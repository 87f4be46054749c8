//! Trainability: how many directions of the neural tangent kernel's spectrum count.
//!
//! (Σ λ)² / Σ λ² over the eigenvalues of K, the participation ratio: n for n equal eigenvalues and zeros. (The
//! exponential of the entropy is another effective rank; it orders networks as `ntk_entropy` does.)

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;
use nalgebra::DMatrix;

/// Participation ratio of K's eigenvalues, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct NtkEffectiveRank;

impl Indicator for NtkEffectiveRank {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "ntk_effective_rank",
            direction: Direction::Maximize,
            description: "trainability: how many directions gradient descent learns at a like speed",
            formula: "(Σ λ)² / Σ λ² over the neural tangent kernel's eigenvalues",
            source: "the kernel of Chen et al. 2021 (TEG-NAS), Section 3.1; its participation ratio",
            view: View::Kernel,
            cost: "a forward pass, and a reverse pass a sample",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(participation(&run.kernels()?.all))
    }
}

/// (Σ λ)² / Σ λ² of a symmetric matrix: no eigenvalue needs to be known, these are its trace and its norm.
fn participation(kernel: &DMatrix<f64>) -> f64 {
    kernel.trace().powi(2) / kernel.norm_squared()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_equal_eigenvalues() {
        let check = |kernel: DMatrix<f64>, expected: f64| {
            let value = participation(&kernel);
            assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
        };
        check(DMatrix::identity(5, 5) * 3.0, 5.0);
        check(DMatrix::from_element(4, 4, 2.0), 1.0);
        // Eigenvalues 1 and 3.
        check(DMatrix::from_row_slice(2, 2, &[2.0, 1.0, 1.0, 2.0]), 1.6);
    }
}
