//! From a study's store to its report.

use super::controls::{self, Trials};
use super::correlation::correlate;
use super::{
    DeviceInfo, HostInfo, IndicatorInfo, MeasurementSummary, ObjectiveInfo, ReportError, SearchSummary, StudyReport,
    TrialRow, TrialState,
};
use crate::genotype::ArchId;
use crate::indicator;
use crate::latency::Measurement;
use crate::objective::ObjectiveVector;
use crate::pareto::ParetoFront;
use crate::quality::QualityFacts;
use crate::study::store::{self, EstimateRecord, EstimateSource, IndicatorOutcome, Store, TrialRecord};
use crate::study::{
    LATENCY, MODELS, StudyError, StudyFacts, TRAININGS, front_of, integers_pay, model_file, outcomes, remeasured,
    repeated, vector,
};
use crate::train::{self, TrainingRecord};
use std::collections::BTreeMap;
use std::path::Path;

/// Reads the study in `folder` out of its store; it may still be running.
///
/// # Errors
/// If the store can't be read, or its study has not begun.
pub fn collect(store: &Store, folder: &Path) -> Result<StudyReport, ReportError> {
    let facts: StudyFacts = store.fact("study")?.ok_or_else(|| ReportError::Invalid {
        field: "study".into(),
        reason: format!("{} has no study that has begun", folder.display()),
    })?;
    let config: serde_json::Value = store.fact("config")?.unwrap_or_default();
    let devices: Vec<String> = facts.objectives.as_slice().iter().filter_map(device_of).collect();
    let of = |sampler: &str| -> Result<Vec<Vec<TrialRecord>>, ReportError> {
        (0..facts.repeats).map(|repeat| Ok(store.trials(&repeated(sampler, repeat))?)).collect()
    };
    let search = of(&facts.search)?;
    let control = facts.control.as_deref().map(of).transpose()?.unwrap_or_default();
    let reference: Option<Vec<f64>> = store.fact("reference_point")?;

    let (mut trials, mut searched) = (vec![], vec![]);
    for (repeat, records) in search.iter().enumerate() {
        for record in records {
            searched.push((trials.len(), record));
            trials.push(row(store, folder, &devices, record, false)?);
        }
        for record in control.get(repeat).into_iter().flatten() {
            trials.push(row(store, folder, &devices, record, true)?);
        }
    }
    let records: Vec<&TrialRecord> = searched.iter().map(|(_, record)| *record).collect();
    let front = front_of(store, &facts.objectives, &records).map_err(|error| invalid(&error))?;
    let best: Vec<&TrialRecord> = front.iter().map(|&at| searched[at].1).collect();
    let front: Vec<usize> = front.iter().map(|&at| searched[at].0).collect();
    front.iter().for_each(|&index| trials[index].on_front = true);

    let vectors_of = |all: &[Vec<TrialRecord>]| -> Vec<Vec<Option<ObjectiveVector>>> {
        all.iter().map(|one| one.iter().map(|record| vector(&facts.objectives, record)).collect()).collect()
    };
    let (vectors, control_vectors) = (vectors_of(&search), vectors_of(&control));
    let all_hypervolumes = |all: &[Vec<Option<ObjectiveVector>>]| -> Vec<Vec<f64>> {
        all.iter().map(|vectors| hypervolumes(vectors, reference.as_deref())).collect()
    };
    let (reached, controlled) = (all_hypervolumes(&vectors), all_hypervolumes(&control_vectors));
    let of_search = Trials { records: &search[0], vectors: &vectors[0] };
    let of_control = control.first().map(|records| Trials { records, vectors: &control_vectors[0] });
    let ends = |all: &[Vec<f64>]| all.iter().filter_map(|one| one.last().copied()).collect::<Vec<f64>>();
    let drawn: Vec<&TrialRecord> = control.iter().flatten().collect();
    let quality: Option<QualityFacts> = store.fact("quality")?;
    let directions = facts.objectives.optimised().map(|objective| objective.direction);
    let remeasured = remeasured(folder).map_err(|error| invalid(&error))?;
    let mut report = StudyReport {
        hypervolume_history: controls::history(
            (of_search, &reached[0]),
            of_control.map(|trials| (trials, &controlled[0][..])),
        ),
        search: summary(&facts.search, &search[0], &reached[0]),
        control: control
            .first()
            .zip(facts.control.as_ref())
            .map(|(records, name)| summary(name, records, &controlled[0])),
        controls: of_control.map_or(vec![], |control| controls::rows(&facts.objectives, of_search, control)),
        seeds: controls::seeds(facts.seed, ends(&reached), ends(&controlled)),
        preferences: controls::preferences(&facts.decisions, &best, &drawn),
        reference_point: reference.unwrap_or_default().iter().zip(directions).map(|(c, d)| d.cost(*c)).collect(),
        study: facts.study,
        space: facts.space,
        space_size: facts.space_size,
        tegu_version: facts.tegu_version,
        seed: facts.seed,
        created: rfc3339(facts.created_unix_s),
        config_yaml: serde_yaml::to_string(&config).unwrap_or_default(),
        objectives: facts.objectives.as_slice().iter().map(objective).collect(),
        indicators: indicators(quality.as_ref()),
        quality,
        devices: devices
            .iter()
            .map(|name| device(store, name))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect(),
        trials,
        front,
        correlations: vec![],
        trainings: trainings(folder)?,
        integers: integers_pay(&remeasured),
        remeasured,
    };
    report.correlations = correlate(&report);
    Ok(report)
}

