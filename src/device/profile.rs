//! A hardware profile: what a device is, how it is measured, and what may not be exceeded on it.

use crate::latency::{Measurement, Protocol, ProtocolError, Unit};
use crate::onnx::Precision;
use crate::plugin::{self, PluginSection};
use crate::runtime::{ExecutionProvider, GraphOptimization, RuntimeKind};
use crate::yaml::{self, YamlError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A device to measure on, as `hardware-profiles/NAME.yaml` describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardwareProfile {
    /// Short name, as measurements and reports give it.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Where it is.
    #[serde(default, with = "serde_yaml::with::singleton_map")]
    pub location: Location,
    /// What runs the model.
    #[serde(default = "default_runtime")]
    pub runtime: RuntimeKind,
    /// The runtime's library; looked for in the usual places where absent.
    #[serde(default)]
    pub library: Option<PathBuf>,
    /// ONNX Runtime's provider and its options; the CPU where absent.
    #[serde(default)]
    pub execution_provider: Option<ExecutionProvider>,
    /// Threads within an operator; where absent, one on each physical core (tract: one).
    #[serde(default)]
    pub threads: Option<usize>,
    /// How far ONNX Runtime may change the graph.
    #[serde(default, skip_serializing_if = "GraphOptimization::is_all")]
    pub graph_optimization: GraphOptimization,
    /// Cores that the worker is pinned to, by number (Linux); any core where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<Vec<usize>>,
    /// Samples in one run, where the model leaves its leading dimension open.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Element type that candidates are exported in; a model that is there already is measured as it is.
    #[serde(default)]
    pub precision: Precision,
    /// How it is timed.
    #[serde(default)]
    pub protocol: Protocol,
    /// What a measurement may take before it is stopped.
    #[serde(default)]
    pub limits: Limits,
    /// What the product can afford.
    #[serde(default)]
    pub budget: Budget,
    /// ONNX operators (`Softmax`, `Resize`, …) that the target can't run: a model with one of them is refused.
    #[serde(default)]
    pub unsupported_operators: Vec<String>,
}

/// Where a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Location {
    /// This machine, in a worker process.
    #[default]
    Local,
    /// Nowhere: recorded measurements answer.
    Replay {
        /// The file of records (JSON lines), or the folder with `measurements.jsonl`; relative to the profile's own.
        study: PathBuf,
        /// Which device's records; needed where they are of several.
        device: Option<String>,
        /// Milliseconds that each answer takes, to rehearse a search; 0 where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_ms: Option<u64>,
    },
    /// Elsewhere: agents of this name, behind a NATS server.
    Agent {
        /// The name that its agents were given.
        name: String,
        /// What it was found to be; filled in when it is looked up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<String>,
    },
    /// Wherever a plugin of kind `device` has it.
    Plugin(PluginSection),
    /// Nowhere: a CSV of architectures and latencies answers.
    Table {
        /// The file; relative to the profile's own.
        file: PathBuf,
        /// Its column of latencies; `latency_ms`, `latency`, `latency_us` or `latency_s` where absent.
        column: Option<String>,
        /// Their unit; that of the column's name where absent.
        unit: Option<Unit>,
    },
}

/// What one measurement may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Seconds for loading, warm-up and all rounds together.
    pub time_s: f64,
    /// Resident memory of the worker process, in MiB.
    pub memory_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time_s: 120.0, memory_mib: 8192 }
    }
}

/// What the product can afford.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Median latency of a run, in ms.
    pub latency_ms: Option<f64>,
    /// Peak memory of activations and weights, in MiB.
    pub memory_mib: Option<f64>,
    /// Size of the model's file, in MiB.
    pub model_mib: Option<f64>,
    /// The least share of the model's nodes that the execution provider must run, from 0 to 1; counts where the provider
    /// has `allow_fallback`, as it must run all of them otherwise.
    pub ep_coverage: Option<f64>,
}

