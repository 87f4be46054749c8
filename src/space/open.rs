//! Spaces by name: those that come with Tegu, YAML files, plugins.

use super::{SearchSpace, SpaceError};
use crate::plugin::{self, MANIFEST, Options};
use crate::yaml;
use std::path::{Path, PathBuf};

/// The spaces that come with Tegu, by name.
pub(super) const BUILT_IN: [(&str, &str); 12] = [
    ("nas-bench-201", include_str!("../../models/nas-bench-201.yaml")),
    ("mobilenet-macro", include_str!("../../models/mobilenet-macro.yaml")),
    ("mobilenet-v3", include_str!("../../models/mobilenet-v3.yaml")),
    ("resnet", include_str!("../../models/resnet.yaml")),
    ("vit", include_str!("../../models/vit.yaml")),
    ("vit-stages", include_str!("../../models/vit-stages.yaml")),
    ("regnet", include_str!("../../models/regnet.yaml")),
    ("darts", include_str!("../../models/darts.yaml")),
    ("nasnet", include_str!("../../models/nasnet.yaml")),
    ("signals-1d", include_str!("../../models/signals-1d.yaml")),
    ("tabular", include_str!("../../models/tabular.yaml")),
    ("tinybench", include_str!("../../models/tinybench.yaml")),
];

impl SearchSpace {
    /// Opens a space by name, from the YAML file at that path, or of a plugin by its name or path.
    ///
    /// # Errors
    /// If there is none, its file is not a space, or the plugin can't be started.
    pub fn open(name: &str) -> Result<Self, SpaceError> {
        Self::open_with(name, &Options::new(), &[])
    }

    /// [`SearchSpace::open`] with options of a plugin, whose path counts from each of `bases` as well.
    ///
    /// # Errors
    /// As [`SearchSpace::open`]; or if it is no plugin and has no options.
    pub fn open_with(name: &str, options: &Options, bases: &[&Path]) -> Result<Self, SpaceError> {
        if let Some(space) = Self::without_plugins(name)? {
            return match options.keys().next() {
                None => Ok(space),
                Some(option) => Err(SpaceError::Invalid {
                    path: PathBuf::from(name),
                    reason: format!("options: `{option}`, expected none: only a plugin has options"),
                }),
            };
        }
        match plugin::find(name, bases) {
            Ok(found) => {
                let options = found.manifest.options(options)?;
                Self::of_plugin(found, options)
            }
            Err(plugin::PluginError::NotFound { .. }) => Err(unknown(name)),
            Err(error) => Err(error.into()),
        }
    }

    /// One that comes with Tegu, or of a YAML file that is no plugin's manifest.
    fn without_plugins(name: &str) -> Result<Option<Self>, SpaceError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, &PathBuf::from(format!("models/{name}.yaml"))).map(Some);
        }
        let path = Path::new(name);
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !path.ends_with(MANIFEST) {
            return Self::parse(&yaml::read_text(path)?, path).map(Some);
        }
        Ok(None)
    }
}

fn unknown(name: &str) -> SpaceError {
    let names = || BUILT_IN.iter().map(|(known, _)| *known);
    let hint = yaml::closest(name, names()).map(|meant| format!("; did you mean `{meant}`?"));
    SpaceError::Unknown {
        name: name.to_owned(),
        known: names().collect::<Vec<_>>().join(", "),
        hint: hint.unwrap_or_default(),
    }
}
