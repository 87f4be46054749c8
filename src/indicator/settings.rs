//! The `indicators` section of a config: a mode, and what is changed of it.

use super::{Images, ProbeData, View};
use crate::data::{DataError, located};
use crate::network::Init;
use crate::space::SearchSpace;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Whose settings the TEG indicators use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Ours: small batches of natural images, deeper networks, geometric mean of κ, live operators only.
    #[default]
    Fast,
    /// The released TEG-NAS code's: 64 images of white noise, arithmetic mean of κ, all operators.
    Compat,
}

/// The `indicators` section, as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsSection {
    /// Whose defaults.
    #[serde(default)]
    pub mode: Mode,
    /// Images of a batch.
    pub batch: Option<usize>,
    /// Networks with independent weights.
    pub networks: Option<usize>,
    /// How weights are drawn.
    #[serde(default)]
    pub init: Init,
    /// Where the images come from.
    pub images: Option<Images>,
    /// A data set that images and labels are taken from instead: a file or folder, its training part alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Samples of the data set that networks with weights of their own are calibrated with, 256 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<usize>,
    /// Memory that all candidates which are scored at one time take together, in MiB.
    #[serde(default = "memory_mib")]
    pub memory_mib: u64,
}

impl Default for SettingsSection {
    fn default() -> Self {
        let (mode, init) = (Mode::default(), Init::default());
        let (data, calibration, memory_mib) = (None, None, memory_mib());
        Self { mode, batch: None, networks: None, init, images: None, data, calibration, memory_mib }
    }
}

/// Samples of a calibration set where nothing is said.
const CALIBRATION: usize = 256;

fn memory_mib() -> u64 {
    4096
}

/// How indicators are computed, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whose conventions.
    pub mode: Mode,
    /// Images of a kernel's batch.
    pub batch: usize,
    /// Networks with independent weights.
    pub networks: usize,
    /// How the kernels' and the thin networks' weights are drawn.
    pub init: Init,
    /// Where the images come from.
    pub images: Images,
    /// The data set that images and labels are taken from instead, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<ProbeData>,
    /// How many of its samples networks with weights of their own are calibrated with, where the space has such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<usize>,
    /// Memory for all candidates together, in MiB; nothing that is computed depends on it.
    #[serde(skip_serializing, default = "memory_mib")]
    pub memory_mib: u64,
}

impl SettingsSection {
    /// The settings for the networks of `space`, with the data set read, which is looked for in `folder`.
    ///
    /// # Errors
    /// If the data set is refused.
    pub fn resolve_for(&self, space: &SearchSpace, folder: &Path) -> Result<Settings, DataError> {
        let [_, height, width] = View::Kernel.size(space, self.mode).input;
        let calibration = space.is_pretrained().then_some(self.calibration.unwrap_or(CALIBRATION));
        let open = |path: &PathBuf| {
            let path = located(folder, path);
            let data = ProbeData::open(&path, [height, width])?;
            match calibration {
                Some(count) => data.with_calibration(&path, space, count),
                None => Ok(data),
            }
        };
        let data = self.data.as_ref().map(open).transpose()?;
        let calibration = calibration.filter(|_| data.is_some());
        Ok(Settings { data, calibration, ..self.resolve() })
    }

    /// The settings, with the mode's defaults where nothing is said and without a data set.
    pub fn resolve(&self) -> Settings {
        let (batch, networks, images) = match self.mode {
            Mode::Fast => (16, 2, Images::Natural),
            Mode::Compat => (64, 3, Images::WhiteNoise),
        };
        Settings {
            mode: self.mode,
            batch: self.batch.unwrap_or(batch),
            networks: self.networks.unwrap_or(networks),
            init: self.init,
            images: self.images.unwrap_or(images),
            data: None,
            calibration: None,
            memory_mib: self.memory_mib,
        }
    }
}
