//! Generalisation without labels: how much of a second batch the neural tangent kernel explains by the first.
//!
//! Kernel regression predicts K_yx K_xx⁻¹ Y_x on the second batch (Jacot et al. 2018; Chen et al. 2021, TEG-NAS,
//! Section 3.3). On random labels its error says no more than how large this matrix is: with R = −ln ‖K_yx K_xx⁻¹‖²_F
//! the labels are left out. K is over the body's weights.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;
use nalgebra::DMatrix;

/// −ln of the squared norm of the regression's matrix, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct NtkTransfer;

impl Indicator for NtkTransfer {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "ntk_transfer",
            direction: Direction::Maximize,
            description: "generalisation: how calmly the kernel carries what it learned over to other images",
            formula: "−ln ‖K_yx K_xx⁻¹‖²_F",
            source: "the label-free part of Chen et al. 2021 (TEG-NAS), Section 3.3",
            view: View::Kernel,
            cost: "two forward passes, and two reverse passes a sample",
        }
    }

    fn needs_second_batch(&self) -> bool {
        true
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let kernels = run.cross_kernels()?;
        let cross = kernels.body_cross.as_ref().expect("these kernels have a second batch");
        transfer(&kernels.body, cross).ok_or(IndicatorError::Singular { indicator: self.facts().name })
    }
}

/// −ln ‖K_yx K_xx⁻¹‖²_F of `kernel` K_xx and `cross` K_yx, both `[batch, batch]`; none where K_xx is singular.
fn transfer(kernel: &DMatrix<f64>, cross: &DMatrix<f64>) -> Option<f64> {
    // K_xx is symmetric: (K_yx K_xx⁻¹)ᵀ = K_xx⁻¹ K_yxᵀ.
    Some(-kernel.clone().lu().solve(&cross.transpose())?.norm_squared().ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np
    // k = np.array([[4., 1, 0], [1, 3, 1], [0, 1, 2]]); c = np.array([[1., 2, 0], [0, 1, 1], [3, 0, 1]])
    // print(-np.log(np.linalg.norm(c @ np.linalg.inv(k)) ** 2))
    #[test]
    fn it_is_numpys_and_a_singular_kernel_has_none() {
        let kernel = DMatrix::from_row_slice(3, 3, &[4.0, 1.0, 0.0, 1.0, 3.0, 1.0, 0.0, 1.0, 2.0]);
        let cross = DMatrix::from_row_slice(3, 3, &[1.0, 2.0, 0.0, 0.0, 1.0, 1.0, 3.0, 0.0, 1.0]);
        let value = transfer(&kernel, &cross).unwrap();
        assert!((value - -0.9808292530117262).abs() < 1e-12, "{value}");
        assert_eq!(transfer(&DMatrix::from_element(2, 2, 1.0), &DMatrix::identity(2, 2)), None);
    }
}
