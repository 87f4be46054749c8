//! Batch normalisations by the statistics of some data: those that an exporter has folded into the convolutions before them are brought back, and running
//! statistics are measured again.
//!
//! With the mean μ and variance σ² of a convolution W x + b, a normalisation of γ = σ and β = μ behind W x / σ changes nothing; neither does one that takes μ and
//! σ² of what it reads in the place of its own statistics, with γ and β to match. Once channels are cut, statistics measured again give those that are left
//! the mean and variance that they had, and training works as that of any network with normalisations (Jordan et al. 2023, "REPAIR", Section 3.1).

use super::forward::forward_with;
use super::{Mode, Weights, WeightsError};
use crate::graph::{BATCH_NORM_EPS, Conv2d, Graph, GraphBuilder, NodeId, Op};
use crate::kernels;
use candle_core::{DType, Tensor};
use std::collections::{HashMap, HashSet};

/// The graph and weights that compute in inference what `graph` and `weights` do, with normalisations by the statistics of `batch`: one more behind each
/// convolution of more than one pixel that has a bias and none yet.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn unfold_batch_norms(graph: &Graph, weights: &Weights, batch: &Tensor) -> Result<(Graph, Weights), WeightsError> {
    let normalised: HashSet<NodeId> = norms(graph).map(|norm| graph.node(norm).inputs[0]).collect();
    let is_bare = |id: &NodeId| {
        let node = graph.node(*id);
        matches!(node.op, Op::Conv2d(Conv2d { bias: true, .. }))
            && node.shape.pixels() > 1
            && *id != graph.output()
            && !normalised.contains(id)
    };
    let bare: HashSet<NodeId> = graph.ids().filter(is_bare).collect();
    let moments = moments(graph, weights, batch, Mode::Inference, bare.union(&normalised).copied().collect())?;

    let mut tensors: HashMap<String, Tensor> =
        weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    let mut builder = GraphBuilder::new(graph.input_shape());
    let mut places = vec![builder.input()];
    for id in graph.ids().skip(1) {
        let node = graph.node(id);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| places[input.index()]).collect();
        let mut set = |name: &str, parameters: [Tensor; 4]| {
            let named = ["weight", "bias", "running_mean", "running_var"].into_iter().zip(parameters);
            tensors.extend(named.map(|(suffix, tensor)| (format!("{name}.{suffix}"), tensor)));
        };
        let place = match node.op {
            Op::Zero => builder.zeros(node.name.as_str(), node.shape),
            Op::BatchNorm => {
                set(&node.name, same_norm(weights, &node.name, &moments[&node.inputs[0]])?);
                builder.push(node.name.as_str(), node.op, &inputs)
            }
            Op::Conv2d(conv) if bare.contains(&id) => {
                let norm = unused(graph, format!("{}.batch_norm", node.name));
                let (weight, parameters) = normalised_layer(weights, &node.name, &moments[&id])?;
                set(&norm, parameters);
                tensors.insert(format!("{}.weight", node.name), weight);
                let layer = builder.push(node.name.as_str(), Op::Conv2d(Conv2d { bias: false, ..conv }), &inputs);
                layer.and_then(|layer| builder.push(norm, Op::BatchNorm, &[layer]))
            }
            op => builder.push(node.name.as_str(), op, &inputs),
        };
        places.push(place.expect("the shapes are those of a graph, and names are new"));
    }
    let unfolded = builder.finish(places[graph.output().index()]);
    let weights = Weights::from_tensors(&unfolded, tensors)?;
    Ok((unfolded, weights))
}

/// `weights` with the running statistics that the graph's normalisations have over `batch`, each behind those before it (Cai et al. 2020, "Once-for-All",
/// measures them so for each part of a network).
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn with_statistics_of(graph: &Graph, weights: &Weights, batch: &Tensor) -> Result<Weights, WeightsError> {
    let before = |norm: NodeId| graph.node(norm).inputs[0];
    let moments = moments(graph, weights, batch, Mode::Train, norms(graph).map(before).collect())?;
    let mut measured: HashMap<String, &Tensor> = HashMap::new();
    for norm in norms(graph) {
        let [mean, variance] = &moments[&before(norm)];
        let name = &graph.node(norm).name;
        measured.extend([(format!("{name}.running_mean"), mean), (format!("{name}.running_var"), variance)]);
    }
    weights.map(|name, tensor| measured.get(name).copied().unwrap_or(tensor).to_dtype(DType::F32))
}

