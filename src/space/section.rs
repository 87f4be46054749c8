//! A search space as a study names it, or as one is described around a network that one has.

use super::{Constraint, NetworkChanges, SearchSpace, SpaceError};
use crate::data::Normalisation;
use crate::files::beside;
use crate::plugin::Options;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The search space, and the size of its full network; with `from_onnx` a space of its own, as a file may say it, too.
///
/// ```text
/// space: {from_onnx: m.onnx, widths: [0.25, 0.5, 0.75, 1], depths: [1, 2, 3], resolution: [160, 192, 224]}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpaceSection {
    /// A space that comes with Tegu, the path of a YAML file, or a plugin by its name or path. What a space around a model is called, the
    /// file's name where absent.
    pub name: String,
    /// What a space around a model is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What is changed about a plugin's options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: Options,
    /// What is changed about the full network.
    pub network: NetworkChanges,
    /// The ONNX model that the space is around.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_onnx: Option<PathBuf>,
    /// Parts of a group's channels, each more than 0 and at most 1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub widths: Vec<f64>,
    /// How many of a stage's residual blocks stay: the first ones of those that may go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub depths: Vec<usize>,
    /// Whether each of these blocks may go by itself.
    #[serde(skip_serializing_if = "is_false")]
    pub blocks: bool,
    /// Heights of square inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolution: Vec<usize>,
    /// `[channels, height, width]` of the model's input, where the file leaves it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<[usize; 3]>,
    /// Which channels stay.
    #[serde(skip_serializing_if = "is_default")]
    pub importance: ImportanceSection,
    /// The data by which batch normalisations come back that were folded into convolutions, and all of them have their statistics measured again in each
    /// network that is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<DataSection>,
    /// How its inputs are normalised, where the file does not say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<Normalisation>,
    /// SHA-256 that the file is to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What all of its networks keep to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
}

/// What makes a channel important.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceSection {
    /// The size of its filters.
    #[default]
    Magnitude,
    /// What the loss would change by without it, to first order.
    Gradients(DataSection),
}

/// A data set that a space looks at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// A data set, its training part alone.
    pub data: PathBuf,
    /// SHA-256 that it is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

fn is_false(is: &bool) -> bool {
    !is
}

fn is_default(importance: &ImportanceSection) -> bool {
    *importance == ImportanceSection::default()
}

impl SpaceSection {
    /// The space, with the network that the section asks for; the files that it names are looked for in `folder`.
    ///
    /// # Errors
    /// If there is no such space, or the fields don't go together.
    pub fn open(&self, folder: &Path) -> Result<SearchSpace, SpaceError> {
        let wrong = |reason: String| SpaceError::Invalid { path: folder.join("space"), reason };
        if self.from_onnx.is_some() {
            return SearchSpace::from_onnx(self, &folder.join("space"));
        }
        if let Some(field) = self.around_a_model() {
            return Err(wrong(format!("{field}: goes with `from_onnx`, the model that the space is around")));
        }
        if self.name.is_empty() {
            return Err(wrong("expected `name`, or the model that it is around as `from_onnx`".to_owned()));
        }
        SearchSpace::open_with(&beside(folder, &self.name), &self.options, &[folder])?.with_network(&self.network)
    }

    /// The data sets that it names, in the order of their digests in a network's id.
    pub(super) fn data_mut(&mut self) -> impl Iterator<Item = &mut DataSection> {
        let gradients = match &mut self.importance {
            ImportanceSection::Gradients(of) => Some(of),
            ImportanceSection::Magnitude => None,
        };
        self.batch_norm.iter_mut().chain(gradients)
    }

    /// The first field that goes with `from_onnx` alone.
    fn around_a_model(&self) -> Option<&'static str> {
        let said = [
            ("description", !self.description.is_empty()),
            ("widths", !self.widths.is_empty()),
            ("depths", !self.depths.is_empty()),
            ("blocks", self.blocks),
            ("resolution", !self.resolution.is_empty()),
            ("input", self.input.is_some()),
            ("importance", !is_default(&self.importance)),
            ("batch_norm", self.batch_norm.is_some()),
            ("normalisation", self.normalisation.is_some()),
            ("sha256", self.sha256.is_some()),
            ("constraints", !self.constraints.is_empty()),
        ];
        said.into_iter().find(|(_, is)| *is).map(|(field, _)| field)
    }
}
