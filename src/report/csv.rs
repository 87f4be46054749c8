//! CSV: one line a trial, units in the column names. An indicator that is an objective too has one column. An empty field is a value that is not known.

use super::{StudyReport, TrialRow, TrialState};

/// The front, best value of the first objective first.
pub fn front(report: &StudyReport) -> String {
    lines(report, report.front_rows())
}

/// All trials, those of the control and failed ones included, in the order of evaluation.
pub fn trials(report: &StudyReport) -> String {
    lines(report, report.trials.iter().collect())
}

fn lines(report: &StudyReport, rows: Vec<&TrialRow>) -> String {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    let records = std::iter::once(header(report)).chain(rows.into_iter().map(|row| record(report, row)));
    for record in records {
        writer.write_record(record).expect("writing to memory, every line as long as the header");
    }
    let bytes = writer.into_inner().expect("writing to memory");
    String::from_utf8(bytes).expect("every field is text")
}

fn header(report: &StudyReport) -> Vec<String> {
    let mut names: Vec<String> =
        ["trial", "sampler", "control", "state", "reason", "on_front", "arch", "arch_id"].map(str::to_owned).to_vec();
    names.extend(report.objectives.iter().map(|objective| match objective.unit.as_str() {
        "" => objective.name.clone(),
        unit if objective.name.ends_with(&format!("_{unit}")) => objective.name.clone(),
        unit => format!("{}_{unit}", objective.name),
    }));
    names.extend(report.other_indicators().map(|indicator| indicator.name.clone()));
    names.extend(["params", "live_params", "macs"].map(str::to_owned));
    for device in &report.devices {
        let measured =
            ["p50_ms", "ci95_low_ms", "ci95_high_ms", "p90_ms", "load_ms", "first_run_ms", "samples", "verdict"];
        names.extend(measured.map(|name| format!("{}_{name}", device.name)));
    }
    names.extend(["model", "model_sha256"].map(str::to_owned));
    names
}

fn record(report: &StudyReport, row: &TrialRow) -> Vec<String> {
    fn text(value: Option<impl ToString>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let (state, reason) = match &row.state {
        TrialState::Complete => ("complete", ""),
        TrialState::Failed(reason) => ("failed", reason.as_str()),
    };
    let mut fields = vec![
        row.number.to_string(),
        row.sampler.clone(),
        row.control.to_string(),
        state.to_owned(),
        reason.to_owned(),
        row.on_front.to_string(),
        row.arch.clone(),
        row.arch_id.clone(),
    ];
    fields.extend(report.objectives.iter().map(|objective| text(row.objectives.get(&objective.name))));
    fields.extend(report.other_indicators().map(|indicator| text(row.indicators.get(&indicator.name))));
    fields.extend([text(row.params), text(row.live_params), text(row.macs)]);
    for device in &report.devices {
        let measured = row.measurements.get(&device.name);
        fields.extend([
            text(measured.map(|m| m.p50_ms)),
            text(measured.map(|m| m.ci95_ms[0])),
            text(measured.map(|m| m.ci95_ms[1])),
            text(measured.and_then(|m| m.p90_ms)),
            text(measured.and_then(|m| m.load_ms)),
            text(measured.and_then(|m| m.first_run_ms)),
            text(measured.map(|m| m.samples)),
            text(measured.map(|m| &m.verdict)),
        ]);
    }
    fields.extend([text(row.model.as_ref()), text(row.model_sha256.as_ref())]);
    fields
}
