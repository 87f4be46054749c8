//! Why a space, or an architecture of one, was refused.

use crate::graph::GraphError;
use crate::plugin::PluginError;
use crate::yaml::YamlError;
use std::path::PathBuf;

/// Why a space or one of its architectures was refused.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The space's file does not say what a space is.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// There is no such space.
    #[error("no search space `{name}`: expected {known}, the path of a YAML file, or a plugin{hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names of those that come with Tegu.
        known: String,
        /// "; did you mean …", or nothing.
        hint: String,
    },
    /// The file's parts don't fit together.
    #[error("{path}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Text that names no architecture of the space.
    #[error("`{arch}` is no architecture of {space}: {reason}")]
    Arch {
        /// The text.
        arch: String,
        /// The space.
        space: String,
        /// What is wrong.
        reason: String,
    },
    /// A plugin can't be had.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// There is no graph of an architecture: a plugin gives none, or a model can't be made so small.
    #[error("{space}: {reason}")]
    Lower {
        /// The space.
        space: String,
        /// What the plugin said, or what became of it; why the model can't.
        reason: String,
    },
    /// The operators of an architecture don't fit together.
    #[error("{space}: {source}")]
    Graph {
        /// The space.
        space: String,
        /// What does not fit.
        source: GraphError,
    },
}
