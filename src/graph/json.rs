//! Graphs as JSON, for programs outside of Tegu.
//!
//! ```text
//! {"input": [3, 8, 8], "nodes": [
//!    {"name": "input", "op": "input", "inputs": [], "shape": [3, 8, 8]},
//!    {"name": "stem.conv", "op": {"conv2d": {"out_channels": 4, "window": {"kernel": 3, "stride": 1, "padding": 1,
//!     "dilation": 1}, "groups": 1, "bias": false}}, "inputs": [0], "shape": [4, 8, 8]}, …],
//!  "output": 17, "cost": {"params": 1234, "macs": 56789}}
//! ```
//!
//! Each number of a window is one for both sides, or `[rows, columns]`.
//!
//! Node 0 is the input, operands stand before the operators that use them. Shapes and costs are written for the reader and
//! not read: the [`GraphBuilder`] finds them, so that a graph which was read is as sound as any. But zeros on the input, which stand in a
//! [live](Graph::live) graph for what is absent, have the shape that is written.

use super::{Graph, GraphBuilder, GraphError, NodeId, Op, Shape};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most nodes that are read: many times the largest network of any space.
const MOST_NODES: usize = 20_000;
/// The most elements of one sample at any node, and the most weights of all nodes: 4 GiB of floats.
const MOST_ELEMENTS: usize = 1 << 30;

