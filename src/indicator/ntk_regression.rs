//! Generalisation: the error of kernel regression with the neural tangent kernel.
//!
//! With K over the body's weights, targets Y one-hot minus their batch's mean:
//! MSE = mean_i Σ_c (K_yx K_xx⁻¹ Y_x − Y_y)²_ic (Chen et al. 2021, TEG-NAS, Section 3.3), the mean over the networks.

use super::{Indicator, IndicatorError, Probe};
use crate::objective::Direction;
use nalgebra::DMatrix;

/// Error of the kernel's regression from one batch to another, lower is better.
#[derive(Clone, Copy, Debug)]
pub struct NtkRegression;

impl Indicator for NtkRegression {
    fn name(&self) -> &'static str {
        "ntk_regression"
    }

    fn direction(&self) -> Direction {
        Direction::Minimize
    }

    fn description(&self) -> &'static str {
        "generalisation: error of kernel regression onto a second batch"
    }

    fn formula(&self) -> &'static str {
        "mean_i Σ_c (K_yx K_xx⁻¹ Y_x − Y_y)²"
    }

    fn source(&self) -> &'static str {
        "Chen et al. 2021 (TEG-NAS), Section 3.3"
    }

    fn evaluate(&self, probe: &Probe) -> Result<f64, IndicatorError> {
        let (first, second) = probe.labels();
        let mut sum = 0.0;
        for kernels in probe.kernels()? {
            let cross = kernels.body_cross.as_ref().expect("a probe's kernels have a second batch");
            sum += error(&kernels.body, cross, first, second)
                .ok_or(IndicatorError::Singular { indicator: self.name() })?;
        }
        super::finite(self.name(), sum / probe.settings().networks as f64)
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
