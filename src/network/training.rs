//! A forward pass in training mode, and the gradients of all trained parameters for one cotangent of its output.
//!
//! The loss is not part of it: whoever trains makes one of the output, and hands its gradient back.

use super::{Mode, Weights, WeightsError, activations_with};
use crate::graph::{Graph, NodeId, Op};
use crate::kernels;
use candle_core::{Tensor, Var};
use std::collections::{BTreeMap, HashMap};

/// Gradients of a scalar with respect to parameters, by name.
pub type Gradients = BTreeMap<String, Tensor>;

/// A forward pass on one batch that can go back.
#[derive(Debug)]
pub struct TrainingPass {
    output: Tensor,
    statistics: Vec<BatchStatistics>,
    trained: Weights,
}

/// Mean and variance of what one batch normalisation saw.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Name of the node.
    pub node: String,
    /// `[channels]`.
    pub mean: Tensor,
    /// Unbiased, `[channels]`: what running statistics are made of.
    pub variance: Tensor,
}

impl TrainingPass {
    /// Runs `graph` on `input` `[batch, channels, height, width]`, batch normalisation with the batch's statistics.
    /// The result of a node in `factors` is multiplied by its tensor, broadcast (`[batch, 1, 1, 1]` drops
    /// paths of samples, the result's own shape drops elements).
    ///
    /// # Errors
    /// If a weight is missing, or Candle fails.
    pub fn run(
        graph: &Graph,
        weights: &Weights,
        input: &Tensor,
        factors: &HashMap<NodeId, Tensor>,
    ) -> Result<Self, WeightsError> {
        let trained = weights.tracked()?;
        let all = activations_with(graph, &trained, input, Mode::Train, |id, result| match factors.get(&id) {
            Some(factor) => result.broadcast_mul(factor),
            None => Ok(result),
        })?;
        let mut statistics = Vec::new();
        for id in graph.ids().filter(|&id| matches!(graph.node(id).op, Op::BatchNorm)) {
            let node = graph.node(id);
            let seen = all.of(node.inputs[0]);
            let (mean, variance) = kernels::batch_statistics(seen)?;
            let count = seen.elem_count() / seen.dim(1)?;
            let variance = (variance * (count as f64 / (count.max(2) - 1) as f64))?;
            statistics.push(BatchStatistics { node: node.name.clone(), mean, variance });
        }
        Ok(Self { output: all.of(graph.output()).clone(), statistics, trained })
    }

    /// What the network gave, without gradient: `[batch, classes]` of a classifier.
    pub fn output(&self) -> Tensor {
        self.output.detach()
    }

    /// What each batch normalisation saw, in the graph's order.
    pub fn statistics(&self) -> &[BatchStatistics] {
        &self.statistics
    }

    /// The gradients of a loss with respect to all parameters that it depends on, from that with respect to the output.
    ///
    /// # Errors
    /// If `cotangent` has not the output's shape, or Candle fails.
    pub fn gradients(self, cotangent: &Tensor) -> Result<Gradients, WeightsError> {
        let all = (&self.output * cotangent.detach())?.sum_all()?.backward()?;
        Ok(self.trained.iter().filter_map(|(name, var)| Some((name.to_owned(), all.get(var)?.clone()))).collect())
    }
}

/// The value of `loss` at `output`, and its gradient there.
///
/// # Errors
/// If `loss` fails, or does not depend on what it is given.
pub fn loss_gradient(
    output: &Tensor,
    loss: impl FnOnce(&Tensor) -> Result<Tensor, candle_core::Error>,
) -> Result<(Tensor, Tensor), candle_core::Error> {
    let output = Var::from_tensor(output)?;
    let loss = loss(&output)?;
    let gradient = match loss.backward()?.remove(&output) {
        Some(gradient) => gradient,
        None => output.zeros_like()?,
    };
    Ok((loss.detach(), gradient))
}
