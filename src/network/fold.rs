//! Batch normalisation folded into the convolution before it: what is deployed has one operator where training had two.
//!
//! With γ, β, μ, σ² of the normalisation, y = γ (W x + b − μ) / √(σ² + ε) + β is a layer of weight W γ / √(σ² + ε) and bias
//! (b − μ) γ / √(σ² + ε) + β (Jacob et al. 2018, Section 3.2).

use super::{Weights, WeightsError};
use crate::graph::{BATCH_NORM_EPS, Conv2d, Graph, NodeId, Op};
use candle_core::{DType, Tensor};
use std::collections::HashMap;

/// The graph and weights that compute in inference what `graph` and `weights` do, without the batch normalisations that
/// alone read a convolution. It keeps its name and has a bias then; other normalisations stay.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn fold_batch_norms(graph: &Graph, weights: &Weights) -> Result<(Graph, Weights), WeightsError> {
    let mut readers = vec![0usize; graph.nodes().len()];
    graph.nodes().iter().flat_map(|node| &node.inputs).for_each(|input| readers[input.index()] += 1);
    readers[graph.output().index()] += 1;
    // The normalisation behind each layer that it is folded into.
    let mut norm_of: HashMap<NodeId, NodeId> = HashMap::new();
    for id in graph.ids().filter(|&id| graph.node(id).op == Op::BatchNorm) {
        let before = graph.node(id).inputs[0];
        let foldable = matches!(graph.node(before).op, Op::Conv2d(_));
        if foldable && readers[before.index()] == 1 {
            norm_of.insert(before, id);
        }
    }

    let is_folded = |id: NodeId| graph.node(id).inputs.first().and_then(|before| norm_of.get(before)) == Some(&id);
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for id in graph.ids().filter(|&id| !is_folded(id)) {
        match norm_of.get(&id) {
            Some(&norm) => {
                let [weight, bias] = folded(graph, weights, id, norm)?;
                tensors.insert(format!("{}.weight", graph.node(id).name), weight);
                tensors.insert(format!("{}.bias", graph.node(id).name), bias);
            }
            None => {
                for parameter in graph.node_parameters(id) {
                    tensors.insert(parameter.name.clone(), weights.get(&parameter.name)?.clone());
                }
            }
        }
    }
    let operator = |id: NodeId| match graph.node(id).op {
        _ if is_folded(id) => None,
        Op::Conv2d(conv) if norm_of.contains_key(&id) => Some(Op::Conv2d(Conv2d { bias: true, ..conv })),
        op => Some(op),
    };
    let graph = graph.with_operators(operator).expect("the shapes are those of a graph");
    let weights = Weights::from_tensors(&graph, tensors)?;
    Ok((graph, weights))
}

/// Weight and bias of a layer with its normalisation.
fn folded(graph: &Graph, weights: &Weights, layer: NodeId, norm: NodeId) -> Result<[Tensor; 2], WeightsError> {
    let (layer, norm) = (graph.node(layer), &graph.node(norm).name);
    // In double precision, so that the folded layer is rounded once.
    let get = |name: &str| -> Result<Tensor, WeightsError> { Ok(weights.get(name)?.to_dtype(DType::F64)?) };
    let deviation = (get(&format!("{norm}.running_var"))? + BATCH_NORM_EPS)?.sqrt()?;
    let factor = (get(&format!("{norm}.weight"))? / deviation)?;
    let weight = get(&format!("{}.weight", layer.name))?;
    let mut broadcast = vec![1; weight.rank()];
    broadcast[0] = factor.elem_count();
    let mut offset = get(&format!("{norm}.running_mean"))?.neg()?;
    if matches!(layer.op, Op::Conv2d(Conv2d { bias: true, .. })) {
        offset = (offset + get(&format!("{}.bias", layer.name))?)?;
    }
    let bias = ((offset * &factor)? + get(&format!("{norm}.bias"))?)?;
    let weight = weight.broadcast_mul(&factor.reshape(broadcast)?)?;
    Ok([weight.to_dtype(DType::F32)?, bias.to_dtype(DType::F32)?])
}

