//! Where ONNX Runtime's library is looked for.
//!
//! In this order: the path that was given, `ORT_DYLIB_PATH`, Tegu's own folder, the active Python's
//! site-packages (a wheel holds the library), the system's library path. A path that somebody wrote is
//! meant: if it is not there, nothing else is taken in its place.

use super::RuntimeError;
use super::provider::package_of;
use crate::files::{path_variable, tegu_home};
use serde::Serialize;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a library was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The path that was given (`--ort-lib`).
    Given,
    /// The environment variable `ORT_DYLIB_PATH`.
    Environment,
    /// Tegu's own folder, filled by `tegu runtime install`.
    Tegu,
    /// The active Python's site-packages.
    Python,
    /// The system's library path.
    System,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Given => "--ort-lib",
            Self::Environment => "ORT_DYLIB_PATH",
            Self::Tegu => "Tegu's folder",
            Self::Python => "Python's site-packages",
            Self::System => "the system's library path",
        })
    }
}

/// A place that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    /// Why it was looked at.
    pub source: Source,
    /// File or folder, or what kept it from being looked at.
    pub place: String,
}

/// The library that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// Its file.
    pub path: PathBuf,
    /// Where it was found.
    pub source: Source,
    /// The places that were looked at before, in vain.
    pub tried: Vec<Tried>,
}

/// Finds the library: the one at `given`, else the first in the order of the module's documentation. Of several
/// in Tegu's folder it is the one made for `execution_provider`.
///
/// # Errors
/// [`RuntimeError::Unavailable`] with all that was tried.
pub fn locate(given: Option<&Path>, execution_provider: Option<&str>) -> Result<Located, RuntimeError> {
    let package = package_of(execution_provider.unwrap_or("cpu")).unwrap_or("onnxruntime");
    let variable = path_variable("ORT_DYLIB_PATH");
    let named = [(Source::Given, given), (Source::Environment, variable.as_deref())];
    let tegu = || tegu_folders(&tegu_runtimes(), package);
    search(&named, &[(Source::Tegu, &tegu), (Source::Python, &python_folders), (Source::System, &system_folders)])
}

/// Takes the first path that somebody named, else looks into the folders, which are listed no sooner than needed.
fn search(
    named: &[(Source, Option<&Path>)],
    places: &[(Source, &dyn Fn() -> Vec<PathBuf>)],
) -> Result<Located, RuntimeError> {
    if let Some((source, path)) = named.iter().find_map(|(source, path)| Some((*source, (*path)?))) {
        return find(path).map(|path| Located { path, source, tried: vec![] }).ok_or_else(|| {
            let what = if path.is_dir() { "holds no ONNX Runtime library" } else { "does not exist" };
            RuntimeError::Unavailable(format!("ONNX Runtime: {source} names {}, which {what}", path.display()))
        });
    }
    let mut tried = vec![];
    for (source, folders) in places {
        let (source, folders) = (*source, folders());
        if let Some(path) = folders.iter().find_map(|folder| find(folder)) {
            return Ok(Located { path, source, tried });
        }
        tried.extend(folders.iter().map(|folder| Tried { source, place: folder.display().to_string() }));
        if folders.is_empty() {
            tried.push(Tried { source, place: "none found".into() });
        }
    }
    let all: Vec<String> = tried.iter().map(|tried| format!("{} ({})", tried.source, tried.place)).collect();
    Err(RuntimeError::Unavailable(format!(
        "ONNX Runtime's library was not found; looked in: {}; `tegu runtime install` gets one, `--ort-lib` or \
         ORT_DYLIB_PATH name one",
        all.join(", ")
    )))
}

/// Where Tegu keeps runtimes: one folder a package and version, laid out as the wheel.
pub(super) fn tegu_runtimes() -> PathBuf {
    tegu_home().join("runtimes")
}

/// The library at `path` itself, or in this folder: the newest where there are several.
pub(super) fn find(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let entries = std::fs::read_dir(path).ok()?;
    let libraries = entries.flatten().map(|entry| entry.path()).filter(|file| file.file_name().is_some_and(is_library));
    libraries.max_by_key(|file| numbers(file))
}

fn is_library(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let versioned = name.starts_with("libonnxruntime.") && (name.contains(".so.") || name.ends_with(".dylib"));
    name == format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}").as_str() || versioned
}

/// The numbers in a file's name, so that 1.31 comes after 1.4.
fn numbers(path: &Path) -> Vec<u64> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split(|character: char| !character.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// The folders of the installed packages, or `runtimes` itself where there is none.
fn tegu_folders(runtimes: &Path, package: &str) -> Vec<PathBuf> {
    let folders = installed_folders(runtimes, package);
    if folders.is_empty() { vec![runtimes.to_owned()] } else { folders }
}

/// The installed packages below `runtimes`, those named `package` first, the newest first.
pub(super) fn installed_folders(runtimes: &Path, package: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(runtimes).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.join("onnxruntime/capi").is_dir()).collect();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let of_package = |path: &Path| name(path).rsplit_once('-').is_some_and(|(found, _)| found == package);
    folders.sort_by_key(|path| (!of_package(path), std::cmp::Reverse(numbers(path)), name(path)));
    folders.into_iter().map(|path| path.join("onnxruntime/capi")).collect()
}

