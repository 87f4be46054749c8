//! A forward pass in training mode, and the gradients of all trained parameters for one cotangent of each of its outputs.
//!
//! The loss is not part of it: whoever trains makes one of the output, and hands its gradient back.
//!
//! On a CPU the pass goes through [`plan`]: maps whose channels are lanes, normalisation and activations done by those who read,
//! and a reverse pass that asks, map by map, for what its readers have to say. On any other device, and of transformers, it is Candle's own.

mod forward;
mod parts;
mod plan;
mod pooling;
mod reverse;
#[cfg(test)]
mod tests;
mod values;

use super::{Mode, Weights, WeightsError, activations_with};
use crate::graph::{Graph, NodeId, Op};
use crate::kernels;
use crate::kernels::blocked::{Memory, blocks, to_blocks};
use crate::kernels::lanes::Lane;
use candle_core::{DType, Device, Tensor, Var};
use forward::Context;
use plan::{Plan, View};
use std::collections::{BTreeMap, HashMap};
use values::Values;

/// Gradients of a scalar with respect to parameters, by name.
pub type Gradients = BTreeMap<String, Tensor>;

/// A forward pass on one batch that can go back.
#[derive(Debug)]
pub struct TrainingPass {
    outputs: Vec<Tensor>,
    statistics: Vec<BatchStatistics>,
    way_back: WayBack,
}

#[derive(Debug)]
enum WayBack {
    Blocked(Box<Blocked>),
    /// Candle's, from outputs that know where they come from, to these weights.
    Candle(Vec<Tensor>, Weights),
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
        Self::run_to(graph, &[graph.output()], weights, input, factors)
    }

    /// As [`run`](Self::run), with the results of these nodes as the outputs.
    ///
    /// # Errors
    /// As there.
    pub fn run_to(
        graph: &Graph,
        outputs: &[NodeId],
        weights: &Weights,
        input: &Tensor,
        factors: &HashMap<NodeId, Tensor>,
    ) -> Result<Self, WeightsError> {
        let takes = |tensor: &Tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32;
        match Plan::takes(graph) && takes(input) && weights.iter().all(|(_, weight)| takes(weight)) {
            true => Self::run_blocked(graph, outputs, weights, input, factors),
            false => Self::run_candle(graph, outputs, weights, input, factors),
        }
    }

    fn run_candle(
        graph: &Graph,
        outputs: &[NodeId],
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
        let tracked: Vec<Tensor> = outputs.iter().map(|&output| all.of(output).clone()).collect();
        let outputs = tracked.iter().map(Tensor::detach).collect();
        Ok(Self { outputs, statistics, way_back: WayBack::Candle(tracked, trained) })
    }

    fn run_blocked(
        graph: &Graph,
        outputs: &[NodeId],
        weights: &Weights,
        input: &Tensor,
        factors: &HashMap<NodeId, Tensor>,
    ) -> Result<Self, WeightsError> {
        let batch = input.dim(0)?;
        let expected = [vec![batch], graph.input_shape().dims()].concat();
        if input.dims() != expected {
            return Err(
                candle_core::Error::Msg(format!("input has shape {:?}, expected {expected:?}", input.dims())).into()
            );
        }
        let plan = Plan::new(graph, outputs, |id| factors.contains_key(&id));
        let parameters = Parameters::new(graph, weights)?;
        let factor = |(&id, factor): (&NodeId, &Tensor)| Ok((id, Factor::new(graph, id, batch, factor)?));
        let factors: HashMap<NodeId, Factor> = factors.iter().map(factor).collect::<Result<_, candle_core::Error>>()?;
        let context = Context { plan: &plan, parameters: &parameters, factors: &factors, batch };
        let values = kernels::with_values(input, |input| Ok(forward::run(&context, input)))??;
        let read = |(&id, &view): (&NodeId, &View)| {
            let dims = [vec![batch], graph.node(id).shape.dims()].concat();
            Tensor::from_vec(forward::read(&context, &values, view), dims, &Device::Cpu)
        };
        let outputs = outputs.iter().zip(&plan.outputs).map(read).collect::<Result<_, _>>()?;
        let mut statistics = Vec::new();
        for (norm, of) in values.norms.iter().zip(&plan.norms) {
            let count = (batch * plan.steps[of.map].pixels()) as f64;
            let unbiased = count / (count.max(2.0) - 1.0);
            let tensor = |values: &[f64], factor: f64| {
                let values: Vec<f32> = values.iter().map(|value| (value * factor) as f32).collect();
                Tensor::from_vec(values, plan.steps[of.map].channels, &Device::Cpu)
            };
            statistics.push(BatchStatistics {
                node: graph.node(of.node).name.clone(),
                mean: tensor(&norm.mean, 1.0)?,
                variance: tensor(&norm.variance, unbiased)?,
            });
        }
        let names = graph.nodes().iter().map(|node| node.name.clone()).collect();
        let blocked = Blocked { plan, parameters, factors, values, names };
        Ok(Self { outputs, statistics, way_back: WayBack::Blocked(Box::new(blocked)) })
    }

    /// What the network gave first, without gradient: `[batch, classes]` of a classifier.
    pub fn output(&self) -> Tensor {
        self.outputs[0].clone()
    }

    /// All that it gave, in the order in which it was asked for.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// What each batch normalisation saw, in the graph's order.
    pub fn statistics(&self) -> &[BatchStatistics] {
        &self.statistics
    }

    /// The gradients of a loss with respect to all parameters that it depends on, from those with respect to the outputs.
    ///
    /// # Errors
    /// If the `cotangents` have not the outputs' shapes, or Candle fails.
    pub fn gradients(self, cotangents: &[Tensor]) -> Result<Gradients, WeightsError> {
        let dims = |tensors: &[Tensor]| tensors.iter().map(|tensor| tensor.dims().to_vec()).collect::<Vec<_>>();
        let (found, expected) = (dims(cotangents), dims(&self.outputs));
        if found != expected {
            let message = format!("the outputs' gradients have shapes {found:?}, expected {expected:?}");
            return Err(candle_core::Error::Msg(message).into());
        }
        match self.way_back {
            WayBack::Blocked(blocked) => {
                let values = |tensor: &Tensor| tensor.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
                blocked.gradients(&cotangents.iter().map(values).collect::<Result<Vec<_>, _>>()?)
            }
            WayBack::Candle(outputs, trained) => {
                let products = outputs.iter().zip(cotangents).map(|(output, by)| (output * by.detach())?.sum_all());
                let all = Tensor::stack(&products.collect::<Result<Vec<_>, _>>()?, 0)?.sum_all()?.backward()?;
                let of = |(name, var): (&str, &Tensor)| Some((name.to_owned(), all.get(var)?.clone()));
                Ok(trained.iter().filter_map(of).collect())
            }
        }
    }
}

