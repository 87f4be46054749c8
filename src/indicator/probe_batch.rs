//! Which samples of a data set make a batch to probe networks with: the hardest of each class.
//!
//! A sample's difficulty, by networks that are untrained or a few epochs old (Paul et al. 2021, "Deep Learning on a Data
//! Diet", Section 2): EL2N_i = E ‖softmax(f(x_i)) − onehot(y_i)‖₂, GraNd_i = E ‖∂l_i/∂w‖₂, the means being over networks.
//! Batch normalisation uses the statistics of a part of the samples at a time.

use super::IndicatorError;
use super::grad_sign::{loss_cotangents, prediction_errors};
use crate::graph::Graph;
use crate::network::{Mode, PerSampleGradients, Weights, forward};
use candle_core::Tensor;
use std::collections::BTreeMap;

/// What makes a sample hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difficulty {
    /// The norm of its prediction's error: a forward pass.
    El2n,
    /// The norm of its loss's gradient with respect to all weights but biases: a reverse pass for each sample.
    GraNd,
}

impl Difficulty {
    /// Samples that share their statistics.
    fn part(self) -> usize {
        match self {
            Self::El2n => 64,
            Self::GraNd => 16,
        }
    }

    /// How hard the samples are, `images` `[samples, channels, height, width]` of the classes `labels`, to the networks
    /// of these weights.
    ///
    /// # Errors
    /// If there is no network, it is no classifier of these labels, a weight is missing, or Candle fails.
    pub fn of(
        self,
        graph: &Graph,
        networks: &[Weights],
        images: &Tensor,
        labels: &[usize],
    ) -> Result<Vec<f64>, IndicatorError> {
        let (samples, classes) = (images.dim(0)?, graph.output_shape().elements());
        let unfit = |reason| Err(IndicatorError::Unfit { indicator: "probe batch", reason });
        if networks.is_empty() {
            return unfit("expected one network or more, found none".to_owned());
        }
        if labels.len() != samples || labels.iter().any(|&label| label >= classes) {
            let found = labels.iter().max().map_or("none".to_owned(), |most| format!("{} up to {most}", labels.len()));
            return unfit(format!("expected {samples} labels below {classes}, found {found}"));
        }
        let mut sums = vec![0.0; samples];
        let parts = samples.div_ceil(self.part());
        for weights in networks {
            for part in 0..parts {
                // Of nearly one size, so that none is left with too few for statistics.
                let (first, end) = (part * samples / parts, (part + 1) * samples / parts);
                let images = images.narrow(0, first, end - first)?;
                let norms = self.of_part(graph, weights, &images, &labels[first..end])?;
                sums[first..end].iter_mut().zip(norms).for_each(|(sum, norm)| *sum += norm);
            }
        }
        Ok(sums.into_iter().map(|sum| sum / networks.len() as f64).collect())
    }

    fn of_part(
        self,
        graph: &Graph,
        weights: &Weights,
        images: &Tensor,
        labels: &[usize],
    ) -> Result<Vec<f64>, IndicatorError> {
        let squares = |rows: &Tensor| -> Result<Vec<f64>, candle_core::Error> {
            Ok(rows.sqr()?.sum(1)?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
        };
        let mut sums = vec![0.0; labels.len()];
        match self {
            Self::El2n => {
                let logits = forward(graph, weights, images, Mode::Train)?;
                sums = squares(&prediction_errors(&logits, labels)?)?;
            }
            Self::GraNd => {
                let seeds = |logits: &Tensor| loss_cotangents(logits, labels);
                for layer in PerSampleGradients::with_seeds(graph, weights, images, seeds)? {
                    sums.iter_mut().zip(squares(&layer?.gradient)?).for_each(|(sum, square)| *sum += square);
                }
            }
        }
        Ok(sums.into_iter().map(f64::sqrt).collect())
    }
}

/// The samples of a batch of `count`: the hardest, as many of each class as there are, after the hardest `skipped` (0
/// to 1) of each class, among which the wrong labels are. In turns by class, the hardest first; fewer than `count` where
/// there are no more.
pub fn pick(difficulties: &[f64], labels: &[usize], count: usize, skipped: f64) -> Vec<usize> {
    let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (sample, &label) in labels.iter().enumerate().take(difficulties.len()) {
        classes.entry(label).or_default().push(sample);
    }
    for samples in classes.values_mut() {
        // Stable: of equals, the first.
        samples.sort_by(|&a, &b| difficulties[b].total_cmp(&difficulties[a]));
        samples.drain(..(samples.len() as f64 * skipped.clamp(0.0, 1.0)) as usize);
    }
    let turns = classes.values().map(Vec::len).max().unwrap_or(0);
    let in_turns = (0..turns).flat_map(|turn| classes.values().filter_map(move |samples| samples.get(turn).copied()));
    in_turns.take(count).collect()
}
