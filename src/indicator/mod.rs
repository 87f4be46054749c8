//! Training-free scores of a candidate, one file an indicator.

mod combine;
mod images;
pub mod linear_regions;
pub mod ntk;
mod ntk_condition;
pub mod ntk_regression;
mod probe;
#[cfg(test)]
mod tests;

pub use combine::{Combine, Reference};
pub use images::Images;
pub use linear_regions::LinearRegions;
pub use ntk_condition::NtkCondition;
pub use ntk_regression::NtkRegression;
pub use probe::{Probe, ProbeNetworks, Probes};

use crate::genotype::Genotype;
use crate::network::{Init, WeightsError};
use crate::objective::Direction;
use crate::space::{SearchSpace, SpaceError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The values of indicators, by name.
pub type Values = BTreeMap<String, f64>;

/// A score that needs no training.
pub trait Indicator: Send + Sync {
    /// Name, as in configs and reports.
    fn name(&self) -> &'static str;

    /// Whether more or less of it is better.
    fn direction(&self) -> Direction;

    /// What it says of a network.
    fn description(&self) -> &'static str;

    /// How it is computed.
    fn formula(&self) -> &'static str;

    /// Paper and section.
    fn source(&self) -> &'static str;

    /// The candidate's value; always finite.
    ///
    /// # Errors
    /// If the candidate is dead, or has no such value.
    fn evaluate(&self, probe: &Probe) -> Result<f64, IndicatorError>;
}

/// The TEG three: trainability, expressivity, generalisation.
pub fn teg() -> [&'static dyn Indicator; 3] {
    [&NtkCondition, &LinearRegions, &NtkRegression]
}

/// The indicators' names and directions.
pub fn directions() -> Vec<(&'static str, Direction)> {
    teg().iter().map(|indicator| (indicator.name(), indicator.direction())).collect()
}

/// Scores a candidate by all of the TEG three; each has a value or a reason why not.
pub fn score(
    probes: &Probes,
    space: &SearchSpace,
    genotype: &Genotype,
) -> BTreeMap<&'static str, Result<f64, IndicatorError>> {
    let probe = probes.of(space, genotype);
    teg().iter().map(|indicator| (indicator.name(), indicator.evaluate(&probe))).collect()
}

/// Whose settings the indicators use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Ours: small batches of natural images, geometric mean of κ, live operators only.
    #[default]
    Fast,
    /// The released TEG-NAS code's: 64 images of white noise, arithmetic mean of κ, all operators.
    Compat,
}

/// The `indicators` section of a config: a mode, and what is changed of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// How the indicators become one quality.
    #[serde(default)]
    pub combine: Combine,
    /// Architectures of the reference sample that qualities are ranked in.
    pub reference: Option<usize>,
}

/// How indicators are computed, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whose conventions.
    pub mode: Mode,
    /// Images of a batch.
    pub batch: usize,
    /// Networks with independent weights.
    pub networks: usize,
    /// How weights are drawn.
    pub init: Init,
    /// Where the images come from.
    pub images: Images,
}

impl SettingsSection {
    /// The settings, with the mode's defaults where nothing is said.
    pub fn resolve(&self) -> Settings {
        let (batch, images) = match self.mode {
            Mode::Fast => (16, Images::Natural),
            Mode::Compat => (64, Images::WhiteNoise),
        };
        Settings {
            mode: self.mode,
            batch: self.batch.unwrap_or(batch),
            networks: self.networks.unwrap_or(3),
            init: self.init,
            images: self.images.unwrap_or(images),
        }
    }
}

/// Why a candidate has no score.
#[derive(Debug, thiserror::Error)]
pub enum IndicatorError {
    /// The output does not depend on the input.
    #[error("dead network: the output does not depend on the input")]
    Dead,
    /// A kernel that can't be inverted.
    #[error("{indicator}: the kernel is singular")]
    Singular {
        /// The indicator.
        indicator: &'static str,
    },
    /// A value that is no number.
    #[error("{indicator}: the value is {value}")]
    NotFinite {
        /// The indicator.
        indicator: &'static str,
        /// Infinite, or not a number.
        value: f64,
    },
    /// The architecture can't be built.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The network can't be run.
    #[error(transparent)]
    Network(#[from] WeightsError),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// `value`, if it is a number.
fn finite(indicator: &'static str, value: f64) -> Result<f64, IndicatorError> {
    if value.is_finite() { Ok(value) } else { Err(IndicatorError::NotFinite { indicator, value }) }
}
