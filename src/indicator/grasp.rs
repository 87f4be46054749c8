//! Gradient signal preservation.
//!
//! −Σ w · (H g), g = ∂L/∂w and H the Hessian: to first order, what removing each weight takes from ‖g‖² (Wang et al.
//! 2020, GraSP; summed over a network by Abdelfattah et al. 2021, Section 3.2). H is symmetric, so that
//! wᵀHg = ½ d/dt ‖g((1 + t) w)‖² at t = 0: two gradients, at (1 ± ε) w, and no second derivative. Batch normalisation
//! makes each layer in front of it add its own ‖g‖²; the classifier, which
//! all gradients come through, takes nearly as much away, so that small networks differ by little more than their labels.

use super::loss::{layers, loss_gradients};
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;
use std::collections::BTreeSet;

/// How far the weights are moved, of their length.
const STEP: f64 = 1e-2;

/// Gradient signal preservation, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct Grasp;

impl Indicator for Grasp {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "grasp",
            direction: Direction::Maximize,
            description: "how much the gradient loses without single weights",
            formula: "−Σ w · H ∂L/∂w",
            source: "Wang et al. 2020 (GraSP); Abdelfattah et al. 2021, Section 3.2",
            view: View::Features,
            cost: "two forward and backward passes",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let names: BTreeSet<String> = layers(run.graph()).into_values().collect();
        let squared = |scale: f64| -> Result<f64, IndicatorError> {
            let weights = run.weights()?.map(|name, tensor| match names.contains(name) {
                true => tensor * scale,
                false => Ok(tensor.clone()),
            })?;
            let gradients = loss_gradients(run.graph(), &weights, run.images(), run.labels()[0], false)?;
            Ok(gradients.sum(|_, g| g * g))
        };
        Ok((squared(1.0 - STEP)? - squared(1.0 + STEP)?) / (4.0 * STEP))
    }
}
