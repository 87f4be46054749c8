//! Gaussian process regression with Matérn's kernel (ν = 5/2): length scale and noise are those of a small grid whose
//! marginal likelihood is greatest, the signal's variance follows in closed form (Rasmussen and Williams 2006, section 5.4.1).
//!
//! On one-hot rows the kernel is a function of how many genes differ. The grid is walked one axis after the other.

use super::features::squared_distances;
use super::kernel_ridge::typical;
use super::{Prediction, Rows, Surrogate, SurrogateError, mean};
use crate::statistics::{Conditioned, matern52};
use serde::{Deserialize, Serialize};

/// Walks over both axes of the grid.
const SWEEPS: usize = 2;

/// How a Gaussian process is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GaussianProcessOptions {
    /// The length scales tried, in root mean squared distances of the rows.
    pub length_scales: Vec<f64>,
    /// The variances of noise tried, in variances of the signal.
    pub noises: Vec<f64>,
}

impl Default for GaussianProcessOptions {
    fn default() -> Self {
        Self { length_scales: vec![0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8], noises: vec![1e-3, 0.01, 0.03, 0.1, 0.3, 1.0] }
    }
}

impl GaussianProcessOptions {
    pub(super) fn check(&self) -> Result<(), SurrogateError> {
        super::check_grid("length_scales", &self.length_scales)?;
        super::check_grid("noises", &self.noises)
    }
}

pub(super) struct Process {
    known: Rows,
    length: f64,
    level: f64,
    /// Standard deviation where nothing is known.
    deviation: f64,
    fitted: Conditioned,
}

impl Process {
    pub(super) fn fit(options: &GaussianProcessOptions, rows: &Rows, targets: &[f64]) -> Result<Self, SurrogateError> {
        options.check()?;
        let level = mean(targets);
        let values: Vec<f64> = targets.iter().map(|target| target - level).collect();
        let mut distances = squared_distances(rows, rows);
        let typical = typical(&distances).sqrt();
        distances.apply(|squared| *squared = squared.sqrt());
        let condition = |length: f64, noise: f64| {
            let mut covariance = distances.map(|distance| matern52(distance / (length * typical)));
            (0..rows.len()).for_each(|at| covariance[(at, at)] = 1.0 + noise);
            let fitted = Conditioned::new(covariance, &values)?;
            let (likelihood, variance) = fitted.log_likelihood_scaled();
            Some((likelihood, variance, fitted))
        };
        let middle = |values: &[f64]| values.get(values.len() / 2).copied();
        let (mut length, mut noise) =
            middle(&options.length_scales).zip(middle(&options.noises)).ok_or(SurrogateError::Singular)?;
        let mut best = condition(length, noise);
        for _ in 0..SWEEPS {
            let before = (length, noise);
            let along_lengths: Vec<(f64, f64)> = options.length_scales.iter().map(|&l| (l, noise)).collect();
            improve(&mut best, &mut length, &mut noise, &along_lengths, condition);
            let along_noises: Vec<(f64, f64)> = options.noises.iter().map(|&n| (length, n)).collect();
            improve(&mut best, &mut length, &mut noise, &along_noises, condition);
            if before == (length, noise) {
                break;
            }
        }
        let (_, variance, fitted) = best.ok_or(SurrogateError::Singular)?;
        Ok(Self { known: rows.clone(), length: length * typical, level, deviation: variance.sqrt(), fitted })
    }
}

type Found = Option<(f64, f64, Conditioned)>;

fn improve(
    best: &mut Found,
    length: &mut f64,
    noise: &mut f64,
    places: &[(f64, f64)],
    condition: impl Fn(f64, f64) -> Found,
) {
    for &(new_length, new_noise) in places {
        let Some(found) = condition(new_length, new_noise) else { continue };
        if best.as_ref().is_none_or(|best| found.0 > best.0) {
            (*best, *length, *noise) = (Some(found), new_length, new_noise);
        }
    }
}

impl Surrogate for Process {
    fn predict(&self, rows: &Rows) -> Vec<Prediction> {
        let mut covariances = squared_distances(&self.known, rows);
        covariances.apply(|squared| *squared = matern52(squared.sqrt() / self.length));
        let predictions = self.fitted.predict(&covariances, 1.0).into_iter();
        predictions
            .map(|(mean, variance)| Prediction { mean: self.level + mean, deviation: self.deviation * variance.sqrt() })
            .collect()
    }
}
