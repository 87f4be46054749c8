//! The gradients of a model's loss, by which its channels are ordered.

use super::samples::batches;
use crate::data::Calibration;
use crate::graph::{Graph, Op};
use crate::network::{Gradients, TrainingPass, Weights, loss_gradient};
use candle_core::{Device, Tensor};
use std::collections::HashMap;

/// Samples that gradients are taken of.
pub(super) const SAMPLES: usize = 256;
/// Those that run at one time.
const BATCH: usize = 32;

/// The gradients of the cross-entropy of `samples`, summed over batches of 32; normalisations are over the batch.
///
/// # Errors
/// If a sample's class is none of the model's, or Candle fails.
pub(super) fn gradients(graph: &Graph, weights: &Weights, samples: &Calibration) -> Result<Gradients, String> {
    samples.check_classes(graph.output_shape().elements())?;
    let sum = || -> Result<Gradients, crate::network::WeightsError> {
        let mut sums = Gradients::new();
        for (labels, input) in samples.labels.chunks(BATCH).zip(batches(samples, BATCH)?) {
            let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
            let labels = Tensor::new(labels, &Device::Cpu)?;
            let pass = TrainingPass::run(graph, weights, &input, &HashMap::new())?;
            let (_, cotangent) = loss_gradient(&pass.output(), |output| {
                let output = output.flatten_from(1)?;
                match graph.node(graph.output()).op {
                    Op::Softmax => candle_nn::loss::nll(&output.clamp(1e-12, 1.0)?.log()?, &labels),
                    _ => candle_nn::loss::cross_entropy(&output, &labels),
                }
            })?;
            for (name, gradient) in pass.gradients(&[cotangent])? {
                let sum = match sums.remove(&name) {
                    Some(known) => (known + gradient)?,
                    None => gradient,
                };
                sums.insert(name, sum);
            }
        }
        Ok(sums)
    };
    sum().map_err(|error| error.to_string())
}
