//! `tegu runtime install`: a PyPI wheel's library into Tegu's own folder.
//!
//! A wheel is a zip that holds the library in `onnxruntime/capi`. pip finds the one for this platform; Python
//! is needed for this alone, and not to run the library.

use super::library::{find, python, tegu_runtimes};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A package that holds an ONNX Runtime library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// `onnxruntime`: the CPU.
    OnnxRuntime,
    /// `onnxruntime-openvino`: Intel's OpenVINO.
    OpenVino,
    /// `onnxruntime-gpu`: CUDA and TensorRT.
    Gpu,
}

impl Package {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OnnxRuntime, Self::OpenVino, Self::Gpu];

    /// Its name on PyPI.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "onnxruntime",
            Self::OpenVino => "onnxruntime-openvino",
            Self::Gpu => "onnxruntime-gpu",
        }
    }
}

impl std::str::FromStr for Package {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names: Vec<&str> = Self::ALL.iter().map(|package| package.name()).collect();
        Self::ALL
            .into_iter()
            .find(|package| package.name() == name)
            .ok_or_else(|| format!("no package `{name}`: expected one of {}", names.join(", ")))
    }
}

/// A library that was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The package.
    pub package: Package,
    /// Its version.
    pub version: String,
    /// The library.
    pub library: PathBuf,
    /// Whether it was there before.
    pub was_there: bool,
}

/// Why a runtime can't be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is no Python.
    #[error("`{command}` can't be run: {source}; install Python 3 with pip, or name a library with --ort-lib")]
    Python {
        /// The command.
        command: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no pip.
    #[error(
        "this Python has no pip: {0}; install pip (Debian: `apt install python3-pip`), or name a library with --ort-lib"
    )]
    Pip(String),
    /// pip found no wheel, or could not get it.
    #[error("pip can't download {package}: {reason}")]
    Download {
        /// Package, with version where one was asked for.
        package: String,
        /// pip's own words.
        reason: String,
    },
    /// A version that can't be used.
    #[error("{package} {version} is too old: 1.{minimum} or newer is needed")]
    TooOld {
        /// The package.
        package: &'static str,
        /// Its version.
        version: String,
        /// The least minor version.
        minimum: u32,
    },
    /// The wheel is not what it should be.
    #[error("wheel {wheel}: {reason}")]
    Wheel {
        /// Its file name.
        wheel: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file can't be written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Gets `package`, its newest version where none is given, into Tegu's folder (`runtimes/PACKAGE-VERSION`).
/// A package that is there already is left as it is.
///
/// # Errors
/// If Python or pip are not there, there is no such wheel for this platform, the version is too old, or the
/// folder can't be written.
pub fn install(package: Package, version: Option<&str>) -> Result<Installed, InstallError> {
    let runtimes = tegu_runtimes();
    if let Some(version) = version {
        refuse_old(package, version)?;
        if let Some(there) = installed(package, version, &runtimes) {
            return Ok(there);
        }
    }
    let file_error = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::File { path, source }
    };
    std::fs::create_dir_all(&runtimes).map_err(file_error(&runtimes))?;
    // On the same file system, so that the last step is a rename: the folder is whole or not there.
    let work = tempfile::Builder::new().prefix(".partial-").tempdir_in(&runtimes).map_err(file_error(&runtimes))?;
    let wheel = download(package, version, work.path())?;
    let version = version_of(&wheel)?;
    refuse_old(package, &version)?;
    if let Some(there) = installed(package, &version, &runtimes) {
        return Ok(there);
    }
    let unpacked = work.path().join("unpacked");
    unpack(&wheel, &unpacked)?;
    strip(&unpacked).map_err(file_error(&unpacked))?;
    if find(&unpacked.join("onnxruntime/capi")).is_none() {
        return Err(broken(&wheel, "it holds no library in onnxruntime/capi".into()));
    }
    let target = folder(package, &version, &runtimes);
    std::fs::rename(&unpacked, &target).map_err(file_error(&target))?;
    let there = installed(package, &version, &runtimes).map(|there| Installed { was_there: false, ..there });
    there.ok_or_else(|| broken(&wheel, "its library was lost on the way".into()))
}

