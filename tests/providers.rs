//! Execution providers that are really there, beside the CPU's: what one does not run is named, and never run silently
//! by another. OpenVINO runs on any x86-64 processor, and leaves some operators of ONNX alone.

mod common;

use common::onnx::{DataType, Model};
use std::path::{Path, PathBuf};
use std::process::Command;
use tegu::device::{self, Device, HardwareProfile, Job, OpenOptions};
use tegu::latency::Verdict;

/// `openvino-cpu`, made short, with these lines.
fn openvino(library: &Path, lines: &str) -> Box<dyn Device> {
    let text = format!(
        "name: openvino-cpu\ndescription: of a test\nruntime: onnxruntime\nthreads: 1\n\
         protocol: {{warm_up_s: 0.02, min_round_s: 0, budget_s: 0.05, rounds: 5, max_rounds: 5, runs_per_round: 3}}\n{lines}\n"
    );
    let profile = HardwareProfile::parse(&text, Path::new("openvino-cpu.yaml")).unwrap();
    let (executable, library) = (Some(env!("CARGO_BIN_EXE_tegu").into()), Some(library.to_owned()));
    device::open(profile, OpenOptions { executable, library, ..OpenOptions::default() }).unwrap()
}

const STRICT: &str = "execution_provider: {name: openvino, options: {device_type: CPU}}";
const LENIENT: &str = "execution_provider: {name: openvino, options: {device_type: CPU}, allow_fallback: true}";

/// ReLU, sigmoid, and a determinant, which OpenVINO's provider does not take.
fn planted(folder: &Path) -> PathBuf {
    let model = Model::default().input("x", DataType::Float, &[1, 4, 8, 8]).output("det", DataType::Float, &[1, 4]);
    let model = model.op("Relu", &["x"], "relu").op("Sigmoid", &["relu"], "sigmoid");
    model.op("Det", &["sigmoid"], "det").save(folder, "planted")
}

fn runs_everywhere(folder: &Path) -> PathBuf {
    let model = Model::default().input("x", DataType::Float, &[1, 4, 8, 8]);
    let model = model.output("sigmoid", DataType::Float, &[1, 4, 8, 8]);
    model.op("Relu", &["x"], "relu").op("Sigmoid", &["relu"], "sigmoid").save(folder, "whole")
}

const REFUSED: &str = "execution provider `openvino` does not run 1 of 3 nodes, which would fall back to the CPU: \
                       Det (1); the first is `det`";

#[test]
fn a_node_that_the_provider_does_not_run_is_named_and_the_model_refused() {
    let Some(library) = common::openvino_library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (planted, whole) = (planted(folder.path()), runs_everywhere(folder.path()));
    let mut device = openvino(&library, STRICT);
    device.check().unwrap();
    // Beside each other, in one worker: the refused one costs itself alone.
    let [refused, measured] = &device.measure_all(&[Job::of_model(&planted), Job::of_model(&whole)])[..] else {
        panic!("two jobs have two outcomes")
    };
    let error = refused.as_ref().unwrap_err();
    assert!(error.is_input(), "{error:?}");
    assert_eq!(error.to_string(), format!("can't prepare {}: {REFUSED}", planted.display()));
    let measured = measured.as_ref().unwrap();
    assert_eq!((measured.execution_provider.as_str(), measured.ep_coverage), ("openvino", Some(1.0)));
    assert_eq!(measured.nodes_by_provider, [("OpenVINOExecutionProvider".to_owned(), 2)].into());
    assert_eq!((measured.fallen_back.len(), &measured.provider_options["device_type"]), (0, &"CPU".to_owned()));
    assert_ne!(measured.verdict, Verdict::Fallback);
}

