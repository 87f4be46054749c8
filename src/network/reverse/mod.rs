//! A reverse pass for many cotangents at once.
//!
//! The samples of a batch are coupled through batch normalisation's statistics, so the gradient of one
//! sample's output runs through all samples: N cotangents on B samples are N·B maps. There are two ways through a
//! graph, node by node from its output, which have the same rules:
//!
//! - [`folded`]: cotangents are folded into the batch, and every step is one Candle operation for all of them. This is
//!   how any device computes.
//! - [`lanes`]: on a CPU, sixteen cotangents are the lanes of a vector, and what they share is one number.

mod folded;
mod lanes;
#[cfg(test)]
pub(super) mod tests;

pub(super) use folded::slope;

use super::forward::{Activations, Mode, activations};
use super::{Weights, WeightsError};
use crate::graph::{Graph, NodeId, Role};
use candle_core::{DType, Tensor};
use rayon::prelude::*;

/// The gradients of one layer's weight under all cotangents.
#[derive(Debug)]
pub struct LayerGradient {
    /// The layer.
    pub node: NodeId,
    /// What the weight is: [`Role::Weight`] or [`Role::Scale`].
    pub role: Role,
    /// `[cotangents, elements of the weight]`.
    pub gradient: Tensor,
}

/// Walks a graph from its output to its input and yields each layer's weight gradients on the way.
///
/// Biases, shifts and position embeddings are left out.
#[derive(Debug)]
pub struct PerSampleGradients<'a> {
    pass: Pass<'a>,
    /// Some of the cotangents each, which go from layer to layer in turn.
    walks: Vec<Walk>,
}

/// What all walks read.
#[derive(Debug)]
struct Pass<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    activations: Activations,
    samples: usize,
    ids: Vec<NodeId>,
}

/// The way of some cotangents through the graph.
#[derive(Debug)]
struct Walk {
    next: std::iter::Rev<std::ops::Range<usize>>,
    reached: Reached,
}

/// The cotangents of the nodes that were reached and not yet passed.
#[derive(Debug)]
enum Reached {
    Folded(folded::Folded),
    Lanes(lanes::Lanes),
}

impl<'a> PerSampleGradients<'a> {
    /// Runs `graph` forward on `input` `[batch, channels, height, width]` with batch statistics. Cotangent n is that of
    /// sample n's summed outputs, Σ_c y\[n, c\]; so there are as many as samples.
    ///
    /// # Errors
    /// If a weight is missing, or Candle fails.
    pub fn new(graph: &'a Graph, weights: &'a Weights, input: &Tensor) -> Result<Self, WeightsError> {
        Self::with_seeds(graph, weights, input, summed_outputs)
    }

    /// As [`Self::new`], but by the rules that any device has.
    #[cfg(test)]
    pub(crate) fn folded(graph: &'a Graph, weights: &'a Weights, input: &Tensor) -> Result<Self, WeightsError> {
        Self::on(graph, weights, input, summed_outputs, usize::MAX)
    }

    /// Runs `graph` forward on `input` `[batch, channels, height, width]` with batch statistics; `seeds` gives the
    /// cotangents of its outputs, `[cotangents, batch, outputs]`, from the outputs, `[batch, …]`.
    ///
    /// # Errors
    /// If a weight is missing, the seeds do not fit the outputs, or Candle fails.
    pub fn with_seeds(
        graph: &'a Graph,
        weights: &'a Weights,
        input: &Tensor,
        seeds: impl FnOnce(&Tensor) -> Result<Tensor, candle_core::Error>,
    ) -> Result<Self, WeightsError> {
        let on_lanes = input.device().is_cpu() && input.dtype() == DType::F32;
        Self::on(graph, weights, input, seeds, if on_lanes { lanes::LANES } else { usize::MAX })
    }

    /// With so many cotangents in a walk: those of a vector in lanes, others folded.
    fn on(
        graph: &'a Graph,
        weights: &'a Weights,
        input: &Tensor,
        seeds: impl FnOnce(&Tensor) -> Result<Tensor, candle_core::Error>,
        together: usize,
    ) -> Result<Self, WeightsError> {
        let activations = activations(graph, weights, input, Mode::Train)?;
        let (samples, shape) = (input.dim(0)?, graph.output_shape());
        let seeds = seeds(activations.of(graph.output()))?;
        let (count, of_batch, outputs) = seeds.dims3()?;
        if (of_batch, outputs) != (samples, shape.elements()) {
            let error = format!("seeds have shape {:?}, expected [.., {samples}, {}]", seeds.dims(), shape.elements());
            return Err(candle_core::Error::Msg(error).into());
        }
        let pass = Pass { graph, weights, activations, samples, ids: graph.ids().collect() };
        let walk = |first: usize| -> Result<Walk, WeightsError> {
            let count = together.min(count - first);
            let seeds = seeds.narrow(0, first, count)?.contiguous()?;
            let reached = match together {
                lanes::LANES => Reached::Lanes(lanes::Lanes::new(&pass, &seeds)?),
                _ => Reached::Folded(folded::Folded::new(&pass, &seeds)?),
            };
            Ok(Walk { reached, next: (1..pass.ids.len()).rev() })
        };
        let walks = (0..count).step_by(together).map(walk).collect::<Result<_, _>>()?;
        Ok(Self { pass, walks })
    }

    /// The network's outputs on the batch, `[batch, features]`.
    pub fn outputs(&self) -> &Tensor {
        self.pass.activations.of(self.pass.graph.output())
    }
}

/// For each sample the cotangent of the sum of its outputs, `[batch, batch, outputs]`.
fn summed_outputs(outputs: &Tensor) -> Result<Tensor, candle_core::Error> {
    let samples = outputs.dim(0)?;
    let eye = Tensor::eye(samples, outputs.dtype(), outputs.device())?.unsqueeze(2)?;
    eye.broadcast_as((samples, samples, outputs.elem_count() / samples.max(1)))
}

impl Pass<'_> {
    /// A parameter of a node.
    fn weight(&self, id: NodeId, suffix: &str) -> Result<&Tensor, WeightsError> {
        self.weights.get(&format!("{}.{suffix}", self.graph.node(id).name))
    }
}

impl Walk {
    /// Goes on to the next layer that has a weight.
    fn next_layer(&mut self, pass: &Pass) -> Option<Result<LayerGradient, WeightsError>> {
        for index in self.next.by_ref() {
            let id = pass.ids[index];
            let layer = match &mut self.reached {
                Reached::Folded(folded) => folded.pass(pass, id),
                Reached::Lanes(lanes) => lanes.pass(pass, id),
            };
            if let Some(layer) = layer.transpose() {
                return Some(layer);
            }
        }
        None
    }
}

impl Iterator for PerSampleGradients<'_> {
    type Item = Result<LayerGradient, WeightsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { pass, walks } = self;
        if let [only] = &mut walks[..] {
            return only.next_layer(pass);
        }
        let layers: Vec<_> = walks.par_iter_mut().map(|walk| walk.next_layer(pass)).collect();
        let layers: Option<Result<Vec<LayerGradient>, _>> = layers.into_iter().collect();
        Some(layers?.and_then(|layers| {
            let first = layers.first().expect("without a walk there is no layer");
            let (node, role) = (first.node, first.role);
            let parts: Vec<&Tensor> = layers.iter().map(|layer| &layer.gradient).collect();
            Ok(LayerGradient { node, role, gradient: Tensor::cat(&parts, 0)? })
        }))
    }
}
