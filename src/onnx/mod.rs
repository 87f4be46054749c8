//! From a graph and its weights to an ONNX model, and back to its metadata.
//!
//! | operator of the graph | ONNX (opset 17, IR 8) |
//! |---|---|
//! | `Conv2d` | `Conv` |
//! | `BatchNorm` | `BatchNormalization`, inference form |
//! | `Activation` | `Relu`, `Clip` (ReLU6), `HardSwish`, `Sigmoid`, `HardSigmoid` |
//! | `Add`, `Mul`, `Concat` | `Add` (chained beyond two operands), `Mul`, `Concat` along axis 1 |
//! | `MaxPool`, `AvgPool` | `MaxPool`, `AveragePool` with `count_include_pad = 0` |
//! | `GlobalAvgPool` | `GlobalAveragePool`, `Flatten` |
//! | `Linear` | `Gemm` with `transB = 1` |
//! | `Softmax` | `Softmax` along axis 1 |
//! | `Pad` | `pads` of the `Conv` that alone reads it; else `Slice` for what is cut off, `Pad` for zeros |
//! | `Dropout`, `Identity` | nothing: users read the operand (`Identity` where it is the output) |
//! | `Zero` | `ConstantOfShape`, never a multiplication |
//!
//! The graph is exported as it is: export the [live](crate::graph::Graph::live) one where dead edges are to
//! cost nothing. The model's input is `input`, its output `output`, values and nodes have the names of the
//! graph's nodes, initialisers those of the parameters. The same input gives the same bytes. In half precision, weights and
//! activations are 16-bit floats, with a `Cast` behind the input and one before the output. A model of
//! [`pixels`](ExportOptions::pixels) takes bytes and normalises them by `Cast`, `Mul`, `Add`.

mod export;
mod inspect;
mod metadata;
mod names;
mod precision;
pub(crate) mod proto;

pub use export::{Batch, ExportOptions, IR_VERSION, OPSET, Pixels, export, value_name};
pub use inspect::{Dim, ElementType, ModelInfo, OperatorNode, ValueInfo, inspect};
pub(crate) use inspect::{decode, decode_bytes, external_data, inspect_proto, operator_nodes};
pub use metadata::{Metadata, read_metadata};
pub(crate) use names::Names;
pub use precision::Precision;

use crate::files;
use crate::graph::GraphError;
use crate::network::WeightsError;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Name of the model's input.
pub const INPUT: &str = "input";
/// Name of the model's output.
pub const OUTPUT: &str = "output";

/// Why a model can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no ONNX model.
    #[error("{path}: not a valid ONNX model: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An operator that opset 17 can't say.
    #[error("node `{node}`: {reason}")]
    Unsupported {
        /// Name of the node.
        node: String,
        /// Which part of it.
        reason: String,
    },
    /// Metadata that can't be kept in a model, or not be read from one.
    #[error("metadata `{key}`: {reason}")]
    Metadata {
        /// The key.
        key: String,
        /// What was found and expected.
        reason: String,
    },
    /// A parameter is missing.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The graph is not well formed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A model with external data was to be saved under another name than it was exported for.
    #[error("{path}: the model refers to `{expected}.data`: save it as `{expected}`, or export it for this name", path = path.display())]
    Name {
        /// Where it was to be saved.
        path: PathBuf,
        /// The file name in the export options.
        expected: String,
    },
}

impl OnnxError {
    /// Whether it is the user's file that is at fault.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Malformed { .. } | Self::Metadata { .. } | Self::Name { .. })
    }
}

/// An ONNX model in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxModel {
    /// The model file.
    pub bytes: Vec<u8>,
    /// The file of weights that stands beside a model that is too large for one.
    pub external_data: Option<ExternalData>,
}

/// Weights outside of the model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalData {
    /// File name, `NAME.onnx.data`, relative to the model's folder.
    pub file_name: String,
    /// The tensors, little endian, at the offsets that the model names.
    pub bytes: Vec<u8>,
}

impl OnnxModel {
    /// SHA-256 of the model file, in hexadecimal digits. External data is covered by the digest of the
    /// weights in the metadata.
    pub fn sha256(&self) -> String {
        crate::genotype::hex(&Sha256::digest(&self.bytes))
    }

    /// Writes the model to `path`, its external data beside it: under a temporary name first, so that a
    /// file of this name is always whole.
    ///
    /// # Errors
    /// If a file can't be written, or the model has external data and `path` another file name than
    /// [`ExportOptions::file_name`].
    pub fn save(&self, path: &Path) -> Result<(), OnnxError> {
        if let Some(data) = &self.external_data {
            let expected = data.file_name.trim_end_matches(".data");
            if path.file_name().is_none_or(|name| name != expected) {
                return Err(OnnxError::Name { path: path.to_owned(), expected: expected.to_owned() });
            }
            write_whole(&path.with_file_name(&data.file_name), &data.bytes)?;
        }
        write_whole(path, &self.bytes)
    }
}

/// Writes a file as a whole.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), OnnxError> {
    files::write_whole(path, bytes).map_err(|source| OnnxError::File { path: path.to_owned(), source })
}
