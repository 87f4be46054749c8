//! What the commands say to bad input, and what they print for other programs.

#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use study::{DEAD, LIVING, Workplace};

/// Runs a command that refuses its input: exit code 2, nothing on standard output, `expected` on standard error.
fn check(place: &Workplace, args: &[&str], expected: &str) {
    let finished = place.run(args);
    let said = finished.stderr.replace(&format!("{}/", place.path("").display().to_string().trim_end_matches('/')), "");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{args:?}: {said}");
    assert_eq!(said, format!("error: {expected}\n"), "{args:?}");
}

#[test]
fn a_config_that_is_refused_names_file_line_field_and_what_was_meant() {
    let place = Workplace::new();
    let check = |old: &str, new: &str, expected: &str| {
        place.write_study("bad", &[(old, new)]);
        check(&place, &["search", "bad.yaml", "--quiet"], expected);
        assert!(!place.folder("bad").exists(), "a refused config begins no study");
    };
    check(
        "seed: 3",
        "sead: 3",
        "bad.yaml:2:1: unknown field `sead`, expected one of `study`, `seed`, `compute`, `space`, `indicators`, \
        `quality`, `objectives`, `constraints`, `quantization`, `search`, `devices`, `scoring`, `nats`; did you mean `seed`?",
    );
    check("seed: 3", "seed: many", "bad.yaml:2:7: seed: invalid type: string \"many\", expected u64");
    check("trials: 20", "trials: -3", "bad.yaml:13:11: search.trials: invalid type: integer `-3`, expected usize");
    check("trials: 20", "trials: 0", "bad.yaml: search.trials: 0, expected 1 or more");
    check("batch: 4", "batch: 1", "bad.yaml: indicators.batch: 1, expected 2 or more");
    check(
        "batch: 4",
        "batch: 4, data: nosuch",
        "bad.yaml: indicators.data: nosuch: No such file or directory (os error 2)",
    );
    check(
        "batch: 4",
        "dta: nosuch",
        "bad.yaml:4:14: indicators: unknown field `dta`, expected one of `mode`, `batch`, `networks`, `init`, \
        `images`, `data`, `calibration`, `memory_mib`; did you mean `data`?",
    );
    check("population: 6", "population: 0", "bad.yaml: search.sampler: population is 0: expected 2 or more");
    check(
        "host-cpu-tract\n",
        "host-cpu-tract\n      at_most_ms: -4\n",
        "bad.yaml: objectives: latency_ms@host-cpu-tract: at_most_ms: -4, expected more than 0",
    );
    check(
        "tiny.yaml",
        "nas-bnch-201",
        "no search space `nas-bnch-201`: expected nas-bench-201, mobilenet-macro, mobilenet-v3, resnet, vit, vit-stages, regnet, darts, nasnet, signals-1d, tabular, tinybench, the path of a YAML file, or a plugin; \
        did you mean `nas-bench-201`?",
    );
    check("tiny.yaml", "nosuch.yaml", "nosuch.yaml: No such file or directory (os error 2)");
    check(
        "host-cpu-tract",
        "host-cpu-trakt",
        "no hardware profile `host-cpu-trakt`: did you mean `host-cpu-tract`?; there are `host-cpu-tract`, \
        `host-cpu-ort`, `host-cpu-ort-1thread`, `openvino-cpu`, `cuda`, `tensorrt`, `xnnpack`, `webgpu`, `coreml`, `qnn`, `nnapi`, `directml`, `migraphx`, `acl`, `onednn`, or give the path of a YAML file",
    );
    check(
        "batch: 4",
        "mode: fats",
        "bad.yaml:4:20: indicators.mode: unknown variant `fats`, expected `fast` or `compat`; did you mean `fast`?",
    );
    check(
        "- quality",
        "- qality",
        "bad.yaml:7:5: objectives[0]: unknown variant `qality`, expected one of `quality`, `latency`, `params`, \
        `macs`, `size`, `accuracy`, `ece`, `plugin`; did you mean `quality`?",
    );
    check(
        "nsga2:",
        "nsga4:",
        "bad.yaml:12:13: search.sampler: unknown variant `nsga4`, expected one of `bayesian`, `gbdt`, \
        `linas`, `nsga2`, `nsga3`, `age_moea`, `random`, `grid`, `local_search`, `ageing_evolution`, \
        `teg_evolution`, `reinforce`, `te_nas`, `robot`, `successive_halving`, `plugin`; did you mean `nsga3`?",
    );
    check("- quality", "- quality\n  - quality", "bad.yaml: objectives: objective `quality` is there twice");
    check(
        "seed: 3",
        "compute: gpu",
        "bad.yaml:2:10: compute: unknown compute device `gpu`, expected auto, cpu, cuda:N or metal",
    );
    check(
        "rounds: 5",
        "rounds: 2",
        "bad.yaml: objectives: latency: protocol.rounds: 2 found, expected 5 or more (fewer give no 95 % interval)",
    );
}

