//! Trainability of deeper networks: the condition number of the neural tangent kernel of a probe of several cells a stage.
//!
//! κ = λ_max / λ_min as in `ntk_condition` (Chen et al. 2021, TEG-NAS, Section 3.1; Xiao et al. 2020). The full network
//! of a cell space repeats its cell many times: that a cell without a shortcut loses the gradient on the way shows only
//! where cells follow each other. Of a chain, whose layers are its decisions, the probe is as deep as it is anyway.

use super::{Facts, Indicator, IndicatorError, Mode, NtkCondition, Run, View, ntk};
use crate::objective::Direction;

/// κ of a deeper probe's neural tangent kernel, lower is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeepNtkCondition;

impl Indicator for DeepNtkCondition {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "deep_ntk_condition",
            direction: Direction::Minimize,
            description: "trainability: how evenly gradient descent learns, on a deeper probe",
            formula: "κ = λ_max / λ_min of the neural tangent kernel, three cells a stage",
            source: "Chen et al. 2021 (TEG-NAS), Section 3.1, on a deeper probe",
            view: View::DeepKernel,
            cost: "a forward pass, and a reverse pass a sample",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(ntk::condition(&run.kernels()?.all).0)
    }

    fn average(&self, values: &[f64], _: Mode) -> f64 {
        // No released code has this one, so the mean is the geometric one in both modes.
        NtkCondition.average(values, Mode::Fast)
    }
}
