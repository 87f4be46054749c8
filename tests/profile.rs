//! `tegu profile`: it measures models that Tegu did not make, or says what it needs or what can't be run, and does so
//! with every built-in profile.

mod common;

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tegu::device::HardwareProfile;
use tegu::latency::Protocol;
use tegu::onnx::{ExportOptions, Metadata, export, inspect, read_metadata};
use tegu::runtime::{LoadOptions, NamedTensor, RuntimeError, RuntimeKind, SessionOptions, load, random_inputs};

/// A model, the sizes that it leaves open, and what is said where they aren't given.
struct Foreign {
    file: &'static str,
    inputs: &'static [&'static str],
    refused_without: Option<&'static str>,
    /// Why tract can't run it.
    tract: Option<&'static str>,
}

const fn fixed(file: &'static str) -> Foreign {
    Foreign { file, inputs: &[], refused_without: None, tract: None }
}

const MODELS: [Foreign; 8] = [
    fixed("light_inception_v1.onnx"),
    fixed("light_resnet50.onnx"),
    fixed("light_shufflenet.onnx"),
    fixed("light_squeezenet.onnx"),
    fixed("wonnx_opt-mnist.onnx"),
    Foreign {
        file: "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        inputs: &["x:1x3x48x192"],
        refused_without: Some(
            "input `x` has open dimensions (x: float32 [?, 3, ?, ?]): give them, like `--input x:1x3x224x224`",
        ),
        tract: None,
    },
    // The batch is the profile's, so that nothing has to be given.
    Foreign { file: "magika_standard_v3_3.onnx", inputs: &["bytes:1x2048"], refused_without: None, tract: None },
    Foreign {
        file: "silero_vad.onnx",
        inputs: &["input:1x256", "state:2x1x128"],
        refused_without: Some(
            "input `input` has open dimensions (input: float32 [?, ?]): give them, like `--input input:1x1`",
        ),
        tract: Some("can't run operator If of node `If_0_then_branch__Inline_0__/decoder/If`: "),
    },
];

/// The fields that a user of `--json` may rely on.
const FIELDS: [&str; 13] = [
    "model_sha256",
    "device",
    "runtime",
    "runtime_version",
    "execution_provider",
    "threads",
    "batch",
    "p50_ms",
    "ci95_ms",
    "samples",
    "load_ms",
    "first_run_ms",
    "verdict",
];

/// `tegu profile` on a built-in profile, made short.
struct Profiling {
    folder: tempfile::TempDir,
    profile: HardwareProfile,
    path: PathBuf,
}

struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Profiling {
    fn new(name: &str) -> Self {
        let mut profile = HardwareProfile::find(name).unwrap();
        profile.protocol = Protocol {
            warm_up_s: 0.05,
            min_round_s: 0.0,
            budget_s: 0.1,
            rounds: 5,
            max_rounds: 5,
            runs_per_round: 3,
            ..Protocol::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&path, serde_yaml::to_string(&profile).unwrap()).unwrap();
        Self { folder, profile, path }
    }

    fn run(&self, model: &Path, inputs: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tegu"));
        command.arg("profile").arg(model).arg("--device").arg(&self.path).arg("--json");
        if self.profile.runtime == RuntimeKind::OnnxRuntime {
            command.arg("--ort-lib").arg(common::ort_library());
        }
        inputs.iter().for_each(|input| _ = command.args(["--input", input]));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Measures the model and checks the record.
    #[track_caller]
    fn check_measured(&self, model: &Path, inputs: &[&str]) {
        let Answer { code, stdout, stderr } = self.run(model, inputs);
        let name = &self.profile.name;
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{}, {name}", model.display());
        let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [record] = &lines[..] else { panic!("expected one line: {stdout}") };
        let absent: Vec<&str> = FIELDS.into_iter().filter(|field| record[*field].is_null()).collect();
        assert!(absent.is_empty(), "{absent:?} in {record}");

        let sha256: String =
            Sha256::digest(std::fs::read(model).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(record["model_sha256"], sha256);
        assert_eq!(record["device"], **name);
        let (runtime, version) = match self.profile.runtime {
            RuntimeKind::Tract => ("tract", "0."),
            _ => ("onnxruntime", "1."),
        };
        assert!(record["runtime"] == runtime && record["runtime_version"].as_str().unwrap().starts_with(version));
        let threads = record["threads"].as_u64().unwrap();
        assert!(self.profile.threads.map_or(threads >= 1, |expected| threads == expected as u64), "{threads} threads");
        assert_eq!((&record["execution_provider"], &record["batch"]), (&"cpu".into(), &1.into()));

        let ms = |value: &Value| value.as_f64().unwrap();
        let [low, high] = [ms(&record["ci95_ms"][0]), ms(&record["ci95_ms"][1])];
        assert!(0.0 < low && low <= ms(&record["p50_ms"]) && ms(&record["p50_ms"]) <= high, "{record}");
        assert!(ms(&record["load_ms"]) > 0.0 && ms(&record["first_run_ms"]) > 0.0, "{record}");
        assert!(["stable", "noisy", "throttled"].contains(&record["verdict"].as_str().unwrap()), "{record}");
        // `samples` counts them, `samples_s` has each one.
        let rounds = record["samples_s"].as_array().unwrap();
        let samples: Vec<f64> = rounds.iter().flat_map(|round| round.as_array().unwrap()).map(ms).collect();
        assert!(rounds.len() >= 5 && record["samples"] == samples.len(), "{record}");
        let (least, most) = samples.iter().fold((f64::MAX, 0f64), |(least, most), s| (least.min(*s), most.max(*s)));
        let raw = ms(&record["raw_p50_ms"]);
        assert!(1e3 * least <= raw + 1e-6 && raw <= 1e3 * most + 1e-6, "{record}");
        // The reference ran beside it, and corrects what it did not change much.
        let reference = &record["reference"];
        assert!(reference["by_round_s"].as_array().unwrap().len() == rounds.len(), "{record}");
        assert!((0.2..5.0).contains(&(ms(&record["p50_ms"]) / raw)) && ms(&reference["p50_ms"]) > 0.0, "{record}");
        if runtime == "onnxruntime" {
            assert_eq!((&record["ep_coverage"], &record["fallen_back"]), (&1.0.into(), &serde_json::json!([])));
        }
    }

    /// Expects no record, this exit code, and one line that names the model and the reason.
    #[track_caller]
    fn check_refused(&self, model: &Path, inputs: &[&str], code: i32, reason: &str) {
        self.check_error(model, inputs, code, &[model.to_str().unwrap(), reason]);
    }

    #[track_caller]
    fn check_error(&self, model: &Path, inputs: &[&str], code: i32, parts: &[&str]) {
        let Answer { code: found, stdout, stderr } = self.run(model, inputs);
        assert_eq!((found, stdout.as_str()), (Some(code), ""), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{stderr}\nexpected {parts:?}");
    }

    fn check_all(&self) {
        let Some(models) = common::data("onnx") else { return };
        for Foreign { file, inputs, refused_without, tract } in MODELS {
            let model = models.join(file);
            match refused_without {
                Some(reason) => self.check_refused(&model, &[], 2, reason),
                None if inputs.is_empty() => {}
                None => self.check_measured(&model, &[]),
            }
            match tract.filter(|_| self.profile.runtime == RuntimeKind::Tract) {
                Some(reason) => self.check_refused(&model, inputs, 2, reason),
                None => self.check_measured(&model, inputs),
            }
        }
    }
}

#[test]
fn tract_measures_them_or_names_the_operator() {
    Profiling::new("host-cpu-tract").check_all();
}

#[test]
fn onnx_runtime_measures_them() {
    Profiling::new("host-cpu-ort-1thread").check_all();
}

/// Other ways in which sizes, files and devices may be wrong.
#[test]
fn what_is_wrong_with_the_input_is_named() {
    let profiling = Profiling::new("host-cpu-ort");
    let broken = profiling.folder.path().join("broken.onnx");
    std::fs::write(&broken, "<!doctype html><title>404</title>").unwrap();
    profiling.check_refused(&broken, &[], 2, "not a valid ONNX model: ");
    profiling.check_refused(Path::new("absent.onnx"), &[], 2, "No such file or directory");
    let Some(models) = common::data("onnx") else { return };
    let model = models.join("ch_ppocr_mobile_v2.0_cls_infer.onnx");
    profiling.check_refused(&model, &["y:1x3x48x192"], 2, "no input `y`: the model has `x`");
    let expected = "input `x` was given the dimensions 1x1x48x192, the model has x: float32 [?, 3, ?, ?]";
    profiling.check_refused(&model, &["x:1x1x48x192"], 2, expected);
}

fn small_model(folder: &Path) -> PathBuf {
    let graph = common::gate();
    let model = export(&graph, &common::weights(&graph, 1), &Metadata::new(), ExportOptions::default()).unwrap();
    let path = folder.join("small.onnx");
    model.save(&path).unwrap();
    path
}

/// The built-in profiles that need no more than a CPU and ONNX Runtime's plain library.
#[test]
fn the_hosts_profiles_measure() {
    for name in ["host-cpu-tract", "host-cpu-ort", "host-cpu-ort-1thread"] {
        let profiling = Profiling::new(name);
        let model = small_model(profiling.folder.path());
        profiling.check_measured(&model, &[]);
    }
}

/// The plain library has the CPU alone: what else is asked for is refused, and nothing runs on the CPU in its place.
#[test]
fn a_provider_that_is_absent_is_named() {
    for (name, provider, source) in [
        ("openvino-cpu", "openvino", "`tegu runtime install onnxruntime-openvino` gets one that has it"),
        ("cuda", "cuda", "`tegu runtime install onnxruntime-gpu` gets one that has it"),
        ("tensorrt", "tensorrt", "`tegu runtime install onnxruntime-gpu` gets one that has it"),
        ("xnnpack", "xnnpack", "the libraries for Android and iOS have it"),
        ("webgpu", "webgpu", "the library in npm's onnxruntime-node has it"),
        ("coreml", "coreml", "the libraries for macOS and iOS have it"),
        ("qnn", "qnn", "builds for Qualcomm's chips have it"),
        ("nnapi", "nnapi", "the library for Android has it"),
        ("directml", "directml", "PyPI's onnxruntime-directml has it, for Windows"),
        ("migraphx", "migraphx", "AMD's builds for ROCm have it"),
        ("acl", "acl", "a build of one's own with --use_acl has it, for ARM"),
        ("onednn", "onednn", "a build of one's own with --use_dnnl has it"),
    ] {
        let profiling = Profiling::new(name);
        let model = small_model(profiling.folder.path());
        let absent =
            format!("device `{name}` can't be used: this ONNX Runtime has no execution provider `{provider}`, ");
        profiling.check_error(&model, &[], 1, &[&absent, source]);
    }
}

/// A misspelt option, or a value that it can't hold, is found when the profile is read.
#[test]
fn a_misspelt_option_is_named_with_its_line() {
    let profiling = Profiling::new("openvino-cpu");
    let text = std::fs::read_to_string(&profiling.path).unwrap();
    for (wrong, expected) in [
        (
            "devicetype: CPU",
            ": execution_provider.options: unknown option `devicetype` of execution provider openvino, ",
        ),
        (
            "device_type: cpu",
            ": execution_provider.options.device_type: found `cpu`, expected a word that begins with ",
        ),
    ] {
        let path = profiling.folder.path().join("wrong.yaml");
        std::fs::write(&path, text.replace("device_type: CPU", wrong)).unwrap();
        let command = ["profile", "m.onnx", "--device", path.to_str().unwrap()];
        let output = Command::new(env!("CARGO_BIN_EXE_tegu")).args(command).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let line = 1 + text.lines().position(|line| line.contains("device_type")).unwrap();
        assert!(stderr.starts_with(&format!("error: {}:{line}:", path.display())), "{stderr}");
        assert!(output.status.code() == Some(2) && stderr.contains(expected), "{stderr}");
        assert!(stderr.ends_with(&format!("did you mean `{}`?\n", wrong_meant(wrong))), "{stderr}");
    }
}

fn wrong_meant(wrong: &str) -> &str {
    if wrong.starts_with("device_type") { "CPU" } else { "device_type" }
}

fn run(kind: RuntimeKind, model: &Path, inputs: &[&str]) -> Result<Vec<NamedTensor>, RuntimeError> {
    let library = (kind == RuntimeKind::OnnxRuntime).then(common::ort_library);
    let runtime = load(kind, &LoadOptions { library, ..Default::default() })?;
    let dims = |input: &&str| {
        let (name, sizes) = input.split_once(':').unwrap();
        (name.to_owned(), sizes.split('x').map(|size| size.parse().unwrap()).collect())
    };
    let input_dims: BTreeMap<String, Vec<usize>> = inputs.iter().map(dims).collect();
    let options = SessionOptions { input_dims, ..Default::default() };
    let mut session = runtime.prepare(model, &options)?;
    session.bind(random_inputs(session.inputs(), 1))?;
    session.run()?;
    session.outputs()
}

#[test]
fn both_runtimes_compute_alike() {
    let Some(models) = common::data("onnx") else { return };
    for Foreign { file, inputs, tract: refused, .. } in MODELS {
        let model = models.join(file);
        let ort = run(RuntimeKind::OnnxRuntime, &model, inputs).unwrap();
        match (run(RuntimeKind::Tract, &model, inputs), refused) {
            (Ok(tract), None) => {
                let difference = common::difference(&ort, &tract);
                assert!(difference <= 1e-4, "{file}: differs by {difference}");
            }
            (Err(error), Some(reason)) => assert!(error.to_string().contains(reason), "{file}: {error}"),
            (outcome, expected) => panic!("{file}: found {outcome:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn facts_of_a_foreign_model() {
    let Some(model) = common::data("onnx/silero_vad.onnx") else { return };
    let inputs: Vec<String> = inspect(&model).unwrap().inputs.iter().map(ToString::to_string).collect();
    assert_eq!(inputs, ["input: float32 [?, ?]", "state: float32 [2, ?, 128]", "sr: int64 []"]);
    assert_eq!(read_metadata(&model).unwrap(), Metadata::default());
}
