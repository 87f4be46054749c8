//! Correlations of input Jacobians within classes.
//!
//! For each class the correlation matrix of its samples' input Jacobians (see [`Jacov`](super::Jacov)) gives
//! e = Σ ln(|ρ| + k) over its elements, k = 10⁻⁵; the score is Σ |e| over the classes, or, where a batch has more than
//! 100 classes, the mean over classes of Σ |e_i − e_j| with e divided by the class's samples (Lopes et al. 2021,
//! EPE-NAS). Probe labels are random, so that it is the correlations of small groups of samples.

use super::jacov::K;
use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;
use std::collections::BTreeMap;

/// Classes in a batch above which they are compared with each other.
const MANY: usize = 100;

/// Disagreement of input Jacobians within classes, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct EpeNas;

impl Indicator for EpeNas {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "epe_nas",
            direction: Direction::Maximize,
            description: "expressivity: how differently the network sees samples of one class",
            formula: "Σ over classes of |Σ ln(|correlation| + k)| of input Jacobians",
            source: "Lopes et al. 2021 (EPE-NAS)",
            view: View::Features,
            cost: "a forward and a backward pass, shared",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let correlations = run.input_correlations()?;
        let mut classes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (sample, &label) in run.labels()[0].iter().enumerate() {
            classes.entry(label).or_default().push(sample);
        }
        let many = classes.len() > MANY;
        let of_class = |samples: &Vec<usize>| -> f64 {
            let pairs = samples.iter().flat_map(|&a| samples.iter().map(move |&b| (a, b)));
            let sum: f64 = pairs.map(|pair| (correlations[pair].abs() + K).ln()).sum();
            if many { sum / samples.len() as f64 } else { sum }
        };
        let scores: Vec<f64> = classes.values().map(of_class).collect();
        Ok(match many {
            false => scores.iter().map(|score| score.abs()).sum(),
            true => {
                let differences = scores.iter().flat_map(|a| scores.iter().map(move |b| (a - b).abs()));
                differences.sum::<f64>() / scores.len() as f64
            }
        })
    }
}