#[test]
fn a_file_that_is_no_config_is_named() {
    let place = Workplace::new();
    check(&place, &["search", "nosuch.yaml"], "nosuch.yaml: No such file or directory (os error 2)");
    check(&place, &["search", "."], ".: Is a directory (os error 21)");
    place.write("empty.yaml", "");
    check(&place, &["search", "empty.yaml"], "empty.yaml:1:1: missing field `study`");
    place.write("binary.yaml", [0xff, 0xfe]);
    check(&place, &["search", "binary.yaml"], "binary.yaml: stream did not contain valid UTF-8");
}

#[test]
fn a_space_or_profile_that_is_refused_is_named() {
    let place = Workplace::new();
    place.write("space.yaml", study::SPACE.replace("[avg_pool:", "[avg_pol:"));
    let finished = place.run(&["score", "space.yaml", LIVING]);
    assert_eq!(finished.code, Some(2));
    let meant = "unknown variant `avg_pol`";
    assert!(finished.stderr.starts_with("error: space.yaml:16:20: cell.operators.avg_pool_3x3[0]: "), "{finished:?}");
    assert!(finished.stderr.contains(meant) && finished.stderr.contains("did you mean `avg_pool`?"), "{finished:?}");

    place.write("board.yaml", "name: board\ndescription: board\nruntime: tracct\n");
    check(
        &place,
        &["profile", "m.onnx", "--device", "board.yaml"],
        "board.yaml:3:10: runtime: unknown variant `tracct`, expected one of `tract`, `onnxruntime`, `mock`; \
        did you mean `tract`?",
    );
}

#[test]
fn a_study_folder_that_cant_be_used_is_named() {
    let place = Workplace::new();
    check(&place, &["report", "."], ".: no study here, expected study.sqlite in the folder");
    check(&place, &["report", "nosuch"], "nosuch: no study here, expected study.sqlite in the folder");

    place.write_study("short", &[("trials: 20", "trials: 1"), ("control: random", "control: none")]);
    place.search("short");
    place.write_study("short", &[("trials: 20", "trials: 2"), ("control: random", "control: none")]);
    check(
        &place,
        &["search", "short.yaml", "--quiet"],
        "runs/short holds a study with another config (search.trials: 1 in the study, 2 in the config): \
        take another name for the study, or start over with --fresh",
    );

    let store = place.folder("small").join("study.sqlite");
    std::fs::create_dir_all(place.folder("small")).unwrap();
    rusqlite::Connection::open(&store).unwrap().execute_batch("CREATE TABLE mine (a)").unwrap();
    let before = std::fs::read(&store).unwrap();
    let foreign = "runs/small/study.sqlite: not a study of Tegu";
    check(&place, &["search", "small.yaml", "--quiet"], foreign);
    check(&place, &["search", "small.yaml", "--quiet", "--fresh"], foreign);
    check(&place, &["report", "runs/small"], foreign);
    assert_eq!(std::fs::read(&store).unwrap(), before, "a foreign file stays as it is");
    std::fs::write(&store, "hello").unwrap();
    check(&place, &["report", "runs/small"], foreign);
}