impl Budget {
    /// Whether the execution provider runs as many nodes as it must.
    ///
    /// # Errors
    /// Says the share and the nodes that run elsewhere.
    pub fn check_coverage(&self, measured: &Measurement) -> Result<(), String> {
        let Some(least) = self.ep_coverage else { return Ok(()) };
        let provider = &measured.execution_provider;
        let budget = format!("the profile's `budget.ep_coverage` is {least}");
        match measured.ep_coverage {
            Some(share) if share >= least => Ok(()),
            Some(share) => {
                let nodes = measured.fallen_back.join(", ");
                Err(format!(
                    "execution provider `{provider}` runs {share:.3} of the nodes, {budget}: {nodes} run elsewhere"
                ))
            }
            None => Err(format!("{} does not tell which nodes `{provider}` runs, {budget}", measured.runtime)),
        }
    }
}

/// Why there is no such profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file can't be read, or is no profile.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The file says something that can't be.
    #[error("{path}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Field, what was found, what was expected.
        reason: String,
    },
    /// No built-in profile has this name.
    #[error("no hardware profile `{name}`{}; there are {known}, or give the path of a YAML file",
        meant.as_ref().map(|meant| format!(": did you mean `{meant}`?")).unwrap_or_default())]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        meant: Option<String>,
        /// The names that there are.
        known: String,
    },
}

/// The profiles inside the executable, by name.
const BUILT_IN: [(&str, &str); 15] = [
    ("host-cpu-tract", include_str!("../../hardware-profiles/host-cpu-tract.yaml")),
    ("host-cpu-ort", include_str!("../../hardware-profiles/host-cpu-ort.yaml")),
    ("host-cpu-ort-1thread", include_str!("../../hardware-profiles/host-cpu-ort-1thread.yaml")),
    ("openvino-cpu", include_str!("../../hardware-profiles/openvino-cpu.yaml")),
    ("cuda", include_str!("../../hardware-profiles/cuda.yaml")),
    ("tensorrt", include_str!("../../hardware-profiles/tensorrt.yaml")),
    ("xnnpack", include_str!("../../hardware-profiles/xnnpack.yaml")),
    ("webgpu", include_str!("../../hardware-profiles/webgpu.yaml")),
    ("coreml", include_str!("../../hardware-profiles/coreml.yaml")),
    ("qnn", include_str!("../../hardware-profiles/qnn.yaml")),
    ("nnapi", include_str!("../../hardware-profiles/nnapi.yaml")),
    ("directml", include_str!("../../hardware-profiles/directml.yaml")),
    ("migraphx", include_str!("../../hardware-profiles/migraphx.yaml")),
    ("acl", include_str!("../../hardware-profiles/acl.yaml")),
    ("onednn", include_str!("../../hardware-profiles/onednn.yaml")),
];

