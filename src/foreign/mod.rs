//! Networks that Tegu did not make: an ONNX model of convolutions, read into a [`Graph`] and its [`Weights`].
//!
//! What exporters write around the same network is undone: shapes that are computed from constants, biases as sums, hard-swish
//! in pieces, averages over all pixels by several operators, padding that counts. A fully connected layer that reads a map is a
//! convolution as large as that; a scale or shift by channel is a batch normalisation. What a graph has no operator for is named,
//! all of it in one error.
//!
//! Operators: <https://onnx.ai/onnx/operators/>, opsets 7 to 17.

mod constant;
mod node;
mod operators;
mod read;

use crate::data::{NORMALISATION_KEY, Normalisation};
use crate::graph::{Graph, GraphError};
use crate::network::{Weights, WeightsError};
use prost::Message;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use tract_onnx::pb::ModelProto;

/// A network with the weights that it came with.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// Its operators.
    pub graph: Graph,
    /// Its weights, on the CPU.
    pub weights: Weights,
    /// SHA-256 of the file.
    pub sha256: String,
    /// How its inputs are normalised, where the file says so: those that Tegu has trained do.
    pub normalisation: Option<Normalisation>,
}

/// An operator that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its type, such as `LSTM`.
    pub operator: String,
    /// Name of its node, of its first output where it has none.
    pub node: String,
    /// What is in the way.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: {}", self.operator, self.node, self.reason)
    }
}

/// Why a model can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// The file can't be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no ONNX model, or not one of one map in and one value out.
    #[error("{path}: {reason}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        reason: String,
    },
    /// Operators that a graph has not.
    #[error("{path}: {count} operators can't be read: {all}", path = path.display(), count = problems.len(), all = joined(problems))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Each of them.
        problems: Vec<Problem>,
    },
    /// The output does not depend on the input.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The weights don't fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

fn joined(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// Reads the model at `path` for inputs of `[channels, height, width]`, which may be left out where the file says them.
///
/// # Errors
/// If it is no ONNX model, its input's shape is open and not given, or it has operators that a graph has not.
pub fn read(path: &Path, input: Option<[usize; 3]>) -> Result<Pretrained, ForeignError> {
    let bytes = std::fs::read(path).map_err(|source| ForeignError::File { path: path.to_owned(), source })?;
    let malformed = |reason: String| ForeignError::Malformed { path: path.to_owned(), reason };
    let model = ModelProto::decode(bytes.as_slice()).map_err(|error| malformed(format!("no ONNX model: {error}")))?;
    let proto = model.graph.as_ref().ok_or_else(|| malformed("it has no graph".into()))?;
    let opset = model.opset_import.iter().find(|set| set.domain.is_empty()).map_or(1, |set| set.version);
    let (graph, weights) = read::network(proto, opset, input).map_err(|refused| match refused {
        read::Refused::Whole(reason) => malformed(reason),
        read::Refused::Operators(problems) => ForeignError::Unsupported { path: path.to_owned(), problems },
    })?;
    let graph = graph.live()?;
    let weights = Weights::from_tensors(&graph, weights)?;
    let said = model.metadata_props.iter().find(|entry| entry.key == NORMALISATION_KEY);
    let normalisation = said.map(|said| {
        serde_json::from_str(&said.value).map_err(|error| malformed(format!("metadata {NORMALISATION_KEY}: {error}")))
    });
    let sha256 = crate::genotype::hex(&Sha256::digest(&bytes));
    Ok(Pretrained { graph, weights, sha256, normalisation: normalisation.transpose()? })
}
