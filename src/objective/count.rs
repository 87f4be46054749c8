//! Large numbers as people write them: `250k`, `1.5M`, `64Ki`. Behind a number stand k, M or G (powers of 1000) or Ki, Mi or Gi (powers of
//! 1024), or nothing.

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

const UNITS: [(&str, f64); 6] =
    [("Ki", 1024.0), ("Mi", 1_048_576.0), ("Gi", 1_073_741_824.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)];

/// The number that is written, above 0; none where it is not one.
pub fn parse(text: &str) -> Option<f64> {
    let text = text.trim();
    let known = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = known.unwrap_or((text, 1.0));
    let number = digits.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)?;
    Some(number * factor)
}

/// Reads a field that is a number, or the text of one, or absent: for `#[serde(default, deserialize_with = …)]`.
///
/// # Errors
/// If it is neither.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Ok(Option::<Count>::deserialize(deserializer)?.map(|Count(number)| number))
}

struct Count(f64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number, such as 1000000, 250k or 1.5M")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Count, E> {
        Ok(Count(number as f64))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
        Ok(Count(number as f64))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Count, E> {
        Ok(Count(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
        parse(text).map(Count).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Bound {
        #[serde(default, deserialize_with = "deserialize")]
        at_most: Option<f64>,
    }

    #[test]
    fn counts_are_numbers_with_a_unit() {
        let check = |text: &str, expected: Option<f64>| {
            let read: Bound = serde_yaml::from_str(text).unwrap();
            assert_eq!(read.at_most, expected, "{text}");
        };
        check("at_most: 3M", Some(3e6));
        check("at_most: 1.5 k", Some(1500.0));
        check("at_most: 2Ki", Some(2048.0));
        check("at_most: 1.0e6", Some(1e6));
        check("at_most: 250000", Some(250_000.0));
        check("at_most: -1", Some(-1.0));
        check("at_most: null", None);
        check("{}", None);
        for wrong in ["3T", "M", "-3M", "1e999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let error = serde_yaml::from_str::<Bound>("at_most: 3T").err().unwrap().to_string();
        assert!(error.contains("a number, such as 1000000, 250k or 1.5M"), "{error}");
    }
}