/// Why JSON is no graph.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraphJsonError {
    /// It has not the form of one.
    #[error("graph: {0}")]
    Form(String),
    /// A node refers to one that is not before it, or can't be.
    #[error("graph: node {index} `{name}`: {reason}")]
    Node {
        /// Its index.
        index: usize,
        /// Its name.
        name: String,
        /// What was found, and what was expected.
        reason: String,
    },
    /// Operators don't fit together.
    #[error("graph: {0}")]
    Graph(#[from] GraphError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphJson {
    input: [usize; 3],
    nodes: Vec<NodeJson>,
    output: usize,
    #[serde(default)]
    cost: Option<CostJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeJson {
    name: String,
    op: Op,
    inputs: Vec<usize>,
    #[serde(default)]
    shape: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct CostJson {
    params: u64,
    macs: u64,
}

impl Graph {
    /// The graph as JSON.
    ///
    /// # Panics
    /// If its input is no map, or it has numbers that JSON can't hold: no space makes such graphs.
    pub fn to_json(&self) -> Value {
        let Shape::Map { channels, height, width } = self.input_shape() else { panic!("a network's input is a map") };
        let node = |node: &super::Node| NodeJson {
            name: node.name.clone(),
            op: node.op,
            inputs: node.inputs.iter().map(|input| input.0).collect(),
            shape: node.shape.dims(),
        };
        let cost = self.cost();
        let document = GraphJson {
            input: [channels, height, width],
            nodes: self.nodes.iter().map(node).collect(),
            output: self.output.0,
            cost: Some(CostJson { params: cost.params, macs: cost.macs }),
        };
        serde_json::to_value(&document).expect("graphs are plain data")
    }

    /// Reads a graph, and checks all of it.
    ///
    /// # Errors
    /// If it has not the form of one, or operators don't fit together; names the node.
    pub fn from_json(json: &Value) -> Result<Self, GraphJsonError> {
        let document = GraphJson::deserialize(json).map_err(|error| GraphJsonError::Form(error.to_string()))?;
        let GraphJson { input, nodes, output, .. } = document;
        if input.contains(&0) || input.iter().try_fold(1, |all: usize, dim| all.checked_mul(*dim)).is_none_or(large) {
            return Err(GraphJsonError::Form(format!("input: {input:?}, expected [channels, height, width]")));
        }
        if nodes.len() > MOST_NODES {
            return Err(GraphJsonError::Form(format!("{} nodes, expected {MOST_NODES} or fewer", nodes.len())));
        }
        let mut builder = GraphBuilder::new(Shape::map(input[0], input[1], input[2]));
        let count = nodes.len();
        for (index, node) in nodes.into_iter().enumerate() {
            let wrong = |reason: String| GraphJsonError::Node { index, name: node.name.clone(), reason };
            match (index, node.op) {
                (0, Op::Input) if node.name == "input" && node.inputs.is_empty() => continue,
                (0, _) => return Err(wrong("expected the node `input` with the op `input` first".to_owned())),
                _ => {}
            }
            if let Some(later) = node.inputs.iter().find(|&&input| input >= index) {
                return Err(wrong(format!("inputs: {later}, expected nodes before it")));
            }
            check_numbers(&node.op).map_err(wrong)?;
            let inputs: Vec<NodeId> = node.inputs.iter().map(|&input| NodeId(input)).collect();
            let added = match (node.op, &node.shape[..], &inputs[..]) {
                (Op::Zero, &[features], [NodeId(0)]) => builder.zeros(node.name.as_str(), Shape::Vector(features))?,
                (Op::Zero, &[channels, height, width], [NodeId(0)]) => {
                    builder.zeros(node.name.as_str(), Shape::map(channels, height, width))?
                }
                (op, ..) => builder.push(node.name.as_str(), op, &inputs)?,
            };
            let dims = builder.shape(added).dims();
            if dims.contains(&0) || dims.iter().try_fold(1, |all: usize, dim| all.checked_mul(*dim)).is_none_or(large) {
                return Err(wrong(format!("shape: {dims:?}, expected 1 to {MOST_ELEMENTS} elements")));
            }
        }
        if output >= count {
            return Err(GraphJsonError::Form(format!("output: {output}, expected one of {count} nodes")));
        }
        let graph = builder.finish(NodeId(output));
        let mut weights = 0;
        for parameter in graph.parameters() {
            let elements = parameter.dims.iter().try_fold(1, |all: usize, dim| all.checked_mul(*dim));
            weights += elements.unwrap_or(MOST_ELEMENTS).min(MOST_ELEMENTS);
            if weights >= MOST_ELEMENTS {
                let name = parameter.name;
                return Err(GraphJsonError::Form(format!(
                    "{name}: expected fewer than {MOST_ELEMENTS} weights in all"
                )));
            }
        }
        Ok(graph)
    }
}

fn large(elements: usize) -> bool {
    elements > MOST_ELEMENTS
}

/// Keeps numbers in bounds within which shapes can be computed.
fn check_numbers(op: &Op) -> Result<(), String> {
    let window =
        |window: &super::Window| window.each(|side| [side.kernel, side.stride, side.padding, side.dilation]).concat();
    let numbers = match op {
        Op::Conv2d(conv) => [window(&conv.window), vec![conv.out_channels, conv.groups]].concat(),
        Op::MaxPool(pool) | Op::AvgPool(pool) => window(pool),
        Op::Pad(margins) => margins.before.iter().chain(&margins.after).map(|side| side.unsigned_abs()).collect(),
        Op::Linear { out_features: 0, .. } => return Err("out_features: 0, expected 1 or more".to_owned()),
        Op::Linear { out_features, .. } => vec![*out_features],
        Op::Attention(attention) => vec![attention.heads],
        Op::Dropout { probability } if !(0.0..1.0).contains(probability) => {
            return Err(format!("probability: {probability}, expected 0 or more and less than 1"));
        }
        _ => vec![],
    };
    match numbers.into_iter().find(|&number| number > 1 << 24) {
        Some(number) => Err(format!("{number} is too large a number, expected {} at most", 1 << 24)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn small() -> Value {
        json!({"input": [3, 8, 8], "nodes": [
            {"name": "input", "op": "input", "inputs": []},
            {"name": "conv", "op": {"conv2d": {"out_channels": 4, "groups": 1, "bias": true,
                "window": {"kernel": 3, "stride": 2, "padding": 1, "dilation": 1}}}, "inputs": [0]},
            {"name": "relu", "op": {"activation": "relu"}, "inputs": [1]},
            {"name": "sum", "op": "add", "inputs": [1, 2]},
            {"name": "pool", "op": "global_avg_pool", "inputs": [3]},
            {"name": "linear", "op": {"linear": {"out_features": 10, "bias": true}}, "inputs": [4]}
        ], "output": 5})
    }

    #[test]
    fn what_was_written_is_read() {
        let graph = Graph::from_json(&small()).unwrap();
        let written = graph.to_json();
        assert_eq!(written["nodes"][1]["shape"], json!([4, 4, 4]));
        assert_eq!(written["cost"], json!({"params": 4 * 27 + 4 + 50, "macs": 4 * 27 * 16 + 40}));
        assert_eq!(written["nodes"][1]["op"], small()["nodes"][1]["op"]);
        assert_eq!(Graph::from_json(&written).unwrap(), graph);
    }

    #[test]
    fn what_is_no_graph_is_named() {
        let check = |change: &dyn Fn(&mut Value), expected: &str| {
            let mut json = small();
            change(&mut json);
            let error = Graph::from_json(&json).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(
            &|json| json["nodes"][3]["inputs"] = json!([1, 0]),
            "graph: node `sum`: can't add [4, 4, 4] and [3, 8, 8]",
        );
        check(
            &|json| json["nodes"][3]["inputs"] = json!([1, 4]),
            "graph: node 3 `sum`: inputs: 4, expected nodes before",
        );
        check(&|json| json["nodes"][3]["op"] = json!("sum"), "graph: unknown variant `sum`, expected one of `input`");
        check(&|json| json["nodes"][2]["name"] = json!("conv"), "graph: node `conv` exists twice");
        check(&|json| json["output"] = json!(6), "graph: output: 6, expected one of 6 nodes");
        check(&|json| json["input"] = json!([3, 0, 8]), "graph: input: [3, 0, 8], expected [channels, height, width]");
        check(&|json| json["nodes"] = json!([]), "graph: output: 5, expected one of 0 nodes");
        check(&|json| json["nodes"][0]["op"] = json!("zero"), "graph: node 0 `input`: expected the node `input`");
        let stride =
            |json: &mut Value, stride: u64| json["nodes"][1]["op"]["conv2d"]["window"]["stride"] = json!(stride);
        check(&|json| stride(json, 0), "graph: node `conv`: kernel, stride and dilation must be at least 1");
        check(&|json| stride(json, 1 << 40), "graph: node 1 `conv`: 1099511627776 is too large a number");
        let padding = |json: &mut Value| json["nodes"][1]["op"]["conv2d"]["window"]["padding"] = json!(1 << 24);
        check(&padding, "graph: node 1 `conv`: shape: ");
        let features = |json: &mut Value| json["nodes"][5]["op"]["linear"]["out_features"] = json!(1 << 24);
        let channels = |json: &mut Value| json["nodes"][1]["op"]["conv2d"]["out_channels"] = json!(1 << 20);
        let both = |json: &mut Value| (channels(json), features(json)).1;
        check(&both, "graph: linear.weight: expected fewer than 1073741824 weights in all");
    }
}
