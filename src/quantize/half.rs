//! A model of 32-bit floats as one of 16-bit floats, whose input and output stay what they were.

use super::model::floats;
use super::{FloatModel, QuantizeError};
use crate::onnx::OnnxModel;
use crate::onnx::proto::{cast_to, halves, node as operator};
use half::f16;
use prost::Message;
use std::collections::{HashMap, HashSet};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// Operators that read 32-bit floats at this operand whatever the type of the others is.
const FULL_PRECISION: [(&str, usize); 2] = [("Resize", 1), ("Resize", 2)];

impl FloatModel {
    /// The model with weights and activations of 16-bit floats, and a `Cast` at each end.
    ///
    /// # Errors
    /// If a weight is beyond what 16 bits hold, or the model has control flow.
    pub fn to_half(&self) -> Result<OnnxModel, QuantizeError> {
        let mut proto = self.proto.clone();
        let graph = proto.graph.as_mut().expect("it was there when the model was read");
        let has_body = |node: &&NodeProto| {
            node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty())
        };
        if let Some(node) = graph.node.iter().find(has_body) {
            let reason = format!("node `{}` is control flow ({}), expected a model without", node.name, node.op_type);
            return Err(QuantizeError::Unfit { path: self.path.clone(), reason });
        }
        let stay = full_precision(graph);
        for tensor in &mut graph.initializer {
            if !stay.contains(&tensor.name)
                && let Some(half) = halved(tensor)?
            {
                *tensor = half;
            }
        }
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            if let Some(tensor) = &mut attribute.t
                && let Some(half) = halved(tensor)?
            {
                *tensor = half;
            }
        }
        let (float, half) = (i64::from(DataType::Float as i32), i64::from(DataType::Float16 as i32));
        for node in graph.node.iter_mut().filter(|node| node.op_type == "Cast") {
            node.attribute.iter_mut().filter(|to| to.name == "to" && to.i == float).for_each(|to| to.i = half);
        }
        cast_ends(graph);
        graph.value_info.clear();
        Ok(OnnxModel { bytes: proto.encode_to_vec(), external_data: None })
    }
}

/// Initialisers that operators read as 32-bit floats.
fn full_precision(graph: &GraphProto) -> HashSet<String> {
    let of_node = |node: &NodeProto| {
        let operands = FULL_PRECISION.iter().filter(|(operator, _)| *operator == node.op_type);
        operands.filter_map(|&(_, at)| node.input.get(at).cloned()).collect::<Vec<_>>()
    };
    graph.node.iter().flat_map(of_node).collect()
}

/// A tensor of 32-bit floats as one of 16-bit floats; none of another type.
fn halved(tensor: &TensorProto) -> Result<Option<TensorProto>, QuantizeError> {
    let Some(values) = floats(tensor) else { return Ok(None) };
    let half: Vec<f16> = values.iter().copied().map(f16::from_f32).collect();
    if let Some((value, _)) = values.iter().zip(&half).find(|(value, half)| value.is_finite() && !half.is_finite()) {
        let reason = format!("it holds {value}, 16-bit floats end at {}", f16::MAX);
        return Err(QuantizeError::Range { value: tensor.name.clone(), reason });
    }
    let dims: Vec<usize> = tensor.dims.iter().map(|&dim| dim as usize).collect();
    Ok(Some(halves(&tensor.name, &dims, &half)))
}

/// Puts casts behind the inputs and before the outputs that are 32-bit floats.
fn cast_ends(graph: &mut GraphProto) {
    let is_float = |value: &tract_onnx::pb::ValueInfoProto| {
        let tract_onnx::pb::type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
        (tensor.elem_type == DataType::Float as i32).then(|| value.name.clone())
    };
    let constants: HashSet<&String> = graph.initializer.iter().map(|tensor| &tensor.name).collect();
    let inputs: Vec<String> =
        graph.input.iter().filter_map(is_float).filter(|name| !constants.contains(name)).collect();
    let outputs: Vec<String> = graph.output.iter().filter_map(is_float).collect();
    let inner: HashMap<String, String> = inputs
        .iter()
        .map(|name| (name.clone(), format!("{name}.half")))
        .chain(outputs.iter().map(|name| (name.clone(), format!("{name}.half_result"))))
        .collect();
    for node in &mut graph.node {
        for name in node.input.iter_mut().chain(&mut node.output) {
            if let Some(inner) = inner.get(name) {
                name.clone_from(inner);
            }
        }
    }
    // The names of values are often those of nodes.
    let cast = |name: &String, from: &str, to: &str, data_type: DataType| NodeProto {
        name: format!("{name}.cast"),
        ..operator("Cast", &[from], to, vec![cast_to(data_type)])
    };
    let half = |name: &String| cast(name, name, &inner[name], DataType::Float16);
    let mut nodes: Vec<NodeProto> = inputs.iter().map(half).collect();
    nodes.append(&mut graph.node);
    nodes.extend(outputs.iter().map(|name| cast(name, &inner[name], name, DataType::Float)));
    graph.node = nodes;
}
