//! Synaptic flow.
//!
//! ln Σ |w| · ∂R/∂|w| over the weights of convolutions and fully connected layers, R the sum of the outputs of the
//! network with |w| for w on an input of ones (Tanaka et al. 2020, SynFlow; summed over a network by
//! Abdelfattah et al. 2021, Section 3.2). As in the latter's released code there is no batch normalisation; nothing is
//! added either (no biases, no shifts), so that R is linear in the input. The input is therefore not ones but 10⁻¹⁰⁰,
//! which the logarithm takes back: no activation that levels off does so, and deep networks stay within f64. Layer normalisation
//! is left out as well. At such an input a GELU is half of it and a softmax of attention looks at all pixels alike, so that nothing flows through
//! queries and keys; nothing flows through linear attention, whose weights are less than its ε.

use super::loss::layers;
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::graph::{BATCH_NORM_EPS, Op, Role};
use crate::network::{Mode, forward};
use crate::objective::Direction;
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;

/// Every pixel of the input.
const INPUT: f64 = 1e-100;

/// Synaptic flow, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct SynFlow;

impl Indicator for SynFlow {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "synflow",
            direction: Direction::Maximize,
            description: "how much flows through the weights from input to output",
            formula: "ln Σ |w| · ∂R/∂|w|, R the summed outputs of a network of |w| on ones",
            source: "Tanaka et al. 2020 (SynFlow); Abdelfattah et al. 2021, Section 3.2",
            view: View::Features,
            cost: "a forward and a backward pass on one image, in f64",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let all = run.graph();
        let kept = |id| Some(all.node(id).op).filter(|op| *op != Op::LayerNorm);
        let graph = &all.with_operators(kept).expect("the shapes are those of a graph");
        let roles: HashMap<String, Role> = graph.parameters().into_iter().map(|p| (p.name, p.role)).collect();
        let positive = run.weights()?.map(|name, tensor| {
            let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
            match roles.get(name) {
                Some(Role::Weight) => tensor.abs(),
                // Batch normalisation is the identity, and nothing is added.
                Some(Role::Scale) => tensor.ones_like(),
                Some(Role::RunningVariance) => tensor.ones_like()? - BATCH_NORM_EPS,
                _ => tensor.zeros_like(),
            }
        })?;
        let positive = positive.tracked()?;
        let shape = [vec![1], graph.input_shape().dims()].concat();
        let input = (Tensor::ones(shape, DType::F64, &Device::Cpu)? * INPUT)?;
        let gradients = forward(graph, &positive, &input, Mode::Inference)?.sum_all()?.backward()?;
        let mut flow = 0.0;
        for name in layers(graph).values() {
            let weight = positive.get(name)?;
            if let Some(gradient) = gradients.get(weight) {
                flow += (weight * gradient)?.sum_all()?.to_scalar::<f64>()?;
            }
        }
        Ok(flow.ln() - INPUT.ln())
    }
}
