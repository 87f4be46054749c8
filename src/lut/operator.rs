//! The keys of a table: operators with everything that their speed depends on, written as text.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often a network has each operator, by key.
pub type Counts = BTreeMap<String, u32>;

/// The costs of known operators, by key.
pub type Costs = BTreeMap<String, OpCost>;

/// What one run of an operator does, as far as arithmetic tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpCost {
    /// Multiply-accumulates of ungrouped convolutions and of matrix products.
    pub macs: f64,
    /// Multiply-accumulates of grouped convolutions, which run at another pace.
    pub grouped_macs: f64,
    /// Elements read and written, weights included.
    pub elements: f64,
}

/// One operator of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// Type, attributes, shapes, element type.
    pub key: String,
    /// What it does.
    pub cost: OpCost,
}

/// Counts operators, and keeps their costs in `costs`.
pub fn count(operators: Vec<Operator>, costs: &mut Costs) -> Counts {
    let mut counts = Counts::new();
    for Operator { key, cost } in operators {
        *counts.entry(key.clone()).or_default() += 1;
        costs.entry(key).or_insert(cost);
    }
    counts
}

/// `1x16x32x32`; `scalar` where there are no dimensions.
pub(super) fn dims_text(dims: &[usize]) -> String {
    match dims {
        [] => "scalar".to_owned(),
        _ => dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x"),
    }
}
