//! Where two documents differ: what a study or a training that goes on was begun with, and what it is asked for now.

use serde_json::Value;
use std::collections::BTreeSet;

/// The first field in which two documents differ.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Difference {
    /// Its path, as in `objectives[1].latency.device`.
    pub field: String,
    /// Its value in the first document; null where it is not there.
    pub first: Value,
    /// Its value in the second one.
    pub second: Value,
}

/// The first field, in alphabetical order, in which two documents differ.
pub(crate) fn difference(first: &Value, second: &Value) -> Option<Difference> {
    below(first, second, "")
}

fn below(first: &Value, second: &Value, field: &str) -> Option<Difference> {
    match (first, second) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let field = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                below(a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), &field)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| below(a, b, &format!("{field}[{i}]")))
        }
        _ => (first != second).then(|| Difference {
            field: field.to_owned(),
            first: first.clone(),
            second: second.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_field_that_differs_is_named() {
        let check = |a: Value, b: Value, expected: Option<(&str, Value, Value)>| {
            let expected = expected.map(|(field, first, second)| Difference { field: field.into(), first, second });
            assert_eq!(difference(&a, &b), expected);
        };
        check(json!({"a": {"b": 1}}), json!({"a": {"b": 1}}), None);
        check(json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), Some(("a.b", json!(1), json!(2))));
        check(json!({"a": 1}), json!({}), Some(("a", json!(1), Value::Null)));
        check(json!({"a": [1, {"b": 2}]}), json!({"a": [1, {"b": 3}]}), Some(("a[1].b", json!(2), json!(3))));
    }
}
