//! The learning rate over time.
//!
//! With p, the share of training that is done behind the warm-up, and c = (1 + cos πp) / 2:
//!
//! - cosine (Loshchilov and Hutter 2017): lr = peak · c
//! - cosine power (Hundt et al. 2019, sharpDARTS): q = P^(c + 1), brought to [0, 1] by its least and largest value,
//!   lr = lr_min + (peak - lr_min) · q

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate falls behind the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// To 0 by a half wave of a cosine.
    #[default]
    Cosine,
    /// Steeper at first, the longer at small rates.
    CosinePower(CosinePower),
}

/// Parameters of cosine power annealing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CosinePower {
    /// How steep; 1 is the cosine.
    pub power: f64,
    /// The last learning rate.
    pub lr_min: f64,
}

impl Default for CosinePower {
    fn default() -> Self {
        Self { power: 10.0, lr_min: 1e-4 }
    }
}

impl Schedule {
    /// The learning rate of `step`, counted from 0, of `steps`, of which the first `warm_up` rise to `peak` on a line.
    pub fn lr(self, peak: f64, step: u64, steps: u64, warm_up: f64) -> f64 {
        let at = step as f64;
        if at < warm_up {
            return peak * (at + 1.0) / warm_up.max(at + 1.0);
        }
        let progress = ((at - warm_up) / (steps as f64 - warm_up).max(1.0)).min(1.0);
        let cosine = (1.0 + (PI * progress).cos()) / 2.0;
        match self {
            Self::Constant => peak,
            Self::Cosine => peak * cosine,
            Self::CosinePower(CosinePower { power, lr_min }) => {
                let scaled =
                    if power > 1.0 { (power.powf(cosine + 1.0) - power) / (power * power - power) } else { cosine };
                lr_min + (peak - lr_min) * scaled
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: Schedule, warm_up: f64, expected: &[(u64, f64)]) {
        for &(step, lr) in expected {
            let found = schedule.lr(0.2, step, 100, warm_up);
            assert!((found - lr).abs() < 1e-12, "{schedule:?}, step {step}: {found}, expected {lr}");
        }
    }

    #[test]
    fn rates_are_those_of_the_formulas() {
        check(Schedule::Constant, 0.0, &[(0, 0.2), (99, 0.2)]);
        check(Schedule::Cosine, 0.0, &[(0, 0.2), (50, 0.1), (25, 0.1 * (1.0 + 0.5f64.sqrt()))]);
        check(Schedule::Cosine, 10.0, &[(0, 0.02), (4, 0.1), (9, 0.2), (10, 0.2), (55, 0.1)]);
        // q(1/2) = (10^1.5 - 10) / (100 - 10)
        let power = Schedule::CosinePower(CosinePower { power: 10.0, lr_min: 0.01 });
        check(power, 0.0, &[(0, 0.2), (50, 0.01 + 0.19 * (10f64.powf(1.5) - 10.0) / 90.0)]);
        let plain = Schedule::CosinePower(CosinePower { power: 1.0, lr_min: 0.0 });
        check(plain, 0.0, &[(50, 0.1)]);
    }

    #[test]
    fn less_than_a_step_of_warm_up_is_one_step() {
        check(Schedule::Constant, 0.5, &[(0, 0.2), (1, 0.2)]);
    }
}
