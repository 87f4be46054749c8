//! How good a trained network is on samples that it was not trained on, and how far its probabilities are to be trusted.
//!
//! - loss: mean -ln p of the true class
//! - expected calibration error: Σ |bin| / n · |accuracy of the bin - mean confidence of the bin|, over 15 bins of as many
//!   samples each, in the order of confidence (Nixon et al. 2019)
//! - temperature: the T that makes the loss of softmax(z / T) least (Guo et al. 2017)

use super::TrainError;
use crate::data::{DataError, Loader};
use crate::graph::Graph;
use crate::network::{Mode, Weights, forward};
use serde::{Deserialize, Serialize};

/// Bins of the calibration error.
pub const BINS: usize = 15;

/// A network's logits of some samples, with their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    classes: usize,
    /// One sample behind the other.
    logits: Vec<f32>,
    labels: Vec<u32>,
}

/// How good predictions are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Samples.
    pub samples: usize,
    /// Share of samples whose likeliest class is the true one.
    pub accuracy: f64,
    /// Mean negative log-likelihood.
    pub loss: f64,
    /// Expected calibration error.
    pub ece: f64,
}

/// Runs a network whose output is logits on all samples of `loader`, with its running statistics.
///
/// # Errors
/// If a batch can't be made, a weight is missing, or Candle fails.
pub fn predict(graph: &Graph, weights: &Weights, loader: &Loader) -> Result<Predictions, TrainError> {
    let (mut logits, mut labels) = (vec![], vec![]);
    for batch in loader.in_order() {
        let batch = batch?;
        let output = forward(graph, weights, &batch.images, Mode::Inference)?;
        logits.extend(output.flatten_all()?.to_vec1::<f32>()?);
        labels.extend(batch.labels.to_vec1::<u32>()?);
    }
    Predictions::new(graph.output_shape().elements(), logits, labels)
}

impl Predictions {
    /// Predictions of so many `classes`: logits of one sample behind the other, a label each.
    ///
    /// # Errors
    /// If there is no sample, a label is no class, or there are not `classes` logits a label.
    pub fn new(classes: usize, logits: Vec<f32>, labels: Vec<u32>) -> Result<Self, TrainError> {
        let wrong = |reason: String| Err(TrainError::Data(DataError::Option { field: "predictions", reason }));
        if labels.is_empty() || logits.len() != labels.len() * classes {
            return wrong(format!("found {} logits of {} samples and {classes} classes", logits.len(), labels.len()));
        }
        match labels.iter().find(|&&label| label as usize >= classes) {
            Some(label) => wrong(format!("found label {label}, expected less than {classes}")),
            None => Ok(Self { classes, logits, labels }),
        }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Logits of one sample behind the other.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// How good they are, logits divided by `temperature`.
    pub fn metrics(&self, temperature: f64) -> Metrics {
        let mut correct = 0;
        let mut confidences = Vec::with_capacity(self.len());
        for (row, &label) in self.rows() {
            let (best, highest) = likeliest(row);
            let hit = best == label as usize;
            correct += usize::from(hit);
            confidences.push(((-log_sum_exp(row, highest, 1.0 / temperature)).exp(), hit));
        }
        Metrics {
            samples: self.len(),
            accuracy: correct as f64 / self.len() as f64,
            loss: self.loss(temperature),
            ece: calibration_error(confidences, BINS),
        }
    }

    /// Mean negative log-likelihood, logits divided by `temperature`.
    pub fn loss(&self, temperature: f64) -> f64 {
        let scale = 1.0 / temperature;
        let of = |(row, &label): (&[f32], &u32)| {
            let highest = likeliest(row).1;
            log_sum_exp(row, highest, scale) - scale * f64::from(row[label as usize] - highest)
        };
        self.rows().map(of).sum::<f64>() / self.len() as f64
    }

    /// The temperature of least loss, from 0.01 to 100. The loss is convex in 1 / T: its slope, the mean of
    /// E_p\[z\] - z of the true class, rises, and where it crosses 0 is found by bisection.
    pub fn fit_temperature(&self) -> f64 {
        let slope = |scale: f64| -> f64 {
            self.rows().map(|(row, &label)| expectation(row, scale) - f64::from(row[label as usize])).sum()
        };
        let (mut low, mut high) = (1e-2f64.ln(), 1e2f64.ln());
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if slope(middle.exp()) < 0.0 { low = middle } else { high = middle }
        }
        (-f64::midpoint(low, high)).exp()
    }

    fn rows(&self) -> impl Iterator<Item = (&[f32], &u32)> {
        self.logits.chunks_exact(self.classes).zip(&self.labels)
    }
}

/// The first class of the largest logit, and that logit.
fn likeliest(row: &[f32]) -> (usize, f32) {
    let better = |best: (usize, f32), (at, &value): (usize, &f32)| if value > best.1 { (at, value) } else { best };
    row.iter().enumerate().fold((0, f32::NEG_INFINITY), better)
}

