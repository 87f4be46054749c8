//! What models are fitted to: values as they are, standardised, or their ranks as a normal distribution would have them.
//!
//! Rank-Gauss: Φ⁻¹((rank - ½) / n), equal values sharing the mean of their ranks. Accuracies of a space have a long tail
//! of broken networks; with ranks it does not drown what separates the good ones.

use crate::statistics::{normal_quantile, ranks};
use serde::{Deserialize, Serialize};

/// How values become targets. All keep the values' order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetTransform {
    /// As they are.
    None,
    /// (value - mean) / standard deviation.
    ZScore,
    /// The normal quantile of the rank.
    #[default]
    RankGauss,
}

impl TargetTransform {
    /// The targets of `values`; zeros where all values are equal and are not kept as they are.
    pub fn apply(self, values: &[f64]) -> Vec<f64> {
        let count = values.len() as f64;
        match self {
            Self::None => values.to_vec(),
            Self::ZScore => {
                let mean = super::mean(values);
                let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
                let scaled = |value: &f64| if deviation > 0.0 { (value - mean) / deviation } else { 0.0 };
                values.iter().map(scaled).collect()
            }
            Self::RankGauss => ranks(values).into_iter().map(|rank| normal_quantile((rank - 0.5) / count)).collect(),
        }
    }
}
