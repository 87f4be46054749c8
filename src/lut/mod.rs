//! Latency lookup tables of a device: built from few measurements, predicting any network with an interval.
//!
//! A network's latency is the sum of its operators' times and an overhead. The operators are those of the runtime's own
//! optimised graph (*fused*; [`Method::Fused`]) or, where it shows none, of our graph after value numbering
//! ([`Method::Counted`]). Their times are fitted ([`fit`]) to whole networks, chosen to tell most ([`choose`]), which stand
//! in the table itself with what was measured. [`Method::Micro`] times each operator alone, as tables usually are made, for
//! comparison. Intervals are conformal: errors of networks that the fit was not given.

mod anchors;
mod assemble;
mod build;
mod check;
pub mod choose;
mod counted;
mod diff;
mod features;
pub mod fit;
mod fused;
mod import;
mod journal;
mod operator;
mod options;
mod table;
mod transfer;

pub use build::build;
pub use check::{CheckedNetwork, Validation, validate};
pub use counted::counted_operators;
pub use diff::{Change, Difference, diff};
pub use features::{Extractor, SpaceRef};
pub use fused::fused_operators;
pub use import::{ImportOptions, Imported, from_latencies, import};
pub use operator::{Costs, Counts, OpCost, Operator, count};
pub use options::{BuildEvent, BuildOptions, Observer, Unwatched, brief};
pub use table::{
    Entry, FailedEntry, GraphView, Header, LatencyTable, Method, Prediction, Role, Status, Timed, UsedEntry,
};
pub use transfer::{Transfer, transfer};

use crate::device::DeviceError;
use crate::graph::GraphError;
use crate::journal::JournalError;
use crate::network::WeightsError;
use crate::onnx::OnnxError;
use crate::space::SpaceError;
use std::path::PathBuf;

/// Why there is no table or no prediction.
#[derive(Debug, thiserror::Error)]
pub enum LutError {
    /// A table of latencies can't be read.
    #[error(transparent)]
    Sheet(#[from] crate::sheet::SheetError),
    /// A file can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what it is taken for.
    #[error("{path}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What was found, and what was expected.
        reason: String,
    },
    /// The table has no entry for some of a network's operators.
    #[error("the table has no entry for {}: {}", plural(keys.len()), keys.join("; "))]
    Missing {
        /// The operators' keys.
        keys: Vec<String>,
    },
    /// The table can't answer what it was asked.
    #[error("{0}")]
    Unsuited(String),
    /// Too few networks could be measured.
    #[error("only {measured} networks could be measured, expected {wanted} or more{}",
        first.as_ref().map(|reason| format!("; the first failure: {reason}")).unwrap_or_default())]
    TooFew {
        /// How many were.
        measured: usize,
        /// How many are needed.
        wanted: usize,
        /// Why one of the others was not.
        first: Option<String>,
    },
    /// A table that does not order the anchors as the device does.
    #[error(
        "refused: on {anchors} anchors the table's rank correlation with the device is {correlation:.3}, expected \
        {wanted} or more: this device needs a table of its own"
    )]
    Uncorrelated {
        /// Networks that were measured.
        anchors: usize,
        /// Spearman's ρ.
        correlation: f64,
        /// The least.
        wanted: f64,
    },
    /// The user stopped it; what was measured is kept.
    #[error("interrupted")]
    Interrupted,
    /// The device can't be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An architecture that is none, or a space that can't be opened.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// Operators that don't fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A model can't be written or read.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// Weights can't be drawn.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl From<JournalError> for LutError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::File { path, source } => Self::File { path, source },
            JournalError::Invalid { path, reason } => Self::Invalid { path, reason },
        }
    }
}

impl LutError {
    /// Whether it is the user's input that is at fault.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Invalid { .. }
            | Self::Missing { .. }
            | Self::Unsuited(_)
            | Self::Space(_)
            | Self::Onnx(_)
            | Self::Sheet(_) => true,
            Self::File { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::Device(error) => error.is_input(),
            _ => false,
        }
    }
}

fn plural(count: usize) -> String {
    if count == 1 { "an operator".to_owned() } else { format!("{count} operators") }
}