/// A name that no node of the graph has: this one, or with a number behind it.
fn unused(graph: &Graph, name: String) -> String {
    let is_free = |name: &String| graph.nodes().iter().all(|node| node.name != *name);
    let numbered = (2..).map(|count| format!("{name}.{count}"));
    std::iter::once(name.clone()).chain(numbered).find(is_free).expect("numbers do not end")
}

fn norms(graph: &Graph) -> impl Iterator<Item = NodeId> {
    graph.ids().filter(|&id| graph.node(id).op == Op::BatchNorm)
}

/// Mean and variance, f64, of each channel of the results of `nodes`.
fn moments(
    graph: &Graph,
    weights: &Weights,
    batch: &Tensor,
    mode: Mode,
    nodes: HashSet<NodeId>,
) -> Result<HashMap<NodeId, [Tensor; 2]>, WeightsError> {
    let mut moments = HashMap::new();
    forward_with(graph, weights, batch, mode, |id, result| {
        if nodes.contains(&id) {
            let (mean, variance) = kernels::batch_statistics(&result)?;
            moments.insert(id, [mean.to_dtype(DType::F64)?, variance.to_dtype(DType::F64)?]);
        }
        Ok(result)
    })?;
    Ok(moments)
}

/// The weight of a convolution, and scale, shift, running mean and running variance of the normalisation behind it, which together are the layer `name`.
fn normalised_layer(
    weights: &Weights,
    name: &str,
    [mean, variance]: &[Tensor; 2],
) -> Result<(Tensor, [Tensor; 4]), WeightsError> {
    let [weight, bias] = parameters(weights, name, ["weight", "bias"])?;
    let deviation = (variance + BATCH_NORM_EPS)?.sqrt()?;
    let mut broadcast = vec![1; weight.rank()];
    broadcast[0] = deviation.elem_count();
    let scaled = weight.broadcast_div(&deviation.reshape(broadcast)?)?;
    let running_mean = ((mean - bias)? / &deviation)?;
    let running_variance = (variance / deviation.sqr()?)?;
    let scale = (deviation * (&running_variance + BATCH_NORM_EPS)?.sqrt()?)?;
    Ok((scaled.to_dtype(DType::F32)?, singles([scale, mean.clone(), running_mean, running_variance])?))
}

/// Scale, shift, running mean and running variance of the normalisation that computes what `name` does, with these statistics.
fn same_norm(weights: &Weights, name: &str, [mean, variance]: &[Tensor; 2]) -> Result<[Tensor; 4], WeightsError> {
    let [scale, shift, own_mean, own_variance] =
        parameters(weights, name, ["weight", "bias", "running_mean", "running_var"])?;
    let factor = (scale / (own_variance + BATCH_NORM_EPS)?.sqrt()?)?;
    let shift = (((mean - own_mean)? * &factor)? + shift)?;
    let scale = (factor * (variance + BATCH_NORM_EPS)?.sqrt()?)?;
    Ok(singles([scale, shift, mean.clone(), variance.clone()])?)
}

/// Parameters of a node in double precision, so that what is made of them is rounded once.
fn parameters<const N: usize>(weights: &Weights, name: &str, suffixes: [&str; N]) -> Result<[Tensor; N], WeightsError> {
    let get = |suffix: &str| Ok(weights.get(&format!("{name}.{suffix}"))?.to_dtype(DType::F64)?);
    let all = suffixes.into_iter().map(get).collect::<Result<Vec<_>, WeightsError>>()?;
    Ok(all.try_into().expect("one for each suffix"))
}

fn singles(tensors: [Tensor; 4]) -> Result<[Tensor; 4], candle_core::Error> {
    let all = tensors.iter().map(|tensor| tensor.to_dtype(DType::F32)).collect::<Result<Vec<_>, _>>()?;
    Ok(all.try_into().expect("as many"))
}