#[cfg(test)]
mod tests {
    use super::super::{Init, Mode, forward};
    use super::*;
    use crate::graph::{Activation, GraphBuilder, Shape, Window};
    use candle_core::Device;

    /// Weights whose normalisations do something.
    fn weights(graph: &Graph) -> Weights {
        let drawn = Weights::random(graph, Init::TorchDefault, 1, &Device::Cpu).unwrap();
        let changed = drawn.map(|name, tensor| {
            let count = tensor.elem_count();
            let wave = |phase: f32| {
                let values: Vec<f32> = (0..count).map(|at| (at as f32 + phase).sin()).collect();
                Tensor::from_vec(values, tensor.dims(), tensor.device())
            };
            match name.rsplit('.').next().unwrap() {
                "running_mean" => wave(0.3),
                "running_var" => wave(0.7)?.abs()? + 0.1,
                "weight" if tensor.rank() == 1 => wave(1.1)? + 0.2,
                "bias" => wave(1.9),
                _ => Ok(tensor.clone()),
            }
        });
        changed.unwrap()
    }

    #[test]
    fn what_is_folded_computes_the_same() {
        let mut net = GraphBuilder::new(Shape::map(3, 8, 8));
        let input = net.input();
        let mut op = |name: &str, op: Op, inputs: &[NodeId]| net.push(name, op, inputs).unwrap();
        let conv = |groups, bias| Op::Conv2d(Conv2d { out_channels: 6, window: Window::same(3, 1), groups, bias });
        let first = op("first", conv(1, false), &[input]);
        let first_norm = op("first.norm", Op::BatchNorm, &[first]);
        let relu = op("relu", Op::Activation(Activation::Relu), &[first_norm]);
        let depthwise = op("depthwise", conv(6, true), &[relu]);
        let depthwise_norm = op("depthwise.norm", Op::BatchNorm, &[depthwise]);
        // Read by two: its normalisation stays.
        let shared = op("shared", conv(1, false), &[depthwise_norm]);
        let stays = op("stays", Op::BatchNorm, &[shared]);
        let sum = op("sum", Op::Add, &[shared, stays]);
        // Of no layer: stays.
        let alone = op("alone", Op::BatchNorm, &[sum]);
        let pooled = op("pooled", Op::GlobalAvgPool, &[alone]);
        let linear = op("linear", Op::Linear { out_features: 5, bias: false }, &[pooled]);
        let graph = net.finish(linear);
        let weights = weights(&graph);
        let (folded, folded_weights) = fold_batch_norms(&graph, &weights).unwrap();
        let left = folded.nodes().iter().filter(|node| node.op == Op::BatchNorm).map(|node| node.name.as_str());
        assert_eq!(left.collect::<Vec<_>>(), ["stays", "alone"]);
        assert_eq!(folded.node(folded.output()).name, "linear");

        let input: Vec<f32> = (0..2 * 3 * 64).map(|at| (at as f32 * 0.37).sin()).collect();
        let input = Tensor::from_vec(input, (2, 3, 8, 8), &Device::Cpu).unwrap();
        let values = |graph: &Graph, weights: &Weights| -> Vec<f32> {
            let output = forward(graph, weights, &input, Mode::Inference).unwrap();
            output.flatten_all().unwrap().to_vec1().unwrap()
        };
        let (expected, found) = (values(&graph, &weights), values(&folded, &folded_weights));
        let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
        for (expected, found) in expected.iter().zip(&found) {
            assert!((expected - found).abs() <= 1e-5 * largest, "{found} is not {expected}");
        }
        // Nothing is left to fold.
        assert_eq!(fold_batch_norms(&folded, &folded_weights).unwrap().0, folded);
    }
}
