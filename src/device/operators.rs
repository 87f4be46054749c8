//! Which operators an ONNX file has.

use super::DeviceError;
use prost::Message;
use std::path::Path;
use tract_onnx::pb::{GraphProto, ModelProto};

/// The first operator of the model, in its own graph or in a nested one, that is in `unsupported`.
pub(super) fn find(model: &Path, unsupported: &[String]) -> Result<Option<String>, DeviceError> {
    if unsupported.is_empty() {
        return Ok(None);
    }
    let unreadable = |reason: String| DeviceError::Unreadable { model: model.to_owned(), reason };
    let bytes = std::fs::read(model).map_err(|error| unreadable(error.to_string()))?;
    let proto = ModelProto::decode(bytes.as_slice())
        .map_err(|error| unreadable(format!("no ONNX model, or a truncated one ({error})")))?;
    Ok(proto.graph.as_ref().and_then(|graph| first(graph, unsupported)))
}

fn first(graph: &GraphProto, unsupported: &[String]) -> Option<String> {
    graph.node.iter().find_map(|node| {
        if unsupported.contains(&node.op_type) {
            return Some(node.op_type.clone());
        }
        let mut nested = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
        nested.find_map(|graph| first(graph, unsupported))
    })
}
