//! `tegu bench samplers`, on a small table of our own and on a published one.

mod common;
#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use study::{DEAD, LIVING, Workplace};
use tegu::sampler::SamplerOptions;
use tegu::space::SearchSpace;
use tegu::tabular::{BenchOptions, Columns, Isomorphs, Table, bench};

/// All 243 strings of five digits, see `tests/data/samplers_truth.py`.
fn truth() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/samplers_truth.csv").display().to_string()
}

fn json(place: &Workplace, more: &[&str]) -> Value {
    let finished = place.run(&[&["bench", "samplers", "--json", "--quiet", "--truth"], more].concat());
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{more:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

fn row<'a>(found: &'a Value, sampler: &str) -> &'a Value {
    let rows = found["samplers"].as_array().unwrap();
    rows.iter().find(|row| row["sampler"] == sampler).unwrap_or_else(|| panic!("no row of {sampler}"))
}

fn names(found: &Value) -> Vec<&str> {
    found["samplers"].as_array().unwrap().iter().map(|row| row["sampler"].as_str().unwrap()).collect()
}

#[test]
fn strategies_are_held_against_random_search() {
    let (place, truth) = (Workplace::new(), truth());
    let arguments = [&truth, "--columns", "accuracy", "--evaluations", "40", "--seeds", "20"];
    let found = json(&place, &[&arguments[..], &["--metrics", "estimate", "--html", "page.html"]].concat());
    assert_eq!((&found["figure"], &found["direction"]), (&"best".into(), &"maximize".into()));
    assert_eq!((&found["architectures"], &found["distinct"]), (&243.into(), &243.into()));
    let mut expected: Vec<String> = SamplerOptions::all().iter().map(SamplerOptions::name).collect();
    expected.retain(|name| name != "random");
    expected.push("random".to_owned());
    assert_eq!(names(&found), expected);
    for name in names(&found) {
        let row = row(&found, name);
        assert_eq!(row["control"], name == "random");
        let [low, high] = [0, 1].map(|end| row["best_ci95"][end].as_f64().unwrap());
        let mean = row["best_mean"].as_f64().unwrap();
        let curve: Vec<f64> =
            row["curve"]["mean"].as_array().unwrap().iter().map(|mean| mean.as_f64().unwrap()).collect();
        assert!(low <= mean && mean <= high && curve.len() == 40 && curve[39] == mean, "{row}");
        assert!(curve.windows(2).all(|pair| pair[0] <= pair[1]), "{name}: the best so far falls");
    }
    for name in ["local_search", "robot", "successive_halving"] {
        let low = row(&found, name)["gain_ci95"][0].as_f64().unwrap();
        assert!(low > 0.0, "{name}: {}", row(&found, name)["gain_ci95"]);
    }
    let page = std::fs::read_to_string(place.path("page.html")).unwrap();
    assert!(page.contains("successive_halving") && !page.contains("{{") && !page.contains("://"));

    // The same from any number of threads; for people, with the reference point where there is one.
    let mut again = place.tegu(&[&["bench", "samplers", "--json", "--quiet", "--truth"], &arguments[..]].concat());
    let again: Value = serde_json::from_slice(&again.env("RAYON_NUM_THREADS", "1").output().unwrap().stdout).unwrap();
    assert!(!names(&again).contains(&"robot"), "needs metrics");
    assert_eq!(row(&again, "ageing_evolution")["curve"], row(&found, "ageing_evolution")["curve"]);
    let table = place.run(&[
        "bench",
        "samplers",
        "--quiet",
        "--truth",
        &truth,
        "--columns",
        "accuracy,latency_ms",
        "--seeds",
        "2",
    ]);
    assert!(table.stdout.contains("control: random") && table.stdout.contains("Reference point: "), "{table:?}");
}