impl HardwareProfile {
    /// Names of the built-in profiles.
    pub fn built_in() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in profile of this name, or the one in the YAML file at this path.
    ///
    /// # Errors
    /// If there is none (with the name that may have been meant), or it is no valid profile.
    pub fn find(name_or_path: &str) -> Result<Self, ProfileError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_path) {
            return Self::parse(text, Path::new(&format!("hardware-profiles/{name}.yaml")));
        }
        let path = Path::new(name_or_path);
        let is_path = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        if is_path || path.components().count() > 1 || path.is_file() {
            return Self::read(path);
        }
        Err(ProfileError::Unknown {
            name: name_or_path.to_owned(),
            meant: yaml::closest(name_or_path, Self::built_in()).map(str::to_owned),
            known: Self::built_in().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        })
    }

    /// Reads the profile in the file at `path`.
    ///
    /// # Errors
    /// If it can't be read, or is no valid profile.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| YamlError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses a profile; `path` is where the text is said to come from.
    ///
    /// # Errors
    /// If it is no valid profile.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ProfileError> {
        let mut profile: Self = yaml::parse(text, path)?;
        if let Err(reason) = profile.check() {
            return Err(ProfileError::Invalid { path: path.to_owned(), reason });
        }
        if let Location::Replay { study: file, .. } | Location::Table { file, .. } = &mut profile.location {
            *file = path.parent().unwrap_or(Path::new("")).join(&*file);
        }
        if let Location::Plugin(section) = &mut profile.location {
            section.name = plugin::beside(path.parent().unwrap_or(Path::new("")), &section.name);
        }
        Ok(profile)
    }

    fn check(&self) -> Result<(), String> {
        let needed = |holds: bool, reason: &str| if holds { Ok(()) } else { Err(reason.to_owned()) };
        needed(!self.name.trim().is_empty(), "name: empty, expected a short name")?;
        needed(self.threads != Some(0), "threads: 0 found, expected 1 or more, or no number for all cores")?;
        // What a plugin runs models with is its own affair.
        let by_plugin = matches!(self.location, Location::Plugin(_));
        let on_tract = self.runtime == RuntimeKind::Tract && !by_plugin;
        let alone = self.execution_provider.is_none() && self.cores.is_none() && self.library.is_none();
        needed(
            !by_plugin || alone,
            "library, execution_provider, cores: a plugin has its own `options`, leave them out",
        )?;
        let distinct =
            |cores: &Vec<usize>| !cores.is_empty() && (1..cores.len()).all(|at| !cores[..at].contains(&cores[at]));
        needed(
            self.cores.as_ref().is_none_or(distinct),
            &format!(
                "cores: {:?} found, expected different numbers of cores, one or more",
                self.cores.iter().flatten().collect::<Vec<_>>()
            ),
        )?;
        needed(
            self.cores.is_none() || cfg!(target_os = "linux"),
            "cores: a process can be pinned to cores on Linux only, leave it out",
        )?;
        needed(self.batch > 0, "batch: 0 found, expected 1 or more")?;
        needed(
            self.limits.time_s.is_finite() && self.limits.time_s > 0.0,
            &format!("limits.time_s: {} found, expected more than 0 seconds", self.limits.time_s),
        )?;
        needed(self.limits.memory_mib > 0, "limits.memory_mib: 0 found, expected 1 or more")?;
        needed(
            self.execution_provider.is_none() || !on_tract,
            "execution_provider: only `runtime: onnxruntime` has execution providers, tract runs on the CPU",
        )?;
        needed(
            self.graph_optimization.is_all() || self.runtime == RuntimeKind::OnnxRuntime,
            "graph_optimization: only `runtime: onnxruntime` has levels of it, leave it out",
        )?;
        needed(
            !on_tract || self.threads.is_none_or(|threads| threads == 1),
            &format!("threads: {} found, tract runs on 1 thread", self.threads.unwrap_or_default()),
        )?;
        let budget = [
            ("latency_ms", self.budget.latency_ms),
            ("memory_mib", self.budget.memory_mib),
            ("model_mib", self.budget.model_mib),
        ];
        for (field, bound) in budget {
            let positive = bound.is_none_or(|bound| bound.is_finite() && bound > 0.0);
            needed(positive, &format!("budget.{field}: {} found, expected more than 0", bound.unwrap_or_default()))?;
        }
        let coverage = self.budget.ep_coverage;
        needed(
            coverage.is_none_or(|share| (0.0..=1.0).contains(&share)),
            &format!("budget.ep_coverage: {} found, expected a share from 0 to 1", coverage.unwrap_or_default()),
        )?;
        needed(
            coverage.is_none() || (!on_tract && !by_plugin),
            "budget.ep_coverage: only `runtime: onnxruntime` has execution providers, leave it out",
        )?;
        self.protocol.check().map_err(|error: ProtocolError| error.to_string())
    }
}

fn default_runtime() -> RuntimeKind {
    RuntimeKind::Tract
}

