//! What all members of a space keep to: `params <= 1M`.
//!
//! A cost of the live full network, `<=` or `>=`, and a [count]. An architecture that doesn't keep to it has no id, so that no sampler proposes it.

use super::{Scale, SearchSpace};
use crate::genotype::Genotype;
use crate::graph::Cost;
use crate::objective::count;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Draws among which one is to keep to the constraints.
const DRAWS: usize = 10_000;

type Quantity = (&'static str, fn(&Cost) -> u64);

const QUANTITIES: [Quantity; 3] = [
    ("params", |cost| cost.params),
    ("macs", |cost| cost.macs),
    ("peak_activation_bytes", |cost| cost.peak_activation_bytes),
];

/// A bound of a cost.
#[derive(Clone, Debug)]
pub struct Constraint {
    text: String,
    quantity: Quantity,
    is_upper: bool,
    bound: f64,
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for Constraint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl Constraint {
    fn parse(text: &str) -> Result<Self, String> {
        let (is_upper, sides) = match (text.split_once("<="), text.split_once(">=")) {
            (Some(sides), None) => (true, sides),
            (None, Some(sides)) => (false, sides),
            _ => {
                return Err(format!(
                    "found `{text}`, expected a cost, `<=` or `>=`, and a number, such as params <= 1M"
                ));
            }
        };
        let (name, number) = (sides.0.trim(), sides.1.trim());
        let quantity = QUANTITIES.into_iter().find(|(known, _)| *known == name).ok_or_else(|| {
            // Quoted, so that the reader of YAML adds what was meant.
            let known = QUANTITIES.map(|(known, _)| format!("`{known}`"));
            format!("unknown cost `{name}`, expected one of {}", known.join(", "))
        })?;
        let bound = count::parse(number);
        let bound =
            bound.ok_or_else(|| format!("`{number}` in `{text}`, expected a number above 0, such as 250k or 1.5M"))?;
        Ok(Self { text: text.to_owned(), quantity, is_upper, bound })
    }

    /// What is wrong with a network of that cost; none where it keeps to the bound.
    fn violated(&self, cost: &Cost) -> Option<String> {
        let value = self.quantity.1(cost);
        let holds = if self.is_upper { value as f64 <= self.bound } else { value as f64 >= self.bound };
        (!holds).then(|| format!("{} are {value}, expected {}", self.quantity.0, self.text))
    }
}

impl SearchSpace {
    /// The bounds of costs that all members keep to, as the file has them.
    pub fn constraints(&self) -> impl Iterator<Item = &str> {
        self.constraints.iter().map(|constraint| constraint.text.as_str())
    }

    /// Which bound an architecture's full network doesn't keep to; none for a member, and of a network that is dead or does not fit.
    pub(super) fn violation(&self, genotype: &Genotype) -> Option<String> {
        if self.constraints.is_empty() {
            return None;
        }
        let cost = self.lower(genotype, Scale::Full).ok()?.live().ok()?.cost();
        self.constraints.iter().find_map(|constraint| constraint.violated(&cost))
    }

    /// Checks that chance finds members, so that drawing ends.
    ///
    /// # Errors
    /// The text of the first constraint, and what is wrong.
    pub(super) fn check_constraints(&self) -> Result<(), (String, String)> {
        let Some(constraint) = self.constraints.first() else { return Ok(()) };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut drawn = (0..DRAWS).map(|_| self.violation(&self.draw(&mut rng)));
        let Some(Some(first)) = drawn.next() else { return Ok(()) };
        if drawn.any(|violation| violation.is_none()) {
            return Ok(());
        }
        let reason = format!("constraints: none of {DRAWS} random architectures keeps to them; of the first, {first}");
        Err((constraint.text.clone(), reason))
    }
}

impl<'de> Deserialize<'de> for Constraint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConstraintVisitor;
        impl Visitor<'_> for ConstraintVisitor {
            type Value = Constraint;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a bound of a cost, such as params <= 1M")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Constraint, E> {
                Constraint::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(ConstraintVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        let cost = Cost { params: 1500, macs: 2_000_000, peak_activation_bytes: 2048 };
        let check = |text: &str, violated: Option<&str>| {
            assert_eq!(Constraint::parse(text).unwrap().violated(&cost).as_deref(), violated, "{text}");
        };
        check("params <= 1.5k", None);
        check("params<=1499", Some("params are 1500, expected params<=1499"));
        check("macs >= 2M", None);
        check("macs >= 2.1 M", Some("macs are 2000000, expected macs >= 2.1 M"));
        check("peak_activation_bytes <= 2Ki", None);
        let refused = |text: &str, expected: &str| {
            let error = Constraint::parse(text).unwrap_err();
            assert!(error.ends_with(expected), "{error}");
        };
        refused("params < 3", "such as params <= 1M");
        refused("param <= 3", "unknown cost `param`, expected one of `params`, `macs`, `peak_activation_bytes`");
        refused("macs <= 3T", "such as 250k or 1.5M");
    }
}
