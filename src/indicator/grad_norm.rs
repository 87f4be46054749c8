//! The norm of the gradient of the loss.
//!
//! Σ over convolutions and fully connected layers of ‖∂L/∂w‖₂, L the cross-entropy of one batch against random
//! labels (Abdelfattah et al. 2021, "Zero-Cost Proxies for Lightweight NAS", Section 3.2).

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Norm of the loss's gradient, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct GradNorm;

impl Indicator for GradNorm {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "grad_norm",
            direction: Direction::Maximize,
            description: "how much the loss asks of the weights",
            formula: "Σ over layers of ‖∂L/∂w‖₂",
            source: "Abdelfattah et al. 2021, Section 3.2",
            view: View::Features,
            cost: "a forward and a backward pass, shared",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let norm = |layer: &super::loss::Layer| layer.sum(|_, g| g * g).sqrt();
        Ok(run.loss_gradients()?.layers.iter().map(norm).sum())
    }
}