/// The trainings in the study's folder.
fn trainings(folder: &Path) -> Result<BTreeMap<String, TrainingRecord>, ReportError> {
    let all = train::records(&folder.join(TRAININGS));
    let all = all.map_err(|error| ReportError::Invalid { field: TRAININGS.into(), reason: error.to_string() })?;
    Ok(all.into_iter().collect())
}

fn invalid(error: &StudyError) -> ReportError {
    ReportError::Invalid { field: "front".into(), reason: error.to_string() }
}

/// The hypervolume after each evaluation.
fn hypervolumes(vectors: &[Option<ObjectiveVector>], reference: Option<&[f64]>) -> Vec<f64> {
    let Some(reference) = reference else { return vec![0.0; vectors.len()] };
    let mut front = ParetoFront::new();
    let step = |(index, vector): (usize, &Option<ObjectiveVector>)| {
        if let Some(vector) = vector {
            front.insert(index, vector.clone());
        }
        front.hypervolume(reference)
    };
    vectors.iter().enumerate().map(step).collect()
}

fn summary(sampler: &str, records: &[TrialRecord], hypervolumes: &[f64]) -> SearchSummary {
    let sum = |seconds: fn(&TrialRecord) -> f64| records.iter().map(seconds).sum::<f64>();
    SearchSummary {
        sampler: sampler.to_owned(),
        evaluations: records.len(),
        failed: records.iter().filter(|record| matches!(record.state, store::TrialState::Failed { .. })).count(),
        hypervolume: hypervolumes.last().copied().unwrap_or(0.0),
        scoring_s: sum(|record| record.seconds.scoring_s),
        exporting_s: sum(|record| record.seconds.exporting_s),
        loading_s: sum(|record| record.seconds.loading_s),
        measuring_s: sum(|record| record.seconds.measuring_s),
        waiting_s: sum(|record| record.seconds.waiting_s),
        total_s: sum(|record| record.seconds.total_s()),
    }
}

fn row(
    store: &Store,
    folder: &Path,
    devices: &[String],
    record: &TrialRecord,
    control: bool,
) -> Result<TrialRow, ReportError> {
    let (state, objectives) = match &record.state {
        store::TrialState::Complete { objectives } => (TrialState::Complete, objectives.clone()),
        store::TrialState::Failed { reason } => (TrialState::Failed(reason.clone()), BTreeMap::new()),
    };
    let mut measurements = BTreeMap::new();
    for device in devices {
        let shown = objectives.get(&format!("{LATENCY}{device}"));
        let measured = measurement(store, &record.arch_id, device)?;
        let estimated = store.estimate(&record.arch_id, device)?;
        // A later trial of the same architecture may have been measured: what the trial itself went by is shown.
        match (measured, estimated) {
            (Some(measured), estimated)
                if estimated.is_none() || shown.is_none_or(|shown| *shown == measured.p50_ms) =>
            {
                measurements.insert(device.clone(), summary_of(&measured));
            }
            (_, Some(estimated)) => {
                measurements.insert(device.clone(), summary_of_estimate(&estimated));
            }
            _ => {}
        }
    }
    let known = |(name, outcome): (String, IndicatorOutcome)| Some((name, outcome.score()?.value));
    let model = format!("{MODELS}/{}", model_file(&record.arch_id));
    Ok(TrialRow {
        number: record.number as usize,
        sampler: record.sampler.clone(),
        control,
        arch: record.arch.clone(),
        arch_id: record.arch_id.to_string(),
        state,
        objectives,
        indicators: outcomes(store, &record.arch_id)?.into_iter().filter_map(known).collect(),
        params: record.params,
        macs: record.macs,
        live_params: record.live_params,
        measurements,
        model: folder.join(&model).is_file().then_some(model),
        model_sha256: record.model_sha256.clone(),
        on_front: false,
    })
}