fn default_batch() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_are_valid_and_bear_their_names() {
        for name in HardwareProfile::built_in() {
            let profile = HardwareProfile::find(name).unwrap();
            assert_eq!((profile.name.as_str(), &profile.location), (name, &Location::Local));
        }
    }

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hardware-profiles");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let mut built_in: Vec<&str> = HardwareProfile::built_in().collect();
        files.sort();
        built_in.sort();
        assert_eq!(files, built_in);
    }

    #[test]
    fn the_tract_profile_spells_out_the_defaults() {
        let profile = HardwareProfile::find("host-cpu-tract").unwrap();
        // tract is faster or slower from load to load.
        assert_eq!(profile.protocol, Protocol { loads: 3, ..Protocol::default() });
        assert_eq!(profile.limits, Limits::default());
    }

    fn parse(text: &str) -> Result<HardwareProfile, ProfileError> {
        HardwareProfile::parse(&format!("name: a\ndescription: b\n{text}"), Path::new("dir/a.yaml"))
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn errors_name_file_field_and_what_was_expected() {
        check(
            "thread: 1",
            "dir/a.yaml:3:1: unknown field `thread`, expected one of `name`, `description`, `location`, \
            `runtime`, `library`, `execution_provider`, `threads`, `graph_optimization`, `cores`, `batch`, `precision`, `protocol`, `limits`, `budget`, \
            `unsupported_operators`; did you mean `threads`?",
        );
        check("threads: many", "dir/a.yaml:3:10: threads: invalid type: string \"many\", expected usize");
        check("threads: 0", "dir/a.yaml: threads: 0 found, expected 1 or more, or no number for all cores");
        check("threads: 2", "dir/a.yaml: threads: 2 found, tract runs on 1 thread");
        check("cores: []", "dir/a.yaml: cores: [] found, expected different numbers of cores, one or more");
        check("cores: [1, 1]", "dir/a.yaml: cores: [1, 1] found, expected different numbers of cores, one or more");
        check(
            "graph_optimization: none",
            "dir/a.yaml: graph_optimization: only `runtime: onnxruntime` has levels of it, leave it out",
        );
        check("batch: 0", "dir/a.yaml: batch: 0 found, expected 1 or more");
        check("limits: {time_s: 0}", "dir/a.yaml: limits.time_s: 0 found, expected more than 0 seconds");
        check("budget: {ep_coverage: 100}", "dir/a.yaml: budget.ep_coverage: 100 found, expected a share from 0 to 1");
        check("budget: {latency_ms: -1}", "dir/a.yaml: budget.latency_ms: -1 found, expected more than 0");
        check(
            "protocol: {rounds: 3}",
            "dir/a.yaml: protocol.rounds: 3 found, expected 5 or more (fewer give no 95 % interval)",
        );
        check(
            "execution_provider: {name: cuda}",
            "dir/a.yaml: execution_provider: only `runtime: onnxruntime` has execution providers, tract runs on the CPU",
        );
    }

    #[test]
    fn a_location_is_a_word_or_a_map() {
        let location = parse("location: {replay: {study: runs/a.jsonl}}").unwrap().location;
        assert_eq!(location, Location::Replay { study: "dir/runs/a.jsonl".into(), device: None, pause_ms: None });
        assert_eq!(parse("location: local").unwrap().location, Location::Local);
        let profile = parse("location: {replay: {study: /a, device: b}}").unwrap();
        let json = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<HardwareProfile>(&json).unwrap(), profile);
        let yaml = serde_yaml::to_string(&profile).unwrap();
        assert_eq!(HardwareProfile::parse(&yaml, Path::new("a.yaml")).unwrap(), profile);
    }

    #[test]
    fn a_misspelt_location_is_named() {
        check(
            "location: locl",
            "dir/a.yaml:3:11: location: unknown variant `locl`, expected one of `local`, `replay`, `agent`, `plugin`, `table`; did you mean `local`?",
        );
        check(
            "location: {replay: {studdy: a}}",
            "dir/a.yaml:3:21: location.replay: unknown field `studdy`, expected one of `study`, `device`, `pause_ms`; did you mean `study`?",
        );
        check(
            "location: {reply: {study: a}}",
            "dir/a.yaml:3:12: location: unknown variant `reply`, expected one of `local`, `replay`, `agent`, `plugin`, `table`; did you mean `replay`?",
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_what_was_meant() {
        let error = HardwareProfile::find("host-cpu-trct").unwrap_err().to_string();
        assert!(error.starts_with("no hardware profile `host-cpu-trct`: did you mean `host-cpu-tract`?; there are"));
        let error = HardwareProfile::find("nosuch.yaml").unwrap_err().to_string();
        assert!(error.starts_with("nosuch.yaml: "), "{error}");
    }
}
