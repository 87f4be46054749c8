//! The HTML report in a real browser: its script runs without an error and shows what the data says.
//!
//! Needs Chromium: the program that `CHROMIUM` names, or one on the `PATH`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tegu::genotype::ArchId;
use tegu::report::{ControlRow, Preference, Seeds, StudyReport, TrialState, html};
use tegu::study::{FinalFigure, FinalOutcome};
use tegu::train::{DataFacts, Epoch, Evaluated, Metrics, TrainOptions, TrainingRecord};

/// The sample study, which `src/report/tests.rs` uses as well.
fn sample() -> StudyReport {
    serde_json::from_str(include_str!("data/report.json")).unwrap()
}

fn chromium() -> PathBuf {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return named.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!("no {names:?} on the PATH: install Debian's `chromium` package, or name the program in CHROMIUM")
        })
}

/// The page after its script ran, and what the browser wrote to its log.
fn rendered(page: &Path, profile: &Path) -> (String, String) {
    let flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--window-size=1400,2000",
        "--virtual-time-budget=2000",
        "--dump-dom",
    ];
    let output = Command::new(chromium())
        .args(flags)
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (dom, log) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "chromium ended with {}:\n{log}", output.status);
    (dom, log)
}

/// Renders `report` and counts what must be there.
fn check(name: &str, report: &StudyReport) {
    report.check().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let html = html::page(report);
    for address in ["http:", "https:", "src=", "url(", "@import"] {
        assert!(!html.contains(address), "{name}: `{address}` in the page");
    }
    std::fs::write(&page, html).unwrap();
    let (dom, log) = rendered(&page, &folder.path().join("profile"));
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
    assert!(dom.contains(r#"<body data-ready="true">"#), "{name}: the script did not reach its end");

    let complete = report.trials.iter().filter(|trial| trial.is_complete()).count();
    let within = |id: &str| {
        let start = dom.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("{name}: no element `{id}`"));
        &dom[start..start + dom[start..].find("</section>").unwrap_or(dom.len() - start)]
    };
    let chart = within("scatter").split("id=\"front-table\"").next().unwrap();
    let marks = |kind: &str| chart.matches(&format!("class=\"mark {kind}\"")).count();
    let controls = report.trials.iter().filter(|trial| trial.is_complete() && trial.control).count();
    assert_eq!(marks("on-front"), report.front.len(), "{name}: marks of the front");
    assert_eq!(marks("control"), controls, "{name}: marks of the control");
    assert_eq!(marks("search"), complete - controls - report.front.len(), "{name}: marks of the search");
    assert_eq!(
        within("front-table").matches("<tr data-trial").count(),
        report.front.len(),
        "{name}: rows of the front"
    );
    let failed = report.trials.len() - complete;
    // The section holds all trials and, once more, the failed ones with their reasons.
    let rows = within("all-trials").matches("<tr data-trial").count();
    assert_eq!(rows, report.trials.len() + failed, "{name}: rows of all trials");
    let multiples = if complete > 0 { report.indicators.len() } else { 0 };
    assert_eq!(dom.matches("data-indicator=").count(), multiples, "{name}: indicators' charts");
    // Over evaluations, and against latency, MACs and parameters.
    let drawn = within("multiples").matches("role=\"img\"").count();
    assert_eq!(drawn, 4 * multiples, "{name}: small charts");
    assert_eq!(
        dom.contains("id=\"controls\""),
        !report.controls.is_empty() || report.seeds.is_some(),
        "{name}: controls"
    );
    assert_eq!(dom.contains("id=\"preferences\""), !report.preferences.is_empty(), "{name}: choices");
    if !report.preferences.is_empty() {
        let rows = |id: &str| within(id).split("<tbody>").nth(1).map_or(0, |body| body.matches("<tr>").count());
        assert_eq!(rows("control-table"), report.controls.len(), "{name}: controls");
        let mut decisions: Vec<&str> = report.preferences.iter().map(|one| one.decision.as_str()).collect();
        decisions.dedup();
        assert_eq!(rows("preference-table"), decisions.len(), "{name}: choices");
        // Two of the TEG three have values here: one pair.
        assert_eq!(
            within("way").split("id=\"multiples\"").next().unwrap().matches("role=\"img\"").count(),
            1,
            "{name}"
        );
    }
    assert_eq!(dom.contains("id=\"trained\""), !report.trainings.is_empty(), "{name}: trainings");
    if !report.trainings.is_empty() {
        let trained = within("trained");
        let rows = trained.split("<tbody>").nth(1).map_or(0, |body| body.matches("<tr>").count());
        assert_eq!(rows, report.trainings.len(), "{name}: trainings");
        // Loss and accuracy, of training and of validation.
        let lines = trained.matches("class=\"line ").count();
        assert_eq!(lines, 4 * report.trainings.len(), "{name}: curves");
    }
    assert_eq!(dom.contains("id=\"remeasured\""), !report.remeasured.is_empty(), "{name}: deployed files");
    if !report.remeasured.is_empty() {
        let table = within("remeasured");
        let rows = table.split("<tbody>").nth(1).map_or(0, |body| body.matches("<tr>").count());
        assert_eq!(rows, report.remeasured.len(), "{name}: deployed files");
        assert!(report.integers.iter().all(|line| table.contains(line.as_str())), "{name}: {table}");
    }
    let curves = if report.hypervolume_history.len() > 1 { 1 + usize::from(report.control.is_some()) } else { 0 };
    let lines = within("history").matches("class=\"line ").count();
    assert_eq!(lines, curves, "{name}: hypervolume curves");
}

#[test]
fn a_study_with_a_control() {
    check("sample", &sample());
}

#[test]
fn a_repeated_study_with_controls_and_choices() {
    let mut report = sample();
    let row = |objective: &str| ControlRow {
        objective: objective.into(),
        search: 1.2,
        random: Some(1.5),
        random_in_time: None,
        largest: Some(2.0),
        random_mean: 2.5,
        random_median: 2.25,
        gain_on_mean_pct: Some(52.0),
        gain_on_median_pct: None,
    };
    report.controls = report.objectives.iter().map(|objective| row(&objective.name)).collect();
    report.seeds = Some(Seeds {
        seeds: vec![1, 2],
        search: vec![1.875, 1.5],
        control: vec![1.5, 1.25],
        search_mean: 1.6875,
        search_ci95: [-0.7, 4.1],
        control_mean: Some(1.375),
        control_ci95: Some([-0.2, 3.0]),
    });
    for (decision, choice) in [("0 → 1", "none"), ("0 → 1", "skip <b>"), ("0 → 2", "none"), ("0 → 2", "skip <b>")]
    {
        let (decision, choice) = (decision.into(), choice.into());
        report.preferences.push(Preference { decision, choice, on_front: 0.75, drawn: 0.5 });
    }
    report.hypervolume_history.iter_mut().for_each(|point| point.search_s = f64::from(point.evaluations as u32));
    check("repeated", &report);
}

#[test]
fn a_study_with_trained_networks() {
    let epoch = |epoch: usize| Epoch {
        epoch,
        lr: 0.1,
        loss: 1.0 / epoch as f64,
        accuracy: 0.5,
        validation_loss: Some(0.75),
        validation_accuracy: Some(0.625),
        seconds: 2.5,
    };
    let metrics = Metrics { samples: 64, accuracy: 0.875, loss: 0.5, ece: 0.0625 };
    let parts: BTreeMap<String, Metrics> = ["validation", "test"].map(|part| (part.to_owned(), metrics)).into();
    let evaluated = Evaluated { temperature: 1.25, before: parts.clone(), after: parts };
    let record = TrainingRecord {
        space: "s".into(),
        arch: "<b>a</b>".into(),
        arch_id: None,
        study: None,
        trial: Some(("nsga2".into(), 1)),
        options: TrainOptions::default(),
        data: DataFacts {
            path: "data".into(),
            sha256: "00".into(),
            classes: vec!["0".into(), "1".into()],
            shape: [1, 8, 8],
            train: 100,
            validation: 64,
            test: 64,
        },
        params: 1234,
        curve: vec![epoch(1), epoch(2), epoch(3)],
        best_epoch: Some(2),
        evaluated: Some(evaluated),
        model: None,
    };
    let under_way = TrainingRecord { best_epoch: None, evaluated: None, trial: None, ..record.clone() };
    let trainings = [("nsga2-1-seed0".to_owned(), record), ("x-seed0".to_owned(), under_way)];
    let outcome = FinalOutcome::Measured { p50_ms: 0.5, ci95_ms: [0.4375, 0.625], verdict: "stable".into() };
    let float = FinalFigure {
        device: "cpu".into(),
        arch: "<b>a</b>".into(),
        arch_id: ArchId::new("00ff"),
        trial: Some(("nsga2".into(), 1)),
        file: Some("training/nsga2-1-seed0/model.onnx".into()),
        sha256: "00".into(),
        bytes: 2048,
        trained: true,
        precision: "f32".into(),
        predicted_ms: None,
        searched_ms: Some(0.75),
        outcome,
        speed_up: None,
        accuracy: [("test".to_owned(), 0.875)].into(),
        ece: BTreeMap::new(),
    };
    let failed = FinalFigure {
        trial: None,
        file: None,
        trained: false,
        outcome: FinalOutcome::Failed("no <i>memory</i>".into()),
        ..float.clone()
    };
    let (remeasured, integers) = (vec![float, failed], vec!["cpu: INT8 is not measured".to_owned()]);
    check("trained", &StudyReport { trainings: trainings.into(), remeasured, integers, ..sample() });
}

#[test]
fn a_study_without_a_control() {
    let mut report = sample();
    report.control = None;
    report.trials.retain(|trial| !trial.control);
    report.hypervolume_history.iter_mut().for_each(|point| point.control = None);
    report.correlations.clear();
    check("no control", &report);
}

#[test]
fn one_objective() {
    let mut report = sample();
    report.objectives.truncate(1);
    report.reference_point.truncate(1);
    report.trials.iter_mut().for_each(|trial| trial.objectives.retain(|name, _| name == "latency"));
    report.front = vec![1];
    check("one objective", &report);
}

#[test]
fn three_objectives() {
    let mut report = sample();
    let mut regions = report.objectives[1].clone();
    regions.name = "linear_regions".into();
    report.objectives.push(regions);
    report.reference_point.push(0.0);
    for trial in &mut report.trials {
        let value = trial.indicators.get("linear_regions").copied();
        trial.objectives.extend(value.map(|value| ("linear_regions".to_owned(), value)));
    }
    report.front = vec![0, 1, 3];
    check("three objectives", &report);
}

#[test]
fn no_complete_trial() {
    let mut report = sample();
    for trial in &mut report.trials {
        trial.state = TrialState::Failed("the worker ended by signal 11 <crash>".into());
        trial.objectives.clear();
        trial.measurements.clear();
    }
    report.front.clear();
    report.hypervolume_history.clear();
    check("no complete trial", &report);
}
