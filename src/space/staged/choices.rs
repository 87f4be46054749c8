//! What is chosen by name: numbers, or the names of blocks, in the order in which the file has them.

use crate::space::extent::{is_name, quantities};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// The name of the decision whose values are names of blocks.
pub(super) const BLOCK: &str = "block";

/// One decision: its name, and what there is to choose from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) values: Vec<Value>,
}

/// A value as the file has it, and as a number if it is one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) number: Option<f64>,
}

/// Decisions that are made together: once for a network, for a stage, or for a layer.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices(pub(super) Vec<Choice>);

/// How many layers a stage may have.
#[derive(Clone, Debug)]
pub(super) struct Depths(pub(super) Vec<usize>);

impl Choice {
    /// The gene of the value that is written so.
    pub(super) fn gene(&self, text: &str) -> Result<u8, String> {
        let number: Option<f64> = text.parse().ok();
        let meant = |value: &Value| value.text == text || (number.is_some() && value.number == number);
        let values = || self.values.iter().map(|value| value.text.as_str()).collect::<Vec<_>>().join(", ");
        let gene = self.values.iter().position(meant).map(|gene| gene as u8);
        gene.ok_or_else(|| format!("{} {text}, expected one of {}", self.name, values()))
    }
}

impl Depths {
    pub(super) fn most(&self) -> usize {
        self.0.iter().copied().max().unwrap_or(0)
    }

    /// The decision about it, which there is none where it is fixed.
    pub(super) fn choice(&self) -> Choice {
        let values = self.0.iter().map(|&depth| Value { text: depth.to_string(), number: Some(depth as f64) });
        Choice { name: "depth".into(), values: values.collect() }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl Visitor<'_> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number above 0, or the name of a block (letters, digits, _)")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                self.visit_f64(value as f64)
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
                match value.is_finite() && value > 0.0 {
                    true => Ok(Value { text: value.to_string(), number: Some(value) }),
                    false => Err(E::invalid_value(de::Unexpected::Float(value), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                match is_name(text) {
                    true => Ok(Value { text: text.to_owned(), number: None }),
                    false => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

/// The values of a choice: a list, or a range of numbers, both of whose ends belong to it.
struct Values(Vec<Value>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: f64,
    to: f64,
    #[serde(default = "one")]
    step: f64,
}

fn one() -> f64 {
    1.0
}

impl Range {
    fn numbers<E: de::Error>(&self) -> Result<Vec<f64>, E> {
        let Self { from, to, step } = *self;
        let steps = ((to - from) / step + 1e-9).floor();
        match from > 0.0 && step > 0.0 && (0.0..255.0).contains(&steps) {
            // As decimals, or the third of {from: 0.1, step: 0.1} would be .30000000000000004.
            true => Ok((0..=steps as usize).map(|at| ((from + at as f64 * step) * 1e9).round() / 1e9).collect()),
            false => Err(E::custom(format!("from {from} to {to} by {step}, expected 1 to 255 numbers above 0"))),
        }
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValuesVisitor;
        impl<'de> Visitor<'de> for ValuesVisitor {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of values, or a range such as {from: 8, to: 64, step: 8}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Values, A::Error> {
                Vec::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(Values)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Values, A::Error> {
                let range = Range::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let value = |number: f64| Value { text: number.to_string(), number: Some(number) };
                Ok(Values(range.numbers()?.into_iter().map(value).collect()))
            }
        }
        deserializer.deserialize_any(ValuesVisitor)
    }
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChoicesVisitor;
        impl<'de> Visitor<'de> for ChoicesVisitor {
            type Value = Choices;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from names to lists of values, or to ranges such as {from: 8, to: 64, step: 8}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choices, A::Error> {
                let mut all: Vec<Choice> = vec![];
                while let Some((name, Values(values))) = map.next_entry::<String, Values>()? {
                    let choice = Choice { name, values };
                    check(&choice, &all).map_err(de::Error::custom)?;
                    all.push(choice);
                }
                Ok(Choices(all))
            }
        }
        deserializer.deserialize_map(ChoicesVisitor)
    }
}

fn check(choice: &Choice, before: &[Choice]) -> Result<(), String> {
    let Choice { name, values } = choice;
    let reserved = quantities().any(|known| known == name) || name == "depth";
    if !is_name(name) || reserved {
        return Err(format!(
            "`{name}` can't be the name of a choice: expected letters, digits and _, and no name that layers know"
        ));
    }
    if before.iter().any(|other| other.name == *name) {
        return Err(format!("`{name}` is defined twice"));
    }
    if values.is_empty() || values.len() > usize::from(u8::MAX) {
        return Err(format!("`{name}` has {} values, expected 1 to 255", values.len()));
    }
    if let Some((_, twice)) = values.iter().enumerate().find(|(at, value)| values[..*at].contains(value)) {
        return Err(format!("`{name}` has {} twice", twice.text));
    }
    match values.iter().find(|value| value.number.is_some() == (name == BLOCK)) {
        Some(value) if name == BLOCK => Err(format!("`block` has {}, expected the name of a block", value.text)),
        Some(value) => Err(format!("`{name}` has {}, expected a number", value.text)),
        None => Ok(()),
    }
}

impl<'de> Deserialize<'de> for Depths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DepthsVisitor;
        impl<'de> Visitor<'de> for DepthsVisitor {
            type Value = Depths;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a number of layers, a list of different ones, or a range such as {from: 1, to: 4}")
            }

            fn visit_u64<E: de::Error>(self, depth: u64) -> Result<Depths, E> {
                Ok(Depths(vec![depth as usize]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Depths, A::Error> {
                let mut all: Vec<usize> = vec![];
                while let Some(depth) = seq.next_element()? {
                    if all.contains(&depth) {
                        return Err(de::Error::custom(format!("depth {depth} is there twice")));
                    }
                    all.push(depth);
                }
                Ok(Depths(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Depths, A::Error> {
                let range = Range::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let depths = range.numbers()?;
                match depths.iter().find(|depth| depth.fract() != 0.0) {
                    Some(depth) => Err(de::Error::custom(format!("depth {depth}, expected whole numbers of layers"))),
                    None => Ok(Depths(depths.into_iter().map(|depth| depth as usize).collect())),
                }
            }
        }
        let depths = deserializer.deserialize_any(DepthsVisitor)?;
        match depths.0.iter().all(|depth| (1..=255).contains(depth)) && (1..=255).contains(&depths.0.len()) {
            true => Ok(depths),
            false => Err(de::Error::custom("expected depths of 1 to 255 layers")),
        }
    }
}