fn measurement(store: &Store, id: &ArchId, device: &str) -> Result<Option<Measurement>, ReportError> {
    let Some(record) = store.measurement(id, device)? else { return Ok(None) };
    let parsed = serde_json::from_value(record.measurement);
    parsed.map(Some).map_err(|error| ReportError::Invalid {
        field: format!("measurement of {id} on {device}"),
        reason: error.to_string(),
    })
}

fn summary_of(measurement: &Measurement) -> MeasurementSummary {
    MeasurementSummary {
        p50_ms: measurement.p50_ms,
        ci95_ms: measurement.ci95_ms,
        p90_ms: measurement.p90_ms,
        verdict: measurement.verdict.to_string(),
        samples: measurement.samples,
        load_ms: Some(measurement.load_ms),
        first_run_ms: Some(measurement.first_run_ms),
    }
}

fn summary_of_estimate(estimate: &EstimateRecord) -> MeasurementSummary {
    let verdict = match estimate.source {
        EstimateSource::Predicted => "predicted",
        EstimateSource::Table => "table",
    };
    MeasurementSummary {
        p50_ms: estimate.p50_ms,
        ci95_ms: estimate.interval_ms,
        p90_ms: None,
        verdict: verdict.to_owned(),
        samples: 0,
        load_ms: None,
        first_run_ms: None,
    }
}

fn objective(objective: &crate::objective::Objective) -> ObjectiveInfo {
    ObjectiveInfo {
        name: objective.name.clone(),
        direction: objective.direction,
        unit: objective.unit.clone().unwrap_or_default(),
        device: device_of(objective),
        constraint: objective.constraint,
        at_least: objective.at_least,
        at_most: objective.at_most,
    }
}

/// The device whose latency an objective is.
fn device_of(objective: &crate::objective::Objective) -> Option<String> {
    objective.name.strip_prefix(LATENCY).map(str::to_owned)
}

/// The TEG three, and those that the quality is made of.
fn indicators(quality: Option<&QualityFacts>) -> Vec<IndicatorInfo> {
    let info = |indicator: &'static dyn indicator::Indicator| IndicatorInfo {
        name: indicator.facts().name.to_owned(),
        description: indicator.facts().description.to_owned(),
        direction: indicator.facts().direction,
        formula: indicator.facts().formula.to_owned(),
        source: indicator.facts().source.to_owned(),
    };
    let of_quality = quality.into_iter().flat_map(|facts| &facts.weights);
    let named = of_quality.filter_map(|(name, _)| indicator::named(name).ok());
    indicator::distinct(indicator::teg().into_iter().chain(named)).into_iter().map(info).collect()
}

/// The device as its first measurement found it; none without a measurement.
fn device(store: &Store, name: &str) -> Result<Option<DeviceInfo>, ReportError> {
    let Some(record) = store.measurements(name)?.into_iter().next() else { return Ok(None) };
    let Some(first) = measurement(store, &record.arch_id, name)? else { return Ok(None) };
    let host = first.host;
    let optional = [("kernel", host.kernel), ("governor", host.governor), ("architecture", Some(host.arch))];
    Ok(Some(DeviceInfo {
        name: name.to_owned(),
        runtime: first.runtime,
        runtime_version: first.runtime_version,
        execution_provider: Some(first.execution_provider),
        threads: Some(first.threads),
        batch: first.batch,
        host: HostInfo {
            cpu: host.cpu.unwrap_or_else(|| "unknown".into()),
            logical_cores: host.cores,
            memory_bytes: host.memory_mib.unwrap_or(0) * 1024 * 1024,
            os: host.os,
            facts: optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect(),
        },
        load_average: host.load_1m,
    }))
}

/// Seconds since 1970 as `2026-01-31T12:00:00Z` (Hinnant 2013, "chrono-compatible low-level date algorithms").
fn rfc3339(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // date -u -d @N --iso-8601=seconds
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_795_305_599), "2026-11-21T23:59:59Z");
    }
}
