//! A model of 32-bit floats, made ready: constants are initialisers, weights stand inside, normalisations are folded.

use super::plan::{Plan, is_passed_through, is_quantizable, weight_at};
use super::{QuantizeError, fold};
use crate::onnx::{self, Dim, ElementType, OnnxModel, ValueInfo};
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

/// A model of floats that can be quantised.
#[derive(Clone, Debug)]
pub struct FloatModel {
    pub(super) path: PathBuf,
    pub(super) proto: ModelProto,
    input: ValueInfo,
    sha256: String,
}

/// An operator with weights that can be quantised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Name of its node.
    pub name: String,
    /// Its operator: `Conv`, `Gemm` or `MatMul`.
    pub operator: String,
    /// Its parameters, with the bias.
    pub parameters: usize,
}

/// The first opset whose quantisation has a scale for each channel.
const OLDEST_OPSET: i64 = 13;

impl FloatModel {
    /// Reads the model at `path`.
    ///
    /// # Errors
    /// If it is no ONNX model, is quantised already, has more than one input or none of pixels or floats, is of an opset
    /// before 13, or no layer of it can be quantised.
    pub fn read(path: &Path) -> Result<Self, QuantizeError> {
        let bytes = std::fs::read(path).map_err(|source| onnx::OnnxError::File { path: path.to_owned(), source })?;
        Self::new(onnx::decode(path)?, &bytes, path)
    }

    /// Takes a model from memory; `path` is where it is said to come from.
    ///
    /// # Errors
    /// As [`FloatModel::read`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, QuantizeError> {
        let malformed =
            |error: prost::DecodeError| onnx::OnnxError::Malformed { path: path.to_owned(), reason: error.to_string() };
        Self::new(ModelProto::decode(bytes).map_err(malformed)?, bytes, path)
    }

    fn new(mut proto: ModelProto, bytes: &[u8], path: &Path) -> Result<Self, QuantizeError> {
        let unfit = |reason: String| QuantizeError::Unfit { path: path.to_owned(), reason };
        let info = onnx::inspect_proto(&proto, path)?;
        let opset = info.opsets.get("").copied().unwrap_or(0);
        if opset < OLDEST_OPSET {
            return Err(unfit(format!("it is of opset {opset}, expected {OLDEST_OPSET} or later")));
        }
        let quantized = |name: &&String| name.contains("QuantizeLinear") || name.starts_with("QLinear");
        if let Some(operator) = info.operators.keys().find(quantized) {
            return Err(unfit(format!("it is quantised already (it has `{operator}`), expected a model of floats")));
        }
        let [input] = info.inputs.as_slice() else {
            let names: Vec<&str> = info.inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(unfit(format!("it has the inputs {}, expected one", names.join(", "))));
        };
        if !matches!(input.element, ElementType::Float32 | ElementType::UInt8) {
            return Err(unfit(format!("its input is {}, expected float32 or uint8", input.element)));
        }
        let graph = proto.graph.as_mut().expect("the inspection has found a graph");
        name_nodes(graph);
        constants_to_initializers(graph);
        load_outside(graph, path)?;
        fold::fold_batch_norms(graph).map_err(unfit)?;
        let sha256 = crate::genotype::hex(&Sha256::digest(bytes));
        let model = Self { path: path.to_owned(), input: input.clone(), proto, sha256 };
        if model.layers().is_empty() {
            return Err(unfit(
                "it has no Conv, Gemm or MatMul with 32-bit weights: there is nothing to quantise".into(),
            ));
        }
        Ok(model)
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file, in hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What must be fed.
    pub fn input(&self) -> &ValueInfo {
        &self.input
    }

    /// Samples of a run, where the model fixes them.
    pub fn batch(&self) -> Option<usize> {
        match self.input.dims.as_ref()?.first()? {
            Dim::Fixed(size) => Some(*size),
            Dim::Open(_) => None,
        }
    }

    /// An entry of its metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.proto.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    }

    /// The layers with weights that can be quantised, in the order of running.
    pub fn layers(&self) -> Vec<Layer> {
        let graph = self.graph();
        let initializers = initializers(graph);
        let size = |name: &String| {
            let dims = initializers.get(name.as_str()).map(|tensor| tensor.dims.iter().product::<i64>());
            dims.unwrap_or(0) as usize
        };
        let layer = |node: &NodeProto| {
            let parameters = node.input.iter().skip(1).map(size).sum();
            Layer { name: node.name.clone(), operator: node.op_type.clone(), parameters }
        };
        graph.node.iter().filter(|node| weight_at(node, &initializers).is_some()).map(layer).collect()
    }

    /// Names of the operators without weights that run on integers where what they read comes from such.
    pub fn other_operators(&self) -> Vec<String> {
        let others = self.graph().node.iter().filter(|node| is_quantizable(node) || is_passed_through(node));
        others.map(|node| node.name.clone()).collect()
    }

    /// The model of floats, with its normalisations folded: the same function as that which was read.
    pub fn folded(&self) -> OnnxModel {
        OnnxModel { bytes: self.proto.encode_to_vec(), external_data: None }
    }

    /// Values whose ranges quantisation needs, whatever is chosen for the layers.
    pub fn observed(&self) -> Vec<String> {
        Plan::everything(self.graph()).values()
    }

    pub(super) fn graph(&self) -> &GraphProto {
        self.proto.graph.as_ref().expect("it was there when the model was read")
    }
}

