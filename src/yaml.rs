//! Reading YAML so that an error names the file, the line, the field, and what was meant.

use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Why a YAML file was refused.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// The file can't be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text does not say what was expected.
    #[error("{}{}: {message}", path.display(), location.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line and column, counted from 1, where they are known.
        location: Option<(usize, usize)>,
        /// The field, what was found, what was expected.
        message: String,
    },
}

/// Reads the file at `path`.
///
/// # Errors
/// If it can't be read, or does not say what `T` expects.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, YamlError> {
    parse(&read_text(path)?, path)
}

/// The text of the file at `path`.
///
/// # Errors
/// If it can't be read.
pub fn read_text(path: &Path) -> Result<String, YamlError> {
    std::fs::read_to_string(path).map_err(|source| YamlError::Unreadable { path: path.to_owned(), source })
}

/// Parses `text`; `path` is where it is said to come from.
///
/// # Errors
/// If it does not say what `T` expects.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, YamlError> {
    // Enums are maps of one key (`conv: {kernel: 3}`), not YAML tags.
    let deserializer = serde_yaml::Deserializer::from_str(text);
    serde_yaml::with::singleton_map_recursive::deserialize(deserializer).map_err(|error| {
        let error: serde_yaml::Error = error;
        let location = error.location().map(|at| (at.line(), at.column()));
        let mut message = error.to_string();
        if let Some((line, column)) = location {
            message = message.replace(&format!(" at line {line} column {column}"), "");
        }
        let name_alone = "invalid type: unit variant, expected newtype variant";
        message = message.replace(name_alone, "found the name alone, expected a map behind it, such as `name: {}`");
        if let Some(meant) = meant(&message) {
            message.push_str(&format!("; did you mean `{meant}`?"));
        }
        YamlError::Invalid { path: path.to_owned(), location, message }
    })
}

/// The one of `known` that a person who wrote `name` most likely meant.
pub fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| strsim::jaro_winkler(name, candidate);
    known.into_iter().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|best| near(best) > 0.75)
}

/// Reads "unknown field `x`, expected one of `a`, `b`" (serde's wording) for the name that was meant.
fn meant(message: &str) -> Option<&str> {
    let (_, unknown) = message.split_once("unknown ")?;
    let mut quoted = unknown.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    closest(name, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        #[allow(dead_code)]
        threads: usize,
    }

    fn check(text: &str, expected: &str) {
        let error = parse::<std::collections::BTreeMap<String, Section>>(text, Path::new("a.yaml")).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_name_line_field_and_what_was_meant() {
        check(
            "cpu:\n  thread: 1\n",
            "a.yaml:2:3: cpu: unknown field `thread`, expected `threads`; did you mean `threads`?",
        );
        check("cpu:\n  threads: many\n", "a.yaml:2:12: cpu.threads: invalid type: string \"many\", expected usize");
    }
}
