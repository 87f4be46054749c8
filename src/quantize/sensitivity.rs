//! How much each layer costs when it alone runs on integers.

use super::{Feed, FloatModel, Precision, QuantizeError, Ranges, Runner, Scheme};
use serde::Serialize;

/// What a layer costs alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sensitivity {
    /// The layer.
    pub layer: String,
    /// Signal-to-noise ratio of the model's output, 10 · lg(Σ y² / Σ (y − ŷ)²); infinite where nothing changes.
    pub decibels: f64,
    /// Samples whose class the model says otherwise than before.
    pub changed: usize,
    /// Accuracy on the samples, minus that of the model of floats.
    pub accuracy_change: f64,
}

impl FloatModel {
    /// Quantises one layer alone after the other, and compares the outputs; the most sensitive layer first. `done` hears of
    /// each that is done, and of how many there are.
    ///
    /// # Errors
    /// If a model can't be run.
    pub fn sensitivities(
        &self,
        ranges: &Ranges,
        scheme: &Scheme,
        (runner, feed): (&Runner, &Feed),
        mut done: impl FnMut(usize, usize),
    ) -> Result<Vec<Sensitivity>, QuantizeError> {
        let layers: Vec<String> = self
            .layers()
            .into_iter()
            .map(|layer| layer.name)
            .filter(|name| scheme.of(name) != Precision::Float)
            .collect();
        let before = runner.outputs(&self.folded().bytes, feed)?;
        let accuracy = feed.accuracy(&before).share();
        let mut all = vec![];
        for (at, layer) in layers.iter().enumerate() {
            let alone = Scheme {
                layers: [(layer.clone(), scheme.of(layer))].into(),
                others: Precision::Float,
                ..scheme.clone()
            };
            let after = runner.outputs(&self.quantize(ranges, &alone)?.bytes, feed)?;
            let pairs = || before.iter().flatten().zip(after.iter().flatten());
            let signal: f64 = pairs().map(|(y, _)| f64::from(*y).powi(2)).sum();
            let noise: f64 = pairs().map(|(y, other)| (f64::from(*y) - f64::from(*other)).powi(2)).sum();
            all.push(Sensitivity {
                layer: layer.clone(),
                decibels: if noise > 0.0 { 10.0 * (signal / noise).log10() } else { f64::INFINITY },
                changed: before.iter().zip(&after).filter(|(a, b)| likeliest(a) != likeliest(b)).count(),
                accuracy_change: feed.accuracy(&after).share() - accuracy,
            });
            done(at + 1, layers.len());
        }
        all.sort_by(|a, b| a.decibels.total_cmp(&b.decibels));
        Ok(all)
    }
}

fn likeliest(row: &[f32]) -> Option<usize> {
    (0..row.len()).reduce(|best, class| if row[class] > row[best] { class } else { best })
}
