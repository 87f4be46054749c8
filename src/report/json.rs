//! JSON: the front for other programs, or the whole report.

use super::{ControlRow, DeviceInfo, IndicatorInfo, ObjectiveInfo, SearchSummary, Seeds, StudyReport, TrialRow};
use serde::Serialize;

/// What `front.json` holds.
#[derive(Serialize)]
struct Front<'a> {
    study: &'a str,
    space: &'a str,
    tegu_version: &'a str,
    seed: u64,
    created: &'a str,
    objectives: &'a [ObjectiveInfo],
    indicators: &'a [IndicatorInfo],
    devices: &'a [DeviceInfo],
    reference_point: &'a [f64],
    search: &'a SearchSummary,
    control: Option<&'a SearchSummary>,
    controls: &'a [ControlRow],
    seeds: Option<&'a Seeds>,
    front: Vec<&'a TrialRow>,
}

/// The front as JSON: the study's facts, then its trials, best value of the first objective first.
pub fn front(report: &StudyReport) -> String {
    pretty(&Front {
        study: &report.study,
        space: &report.space,
        tegu_version: &report.tegu_version,
        seed: report.seed,
        created: &report.created,
        objectives: &report.objectives,
        indicators: &report.indicators,
        devices: &report.devices,
        reference_point: &report.reference_point,
        search: &report.search,
        control: report.control.as_ref(),
        controls: &report.controls,
        seeds: report.seeds.as_ref(),
        front: report.front_rows(),
    })
}

/// The whole report as JSON; [`StudyReport`] reads it back.
pub fn full(report: &StudyReport) -> String {
    pretty(report)
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("maps with text keys and numbers are JSON");
    text.push('\n');
    text
}
