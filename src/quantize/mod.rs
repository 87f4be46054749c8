//! From 32-bit floats to 8-bit integers, after training (static quantisation): a model in, a model out.
//!
//! ```text
//! FloatModel::read ─► Calibration (runs samples) ─► Ranges ─► FloatModel::quantize(Scheme) ─► OnnxModel
//! ```
//!
//! The model that comes out says in the file what is rounded where: `QuantizeLinear` and `DequantizeLinear` stand around the
//! operators that are to run on integers (QDQ). Any runtime can compute it in floats, which is *fake quantisation*; one
//! with integer kernels fuses each operator with what stands around it.
//!
//! - weights: 8 bits, one scale for each output channel, symmetric: q = round(w / s), s = max |w| / 127; or, where a layer
//!   is said to be asymmetric, one scale and zero point for the whole tensor;
//! - activations: 8 bits, one scale and zero point for a tensor, from its range on calibration data;
//! - biases: 32 bits, of scale s_input · s_weight (Jacob et al. 2018, Section 2.4).
//!
//! Batch normalisations are folded into the layers before them first.

mod evaluate;
mod fold;
mod half;
mod model;
mod observe;
mod plan;
mod provenance;
mod ranges;
mod rewrite;
mod sensitivity;
mod weights;

pub use crate::space::Precision;
pub use evaluate::{Accuracy, Feed, Runner};
pub use model::{FloatModel, Layer};
pub use provenance::with_metadata;
pub use ranges::{Range, RangeMethod, Ranges};
pub use sensitivity::Sensitivity;

use crate::data::DataError;
use crate::onnx::OnnxError;
use crate::runtime::RuntimeError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is quantised, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scheme {
    /// How activations are rounded.
    pub activations: Activations,
    /// What each layer's weights become, by the layer's name; [`Scheme::others`] for all others. An operator without
    /// weights runs on integers where all that it reads comes from operators that do, unless it is said to stay.
    pub layers: BTreeMap<String, Precision>,
    /// What the weights of layers become that are not named.
    pub others: Precision,
    /// Weights use 7 bits: for processors whose 8-bit products overflow 16 bits (x86 with AVX2 and without VNNI).
    pub reduce_range: bool,
}

/// How activations are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activations {
    /// Unsigned, between both ends of the range: what CPUs multiply fastest, and the finest for what is never negative.
    #[default]
    Asymmetric,
    /// Signed, around zero: what TensorRT and several accelerators ask for.
    Symmetric,
}

/// Why a model can't be quantised.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// The model can't be read or written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A model that can't be changed.
    #[error("{path}: {reason}", path = path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        reason: String,
    },
    /// A layer that the model has not.
    #[error("no layer `{name}` that can be quantised{hint}: the model has {known}")]
    UnknownLayer {
        /// What was asked for.
        name: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
        /// Some that it has.
        known: String,
    },
    /// Samples that are not what the model takes.
    #[error("{data}: {reason}", data = data.display())]
    Misfit {
        /// The data set.
        data: PathBuf,
        /// What was found, and what was expected.
        reason: String,
    },
    /// Data that are refused.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model can't be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A value without a number.
    #[error("value `{value}`: {reason}")]
    Range {
        /// Name of the value.
        value: String,
        /// What was found, and what was expected.
        reason: String,
    },
    /// A temporary file can't be written.
    #[error("a temporary file: {0}")]
    Temporary(std::io::Error),
}

impl QuantizeError {
    /// Whether the input is at fault, not what was done with it.
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Runtime(RuntimeError::Run(_)) | Self::Temporary(_))
    }
}

impl Scheme {
    /// What the layer of this name becomes.
    pub fn of(&self, layer: &str) -> Precision {
        self.layers.get(layer).copied().unwrap_or(self.others)
    }
}
