//! A model's nodes one by one: what each value of the model is in the graph.

use super::Problem;
use super::constant::Constant;
use super::node::Attributes;
use crate::graph::{Graph, GraphBuilder, NodeId, Op, Shape, Window};
use candle_core::{Device, Tensor};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto, type_proto};

/// The reason of an operator behind one that can't be read.
pub(super) const UNREAD: &str = "it reads what could not be read";

/// Why there is no network.
pub(super) enum Refused {
    /// For a reason that is of no single operator.
    Whole(String),
    /// For these operators.
    Operators(Vec<Problem>),
}

/// What a value of the model is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Known without an input.
    Constant(Rc<Constant>),
    /// A node's result.
    Node(NodeId),
    /// A map whose last dimension is its channels, as the map of this node.
    ChannelsLast(NodeId),
    /// The mean over all pixels of this map, as a map of one pixel or as a vector: who reads it says which.
    Pooled(NodeId),
    /// A map as a vector.
    Flat(NodeId),
    /// x + 3
    PlusThree(NodeId),
    /// min(max(x + 3, 0), 6)
    Clipped(NodeId),
    /// x · min(max(x + 3, 0), 6)
    Gated(NodeId),
    /// Of an operator that can't be read.
    Unknown,
}

pub(super) struct Reader<'a> {
    pub(super) proto: &'a GraphProto,
    pub(super) opset: i64,
    pub(super) builder: GraphBuilder,
    pub(super) ops: Vec<Op>,
    pub(super) inputs: Vec<Vec<NodeId>>,
    pub(super) values: HashMap<&'a str, Value>,
    pub(super) tensors: HashMap<String, Tensor>,
    taken: HashSet<String>,
    /// Nodes of the model that an earlier one has taken with it.
    pub(super) done: HashSet<usize>,
    readers: HashMap<&'a str, Vec<usize>>,
    /// Means that were asked for as a vector, and as a map.
    means: HashMap<(NodeId, bool), NodeId>,
}

/// The graph and the tensors of a model; those of nodes that don't count may be among them.
pub(super) fn network(
    proto: &GraphProto,
    opset: i64,
    input: Option<[usize; 3]>,
) -> Result<(Graph, HashMap<String, Tensor>), Refused> {
    let initialised: HashSet<&str> = proto.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let fed: Vec<&ValueInfoProto> =
        proto.input.iter().filter(|input| !initialised.contains(input.name.as_str())).collect();
    let ([source], [result]) = (&fed[..], &proto.output[..]) else {
        let counts = format!("{} inputs and {} outputs, expected one of each", fed.len(), proto.output.len());
        return Err(Refused::Whole(counts));
    };
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, node) in proto.node.iter().enumerate() {
        node.input.iter().for_each(|name| readers.entry(name).or_default().push(at));
    }
    let of_source = readers.get(source.name.as_str()).map_or(&[][..], Vec::as_slice);
    let is_channels_last = |&at: &usize| {
        let node = &proto.node[at];
        node.op_type == "Transpose" && Attributes::of(node).ints("perm").is_some_and(|perm| perm == [0, 3, 1, 2])
    };
    let channels_last = !of_source.is_empty() && of_source.iter().all(is_channels_last);
    let [channels, height, width] =
        input.map_or_else(|| said_shape(source, channels_last), Ok).map_err(Refused::Whole)?;
    let builder = GraphBuilder::new(Shape::map(channels, height, width));
    let at_input = builder.input();
    let first = if channels_last { Value::ChannelsLast(at_input) } else { Value::Node(at_input) };
    let mut reader = Reader {
        proto,
        opset,
        builder,
        ops: vec![Op::Input],
        inputs: vec![vec![]],
        values: HashMap::from([(source.name.as_str(), first)]),
        tensors: HashMap::new(),
        taken: HashSet::from(["input".to_owned()]),
        done: HashSet::new(),
        readers,
        means: HashMap::new(),
    };
    let mut problems = vec![];
    for tensor in &proto.initializer {
        let value = Constant::of_tensor(tensor).map_or(Value::Unknown, |constant| Value::Constant(Rc::new(constant)));
        reader.values.insert(&tensor.name, value);
    }
    for (at, node) in proto.node.iter().enumerate() {
        if reader.done.contains(&at) {
            continue;
        }
        let value = reader.read(node).unwrap_or_else(|reason| {
            // What only follows from an earlier problem is none of its own.
            if reason != UNREAD || problems.is_empty() {
                problems.push(Problem { operator: node.op_type.clone(), node: name_of(node).to_owned(), reason });
            }
            Value::Unknown
        });
        if let Some(output) = node.output.first() {
            reader.values.insert(output, value);
        }
    }
    if !problems.is_empty() {
        return Err(Refused::Operators(problems));
    }
    let value = reader.values.get(result.name.as_str()).cloned();
    let whole = |reason: String| Refused::Whole(format!("output `{}`: {reason}", result.name));
    let output = match value {
        Some(Value::Pooled(map)) => reader.mean(map, true),
        Some(Value::Flat(map)) if reader.builder.shape(map).pixels() == 1 => reader.mean(map, true),
        Some(value) => reader.node_of(&value),
        None => Err("nothing makes it".into()),
    };
    Ok((reader.builder.finish(output.map_err(whole)?), reader.tensors))
}

