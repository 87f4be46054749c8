//! What an ONNX file says about itself, Tegu's or not: inputs, outputs, versions, operators.

use super::OnnxError;
use prost::Message;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, ValueInfoProto, type_proto};

/// Facts about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// What must be fed (without inputs that have a value of their own).
    pub inputs: Vec<ValueInfo>,
    /// What comes out.
    pub outputs: Vec<ValueInfo>,
    /// Version of each operator set, by domain; ONNX's own is the empty one.
    pub opsets: BTreeMap<String, i64>,
    /// Version of the file format.
    pub ir_version: i64,
    /// Program that wrote it, with version.
    pub producer: String,
    /// How often each operator occurs, bodies of control flow included.
    pub operators: BTreeMap<String, usize>,
    /// Numbers in its constant tensors of floats and bytes: weights, biases, statistics; scales where it is quantised.
    pub constants: u64,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// Type of the elements.
    pub element: ElementType,
    /// Dimensions; `None` where not even their number is said.
    pub dims: Option<Vec<Dim>>,
}

/// A dimension of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// This size.
    Fixed(usize),
    /// Left open, with its symbol where it has one.
    Open(Option<String>),
}

/// Type of a tensor's elements, in ONNX's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// 32-bit floats.
    Float32,
    /// 16-bit floats.
    Float16,
    /// 64-bit floats.
    Float64,
    /// 64-bit integers.
    Int64,
    /// 32-bit integers.
    Int32,
    /// Bytes.
    UInt8,
    /// Signed bytes.
    Int8,
    /// Truth values.
    Bool,
    /// Another type, by name.
    Other(String),
}

/// One operator of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorNode {
    /// Domain of its operator set; empty for ONNX's own.
    pub domain: String,
    /// Operator, like `Conv`.
    pub op_type: String,
    /// Name of the node, of its first output where it has none.
    pub name: String,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Open(Some(symbol)) => write!(f, "{symbol}"),
            Self::Open(None) => write!(f, "?"),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Float64 => "float64",
            Self::Int64 => "int64",
            Self::Int32 => "int32",
            Self::UInt8 => "uint8",
            Self::Int8 => "int8",
            Self::Bool => "bool",
            Self::Other(name) => name,
        })
    }
}

impl fmt::Display for ValueInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dims {
            Some(dims) => {
                let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
                write!(f, "{}: {} [{}]", self.name, self.element, dims.join(", "))
            }
            None => write!(f, "{}: {} of unknown dimensions", self.name, self.element),
        }
    }
}

/// Reads the facts about the model at `path`.
///
/// # Errors
/// If the file can't be read or is no ONNX model.
pub fn inspect(path: &Path) -> Result<ModelInfo, OnnxError> {
    inspect_proto(&decode(path)?, path)
}

/// Reads the model at `path` as it is.
pub(crate) fn decode(path: &Path) -> Result<ModelProto, OnnxError> {
    let bytes = std::fs::read(path).map_err(|source| OnnxError::File { path: path.to_owned(), source })?;
    decode_bytes(&bytes, path)
}

/// Reads the model in `bytes`, which are said to be those of the file at `path`.
pub(crate) fn decode_bytes(bytes: &[u8], path: &Path) -> Result<ModelProto, OnnxError> {
    let malformed = |reason: String| OnnxError::Malformed { path: path.to_owned(), reason };
    if bytes.is_empty() {
        return Err(malformed("the file is empty".into()));
    }
    let model = ModelProto::decode(bytes).map_err(|error| {
        malformed(format!("{error}; it has {} bytes: is it truncated, or of another format?", bytes.len()))
    })?;
    if model.graph.is_none() {
        return Err(malformed("it has no graph".into()));
    }
    Ok(model)
}

