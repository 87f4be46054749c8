//! How good a network is with the weights that it came with, before it is tuned.

use super::view::CALIBRATED;
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::network::{Mode, forward};
use crate::objective::Direction;
use candle_core::{D, DType};

/// Share of the calibration set that is right without tuning, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct CalibrationAccuracy;

impl Indicator for CalibrationAccuracy {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "calibration_accuracy",
            direction: Direction::Maximize,
            description: "what is left of a trained network, before it is tuned",
            formula: "share of the calibration set whose largest output is its class's",
            source: "Li et al. 2017 (Pruning Filters for Efficient ConvNets), Section 4: accuracy before retraining",
            view: View::Brought,
            cost: "a forward pass of the full network over the calibration set",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        run.check_brought(self.facts().name)?;
        let (samples, labels) = (run.second_images(), run.labels()[1]);
        let mut right = 0.0;
        for (at, labels) in labels.chunks(CALIBRATED).enumerate() {
            let samples = samples.narrow(0, at * CALIBRATED, labels.len())?;
            let outputs = forward(run.graph(), run.weights()?, &samples, Mode::Inference)?.flatten_from(1)?;
            let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
            let labels = candle_core::Tensor::new(labels, samples.device())?;
            let hits = outputs.argmax(D::Minus1)?.eq(&labels)?.to_dtype(DType::F32)?;
            right += f64::from(hits.sum_all()?.to_scalar::<f32>()?);
        }
        Ok(right / labels.len() as f64)
    }
}
