//! The norm of the weights.
//!
//! Σ over convolutions and fully connected layers of ‖w‖₂: before training a measure of size alone (the baseline of
//! Abdelfattah et al. 2021).

use super::loss::{layers, numbers};
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Norm of the weights, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct L2Norm;

impl Indicator for L2Norm {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "l2_norm",
            direction: Direction::Maximize,
            description: "how many weights there are, and how large",
            formula: "Σ over layers of ‖w‖₂",
            source: "Abdelfattah et al. 2021, released code",
            view: View::Features,
            cost: "no pass",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let mut sum = 0.0;
        for name in layers(run.graph()).values() {
            let weight = numbers(run.weights()?.get(name)?)?;
            sum += weight.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
        }
        Ok(sum)
    }
}
