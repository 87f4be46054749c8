//! Training a chosen architecture: from its live graph and data to weights, and to the ONNX model that is deployed.
//!
//! ```text
//! options ─► trainer ─► Trained ─► evaluation (accuracy, calibration, temperature) ─► model
//!              │ ▲
//!              ▼ │ every epoch
//!           checkpoint
//! ```
//!
//! All randomness comes from the seed: one curve, bit for bit, on any number of threads, however often training was killed.

mod auxiliary;
mod average;
mod checkpoint;
mod discriminator;
mod evaluation;
mod loaders;
mod logits;
mod loss;
mod model;
mod optimizer;
mod options;
mod record;
mod regularisation;
mod schedule;
mod seeds;
mod teachers;
#[cfg(test)]
mod tests;
mod trainer;

pub use average::{average, with_statistics};
pub use checkpoint::{CHECKPOINT, Epoch};
pub use discriminator::Discriminator;
pub use evaluation::{BINS, Metrics, Predictions, predict};
pub use loaders::Loaders;
pub use logits::{last_layer, logits, scaled, with_softmax};
pub use loss::{Loss, Taught, cross_entropy, divergence, smooth};
pub use model::{Evaluated, ModelOptions, evaluate, export};
pub use optimizer::{Optimizer, clip};
pub use options::{
    AdamW, Distillation, Kd, Method, NetworkTeacher, OptimizerOptions, Sgd, SoftEnsemble, TeacherOptions, TrainOptions,
};
pub use record::{DataFacts, RECORD, TrainingRecord, records};
pub use regularisation::{Drop, Regularisation};
pub use schedule::{CosinePower, Schedule};
pub use teachers::{Lesson, Teachers};
pub use trainer::{Event, Observer, Outcome, Trained, Training, Until};

use crate::data::DataError;
use crate::graph::GraphError;
use crate::network::WeightsError;
use crate::onnx::OnnxError;
use std::path::PathBuf;

/// Why a training can't go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An option is out of its range.
    #[error("{field}: {value}, expected {expected}")]
    Option {
        /// Its name.
        field: &'static str,
        /// What was found.
        value: f64,
        /// What was expected.
        expected: &'static str,
    },
    /// The data can't be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data are not the network's.
    #[error("the network takes {input:?} and tells {classes} classes apart, the data have {shape:?} and {found}")]
    Misfit {
        /// Shape of the network's input.
        input: Vec<usize>,
        /// The network's classes.
        classes: usize,
        /// Shape of a sample.
        shape: [usize; 3],
        /// The data's classes.
        found: usize,
    },
    /// The loss is no number any more.
    #[error(
        "epoch {epoch}, step {step}: {what} is {value}: {kept}; a smaller `lr` than {lr}, a longer warm-up or `clip_norm` may help"
    )]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
        /// The step within it, from 1.
        step: usize,
        /// `loss`, `the gradients' norm` or `validation loss`.
        what: &'static str,
        /// What it is.
        value: f64,
        /// The largest learning rate of the training.
        lr: f64,
        /// What checkpoint there is.
        kept: String,
    },
    /// A teacher can't be used.
    #[error("teacher {teacher}: {reason}")]
    Teacher {
        /// Its file, or what it is of.
        teacher: String,
        /// Why not.
        reason: String,
    },
    /// The folder holds a training with other options, data or network.
    #[error("{folder} holds another training ({difference}): take another folder, or start over with --fresh", folder = folder.display())]
    Changed {
        /// The folder.
        folder: PathBuf,
        /// The first field that differs, and both values.
        difference: String,
    },
    /// A file can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: not a checkpoint or record of a training: {reason}", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The network can't be run.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The graph is no classifier.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model can't be written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
}

impl TrainError {
    /// Whether it is the user's input that is at fault.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Option { .. } | Self::Misfit { .. } | Self::Diverged { .. } | Self::Teacher { .. } => true,
            Self::Changed { .. } | Self::Corrupt { .. } => true,
            Self::Data(error) => !matches!(error, DataError::Candle(_) | DataError::Worker),
            _ => false,
        }
    }
}