/// Initialisers by name.
pub(super) fn initializers(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
    graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect()
}

/// The numbers of a tensor of 32-bit floats; none of another type, or of one that stands outside.
pub(super) fn floats(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type != DataType::Float as i32 || tensor.data_location == Some(DataLocation::External as i32) {
        return None;
    }
    if tensor.raw_data.is_empty() {
        return Some(tensor.float_data.clone());
    }
    let (words, rest) = tensor.raw_data.as_chunks::<4>();
    rest.is_empty().then(|| words.iter().copied().map(f32::from_le_bytes).collect())
}

/// Gives each node a name of its own: that of its first output where it has none, or another node has it.
fn name_nodes(graph: &mut GraphProto) {
    let mut taken: HashSet<String> = HashSet::new();
    for node in &mut graph.node {
        if node.name.is_empty() || taken.contains(&node.name) {
            node.name = node.output.first().cloned().unwrap_or_default();
        }
        taken.insert(node.name.clone());
    }
}

/// Turns constants into initialisers, and drops identities of these.
fn constants_to_initializers(graph: &mut GraphProto) {
    let mut made: BTreeMap<String, TensorProto> = BTreeMap::new();
    graph.node.retain_mut(|node| {
        let is_value = |attribute: &&mut tract_onnx::pb::AttributeProto| attribute.name == "value";
        let value = node.attribute.iter_mut().find(is_value).and_then(|attribute| attribute.t.take());
        match (node.op_type.as_str(), value, node.output.first()) {
            ("Constant", Some(tensor), Some(output)) => {
                made.insert(output.clone(), TensorProto { name: output.clone(), ..tensor });
                false
            }
            (_, Some(tensor), _) => {
                // Taken from another operator: back with it.
                if let Some(attribute) = node.attribute.iter_mut().find(is_value) {
                    attribute.t = Some(tensor);
                }
                true
            }
            _ => true,
        }
    });
    graph.initializer.extend(made.into_values());
}

/// Reads tensors that stand in files beside the model.
fn load_outside(graph: &mut GraphProto, path: &Path) -> Result<(), QuantizeError> {
    let unfit = |reason: String| QuantizeError::Unfit { path: path.to_owned(), reason };
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    for tensor in &mut graph.initializer {
        if tensor.data_location != Some(DataLocation::External as i32) {
            continue;
        }
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        let number = |key: &str| entry(key).and_then(|value| value.parse::<usize>().ok());
        let location = entry("location").cloned().unwrap_or_default();
        let bytes = match files.entry(location.clone()) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let file = path.with_file_name(&location);
                let bytes = std::fs::read(&file);
                place.insert(bytes.map_err(|source| onnx::OnnxError::File { path: file, source })?)
            }
        };
        let begin = number("offset").unwrap_or(0);
        let end = number("length").map_or(bytes.len(), |length| begin.saturating_add(length));
        let part = bytes.get(begin..end).ok_or_else(|| {
            unfit(format!(
                "tensor `{}` is said to end at {end} of {location}, which has {} bytes",
                tensor.name,
                bytes.len()
            ))
        })?;
        tensor.raw_data = part.to_vec();
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    Ok(())
}
