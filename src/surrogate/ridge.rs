//! Ridge regression (Hoerl and Kennard 1970): w = (XᵀX + αI)⁻¹Xᵀy of centred X and y, with the α of a grid whose
//! mean squared error at rows left out one by one is least.
//!
//! Left-out errors are eᵢ / (1 - hᵢᵢ) with h of the hat matrix; 1/n of it is the centring's. A prediction's deviation is that of
//! the Bayesian linear regression with this α: s·√(1/n + xᵀ(XᵀX + αI)⁻¹x), s the root of the left-out error.

use super::{Prediction, Rows, Surrogate, SurrogateError, least, mean};
use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

/// How ridge regression is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RidgeOptions {
    /// The penalties tried.
    pub alphas: Vec<f64>,
}

impl Default for RidgeOptions {
    fn default() -> Self {
        Self { alphas: vec![0.1, 0.3, 1.0, 3.0, 10.0, 30.0] }
    }
}

impl RidgeOptions {
    pub(super) fn check(&self) -> Result<(), SurrogateError> {
        super::check_grid("alphas", &self.alphas)
    }
}

pub(super) struct Ridge {
    centre: DVector<f64>,
    level: f64,
    weights: DVector<f64>,
    /// (XᵀX + αI)⁻¹
    inverse: DMatrix<f64>,
    count: usize,
    /// Mean squared error at rows left out.
    error: f64,
}

impl Ridge {
    pub(super) fn fit(options: &RidgeOptions, rows: &Rows, targets: &[f64]) -> Result<Self, SurrogateError> {
        options.check()?;
        let (count, level) = (rows.len(), mean(targets));
        let centre = rows.columns().column_mean();
        let mut features = rows.columns().into_owned();
        features.column_iter_mut().for_each(|mut column| column -= &centre);
        let values = DVector::from_iterator(count, targets.iter().map(|target| target - level));
        let (gram, moments) = (&features * features.transpose(), &features * &values);
        let solve = |&alpha: &f64| {
            let penalised = &gram + DMatrix::identity(rows.width(), rows.width()) * alpha;
            let inverse = penalised.cholesky()?.inverse();
            let weights = &inverse * &moments;
            let spread = &inverse * &features;
            let left_out = features.column_iter().zip(spread.column_iter()).zip(values.iter()).map(|((x, s), y)| {
                let leverage = x.dot(&s) + 1.0 / count as f64;
                ((y - x.dot(&weights)) / (1.0 - leverage).max(1e-9)).powi(2)
            });
            let error = left_out.sum::<f64>() / count as f64;
            Some(((weights, inverse), error))
        };
        let ((weights, inverse), error) =
            least(options.alphas.iter().filter_map(solve)).ok_or(SurrogateError::Singular)?;
        Ok(Self { centre, level, weights, inverse, count, error })
    }

    pub(super) fn error(&self) -> f64 {
        self.error
    }
}

impl Surrogate for Ridge {
    fn predict(&self, rows: &Rows) -> Vec<Prediction> {
        let mut features = rows.columns().into_owned();
        features.column_iter_mut().for_each(|mut column| column -= &self.centre);
        let spread = &self.inverse * &features;
        let of_row = |(x, spread): (nalgebra::DVectorView<'_, f64>, nalgebra::DVectorView<'_, f64>)| {
            let variance = self.error * (1.0 / self.count as f64 + x.dot(&spread).max(0.0));
            Prediction { mean: self.level + x.dot(&self.weights), deviation: variance.sqrt() }
        };
        features.column_iter().zip(spread.column_iter()).map(of_row).collect()
    }
}
