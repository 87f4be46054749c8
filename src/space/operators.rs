//! The choices of a decision: named lists of layers, in the order in which the file has them.

use super::Decision;
use super::block::Layer;
use crate::yaml::closest;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Operators by name; a gene is an operator's place.
#[derive(Clone, Debug)]
pub(super) struct Operators(Vec<(String, Vec<Layer>)>);

impl Operators {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// A decision for one of them.
    pub(super) fn decision(&self, name: String) -> Decision {
        Decision { name, choices: self.names().map(str::to_owned).collect() }
    }

    pub(super) fn name(&self, gene: u8) -> &str {
        &self.0[usize::from(gene)].0
    }

    pub(super) fn layers(&self, gene: u8) -> &[Layer] {
        &self.0[usize::from(gene)].1
    }

    /// The layers of the operator of this name.
    pub(super) fn layers_of(&self, operator: &str) -> Option<&[Layer]> {
        self.0.iter().find(|(name, _)| name == operator).map(|(_, layers)| &layers[..])
    }

    /// All lists of layers.
    pub(super) fn all_layers(&self) -> impl Iterator<Item = &[Layer]> {
        self.0.iter().map(|(_, layers)| &layers[..])
    }

    /// The gene of the operator of this name.
    pub(super) fn gene(&self, operator: &str) -> Result<u8, String> {
        if let Some(gene) = self.names().position(|name| name == operator) {
            return Ok(gene as u8);
        }
        let hint = closest(operator, self.names()).map(|meant| format!("; did you mean `{meant}`?"));
        let known: Vec<&str> = self.names().collect();
        Err(format!("unknown operator `{operator}`, expected one of {}{}", known.join(", "), hint.unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Operators {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OperatorsVisitor)
    }
}

struct OperatorsVisitor;

impl<'de> Visitor<'de> for OperatorsVisitor {
    type Value = Operators;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a map from operator names to lists of layers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Operators, A::Error> {
        let mut operators: Vec<(String, Vec<Layer>)> = vec![];
        while let Some((name, layers)) = map.next_entry()? {
            if operators.iter().any(|(known, _)| *known == name) {
                return Err(de::Error::custom(format!("operator `{name}` is defined twice")));
            }
            operators.push((name, layers));
        }
        if operators.is_empty() || operators.len() > usize::from(u8::MAX) {
            return Err(de::Error::invalid_length(operators.len(), &"1 to 255 operators"));
        }
        Ok(Operators(operators))
    }
}
