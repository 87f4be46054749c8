//! Kernel ridge regression with the Gaussian kernel exp(-γ|x - x'|²): (K + λI)⁻¹y, with the γ and λ of a grid whose mean
//! squared error at rows left out one by one is least. It predicts what a support vector regression without an
//! insensitive zone predicts, and has a closed form.
//!
//! A prediction's deviation is the process's of the same kernel, scaled so that left-out errors have it on average.

use super::features::squared_distances;
use super::{Prediction, Rows, Surrogate, SurrogateError, least, mean};
use crate::statistics::Conditioned;
use nalgebra::DMatrix;
use serde::{Deserialize, Serialize};

/// How kernel ridge regression is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KernelRidgeOptions {
    /// The γ tried, times the mean squared distance of the rows.
    pub gammas: Vec<f64>,
    /// The λ tried.
    pub lambdas: Vec<f64>,
}

impl Default for KernelRidgeOptions {
    fn default() -> Self {
        Self { gammas: vec![0.1, 0.3, 0.6, 1.2], lambdas: vec![1e-3, 1e-2, 0.1, 0.5] }
    }
}

impl KernelRidgeOptions {
    pub(super) fn check(&self) -> Result<(), SurrogateError> {
        super::check_grid("gammas", &self.gammas)?;
        super::check_grid("lambdas", &self.lambdas)
    }
}

pub(super) struct KernelRidge {
    known: Rows,
    gamma: f64,
    level: f64,
    fitted: Conditioned,
    /// Mean squared error at rows left out.
    error: f64,
    /// Standard deviation where nothing is known.
    deviation: f64,
}

impl KernelRidge {
    pub(super) fn fit(options: &KernelRidgeOptions, rows: &Rows, targets: &[f64]) -> Result<Self, SurrogateError> {
        options.check()?;
        let level = mean(targets);
        let values: Vec<f64> = targets.iter().map(|target| target - level).collect();
        let distances = squared_distances(rows, rows);
        let typical = typical(&distances);
        let solve = |(gamma, lambda): (f64, f64)| {
            let mut covariance = distances.map(|squared| (-gamma * squared).exp());
            (0..rows.len()).for_each(|at| covariance[(at, at)] += lambda);
            let fitted = Conditioned::new(covariance, &values)?;
            let errors = fitted.errors_left_out();
            let error = errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64;
            Some(((gamma, fitted), error))
        };
        let grid = options.gammas.iter().flat_map(|gamma| options.lambdas.iter().map(move |l| (gamma / typical, *l)));
        let ((gamma, fitted), error) = least(grid.filter_map(solve)).ok_or(SurrogateError::Singular)?;
        let deviation = (fitted.quadratic() / values.len() as f64).sqrt();
        Ok(Self { known: rows.clone(), gamma, level, fitted, error, deviation })
    }

    pub(super) fn error(&self) -> f64 {
        self.error
    }
}

impl Surrogate for KernelRidge {
    fn predict(&self, rows: &Rows) -> Vec<Prediction> {
        let covariances = squared_distances(&self.known, rows).map(|squared| (-self.gamma * squared).exp());
        let predictions = self.fitted.predict(&covariances, 1.0).into_iter();
        predictions
            .map(|(mean, variance)| Prediction { mean: self.level + mean, deviation: self.deviation * variance.sqrt() })
            .collect()
    }
}

/// The mean of squared distances between different rows; 1 where all rows are equal.
pub(super) fn typical(distances: &DMatrix<f64>) -> f64 {
    let count = distances.nrows() as f64;
    let mean = distances.sum() / (count * (count - 1.0)).max(1.0);
    if mean > 0.0 { mean } else { 1.0 }
}
