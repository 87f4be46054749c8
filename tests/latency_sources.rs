//! Latencies of a search that are not all measured: predicted by a lookup table, mixed, or from a table of architectures.

#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use std::collections::HashMap;
use study::Workplace;

const OPERATORS: [(&str, f64); 5] =
    [("none", 0.0), ("skip_connect", 0.01), ("nor_conv_1x1", 0.2), ("nor_conv_3x3", 0.9), ("avg_pool_3x3", 0.3)];

/// `arch,latency_ms` of every `step`th architecture of the space: each operator takes its time.
fn csv(step: usize) -> String {
    let mut text = "arch,latency_ms\n".to_owned();
    for at in (0..5usize.pow(6)).step_by(step) {
        let digit = |place: u32| OPERATORS[at / 5usize.pow(place) % 5];
        let [a, b, c, d, e, f] = std::array::from_fn(|place| digit(place as u32));
        let sum: f64 = [a, b, c, d, e, f].iter().map(|(_, ms)| ms).sum();
        text += &format!("|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|,{:.3}\n", a.0, b.0, c.0, d.0, e.0, f.0, 0.5 + sum);
    }
    text
}

/// The latency that the CSV has for an architecture.
fn listed_ms(arch: &str) -> f64 {
    0.5 + OPERATORS.iter().map(|(name, ms)| ms * arch.matches(&format!("|{name}~")).count() as f64).sum::<f64>()
}

fn check_trials(report: &Value, check: impl Fn(&Value)) {
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 40);
    trials.iter().for_each(check);
}

