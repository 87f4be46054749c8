//! Small constructors of ONNX protobuf messages.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, NodeProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

/// An integer attribute.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value, ..Default::default() }
}

/// A float attribute.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Float as i32, f: value, ..Default::default() }
}

/// The attribute that says what a `Cast` makes.
pub(crate) fn cast_to(data_type: DataType) -> AttributeProto {
    int("to", i64::from(data_type as i32))
}

/// An attribute of several integers.
pub(crate) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|&value| value as i64).collect();
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints, ..Default::default() }
}

/// An attribute that is a tensor.
pub(super) fn tensor_attribute(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Tensor as i32, t: Some(value), ..Default::default() }
}

/// A node of one output; it has its output's name.
pub(crate) fn node(op_type: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op_type.into(),
        name: output.into(),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        attribute: attributes,
        ..Default::default()
    }
}

/// A tensor of floats, stored inside.
pub(crate) fn floats(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    tensor(name, dims, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// A tensor of 16-bit floats, stored inside.
pub(crate) fn halves(name: &str, dims: &[usize], values: &[half::f16]) -> TensorProto {
    tensor(name, dims, DataType::Float16, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// A vector of 64-bit integers, stored inside.
pub(super) fn integers(name: &str, values: &[i64]) -> TensorProto {
    tensor(name, &[values.len()], DataType::Int64, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// A tensor of little-endian bytes, stored inside.
pub(crate) fn tensor(name: &str, dims: &[usize], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    let dims = dims.iter().map(|&dim| dim as i64).collect();
    TensorProto { name: name.into(), dims, data_type: data_type as i32, raw_data, ..Default::default() }
}

/// Turns `tensor` into a reference to its data, which stands in the file `location` at `offset`.
pub(super) fn move_outside(tensor: &mut TensorProto, location: &str, offset: usize) -> Vec<u8> {
    let data = std::mem::take(&mut tensor.raw_data);
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![
        entry("location", location),
        entry("offset", &offset.to_string()),
        entry("length", &data.len().to_string()),
    ];
    data
}

/// A key and its value.
pub(crate) fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.into(), value: value.into() }
}

/// A value of such elements. A dimension is a size or a symbol.
pub(super) fn value_info(name: &str, element: DataType, dims: Vec<dimension::Value>) -> ValueInfoProto {
    let dim = dims.into_iter().map(|value| Dimension { value: Some(value), ..Default::default() }).collect();
    let tensor = type_proto::Tensor { elem_type: element as i32, shape: Some(TensorShapeProto { dim }) };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value, ..Default::default() }), ..Default::default() }
}
