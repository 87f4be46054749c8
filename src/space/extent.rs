//! Numbers of the layer language: `3*in`, `expansion*in`, `same/4 by 8`.
//!
//! A product of numbers and names, divided by a number or a name, rounded to the nearest whole number, at least 1. With `by 8` it is
//! a multiple of 8 instead, and not less than nine tenths of the exact number (`_make_divisible` of MobileNet, Sandler et al. 2018).

use super::block::Scope;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// A number, or one that depends on what the block knows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Extent {
    factor: f64,
    of: Vec<Quantity>,
    divisor: Option<Quantity>,
    unit: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Quantity {
    In,
    Out,
    Same,
    Stride,
    Width,
    Classes,
    /// What a decision of this name has chosen.
    Chosen(String),
}

const QUANTITIES: [(&str, Quantity); 6] = [
    ("in", Quantity::In),
    ("out", Quantity::Out),
    ("same", Quantity::Same),
    ("stride", Quantity::Stride),
    ("width", Quantity::Width),
    ("classes", Quantity::Classes),
];

/// The names that every block knows.
pub(super) fn quantities() -> impl Iterator<Item = &'static str> {
    QUANTITIES.iter().map(|(name, _)| *name)
}

impl Extent {
    pub(super) fn one() -> Self {
        Self { factor: 1.0, of: vec![], divisor: None, unit: None }
    }

    pub(super) fn same() -> Self {
        Self { of: vec![Quantity::Same], ..Self::one() }
    }

    pub(super) fn out() -> Self {
        Self { factor: 1.0, of: vec![Quantity::Out], divisor: None, unit: None }
    }

    /// The number, where `same` channels come into the layer.
    ///
    /// # Panics
    /// If a name is not in scope: [`SearchSpace::parse`](super::SearchSpace::parse) checks that it is.
    pub(super) fn resolve(&self, scope: &Scope<'_>, same: usize) -> usize {
        let exact = self.exact(scope, same);
        // Rounded: a cast leaves out what is behind the point.
        let Some(unit) = self.unit else { return if exact > 0.0 { ((exact + 0.5) as usize).max(1) } else { 0 } };
        divisible(exact, unit) as usize
    }

    /// The number before it is rounded.
    pub(super) fn exact(&self, scope: &Scope<'_>, same: usize) -> f64 {
        let of = |quantity: &Quantity| match quantity {
            Quantity::In => scope.in_channels as f64,
            Quantity::Out => scope.out_channels as f64,
            Quantity::Same => same as f64,
            Quantity::Stride => scope.stride as f64,
            Quantity::Width => scope.width as f64,
            Quantity::Classes => scope.classes as f64,
            Quantity::Chosen(name) => {
                let chosen = scope.chosen.iter().rev().find(|(known, _)| known == name);
                chosen.expect("a space's names are checked when it is read").1
            }
        };
        let product = self.of.iter().fold(self.factor, |product, quantity| product * of(quantity));
        self.divisor.as_ref().map_or(product, |divisor| product / of(divisor))
    }

    /// The names of decisions that the number depends on.
    pub(super) fn chosen(&self) -> impl Iterator<Item = &str> {
        self.of.iter().chain(&self.divisor).filter_map(|quantity| match quantity {
            Quantity::Chosen(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExtentVisitor)
    }
}

struct ExtentVisitor;

impl Visitor<'_> for ExtentVisitor {
    type Value = Extent;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<&str> = quantities().collect();
        write!(
            f,
            "a number, one of {}, the name of a choice, or a product such as 3*in, same/4, in/group or same/4 by 8",
            names.join(", ")
        )
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Extent, E> {
        Ok(Extent { factor: value as f64, of: vec![], divisor: None, unit: None })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Extent, E> {
        parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

fn parse(text: &str) -> Option<Extent> {
    let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    let (text, unit) = match text.split_once(" by ") {
        Some((text, unit)) => (text, Some(number(unit)?)),
        None => (text, None),
    };
    let quantity = |name: &str| match QUANTITIES.iter().find(|(known, _)| *known == name) {
        Some((_, quantity)) => Some(quantity.clone()),
        None => is_name(name).then(|| Quantity::Chosen(name.to_owned())),
    };
    let mut extent = Extent { factor: 1.0, of: vec![], divisor: None, unit };
    let product = match text.split_once('/') {
        Some((product, divisor)) => {
            extent.divisor = quantity(divisor.trim());
            if extent.divisor.is_none() {
                extent.factor = 1.0 / number(divisor)?;
            }
            product
        }
        None => text,
    };
    for term in product.split('*').map(str::trim) {
        match quantity(term) {
            Some(quantity) => extent.of.push(quantity),
            None => extent.factor *= number(term)?,
        }
    }
    Some(extent)
}

/// The multiple of `unit` that is nearest, but not less than nine tenths of the number.
pub(super) fn divisible(exact: f64, unit: f64) -> f64 {
    let nearest = ((exact / unit + 0.5).floor() * unit).max(unit);
    if nearest < 0.9 * exact { nearest + unit } else { nearest }
}

/// Whether a decision may be called that.
pub(super) fn is_name(text: &str) -> bool {
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic());
    starts && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_said() {
        let scope = Scope {
            in_channels: 24,
            out_channels: 40,
            stride: 2,
            width: 16,
            classes: 10,
            chosen: &[("e", 3.0), ("e", 2.3)],
        };
        let check =
            |text: &str, expected: usize| assert_eq!(parse(text).unwrap().resolve(&scope, 72), expected, "{text}");
        check("7", 7);
        check("3*in", 72);
        check("1.5*width", 24);
        // The inner choice of a name counts.
        check("e*in", 55);
        check("in * e * stride", 110);
        check("same/4", 18);
        // 18 is nearest to 16, which is less than nine tenths of it.
        check("same/4 by 8", 24);
        check("e*in by 8", 56);
        check("out/stride", 20);
        check("same/e", 31);
        check("in/100", 1);
        check("in/100 by 8", 8);
        for wrong in ["", "3*", "same/0", "same/-x", "2 by 0", "-1", "a-b", "1e999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
