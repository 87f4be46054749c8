//! An execution provider as a profile asks for it. Its options are checked while they are read, so that the error of a
//! misspelt one names its line.

use super::provider::options::{self, Kind};
use super::provider::{is_known, unknown};
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// An execution provider of ONNX Runtime, by name, with its options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExecutionProvider {
    /// `cpu`, `openvino`, `cuda`, `tensorrt`, …
    pub name: String,
    /// The provider's own options; a number or a truth value as its text.
    pub options: BTreeMap<String, String>,
    /// Let nodes that the provider can't run fall back to the CPU: they are named, and the verdict is `fallback`.
    /// Otherwise such a model is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_fallback: bool,
}

impl<'de> Deserialize<'de> for ExecutionProvider {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("ExecutionProvider", &["name", "options", "allow_fallback"], Provider)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Name,
    Options,
    AllowFallback,
}

struct Provider;

impl<'de> Visitor<'de> for Provider {
    type Value = ExecutionProvider;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an execution provider: `name`, `options`, `allow_fallback`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExecutionProvider, A::Error> {
        let (mut name, mut given, mut allow_fallback) = (None::<String>, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Name if name.is_some() => return Err(A::Error::duplicate_field("name")),
                Field::Options if given.is_some() => return Err(A::Error::duplicate_field("options")),
                Field::AllowFallback if allow_fallback.is_some() => {
                    return Err(A::Error::duplicate_field("allow_fallback"));
                }
                Field::Name => name = Some(map.next_value_seed(Name)?),
                Field::Options => given = Some(map.next_value_seed(Options(name.as_deref()))?),
                Field::AllowFallback => allow_fallback = Some(map.next_value()?),
            }
        }
        let name = name.ok_or_else(|| A::Error::missing_field("name"))?;
        let options = given.unwrap_or_default();
        // Where they stood before the name.
        options::check(&name, &options).map_err(A::Error::custom)?;
        Ok(ExecutionProvider { name, options, allow_fallback: allow_fallback.unwrap_or_default() })
    }
}

/// A provider's name.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of an execution provider")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        if is_known(name) { Ok(name.to_owned()) } else { Err(E::custom(unknown(name))) }
    }
}

/// The options of the provider of this name, as far as it is known yet.
#[derive(Clone, Copy)]
struct Options<'a>(Option<&'a str>);

impl<'de> DeserializeSeed<'de> for Options<'_> {
    type Value = BTreeMap<String, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Options<'_> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the provider's options, by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut options = BTreeMap::new();
        while let Some((key, kind)) = map.next_key_seed(Key(self.0))? {
            let value = map.next_value_seed(Value(kind))?;
            if options.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("option `{key}` stands twice")));
            }
        }
        Ok(options)
    }
}

/// An option's name.
struct Key<'a>(Option<&'a str>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = (String, Kind);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = (String, Kind);

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of an option")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        let kind = self.0.map_or(Ok(Kind::Text), |provider| options::kind(provider, key)).map_err(E::custom)?;
        Ok((key.to_owned(), kind))
    }
}

/// An option's value: text, a number, a truth value.
struct Value(Kind);

impl<'de> DeserializeSeed<'de> for Value {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Value {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<String, E> {
        self.0.check(value).map_err(E::custom)?;
        Ok(value.to_owned())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<String, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<String, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<String, E> {
        self.visit_str(&value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn parse(text: &str) -> Result<ExecutionProvider, String> {
        crate::yaml::parse(text, Path::new("a.yaml")).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).unwrap_err(), expected);
    }

    #[test]
    fn numbers_and_truth_values_need_no_quotes() {
        let provider = parse("name: tensorrt\noptions: {device_id: 1, trt_fp16_enable: true, trt_tactic_sources: a}");
        let provider = provider.unwrap();
        let options: Vec<(&str, &str)> = provider.options.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(options, [("device_id", "1"), ("trt_fp16_enable", "true"), ("trt_tactic_sources", "a")]);
        let json = serde_json::to_string(&provider).unwrap();
        assert_eq!(serde_json::from_str::<ExecutionProvider>(&json).unwrap(), provider);
        let yaml = serde_yaml::to_string(&provider).unwrap();
        assert_eq!(parse(&yaml).unwrap(), provider);
        assert_eq!(parse("name: cuda").unwrap(), ExecutionProvider { name: "cuda".into(), ..Default::default() });
    }

    #[test]
    fn errors_name_line_and_field() {
        check(
            "name: xnnpack\noptions:\n  intra_op_threads: 2\n",
            "a.yaml:3:3: options: unknown option `intra_op_threads` of execution provider xnnpack, expected one of \
             `intra_op_num_threads`; did you mean `intra_op_num_threads`?",
        );
        check(
            "name: cuda\noptions:\n  device_id: first\n",
            "a.yaml:3:14: options.device_id: found `first`, expected an integer from 0 on",
        );
        check(
            "options:\n  device_id: first\nname: cuda\n",
            "a.yaml:1:1: option `device_id` of execution provider cuda: found `first`, expected an integer from 0 on",
        );
        check(
            "name: cuda\noptions: {device_id: [1]}",
            "a.yaml:2:22: options.device_id: invalid type: sequence, expected text, a number, true or false",
        );
        check(
            "name: cuda\nfallback: true",
            "a.yaml:2:1: unknown field `fallback`, expected one of `name`, `options`, `allow_fallback`; did you mean `allow_fallback`?",
        );
        let error = parse("name: opnvino").unwrap_err();
        assert!(
            error.starts_with("a.yaml:1:7: name: unknown execution provider `opnvino`, expected one of `cpu`, "),
            "{error}"
        );
        assert!(error.ends_with("; did you mean `openvino`?"), "{error}");
        check("options: {}", "a.yaml:1:1: missing field `name`");
    }
}
