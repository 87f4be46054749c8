//! The operators of a runtime's optimised graph, as ONNX Runtime writes it: fused, laid out, with no shapes of values
//! in between, which are inferred here for the operators of convolutional networks.
//!
//! A key is `nchwc.Conv(activation=Relu, strides=2x2, …) 1x16x32x32, [32x16x3x3], [32] -> 1x32x16x16 float`; constants stand
//! in brackets, a shape that can't be inferred is `?`. Attributes at their defaults are left out.

use super::operator::{OpCost, Operator, dims_text};
use crate::onnx::{self, OnnxError};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, type_proto};

/// Reads the operators of the optimised model at `path`. Dimensions that its inputs leave open are taken from
/// `input_dims`, by name, the leading one from `batch` otherwise.
///
/// # Errors
/// If the file can't be read or is no ONNX model.
pub fn fused_operators(
    path: &Path,
    input_dims: &BTreeMap<String, Vec<usize>>,
    batch: usize,
) -> Result<Vec<Operator>, OnnxError> {
    let model = onnx::decode(path)?;
    let graph = model.graph.as_ref().expect("a decoded model has a graph");
    let mut values = Values::new(graph, input_dims, batch);
    Ok(graph.node.iter().filter_map(|node| values.operator(node)).collect())
}

#[derive(Clone, Debug)]
struct Value<'a> {
    dims: Option<Vec<usize>>,
    /// Code of the element type; 0 where it is not known.
    element: i32,
    constant: Option<&'a TensorProto>,
}

struct Values<'a>(HashMap<&'a str, Value<'a>>);

impl<'a> Values<'a> {
    fn new(graph: &'a GraphProto, input_dims: &BTreeMap<String, Vec<usize>>, batch: usize) -> Self {
        let mut values = HashMap::new();
        for input in graph.input.iter().chain(&graph.value_info) {
            let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_ref().and_then(|t| t.value.as_ref())
            else {
                continue;
            };
            let size = |at: usize, dim: &Option<dimension::Value>| match dim {
                Some(dimension::Value::DimValue(size)) if *size > 0 => *size as usize,
                _ if at == 0 => batch,
                _ => 1,
            };
            let written = || {
                let shape = tensor.shape.as_ref()?;
                Some(shape.dim.iter().enumerate().map(|(at, dim)| size(at, &dim.value)).collect())
            };
            let dims = input_dims.get(&input.name).cloned().or_else(written);
            values.insert(input.name.as_str(), Value { dims, element: tensor.elem_type, constant: None });
        }
        for tensor in &graph.initializer {
            let dims = tensor.dims.iter().map(|&dim| dim as usize).collect();
            let value = Value { dims: Some(dims), element: tensor.data_type, constant: Some(tensor) };
            values.insert(tensor.name.as_str(), value);
        }
        Self(values)
    }

    /// The operator of `node`, whose results are known from now on; none for one that only names a constant.
    fn operator(&mut self, node: &'a NodeProto) -> Option<Operator> {
        let inputs: Vec<Option<Value>> = node.input.iter().map(|name| self.0.get(name.as_str()).cloned()).collect();
        if node.op_type == "Constant" && node.domain.is_empty() {
            let tensor = node.attribute.iter().find_map(|attribute| attribute.t.as_ref());
            let dims = tensor.map(|tensor| tensor.dims.iter().map(|&dim| dim as usize).collect());
            let element = tensor.map_or(0, |tensor| tensor.data_type);
            self.0.insert(node.output.first()?, Value { dims, element, constant: tensor });
            return None;
        }
        let dims: Vec<Option<&[usize]>> =
            inputs.iter().map(|value| value.as_ref().and_then(|value| value.dims.as_deref())).collect();
        let result = infer(node, &dims, &inputs);
        let element = element(node, &inputs);
        let key = key(node, &inputs, result.as_deref());
        let cost = cost(node, &dims, result.as_deref());
        for (at, output) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let dims = if at == 0 { result.clone() } else { None };
            self.0.entry(output).or_insert(Value { dims, element, constant: None });
        }
        Some(Operator { key, cost })
    }
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn ints(node: &NodeProto, name: &str) -> Option<Vec<usize>> {
    attribute(node, name).map(|found| found.ints.iter().map(|&value| value.max(0) as usize).collect())
}

