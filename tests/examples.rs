//! The library's examples run, and print what they say. `cargo test` builds them; with `--test examples` alone, `cargo build --examples` has to.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs an example and looks for `expected` in what it prints.
fn check(name: &str, expected: &[&str]) {
    let folder = Path::new(env!("CARGO_BIN_EXE_tegu")).with_file_name("examples");
    let executable = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(executable.exists(), "{} is missing: cargo build --examples", executable.display());
    let output = Command::new(executable).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {stderr}");
    for line in expected {
        assert!(stdout.contains(line), "{name} does not print `{line}`:\n{stdout}");
    }
}

#[test]
fn tegu_as_a_library() {
    check("library", &["|+|", " ms"]);
}

#[test]
fn a_space_of_ones_own() {
    check("own_space", &["81 networks, 4 decisions", "58176 MACs", "tegu-own-space.onnx is "]);
}

#[test]
fn an_indicator_of_ones_own() {
    check("own_indicator", &["rank correlation of separation with naswot"]);
}

#[test]
fn a_device_of_ones_own() {
    // The larger of 387,882 weights at 1 GB/s and 7,713,280 multiply-accumulates at 10 GMAC/s, and the operators' starts.
    check("own_device", &["00000000: 1.6", "bound by memory", "bound by products"]);
}

#[test]
fn a_sampler_of_ones_own() {
    check("own_sampler", &["seed 3, 100 trials, climber: hypervolume", "nsga2", "random"]);
}

#[test]
fn studies_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let yaml = files.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    // Others are spaces and trainings.
    let is_study = |path: &PathBuf| std::fs::read_to_string(path).unwrap().contains("\nstudy:");
    let studies: Vec<PathBuf> = yaml.filter(is_study).collect();
    assert!(studies.len() > 10);
    for path in studies {
        let config = tegu::config::StudyConfig::read(&path).unwrap();
        // Its folder under runs/ is as easy to find as the file.
        assert_eq!(path.file_stem().unwrap().to_str(), Some(config.study.as_str()));
        // What it is a space around is made by the command that the file names.
        if config.space.from_onnx.is_none() {
            config.space.open(&folder).unwrap();
        }
    }
}