/// The facts about a decoded model that was read from `path`.
pub(crate) fn inspect_proto(model: &ModelProto, path: &Path) -> Result<ModelInfo, OnnxError> {
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| OnnxError::Malformed { path: path.to_owned(), reason: "it has no graph".into() })?;
    let initialised: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut operators = BTreeMap::new();
    for node in operator_nodes(graph) {
        *operators.entry(node.op_type).or_default() += 1;
    }
    let numbers =
        [DataType::Float, DataType::Float16, DataType::Double, DataType::Bfloat16, DataType::Int8, DataType::Uint8];
    let constants = graph.initializer.iter().filter(|tensor| numbers.iter().any(|&of| tensor.data_type == of as i32));
    let constants = constants.map(|tensor| tensor.dims.iter().map(|&dim| dim.max(0) as u64).product::<u64>()).sum();
    let inputs = graph.input.iter().filter(|input| !initialised.contains(input.name.as_str()));
    Ok(ModelInfo {
        inputs: inputs.map(value_info).collect(),
        outputs: graph.output.iter().map(value_info).collect(),
        opsets: model.opset_import.iter().map(|set| (set.domain.clone(), set.version)).collect(),
        ir_version: model.ir_version,
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_owned(),
        operators,
        constants,
    })
}

/// All operators of `graph` and of the bodies of its control flow.
pub(crate) fn operator_nodes(graph: &GraphProto) -> Vec<OperatorNode> {
    let mut all = vec![];
    for node in &graph.node {
        let name =
            if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() };
        all.push(OperatorNode { domain: node.domain.clone(), op_type: node.op_type.clone(), name });
        for attribute in &node.attribute {
            attribute.g.iter().chain(&attribute.graphs).for_each(|body| all.extend(operator_nodes(body)));
        }
    }
    all
}

/// The name of a tensor of `graph`, or of the bodies of its control flow, whose numbers are in another file.
pub(crate) fn external_data(graph: &GraphProto) -> Option<&str> {
    let outside =
        |tensor: &&TensorProto| tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty();
    let attributes = || graph.node.iter().flat_map(|node| &node.attribute);
    let own =
        graph.initializer.iter().chain(attributes().flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors)));
    own.clone().find(outside).map(|tensor| tensor.name.as_str()).or_else(|| {
        attributes().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)).find_map(external_data)
    })
}

fn value_info(value: &ValueInfoProto) -> ValueInfo {
    let tensor = value.r#type.as_ref().and_then(|value_type| value_type.value.as_ref()).map(|value| {
        let type_proto::Value::TensorType(tensor) = value;
        tensor
    });
    ValueInfo {
        name: value.name.clone(),
        element: tensor.map_or_else(|| ElementType::Other("no tensor".into()), |tensor| element_type(tensor.elem_type)),
        dims: tensor.and_then(|tensor| tensor.shape.as_ref()).map(|shape| {
            let dim = |value: &Option<dimension::Value>| match value {
                Some(dimension::Value::DimValue(size)) if *size > 0 => Dim::Fixed(*size as usize),
                Some(dimension::Value::DimParam(symbol)) if !symbol.is_empty() => Dim::Open(Some(symbol.clone())),
                _ => Dim::Open(None),
            };
            shape.dim.iter().map(|dimension| dim(&dimension.value)).collect()
        }),
    }
}

fn element_type(code: i32) -> ElementType {
    match DataType::try_from(code) {
        Ok(DataType::Float) => ElementType::Float32,
        Ok(DataType::Float16) => ElementType::Float16,
        Ok(DataType::Double) => ElementType::Float64,
        Ok(DataType::Int64) => ElementType::Int64,
        Ok(DataType::Int32) => ElementType::Int32,
        Ok(DataType::Uint8) => ElementType::UInt8,
        Ok(DataType::Int8) => ElementType::Int8,
        Ok(DataType::Bool) => ElementType::Bool,
        Ok(other) => ElementType::Other(other.as_str_name().to_lowercase()),
        Err(_) => ElementType::Other(format!("type {code}")),
    }
}