fn report(place: &Workplace, name: &str) -> Value {
    place.search(name);
    let finished = place.run(&["report", &format!("runs/{name}"), "--json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(!report["front"].as_array().unwrap().is_empty(), "{name}");
    for member in report["front"].as_array().unwrap() {
        let trial = &report["trials"][member.as_u64().unwrap() as usize];
        let model = place.folder(name).join(trial["model"].as_str().unwrap_or_else(|| panic!("{name}: {trial}")));
        assert!(model.is_file(), "{name}: {}", model.display());
    }
    report
}

const MEASURED: &str = "      device: host-cpu-tract\n";

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9 * b.abs()
}

#[test]
fn a_table_of_architectures_takes_a_devices_place() {
    let place = Workplace::new();
    place.write("lab.csv", csv(1));
    place.write("lab.yaml", "name: lab\ndescription: what the lab measured\nlocation: {table: {file: lab.csv}}\n");
    place.write_study("listed", &[(MEASURED, "      device: lab.yaml\n")]);
    let found = report(&place, "listed");
    // Isomorphic architectures share what the first of them found.
    let mut known: HashMap<&str, f64> = HashMap::new();
    for trial in found["trials"].as_array().unwrap() {
        let listed_ms = listed_ms(trial["arch"].as_str().unwrap());
        known.entry(trial["arch_id"].as_str().unwrap()).or_insert(listed_ms);
    }
    check_trials(&found, |trial| {
        let ms = trial["objectives"]["latency_ms@lab"].as_f64().unwrap();
        assert!(close(ms, known[trial["arch_id"].as_str().unwrap()]), "{trial}");
        let shown = &trial["measurements"]["lab"];
        assert_eq!((shown["verdict"].as_str(), shown["samples"].as_u64()), (Some("table"), Some(0)), "{trial}");
    });
    // One architecture in seven is listed: the others fail, each by name, and the search goes on.
    place.write("lab.csv", csv(7));
    place.write_study("sparse", &[(MEASURED, "      device: lab.yaml\n")]);
    place.search("sparse");
    let text = std::fs::read_to_string(place.folder("sparse").join("trials.csv")).unwrap();
    assert!(text.contains("no measurement of architecture |"), "{text}");
    // It runs no models.
    let finished = place.run(&["export", "tiny.yaml", study::LIVING, "-o", "m.onnx"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let finished = place.run(&["profile", "m.onnx", "--device", "lab.yaml"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("answers for architectures in a search, it runs no model"), "{}", finished.stderr);
}

#[test]
fn bounds_hold_on_each_of_three_devices() {
    let place = Workplace::new();
    place.write("lab.csv", csv(1));
    let mut constraints = "constraints:\n  - size: {at_most_mib: 0.013}\n".to_owned();
    for (name, at_most_ms) in [("one", 2.6), ("two", 2.2), ("three", 9.0)] {
        let table = format!("name: {name}\ndescription: a board\nlocation: {{table: {{file: lab.csv}}}}\n");
        place.write(&format!("{name}.yaml"), table);
        constraints += &format!("  - latency: {{device: {name}.yaml, at_most_ms: {at_most_ms}}}\n");
    }
    let latency = &study::STUDY[study::STUDY.find("  - latency").unwrap()..study::STUDY.find("search:").unwrap()];
    place.write_study("bounded", &[(latency, &constraints)]);
    let found = report(&place, "bounded");
    assert_eq!(found["reference_point"].as_array().unwrap().len(), 1);
    let constraint = |one: &&Value| one["constraint"] == true;
    assert_eq!(found["objectives"].as_array().unwrap().iter().filter(constraint).count(), 4);
    let keeps = |trial: &Value| {
        let value = |name: &str| trial["objectives"][name].as_f64().unwrap();
        value("size") <= 0.013 && value("latency_ms@one") <= 2.6 && value("latency_ms@two") <= 2.2
    };
    let trials: Vec<&Value> = found["trials"].as_array().unwrap().iter().filter(|t| t["control"] == false).collect();
    let complete = |trial: &&&Value| trial["objectives"]["quality"].is_number();
    let quality = |trial: &&Value| trial["objectives"]["quality"].as_f64().unwrap();
    assert!(trials.iter().filter(complete).any(|trial| !keeps(trial)), "no bound was ever in the way");
    let best = trials.iter().filter(complete).filter(|trial| keeps(trial)).map(quality).fold(f64::MIN, f64::max);
    for member in found["front"].as_array().unwrap() {
        let trial = trials[member.as_u64().unwrap() as usize];
        assert!(keeps(trial) && quality(&trial) == best, "{trial}");
    }
    place.write_study("unbounded", &[(latency, "constraints: [size: {}]\n")]);
    let finished = place.run(&["search", "unbounded.yaml"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("constraint `size` has no bound"), "{}", finished.stderr);
}

/// A place with the lookup table `lab.json`, fitted to the CSV.
fn with_table() -> Workplace {
    let place = Workplace::new();
    place.write("lab.csv", csv(13));
    let args = ["lut", "import", "lab.csv", "--unit", "ms", "--space", "tiny.yaml", "-o", "lab.json"];
    let finished = place.run(&args);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    place
}

#[test]
fn a_lookup_table_predicts_all_latencies() {
    let place = with_table();
    let source = format!("{MEASURED}      source: predicted\n      table: lab.json\n");
    place.write_study("predicted", &[(MEASURED, &source)]);
    let found = report(&place, "predicted");
    check_trials(&found, |trial| {
        let shown = &trial["measurements"]["host-cpu-tract"];
        assert_eq!(shown["verdict"], "predicted", "{trial}");
        assert_eq!(shown["p50_ms"], trial["objectives"]["latency_ms@host-cpu-tract"], "{trial}");
        assert!(trial["model_sha256"].is_string(), "{trial}");
    });
    let first = &found["trials"][0];
    let finished = place.run(&["lut", "predict", "lab.json", first["arch"].as_str().unwrap(), "--json"]);
    let line: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(line["p50_ms"], first["objectives"]["latency_ms@host-cpu-tract"]);
    assert!(found["search"]["measuring_s"].as_f64() == Some(0.0) && found["search"]["waiting_s"].as_f64() > Some(0.0));
    // The table is part of what the study depends on.
    let lab = std::fs::read_to_string(place.path("lab.json")).unwrap();
    place.write("lab.json", lab.replacen("\"scale\": 1.0", "\"scale\": 2.0", 1));
    let finished = place.run(&["search", "predicted.yaml"]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("tables[0]:"), "{}", finished.stderr);
}

#[test]
fn what_could_enter_the_front_is_measured() {
    let place = with_table();
    let source = format!("{MEASURED}      source: mixed\n      table: lab.json\n");
    place.write_study("mixed", &[(MEASURED, &source)]);
    let found = report(&place, "mixed");
    let verdict = |trial: &Value| trial["measurements"]["host-cpu-tract"]["verdict"].as_str().unwrap().to_owned();
    let trials = found["trials"].as_array().unwrap();
    let measured = trials.iter().filter(|trial| verdict(trial) != "predicted").count();
    assert!(0 < measured && measured < trials.len(), "{measured} of {}", trials.len());
    for member in found["front"].as_array().unwrap() {
        let trial = &trials[member.as_u64().unwrap() as usize];
        assert_ne!(verdict(trial), "predicted", "{trial}");
    }
    // Predicted trials have no model; going on with a finished study changes nothing.
    for trial in trials.iter().filter(|trial| verdict(trial) == "predicted") {
        assert!(trial["model"].is_null(), "{trial}");
    }
    assert_eq!(report(&place, "mixed")["trials"], found["trials"]);
}

#[test]
fn a_source_that_can_not_be_is_named() {
    let place = with_table();
    place.write("lab.yaml", "name: lab\ndescription: what the lab measured\nlocation: {table: {file: lab.csv}}\n");
    let refused = |latency: &str, expected: &str| {
        place.write_study("bad", &[(MEASURED, latency)]);
        let finished = place.run(&["search", "bad.yaml"]);
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    };
    let at = "bad.yaml: objectives: latency@host-cpu-tract: ";
    refused(
        &format!("{MEASURED}      source: mixed\n"),
        &format!("{at}table: missing, expected the file that `tegu lut build` wrote"),
    );
    refused(&format!("{MEASURED}      table: lab.json\n"), &format!("{at}table: has no use with `source: measured`"));
    refused(&format!("{MEASURED}      source: predicted\n      table: no.json\n"), &format!("{at}table: "));
    refused(
        "      device: lab.yaml\n      source: predicted\n      table: lab.json\n",
        "latency@lab: source: this device is a table itself",
    );
    refused(&format!("{MEASURED}      source: guessed\n"), "unknown variant `guessed`");
    place.write_study("other", &[("space: {name: tiny.yaml}", "space: {name: tiny.yaml, network: {width: 8}}")]);
    place.write_study("bad", &[]);
    let text = std::fs::read_to_string(place.path("other.yaml")).unwrap();
    place.write("bad.yaml", text.replace(MEASURED, &format!("{MEASURED}      source: mixed\n      table: lab.json\n")));
    let finished = place.run(&["search", "bad.yaml"]);
    assert!(
        finished.stderr.contains("expected a table of space `tiny` with networks of the same size"),
        "{}",
        finished.stderr
    );
}
