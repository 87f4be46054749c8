use super::*;

/// A small made-up study: five trials of the search, one of them failed, and two of the control.
fn sample() -> StudyReport {
    serde_json::from_str(include_str!("../../tests/data/report.json")).unwrap()
}

/// The sample before its first trial, with nothing to compare with.
fn empty() -> StudyReport {
    let summary = SearchSummary { evaluations: 0, failed: 0, hypervolume: 0.0, ..sample().search };
    StudyReport {
        trials: Vec::new(),
        front: Vec::new(),
        search: summary,
        control: None,
        hypervolume_history: Vec::new(),
        correlations: Vec::new(),
        ..sample()
    }
}

#[test]
fn table_shows_front_and_outcome() {
    insta::assert_snapshot!("table", table::render(&sample(), None));
}

#[test]
fn narrow_table_lists_architectures_below() {
    insta::assert_snapshot!("table_narrow", table::render(&sample(), Some(100)));
}

#[test]
fn table_of_an_empty_study_says_so() {
    insta::assert_snapshot!("table_empty", table::render(&empty(), Some(100)));
}

#[test]
fn csv_has_one_line_a_trial() {
    insta::assert_snapshot!("front_csv", csv::front(&sample()));
    insta::assert_snapshot!("trials_csv", csv::trials(&sample()));
}

#[test]
fn json_of_the_front() {
    insta::assert_snapshot!("front_json", json::front(&sample()));
}

#[test]
fn json_of_the_report_reads_back() {
    for report in [sample(), empty()] {
        assert_eq!(serde_json::from_str::<StudyReport>(&json::full(&report)).unwrap(), report);
    }
}

#[test]
fn front_is_ordered_by_the_first_objective() {
    let numbers = |report: &StudyReport| report.front_rows().iter().map(|row| row.number).collect::<Vec<_>>();
    let mut report = sample();
    assert_eq!(numbers(&report), [1, 0]);
    report.objectives[0].direction = Direction::Maximize;
    assert_eq!(numbers(&report), [0, 1]);
}

#[test]
fn correlations_cover_every_pair_once() {
    let correlations = correlation::correlate(&sample());
    let pair = |of: &str, with: &str| correlations.iter().filter(|c| c.of == of && c.with == with).count();
    assert_eq!(pair("linear_regions", "latency"), 1);
    assert_eq!(pair("random", "ntk_regression"), 1);
    assert_eq!(pair("ntk_regression", "ntk_regression"), 0);
    assert!(correlations.iter().all(|c| c.trials == 6 && c.spearman.abs() <= 1.0));
    assert_eq!(correlations, correlation::correlate(&sample()), "the random row is seeded");
    assert_eq!(correlation::correlate(&empty()), []);
}

#[test]
fn contradictions_are_refused() {
    let check = |change: fn(&mut StudyReport), expected: &str| {
        let mut report = sample();
        change(&mut report);
        assert_eq!(report.check().unwrap_err().to_string(), expected);
    };
    sample().check().unwrap();
    empty().check().unwrap();
    check(|r| r.front.push(2), "front: 2: expected the index of a complete trial");
    check(|r| r.front.push(70), "front: 70: expected the index of a complete trial");
    check(
        |r| r.reference_point.truncate(1),
        "reference_point: expected one value for each objective that is optimised",
    );
    check(|r| r.search.hypervolume = f64::NAN, "report: expected finite numbers, found NaN");
    check(
        |r| {
            r.trials[1].objectives.remove("latency");
        },
        "trial 1: latency: a complete trial has every objective",
    );
    check(
        |r| {
            r.trials[2].objectives.insert("latency".into(), 0.0);
        },
        "trial 2: objectives: a failed trial has none",
    );
    check(
        |r| {
            r.trials[0].indicators.insert("linear_regions".into(), f64::INFINITY);
        },
        "trial 0: linear_regions: expected a finite number",
    );
}

#[test]
fn all_files_are_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    write(&sample(), folder.path()).unwrap();
    write(&sample(), folder.path()).unwrap();
    let mut names: Vec<String> =
        folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["front.csv", "front.json", "report.html", "trials.csv"]);
    let missing = write(&sample(), &folder.path().join("absent")).unwrap_err().to_string();
    assert!(missing.contains("front.json"), "{missing}");
}

#[test]
fn page_holds_no_markup_of_the_study() {
    let page = html::page(&sample());
    assert!(page.contains("<title>small &lt;study&gt; &amp; &quot;co&quot; · Tegu</title>"));
    assert!(!page.contains("alert(1)</script>"));
    assert_eq!(page.matches("</script>").count(), 2, "the data's and the script's own");
    assert!(page.contains("\"seed\":\"18446744073709551615\""), "a seed keeps all its digits");
}