#[test]
fn a_front_is_found_when_all_is_evaluated() {
    let (place, truth) = (Workplace::new(), truth());
    let arguments = [&truth, "--columns", "accuracy,latency_ms", "--evaluations", "250", "--seeds", "3"];
    let options = ["--samplers", "grid,local_search", "--sampler", "nsga2: {population: 8}"];
    let found = json(&place, &[&arguments[..], &options].concat());
    assert_eq!(names(&found), ["grid", "local_search", "nsga2", "random"]);
    assert_eq!(found["figure"], "hypervolume_fraction");
    assert_eq!(row(&found, "nsga2")["options"]["nsga2"]["population"], 8);
    for name in names(&found) {
        let row = row(&found, name);
        let end = row["best_mean"].as_f64().unwrap();
        assert!((end - 1.0).abs() < 1e-12, "{name}: {end}");
        let early = row["curve"]["mean"][9].as_f64().unwrap();
        assert!((0.0..1.0).contains(&early), "{name}: {early}");
    }
    // Accuracy is maximised and latency minimised: the reference is the worst of each.
    let point: Vec<f64> = found["reference_point"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let values =
        |name: &str| found["objectives"].as_array().unwrap().iter().find(|o| o["name"] == name).unwrap().clone();
    assert!(point[0] < values("accuracy")["mean"].as_f64().unwrap(), "{point:?}");
    assert!(point[1] > values("latency_ms")["mean"].as_f64().unwrap(), "{point:?}");
    let given = json(&place, &[&arguments[..], &["--samplers", "grid", "--reference", "80,6"]].concat());
    assert_eq!(given["reference_point"], serde_json::json!([80.0, 6.0]));
}

#[test]
fn a_space_brings_its_macs() {
    let place = Workplace::new();
    let all = ["none", "skip_connect", "nor_conv_3x3"];
    let cells =
        all.iter().flat_map(|a| all.map(|b| format!("|{a}~0|+|none~0|{b}~1|+|nor_conv_1x1~0|none~1|skip_connect~2|")));
    let rows = cells.chain([LIVING.to_owned()]).enumerate().map(|(at, arch)| format!("{arch},{}\n", 50 + at));
    place.write("truth.csv", format!("arch,accuracy\n{}{DEAD},99\n", rows.collect::<String>()));
    let found = json(&place, &["truth.csv", "--space", "tiny.yaml", "--samplers", "grid", "--seeds", "2"]);
    assert_eq!(names(&found), ["grid", "random", "macs_top_k"]);
    assert_eq!((&found["dead"], &found["architectures"]), (&1.into(), &10.into()));
    let distinct = found["distinct"].as_u64().unwrap();
    assert!((2..10).contains(&distinct), "{distinct}");
    for name in names(&found) {
        assert!(row(&found, name)["best_mean"].as_f64().unwrap() >= 58.0, "{}", row(&found, name));
    }
}

#[test]
fn bad_input_is_named() {
    let (place, truth) = (Workplace::new(), truth());
    place.write("bad.csv", "arch,accuracy\n00,1\n01,fast\n");
    let refused = |arguments: &[&str], expected: &str| {
        let finished = place.run(&[&["bench", "samplers", "--truth"], arguments].concat());
        assert!(finished.code == Some(2) && finished.stderr.contains(expected), "{finished:?}");
    };
    refused(&["bad.csv", "--columns", "accuracy"], "bad.csv:3: accuracy: `fast`, expected a number");
    refused(&["absent.csv"], "absent.csv: ");
    refused(&[&truth, "--columns", "acuracy"], "did you mean `accuracy`?");
    refused(&[&truth, "--samplers", "nsga"], "no sampler `nsga`: expected one of random, grid");
    refused(&[&truth, "--samplers", "robot"], "`robot` goes by metrics");
    refused(&[&truth, "--sampler", "nsga2: {populatoin: 3}"], "did you mean `population`?");
    refused(&[&truth, "--sampler", "nsga2: {population: 1}"], "population is 1: expected 2 or more");
    refused(&[&truth, "--reference", "1"], "reference point: 1 values, expected one for each of 3 objectives");
    refused(&[&truth, "--space", "nas-bench-21"], "did you mean `nas-bench-201`?");
    refused(&[&truth, "--seeds", "0"], "0 is not in 1..");
}

/// CIFAR-100 accuracy after 200 epochs, 200 evaluations. An independent implementation of ageing evolution reached 73.31 and
/// random search 72.01 (means of the best found).
#[test]
fn the_published_table_is_searched_as_elsewhere() {
    let Some(path): Option<PathBuf> = common::data("nb201_oracle.csv") else { return };
    let space = Arc::new(SearchSpace::open("nas-bench-201").unwrap());
    let names = ["cifar100_test_200ep_pct".to_owned()];
    let columns = Columns { objectives: Some(&names), ..Default::default() };
    let table = Table::read(&path, Some(space), &columns, Isomorphs::Apart).unwrap();
    let wanted = ["ageing_evolution", "local_search"];
    let samplers =
        SamplerOptions::all().into_iter().filter(|options| wanted.contains(&options.name().as_str())).collect();
    let options = BenchOptions { samplers, evaluations: 200, seeds: 20, seed: 0, reference: None };
    let found = bench(&table, &options, |_, _| ()).unwrap();
    let best = |name: &str| found.samplers.iter().find(|row| row.sampler == name).unwrap().best_mean;
    assert!(best("ageing_evolution") >= 73.2, "{}", best("ageing_evolution"));
    assert!(best("local_search") >= 73.2, "{}", best("local_search"));
    assert!((best("random") - 72.0).abs() < 0.4, "{}", best("random"));
    // The cells with the most multiply-accumulates hold the best one: nothing is shown by reaching it.
    assert_eq!(best("macs_top_k"), found.objectives[0].best);
}
