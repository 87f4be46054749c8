//! What a few labels add to a recipe, found out on labels that were not used.
//!
//! The label-free recipe is where every fit starts from: with no labels it is the answer.

mod correction;
mod examples;
mod pairwise;
mod robot;

use super::{Recipe, Scored};
use crate::indicator::{Indicator, named};
use crate::statistics::spearman;
use examples::{Example, Examples};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Draws of labels that a fit is evaluated on.
const DRAWS: usize = 20;

/// Indicators that a fit looks at beside its recipe's.
const FEATURES: [&str; 8] =
    ["ntk_transfer", "ntk_entropy", "pca_entropy", "naswot", "grad_sign", "l2_norm", "params", "macs"];

/// What some labels bring on a space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Labels of a draw.
    pub labels: usize,
    /// Draws.
    pub draws: usize,
    /// Spearman's ρ of the label-free recipe with the labels that were not used, the mean over the draws.
    pub without_labels: f64,
    /// The same with labels.
    pub fitted: Vec<Fitted>,
    /// The best of as many trained architectures, where these are chosen.
    pub chosen: Vec<Chosen>,
}

/// How a score is fitted to labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The label-free score, corrected by what a Gaussian process learns of its errors.
    Correction,
    /// Weights that put pairs in order (the logistic loss of each).
    Pairwise,
    /// Weights that put pairs in order, by DiffKendall.
    DiffKendall,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Correction => "correction",
            Self::Pairwise => "the pairwise loss",
            Self::DiffKendall => "DiffKendall",
        })
    }
}

/// A fitted score, on the labels that were not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// How.
    pub method: Method,
    /// Spearman's ρ, the mean over the draws.
    pub spearman: f64,
    /// The least gain of a draw over the label-free recipe; below 0 where labels did harm.
    pub least_gain: f64,
    /// The mean weights of merits with deviation 1, by indicator, where the score is a weighted sum.
    pub weights: Vec<(String, f64)>,
}

/// What is found when so many architectures are chosen and trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// By what they are chosen.
    pub by: String,
    /// The truth's best figure among them, the mean over the draws.
    pub best: f64,
}

impl Recipe {
    /// The recipe's indicators and those that a fit looks at as well.
    pub fn with_features(&self) -> Vec<&'static dyn Indicator> {
        let more = FEATURES.iter().filter_map(|name| named(name).ok());
        crate::indicator::distinct(self.indicators().into_iter().chain(more))
    }
}

impl Scored<'_> {
    /// Fits the recipe to `labels` of the truth, drawn by `seed`, in each way, and evaluates on the others. The scores
    /// of truth and reference are to have [`Recipe::with_features`].
    pub fn fit(&self, recipe: &Recipe, labels: usize, seed: u64) -> Fit {
        let examples = Examples::new(self, recipe);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = examples.all.len();
        let rho = |of: &[&Example], scores: Vec<f64>| {
            spearman(&scores, &of.iter().map(|example| example.label).collect::<Vec<_>>()).unwrap_or(0.0)
        };
        let methods = [Method::Correction, Method::Pairwise, Method::DiffKendall];
        let (mut unfitted, mut fitted) = (vec![], vec![vec![]; methods.len()]);
        let mut weights = vec![vec![0.0; examples.names.len()]; methods.len()];
        let [mut robot, mut random] = [vec![], vec![]];
        for _ in 0..DRAWS {
            let mut order: Vec<&Example> = examples.all.iter().collect();
            order.shuffle(&mut rng);
            let (known, others) = order.split_at(labels.min(count));
            unfitted.push(rho(others, others.iter().map(|example| example.score(&examples.prior)).collect()));
            for (at, method) in methods.iter().enumerate() {
                let scores = match method {
                    Method::Correction => correction::scores(known, others, &examples.prior),
                    Method::Pairwise | Method::DiffKendall => {
                        let found = pairwise::weights(known, &examples.prior, *method == Method::DiffKendall);
                        weights[at].iter_mut().zip(found.iter()).for_each(|(sum, w)| *sum += w / DRAWS as f64);
                        others.iter().map(|example| example.score(&found)).collect()
                    }
                };
                fitted[at].push(rho(others, scores));
            }
            robot.push(robot::best_found(&examples, labels, &mut rng));
            random.push(known.iter().map(|example| example.label).fold(f64::MIN, f64::max));
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let gains = |with: &[f64]| with.iter().zip(&unfitted).map(|(with, without)| with - without).fold(1.0, f64::min);
        let row = |at: usize| Fitted {
            method: methods[at],
            spearman: mean(&fitted[at]),
            least_gain: gains(&fitted[at]),
            weights: match methods[at] {
                Method::Correction => vec![],
                _ => examples.names.iter().cloned().zip(weights[at].iter().copied()).collect(),
            },
        };
        let first = |score: &dyn Fn(&Example) -> f64| examples.best_of_first(labels, score);
        let chosen = [
            ("robot", mean(&robot)),
            (recipe.name, first(&|example| example.score(&examples.prior))),
            ("control: macs", first(&|example| example.macs)),
            ("control: random", mean(&random)),
        ];
        Fit {
            labels,
            draws: DRAWS,
            without_labels: mean(&unfitted),
            fitted: (0..methods.len()).map(row).collect(),
            chosen: chosen.map(|(by, best)| Chosen { by: by.to_owned(), best }).into(),
        }
    }
}

#[cfg(test)]
mod tests;
