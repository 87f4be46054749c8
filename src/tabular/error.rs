//! Why a table was refused.

use std::path::PathBuf;

/// Why a table, or a search on it, was refused.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It can't be read.
    #[error("{path}: {source}", path = path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{path}: no column `{column}`, expected one of {known}{hint}", path = path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        column: String,
        /// The file's columns.
        known: String,
        /// "; did you mean …", or nothing.
        hint: String,
    },
    /// A value that is none.
    #[error("{path}:{line}: {column}: `{text}`, expected a number", path = path.display())]
    Number {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What stands there.
        text: String,
    },
    /// Text that is no architecture.
    #[error("{path}:{line}: {column}: {reason}", path = path.display())]
    Arch {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong.
        reason: String,
    },
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