fn folder(package: Package, version: &str, runtimes: &Path) -> PathBuf {
    runtimes.join(format!("{}-{version}", package.name()))
}

fn installed(package: Package, version: &str, runtimes: &Path) -> Option<Installed> {
    let library = find(&folder(package, version, runtimes).join("onnxruntime/capi"))?;
    Some(Installed { package, version: version.to_owned(), library, was_there: true })
}

fn refuse_old(package: Package, version: &str) -> Result<(), InstallError> {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(1), Some(minor)) if minor < ort::MINOR_VERSION => {
            let (package, version) = (package.name(), version.to_owned());
            Err(InstallError::TooOld { package, version, minimum: ort::MINOR_VERSION })
        }
        _ => Ok(()),
    }
}

fn download(package: Package, version: Option<&str>, folder: &Path) -> Result<PathBuf, InstallError> {
    let pip = run(&["-m", "pip", "--version"])?;
    if !pip.status.success() {
        return Err(InstallError::Pip(last_lines(&pip)));
    }
    let requirement = version.map_or_else(|| package.name().into(), |version| format!("{}=={version}", package.name()));
    let target = folder.to_string_lossy();
    let arguments = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
    let output = run(&[&arguments[..], &["--only-binary=:all:", "--dest", &target, &requirement]].concat())?;
    let failed = |reason: String| InstallError::Download { package: requirement.clone(), reason };
    if !output.status.success() {
        return Err(failed(last_lines(&output)));
    }
    let entries = std::fs::read_dir(folder).map_err(|error| failed(error.to_string()))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    files
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .ok_or_else(|| failed("it wrote no wheel".into()))
}

fn unpack(wheel: &Path, folder: &Path) -> Result<(), InstallError> {
    let output = run(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), &folder.to_string_lossy()])?;
    if output.status.success() { Ok(()) } else { Err(broken(wheel, last_lines(&output))) }
}

/// Leaves nothing but native libraries: `onnxruntime/capi` and the folder of libraries that it links to.
fn strip(unpacked: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(unpacked)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "onnxruntime" && !name.ends_with(".libs") {
            remove(&entry.path())?;
        }
    }
    for entry in std::fs::read_dir(unpacked.join("onnxruntime"))? {
        let entry = entry?;
        let kept = entry.file_name() == "capi" || entry.file_name().to_string_lossy().starts_with("LICENSE");
        if !kept {
            remove(&entry.path())?;
        }
    }
    for entry in std::fs::read_dir(unpacked.join("onnxruntime/capi"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".py") || name.contains("pybind11") || name == "__pycache__" {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

/// The version in a wheel's file name: `NAME-VERSION-PYTHON-ABI-PLATFORM.whl`.
fn version_of(wheel: &Path) -> Result<String, InstallError> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let version = name.split('-').nth(1).map(str::to_owned);
    version.ok_or_else(|| broken(wheel, "its name has no version".into()))
}

fn broken(wheel: &Path, reason: String) -> InstallError {
    InstallError::Wheel { wheel: wheel.file_name().unwrap_or_default().to_string_lossy().into_owned(), reason }
}

fn run(arguments: &[&str]) -> Result<Output, InstallError> {
    let command = python();
    Command::new(command).args(arguments).output().map_err(|source| InstallError::Python { command, source })
}

fn last_lines(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_checked_before_anything_is_fetched() {
        assert_eq!("onnxruntime-gpu".parse(), Ok(Package::Gpu));
        assert!("ort".parse::<Package>().unwrap_err().contains("expected one of onnxruntime, onnxruntime-openvino"));
        let error = refuse_old(Package::OnnxRuntime, "1.22.0").unwrap_err().to_string();
        assert_eq!(error, "onnxruntime 1.22.0 is too old: 1.24 or newer is needed");
        assert!(refuse_old(Package::OpenVino, "1.24.1").is_ok());
        let wheel = Path::new("onnxruntime_openvino-1.24.1-cp311-cp311-linux_x86_64.whl");
        assert_eq!(version_of(wheel).unwrap(), "1.24.1");
    }
}
