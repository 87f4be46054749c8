//! `tegu bench train-space`: a table of a small space, the same however often it was killed; and the one that is in this
//! repository.

#[path = "common/stripes.rs"]
mod stripes;
#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use study::{DEAD, Finished, LIVING, Workplace};
use tegu::space::{Scale, SearchSpace};

/// Three living architectures, of which the last two are isomorphic, and a dead one.
const ARCHS: [&str; 4] = [
    LIVING,
    DEAD,
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
    "|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
];
/// Of the living ones, from three seeds.
const TRAININGS: usize = 9;
const CONFIG: &str = "epochs: 2\nbatch: 32\nsplit: {validation: 0.25}\nseed: 5\n";

fn place() -> Workplace {
    let place = Workplace::new();
    std::fs::create_dir(place.path("data")).unwrap();
    stripes::write_stripes(&place.path("data"), 256, 64);
    place.write("train.yaml", CONFIG);
    place.write("archs.txt", ARCHS.join("\n"));
    place
}

fn args<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["bench", "train-space", "--quiet", "--space", "tiny.yaml", "--data", "data", "--config", "train.yaml"];
    [&args[..], &["--archs", "archs.txt", "-o", output], more].concat()
}

/// The rows of a table but for the last column, which is how long trainings took.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| line.rsplit_once(',').unwrap().0.split(',').map(str::to_owned).collect();
    text.lines().map(row).collect()
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_killed_run_gives_the_same_table() {
    let place = place();
    let run = |output: &str, more: &[&str]| place.run(&args(output, more));
    let whole = run("whole.csv", &[]);
    assert_eq!((whole.code, whole.stderr.as_str()), (Some(0), ""), "{whole:?}");
    assert!(whole.stdout.starts_with("4 architectures, 2 of them distinct; 1 dead\ntest accuracy"), "{}", whole.stdout);
    let expected = rows(&place.path("whole.csv"));
    assert_eq!(
        expected[0].join(","),
        "arch,arch_id,params,macs,validation_seed5,validation_seed6,validation_seed7,test_seed5,test_seed6,test_seed7,\
        validation_mean,test_mean,test_std"
    );
    assert_eq!(expected[1..].iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ARCHS);
    // What the space declares of a dead one: stem, reduction and head; four classes, as many of each.
    assert_eq!(
        expected[2][1..],
        ["", "432", "7456", "25", "25", "25", "25", "25", "25", "25", "25", "0"].map(str::to_owned)[..]
    );
    assert_eq!(expected[3][1], expected[4][1]);
    assert_ne!(expected[3][4..], expected[4][4..], "isomorphic ones are trained one by one");

    // Killed when one and when four more trainings are done, then on another number of threads.
    let journal = place.path("parts.journal");
    for more in [1, 4] {
        let before = lines(&journal);
        let mut child = place.tegu(&args("parts.csv", &[])).stdout(Stdio::null()).spawn().unwrap();
        let begin = Instant::now();
        while lines(&journal) < before.max(1) + more {
            assert!(begin.elapsed() < Duration::from_secs(60), "no training came to its end");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!place.path("parts.csv").exists());
    }
    let kept = std::fs::read_to_string(&journal).unwrap();
    let last = Finished::from(place.tegu(&args("parts.csv", &[])).env("RAYON_NUM_THREADS", "1").output().unwrap());
    assert_eq!((last.code, last.stderr.as_str()), (Some(0), ""), "{last:?}");
    assert_eq!(rows(&place.path("parts.csv")), expected);
    // What was done is not done again; the line that was cut off, if there is one, is.
    let text = std::fs::read_to_string(&journal).unwrap();
    assert!(text.starts_with(&kept[..kept.rfind('\n').unwrap()]) && lines(&journal) == 1 + TRAININGS);

    // Other options are refused by their name; more seeds are more of the same.
    let refused = |config: &str, more: &[&str], difference: &str| {
        place.write("train.yaml", config);
        let found = run("whole.csv", more);
        let expected = format!("whole.journal is of other trainings ({difference})");
        assert!(found.code == Some(2) && found.stderr.contains(&expected), "{found:?}");
    };
    refused(&CONFIG.replace("epochs: 2", "epochs: 3"), &[], "options.epochs: 2 there, 3 now");
    refused(CONFIG, &["--width", "8"], "network.width: 4 there, 8 now");
    let summary = run("whole.csv", &["--seeds", "4", "--json"]);
    let summary: Value = serde_json::from_str(&summary.stdout).unwrap();
    assert_eq!((&summary["architectures"], &summary["failed"]), (&4.into(), &0.into()));
    assert_eq!(lines(&place.path("whole.journal")), 1 + TRAININGS + 3);
    let more = rows(&place.path("whole.csv"));
    assert!(
        more.iter().zip(&expected).skip(1).all(|(more, row)| more[4..7] == row[4..7] && more.len() == row.len() + 2)
    );
}

