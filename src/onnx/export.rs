//! Lowering a graph to ONNX, operator by operator.
//! Semantics of each: <https://onnx.ai/onnx/operators/>, opset 17 (the newest that tract is tested with).

mod tokens;
mod windows;

use super::proto::{
    cast_to, entry, float, floats, halves, int, integers, ints, move_outside, node, tensor_attribute, value_info,
};
use super::{ExternalData, INPUT, Metadata, Names, OUTPUT, OnnxError, OnnxModel, Precision};
use crate::graph::{Activation, BATCH_NORM_EPS, Graph, Margins, NodeId, Op, Shape};
use crate::network::{Weights, WeightsError};
use half::f16;
use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
use windows::{convolution, window_attributes};

/// Version of the operator set that is written.
pub const OPSET: i64 = 17;
/// Version of the file format that is written.
pub const IR_VERSION: i64 = 8;

/// Symbol of an open batch dimension.
const BATCH: &str = "batch";
/// Smaller tensors stay in the model even where the others are outside: shapes and scalars are read while loading.
const SMALLEST_OUTSIDE: usize = 1024;
/// Tensors outside start at multiples of a page, so that a runtime can map them into memory.
const PAGE: usize = 4096;

/// Size of the model's batch dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// This many samples.
    Fixed(usize),
    /// Left open, symbol `batch`.
    Dynamic,
}

/// How pixels become what a network was trained on, for a model that takes bytes: factor · x + summand, by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// `[channels]`.
    pub factor: Vec<f32>,
    /// `[channels]`.
    pub summand: Vec<f32>,
}

/// How a model is written.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// Size of the batch dimension; default 1.
    pub batch: Batch,
    /// File name that the model will have, for the name of its external data; default `model.onnx`.
    pub file_name: String,
    /// Bytes of weights above which they stand in a file of their own; default 2·10⁹ (protobuf ends at 2³¹ - 1).
    pub external_data_above: u64,
    /// Element type of weights and activations; default 32-bit floats.
    pub precision: Precision,
    /// Where the model is to take bytes, 0 to 255, how they are normalised; default none: it takes normalised floats.
    pub pixels: Option<Pixels>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        let (batch, file_name, precision) = (Batch::Fixed(1), "model.onnx".into(), Precision::F32);
        Self { batch, file_name, external_data_above: 2_000_000_000, precision, pixels: None }
    }
}

/// Writes `graph` with its weights as an ONNX model.
///
/// # Errors
/// If a weight is missing or beyond what the precision can hold, the graph has an average pooling with dilation (opset 17
/// has none), or an indicator of the metadata is not finite.
pub fn export(
    graph: &Graph,
    weights: &Weights,
    metadata: &Metadata,
    options: ExportOptions,
) -> Result<OnnxModel, OnnxError> {
    let mut writer = Writer::new(graph, weights, &options);
    for id in graph.ids() {
        let value = writer.lower(id)?;
        writer.values.push(value);
    }
    // A result that is another node's value (identity, the input itself) gets a name by an operator of its own.
    let result = writer.values[graph.output().index()].clone();
    match options.precision {
        Precision::F16 => writer.emit("Cast", &[&result], OUTPUT, vec![cast_to(DataType::Float)]),
        Precision::F32 if result != OUTPUT => writer.emit("Identity", &[&result], OUTPUT, vec![]),
        Precision::F32 => {}
    }

    let external_data = writer.move_outside(&options);
    let element = if options.pixels.is_some() { DataType::Uint8 } else { DataType::Float };
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "tegu".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(GraphProto {
            name: metadata.architecture.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "tegu".into()),
            input: vec![value_info(INPUT, element, writer.dims(graph.input_shape()))],
            output: vec![value_info(OUTPUT, DataType::Float, writer.dims(graph.output_shape()))],
            node: writer.nodes,
            initializer: writer.initializers,
            ..Default::default()
        }),
        metadata_props: metadata.entries()?.iter().map(|(key, value)| entry(key, value)).collect(),
        ..Default::default()
    };
    Ok(OnnxModel { bytes: model.encode_to_vec(), external_data })
}

/// The name that the result of a node of `graph`, and with it the node, has in the model.
pub fn value_name(graph: &Graph, node: &str) -> String {
    let is_result = graph.node(graph.output()).name == node;
    if is_result { OUTPUT.to_owned() } else { node.to_owned() }
}

