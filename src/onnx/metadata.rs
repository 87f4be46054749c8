//! Where a model comes from, kept in the model itself: `metadata_props` under `tegu.` keys.

use super::OnnxError;
use std::collections::BTreeMap;
use std::path::Path;

/// Where a model comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// The search space (`tegu.space`).
    pub space: Option<String>,
    /// The architecture, in the words of its space (`tegu.architecture`).
    pub architecture: Option<String>,
    /// The study that found it (`tegu.study`).
    pub study: Option<String>,
    /// The trial's number in the study (`tegu.trial`).
    pub trial: Option<u64>,
    /// Seed of the weights (`tegu.seed`).
    pub seed: Option<u64>,
    /// Values of the indicators, by name (`tegu.indicators`, a JSON object).
    pub indicators: BTreeMap<String, f64>,
    /// Version of Tegu that wrote it (`tegu.version`); set by [`Metadata::new`].
    pub tegu_version: Option<String>,
    /// SHA-256 of the weights (`tegu.weights_sha256`).
    pub weights_sha256: Option<String>,
}

impl Metadata {
    /// Empty but for Tegu's version.
    pub fn new() -> Self {
        Self { tegu_version: Some(env!("CARGO_PKG_VERSION").into()), ..Self::default() }
    }

    /// Keys and values, in a fixed order, without what is absent.
    pub(super) fn entries(&self) -> Result<Vec<(&'static str, String)>, OnnxError> {
        if let Some((name, value)) = self.indicators.iter().find(|(_, value)| !value.is_finite()) {
            let reason = format!("`{name}` is {value}, expected a finite number");
            return Err(OnnxError::Metadata { key: "tegu.indicators".into(), reason });
        }
        let indicators = || serde_json::to_string(&self.indicators).expect("names and finite numbers are JSON");
        let all = [
            ("tegu.space", self.space.clone()),
            ("tegu.architecture", self.architecture.clone()),
            ("tegu.study", self.study.clone()),
            ("tegu.trial", self.trial.map(|trial| trial.to_string())),
            ("tegu.seed", self.seed.map(|seed| seed.to_string())),
            ("tegu.indicators", (!self.indicators.is_empty()).then(indicators)),
            ("tegu.version", self.tegu_version.clone()),
            ("tegu.weights_sha256", self.weights_sha256.clone()),
        ];
        Ok(all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    fn from_entries(mut entries: BTreeMap<String, String>) -> Result<Self, OnnxError> {
        let indicators = match entries.remove("tegu.indicators") {
            Some(text) => serde_json::from_str(&text).map_err(|error| OnnxError::Metadata {
                key: "tegu.indicators".into(),
                reason: format!("{error}, expected a JSON object of numbers"),
            })?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            trial: whole_number(&mut entries, "tegu.trial")?,
            seed: whole_number(&mut entries, "tegu.seed")?,
            indicators,
            space: entries.remove("tegu.space"),
            architecture: entries.remove("tegu.architecture"),
            study: entries.remove("tegu.study"),
            tegu_version: entries.remove("tegu.version"),
            weights_sha256: entries.remove("tegu.weights_sha256"),
        })
    }
}

fn whole_number(entries: &mut BTreeMap<String, String>, key: &str) -> Result<Option<u64>, OnnxError> {
    let parse = |text: String| {
        text.parse().map_err(|_| OnnxError::Metadata {
            key: key.into(),
            reason: format!("found `{text}`, expected a whole number"),
        })
    };
    entries.remove(key).map(parse).transpose()
}

/// Reads what Tegu wrote about a model; all absent where it was not Tegu that wrote it.
///
/// # Errors
/// If the file is no ONNX model, or a value is not of its key's type.
pub fn read_metadata(path: &Path) -> Result<Metadata, OnnxError> {
    let props = super::decode(path)?.metadata_props;
    Metadata::from_entries(props.into_iter().map(|entry| (entry.key, entry.value)).collect())
}
