//! From a trained network to figures and to the model file that is deployed.
//!
//! A temperature T is written into the model as the scale of its last layer: weight and bias divided by T. The logits that
//! come out are those of softmax(z / T), at no cost and on any runtime; the likeliest class stays what it was.

use super::TrainError;
use super::evaluation::{Metrics, predict};
use super::loaders::Loaders;
use super::logits::{scaled, with_softmax};
use super::trainer::Trained;
use crate::data::{Normalisation, Values};
use crate::network::fold_batch_norms;
use crate::onnx::{self, ExportOptions, Metadata, OnnxModel, Pixels};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How good a trained network is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluated {
    /// What logits are to be divided by, fitted on the validation samples; 1 without them.
    pub temperature: f64,
    /// By part (`validation`, `test`): with logits as trained.
    pub before: BTreeMap<String, Metrics>,
    /// By part: with logits divided by the temperature.
    pub after: BTreeMap<String, Metrics>,
}

/// What the deployed model is to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOptions {
    /// Whether the model takes bytes, 0 to 255, and normalises them itself.
    pub pixels: bool,
    /// Whether it ends with a softmax.
    pub softmax: bool,
    /// Whether batch normalisation is folded into the layers before it.
    pub fold: bool,
    /// How it is written.
    pub export: ExportOptions,
}

/// Runs a trained network on the validation and test samples, and fits its temperature on the former.
///
/// # Errors
/// If a batch can't be made, or Candle fails.
pub fn evaluate(trained: &Trained, data: &Loaders) -> Result<Evaluated, TrainError> {
    let mut all = vec![];
    for (name, loader) in [("validation", &data.validation), ("test", &data.test)] {
        if let Some(loader) = loader {
            all.push((name, predict(&trained.graph, &trained.weights, loader)?));
        }
    }
    let fitted = all.iter().find(|(name, _)| *name == "validation").map(|(_, all)| all.fit_temperature());
    let temperature = match super::logits::last_layer(&trained.graph) {
        Some(_) => fitted.unwrap_or(1.0),
        // There would be no place for it in the model.
        None => 1.0,
    };
    let metrics = |temperature: f64| {
        all.iter().map(|(name, predictions)| ((*name).to_owned(), predictions.metrics(temperature))).collect()
    };
    Ok(Evaluated { temperature, before: metrics(1.0), after: metrics(temperature) })
}

/// Writes a trained network as an ONNX model: with its temperature, and what is known of it in the metadata.
///
/// # Errors
/// If the data are features and the model is to take bytes, or it can't be written in these options.
pub fn export(
    trained: &Trained,
    evaluated: &Evaluated,
    data: &Loaders,
    metadata: Metadata,
    options: ModelOptions,
) -> Result<OnnxModel, TrainError> {
    let ModelOptions { pixels, softmax, fold, mut export } = options;
    let weights = match evaluated.temperature {
        1.0 => None,
        temperature => scaled(&trained.graph, &trained.weights, 1.0 / temperature)?,
    };
    let weights = weights.unwrap_or_else(|| trained.weights.clone());
    let (graph, weights) =
        if fold { fold_batch_norms(&trained.graph, &weights)? } else { (trained.graph.clone(), weights) };
    let graph = if softmax { with_softmax(&graph)? } else { graph };
    let normalisation = data.train.normalisation();
    if pixels {
        if !matches!(data.train.part().samples().values(), Values::U8(_)) {
            return Err(TrainError::Data(crate::data::DataError::Option {
                field: "pixels",
                reason: "the data are features, expected images of bytes".into(),
            }));
        }
        export.pixels = Some(of_pixels(normalisation));
    }
    let metadata = Metadata {
        weights_sha256: Some(weights.sha256()?),
        accuracy: evaluated.after.iter().map(|(part, metrics)| (part.clone(), metrics.accuracy)).collect(),
        ece: evaluated.after.iter().map(|(part, metrics)| (part.clone(), metrics.ece)).collect(),
        temperature: Some(evaluated.temperature),
        data_sha256: Some(data.sha256.clone()),
        normalisation: Some(serde_json::to_string(normalisation).expect("finite numbers are JSON")),
        ..metadata
    };
    Ok(onnx::export(&graph, &weights, &metadata, export)?)
}

fn of_pixels(normalisation: &Normalisation) -> Pixels {
    let all = (0..normalisation.channels()).map(|channel| normalisation.factor_and_summand(channel));
    let (factor, summand) = all.unzip();
    Pixels { factor, summand }
}