/// ln Σ exp(scale · (z - highest)).
fn log_sum_exp(row: &[f32], highest: f32, scale: f64) -> f64 {
    row.iter().map(|&z| (scale * f64::from(z - highest)).exp()).sum::<f64>().ln()
}

/// The mean logit under softmax(scale · z).
fn expectation(row: &[f32], scale: f64) -> f64 {
    let highest = likeliest(row).1;
    let (mut sum, mut weights) = (0.0, 0.0);
    for &z in row {
        let weight = (scale * f64::from(z - highest)).exp();
        sum += weight * f64::from(z);
        weights += weight;
    }
    sum / weights
}

/// The expected calibration error of confidences, each with whether it was right.
fn calibration_error(mut all: Vec<(f64, bool)>, bins: usize) -> f64 {
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (count, bins) = (all.len(), bins.min(all.len()));
    // As even as can be: the first bins have one more.
    let (size, larger) = (count / bins, count % bins);
    let (mut begin, mut error) = (0, 0.0);
    for bin in 0..bins {
        let end = begin + size + usize::from(bin < larger);
        let confidence: f64 = all[begin..end].iter().map(|(confidence, _)| confidence).sum();
        let correct = all[begin..end].iter().filter(|(_, hit)| *hit).count() as f64;
        error += (correct - confidence).abs();
        begin = end;
    }
    error / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits that are surer than they should be.
    fn predictions() -> Predictions {
        let (count, classes) = (200, 4);
        let logit = |at: usize| (((at * at * 104_729 + at * 7919) % 65_521) as f64 / 65_521.0 - 0.5) as f32 * 8.0;
        let logits: Vec<f32> = (0..count * classes).map(logit).collect();
        let labels = (0..count).map(|sample| if sample % 3 == 0 { sample % classes } else { 0 } as u32).collect();
        let mut predictions = Predictions::new(classes, logits, labels).unwrap();
        // Two samples of three are right.
        for sample in (0..count).filter(|sample| sample % 3 > 0) {
            predictions.labels[sample] = likeliest(&predictions.logits[sample * classes..][..classes]).0 as u32;
        }
        predictions
    }

    // import numpy as np
    // n, c = 200, 4
    // i = np.arange(n * c)
    // z = (((i * i * 104729 + i * 7919) % 65521 / 65521 - 0.5) * 8).astype(np.float32).astype(float).reshape(n, c)
    // y = np.where(np.arange(n) % 3 == 0, np.arange(n) % c, z.argmax(1))
    // p = lambda T: np.exp(z / T) / np.exp(z / T).sum(1, keepdims=True)
    // loss = lambda T: -np.log(p(T)[np.arange(n), y]).mean()
    // a, b = 0.01, 100.0
    // while b - a > 1e-9:
    //     l, r = a + (b - a) / 3, b - (b - a) / 3
    //     a, b = (a, r) if loss(l) < loss(r) else (l, b)
    // T = (a + b) / 2
    // def ece(T):
    //     conf, hit = p(T).max(1), z.argmax(1) == y
    //     return sum(abs(hit[b].sum() - conf[b].sum()) for b in np.array_split(np.argsort(conf, kind="stable"), 15)) / n
    // print(", ".join(repr(float(x)) for x in ((z.argmax(1) == y).mean(), loss(1), ece(1), T, loss(T), ece(T))), end="")
    #[test]
    fn figures_are_those_of_numpy() {
        let predictions = predictions();
        let check = |what: &str, found: f64, expected: f64, within: f64| {
            assert!((found - expected).abs() < within, "{what}: {found}, expected {expected}");
        };
        let [accuracy, loss, ece, temperature, loss_after, ece_after] = [
            0.73,
            1.1683799069050982,
            0.12498866583870998,
            1.9092388969587955,
            1.0188343738563332,
            0.16387843297995666,
        ];
        let before = predictions.metrics(1.0);
        check("accuracy", before.accuracy, accuracy, 1e-12);
        check("loss", before.loss, loss, 1e-6);
        check("ece", before.ece, ece, 1e-6);
        let fitted = predictions.fit_temperature();
        check("temperature", fitted, temperature, 1e-5);
        let after = predictions.metrics(fitted);
        check("loss after", after.loss, loss_after, 1e-6);
        check("ece after", after.ece, ece_after, 1e-5);
        assert_eq!(after.accuracy, before.accuracy);
        assert!(fitted > 1.0 && after.loss < before.loss);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |classes, logits: usize, labels: &[u32], expected: &str| {
            let error = Predictions::new(classes, vec![0.0; logits], labels.to_vec()).unwrap_err().to_string();
            assert_eq!(error, expected);
        };
        check(3, 0, &[], "predictions: found 0 logits of 0 samples and 3 classes");
        check(3, 5, &[0, 1], "predictions: found 5 logits of 2 samples and 3 classes");
        check(3, 6, &[0, 3], "predictions: found label 3, expected less than 3");
    }
}
