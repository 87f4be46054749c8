//! Expressivity: how differently a batch's images switch the network's ReLUs.
//!
//! ln |det K| with K_ij the number of ReLU units that are on for both images i and j or off for both (Mellor et al.
//! 2021, Section 3).

use super::signs::Signs;
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;
use nalgebra::DMatrix;

/// Log-determinant of the kernel of ReLU patterns, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naswot;

impl Indicator for Naswot {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "naswot",
            direction: Direction::Maximize,
            description: "expressivity: how well images are told apart by the ReLUs that they switch on",
            formula: "ln |det K|, K_ij = units − Hamming distance of the ReLU patterns of images i and j",
            source: "Mellor et al. 2021 (NAS without training), Section 3",
            view: View::Features,
            cost: "a forward pass",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        log_determinant(run.signs()?).ok_or(IndicatorError::Singular { indicator: self.facts().name })
    }
}

/// ln |det K|; none where two images have one pattern.
fn log_determinant(signs: &Signs) -> Option<f64> {
    let mut kernel = DMatrix::from_element(signs.images(), signs.images(), signs.units() as f64);
    for one in 0..signs.images() {
        for other in 0..one {
            let common = (signs.units() as u64 - signs.distance(one, other)) as f64;
            kernel[(one, other)] = common;
            kernel[(other, one)] = common;
        }
    }
    // K is positive: the units that are on alike and those that are off alike each make a Gram matrix.
    Some(2.0 * kernel.cholesky()?.l_dirty().diagonal().iter().map(|value| value.ln()).sum::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np
    // s = (np.arange(4)[:, None] ** 2 * 5 + np.arange(70)[None] ** 2) % 7 < 3
    // k = (s[:, None] == s[None]).sum(-1); print(np.linalg.slogdet(k)[1])
    #[test]
    fn it_is_numpys_and_equal_images_have_none() {
        let on = |image: usize, unit: usize| (image * image * 5 + unit * unit) % 7 < 3;
        let values = |images: [usize; 4]| -> Vec<f32> {
            images.iter().flat_map(|&image| (0..70).map(move |unit| f32::from(u8::from(on(image, unit))))).collect()
        };
        let value = log_determinant(&Signs::of_layers(4, &[&values([0, 1, 2, 3])])).unwrap();
        assert!((value - 14.621986423831224).abs() < 1e-9, "{value}");
        assert_eq!(log_determinant(&Signs::of_layers(4, &[&values([0, 1, 2, 1])])), None);
    }
}
