//! Generalisation: the error of kernel regression with the neural tangent kernel.
//!
//! With K over the body's weights, targets Y one-hot minus their batch's mean:
//! MSE = mean_i Σ_c (K_yx K_xx⁻¹ Y_x − Y_y)²_ic (Chen et al. 2021, TEG-NAS, Section 3.3), the mean over the networks.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;
use nalgebra::DMatrix;

/// Error of the kernel's regression from one batch to another, lower is better.
#[derive(Clone, Copy, Debug)]
pub struct NtkRegression;

impl Indicator for NtkRegression {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "ntk_regression",
            direction: Direction::Minimize,
            description: "generalisation: error of kernel regression onto a second batch",
            formula: "mean_i Σ_c (K_yx K_xx⁻¹ Y_x − Y_y)²",
            source: "Chen et al. 2021 (TEG-NAS), Section 3.3",
            view: View::Kernel,
            cost: "two forward passes, and two reverse passes a sample",
        }
    }

    fn needs_second_batch(&self) -> bool {
        true
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let [first, second] = run.labels();
        let kernels = run.cross_kernels()?;
        let cross = kernels.body_cross.as_ref().expect("these kernels have a second batch");
        error(&kernels.body, cross, first, second).ok_or(IndicatorError::Singular { indicator: self.facts().name })
    }
}

/// The mean squared error of the regression; none where the kernel is singular.
///
/// `kernel` `[batch, batch]` of the first batch, `cross` `[batch, batch]` from the second (rows) to the first,
/// `first` and `second` the class of each sample.
pub fn error(kernel: &DMatrix<f64>, cross: &DMatrix<f64>, first: &[usize], second: &[usize]) -> Option<f64> {
    let classes = first.iter().chain(second).max()? + 1;
    let solved = kernel.clone().lu().solve(&targets(first, classes))?;
    let difference = cross * solved - targets(second, classes);
    Some(difference.norm_squared() / second.len() as f64)
}

/// One-hot rows minus their mean.
fn targets(labels: &[usize], classes: usize) -> DMatrix<f64> {
    let mut one_hot = DMatrix::zeros(labels.len(), classes);
    labels.iter().enumerate().for_each(|(sample, &class)| one_hot[(sample, class)] = 1.0);
    for mut column in one_hot.column_iter_mut() {
        let mean = column.mean();
        column.add_scalar_mut(-mean);
    }
    one_hot
}
