//! ONNX models that no graph of ours can say, node by node.

use prost::Message;
use std::path::{Path, PathBuf};
use tract_onnx::pb::attribute_proto::AttributeType;
pub use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

/// A model of operators in the order of running.
#[derive(Default)]
pub struct Model(GraphProto);

impl Model {
    /// An operator of one output, which the node has the name of.
    pub fn op(mut self, op_type: &str, inputs: &[&str], output: &str) -> Self {
        self.0.node.push(NodeProto {
            op_type: op_type.into(),
            name: output.into(),
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.into()],
            ..Default::default()
        });
        self
    }

    /// An integer attribute of the last operator.
    pub fn int(mut self, name: &str, value: i64) -> Self {
        let attribute =
            AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value, ..Default::default() };
        self.0.node.last_mut().unwrap().attribute.push(attribute);
        self
    }

    /// A constant, as little endian bytes.
    pub fn constant(mut self, name: &str, data_type: DataType, dims: &[i64], raw_data: Vec<u8>) -> Self {
        let (name, dims) = (name.into(), dims.to_vec());
        self.0.initializer.push(TensorProto {
            name,
            dims,
            data_type: data_type as i32,
            raw_data,
            ..Default::default()
        });
        self
    }

    pub fn input(mut self, name: &str, data_type: DataType, dims: &[i64]) -> Self {
        self.0.input.push(value(name, data_type, dims));
        self
    }

    pub fn output(mut self, name: &str, data_type: DataType, dims: &[i64]) -> Self {
        self.0.output.push(value(name, data_type, dims));
        self
    }

    /// Writes it to `folder/NAME.onnx`.
    pub fn save(self, folder: &Path, name: &str) -> PathBuf {
        let graph = GraphProto { name: name.into(), ..self.0 };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(graph),
            ..Default::default()
        };
        let path = folder.join(format!("{name}.onnx"));
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        path
    }
}

fn value(name: &str, data_type: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = |&dim: &i64| Dimension { value: Some(dimension::Value::DimValue(dim)), ..Default::default() };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: data_type as i32, shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value, ..Default::default() }), ..Default::default() }
}
