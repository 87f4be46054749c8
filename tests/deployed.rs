//! From a search to the files that are deployed: the knee trained, rounded, measured again; precisions as genes.

#[path = "common/stripes.rs"]
mod stripes;
#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use study::Workplace;
use tegu::onnx::{inspect, read_metadata};
use tegu::space::Precision;
use tegu::study::store::{Store, TrialRecord, TrialState};
use tegu::study::{FinalFigure, remeasured};

/// A place with striped images, and the study `name` on them.
fn place(name: &str, changes: &[(&str, &str)]) -> Workplace {
    let place = Workplace::new();
    std::fs::create_dir(place.path("data")).unwrap();
    stripes::write_stripes(&place.path("data"), 96, 32);
    let fitting =
        [("tiny.yaml}", "tiny.yaml, network: {input: [1, 8, 8], classes: 4}}"), ("reference: 6", "reference: 4")];
    place.write_study(name, &[&fitting, changes].concat());
    place
}

fn succeeds(place: &Workplace, args: &[&str]) -> Value {
    let finished = place.run(&[args, &["--quiet", "--json"]].concat());
    assert_eq!(finished.code, Some(0), "{args:?}: {finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

#[test]
fn the_knee_is_trained_rounded_and_measured_again() {
    let place = place("small", &[("trials: 20", "trials: 8"), ("control: random", "control: none")]);
    let refused = place.run(&["remeasure", "runs/small"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("no study here"), "{refused:?}");
    let front = place.search("small");
    let trained = succeeds(&place, &["train", "runs/small", "--trial", "knee", "--data", "data", "--epochs", "2"]);
    let arch = trained["arch"].as_str().unwrap();
    assert!(front["front"].as_array().unwrap().iter().any(|row| row["arch"] == arch), "{arch} is on the front");
    let model = trained["model"]["path"].as_str().unwrap();
    let rounded = succeeds(&place, &["quantize", model, "--data", "data", "--calibration", "32", "--runtime", "tract"]);

    let mut said = succeeds(&place, &["remeasure", "runs/small", "--int8"]);
    for figure in said.as_array_mut().unwrap() {
        assert_eq!(figure.as_object_mut().unwrap().remove("format"), Some(1.into()));
    }
    let figures: Vec<FinalFigure> = serde_json::from_value(said).unwrap();
    assert_eq!(remeasured(&place.folder("small")).unwrap(), figures);
    let members = front["front"].as_array().unwrap().len();
    let of = |trained: bool, precision: &str| -> Vec<&FinalFigure> {
        figures.iter().filter(|figure| figure.trained == trained && figure.precision == precision).collect()
    };
    assert_eq!((of(false, "f32").len(), of(false, "int8").len()), (members, members));
    for figure in of(false, "f32") {
        assert!(figure.searched_ms.is_some() && figure.predicted_ms.is_none(), "{figure:?}");
        assert!(figure.outcome.p50_ms().is_some_and(|ms| ms > 0.0), "{figure:?}");
        assert!(place.folder("small").join(figure.file.as_ref().unwrap()).is_file());
    }
    let (float, int8) = (of(true, "f32")[0], of(true, "int8")[0]);
    assert_eq!(Some(float.sha256.as_str()), trained["model"]["sha256"].as_str());
    assert_eq!(Some(int8.sha256.as_str()), rounded["sha256"].as_str());
    assert_eq!(float.accuracy["test"], trained["accuracy"]["test"].as_f64().unwrap());
    assert_eq!(int8.accuracy["test"], rounded["accuracy"]["after"].as_f64().unwrap());
    let ratio = float.outcome.p50_ms().unwrap() / int8.outcome.p50_ms().unwrap();
    assert!((int8.speed_up.unwrap() - ratio).abs() < 1e-9);

    let report = place.run(&["report", "runs/small", "--json"]);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report["remeasured"].as_array().unwrap().len(), figures.len());
    let line = report["integers"][0].as_str().unwrap();
    assert!(
        line.contains("INT8 is faster than 32-bit floats for") && line.contains(&format!("of {}", members + 1)),
        "{line}"
    );
    let inspected = succeeds(&place, &["inspect", &format!("runs/small/{}", int8.file.as_ref().unwrap().display())]);
    assert!(inspected["provenance"]["quantisation"].as_str().unwrap().contains("float_sha256"), "{inspected}");
    assert_eq!(inspected["measured"][0]["p50_ms"].as_f64(), int8.outcome.p50_ms());
}

/// Which layers of a model read what was rounded, by its `QuantizeLinear` and `DequantizeLinear` operators.
fn is_rounded(path: &Path) -> bool {
    inspect(path).unwrap().operators.contains_key("DequantizeLinear")
}

#[test]
fn precisions_are_searched_with_the_architecture() {
    let accuracy = "objectives:\n  - accuracy: {data: data, epochs: 2, train: {batch: 24, split: {validation: 0.25}}}\n  - ece: {}\n";
    let changes = [
        ("objectives:\n  - quality\n", accuracy),
        ("search:\n", "quantization: {layers: [float, symmetric], calibration: 16}\nsearch:\n"),
        ("control: random", "control: none"),
        ("trials: 20", "trials: 6"),
        ("{nsga2: {population: 6}}", "{nsga2: {population: 3}}"),
    ];
    let place = place("mixed", &changes);
    let front = place.search("mixed");
    let path = place.folder("mixed").join("study.sqlite");
    let trials = || Store::open_read_only(&path).unwrap().trials("nsga2").unwrap();
    let whole = trials();
    let objectives = |trial: &TrialRecord| match &trial.state {
        TrialState::Complete { objectives } => objectives.clone(),
        TrialState::Failed { reason } => panic!("{reason}"),
    };
    for trial in &whole {
        let values = objectives(trial);
        assert!((0.0..=1.0).contains(&values["accuracy"]) && (0.0..=1.0).contains(&values["ece"]), "{values:?}");
        let rounds = trial.arch.split_once('@').unwrap().1.contains('s');
        assert!(rounds || trial.arch_id == trial.arch_id.architecture(), "{trial:?}");
    }
    assert!(whole.iter().any(|trial| trial.arch_id != trial.arch_id.architecture()), "one with integers");
    for row in front["front"].as_array().unwrap() {
        let model = place.folder("mixed").join(row["model"].as_str().unwrap());
        let rounds = row["arch_id"].as_str().unwrap().contains('-');
        assert_eq!(is_rounded(&model), rounds, "{row}");
        assert_eq!(read_metadata(&model).unwrap().architecture.as_deref(), row["arch"].as_str());
    }
    // As if it had been killed before the last trial: what is trained is not trained again, and the figures are the same.
    let store = rusqlite::Connection::open(&path).unwrap();
    let last = whole[5].arch_id.as_str();
    let gone = "DELETE FROM objectives WHERE number > 4; DELETE FROM trials WHERE number > 4;";
    store
        .execute_batch(&format!(
            "{gone} DELETE FROM indicators WHERE arch_id = '{last}' AND name IN ('accuracy', 'ece')"
        ))
        .unwrap();
    drop(store);
    place.search("mixed");
    assert_eq!(trials()[5].state, whole[5].state);

    // The trial is trained again, for longer, and rounded as the search has decided.
    let variant = whole.iter().find(|trial| trial.arch_id != trial.arch_id.architecture()).unwrap();
    let number = variant.number.to_string();
    let trained = succeeds(&place, &["train", "runs/mixed", "--trial", &number, "--data", "data", "--epochs", "1"]);
    let model = trained["model"]["path"].as_str().unwrap();
    let layers = read_metadata(&place.path(model)).unwrap().layers.unwrap();
    let layers: BTreeMap<String, Precision> = serde_json::from_str(&layers).unwrap();
    assert!(layers.values().all(|precision| *precision == Precision::Symmetric), "{layers:?}");
    succeeds(
        &place,
        &["quantize", model, "--data", "data", "--calibration", "16", "--runtime", "tract", "-o", "q.onnx"],
    );
    let said: Value =
        serde_json::from_str(&read_metadata(&place.path("q.onnx")).unwrap().quantization.unwrap()).unwrap();
    assert_eq!(said["scheme"]["layers"], serde_json::to_value(&layers).unwrap());

    let refused = |changes: &[(&str, &str)], expected: &str| {
        place.write_study("refused", changes);
        let refused = place.run(&["search", "refused.yaml"]);
        assert!(refused.code == Some(2) && refused.stderr.contains(expected), "{refused:?}");
    };
    refused(&[("search:\n", "quantization: {}\nsearch:\n")], "quantization: costs accuracy");
    refused(&[("  - quality\n", "  - quality\n  - ece: {}\n")], "objectives: ece: is a figure of probabilities");
    refused(&[("search:\n", "quantization: {layers: [float]}\nsearch:\n")], "quantization.layers: ");
}
