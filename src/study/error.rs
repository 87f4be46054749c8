//! Why a study can't go on.

use super::store::StoreError;
use crate::device::{DeviceError, ProfileError};
use crate::indicator::IndicatorError;
use crate::lut::LutError;
use crate::onnx::OnnxError;
use crate::plugin::PluginError;
use crate::space::SpaceError;
use crate::yaml::YamlError;
use std::path::PathBuf;

/// Why a study can't go on.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The config can't be read.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// A value of the config is out of its range.
    #[error("{path}: {reason}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Field, what was found, what was expected.
        reason: String,
    },
    /// The config is not the one that the study was made with.
    #[error(
        "{folder} holds a study with another config ({difference}): take another name for the study, or start over with --fresh",
        folder = folder.display()
    )]
    Changed {
        /// The study's folder.
        folder: PathBuf,
        /// The first field that differs, and both values.
        difference: String,
    },
    /// The samplers ask for something else than the study has: it was made by another version.
    #[error("{folder}: trial {number} of {sampler} is {found} in the study, but {asked} now: it was made by another version of Tegu (start over with --fresh)", folder = folder.display())]
    Diverged {
        /// The study's folder.
        folder: PathBuf,
        /// The sampler.
        sampler: String,
        /// The trial.
        number: u64,
        /// The stored architecture.
        found: String,
        /// The architecture that the sampler asks for.
        asked: String,
    },
    /// The space is refused.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A profile is refused.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A device can't be opened.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Candle's device can't be opened, or the probe batches not be made.
    #[error(transparent)]
    Indicator(#[from] IndicatorError),
    /// A model can't be written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// A plugin can't be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A lookup table can't be used.
    #[error(transparent)]
    Lut(#[from] LutError),
    /// What is stored is not what it should be.
    #[error("{path}: {reason}", path = path.display())]
    Stored {
        /// The store.
        path: PathBuf,
        /// Which entry, and what is wrong.
        reason: String,
    },
    /// A file can't be written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StudyError {
    /// Whether it is the user's input that is at fault.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Yaml(_) | Self::Config { .. } | Self::Changed { .. } | Self::Space(_) | Self::Profile(_) => true,
            Self::Store(error) => error.is_input(),
            Self::Device(error) => error.is_input(),
            Self::Lut(error) => error.is_input(),
            Self::Plugin(error) => error.is_input(),
            _ => false,
        }
    }
}
