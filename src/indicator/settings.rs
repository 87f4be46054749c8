//! The `indicators` section of a config: a mode, and what is changed of it.

use super::Images;
use crate::network::Init;
use serde::{Deserialize, Serialize};

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
    /// Memory that all candidates which are scored at one time take together, in MiB.
    #[serde(default = "memory_mib")]
    pub memory_mib: u64,
}

impl Default for SettingsSection {
    fn default() -> Self {
        let (mode, init) = (Mode::default(), Init::default());
        Self { mode, batch: None, networks: None, init, images: None, memory_mib: memory_mib() }
    }
}

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
    /// Memory for all candidates together, in MiB; nothing that is computed depends on it.
    #[serde(skip_serializing, default = "memory_mib")]
    pub memory_mib: u64,
}

impl SettingsSection {
    /// The settings, with the mode's defaults where nothing is said.
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
            memory_mib: self.memory_mib,
        }
    }
}