fn python_folders() -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(path_variable);
    let mut site_packages: Vec<PathBuf> = active.flat_map(|prefix| site_packages(&prefix)).collect();
    if site_packages.is_empty() {
        let code = "import site, sysconfig; print(sysconfig.get_paths()['purelib']); print(site.getusersitepackages())";
        let output = Command::new(python()).args(["-c", code]).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        site_packages.extend(text.lines().map(PathBuf::from));
    }
    site_packages.into_iter().map(|folder| folder.join("onnxruntime/capi")).collect()
}

/// The site-packages of the Python environment at `prefix`.
fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let versions = std::fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten().map(|entry| entry.path());
    let unix = versions.map(|version| version.join("site-packages"));
    let mut all: Vec<PathBuf> =
        unix.chain([prefix.join("Lib/site-packages")]).filter(|folder| folder.is_dir()).collect();
    all.sort();
    all
}

fn system_folders() -> Vec<PathBuf> {
    let variable = match () {
        () if cfg!(windows) => "PATH",
        () if cfg!(target_os = "macos") => "DYLD_LIBRARY_PATH",
        () => "LD_LIBRARY_PATH",
    };
    let listed = std::env::var_os(variable).unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty()).collect();
    if cfg!(unix) {
        let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let usual = ["/usr/local/lib", "/usr/lib", &triplet, "/usr/lib64", "/lib", "/opt/homebrew/lib"];
        folders.extend(usual.into_iter().map(PathBuf::from).filter(|folder| folder.is_dir()));
    }
    folders
}

/// Python's command.
pub(super) fn python() -> &'static str {
    if cfg!(windows) { "python" } else { "python3" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: PathBuf) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        path
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_newest_library_of_the_right_package_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let library = |package: &str, version: &str| {
            let folder = home.path().join(format!("{package}-{version}/onnxruntime/capi"));
            touch(folder.join("libonnxruntime_providers_shared.so"));
            touch(folder.join(format!("libonnxruntime.so.{version}")))
        };
        let old = library("onnxruntime", "1.4.0");
        let new = library("onnxruntime", "1.31.1");
        let openvino = library("onnxruntime-openvino", "1.24.1");
        let order = |package| -> Vec<PathBuf> {
            installed_folders(home.path(), package).iter().filter_map(|folder| find(folder)).collect()
        };
        assert_eq!(order("onnxruntime"), [new.clone(), old.clone(), openvino.clone()]);
        assert_eq!(order("onnxruntime-openvino"), [openvino, new, old]);
    }

    #[test]
    fn a_python_environment_has_its_packages_in_one_of_two_places() {
        let prefix = tempfile::tempdir().unwrap();
        assert_eq!(site_packages(prefix.path()), Vec::<PathBuf>::new());
        let unix = prefix.path().join("lib/python3.11/site-packages");
        touch(unix.join("onnxruntime/capi/libonnxruntime.so.1.31.1"));
        assert_eq!(site_packages(prefix.path()), [unix]);
    }

    #[test]
    fn a_named_path_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join(format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}"));
        let error = |path: &Path| search(&[(Source::Given, Some(path))], &[]).unwrap_err().to_string();
        let expected = format!("ONNX Runtime: --ort-lib names {}, which does not exist", missing.display());
        assert_eq!(error(&missing), expected);
        assert!(error(folder.path()).ends_with("which holds no ONNX Runtime library"));
        let library = touch(missing);
        let located = search(&[(Source::Given, None), (Source::Environment, Some(folder.path()))], &[]).unwrap();
        assert_eq!(located, Located { path: library, source: Source::Environment, tried: vec![] });
    }

    #[test]
    fn the_first_place_that_has_one_is_taken_and_the_others_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let (empty, full) = (folder.path().join("empty"), folder.path().join("full"));
        let library = touch(full.join(format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}")));
        let tegu = || tegu_folders(&empty, "onnxruntime");
        let (python, system) = (|| vec![full.clone()], || panic!("listed, though it is not needed"));
        let located = search(&[], &[(Source::Tegu, &tegu), (Source::Python, &python), (Source::System, &system)]);
        let tried = vec![Tried { source: Source::Tegu, place: empty.display().to_string() }];
        assert_eq!(located.unwrap(), Located { path: library, source: Source::Python, tried });

        let error = search(&[], &[(Source::Tegu, &tegu), (Source::System, &Vec::new)]).unwrap_err().to_string();
        let expected = format!(
            "ONNX Runtime's library was not found; looked in: Tegu's folder ({}), the system's library path (none \
             found); `tegu runtime install` gets one, `--ort-lib` or ORT_DYLIB_PATH name one",
            empty.display()
        );
        assert_eq!(error, expected);
    }
}
