//! `tegu train` as a user runs it: a trial of a study, an architecture by name, and what is refused.

#[path = "common/stripes.rs"]
mod stripes;
#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use std::path::Path;
use study::{DEAD, Finished, LIVING, Workplace, sha256};
use tegu::onnx::{inspect, read_metadata};
use tegu::train::{TrainingRecord, records};

fn place() -> Workplace {
    let place = Workplace::new();
    std::fs::create_dir(place.path("data")).unwrap();
    stripes::write_stripes(&place.path("data"), 192, 64);
    place.write("train.yaml", "batch: 32\nsplit: {validation: 0.25}\noptimizer: {sgd: {momentum: 0.9}}\n");
    place
}

const BY_NAME: [&str; 8] = ["train", "--space", "tiny.yaml", "--data", "data", "--config", "train.yaml", "--quiet"];

fn by_name(place: &Workplace, more: &[&str]) -> Finished {
    place.run(&[&BY_NAME, more].concat())
}

#[test]
fn a_trial_of_a_study_is_trained_and_recorded() {
    let place = place();
    place.search("small");
    let args = ["train", "runs/small", "--trial", "0", "--data", "data", "--config", "train.yaml"];
    let finished = place.run(&[&args[..], &["--epochs", "3", "--json"]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let said = &finished.stderr;
    assert!(said.contains("made for the data: 1×8×8 and 4 classes, where the space has 3×8×8 and 4"), "{said}");
    assert!(said.contains("144 samples of 1×8×8 to train on, 48 to validate, 64 to test, 4 classes"), "{said}");
    assert!(said.contains("epoch 3/3: loss "), "{said}");
    let result: Value = serde_json::from_str(&finished.stdout).unwrap();
    let trainings = records(&place.folder("small").join(tegu::study::TRAININGS)).unwrap();
    let [(name, record)] = &trainings[..] else { panic!("{trainings:?}") };
    assert_eq!(name, "nsga2-0-seed0");
    assert_eq!((record.curve.len(), &record.trial), (3, &Some(("nsga2".to_owned(), 0))));
    assert_eq!(result["curve"].as_array().unwrap().len(), 3);
    assert_eq!(result["accuracy"]["test"].as_f64(), Some(record.evaluated.as_ref().unwrap().after["test"].accuracy));

    let model = place.path(result["model"]["path"].as_str().unwrap());
    assert_eq!(model, place.folder("small").join("training/nsga2-0-seed0/model.onnx"));
    assert_eq!(result["model"]["sha256"], sha256(&model));
    let metadata = read_metadata(&model).unwrap();
    assert_eq!((metadata.study.as_deref(), metadata.trial, metadata.seed), (Some("small"), Some(0), Some(0)));
    assert!(!metadata.indicators.is_empty());
    assert_eq!(metadata.data_sha256.as_deref(), result["data"]["sha256"].as_str());

    // Any other architecture of the study's space.
    let more = ["train", "runs/small", "--arch", LIVING, "--data", "data", "--config", "train.yaml", "--epochs", "1"];
    assert_eq!(place.run(&more).code, Some(0));
    assert_eq!(records(&place.folder("small").join("training")).unwrap().len(), 2);
    assert_eq!(place.run(&["report", "runs/small", "--json"]).code, Some(0));
    let page = std::fs::read_to_string(place.folder("small").join("report.html")).unwrap();
    assert!(page.contains("nsga2-0-seed0"));

    // A study that starts over leaves no training behind.
    place.run(&["search", "small.yaml", "--fresh", "--quiet"]);
    assert!(!place.folder("small").join("training").exists());
}

#[test]
fn an_architecture_by_name_is_trained_and_gone_on_with() {
    let place = place();
    let finished = by_name(&place, &["--arch", LIVING, "--epochs", "2", "-o", "m.onnx", "--pixels", "--softmax"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    assert!(finished.stdout.contains("validation") && finished.stdout.contains("m.onnx: "), "{}", finished.stdout);
    let info = inspect(&place.path("m.onnx")).unwrap();
    assert_eq!(info.inputs[0].to_string(), "input: uint8 [1, 1, 8, 8]");
    assert_eq!(info.operators["Softmax"], 1);
    let first = TrainingRecord::read(&place.path("m.training")).unwrap();
    // Training is over: what was done is exported in another form.
    let again = by_name(&place, &["--arch", LIVING, "--epochs", "2", "-o", "m.onnx", "--precision", "f16", "--json"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let second = TrainingRecord::read(&place.path("m.training")).unwrap();
    assert_eq!((second.curve, second.evaluated), (first.curve.clone(), first.evaluated));
    assert_eq!(inspect(&place.path("m.onnx")).unwrap().operators["Cast"], 2);
    // Another training is refused there, and takes its place on request.
    let other = by_name(&place, &["--arch", LIVING, "--epochs", "3", "-o", "m.onnx"]);
    assert_eq!(other.code, Some(2));
    assert!(other.stderr.contains("m.training holds another training (options.epochs: 2 there, 3 now)"), "{other:?}");
    let fresh = by_name(&place, &["--arch", LIVING, "--epochs", "3", "-o", "m.onnx", "--fresh"]);
    assert_eq!(fresh.code, Some(0), "{fresh:?}");
    assert_eq!(TrainingRecord::read(&place.path("m.training")).unwrap().curve.len(), 3);
}

#[test]
fn what_does_not_fit_is_named() {
    let place = place();
    place.search("small");
    place.write("typo.yaml", "epoch: 3\n");
    place.write("far.yaml", "dropout: 1.5\n");
    place.write("teacher.yaml", "distillation: {teachers: [onnx: data/t10k-labels-idx1-ubyte]}\n");
    place.write("boom.yaml", "batch: 32\nlr: 1e30\nclip_norm: null\nwarm_up_epochs: 0\n");
    let check = |args: &[&str], expected: &str| {
        let finished = place.run(&[&["train", "--quiet"], args].concat());
        assert_eq!(finished.code, Some(2), "{args:?}: {finished:?}");
        assert!(finished.stderr.contains(expected), "{args:?}: {}", finished.stderr);
        assert!(!place.path("m.onnx").exists());
    };
    let with = |more: &[&'static str]| -> Vec<&'static str> {
        [&["--space", "tiny.yaml", "--arch", LIVING, "-o", "m.onnx"], more].concat()
    };
    check(&with(&["--data", "nowhere"]), "nowhere: no such file or folder");
    check(&with(&["--data", "data", "--classes", "7"]), "--classes 7: data has 4 classes");
    check(&with(&["--data", "data", "--config", "typo.yaml"]), "typo.yaml:1:1: unknown field `epoch`");
    check(&with(&["--data", "data", "--config", "far.yaml"]), "far.yaml: dropout: 1.5, expected 0 to less than 1");
    check(
        &with(&["--data", "data", "--config", "teacher.yaml"]),
        "teacher data/t10k-labels-idx1-ubyte: not a valid ONNX model",
    );
    check(&with(&["--data", "data", "--config", "boom.yaml"]), "epoch 1, step ");
    check(&with(&["--data", "data", "--lr", "0"]), "lr: 0, expected more than 0");
    let dead = ["--space", "tiny.yaml", "--arch", DEAD, "--data", "data", "-o", "m.onnx"];
    check(&dead, "the output does not depend on the input");
    check(
        &["runs/small", "--trial", "99", "--data", "data"],
        "runs/small: no trial 99: the study has trials 0 to 19 of `nsga2`",
    );
    let other = ["runs/small", "--trial", "0", "--sampler", "grid", "--data", "data"];
    check(&other, "the study has no trials of `grid`, it has those of nsga2, random");
    check(&["runs/none", "--trial", "0", "--data", "data"], "runs/none: no study here");
    assert!(!Path::new("runs").exists());
}
