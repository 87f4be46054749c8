//! The plugins that come with Tegu: each passes the conformance suite, and what is said with each is what docs/plugin-protocol.schema.json allows.
//!
//! Python is that of `tests/setup.sh`; `energy-rapl` is built by `cargo test --workspace`.

mod common;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the executables that this build made.
fn executables() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_tegu")).parent().unwrap()
}

/// `PATH` with these executables and the tests' Python in front.
fn path() -> OsString {
    let before = std::env::var_os("PATH").unwrap_or_default();
    let folders = [executables().to_owned(), common::python().parent().unwrap().to_owned()];
    std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&before))).unwrap()
}

fn tegu(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tegu")).args(args).current_dir(folder).env("PATH", path()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The plugin in a folder of its own, with its conversation recorded in the file beside it.
fn recorded(name: &str, place: &Path) -> (PathBuf, PathBuf) {
    let (folder, log) = (place.join(name), place.join(format!("{name}.log")));
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(root().join("plugins").join(name)).unwrap().flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    let manifest = folder.join("plugin.yaml");
    let mut contents: serde_yaml::Value = serde_yaml::from_str(&std::fs::read_to_string(&manifest).unwrap()).unwrap();
    let recorder = root().join("tests/python/record_plugin.py");
    let mut command: Vec<serde_yaml::Value> = vec![
        common::python().to_str().unwrap().into(),
        recorder.to_str().unwrap().into(),
        log.to_str().unwrap().into(),
    ];
    std::fs::write(place.join(format!("{name}.json")), serde_json::to_string(&contents).unwrap()).unwrap();
    command.extend(contents["command"].as_sequence().unwrap().iter().cloned());
    contents["command"] = command.into();
    std::fs::write(manifest, serde_yaml::to_string(&contents).unwrap()).unwrap();
    (folder, log)
}

/// Holds the plugin against the conformance suite, and the conversation against the schema.
fn check(name: &str) {
    let output = tegu(&["plugin", "check", &format!("plugins/{name}")], root());
    assert!(output.status.success(), "{name}: {}", text(&output));

    let place = tempfile::tempdir().unwrap();
    let (folder, log) = recorded(name, place.path());
    let output = tegu(&["plugin", "check", folder.to_str().unwrap()], root());
    assert!(output.status.success(), "{name}, recorded: {}", text(&output));
    let output = Command::new(common::python())
        .arg(root().join("tests/python/check_plugin_messages.py"))
        .arg(root().join("docs/plugin-protocol.schema.json"))
        .args([place.path().join(format!("{name}.json")), log])
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", text(&output));
}

#[test]
fn my_indicator() {
    check("my-indicator");
}

#[test]
fn onnxruntime_python() {
    check("onnxruntime-python");
}

#[test]
fn optuna_sampler() {
    check("optuna-sampler");
}

#[test]
fn dense_space() {
    check("dense-space");
}

#[test]
fn energy_rapl() {
    let executable = executables().join("energy-rapl").with_extension(std::env::consts::EXE_EXTENSION);
    assert!(executable.exists(), "{} is missing: cargo test --workspace builds it", executable.display());
    check("energy-rapl");
}

#[test]
fn the_tutorial_shows_the_plugin_as_it_is() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let tutorial = read("docs/plugins.md");
    for file in ["plugins/my-indicator/plugin.yaml", "plugins/my-indicator/my_indicator.py"] {
        assert!(tutorial.contains(&read(file)), "docs/plugins.md shows another {file}");
    }
}

/// The tutorial's end: the plugin's figure is on the front.
#[test]
fn a_plugins_figure_is_on_the_front() {
    let place = tempfile::tempdir().unwrap();
    let config = root().join("examples/plugin-objective.yaml");
    let output = tegu(&["search", config.to_str().unwrap()], place.path());
    assert!(output.status.success(), "{}", text(&output));
    let front = std::fs::read_to_string(place.path().join("runs/plugin-objective/front.json")).unwrap();
    let front: serde_json::Value = serde_json::from_str(&front).unwrap();
    let members = front["front"].as_array().unwrap();
    assert!(members.len() > 2, "{front}");
    for member in members {
        assert!(member["objectives"]["my-indicator"].as_f64().is_some_and(|layers| layers > 0.0), "{member}");
    }
}
