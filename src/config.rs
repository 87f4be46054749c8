//! The YAML of a study, composed of the sections that each module owns.
//!
//! Read once, resolved once into a [`Plan`](crate::study::Plan), and stored with the study.

use crate::indicator::SettingsSection;
use crate::latency::Protocol;
use crate::nats::NatsOptions;
use crate::network::Compute;
use crate::objective::count;
use crate::plugin::{Options, PluginSection};
use crate::quality::QualitySection;
use crate::quantize::{Activations, RangeMethod};
use crate::sampler::SamplerOptions;
use crate::space::{Precision as LayerPrecision, SpaceSection};
use crate::train::TrainOptions;
use crate::yaml::{self, YamlError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A study, as a user writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    /// Name of the study, and of its folder.
    pub study: String,
    /// Where all randomness comes from.
    #[serde(default)]
    pub seed: u64,
    /// What Candle computes on.
    #[serde(default)]
    pub compute: Compute,
    /// What is searched.
    pub space: SpaceSection,
    /// How indicators are computed.
    #[serde(default)]
    pub indicators: SettingsSection,
    /// How the indicators become one figure.
    #[serde(default)]
    pub quality: QualitySection,
    /// What is optimised.
    pub objectives: Vec<ObjectiveSection>,
    /// What has to be within bounds, and is not optimised.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<ObjectiveSection>,
    /// The precision of layers as further genes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationSection>,
    /// How, and for how long.
    #[serde(default)]
    pub search: SearchSection,
    /// Devices elsewhere, which objectives may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceSection>,
    /// Who scores. No part of the study: it may go on otherwise.
    #[serde(default, skip_serializing)]
    pub scoring: ScoringSection,
    /// Where agents are reached. No part of the study, and it holds secrets.
    #[serde(default, skip_serializing)]
    pub nats: NatsOptions,
}

/// A device elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceSection {
    /// The name that its agents serve (`tegu agent --device NAME`).
    pub agent: String,
}

/// Who scores the candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoringSection {
    /// This machine.
    #[default]
    Here,
    /// Agents (`tegu agent --score`).
    Agents,
}

/// What layers may be rounded to, part by part of a network, and how: candidates are rounded after their training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizationSection {
    /// What each part may be.
    pub layers: Vec<LayerPrecision>,
    /// How activations are rounded.
    pub activations: Activations,
    /// How the ranges of activations are found.
    pub range: RangeMethod,
    /// Training samples that they are found with.
    pub calibration: usize,
    /// Weights of 7 bits, for x86 processors with AVX2 and without VNNI.
    pub reduce_range: bool,
}

impl Default for QuantizationSection {
    fn default() -> Self {
        Self {
            layers: LayerPrecision::ALL.to_vec(),
            activations: Activations::default(),
            range: RangeMethod::default(),
            calibration: 256,
            reduce_range: false,
        }
    }
}

/// One thing that is optimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveSection {
    /// The indicators, combined; more is better.
    Quality,
    /// Median latency on a device; less is better.
    Latency(LatencySection),
    /// Trained parameters; less is better.
    Params(BoundSection),
    /// Multiply-accumulates of one input; less is better.
    Macs(BoundSection),
    /// Bytes of the exported model; less is better.
    Size(SizeSection),
    /// Accuracy on held-out samples after a short training; more is better.
    Accuracy(AccuracySection),
    /// Expected calibration error on those samples after that training; less is better.
    Ece(BoundSection),
    /// The figure of a plugin, which says whether more or less is better.
    Plugin(PluginObjectiveSection),
}

/// A figure of a plugin as an objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginObjectiveSection {
    /// The plugin's name, or the path of its folder.
    pub name: String,
    /// What is to be other than its manifest says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: Options,
    /// The most that is allowed, in its unit.
    pub at_most: Option<f64>,
    /// The least that is allowed, in its unit.
    pub at_least: Option<f64>,
}

impl PluginObjectiveSection {
    /// The plugin that is meant.
    pub fn plugin(&self) -> PluginSection {
        PluginSection { name: self.name.clone(), options: self.options.clone() }
    }
}

/// An accuracy objective: every trial is trained for some epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccuracySection {
    /// The data, a file or a folder (see [`DataSet`](crate::data::DataSet)).
    pub data: PathBuf,
    /// Passes over the training data.
    #[serde(default = "short")]
    pub epochs: usize,
    /// The rest of the recipe; its own `epochs` do not count.
    #[serde(default)]
    pub train: TrainOptions,
}

fn short() -> usize {
    3
}

/// A latency objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencySection {
    /// A hardware profile that comes with Tegu, or the path of a YAML file.
    pub device: String,
    /// The most that is allowed, in milliseconds; the profile's `budget.latency_ms` where absent.
    pub at_most_ms: Option<f64>,
    /// How candidates are timed, where not as the profile says.
    pub protocol: Option<Protocol>,
    /// Where the figures come from.
    #[serde(default)]
    pub source: LatencySource,
    /// The lookup table that predicts, where one does.
    pub table: Option<PathBuf>,
}

/// Where a latency objective's figures come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatencySource {
    /// Every candidate is measured.
    #[default]
    Measured,
    /// A lookup table predicts all of them.
    Predicted,
    /// A lookup table predicts; what could enter the front is measured.
    Mixed,
}

/// A bound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundSection {
    /// The most that is allowed, such as `1.5M`.
    #[serde(default, deserialize_with = "count::deserialize")]
    pub at_most: Option<f64>,
}

/// A bound of the model's size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeSection {
    /// The most that is allowed, in MiB.
    pub at_most_mib: Option<f64>,
}

/// The search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchSection {
    /// The strategy.
    pub sampler: SamplerOptions,
    /// Number of trials.
    pub trials: usize,
    /// What the search is held against.
    pub control: ControlSection,
    /// How often all of it is run, each time from the next seed, so that the report can say how far seeds are apart.
    #[serde(skip_serializing_if = "is_once")]
    pub repeats: usize,
}

/// What is not said in the stored configs of studies that were begun before there were repeats.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_once(repeats: &usize) -> bool {
    *repeats == 1
}

impl Default for SearchSection {
    fn default() -> Self {
        Self { sampler: SamplerOptions::default(), trials: 64, control: ControlSection::Random, repeats: 1 }
    }
}

/// What a search is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlSection {
    /// Random search with the same number of trials.
    Random,
    /// Nothing.
    None,
}

impl StudyConfig {
    /// Reads the config at `path`.
    ///
    /// # Errors
    /// If it can't be read, or is not a study's config.
    pub fn read(path: &Path) -> Result<Self, YamlError> {
        yaml::read(path)
    }
}