fn int(node: &NodeProto, name: &str) -> i64 {
    attribute(node, name).map_or(0, |found| found.i)
}

fn infer(node: &NodeProto, dims: &[Option<&[usize]>], inputs: &[Option<Value>]) -> Option<Vec<usize>> {
    let of = |at: usize| dims.get(at).copied().flatten();
    let first = of(0);
    match node.op_type.as_str() {
        "Conv" | "FusedConv" | "ConvInteger" => slide(node, first?, of(1)?[0], &of(1)?[2..]),
        "QLinearConv" => slide(node, first?, of(3)?[0], &of(3)?[2..]),
        "MaxPool" | "AveragePool" | "LpPool" => slide(node, first?, *first?.get(1)?, &ints(node, "kernel_shape")?),
        "GlobalAveragePool" | "GlobalMaxPool" | "QLinearGlobalAveragePool" => {
            let first = first?;
            Some(first.iter().enumerate().map(|(at, &size)| if at < 2 { size } else { 1 }).collect())
        }
        "ReorderOutput" => {
            let mut dims = first?.to_vec();
            *dims.get_mut(1)? = int(node, "channels") as usize;
            Some(dims)
        }
        "Gemm" | "FusedGemm" => {
            let rows = first?[usize::from(int(node, "transA") != 0)];
            let columns = of(1)?[usize::from(int(node, "transB") == 0)];
            Some(vec![rows, columns])
        }
        "MatMul" | "FusedMatMul" => {
            let (left, right) = (first?, of(1)?);
            let batch = if left.len() >= right.len() { &left[..left.len() - 2] } else { &right[..right.len() - 2] };
            let side = |dims: &[usize], from_end: usize| Some(dims[dims.len().checked_sub(from_end)?]);
            let rows = side(left, 2 - usize::from(int(node, "transA") != 0))?;
            Some([batch, &[rows, side(right, 1 + usize::from(int(node, "transB") != 0))?]].concat())
        }
        "Flatten" => {
            let axis = attribute(node, "axis").map_or(1, |axis| axis.i) as usize;
            let (front, back) = first?.split_at(axis.min(first?.len()));
            Some(vec![front.iter().product(), back.iter().product()])
        }
        "Concat" => {
            let rank = first?.len() as i64;
            let axis = int(node, "axis");
            let axis = (if axis < 0 { axis + rank } else { axis }) as usize;
            let mut sum = first?.to_vec();
            sum[axis] = dims.iter().map(|dims| dims.and_then(|dims| dims.get(axis)).copied()).sum::<Option<usize>>()?;
            Some(sum)
        }
        "BatchNormalization" | "LayerNormalization" => first.map(<[_]>::to_vec),
        "Reshape" => reshape(first?, inputs.get(1)?.as_ref()?.constant?),
        "Slice" => slice(first?, &inputs.iter().map(|input| input.as_ref()?.constant).collect::<Vec<_>>()),
        "Pad" => {
            let pads = integers(inputs.get(1)?.as_ref()?.constant?);
            let first = first?;
            let added = |at: usize| Some(pads.get(at)? + pads.get(at + first.len())?);
            first.iter().enumerate().map(|(at, &size)| size.checked_add_signed(added(at)? as isize)).collect()
        }
        "Transpose" => {
            let order = ints(node, "perm").unwrap_or_else(|| (0..first.map_or(0, <[_]>::len)).rev().collect());
            order.iter().map(|&at| first?.get(at).copied()).collect()
        }
        _ if elementwise(&node.op_type) => broadcast(dims),
        _ => None,
    }
}

