//! `plugin.yaml`: what a plugin is, and how it is started.

use super::{Options, PluginError};
use crate::yaml;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// Name of the manifest in a plugin's folder.
pub const MANIFEST: &str = "plugin.yaml";

/// What a plugin takes part as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Measures models.
    Device,
    /// Scores candidates without training.
    Indicator,
    /// Predicts a cost or a quality of candidates.
    Predictor,
    /// Any figure of a finished candidate.
    Objective,
    /// Says what may be chosen, and lowers it to graphs.
    Space,
    /// Proposes what to evaluate.
    Sampler,
}

impl Kind {
    /// Those that give a candidate one figure.
    pub const FIGURES: [Self; 3] = [Self::Indicator, Self::Predictor, Self::Objective];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As it is written in a manifest.
        f.write_str(match self {
            Self::Device => "device",
            Self::Indicator => "indicator",
            Self::Predictor => "predictor",
            Self::Objective => "objective",
            Self::Space => "space",
            Self::Sampler => "sampler",
        })
    }
}

/// What a plugin may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds for one call.
    pub time_s: f64,
    /// Resident memory of its process, in MiB.
    pub memory_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time_s: 60.0, memory_mib: 2048 }
    }
}

/// A plugin's `plugin.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name, which is that of its folder.
    pub name: String,
    /// What it takes part as.
    pub kind: Kind,
    /// Its version, as it likes: another version is another plugin to a study.
    pub version: String,
    /// One line for people.
    pub description: String,
    /// The command and its arguments, run in the plugin's folder. A first word that is a file there is that file.
    pub command: Vec<String>,
    /// What it can do beyond what its kind must.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What it may take.
    #[serde(default)]
    pub limits: Limits,
    /// The options that a config may change, as they are if it does not.
    #[serde(default)]
    pub options: Options,
}

impl Manifest {
    /// Reads the manifest in `folder`.
    ///
    /// # Errors
    /// If it can't be read, or says something that can't be; with file, line and field.
    pub fn read(folder: &Path) -> Result<Self, PluginError> {
        let path = folder.join(MANIFEST);
        let manifest: Self = yaml::read(&path)?;
        match manifest.check(folder) {
            Ok(()) => Ok(manifest),
            Err(reason) => Err(PluginError::Invalid { path, reason }),
        }
    }

    fn check(&self, folder: &Path) -> Result<(), String> {
        let needed = |holds: bool, reason: &str| if holds { Ok(()) } else { Err(reason.to_owned()) };
        let named = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let named = named.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        needed(
            !self.name.is_empty() && self.name.chars().all(plain) && !self.name.starts_with('.'),
            &format!("name: `{}`, expected letters, digits, `-`, `_` and `.`", self.name),
        )?;
        needed(self.name == named, &format!("name: `{}`, expected that of its folder, `{named}`", self.name))?;
        needed(!self.version.trim().is_empty(), "version: empty, expected one like 0.1.0")?;
        needed(
            self.command.first().is_some_and(|first| !first.trim().is_empty()),
            "command: empty, expected a program and its arguments, like [python3, plugin.py]",
        )?;
        let Limits { time_s, memory_mib } = self.limits;
        needed(
            time_s.is_finite() && time_s > 0.0,
            &format!("limits.time_s: {time_s} found, expected more than 0 seconds"),
        )?;
        needed(memory_mib > 0, "limits.memory_mib: 0 found, expected 1 or more")
    }

    /// Holds the plugin's kind against the ones that are of use.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn expect(&self, kinds: &[Kind]) -> Result<(), PluginError> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        let expected = kinds.iter().map(Kind::to_string).collect::<Vec<_>>().join(" or ");
        Err(PluginError::Kind { plugin: self.name.clone(), found: self.kind, expected })
    }

    /// The manifest's options with these in their place.
    ///
    /// # Errors
    /// If the manifest has no such option.
    pub fn options(&self, changes: &Options) -> Result<Options, PluginError> {
        let mut options = self.options.clone();
        for (name, value) in changes {
            let Some(option) = options.get_mut(name) else {
                let names = || self.options.keys().map(String::as_str);
                let meant = yaml::closest(name, names()).map(|meant| format!("; did you mean `{meant}`?"));
                let all = names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let known = match self.options.is_empty() {
                    true => ": its `plugin.yaml` names none under `options`".to_owned(),
                    false => format!(", expected one of {all}{}", meant.unwrap_or_default()),
                };
                return Err(PluginError::Option { plugin: self.name.clone(), option: name.clone(), known });
            };
            *option = value.clone();
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: meter\nkind: device\nversion: 0.1.0\ndescription: a meter\ncommand: [python3, meter.py]\n\
        options: {port: 1, rate: 2}\n";

    fn read(text: &str) -> Result<Manifest, String> {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("meter");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(MANIFEST), text).unwrap();
        let shorter = |error: PluginError| error.to_string().replace(&format!("{}/", folder.display()), "");
        Manifest::read(&folder).map_err(shorter)
    }

    #[test]
    fn a_manifest_has_defaults() {
        let manifest = read(GOOD).unwrap();
        assert_eq!((manifest.limits.time_s, manifest.limits.memory_mib), (60.0, 2048));
        assert!(manifest.capabilities.is_empty() && manifest.expect(&[Kind::Device]).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let check = |old: &str, new: &str, expected: &str| {
            assert!(GOOD.contains(old));
            assert_eq!(read(&GOOD.replace(old, new)).unwrap_err(), expected);
        };
        check(
            "kind: device",
            "kind: devise",
            "plugin.yaml:2:7: kind: unknown variant `devise`, expected one of `device`, `indicator`, `predictor`, \
            `objective`, `space`, `sampler`; did you mean `device`?",
        );
        check(
            "command:",
            "comand:",
            "plugin.yaml:5:1: unknown field `comand`, expected one of `name`, `kind`, `version`, `description`, \
            `command`, `capabilities`, `limits`, `options`; did you mean `command`?",
        );
        check("name: meter", "name: metre", "plugin.yaml: name: `metre`, expected that of its folder, `meter`");
        check("name: meter", "name: a/b", "plugin.yaml: name: `a/b`, expected letters, digits, `-`, `_` and `.`");
        check("version: 0.1.0", "version: ''", "plugin.yaml: version: empty, expected one like 0.1.0");
        check(
            "[python3, meter.py]",
            "[]",
            "plugin.yaml: command: empty, expected a program and its arguments, like [python3, plugin.py]",
        );
        check(
            "options: ",
            "limits: {time_s: 0}\noptions: ",
            "plugin.yaml: limits.time_s: 0 found, expected more than 0 seconds",
        );
    }

    #[test]
    fn options_are_those_of_the_manifest() {
        let manifest = read(GOOD).unwrap();
        let changed = manifest.options(&[("rate".to_owned(), 5.into())].into()).unwrap();
        assert_eq!((changed["port"].as_i64(), changed["rate"].as_i64()), (Some(1), Some(5)));
        let error = manifest.options(&[("rat".to_owned(), 5.into())].into()).unwrap_err().to_string();
        assert_eq!(error, "plugin `meter` has no option `rat`, expected one of `port`, `rate`; did you mean `rate`?");
        let error = manifest.expect(&[Kind::Space, Kind::Sampler]).unwrap_err().to_string();
        assert_eq!(error, "plugin `meter` is of kind device, expected space or sampler");
    }
}
