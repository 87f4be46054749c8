//! Trainability: the condition number of the neural tangent kernel.
//!
//! κ = λ_max / λ_min of K (Chen et al. 2021, TEG-NAS, Section 3.1; Xiao et al. 2020): the smaller, the more evenly
//! gradient descent learns all directions. Of several networks: the arithmetic mean in `compat` mode, as the
//! released code has it; the geometric mean in `fast` mode, since κ varies over decades.

use super::{Indicator, IndicatorError, Mode, Probe, ntk};
use crate::objective::Direction;

/// κ of the neural tangent kernel, lower is better.
#[derive(Clone, Copy, Debug)]
pub struct NtkCondition;

impl Indicator for NtkCondition {
    fn name(&self) -> &'static str {
        "ntk_condition"
    }

    fn direction(&self) -> Direction {
        Direction::Minimize
    }

    fn description(&self) -> &'static str {
        "trainability: how evenly gradient descent learns"
    }

    fn formula(&self) -> &'static str {
        "κ = λ_max / λ_min of the neural tangent kernel"
    }

    fn source(&self) -> &'static str {
        "Chen et al. 2021 (TEG-NAS), Section 3.1"
    }

    fn evaluate(&self, probe: &Probe) -> Result<f64, IndicatorError> {
        let kappas = probe.first_kernels()?.iter().map(|kernels| ntk::condition(&kernels.all).0);
        let count = probe.settings().networks as f64;
        let kappa = match probe.settings().mode {
            Mode::Compat => kappas.sum::<f64>() / count,
            Mode::Fast => (kappas.map(f64::ln).sum::<f64>() / count).exp(),
        };
        super::finite(self.name(), kappa)
    }
}
