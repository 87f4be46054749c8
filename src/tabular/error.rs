//! Why a table was refused.

use crate::sheet::SheetError;
use std::path::PathBuf;

/// Why a table, or a search on it, was refused.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It is no table of architectures and values.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// No column of values, or too many of them.
    #[error("{path}: {found} columns of values ({names}), expected 1 to 5: choose them with --columns", path = path.display())]
    Objectives {
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: usize,
        /// Their names.
        names: String,
    },
    /// Nothing to search.
    #[error("{path}: {found} architectures with all values, expected 2 or more", path = path.display())]
    Few {
        /// The file.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// A reference point of another number of values, or beyond everything.
    #[error("reference point: {reason}")]
    Reference {
        /// What is wrong.
        reason: String,
    },
    /// A strategy can't be made.
    #[error("sampler `{sampler}`: {source}")]
    Sampler {
        /// Its name.
        sampler: String,
        /// What is wrong.
        source: crate::sampler::SamplerError,
    },
}