#[test]
fn a_study_in_use_is_left_alone() {
    let place = Workplace::new();
    let mut search =
        place.tegu(&["search", "small.yaml"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(search.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("reference: ")), "the search began");
    let expected = format!("runs/small/study.sqlite: study is in use by process {}", search.id());
    check(&place, &["search", "small.yaml", "--quiet"], &expected);
    check(&place, &["search", "small.yaml", "--quiet", "--fresh"], &expected);
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert!(search.wait().unwrap().success(), "{rest:?}");
}

#[test]
fn an_architecture_that_is_refused_is_named() {
    let place = Workplace::new();
    let dead = "the output does not depend on the input: no path of operators connects them";
    check(&place, &["export", "tiny.yaml", DEAD, "-o", "m.onnx"], &format!("{DEAD}: {dead}"));
    check(&place, &["export", "tiny.yaml", LIVING, "-o", "."], "--output names no file");
    place.write("archs.txt", format!("{LIVING}\n\n{LIVING}\n|x~0|\n"));
    check(
        &place,
        &["score", "tiny.yaml", "--archs", "archs.txt", "--json"],
        "archs.txt:4: `|x~0|` is no architecture of tiny: expected 3 nodes joined by `+`, found 1",
    );
    check(
        &place,
        &["score", "tiny.yaml", "--archs", "nosuch.txt"],
        "nosuch.txt: No such file or directory (os error 2)",
    );
}

#[test]
fn a_model_that_is_refused_is_named() {
    let place = Workplace::new();
    let finished = place.run(&["export", "tiny.yaml", LIVING, "-o", "m.onnx", "--json"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let bytes = std::fs::read(place.path("m.onnx")).unwrap();
    place.write("half.onnx", &bytes[..500]);
    check(
        &place,
        &["profile", "half.onnx"],
        "can't prepare half.onnx: not a valid ONNX model: failed to decode Protobuf message: ModelProto.graph: \
        buffer underflow; it has 500 bytes: is it truncated, or of another format?",
    );
    check(&place, &["profile", "nosuch.onnx"], "nosuch.onnx: No such file or directory (os error 2)");
    check(
        &place,
        &["profile", "m.onnx", "--input", "x:1x3x8x8"],
        "can't prepare m.onnx: no input `x`: the model has `input`",
    );
    // An operator of the same length that no runtime has.
    let at = bytes.windows(4).position(|window| window == b"Relu").unwrap();
    let mut other = bytes.clone();
    other[at..at + 4].copy_from_slice(b"Zelu");
    place.write("other.onnx", other);
    let finished = place.run(&["profile", "other.onnx"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
    assert!(finished.stderr.contains("other.onnx: ") && finished.stderr.contains("Zelu (node `"), "{finished:?}");
}

#[test]
fn scores_are_json_lines_in_the_order_of_the_input() {
    let place = Workplace::new();
    let archs: Vec<String> = ["nor_conv_3x3", "nor_conv_1x1", "skip_connect", "none"]
        .iter()
        .flat_map(|first| ["nor_conv_3x3", "none"].map(|last| (first, last)))
        .map(|(a, b)| format!("|{a}~0|+|none~0|{a}~1|+|{b}~0|none~1|{b}~2|"))
        .collect();
    place.write("archs.txt", archs.join("\n"));
    let finished = place.run(&[
        "score",
        "tiny.yaml",
        "--archs",
        "archs.txt",
        "--json",
        "--quiet",
        "--batch",
        "4",
        "--networks",
        "1",
    ]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["arch"].as_str().unwrap()).collect::<Vec<_>>(), archs);
    let mut dead = 0;
    for (line, text) in lines.iter().zip(finished.stdout.lines()) {
        let fields = ["format", "arch", "id", "indicators", "quality", "params", "macs", "state"];
        let places: Vec<usize> = fields.iter().map(|field| text.find(&format!("\"{field}\":")).unwrap()).collect();
        assert!(places.is_sorted() && line.as_object().unwrap().len() == fields.len(), "{text}");
        assert!(line["params"].is_u64() && line["macs"].is_u64(), "{text}");
        let names: Vec<&String> = line["indicators"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["linear_regions", "ntk_condition", "ntk_regression"]);
        let values: Vec<&Value> = line["indicators"].as_object().unwrap().values().collect();
        if line["state"] == "complete" {
            assert!(line["id"].is_string() && values.iter().all(|value| value.is_number()), "{text}");
        } else if line["id"].is_null() {
            let reason = "dead network: the output does not depend on the input";
            assert_eq!(line["state"], serde_json::json!({ "failed": reason }));
            assert!(values.iter().all(|value| value.is_null()), "{text}");
            dead += 1;
        } else {
            assert!(line["state"]["failed"].is_string(), "{text}");
        }
    }
    assert!(dead >= 1);
}

#[test]
fn progress_is_plain_lines_where_stderr_is_no_terminal() {
    let place = Workplace::new();
    place.write_study("short", &[("trials: 20", "trials: 6")]);
    let finished = place.run(&["search", "short.yaml", "--json"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let front: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(front["study"], "short");
    assert!(!finished.stderr.contains(['\r', '\u{1b}']), "{:?}", finished.stderr);
    let words: Vec<&str> = finished.stderr.lines().filter_map(|line| line.split([' ', ':']).next()).collect();
    assert_eq!(words[..5], ["study", "space", "objectives", "device", "budget"]);
    assert!(words[5..].iter().all(|word| ["reference", "search", "control"].contains(word)), "{words:?}");
    assert!(finished.stderr.contains("\nreference: 6/6 ") && finished.stderr.contains("\ncontrol: 6/6 "));

    // Quiet: the result alone, the same for people.
    let finished = place.run(&["search", "short.yaml", "--quiet"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert!(finished.stdout.starts_with("Pareto front of short: "));
    let report = place.run(&["report", "runs/short", "--format", "json"]);
    assert_eq!((report.code, report.stderr.as_str()), (Some(0), ""));
    assert_eq!(serde_json::from_str::<Value>(&report.stdout).unwrap()["trials"].as_array().unwrap().len(), 12);
}
