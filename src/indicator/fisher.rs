//! Fisher information of the channels.
//!
//! Removing channel c of a layer's output a changes the loss by about Δ_c = 1/(2N) Σ_n (Σ over pixels of
//! a · ∂L/∂a)²; summed over the channels of all convolutions and the features of fully connected layers (Theis et
//! al. 2018; Turner et al. 2020, BlockSwap; Abdelfattah et al. 2021, Section 3.2). L is the batch's mean.
//! It needs depth: on NAS-Bench-201 it ranks networks of five cells a stage as published (0.8), of one cell not (0.2).

use super::loss::numbers;
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Fisher information of the channels, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct Fisher;

impl Indicator for Fisher {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "fisher",
            direction: Direction::Maximize,
            description: "how much the loss would change without single channels",
            formula: "Σ over channels of 1/(2N) Σ_n (Σ over pixels of a · ∂L/∂a)²",
            source: "Turner et al. 2020 (BlockSwap), Fisher potential; Abdelfattah et al. 2021, Section 3.2",
            view: View::Features,
            cost: "a forward and a backward pass, shared",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let mut sum = 0.0;
        for layer in &run.loss_gradients()?.layers {
            let Some([output, gradient]) = &layer.output else { continue };
            let product = (output * gradient)?.flatten_from(1)?;
            let samples = product.dim(0)?;
            let pixels = product.dim(1)? / output.dim(1)?;
            let products = numbers(&product)?;
            let of_channel = |pixels: &[f32]| pixels.iter().map(|&p| f64::from(p)).sum::<f64>();
            sum += products.chunks(pixels).map(|p| of_channel(p).powi(2)).sum::<f64>() / (2 * samples) as f64;
        }
        Ok(sum)
    }
}