#[test]
fn a_fallback_that_is_allowed_is_said_and_can_be_bounded() {
    let Some(library) = common::openvino_library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (planted, whole) = (planted(folder.path()), runs_everywhere(folder.path()));
    let jobs = [Job::of_model(&planted), Job::of_model(&whole)];
    let found = openvino(&library, LENIENT).measure_all(&jobs);
    let [fallen, measured] = [0, 1].map(|at: usize| found[at].as_ref().unwrap());
    assert_eq!((fallen.verdict, fallen.ep_coverage), (Verdict::Fallback, Some(1.0 - 1.0 / 3.0)));
    assert_eq!(fallen.fallen_back, ["det (Det)"]);
    let nodes = [("CPUExecutionProvider".to_owned(), 1), ("OpenVINOExecutionProvider".to_owned(), 2)];
    assert_eq!(fallen.nodes_by_provider, nodes.into());
    assert!(measured.verdict != Verdict::Fallback && measured.ep_coverage == Some(1.0), "{measured:?}");

    let bounded = |least: &str| {
        let mut device = openvino(&library, &format!("{LENIENT}\nbudget: {{ep_coverage: {least}}}"));
        device.measure_all(&jobs).into_iter().map(|outcome| outcome.map(|_| ())).collect::<Vec<_>>()
    };
    let [Err(refused), Ok(())] = &bounded("1.0")[..] else { panic!("the planted one is refused, the other not") };
    let expected = "execution provider `openvino` runs 0.667 of the nodes, the profile's `budget.ep_coverage` is 1: \
                    det (Det) run elsewhere";
    assert_eq!(refused.to_string(), format!("{}: {expected}", planted.display()));
    assert!(refused.is_input(), "{refused:?}");
    assert!(matches!(bounded("0.5")[..], [Ok(()), Ok(())]));
}

/// The library is the one that `tegu runtime install` would have put into Tegu's folder.
#[test]
fn the_library_made_for_the_provider_is_taken() {
    let Some(_) = common::openvino_library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let profile = |model: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tegu"));
        command.arg("profile").arg(model).args(["--device", "openvino-cpu"]).env("TEGU_HOME", common::tegu_home());
        let output = command.env_remove("ORT_DYLIB_PATH").output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, stderr) = profile(&planted(folder.path()));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert!(stderr.contains(REFUSED), "{stderr}");
    let (code, stdout, stderr) = profile(&runs_everywhere(folder.path()));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("openvino, runs 100.0 % of the nodes"), "{stdout}");
}

/// `tegu runtime list` on this machine: what can be used, and why the rest can't.
#[test]
fn profiles_that_can_be_used_here_are_listed() {
    let Some(_) = common::openvino_library() else { return };
    let list = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tegu"));
        command.args(["runtime", "list"]).args(options).env("TEGU_HOME", common::tegu_home());
        let output = command.env_remove("ORT_DYLIB_PATH").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let found: Vec<serde_json::Value> = serde_json::from_str(&list(&["--json"])).unwrap();
    let profiles: Vec<&serde_json::Value> = found.iter().flat_map(|of| of["profiles"].as_array().unwrap()).collect();
    let mut names: Vec<&str> = profiles.iter().map(|profile| profile["name"].as_str().unwrap()).collect();
    let mut built_in: Vec<&str> = HardwareProfile::built_in().collect();
    names.sort();
    built_in.sort();
    assert_eq!(names, built_in);
    let reason = |name: &str| profiles.iter().find(|profile| profile["name"] == name).unwrap()["reason"].clone();
    for usable in ["host-cpu-tract", "host-cpu-ort", "openvino-cpu"] {
        assert_eq!(reason(usable), serde_json::Value::Null, "{usable}");
    }
    let text = list(&[]);
    for name in ["xnnpack", "coreml", "nnapi", "acl"] {
        let reason = reason(name).as_str().unwrap().to_owned();
        assert!(
            reason.starts_with(&format!("this ONNX Runtime has no execution provider `{name}`, only ")),
            "{reason}"
        );
        assert!(text.contains(name), "{text}");
    }
}
