//! Training-free scores of a candidate, one file an indicator.

mod batch;
mod batches;
mod brought;
mod calibration_accuracy;
mod conv_layers;
mod data_images;
mod depth;
pub mod diswot;
mod epe_nas;
mod fisher;
mod grad_norm;
mod grad_sign;
mod grasp;
mod identity_path;
mod images;
mod jacov;
mod l2_norm;
pub mod linear_regions;
mod live_conv_weights;
pub mod loss;
mod macs;
mod meco;
mod naswot;
pub mod ntk;
mod ntk_condition;
mod ntk_effective_rank;
mod ntk_entropy;
pub mod ntk_regression;
mod ntk_transfer;
mod params;
mod pca_entropy;
mod plain;
mod probe;
pub mod probe_batch;
mod progressivity;
mod registry;
mod settings;
mod shortest_path;
mod signs;
mod snip;
mod spectrum;
mod stacked;
mod swap;
mod synflow;
#[cfg(test)]
mod tests;
mod trainability;
mod view;
mod width;
mod zen;
mod zico;

pub use batch::{first_isomorphic, score_each};
pub use data_images::ProbeData;
pub use images::Images;
pub use linear_regions::LinearRegions;
pub use ntk_condition::NtkCondition;
pub use ntk_regression::NtkRegression;
pub use probe::{Probes, Run};
pub use registry::{all, distinct, named, teg};
pub use settings::{Mode, Settings, SettingsSection};
pub use view::View;

use crate::genotype::Genotype;
use crate::network::WeightsError;
use crate::objective::Direction;
use crate::space::{SearchSpace, SpaceError};
use serde::{Deserialize, Serialize};
use stacked::Known;
use std::collections::BTreeMap;

/// The values of indicators, by name.
pub type Values = BTreeMap<String, f64>;

/// What is to be known about an indicator.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Name, as in configs and reports.
    pub name: &'static str,
    /// Whether more or less of it is better.
    pub direction: Direction,
    /// What it says of a network.
    pub description: &'static str,
    /// How it is computed.
    pub formula: &'static str,
    /// Paper and section.
    pub source: &'static str,
    /// Which networks it looks at.
    pub view: View,
    /// What a network costs: passes over the batch.
    pub cost: &'static str,
}

/// A score that needs no training.
pub trait Indicator: Send + Sync {
    /// What is to be known about it.
    fn facts(&self) -> &'static Facts;

    /// Whether it asks for kernels across to a second batch, which cost as much again as those of the first.
    fn needs_second_batch(&self) -> bool {
        false
    }

    /// What it says of one network of the candidate.
    ///
    /// # Errors
    /// If it says nothing of this network, or Candle fails.
    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError>;

    /// What it says of the candidate, from what it said of its networks.
    fn average(&self, values: &[f64], _: Mode) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }
}

/// What an indicator says of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The value, finite.
    pub value: f64,
    /// The values of the networks that it is the average of.
    pub networks: Vec<f64>,
}

/// The scores of a candidate by the indicators' names; each is there, or the reason why not.
pub type Scores = BTreeMap<&'static str, Result<Score, IndicatorError>>;

/// Scores a candidate.
pub fn score(
    probes: &Probes,
    space: &SearchSpace,
    genotype: &Genotype,
    indicators: &[&'static dyn Indicator],
) -> Scores {
    score_knowing(probes, space, genotype, indicators, &Known::default())
}

/// As [`score`], with what is known of the candidate's networks.
fn score_knowing(
    probes: &Probes,
    space: &SearchSpace,
    genotype: &Genotype,
    indicators: &[&'static dyn Indicator],
    known: &Known,
) -> Scores {
    let mut scores = Scores::new();
    for view in View::ALL {
        let of_view: Vec<_> = indicators.iter().copied().filter(|indicator| indicator.facts().view == view).collect();
        if of_view.is_empty() {
            continue;
        }
        let across = of_view.iter().any(|indicator| indicator.needs_second_batch());
        let mut networks: Vec<Result<Vec<f64>, IndicatorError>> = of_view.iter().map(|_| Ok(vec![])).collect();
        match probes.graph(space, genotype, view) {
            Ok(graph) => {
                for number in 0..view.networks(probes.settings()) {
                    let run = known.tell(probes.run(&graph, view, number).across(across), view, number);
                    let run = if view == View::Brought { run.of(space, genotype) } else { run };
                    for (indicator, values) in of_view.iter().zip(&mut networks) {
                        let evaluated = |known: &mut Vec<f64>| -> Result<(), IndicatorError> {
                            known.push(finite(indicator.facts().name, indicator.evaluate(&run)?)?);
                            Ok(())
                        };
                        if let Ok(known) = values
                            && let Err(error) = evaluated(known)
                        {
                            *values = Err(error);
                        }
                    }
                }
            }
            // A reason for each; the graph is refused before anything costs time.
            Err(_) => networks.iter_mut().for_each(|values| {
                *values = probes.graph(space, genotype, view).map(|_| vec![]);
            }),
        }
        for (indicator, values) in of_view.iter().zip(networks) {
            let score = values.and_then(|networks| {
                let value = finite(indicator.facts().name, indicator.average(&networks, probes.settings().mode))?;
                Ok(Score { value, networks })
            });
            scores.insert(indicator.facts().name, score);
        }
    }
    scores
}

/// Why a candidate has no score.
#[derive(Debug, thiserror::Error)]
pub enum IndicatorError {
    /// The output does not depend on the input.
    #[error("dead network: the output does not depend on the input")]
    Dead,
    /// A network that takes more memory than all candidates together may.
    #[error("its networks take about {needed_mib} MiB of memory, `indicators.memory_mib` is {budget_mib}")]
    Memory {
        /// What it takes.
        needed_mib: u64,
        /// What there is.
        budget_mib: u64,
    },
    /// A kernel that can't be inverted.
    #[error("{indicator}: the kernel is singular")]
    Singular {
        /// The indicator.
        indicator: &'static str,
    },
    /// A network that it says nothing of.
    #[error("{indicator}: {reason}")]
    Undefined {
        /// The indicator.
        indicator: &'static str,
        /// What the network lacks.
        reason: &'static str,
    },
    /// A value that is no number.
    #[error("{indicator}: the value is {value}")]
    NotFinite {
        /// The indicator.
        indicator: &'static str,
        /// Infinite, or not a number.
        value: f64,
    },
    /// A network that it is not defined for.
    #[error("{indicator}: {reason}")]
    Unfit {
        /// The indicator.
        indicator: &'static str,
        /// What was found, and what was expected.
        reason: String,
    },
    /// The architecture can't be built.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The network can't be run.
    #[error(transparent)]
    Network(#[from] WeightsError),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// `value`, if it is a number.
fn finite(indicator: &'static str, value: f64) -> Result<f64, IndicatorError> {
    if value.is_finite() { Ok(value) } else { Err(IndicatorError::NotFinite { indicator, value }) }
}
