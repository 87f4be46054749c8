//! Where plugins are looked for: a path that was given, else a name in `./plugins`, in the folders of `TEGU_PLUGINS`, and
//! in `plugins` of the user's data folder.

use super::{MANIFEST, Manifest, PluginError};
use crate::files::tegu_home;
use crate::yaml;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A plugin that is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// What its manifest says.
    pub manifest: Manifest,
}

/// A folder with a manifest, which may be one that can't be used.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The folder.
    pub folder: PathBuf,
    /// What its manifest says, or what is wrong with it.
    pub manifest: Result<Manifest, PluginError>,
}

impl Found {
    /// Reads the plugin in `folder`.
    ///
    /// # Errors
    /// If its manifest can't be read.
    pub fn read(folder: &Path) -> Result<Self, PluginError> {
        let manifest = Manifest::read(folder)?;
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        Ok(Self { folder, manifest })
    }
}

/// Finds a plugin: by its path (of the folder, or of the manifest in it), which counts from each of `bases` and from the
/// current folder, or by its name.
///
/// # Errors
/// If there is none, or its manifest can't be used.
pub fn find(name: &str, bases: &[&Path]) -> Result<Found, PluginError> {
    if is_path(name) {
        let at = |base: &Path| folder_of(&base.join(name));
        let here = Path::new("");
        let folder = bases.iter().copied().chain([here]).find_map(at);
        return folder.map_or_else(|| Err(not_found(name, name)), |folder| Found::read(&folder));
    }
    let places = places();
    let folder = places.iter().map(|place| place.join(name)).find(|folder| folder.join(MANIFEST).is_file());
    match folder.filter(|_| !name.is_empty()) {
        Some(folder) => Found::read(&folder),
        None => {
            let looked: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            Err(not_found(name, &looked.join(", ")))
        }
    }
}

/// The plugins in all places, by name; of several of one name the first, which is the one that [`find`] takes.
pub fn installed() -> Vec<Listed> {
    let mut found: Vec<Listed> = vec![];
    let mut seen = BTreeSet::new();
    for place in places() {
        let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
        let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        folders.sort();
        for folder in folders.into_iter().filter(|folder| folder.join(MANIFEST).is_file()) {
            if seen.insert(folder.file_name().map(std::ffi::OsStr::to_owned)) {
                found.push(Listed { manifest: Manifest::read(&folder), folder });
            }
        }
    }
    found.sort_by(|a, b| a.folder.file_name().cmp(&b.folder.file_name()));
    found
}

/// The path of the plugin of this name in `folder`, if its path is meant and it is there; else the name as it is.
pub fn beside(folder: &Path, name: &str) -> String {
    let there = Some(folder.join(name)).filter(|path| is_path(name) && folder_of(path).is_some());
    there.map_or_else(|| name.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Whether a plugin is meant by its path, not by its name.
pub(crate) fn is_path(name: &str) -> bool {
    name.contains(['/', std::path::MAIN_SEPARATOR]) || name == MANIFEST || name == "." || name == ".."
}

fn places() -> Vec<PathBuf> {
    let variable = std::env::var_os("TEGU_PLUGINS").unwrap_or_default();
    let named = std::env::split_paths(&variable).filter(|path| !path.as_os_str().is_empty());
    let mut places = vec![PathBuf::from("plugins")];
    places.extend(named);
    places.push(tegu_home().join("plugins"));
    places
}

/// The folder of the plugin that is at `path`.
fn folder_of(path: &Path) -> Option<PathBuf> {
    let folder = if path.ends_with(MANIFEST) { path.parent()? } else { path };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.join(MANIFEST).is_file().then(|| folder.to_owned())
}

fn not_found(name: &str, looked: &str) -> PluginError {
    let installed = installed();
    let names = installed.iter().filter_map(|listed| listed.folder.file_name()?.to_str());
    let hint = yaml::closest(name, names).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
    PluginError::NotFound { name: name.to_owned(), looked: looked.to_owned(), hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_from_its_bases() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("own/meter");
        std::fs::create_dir_all(&folder).unwrap();
        let text = "name: meter\nkind: device\nversion: '1'\ndescription: a meter\ncommand: [meter]\n";
        std::fs::write(folder.join(MANIFEST), text).unwrap();
        for name in ["own/meter", "own/meter/", "own/meter/plugin.yaml"] {
            assert_eq!(find(name, &[place.path()]).unwrap().folder, folder, "{name}");
        }
        let absolute = find(folder.to_str().unwrap(), &[]).unwrap();
        assert_eq!((absolute.folder, absolute.manifest.name.as_str()), (folder, "meter"));
        let error = find("own/metre", &[place.path()]).unwrap_err().to_string();
        assert!(error.starts_with("no plugin `own/metre`: looked in own/metre"), "{error}");
        let error = find("no-such-plugin", &[place.path()]).unwrap_err().to_string();
        assert!(error.starts_with("no plugin `no-such-plugin`: looked in plugins, "), "{error}");
    }
}