/// Operators whose result has the shape of their operands, broadcast.
fn elementwise(op_type: &str) -> bool {
    const NAMES: [&str; 37] = [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Sum",
        "Max",
        "Min",
        "Mean",
        "Pow",
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Elu",
        "Selu",
        "Clip",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Erf",
        "Gelu",
        "QuickGelu",
        "Exp",
        "Log",
        "Sqrt",
        "Abs",
        "Neg",
        "Identity",
        "Cast",
        "Softmax",
        "LogSoftmax",
        "BiasGelu",
        "ReorderInput",
        "QuantizeLinear",
        "DequantizeLinear",
        "Dropout",
        "Where",
    ];
    NAMES.contains(&op_type)
}

/// The shape of sliding windows of `kernel` over `input`, with `channels` results each.
fn slide(node: &NodeProto, input: &[usize], channels: usize, kernel: &[usize]) -> Option<Vec<usize>> {
    let strides = ints(node, "strides").unwrap_or_default();
    let dilations = ints(node, "dilations").unwrap_or_default();
    let pads = ints(node, "pads").unwrap_or_default();
    let same = attribute(node, "auto_pad").is_some_and(|pad| pad.s.starts_with(b"SAME"));
    let ceil = int(node, "ceil_mode") != 0;
    let mut dims = vec![*input.first()?, channels];
    for (at, &window) in kernel.iter().enumerate() {
        let of = |values: &[usize], default: usize| values.get(at).copied().unwrap_or(default);
        let (size, stride, reach) = (*input.get(at + 2)?, of(&strides, 1), of(&dilations, 1) * (window - 1) + 1);
        if same {
            dims.push(size.div_ceil(stride));
            continue;
        }
        let room = (size + of(&pads, 0) + pads.get(at + kernel.len()).copied().unwrap_or(0)).checked_sub(reach)?;
        dims.push(if ceil { room.div_ceil(stride) } else { room / stride } + 1);
    }
    Some(dims)
}

fn broadcast(dims: &[Option<&[usize]>]) -> Option<Vec<usize>> {
    let known: Vec<&[usize]> = dims.iter().filter_map(|dims| *dims).collect();
    let rank = known.iter().map(|dims| dims.len()).max()?;
    let mut result = vec![1; rank];
    for dims in known {
        for (at, &size) in dims.iter().rev().enumerate() {
            let place = &mut result[rank - 1 - at];
            *place = size.max(*place);
        }
    }
    Some(result)
}

fn integers(of: &TensorProto) -> Vec<i64> {
    match of.int64_data.is_empty() {
        false => of.int64_data.clone(),
        true => of.raw_data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("8 bytes"))).collect(),
    }
}

/// Steps of 1 along given axes.
fn slice(input: &[usize], operands: &[Option<&TensorProto>]) -> Option<Vec<usize>> {
    let &[_, Some(starts), Some(ends), Some(axes)] = operands else { return None };
    let mut dims = input.to_vec();
    for ((start, end), axis) in integers(starts).into_iter().zip(integers(ends)).zip(integers(axes)) {
        let size = dims.get_mut(usize::try_from(axis).ok()?)?;
        let place = |at: i64| (if at < 0 { at + *size as i64 } else { at }).clamp(0, *size as i64) as usize;
        *size = place(end).checked_sub(place(start))?;
    }
    Some(dims)
}

fn reshape(input: &[usize], shape: &TensorProto) -> Option<Vec<usize>> {
    let wanted = integers(shape);
    let total: usize = input.iter().product();
    let sized =
        |(at, &size): (usize, &i64)| if size == 0 { input.get(at).map(|&size| size as i64) } else { Some(size) };
    let sizes: Vec<i64> = wanted.iter().enumerate().map(sized).collect::<Option<_>>()?;
    let known: usize = sizes.iter().filter(|&&size| size > 0).map(|&size| size as usize).product();
    Some(sizes.iter().map(|&size| if size < 0 { total / known.max(1) } else { size as usize }).collect())
}

