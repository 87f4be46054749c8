//! Plugins: executables of others, in any language, that take part in a search. A folder with a manifest
//! (`plugin.yaml`) and a command that speaks JSON-RPC 2.0, one message a line, on its standard input and output.
//!
//! A plugin runs in a process of its own, within its manifest's limits of time and memory. When it crashes, hangs or says
//! what no one understands, the call fails with the reason, and the next one gets a new process. What each kind is asked
//! for stands where it is used: `device::plugin`, `sampler::plugin`, `space::plugin`, `study::plugin`.

mod client;
mod find;
mod manifest;
mod message;

pub use client::{Facts, PROTOCOL, Plugin, Start};
pub use find::{Found, Listed, beside, find, installed};
pub use manifest::{Kind, Limits, MANIFEST, Manifest};
pub use message::{BAD_PARAMS, PARSE_ERROR, UNKNOWN_METHOD};

use crate::process::LastWords;
use crate::yaml::YamlError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Options of a plugin, by name.
pub type Options = BTreeMap<String, Value>;

/// A plugin as a config names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSection {
    /// Its name, or the path of its folder.
    pub name: String,
    /// What is to be other than its manifest says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: Options,
}

impl PluginSection {
    /// Finds the plugin, by its path also in `folder`, and holds its kind and the options against its manifest.
    ///
    /// # Errors
    /// If there is none, it is of another kind, or has no such option.
    pub fn find(&self, folder: &Path, kinds: &[Kind]) -> Result<(Found, Options), PluginError> {
        let found = find(&self.name, &[folder])?;
        found.manifest.expect(kinds)?;
        let options = found.manifest.options(&self.options)?;
        Ok((found, options))
    }
}

/// Why a plugin gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PluginError {
    /// There is none of this name.
    #[error("no plugin `{name}`: looked in {looked}{hint}")]
    NotFound {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        looked: String,
        /// "; did you mean …", or nothing.
        hint: String,
    },
    /// Its manifest can't be read; with file, line and field.
    #[error("{0}")]
    Manifest(String),
    /// Its manifest says something that can't be.
    #[error("{path}: {reason}", path = path.display())]
    Invalid {
        /// The manifest.
        path: PathBuf,
        /// Field, what was found, what was expected.
        reason: String,
    },
    /// It is no plugin for this use.
    #[error("plugin `{plugin}` is of kind {found}, expected {expected}")]
    Kind {
        /// Its name.
        plugin: String,
        /// What it is.
        found: Kind,
        /// What it should be.
        expected: String,
    },
    /// An option that its manifest does not name.
    #[error("plugin `{plugin}` has no option `{option}`{known}")]
    Option {
        /// Its name.
        plugin: String,
        /// The option.
        option: String,
        /// ", expected one of …", or what is to be done.
        known: String,
    },
    /// It can't be started, or its first answer is not what was expected.
    #[error("plugin `{plugin}` can't be started: {reason}")]
    Start {
        /// Its name.
        plugin: String,
        /// What went wrong.
        reason: String,
    },
    /// It answered with an error of its own.
    #[error("plugin `{plugin}`: {message} (`{method}`, error {code})")]
    Refused {
        /// Its name.
        plugin: String,
        /// What was asked.
        method: String,
        /// JSON-RPC's code; 1 is a candidate that can't be evaluated.
        code: i64,
        /// What it said.
        message: String,
    },
    /// It answered with something else than expected.
    #[error("plugin `{plugin}`: `{method}`: {reason}")]
    Answer {
        /// Its name.
        plugin: String,
        /// What was asked.
        method: String,
        /// What was found, what was expected.
        reason: String,
    },
    /// It ended by itself.
    #[error("plugin `{plugin}` {how} in `{method}`{last_words}")]
    Crashed {
        /// Its name.
        plugin: String,
        /// What was asked.
        method: String,
        /// Signal or exit code.
        how: String,
        /// The end of what it wrote to its standard error.
        last_words: LastWords,
    },
    /// It took too long.
    #[error("plugin `{plugin}`: `{method}` not done within {limit_s} s, its `limits.time_s`{last_words}")]
    TimeLimit {
        /// Its name.
        plugin: String,
        /// What was asked.
        method: String,
        /// Seconds allowed.
        limit_s: f64,
        /// The end of what it wrote to its standard error.
        last_words: LastWords,
    },
    /// It took too much memory.
    #[error("plugin `{plugin}`: `{method}` needs more than {limit_mib} MiB, its `limits.memory_mib`")]
    MemoryLimit {
        /// Its name.
        plugin: String,
        /// What was asked.
        method: String,
        /// MiB allowed.
        limit_mib: u64,
    },
}

impl PluginError {
    /// Whether it is the user's input that is at fault: the name, an option, the manifest.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. } | Self::Manifest(_) | Self::Invalid { .. } | Self::Kind { .. } | Self::Option { .. }
        )
    }

    /// Whether the next call would fail as well.
    pub fn is_unavailable(&self) -> bool {
        self.is_input() || matches!(self, Self::Start { .. })
    }
}

impl From<YamlError> for PluginError {
    fn from(error: YamlError) -> Self {
        Self::Manifest(error.to_string())
    }
}