/// The input's shape as the file says it, `[channels, height, width]`.
fn said_shape(source: &ValueInfoProto, channels_last: bool) -> Result<[usize; 3], String> {
    let tensor = source.r#type.as_ref().and_then(|of| of.value.as_ref()).map(|value| {
        let type_proto::Value::TensorType(tensor) = value;
        tensor
    });
    let dims = tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| &shape.dim[..]).unwrap_or_default();
    let size = |at: usize| match dims[at].value {
        Some(dimension::Value::DimValue(size)) if size > 0 => Ok(size as usize),
        _ => Err(format!(
            "the input `{}` leaves its size open: say it with `input: [channels, height, width]`",
            source.name
        )),
    };
    match (dims.len(), channels_last) {
        (4, true) => Ok([size(3)?, size(1)?, size(2)?]),
        (4, false) => Ok([size(1)?, size(2)?, size(3)?]),
        (rank, _) => Err(format!("the input `{}` has {rank} dimensions, expected a batch of maps, 4", source.name)),
    }
}

pub(super) fn name_of(node: &NodeProto) -> &str {
    if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name }
}

impl<'a> Reader<'a> {
    /// What a node's input is.
    pub(super) fn value(&self, node: &'a NodeProto, at: usize) -> Result<Value, String> {
        let name = node.input.get(at).map_or("", String::as_str);
        match self.values.get(name) {
            Some(value) => Ok(value.clone()),
            None if name.is_empty() => Err(format!("it has no input {}", at + 1)),
            None => Err(format!("`{name}` comes from nowhere")),
        }
    }

    /// A node's input as a constant, where there is one.
    pub(super) fn constant(&self, node: &'a NodeProto, at: usize) -> Option<Rc<Constant>> {
        match self.value(node, at) {
            Ok(Value::Constant(constant)) => Some(constant),
            _ => None,
        }
    }

    /// The node of a value that is to be a map, or a vector that was made as one.
    pub(super) fn node_of(&mut self, value: &Value) -> Result<NodeId, String> {
        match *value {
            Value::Node(id) => Ok(id),
            Value::Pooled(map) => self.mean(map, false),
            Value::Flat(map) if self.builder.shape(map).pixels() == 1 => self.mean(map, true),
            Value::Flat(map) => Err(format!("it reads {} as a vector", self.builder.shape(map))),
            Value::PlusThree(of) => {
                let channels = self.builder.shape(of).channels();
                self.affine("shift", of, &vec![1.0; channels], &vec![3.0; channels])
            }
            Value::ChannelsLast(_) => Err("it reads a map whose last dimension is its channels".into()),
            Value::Clipped(_) | Value::Gated(_) => Err("it reads a part of a hard sigmoid".into()),
            Value::Constant(_) => Err("it reads a constant, expected what depends on the input".into()),
            Value::Unknown => Err(UNREAD.into()),
        }
    }

    /// A node's input as a map or vector of the graph.
    pub(super) fn operand(&mut self, node: &'a NodeProto, at: usize) -> Result<NodeId, String> {
        let value = self.value(node, at)?;
        self.node_of(&value)
    }