#[cfg(test)]
mod tests {
    use super::super::{Init, fold_batch_norms, forward};
    use super::*;
    use crate::graph::{Activation, Shape, Window};
    use candle_core::Device;

    fn layers() -> Graph {
        let mut net = GraphBuilder::new(Shape::map(3, 8, 8));
        let input = net.input();
        let mut op = |name: &str, op: Op, inputs: &[NodeId]| net.push(name, op, inputs).unwrap();
        let conv = |groups, bias| Op::Conv2d(Conv2d { out_channels: 6, window: Window::same(3, 1), groups, bias });
        let first = op("first", conv(1, true), &[input]);
        let relu = op("relu", Op::Activation(Activation::Relu), &[first]);
        let depthwise = op("depthwise", conv(6, true), &[relu]);
        let sum = op("sum", Op::Add, &[depthwise, relu]);
        // One without a bias, and one with a normalisation.
        let plain = op("plain", conv(1, false), &[sum]);
        let known = op("first.batch_norm", conv(1, true), &[plain]);
        let norm = op("known.norm", Op::BatchNorm, &[known]);
        let pooled = op("pooled", Op::AvgPool(Window::new([8, 8], [8, 8], [0, 0], [1, 1])), &[norm]);
        let gate = op(
            "gate",
            Op::Conv2d(Conv2d { out_channels: 6, window: Window::same(1, 1), groups: 1, bias: true }),
            &[pooled],
        );
        let gated = op("gated", Op::Mul, &[norm, gate]);
        let last = op("last", conv(1, true), &[gated]);
        net.finish(last)
    }

    fn batch(from: usize) -> Tensor {
        let values: Vec<f32> = (0..4 * 3 * 64).map(|at| ((at + from) as f32 * 0.37).sin()).collect();
        Tensor::from_vec(values, (4, 3, 8, 8), &Device::Cpu).unwrap()
    }

    fn close(found: &Tensor, expected: &Tensor) {
        let [found, expected] = [found, expected].map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((expected - found).abs() <= 2e-5 * largest, "{found} is not {expected}");
        }
    }

    #[test]
    fn what_is_unfolded_computes_the_same_and_folds_again() {
        let graph = layers();
        let weights = Weights::random(&graph, Init::TorchDefault, 1, &Device::Cpu).unwrap();
        let (unfolded, its) = unfold_batch_norms(&graph, &weights, &batch(0)).unwrap();
        let norms = unfolded.nodes().iter().filter(|node| node.op == Op::BatchNorm).map(|node| node.name.as_str());
        assert_eq!(norms.collect::<Vec<_>>(), ["first.batch_norm.2", "depthwise.batch_norm", "known.norm"]);
        // Of any input, not only those that were looked at.
        let other = (batch(5000) * 3.0).unwrap();
        let values = |graph, weights| forward(graph, weights, &other, Mode::Inference).unwrap();
        close(&values(&unfolded, &its), &values(&graph, &weights));
        let [folded, expected] =
            [(&unfolded, &its), (&graph, &weights)].map(|(graph, weights)| fold_batch_norms(graph, weights).unwrap());
        assert_eq!(folded.0, expected.0);
        for (name, tensor) in expected.1.iter() {
            close(folded.1.get(name).unwrap(), tensor);
        }
    }

    #[test]
    fn statistics_are_those_of_the_batch() {
        let graph = layers();
        let weights = Weights::random(&graph, Init::TorchDefault, 1, &Device::Cpu).unwrap();
        let (unfolded, its) = unfold_batch_norms(&graph, &weights, &batch(0)).unwrap();
        let change =
            |name: &str, tensor: &Tensor| if name == "first.weight" { tensor.powf(2.0) } else { Ok(tensor.clone()) };
        let changed = its.map(change).unwrap();
        let again = with_statistics_of(&unfolded, &changed, &batch(0)).unwrap();
        let values = |weights, mode| forward(&unfolded, weights, &batch(0), mode).unwrap();
        close(&values(&again, Mode::Inference), &values(&changed, Mode::Train));
        assert_eq!(values(&again, Mode::Train).to_string(), values(&changed, Mode::Train).to_string());
    }
}
