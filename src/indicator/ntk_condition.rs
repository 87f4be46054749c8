//! Trainability: the condition number of the neural tangent kernel.
//!
//! κ = λ_max / λ_min of K (Chen et al. 2021, TEG-NAS, Section 3.1; Xiao et al. 2020): the smaller, the more evenly
//! gradient descent learns all directions. Of several networks: the arithmetic mean in `compat` mode, as the
//! released code has it; the geometric mean in `fast` mode, since κ varies over decades.

use super::{Facts, Indicator, IndicatorError, Mode, Run, View, ntk};
use crate::objective::Direction;

/// κ of the neural tangent kernel, lower is better.
#[derive(Clone, Copy, Debug)]
pub struct NtkCondition;

impl Indicator for NtkCondition {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "ntk_condition",
            direction: Direction::Minimize,
            description: "trainability: how evenly gradient descent learns",
            formula: "κ = λ_max / λ_min of the neural tangent kernel",
            source: "Chen et al. 2021 (TEG-NAS), Section 3.1",
            view: View::Kernel,
            cost: "a forward pass, and a reverse pass a sample",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(ntk::condition(&run.kernels()?.all).0)
    }

    fn average(&self, values: &[f64], mode: Mode) -> f64 {
        let count = values.len() as f64;
        match mode {
            Mode::Compat => values.iter().sum::<f64>() / count,
            Mode::Fast => (values.iter().map(|kappa| kappa.ln()).sum::<f64>() / count).exp(),
        }
    }
}
