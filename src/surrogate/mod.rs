//! Models that learn from few evaluated architectures what the others would reach, and how sure they are.
//!
//! A model is data ([`SurrogateOptions`]) until it is fitted to feature rows ([`Encoding`], [`Rows`]) and targets
//! ([`TargetTransform`]); what is fitted is a [`Surrogate`], which predicts mean and deviation at any row.
//! [`Acquisition`] says which of the predicted architectures are worth an evaluation.

mod acquisition;
mod boosted_trees;
mod features;
mod gaussian_process;
mod hypervolume_improvement;
mod kernel_ridge;
mod losses;
mod mlp;
mod ridge;
mod shapley;
mod targets;
mod tree;

use serde::{Deserialize, Serialize};

pub use acquisition::{Acquisition, Ucb, committee, diverse, expected_improvement};
pub use boosted_trees::{BoostedTrees, BoostedTreesOptions};
pub use features::{Encoding, Rows};
pub use gaussian_process::GaussianProcessOptions;
pub use hypervolume_improvement::ExpectedVolume;
pub use kernel_ridge::KernelRidgeOptions;
pub use losses::Loss;
pub use mlp::{FreeStatistics, MlpOptions};
pub use ridge::RidgeOptions;
pub use targets::TargetTransform;

/// What a model expects at one row: in the unit of the targets that it was fitted to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The expected target.
    pub mean: f64,
    /// Standard deviation of what is not known about the mean; not negative.
    pub deviation: f64,
}

/// A fitted model.
pub trait Surrogate: Send + Sync {
    /// The prediction of each row, in order.
    ///
    /// # Panics
    /// If the rows have not as many features as those that it was fitted to.
    fn predict(&self, rows: &Rows) -> Vec<Prediction>;
}

/// A model that can be fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SurrogateOptions {
    /// Linear regression.
    Ridge(RidgeOptions),
    /// Kernel ridge regression with a Gaussian kernel.
    KernelRidge(KernelRidgeOptions),
    /// The better of ridge and kernel ridge by its errors at rows left out.
    RidgeOrKernel,
    /// A Gaussian process.
    GaussianProcess(GaussianProcessOptions),
    /// Gradient-boosted regression trees.
    BoostedTrees(BoostedTreesOptions),
    /// An ensemble of neural networks.
    Mlp(MlpOptions),
}

impl SurrogateOptions {
    /// Its name, as tables have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ridge(_) => "ridge",
            Self::KernelRidge(_) => "kernel_ridge",
            Self::RidgeOrKernel => "ridge_or_kernel",
            Self::GaussianProcess(_) => "gaussian_process",
            Self::BoostedTrees(_) => "boosted_trees",
            Self::Mlp(_) => "mlp",
        }
    }

    /// Looks at the options alone.
    ///
    /// # Errors
    /// If one is out of its range.
    pub fn check(&self) -> Result<(), SurrogateError> {
        match self {
            Self::Ridge(options) => options.check(),
            Self::KernelRidge(options) => options.check(),
            Self::RidgeOrKernel => Ok(()),
            Self::GaussianProcess(options) => options.check(),
            Self::BoostedTrees(options) => options.check(),
            Self::Mlp(options) => options.check(),
        }
    }

    /// The model that `rows` and `targets` teach. The same for the same `seed`, which only trees and networks use.
    ///
    /// # Errors
    /// If there are not as many targets as rows or fewer than two, a number is not finite, or an option is out of its range.
    pub fn fit(&self, rows: &Rows, targets: &[f64], seed: u64) -> Result<Box<dyn Surrogate>, SurrogateError> {
        check(rows, targets)?;
        Ok(match self {
            Self::Ridge(options) => Box::new(ridge::Ridge::fit(options, rows, targets)?),
            Self::KernelRidge(options) => Box::new(kernel_ridge::KernelRidge::fit(options, rows, targets)?),
            Self::RidgeOrKernel => {
                let linear = ridge::Ridge::fit(&RidgeOptions::default(), rows, targets)?;
                let kernel = kernel_ridge::KernelRidge::fit(&KernelRidgeOptions::default(), rows, targets)?;
                if linear.error() < kernel.error() { Box::new(linear) } else { Box::new(kernel) }
            }
            Self::GaussianProcess(options) => Box::new(gaussian_process::Process::fit(options, rows, targets)?),
            Self::BoostedTrees(options) => Box::new(BoostedTrees::fit(options, rows, targets, seed)?),
            Self::Mlp(options) => Box::new(mlp::Ensemble::fit(options, rows, targets, None, seed)?),
        })
    }
}

fn check(rows: &Rows, targets: &[f64]) -> Result<(), SurrogateError> {
    if rows.len() != targets.len() || rows.len() < 2 {
        return Err(SurrogateError::Count { rows: rows.len(), targets: targets.len() });
    }
    let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
    match (finite(rows.values()), finite(targets)) {
        (true, true) => Ok(()),
        (false, _) => Err(SurrogateError::NotFinite { what: "feature" }),
        (_, false) => Err(SurrogateError::NotFinite { what: "target" }),
    }
}

/// Whether a grid has places, all positive numbers.
fn check_grid(field: &'static str, values: &[f64]) -> Result<(), SurrogateError> {
    let wrong = values.iter().copied().find(|value| !(value.is_finite() && *value > 0.0));
    match wrong.or(values.is_empty().then_some(f64::NAN)) {
        Some(value) => Err(SurrogateError::Option { field, value, expected: "positive numbers" }),
        None => Ok(()),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The candidate for which `score` is least; the first of equals. `None` where no score is a number.
fn least<T>(candidates: impl Iterator<Item = (T, f64)>) -> Option<(T, f64)> {
    candidates.filter(|(_, score)| !score.is_nan()).reduce(|best, next| if next.1 < best.1 { next } else { best })
}

/// Why a model can't be fitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SurrogateError {
    /// Too few examples, or rows without targets.
    #[error("{rows} feature rows and {targets} targets: expected equal numbers, 2 or more")]
    Count {
        /// Feature rows.
        rows: usize,
        /// Targets.
        targets: usize,
    },
    /// Infinite or no number.
    #[error("a {what} is not finite")]
    NotFinite {
        /// Feature or target.
        what: &'static str,
    },
    /// An option out of its range.
    #[error("{field} is {value}: expected {expected}")]
    Option {
        /// Its name in the config.
        field: &'static str,
        /// What was found.
        value: f64,
        /// What is allowed.
        expected: &'static str,
    },
    /// No setting of the model gives a solution.
    #[error("the features' covariance can't be inverted")]
    Singular,
}

#[cfg(test)]
mod tests;