    /// Adds an operator under a name that nothing has.
    pub(super) fn push(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, String> {
        self.push_named(name, op, inputs).map(|(id, _)| id)
    }

    /// [`push`](Self::push), and the name that it was given.
    fn push_named(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<(NodeId, String), String> {
        let base = if name.is_empty() { "node" } else { name };
        let mut unique = base.to_owned();
        let mut count = 1;
        while !self.taken.insert(unique.clone()) {
            count += 1;
            unique = format!("{base}.{count}");
        }
        let id = self.builder.push(unique.clone(), op, inputs).map_err(|error| error.to_string())?;
        self.ops.push(op);
        self.inputs.push(inputs.to_vec());
        Ok((id, unique))
    }

    /// [`push`](Self::push) of an operator with parameters: their suffixes, dimensions and numbers.
    pub(super) fn push_with(
        &mut self,
        name: &str,
        op: Op,
        input: NodeId,
        parameters: &[(&str, &[usize], &[f32])],
    ) -> Result<NodeId, String> {
        let (id, name) = self.push_named(name, op, &[input])?;
        for (suffix, dims, values) in parameters {
            let tensor = Tensor::from_slice(values, *dims, &Device::Cpu).map_err(|error| error.to_string())?;
            self.tensors.insert(format!("{name}.{suffix}"), tensor);
        }
        Ok(id)
    }

    /// scale · x + shift by channel, as the batch normalisation of mean 0 and variance 1 - ε.
    pub(super) fn affine(&mut self, name: &str, of: NodeId, scale: &[f32], shift: &[f32]) -> Result<NodeId, String> {
        let dims = [scale.len()];
        let variance = vec![(1.0 - crate::graph::BATCH_NORM_EPS) as f32; scale.len()];
        let all: [(&str, &[usize], &[f32]); 4] = [
            ("weight", &dims, scale),
            ("bias", &dims, shift),
            ("running_mean", &dims, &vec![0.0; scale.len()]),
            ("running_var", &dims, &variance),
        ];
        self.push_with(name, Op::BatchNorm, of, &all)
    }

    /// The mean over all pixels of a map, as a vector or as a map of one pixel.
    pub(super) fn mean(&mut self, map: NodeId, vector: bool) -> Result<NodeId, String> {
        if let Some(&known) = self.means.get(&(map, vector)) {
            return Ok(known);
        }
        let shape = self.builder.shape(map);
        let id = match (shape, vector) {
            (Shape::Vector(_), true) => map,
            (Shape::Map { .. }, true) => self.push("pooled", Op::GlobalAvgPool, &[map])?,
            (Shape::Map { height: 1, width: 1, .. }, false) => map,
            (Shape::Map { height, width, .. }, false) => {
                let window = Window::new([height, width], [1; 2], [0; 2], [1; 2]);
                self.push("pooled", Op::AvgPool(window), &[map])?
            }
            (Shape::Vector(_), false) => return Err("it reads a vector as a map".into()),
        };
        self.means.insert((map, vector), id);
        Ok(id)
    }

    /// The node that alone reads a node's result, where it is of this type and the result is not the model's.
    pub(super) fn only_reader(&self, node: &NodeProto, operator: &str) -> Option<(usize, &'a NodeProto)> {
        let output = node.output.first()?;
        let [at] = self.readers.get(output.as_str())?[..] else { return None };
        let reader = &self.proto.node[at];
        let is_result = self.proto.output.iter().any(|result| result.name == *output);
        (reader.op_type == operator && !is_result).then_some((at, reader))
    }

    /// The numbers that a sum, which alone reads the node's result, adds to each of `channels`, of which there are `behind`
    /// dimensions. The sum is done with, then: its result is that of the node.
    pub(super) fn added_bias(&mut self, node: &'a NodeProto, channels: usize, behind: usize) -> Option<Vec<f32>> {
        let (at, sum) = self.only_reader(node, "Add")?;
        let other = usize::from(sum.input.first() == node.output.first());
        let bias = self.later_constant(sum.input.get(other)?)?.by_channel(channels, behind)?;
        self.done.insert(at);
        Some(bias)
    }

    /// A constant, also where the nodes that make it stand behind this one.
    fn later_constant(&self, name: &str) -> Option<Rc<Constant>> {
        if let Some(Value::Constant(known)) = self.values.get(name) {
            return Some(known.clone());
        }
        let node = self.proto.node.iter().find(|node| node.output.iter().any(|output| output == name))?;
        let inputs: Vec<Rc<Constant>> =
            node.input.iter().map(|input| self.later_constant(input)).collect::<Option<_>>()?;
        let inputs: Vec<&Constant> = inputs.iter().map(Rc::as_ref).collect();
        Constant::computed(&node.op_type, &Attributes::of(node), &inputs)?.ok().map(Rc::new)
    }

    /// Gives the value of `node`'s result to the sum that [`added_bias`](Self::added_bias) took with it.
    pub(super) fn alias_sum(&mut self, node: &'a NodeProto, value: &Value) {
        if let Some((at, sum)) = self.only_reader(node, "Add")
            && self.done.contains(&at)
            && let Some(output) = sum.output.first()
        {
            self.values.insert(output, value.clone());
        }
    }
}
