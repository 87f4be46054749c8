//! `tegu correlate` and the quality of `tegu score`, on a small space and a table made up for it.

#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use study::Workplace;

/// Small enough for a test: one network, few images.
const SMALL: [&str; 6] = ["--batch", "4", "--networks", "1", "--reference", "6"];

fn archs() -> Vec<String> {
    let operators = ["nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3", "skip_connect"];
    let cells = operators.iter().flat_map(|a| operators.map(|b| (*a, b)));
    cells.map(|(a, b)| format!("|{a}~0|+|{b}~0|none~1|+|none~0|{a}~1|{b}~2|")).collect()
}

#[test]
fn scores_are_held_against_the_truth() {
    let place = Workplace::new();
    let rows = archs().into_iter().enumerate().map(|(at, arch)| format!("{arch},{}\n", 90.0 - (at as f64 - 3.0).abs()));
    place.write("truth.csv", "arch,accuracy\n".to_owned() + &rows.collect::<String>());
    let correlate = |more: &[&str]| {
        let arguments = ["correlate", "tiny.yaml", "--truth", "truth.csv", "--column", "accuracy"];
        place.run(&[&arguments, &SMALL[..], more].concat())
    };
    let indicators = ["--indicators", "naswot,params"];
    let finished = correlate(&[&indicators[..], &["--json", "--quiet", "--fit", "5", "--html", "page.html"]].concat());
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let found: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((&found["architectures"], &found["dead"]), (&16.into(), &0.into()));
    let rows = found["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    let controls = ["control: macs", "control: params", "control: random"];
    let scores = ["adaptive", "nas_bench_201", "teg", "naswot", "params"];
    assert_eq!(names, [&scores[..], &controls[..]].concat());
    for row in rows {
        let [low, high] = [0, 1].map(|end| row["evaluation"]["spearman"]["ci95"][end].as_f64().unwrap());
        let rho = row["evaluation"]["spearman"]["value"].as_f64().unwrap();
        assert!(low <= rho && rho <= high && row["evaluation"]["best_of_top"][2].as_f64().unwrap() > 85.0, "{row}");
        assert_eq!(row["seconds"].is_null(), row["kind"] == "control", "{row}");
    }
    let fit = &found["fits"][0];
    assert_eq!((&fit["labels"], &fit["fitted"][2]["method"]), (&5.into(), &"diff_kendall".into()));
    let chosen: Vec<&str> = fit["chosen"].as_array().unwrap().iter().map(|row| row["by"].as_str().unwrap()).collect();
    assert_eq!(chosen, ["robot", "adaptive", "control: macs", "control: random"]);
    let page = std::fs::read_to_string(place.path("page.html")).unwrap();
    assert!(page.contains("control: random") && !page.contains("{{"));

    // The same without the reference sample's lines, which is kept; and for people.
    let again = correlate(&[&indicators[..], &["--json", "--archs", "8"]].concat());
    assert!(again.stderr.lines().all(|line| line.starts_with("scoring: ")), "{}", again.stderr);
    let table = correlate(&["--indicators", "params", "--quiet"]);
    assert!(table.stdout.contains("control: random") && table.stdout.contains("\nadaptive: "), "{}", table.stdout);

    // Another full network, another reference sample.
    let wider = correlate(&["--indicators", "params", "--width", "8", "--json"]);
    assert!(wider.code == Some(0) && wider.stderr.contains("reference: 6/6"), "{wider:?}");

    let refused = correlate(&["--indicators", "parms"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("did you mean `params`"), "{refused:?}");
    let missing = place.run(&["correlate", "tiny.yaml", "--truth", "truth.csv", "--column", "acuracy"]);
    assert!(missing.code == Some(2) && missing.stderr.contains("did you mean `accuracy`"), "{missing:?}");
}

#[test]
fn a_quality_does_not_depend_on_its_company() {
    let place = Workplace::new();
    let archs = archs();
    let score = |archs: &[String]| {
        let archs: Vec<&str> = archs.iter().map(String::as_str).collect();
        let finished = place.run(&[&["score", "tiny.yaml", "--json", "--quiet"], &SMALL[..], &archs].concat());
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
        finished.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let dead = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|".to_owned();
    let together = score(&[&archs[..3], &[dead], &archs[..1]].concat());
    assert_eq!(together[0], score(&archs[..1])[0]);
    assert_eq!(together[0], together[4], "an architecture that comes twice");
    let quality = |line: &str| serde_json::from_str::<Value>(line).unwrap()["quality"].clone();
    assert!(quality(&together[1]).is_number() && quality(&together[3]).is_null(), "{together:?}");
}