/// What the way back through blocked maps needs.
#[derive(Debug)]
struct Blocked {
    plan: Plan,
    parameters: Parameters,
    factors: HashMap<NodeId, Factor>,
    values: Values,
    /// Of the graph's nodes.
    names: Vec<String>,
}

impl Blocked {
    fn gradients(self, cotangents: &[Vec<f32>]) -> Result<Gradients, WeightsError> {
        let Self { plan, parameters, factors, values, names } = self;
        let context = Context { plan: &plan, parameters: &parameters, factors: &factors, batch: values.batch };
        let all = reverse::run(&context, values, cotangents)?;
        let tensor = |((node, suffix), gradient): ((NodeId, &str), Vec<f32>)| {
            let dims = parameters.0[&(node, suffix)].0.clone();
            Ok((format!("{}.{suffix}", names[node.index()]), Tensor::from_vec(gradient, dims, &Device::Cpu)?))
        };
        all.into_iter().map(tensor).collect()
    }
}

type DimsAndValues = (Vec<usize>, Vec<f32>);

/// The trained parameters by node and suffix.
#[derive(Debug)]
struct Parameters(HashMap<(NodeId, &'static str), DimsAndValues>);

impl Parameters {
    fn new(graph: &Graph, weights: &Weights) -> Result<Self, WeightsError> {
        let mut all = HashMap::new();
        for id in graph.ids() {
            for parameter in graph.node_parameters(id) {
                let suffix = ["weight", "bias"].into_iter().find(|suffix| parameter.name.ends_with(suffix));
                let Some(suffix) = suffix else { continue };
                let tensor = weights.get(&parameter.name)?;
                if tensor.dims() != parameter.dims {
                    let (found, expected) = (tensor.dims().to_vec(), parameter.dims);
                    return Err(WeightsError::Dims { name: parameter.name, found, expected });
                }
                let values = kernels::with_values(tensor, |values| Ok(values.to_vec()))?;
                all.insert((id, suffix), (parameter.dims, values));
            }
        }
        Ok(Self(all))
    }

    /// # Errors
    /// If the graph's node has no such parameter.
    fn of(&self, node: NodeId, suffix: &'static str) -> Result<&[f32], WeightsError> {
        let known = self.0.get(&(node, suffix));
        known.map(|(_, values)| &values[..]).ok_or_else(|| WeightsError::Missing(suffix.to_owned()))
    }
}

/// What a node's result is multiplied by.
#[derive(Debug)]
enum Factor {
    /// One number a sample.
    Samples(Vec<f32>),
    /// Lanes of one sample, and of all.
    Whole(usize, Memory),
}

impl Factor {
    fn new(graph: &Graph, id: NodeId, batch: usize, factor: &Tensor) -> Result<Self, candle_core::Error> {
        let shape = graph.node(id).shape;
        let is_whole = factor.dims().len() == shape.dims().len() + 1;
        if is_whole && factor.elem_count() == batch && factor.dims().first() == Some(&batch) {
            return Ok(Self::Samples(factor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?));
        }
        let dims = [vec![batch], shape.dims()].concat();
        let whole = factor.to_dtype(DType::F32)?.broadcast_as(dims)?.contiguous()?;
        let lanes = blocks(shape.channels()) * shape.pixels();
        let mut all = Memory::of_anything(batch * lanes);
        kernels::with_values(&whole, |values| {
            let samples = values.chunks_exact(shape.elements()).zip(all.chunks_exact_mut(lanes));
            samples.for_each(|(from, to)| to_blocks(from, shape.pixels(), to));
            Ok(())
        })?;
        Ok(Self::Whole(lanes, all))
    }

    /// Multiplies a sample's map, or its gradient.
    fn multiply(&self, sample: usize, map: &mut [Lane]) {
        let times = |to: &mut Lane, factor: [f32; 16]| to.0.iter_mut().zip(factor).for_each(|(x, factor)| *x *= factor);
        match self {
            Self::Samples(factors) => map.iter_mut().for_each(|lane| times(lane, [factors[sample]; 16])),
            Self::Whole(lanes, all) => {
                map.iter_mut().zip(&all[sample * lanes..]).for_each(|(lane, factor)| times(lane, factor.0));
            }
        }
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
