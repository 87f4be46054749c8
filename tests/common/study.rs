//! A study that takes seconds: a space of tiny networks, few trials, short rounds; and the executable.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A cell space as NAS-Bench-201, but of two stages on 8×8 pixels, and without pooling outside of the cells.
pub const SPACE: &str = "\
name: tiny
description: cells of 4 nodes and 5 operators in two stages of 8×8 and 4×4
networks:
  full: {input: [3, 8, 8], classes: 4, width: 4, depth: 1}
  probe: {input: [3, 8, 8], classes: 4, width: 2, depth: 1}
  thin: {input: [1, 3, 3], classes: 4, width: 1, depth: 1, stages: 1, stem: false}
stem: [conv: {kernel: 3, channels: width}, batch_norm]
cell:
  nodes: 4
  stages: 2
  operators:
    none: [zero]
    skip_connect: [identity]
    nor_conv_1x1: [relu, conv: {kernel: 1}, batch_norm]
    nor_conv_3x3: [relu, conv: {kernel: 3}, batch_norm]
    avg_pool_3x3: [avg_pool: {kernel: 3}]
  reduction:
    - residual:
        body: [relu, conv: {kernel: 3, stride: 2}, batch_norm]
        shortcut: [conv: {kernel: 1, stride: 2}]
head: [batch_norm, relu, global_avg_pool, linear: {features: classes}]
";

/// A study of 20 trials and as many for the control.
pub const STUDY: &str = "\
study: small
seed: 3
space: {name: tiny.yaml}
indicators: {batch: 4, networks: 1}
quality: {recipe: teg, reference: 6}
objectives:
  - quality
  - latency:
      device: host-cpu-tract
      protocol: {warm_up_s: 0.02, rounds: 5, max_rounds: 5, runs_per_round: 3, min_round_s: 0.001, budget_s: 0.05}
search:
  sampler: {nsga2: {population: 6}}
  trials: 20
  control: random
";

/// A living architecture of the space, and one whose output does not depend on its input.
pub const LIVING: &str = "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|";
pub const DEAD: &str = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";

/// A folder with the space and the study `small`, where commands run.
pub struct Workplace(tempfile::TempDir);

impl Workplace {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write("tiny.yaml", SPACE);
        place.write("small.yaml", STUDY);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    /// Writes `NAME.yaml`: the study under this name, with each first text replaced by the second.
    pub fn write_study(&self, name: &str, changes: &[(&str, &str)]) {
        let mut text = STUDY.replace("study: small", &format!("study: {name}"));
        for (old, new) in changes {
            assert!(text.contains(old), "`{old}` is not in the study");
            text = text.replace(old, new);
        }
        self.write(&format!("{name}.yaml"), text);
    }

    /// The executable with these arguments, in this folder.
    pub fn tegu(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tegu"));
        command.args(args).current_dir(self.0.path()).stdin(Stdio::null()).env_remove("TEGU_LOG");
        command.env("TEGU_HOME", self.path("home"));
        command
    }

    /// Runs the executable to its end.
    pub fn run(&self, args: &[&str]) -> Finished {
        Finished::from(self.tegu(args).output().unwrap())
    }

    /// Runs `tegu search NAME.yaml --json`, which must end well; gives the front.
    pub fn search(&self, name: &str) -> serde_json::Value {
        let finished = self.run(&["search", &format!("{name}.yaml"), "--json", "--quiet"]);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{name}");
        serde_json::from_str(&finished.stdout).unwrap()
    }

    pub fn folder(&self, study: &str) -> PathBuf {
        self.path("runs").join(study)
    }
}

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// SHA-256 of a file, hexadecimal.
pub fn sha256(path: &Path) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
