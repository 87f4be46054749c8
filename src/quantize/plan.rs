//! Which operators run on integers, and which values are rounded for them.

use super::fold::is_plain_gemm;
use super::model::{floats, initializers};
use super::{Precision, Scheme};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// What is done with a graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// Layers with weights that run on integers, by their place among the nodes.
    pub layers: BTreeMap<usize, Precision>,
    /// Other operators that do.
    pub others: BTreeSet<usize>,
    /// For each value that is rounded, what is to be known about it.
    pub rounded: BTreeMap<String, Rounded>,
}

/// A value that is rounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rounded {
    /// Whether an integer operator makes it: then all its readers see the rounded one.
    pub made: bool,
    /// The value whose scale it has, where it holds no other numbers than that one.
    pub like: Option<String>,
}

/// Operators without weights whose result on integers is worth having: they are fused by runtimes, or pass on.
const OTHERS: [&str; 6] = ["Add", "Mul", "AveragePool", "GlobalAveragePool", "Concat", "MaxPool"];
/// Operators whose result has no other numbers than their first operand.
const PASSED: [&str; 7] = ["MaxPool", "Flatten", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Transpose"];

/// Whether an operator without weights can run on integers.
pub(super) fn is_quantizable(node: &NodeProto) -> bool {
    node.domain.is_empty() && OTHERS.contains(&node.op_type.as_str())
}

/// Whether a node's result has no other numbers than its first operand.
pub(super) fn is_passed_through(node: &NodeProto) -> bool {
    // A pooling that also gives the places of the maxima is left alone.
    node.domain.is_empty() && PASSED.contains(&node.op_type.as_str()) && node.output.len() == 1
}

/// Which operand of a layer is its weight, where that is a constant of floats.
pub(super) fn weight_at(node: &NodeProto, initializers: &HashMap<&str, &TensorProto>) -> Option<usize> {
    let fits = match node.op_type.as_str() {
        "Conv" => true,
        "Gemm" => is_plain_gemm(node),
        "MatMul" => true,
        _ => false,
    };
    let known = |at: usize| initializers.get(node.input.get(at)?.as_str()).filter(|tensor| floats(tensor).is_some());
    let weight = known(1).filter(|_| fits && node.domain.is_empty())?;
    let two_sided = node.op_type != "MatMul" || weight.dims.len() == 2;
    let has_bias = node.input.get(2).is_some_and(|name| !name.is_empty());
    (two_sided && (!has_bias || known(2).is_some())).then_some(1)
}

impl Plan {
    /// The plan in which every operator that can be is quantised.
    pub(super) fn everything(graph: &GraphProto) -> Self {
        Self::new(graph, &Scheme::default())
    }

    /// The plan of a scheme.
    pub(super) fn new(graph: &GraphProto, scheme: &Scheme) -> Self {
        let initializers = initializers(graph);
        let mut plan = Self::default();
        let readers = readers(graph);
        for (at, node) in graph.node.iter().enumerate() {
            if weight_at(node, &initializers).is_some() && scheme.of(&node.name) != Precision::Float {
                plan.layers.insert(at, scheme.of(&node.name));
                plan.rounded.entry(node.input[0].clone()).or_insert(Rounded { made: false, like: None });
            }
        }
        for (at, node) in graph.node.iter().enumerate() {
            let is_layer = plan.layers.contains_key(&at);
            let chosen = scheme.layers.get(&node.name) != Some(&Precision::Float);
            let is_other = !is_layer && chosen && plan.reads_rounded(node, &initializers);
            if !is_layer && !is_other {
                continue;
            }
            if is_other {
                plan.others.insert(at);
            }
            let output = result_of(graph, at, &readers);
            // A product is handed on in floats where no integer operator reads it: a network's last layer.
            let sums = matches!(node.op_type.as_str(), "Gemm" | "MatMul");
            if is_layer && sums && !plan.rounded.contains_key(&output) {
                let integer_reader = |reader: &usize| {
                    let reader = &graph.node[*reader];
                    is_quantizable(reader) || is_passed_through(reader)
                };
                let is_output = graph.output.iter().any(|found| found.name == output);
                if is_output || !readers.get(output.as_str()).is_some_and(|all| all.iter().any(integer_reader)) {
                    continue;
                }
            }
            let like = is_passed_through(node).then(|| node.input[0].clone());
            plan.rounded.insert(output, Rounded { made: true, like });
        }
        plan
    }

    /// Values that are rounded. A plan with fewer integer operators may need the range of one that has another's scale in this.
    pub(super) fn values(&self) -> Vec<String> {
        self.rounded.keys().cloned().collect()
    }

    /// Whether an operator without weights can run on integers, and all that it reads is rounded.
    fn reads_rounded(&self, node: &NodeProto, initializers: &HashMap<&str, &TensorProto>) -> bool {
        let rounded = |name: &String| self.rounded.contains_key(name);
        if is_passed_through(node) {
            // Other operands are shapes.
            return node.input.first().is_some_and(rounded);
        }
        let constant = |name: &String| name.is_empty() || initializers.contains_key(name.as_str());
        is_quantizable(node) && !node.input.is_empty() && node.input.iter().all(|name| rounded(name) && !constant(name))
    }
}

/// The nodes that read each value.
pub(super) fn readers(graph: &GraphProto) -> HashMap<&str, Vec<usize>> {
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        node.input.iter().for_each(|name| readers.entry(name).or_default().push(at));
    }
    readers
}

/// The value at which an integer operator hands its result on: behind a rectifier that alone reads it, which runtimes fuse.
pub(super) fn result_of(graph: &GraphProto, at: usize, readers: &HashMap<&str, Vec<usize>>) -> String {
    let output = &graph.node[at].output[0];
    let is_output = graph.output.iter().any(|found| found.name == *output);
    let fused = matches!(graph.node[at].op_type.as_str(), "Conv" | "Gemm" | "MatMul" | "Add");
    match readers.get(output.as_str()).map(Vec::as_slice) {
        Some(&[reader]) if fused && !is_output => {
            let reader = &graph.node[reader];
            let rectifies =
                reader.op_type == "Relu" || (reader.op_type == "Clip" && reader.input.first() == Some(output));
            if rectifies { reader.output[0].clone() } else { output.clone() }
        }
        _ => output.clone(),
    }
}
