//! Agreement of gradient signs.
//!
//! Σ over weights w of |Σ_n sign(∂l_n/∂w)|, l_n the cross-entropy of sample n: the more samples agree, the closer their
//! optima lie (Zhang and Jia 2022, GradSign, algorithm 1). Over the weights of convolutions and fully
//! connected layers; through the batch's statistics.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::graph::Role;
use crate::network::PerSampleGradients;
use crate::objective::Direction;
use candle_core::{D, Tensor};

/// Agreement of the samples' gradient signs, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct GradSign;

impl Indicator for GradSign {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "grad_sign",
            direction: Direction::Maximize,
            description: "trainability: on how many weights the samples' gradients agree",
            formula: "Σ over weights of |Σ over samples of sign ∂l_n/∂w|",
            source: "Zhang and Jia 2022 (GradSign), algorithm 1",
            view: View::Kernel,
            cost: "a forward pass, and a reverse pass a sample",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let [labels, _] = run.labels();
        let seeds = |logits: &Tensor| loss_cotangents(logits, labels);
        let gradients = PerSampleGradients::with_seeds(run.graph(), run.weights()?, run.images(), seeds)?;
        let mut sum = 0.0;
        for layer in gradients {
            let layer = layer?;
            if layer.role == Role::Weight {
                sum += f64::from(layer.gradient.sign()?.sum(0)?.abs()?.sum_all()?.to_scalar::<f32>()?);
            }
        }
        Ok(sum)
    }
}

/// The gradients of each sample's cross-entropy with respect to all outputs: `[batch, batch, classes]` of logits
/// `[batch, classes]`.
pub(super) fn loss_cotangents(logits: &Tensor, labels: &[usize]) -> Result<Tensor, candle_core::Error> {
    let errors = prediction_errors(logits, labels)?;
    let samples = labels.len();
    let eye = Tensor::eye(samples, logits.dtype(), logits.device())?.unsqueeze(2)?;
    eye.broadcast_mul(&errors.unsqueeze(0)?)
}

/// softmax(logits) - one-hot labels, `[batch, classes]`.
pub(super) fn prediction_errors(logits: &Tensor, labels: &[usize]) -> Result<Tensor, candle_core::Error> {
    let (samples, classes) = logits.dims2()?;
    let mut one_hot = vec![0f32; samples * classes];
    labels.iter().enumerate().for_each(|(sample, &label)| one_hot[sample * classes + label] = 1.0);
    candle_nn::ops::softmax(logits, D::Minus1)? - Tensor::from_vec(one_hot, (samples, classes), logits.device())?
}