fn element(node: &NodeProto, inputs: &[Option<Value>]) -> i32 {
    let of = |at: usize| inputs.get(at).and_then(Option::as_ref).map_or(0, |value| value.element);
    match node.op_type.as_str() {
        "Cast" => int(node, "to") as i32,
        "QuantizeLinear" => of(2).max(DataType::Uint8 as i32),
        "DequantizeLinear" => of(1),
        "Shape" => DataType::Int64 as i32,
        _ => of(0),
    }
}

fn key(node: &NodeProto, inputs: &[Option<Value>], result: Option<&[usize]>) -> String {
    let domain = node.domain.rsplit('.').next().filter(|domain| !domain.is_empty());
    let domain = domain.map(|domain| format!("{domain}.")).unwrap_or_default();
    let mut attributes: Vec<String> = node.attribute.iter().filter_map(attribute_text).collect();
    attributes.sort();
    let attributes = if attributes.is_empty() { String::new() } else { format!("({})", attributes.join(", ")) };
    let shape = |dims: Option<&[usize]>| dims.map_or("?".to_owned(), dims_text);
    let operand = |value: &Option<Value>| match value {
        Some(value) if value.constant.is_some() => format!("[{}]", shape(value.dims.as_deref())),
        Some(value) => shape(value.dims.as_deref()),
        None => "-".to_owned(),
    };
    let operands: Vec<String> = inputs.iter().map(operand).collect();
    let code = inputs.first().and_then(Option::as_ref).map_or(0, |value| value.element);
    let element = DataType::try_from(code).map_or("?".to_owned(), |element| element.as_str_name().to_lowercase());
    format!("{domain}{}{attributes} {} -> {} {element}", node.op_type, operands.join(", "), shape(result))
}

/// `strides=2x2`; none for a default.
fn attribute_text(attribute: &AttributeProto) -> Option<String> {
    let name = attribute.name.as_str();
    let value = if !attribute.s.is_empty() {
        String::from_utf8_lossy(&attribute.s).into_owned()
    } else if !attribute.ints.is_empty() {
        attribute.ints.iter().map(i64::to_string).collect::<Vec<_>>().join("x")
    } else if !attribute.floats.is_empty() {
        attribute.floats.iter().map(f32::to_string).collect::<Vec<_>>().join("x")
    } else if attribute.f != 0.0 {
        attribute.f.to_string()
    } else {
        attribute.i.to_string()
    };
    let default = match name {
        "auto_pad" => value == "NOTSET",
        "dilations" | "strides" => value.split('x').all(|size| size == "1"),
        "pads" => value.split('x').all(|size| size == "0"),
        "group" => value == "1",
        "alpha" | "beta" => value == "1",
        "transA" | "ceil_mode" | "storage_order" | "channels_last" | "count_include_pad" => value == "0",
        _ => false,
    };
    (!default).then(|| format!("{name}={value}"))
}