struct Writer<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    batch: Batch,
    precision: Precision,
    pixels: Option<&'a Pixels>,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    /// For each node of the graph so far, the name of the ONNX value that it is.
    values: Vec<String>,
    taken: Names,
    /// Numbers that several operators take, by what they are.
    scalars: HashMap<String, String>,
    batch_size: Option<String>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph, weights: &'a Weights, options: &'a ExportOptions) -> Self {
        let (batch, precision, pixels) = (options.batch, options.precision, options.pixels.as_ref());
        let taken = [INPUT.to_owned(), OUTPUT.to_owned()].into_iter().collect();
        let (nodes, initializers, values) = (vec![], vec![], vec![]);
        let (scalars, batch_size) = (HashMap::new(), None);
        Self { graph, weights, batch, precision, pixels, nodes, initializers, values, taken, scalars, batch_size }
    }

    /// Writes one node of the graph and gives the name of its value.
    fn lower(&mut self, id: NodeId) -> Result<String, OnnxError> {
        let graph = self.graph;
        let node = graph.node(id);
        let operands: Vec<String> = node.inputs.iter().map(|input| self.values[input.index()].clone()).collect();
        let operands: Vec<&str> = operands.iter().map(String::as_str).collect();
        match node.op {
            Op::Input => return self.input(),
            Op::Identity | Op::Dropout { .. } => return Ok(operands[0].into()),
            Op::Pad(_) if graph.padded_convolution(id).is_some() => return Ok(operands[0].into()),
            _ => {}
        }
        let is_result = id == graph.output() && self.precision == Precision::F32;
        let value = if is_result { OUTPUT.to_owned() } else { self.taken.unique(&node.name) };
        let parameters = self.parameters(id)?;
        let with_parameters: Vec<&str> =
            operands.iter().copied().chain(parameters.iter().map(String::as_str)).collect();
        match node.op {
            Op::Input | Op::Identity | Op::Dropout { .. } => unreachable!("they are passed through above"),
            Op::Conv2d(conv) => {
                let around = match graph.node(node.inputs[0]).op {
                    Op::Pad(margins) if graph.padded_convolution(node.inputs[0]).is_some() => margins,
                    _ => Margins::new([0; 2], [0; 2]),
                };
                self.emit("Conv", &with_parameters, &value, convolution(&conv, around));
            }
            Op::BatchNorm => {
                let epsilon = float("epsilon", BATCH_NORM_EPS as f32);
                self.emit("BatchNormalization", &with_parameters, &value, vec![epsilon]);
            }
            Op::Activation(activation) => self.activation(activation, operands[0], &value)?,
            Op::LayerNorm => self.layer_norm(&node.name, operands[0], &parameters, &value),
            Op::Attention(attention) => self.attention(attention, id, &operands, &value)?,
            Op::PositionEmbedding => self.emit("Add", &with_parameters, &value, vec![]),
            Op::Add => self.sum(&node.name, &operands, &value),
            Op::Mul => self.emit("Mul", &operands, &value, vec![]),
            Op::Concat => self.emit("Concat", &operands, &value, vec![int("axis", 1)]),
            Op::MaxPool(window) => {
                let mut attributes = window_attributes(&window, Margins::new([0; 2], [0; 2]));
                attributes.push(ints("dilations", &window.each(|side| side.dilation)));
                self.emit("MaxPool", &operands, &value, attributes);
            }
            Op::AvgPool(window) => {
                if let Some(side) = window.sides().iter().find(|side| side.dilation != 1) {
                    let reason = format!("average pooling with dilation {} needs opset 19", side.dilation);
                    return Err(OnnxError::Unsupported { node: node.name.clone(), reason });
                }
                let mut attributes = window_attributes(&window, Margins::new([0; 2], [0; 2]));
                attributes.push(int("count_include_pad", 0));
                self.emit("AveragePool", &operands, &value, attributes);
            }
            Op::GlobalAvgPool => {
                let pooled = self.taken.unique(&format!("{}.pool", node.name));
                self.emit("GlobalAveragePool", &operands, &pooled, vec![]);
                self.emit("Flatten", &[&pooled], &value, vec![int("axis", 1)]);
            }
            Op::Linear { .. } => self.emit("Gemm", &with_parameters, &value, vec![int("transB", 1)]),
            Op::Softmax => self.emit("Softmax", &operands, &value, vec![int("axis", 1)]),
            Op::Pad(margins) => self.pad(id, margins, operands[0], &value)?,
            Op::Zero => self.zeros(&node.name, node.shape, &value)?,
        }
        Ok(value)
    }

    /// The value of the model's input in the precision of all others, pixels normalised.
    fn input(&mut self) -> Result<String, OnnxError> {
        let (element, cast) = match (self.precision, self.pixels) {
            (Precision::F32, None) => return Ok(INPUT.to_owned()),
            (Precision::F32, Some(_)) => (DataType::Float, "input.float"),
            (Precision::F16, _) => (DataType::Float16, "input.half"),
        };
        let value = self.taken.unique(cast);
        self.emit("Cast", &[INPUT], &value, vec![cast_to(element)]);
        let Some(pixels) = self.pixels else { return Ok(value) };
        let channels = self.graph.input_shape().channels();
        let mut at = value;
        for (op, name, of) in [("Mul", "factor", &pixels.factor), ("Add", "summand", &pixels.summand)] {
            if of.len() != channels {
                let reason = format!("{} values of `pixels`, expected one for each of {channels} channels", of.len());
                return Err(OnnxError::Unsupported { node: INPUT.into(), reason });
            }
            let operand = self.taken.unique(&format!("input.{name}"));
            let tensor = self.tensor(&operand, &[1, channels, 1, 1], of)?;
            self.initializers.push(tensor);
            let value = self.taken.unique(if op == "Mul" { "input.scaled" } else { "input.normalised" });
            self.emit(op, &[&at, &operand], &value, vec![]);
            at = value;
        }
        Ok(at)
    }

    /// A tensor in the model's precision.
    fn tensor(&self, name: &str, dims: &[usize], values: &[f32]) -> Result<TensorProto, OnnxError> {
        match self.precision {
            Precision::F32 => Ok(floats(name, dims, values)),
            Precision::F16 => {
                let half: Vec<f16> = values.iter().copied().map(f16::from_f32).collect();
                match values.iter().zip(&half).find(|(value, half)| value.is_finite() && !half.is_finite()) {
                    Some((value, _)) => Err(OnnxError::Unsupported {
                        node: name.to_owned(),
                        reason: format!("it holds {value}, 16-bit floats end at {}", f16::MAX),
                    }),
                    None => Ok(halves(name, dims, &half)),
                }
            }
        }
    }

    fn emit(&mut self, op_type: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.nodes.push(node(op_type, inputs, output, attributes));
    }

    fn activation(&mut self, activation: Activation, operand: &str, value: &str) -> Result<(), OnnxError> {
        match activation {
            Activation::Relu => self.emit("Relu", &[operand], value, vec![]),
            Activation::Sigmoid => self.emit("Sigmoid", &[operand], value, vec![]),
            Activation::HardSwish => self.emit("HardSwish", &[operand], value, vec![]),
            Activation::HardSigmoid => {
                let slope = [float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                self.emit("HardSigmoid", &[operand], value, slope.into());
            }
            Activation::Gelu => self.gelu(operand, value)?,
            Activation::Relu6 => {
                let (low, high) = (self.scalar("relu6.min", 0.0)?, self.scalar("relu6.max", 6.0)?);
                self.emit("Clip", &[operand, &low, &high], value, vec![]);
            }
        }
        Ok(())
    }

    /// A number that all operators share.
    fn scalar(&mut self, name: &str, number: f32) -> Result<String, OnnxError> {
        if let Some(known) = self.scalars.get(name) {
            return Ok(known.clone());
        }
        let own = self.taken.unique(name);
        let tensor = self.tensor(&own, &[], &[number])?;
        self.initializers.push(tensor);
        self.scalars.insert(name.to_owned(), own.clone());
        Ok(own)
    }

    /// A chain of sums of two: runtimes fuse them with convolutions, unlike the variadic `Sum`.
    fn sum(&mut self, name: &str, operands: &[&str], value: &str) {
        let last = operands.len() - 2;
        let mut sum = operands[0].to_owned();
        for (at, operand) in operands[1..].iter().enumerate() {
            let next = if at == last { value.to_owned() } else { self.taken.unique(&format!("{name}.sum{}", at + 1)) };
            self.emit("Add", &[&sum, operand], &next, vec![]);
            sum = next;
        }
    }

    fn zeros(&mut self, name: &str, shape: Shape, value: &str) -> Result<(), OnnxError> {
        let dims: Vec<i64> = shape.dims().iter().map(|&dim| dim as i64).collect();
        let shape_name = self.taken.unique(&format!("{name}.shape"));
        match self.batch {
            Batch::Fixed(batch) => {
                self.initializers.push(integers(&shape_name, &[&[batch as i64], dims.as_slice()].concat()));
            }
            Batch::Dynamic => {
                let sample = self.taken.unique(&format!("{name}.sample_shape"));
                self.initializers.push(integers(&sample, &dims));
                let batch = self.batch_size();
                self.emit("Concat", &[&batch, &sample], &shape_name, vec![int("axis", 0)]);
            }
        }
        // The zero is spelt out: tract takes another element type for the default.
        let zero = tensor_attribute("value", self.tensor("", &[1], &[0.0])?);
        self.emit("ConstantOfShape", &[&shape_name], value, vec![zero]);
        Ok(())
    }

    /// The value that holds an open batch dimension's size.
    fn batch_size(&mut self) -> String {
        if let Some(name) = &self.batch_size {
            return name.clone();
        }
        let name = self.taken.unique("batch_size");
        self.emit("Shape", &[INPUT], &name, vec![int("start", 0), int("end", 1)]);
        self.batch_size = Some(name.clone());
        name
    }

    /// Writes the parameters of a node as initialisers and gives their names.
    fn parameters(&mut self, id: NodeId) -> Result<Vec<String>, OnnxError> {
        let mut names = vec![];
        for parameter in self.graph.node_parameters(id) {
            let tensor = self.weights.get(&parameter.name)?;
            let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).map_err(WeightsError::from)?;
            let name = self.taken.unique(&parameter.name);
            let tensor = self.tensor(&name, &parameter.dims, &values)?;
            self.initializers.push(tensor);
            names.push(name);
        }
        Ok(names)
    }

    fn dims(&self, shape: Shape) -> Vec<dimension::Value> {
        let batch = match self.batch {
            Batch::Fixed(size) => dimension::Value::DimValue(size as i64),
            Batch::Dynamic => dimension::Value::DimParam(BATCH.into()),
        };
        let sample = shape.dims().into_iter().map(|dim| dimension::Value::DimValue(dim as i64));
        std::iter::once(batch).chain(sample).collect()
    }

    fn move_outside(&mut self, options: &ExportOptions) -> Option<ExternalData> {
        let total: usize = self.initializers.iter().map(|tensor| tensor.raw_data.len()).sum();
        if total as u64 <= options.external_data_above {
            return None;
        }
        let file_name = format!("{}.data", options.file_name);
        let mut bytes: Vec<u8> = vec![];
        for tensor in self.initializers.iter_mut().filter(|tensor| tensor.raw_data.len() >= SMALLEST_OUTSIDE) {
            bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
            let data = move_outside(tensor, &file_name, bytes.len());
            bytes.extend(data);
        }
        Some(ExternalData { file_name, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphBuilder, Side, Window};
    use crate::network::Init;
    use candle_core::Device;

    fn check(op: Op, metadata: &Metadata, expected: &str) {
        let mut builder = GraphBuilder::new(Shape::map(2, 8, 8));
        let input = builder.input();
        let output = builder.push("pool", op, &[input]).unwrap();
        let graph = builder.finish(output);
        let weights = Weights::random(&graph, Init::default(), 0, &Device::Cpu).unwrap();
        let error = export(&graph, &weights, metadata, ExportOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_can_not_be_said_is_refused() {
        let window = Window::square(Side { dilation: 2, ..Side::same(3, 1) });
        let expected = "node `pool`: average pooling with dilation 2 needs opset 19";
        check(Op::AvgPool(window), &Metadata::new(), expected);
        let indicators = [("ntk_condition".to_owned(), f64::NAN)].into();
        let expected = "metadata `tegu.indicators`: `ntk_condition` is NaN, expected a finite number";
        check(Op::MaxPool(window), &Metadata { indicators, ..Metadata::new() }, expected);
    }
}
