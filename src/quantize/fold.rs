//! Batch normalisation folded into the convolution or fully connected layer before it, in an ONNX graph. See
//! [`fold_batch_norms`](crate::network::fold_batch_norms) for the formula.

use super::model::{floats, initializers};
use crate::onnx::proto;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// The default of `BatchNormalization`'s epsilon.
const EPSILON: f32 = 1e-5;

/// Folds what can be folded; what can't stays.
///
/// # Errors
/// One sentence if a normalisation's parameters have not as many elements as the layer has channels.
pub(super) fn fold_batch_norms(graph: &mut GraphProto) -> Result<(), String> {
    let mut readers: HashMap<&str, usize> = HashMap::new();
    graph.node.iter().flat_map(|node| &node.input).for_each(|name| *readers.entry(name).or_default() += 1);
    graph.output.iter().for_each(|output| *readers.entry(&output.name).or_default() += 1);
    let producers: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)))
        .collect();
    let known = initializers(graph);
    let mut folded: Vec<(usize, usize, [TensorProto; 2])> = vec![];
    for (at, norm) in graph.node.iter().enumerate().filter(|(_, node)| node.op_type == "BatchNormalization") {
        let Some(&layer_at) = norm.input.first().and_then(|name| producers.get(name.as_str())) else { continue };
        let layer = &graph.node[layer_at];
        let is_layer = layer.op_type == "Conv" || (layer.op_type == "Gemm" && is_plain_gemm(layer));
        let trained = norm.attribute.iter().any(|attribute| attribute.name == "training_mode" && attribute.i != 0);
        if !is_layer || trained || readers[layer.output[0].as_str()] != 1 {
            continue;
        }
        if let Some(tensors) = folded_tensors(layer, norm, &known)? {
            folded.push((layer_at, at, tensors));
        }
    }
    let removed: HashSet<usize> = folded.iter().map(|(_, norm, _)| *norm).collect();
    for (layer, norm, [weight, bias]) in folded {
        let output = graph.node[norm].output[0].clone();
        let layer = &mut graph.node[layer];
        layer.input[1].clone_from(&weight.name);
        layer.input.truncate(2);
        layer.input.push(bias.name.clone());
        layer.output[0] = output;
        graph.initializer.extend([weight, bias]);
    }
    let mut at = 0;
    graph.node.retain(|_| {
        at += 1;
        !removed.contains(&(at - 1))
    });
    drop_unread_initializers(graph);
    Ok(())
}

/// Whether a `Gemm` is input · weightᵀ + bias.
pub(super) fn is_plain_gemm(node: &NodeProto) -> bool {
    let whole =
        |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.i);
    let scale = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name).map_or(1.0, |a| a.f);
    let no_bias = node.input.len() < 3 || node.input[2].is_empty();
    whole("transA").unwrap_or(0) == 0 && scale("alpha") == 1.0 && (no_bias || scale("beta") == 1.0)
}

/// Whether the weight of a `Gemm` is `[outputs, inputs]`.
pub(super) fn is_transposed(node: &NodeProto) -> bool {
    node.attribute.iter().any(|attribute| attribute.name == "transB" && attribute.i != 0)
}

/// Removes initialisers that nothing reads, which are no outputs either.
pub(super) fn drop_unread_initializers(graph: &mut GraphProto) {
    let mut read: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    collect_reads(graph, &mut read);
    graph.initializer.retain(|tensor| read.contains(&tensor.name));
    let left: HashSet<&String> = graph.initializer.iter().map(|tensor| &tensor.name).collect();
    // An initialiser may stand among the inputs as well; not when it is gone.
    graph.input.retain(|input| read.contains(&input.name) || left.contains(&input.name));
}

/// What nodes read, those in bodies of control flow with them.
fn collect_reads(graph: &GraphProto, read: &mut HashSet<String>) {
    for node in &graph.node {
        read.extend(node.input.iter().cloned());
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|body| {
                read.extend(body.output.iter().map(|output| output.name.clone()));
                collect_reads(body, read);
            });
        }
    }
}

/// New weight and bias of a layer; none where one of the tensors is no constant of 32-bit floats.
fn folded_tensors(
    layer: &NodeProto,
    norm: &NodeProto,
    known: &HashMap<&str, &TensorProto>,
) -> Result<Option<[TensorProto; 2]>, String> {
    let values = |name: Option<&String>| known.get(name?.as_str()).and_then(|tensor| floats(tensor));
    let norm_values = |at: usize| values(norm.input.get(at));
    let Some(weight) = layer.input.get(1).and_then(|name| known.get(name.as_str())) else { return Ok(None) };
    let (Some(weights), Some(scale), Some(shift), Some(mean), Some(variance)) =
        (floats(weight), norm_values(1), norm_values(2), norm_values(3), norm_values(4))
    else {
        return Ok(None);
    };
    let bias_name = layer.input.get(2).filter(|name| !name.is_empty());
    let bias = match bias_name {
        Some(name) => match values(Some(name)) {
            Some(bias) => bias,
            None => return Ok(None),
        },
        None => vec![0.0; scale.len()],
    };
    let across = layer.op_type == "Gemm" && !is_transposed(layer);
    let channels = weight.dims[usize::from(across)] as usize;
    let lengths = [scale.len(), shift.len(), mean.len(), variance.len(), bias.len()];
    if lengths.iter().any(|&length| length != channels) {
        return Err(format!("node `{}` has parameters of {lengths:?} elements, expected {channels}", norm.name));
    }
    let epsilon = norm.attribute.iter().find(|attribute| attribute.name == "epsilon").map_or(EPSILON, |a| a.f);
    let factors: Vec<f64> = scale
        .iter()
        .zip(&variance)
        .map(|(&scale, &variance)| f64::from(scale) / (f64::from(variance) + f64::from(epsilon)).sqrt())
        .collect();
    let row = if across { 1 } else { weights.len() / channels.max(1) };
    let factor_of = |at: usize| factors[if across { at % channels } else { at / row }];
    let scaled: Vec<f32> =
        weights.iter().enumerate().map(|(at, &value)| (f64::from(value) * factor_of(at)) as f32).collect();
    let shifted: Vec<f32> = (0..channels)
        .map(|at| ((f64::from(bias[at]) - f64::from(mean[at])) * factors[at] + f64::from(shift[at])) as f32)
        .collect();
    let dims: Vec<usize> = weight.dims.iter().map(|&dim| dim as usize).collect();
    // Named after the layer: its old tensors may have other readers.
    let name = |what: &str| format!("{}.folded.{what}", layer.name);
    Ok(Some([proto::floats(&name("weight"), &dims, &scaled), proto::floats(&name("bias"), &[channels], &shifted)]))
}