fn cost(node: &NodeProto, dims: &[Option<&[usize]>], result: Option<&[usize]>) -> OpCost {
    let size = |dims: Option<&[usize]>| dims.map_or(0, |dims| dims.iter().product::<usize>()) as f64;
    let of = |at: usize| dims.get(at).copied().flatten();
    let elements = dims.iter().map(|dims| size(*dims)).sum::<f64>() + size(result);
    let weights = match node.op_type.as_str() {
        "Conv" | "FusedConv" | "ConvInteger" => of(1),
        "QLinearConv" => of(3),
        "Gemm" | "FusedGemm" | "MatMul" | "FusedMatMul" => {
            let inner_from_end = 1 + usize::from(int(node, "transA") != 0);
            let inner = of(0).and_then(|dims| dims.len().checked_sub(inner_from_end).map(|at| dims[at]));
            let inner = inner.unwrap_or(0) as f64;
            return OpCost { macs: size(result) * inner, grouped_macs: 0.0, elements };
        }
        _ => None,
    };
    let channels = weights.and_then(|dims| dims.first().copied()).unwrap_or(1).max(1) as f64;
    let macs = weights.map_or(0.0, |_| size(result) * size(weights) / channels);
    match attribute(node, "group").is_some_and(|group| group.i > 1) {
        true => OpCost { macs: 0.0, grouped_macs: macs, elements },
        false => OpCost { macs, grouped_macs: 0.0, elements },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Conv2d, Graph, GraphBuilder, Op, Shape, Window};
    use crate::network::{Init, Weights};
    use crate::onnx::{ExportOptions, Metadata, export};

    /// The operators of a graph's model, as if a runtime had left them as they are.
    fn operators(graph: &Graph) -> Vec<Operator> {
        let weights = Weights::random(graph, Init::default(), 0, &candle_core::Device::Cpu).unwrap();
        let model = export(graph, &weights, &Metadata::new(), ExportOptions::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        std::fs::write(&path, &model.bytes).unwrap();
        fused_operators(&path, &BTreeMap::new(), 1).unwrap()
    }

    /// All shapes of a transformer's operators are found, and its multiply-accumulates.
    #[test]
    fn transformers() {
        let space = crate::space::SearchSpace::open("vit").unwrap();
        let arch = format!("2/1,convolutions/6:{}", ["softmax,3,2"; 6].join("-"));
        let graph = space.lower(&space.parse_arch(&arch).unwrap(), crate::space::Scale::Full).unwrap();
        let found = operators(&graph);
        assert!(found.iter().all(|operator| !operator.key.contains('?')), "{found:?}");
        let macs: f64 = found.iter().map(|operator| operator.cost.macs + operator.cost.grouped_macs).sum();
        assert_eq!(macs as u64, graph.cost().macs);
    }

    #[test]
    fn shapes_are_inferred_and_defaults_left_out() {
        let mut graph = GraphBuilder::new(Shape::map(3, 9, 9));
        let conv = |out_channels, kernel, stride, groups| {
            Op::Conv2d(Conv2d { out_channels, window: Window::same(kernel, stride), groups, bias: false })
        };
        let a = graph.push("a", conv(6, 3, 2, 3), &[graph.input()]).unwrap();
        let b = graph.push("b", conv(6, 1, 1, 1), &[a]).unwrap();
        let sum = graph.push("sum", Op::Add, &[a, b]).unwrap();
        let join = graph.push("join", Op::Concat, &[sum, b]).unwrap();
        let pool = graph.push("pool", Op::GlobalAvgPool, &[join]).unwrap();
        let output = graph.push("linear", Op::Linear { out_features: 4, bias: true }, &[pool]).unwrap();
        let graph = graph.finish(output);
        let found = operators(&graph);
        let keys: Vec<&str> = found.iter().map(|operator| operator.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "Conv(group=3, kernel_shape=3x3, pads=1x1x1x1, strides=2x2) 1x3x9x9, [6x1x3x3] -> 1x6x5x5 float",
                "Conv(kernel_shape=1x1) 1x6x5x5, [6x6x1x1] -> 1x6x5x5 float",
                "Add 1x6x5x5, 1x6x5x5 -> 1x6x5x5 float",
                "Concat(axis=1) 1x6x5x5, 1x6x5x5 -> 1x12x5x5 float",
                "GlobalAveragePool 1x12x5x5 -> 1x12x1x1 float",
                "Flatten(axis=1) 1x12x1x1 -> 1x12 float",
                "Gemm(transB=1) 1x12, [4x12], [4] -> 1x4 float",
            ]
        );
        let macs: f64 = found.iter().map(|operator| operator.cost.macs + operator.cost.grouped_macs).sum();
        assert_eq!(macs as u64, graph.cost().macs);
    }
}