#[test]
fn what_can_not_be_trained_is_named() {
    let place = place();
    let check = |args: &[&str], code: i32, expected: &str| {
        let base = ["bench", "train-space", "--data", "data", "--config", "train.yaml", "-o", "a.csv"];
        let found = place.run(&[&base, args].concat());
        assert!(found.code == Some(code) && found.stderr.contains(expected), "{args:?}: {found:?}");
    };
    let size = "nas-bench-201 has 15625 architectures";
    check(&["--space", "nas-bench-201", "--sample", "20000"], 2, size);
    place.write("bad.txt", format!("{LIVING}\n\n|what~0|\n"));
    check(&["--space", "tiny.yaml", "--archs", "bad.txt"], 2, "bad.txt:3: `|what~0|` is no architecture of tiny");
    place.write("train.yaml", "split: {validation: 0}\n");
    let part = "the data have no validation part: expected one, or `split: {validation: 0.1}` in the config";
    check(&["--space", "tiny.yaml", "--sample", "2"], 2, part);
    // A loss that is no number is the result of a training, not its end of the others.
    place.write("train.yaml", "epochs: 1\nlr: 1e30\nclip_norm: null\nwarm_up_epochs: 0\nsplit: {validation: 0.25}\n");
    check(&["--space", "tiny.yaml", "--archs", "archs.txt", "--seeds", "1", "--quiet"], 0, "");
    let text = std::fs::read_to_string(place.path("a.csv")).unwrap();
    assert_eq!(text.lines().skip(1).filter(|line| line.ends_with(",,,,,,")).count(), 3, "{text}");
}

fn tinybench() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tinybench.csv").display().to_string()
}

#[test]
fn tinybench_is_of_its_space() {
    let space = SearchSpace::open("tinybench").unwrap();
    let mut reader = csv::Reader::from_path(tinybench()).unwrap();
    let header = reader.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 125);
    let mut means = vec![];
    for (genotype, record) in space.enumerate().zip(&records) {
        let field = |name: &str| &record[header.iter().position(|known| known == name).unwrap()];
        let number = |name: &str| field(name).parse::<f64>().unwrap();
        let cost = space.lower(&genotype, Scale::Full).unwrap().cost();
        let id = space.id(&genotype);
        assert_eq!(field("arch"), space.arch(&genotype));
        assert_eq!(field("arch_id"), id.as_ref().map_or(String::new(), ToString::to_string));
        assert_eq!((number("params"), number("macs")), (cost.params as f64, cost.macs as f64));
        let seeds = ["test_seed0", "test_seed1", "test_seed2"].map(number);
        assert!((seeds.iter().sum::<f64>() / 3.0 - number("test_mean")).abs() < 1e-3);
        match id {
            Some(_) => means.push(number("test_mean")),
            None => assert_eq!(seeds, [10.0; 3]),
        }
    }
    means.sort_by(f64::total_cmp);
    assert!(means[means.len() - 1] - means[0] >= 5.0, "{means:?}");
    means.dedup();
    assert!(means.len() > 60, "{} levels", means.len());
}

#[test]
fn indicators_are_held_against_tinybench() {
    let (place, truth) = (Workplace::new(), tinybench());
    let small = ["--batch", "4", "--networks", "1", "--reference", "6", "--archs", "24", "--indicators", "swap,params"];
    let arguments = ["correlate", "tinybench", "--truth", &truth, "--column", "test_mean", "--json", "--quiet"];
    let finished = place.run(&[&arguments[..], &small].concat());
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    let found: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!((&found["architectures"], &found["space"]), (&24.into(), &"tinybench".into()));
    let rows = found["rows"].as_array().unwrap();
    let rho = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        row["evaluation"]["spearman"]["value"].as_f64().unwrap()
    };
    assert!(rho("adaptive") > 0.3 && rho("control: random") < 0.4, "{found}");
}
