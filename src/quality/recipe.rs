//! Which indicators make a quality, and how much each counts.

use super::Combine;
use crate::indicator::{self, Indicator};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The recipe of a quality, as written in a config.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipeSection {
    /// Adapts itself to the space, without labels: an indicator that is not reliable over seeds there, or that
    /// contradicts the others, is dropped.
    #[default]
    Adaptive,
    /// The TEG three (Chen et al. 2021).
    Teg,
    /// What ranks NAS-Bench-201 best; chosen on that space, and not good on others.
    #[serde(rename = "nas_bench_201")]
    NasBench201,
    /// Weights by the indicators' names; none is dropped.
    Weights(BTreeMap<String, f64>),
}

/// The `quality` section of a config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QualitySection {
    /// Which indicators count, and how much.
    pub recipe: RecipeSection,
    /// How their standings become one figure.
    pub combine: Combine,
    /// Architectures of the reference sample that a candidate's standings are taken in.
    pub reference: usize,
}

impl Default for QualitySection {
    fn default() -> Self {
        Self { recipe: RecipeSection::default(), combine: Combine::default(), reference: 64 }
    }
}

/// A recipe, resolved.
#[derive(Clone)]
pub struct Recipe {
    /// Name, as in reports.
    pub name: &'static str,
    /// The indicators with their weights.
    pub terms: Vec<(&'static dyn Indicator, f64)>,
    /// Whether an indicator may be dropped that does not do on a space.
    pub gated: bool,
    /// How the terms become one figure.
    pub combine: Combine,
}

/// The adaptive recipe before its gates.
const ADAPTIVE: &[(&str, f64)] = &[
    ("meco", 2.0),
    ("ntk_condition", 1.0),
    ("swap", 1.0),
    ("linear_regions", 0.5),
    ("conv_layers", 0.5),
    ("identity_path", 1.0),
];

const NAS_BENCH_201: &[(&str, f64)] =
    &[("meco", 2.0), ("ntk_condition", 1.0), ("swap", 1.0), ("conv_layers", 0.5), ("identity_path", 1.0)];

const TEG: &[(&str, f64)] = &[("ntk_condition", 1.0), ("linear_regions", 1.0), ("ntk_regression", 1.0)];

impl RecipeSection {
    /// The recipe.
    ///
    /// # Errors
    /// If a weight names no indicator, or is no number; the reason.
    pub fn resolve(&self, combine: Combine) -> Result<Recipe, String> {
        let (name, terms, gated) = match self {
            Self::Adaptive => ("adaptive", named(ADAPTIVE.iter().copied())?, true),
            Self::Teg => ("teg", named(TEG.iter().copied())?, false),
            Self::NasBench201 => ("nas_bench_201", named(NAS_BENCH_201.iter().copied())?, false),
            Self::Weights(weights) => {
                let weights = weights.iter().map(|(name, weight)| (name.as_str(), *weight));
                ("weights", named(weights)?, false)
            }
        };
        if !terms.iter().any(|(_, weight)| *weight != 0.0) {
            return Err("a recipe needs a weight that is not 0".into());
        }
        Ok(Recipe { name, terms, gated, combine })
    }
}

fn named<'a>(terms: impl Iterator<Item = (&'a str, f64)>) -> Result<Vec<(&'static dyn Indicator, f64)>, String> {
    let resolve = |(name, weight): (&str, f64)| {
        if !weight.is_finite() {
            return Err(format!("the weight of {name} is {weight}, expected a number"));
        }
        Ok((indicator::named(name)?, weight))
    };
    terms.map(resolve).collect()
}

impl Recipe {
    /// The indicators that it needs.
    pub fn indicators(&self) -> Vec<&'static dyn Indicator> {
        self.terms.iter().map(|(indicator, _)| *indicator).collect()
    }
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let term = |(indicator, weight): &(&'static dyn Indicator, f64)| (indicator.facts().name, *weight);
        f.debug_map().entries(self.terms.iter().map(term)).finish()
    }
}
