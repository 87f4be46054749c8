//! Trainability of wider networks: the condition number of the neural tangent kernel over their layers' weights.
//!
//! κ = λ_max / λ_min as in `ntk_condition` (Chen et al. 2021, TEG-NAS, Section 3.1; Xiao et al. 2020), on a wider
//! probe under Kaiming's initialisation, and without the gradients of batch normalisation's scales. Depthwise layers of
//! three or four channels say little of those of a whole network: such spaces need the width.

use super::{Facts, Indicator, IndicatorError, Mode, NtkCondition, Run, View, ntk};
use crate::objective::Direction;

/// κ of a wider probe's neural tangent kernel, lower is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct WideNtkCondition;

impl Indicator for WideNtkCondition {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "wide_ntk_condition",
            direction: Direction::Minimize,
            description: "trainability: how evenly gradient descent learns, on a wider probe",
            formula: "κ = λ_max / λ_min of the neural tangent kernel over convolutions and linear layers",
            source: "Chen et al. 2021 (TEG-NAS), Section 3.1, on a wider probe",
            view: View::WideKernel,
            cost: "a forward pass, and a reverse pass a sample",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(ntk::condition(&run.kernels()?.unscaled).0)
    }

    fn average(&self, values: &[f64], _: Mode) -> f64 {
        // No released code has this one, so the mean is the geometric one in both modes.
        NtkCondition.average(values, Mode::Fast)
    }
}
