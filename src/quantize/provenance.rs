//! What a quantised copy says of itself.

use super::QuantizeError;
use crate::onnx::OnnxModel;
use crate::onnx::proto::entry;
use prost::Message;
use std::path::Path;
use tract_onnx::pb::ModelProto;

/// The model with these entries of its metadata set, or removed where there is no value.
///
/// # Errors
/// If it is no model.
pub fn with_metadata(model: &OnnxModel, entries: &[(&str, Option<String>)]) -> Result<OnnxModel, QuantizeError> {
    let mut proto = ModelProto::decode(model.bytes.as_slice()).map_err(|error| QuantizeError::Unfit {
        path: Path::new("the quantised model").to_owned(),
        reason: error.to_string(),
    })?;
    for (key, value) in entries {
        proto.metadata_props.retain(|entry| entry.key != *key);
        proto.metadata_props.extend(value.as_ref().map(|value| entry(key, value)));
    }
    Ok(OnnxModel { bytes: proto.encode_to_vec(), external_data: model.external_data.clone() })
}
