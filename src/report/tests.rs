use super::*;

/// A small made-up study: five trials of the search, one of them failed, and two of the control.
fn sample() -> StudyReport {
    serde_json::from_str(include_str!("../../tests/data/report.json")).unwrap()
}
