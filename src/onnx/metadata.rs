//! Where a model comes from, kept in the model itself: `metadata_props` under `tegu.` keys.

use super::OnnxError;
use crate::data::NORMALISATION_KEY;
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

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
    /// Accuracy of a trained network by part of the data (`tegu.accuracy`, a JSON object: `validation`, `test`).
    pub accuracy: BTreeMap<String, f64>,
    /// Expected calibration error by part of the data (`tegu.ece`, a JSON object).
    pub ece: BTreeMap<String, f64>,
    /// The temperature that its logits are divided by already, in its last layer (`tegu.temperature`).
    pub temperature: Option<f64>,
    /// SHA-256 of the data that it was trained on (`tegu.data_sha256`).
    pub data_sha256: Option<String>,
    /// How its inputs were normalised, scale, mean and deviation of each channel (`tegu.normalisation`, JSON); a model of
    /// bytes does it itself.
    pub normalisation: Option<String>,
    /// What layers are to become where the model is quantised, as its study decided (`tegu.layers`, a JSON object by layer).
    pub layers: Option<String>,
    /// What was rounded, and how, in a copy of fewer bits (`tegu.quantization`, JSON: `precision`, `float_sha256`, …).
    pub quantization: Option<String>,
}

impl Metadata {
    /// Empty but for Tegu's version.
    pub fn new() -> Self {
        Self { tegu_version: Some(env!("CARGO_PKG_VERSION").into()), ..Self::default() }
    }

    /// Element type that most of the model is computed in, by what is said of its quantisation: `f32` where nothing is.
    ///
    /// # Errors
    /// If that is no JSON with a `precision`.
    pub fn precision(&self) -> Result<String, OnnxError> {
        let Some(text) = &self.quantization else { return Ok("f32".to_owned()) };
        let said: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        said["precision"].as_str().map(str::to_owned).ok_or_else(|| OnnxError::Metadata {
            key: "tegu.quantization".into(),
            reason: format!("found `{text}`, expected JSON with `precision`"),
        })
    }

    /// Keys and values, in a fixed order, without what is absent.
    pub(super) fn entries(&self) -> Result<Vec<(&'static str, String)>, OnnxError> {
        let objects =
            [("tegu.indicators", &self.indicators), ("tegu.accuracy", &self.accuracy), ("tegu.ece", &self.ece)];
        for (key, values) in objects {
            if let Some((name, value)) = values.iter().find(|(_, value)| !value.is_finite()) {
                let reason = format!("`{name}` is {value}, expected a finite number");
                return Err(OnnxError::Metadata { key: key.into(), reason });
            }
        }
        let object = |values: &BTreeMap<String, f64>| {
            let text = || serde_json::to_string(values).expect("names and finite numbers are JSON");
            (!values.is_empty()).then(text)
        };
        let all = [
            ("tegu.space", self.space.clone()),
            ("tegu.architecture", self.architecture.clone()),
            ("tegu.study", self.study.clone()),
            ("tegu.trial", self.trial.map(|trial| trial.to_string())),
            ("tegu.seed", self.seed.map(|seed| seed.to_string())),
            ("tegu.indicators", object(&self.indicators)),
            ("tegu.version", self.tegu_version.clone()),
            ("tegu.weights_sha256", self.weights_sha256.clone()),
            ("tegu.accuracy", object(&self.accuracy)),
            ("tegu.ece", object(&self.ece)),
            ("tegu.temperature", self.temperature.map(|temperature| temperature.to_string())),
            ("tegu.data_sha256", self.data_sha256.clone()),
            (NORMALISATION_KEY, self.normalisation.clone()),
            ("tegu.layers", self.layers.clone()),
            ("tegu.quantization", self.quantization.clone()),
        ];
        Ok(all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    fn from_entries(mut entries: BTreeMap<String, String>) -> Result<Self, OnnxError> {
        Ok(Self {
            trial: number(&mut entries, "tegu.trial", "a whole number")?,
            seed: number(&mut entries, "tegu.seed", "a whole number")?,
            indicators: numbers(&mut entries, "tegu.indicators")?,
            accuracy: numbers(&mut entries, "tegu.accuracy")?,
            ece: numbers(&mut entries, "tegu.ece")?,
            temperature: number(&mut entries, "tegu.temperature", "a number")?,
            space: entries.remove("tegu.space"),
            architecture: entries.remove("tegu.architecture"),
            study: entries.remove("tegu.study"),
            tegu_version: entries.remove("tegu.version"),
            weights_sha256: entries.remove("tegu.weights_sha256"),
            data_sha256: entries.remove("tegu.data_sha256"),
            normalisation: entries.remove(NORMALISATION_KEY),
            layers: entries.remove("tegu.layers"),
            quantization: entries.remove("tegu.quantization"),
        })
    }
}

fn number<T: FromStr>(
    entries: &mut BTreeMap<String, String>,
    key: &str,
    expected: &str,
) -> Result<Option<T>, OnnxError> {
    let parse = |text: String| {
        text.parse().map_err(|_| OnnxError::Metadata {
            key: key.into(),
            reason: format!("found `{text}`, expected {expected}"),
        })
    };
    entries.remove(key).map(parse).transpose()
}

fn numbers(entries: &mut BTreeMap<String, String>, key: &str) -> Result<BTreeMap<String, f64>, OnnxError> {
    let Some(text) = entries.remove(key) else { return Ok(BTreeMap::new()) };
    serde_json::from_str(&text).map_err(|error| OnnxError::Metadata {
        key: key.into(),
        reason: format!("{error}, expected a JSON object of numbers"),
    })
}

/// Reads what Tegu wrote about a model; all absent where it was not Tegu that wrote it.
///
/// # Errors
/// If the file is no ONNX model, or a value is not of its key's type.
pub fn read_metadata(path: &Path) -> Result<Metadata, OnnxError> {
    let props = super::decode(path)?.metadata_props;
    Metadata::from_entries(props.into_iter().map(|entry| (entry.key, entry.value)).collect())
}
