//! Holding a table against whole networks that it has not seen.

use super::anchors::{Anchors, TOGETHER};
use super::features::{Extractor, Network, network, remove};
use super::operator::{Costs, count};
use super::options::Observer;
use super::table::{FailedEntry, LatencyTable, Prediction};
use super::{BuildEvent, LutError};
use crate::device::{Device, Job};
use crate::latency::Measurement;
use crate::latency::statistics::{median, quantile};
use crate::space::SearchSpace;
use crate::statistics::{kendall, spearman};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::HashSet;

/// Makes another stream than the build's.
const STREAM: u64 = 0x6865_6c64_6f75_7400;

/// A network that the table had not seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckedNetwork {
    /// The architecture.
    pub arch: String,
    /// Its measured median latency in ms.
    pub measured_ms: f64,
    /// The table's prediction in ms.
    pub predicted_ms: f64,
    /// Its 90 % interval.
    pub interval90_ms: Option<[f64; 2]>,
    /// How many of its operators the table has no measurement of.
    pub estimated: usize,
}

/// How far a table can be trusted; serialised, the figures alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// Spearman's ρ of predictions and measurements; none for fewer than three networks.
    pub spearman: Option<f64>,
    /// Kendall's τ-b.
    pub kendall: Option<f64>,
    /// Median of `|predicted − measured| / measured`, in percent.
    pub median_error_pct: f64,
    /// Its 90th percentile.
    pub p90_error_pct: f64,
    /// Share of networks within their 90 % interval, in percent; none where the table has no interval.
    pub coverage90_pct: Option<f64>,
    /// Networks that were held against it.
    pub networks: usize,
    /// Each of them.
    #[serde(skip)]
    pub checked: Vec<CheckedNetwork>,
    /// Drawn networks that are dead: they have no latency worth predicting.
    #[serde(skip)]
    pub dead: usize,
    /// Networks that could not be measured.
    #[serde(skip)]
    pub failed: Vec<FailedEntry>,
}

impl Validation {
    /// The figures of these networks.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(checked: Vec<CheckedNetwork>, dead: usize, failed: Vec<FailedEntry>) -> Self {
        let (measured, predicted): (Vec<f64>, Vec<f64>) =
            checked.iter().map(|network| (network.measured_ms, network.predicted_ms)).unzip();
        let errors: Vec<f64> = measured
            .iter()
            .zip(&predicted)
            .map(|(measured, predicted)| 100.0 * (predicted / measured - 1.0).abs())
            .collect();
        let within = |network: &CheckedNetwork| {
            network.interval90_ms.map(|[low, high]| low <= network.measured_ms && network.measured_ms <= high)
        };
        let within: Option<Vec<bool>> = checked.iter().map(within).collect();
        let share = |within: Vec<bool>| 100.0 * within.iter().filter(|&&yes| yes).count() as f64 / within.len() as f64;
        Self {
            spearman: spearman(&predicted, &measured),
            kendall: kendall(&predicted, &measured),
            median_error_pct: median(&errors),
            p90_error_pct: quantile(&errors, 0.9),
            coverage90_pct: within.map(share),
            networks: checked.len(),
            checked,
            dead,
            failed,
        }
    }
}

/// Networks drawn at random that none of the tables was built from, each once, and how many dead ones were drawn with them.
fn held_out(
    space: &SearchSpace,
    tables: &[LatencyTable],
    networks: usize,
    seed: u64,
) -> Result<(Vec<Network>, usize), LutError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ STREAM);
    let timed = tables.iter().flat_map(|table| &table.networks);
    let mut known: HashSet<_> = timed.filter_map(|timed| timed.arch_id.clone()).collect();
    let (mut found, mut dead) = (vec![], 0);
    for _ in 0..50 * networks {
        if found.len() == networks {
            break;
        }
        match network(space, &space.sample(&mut rng))? {
            Some(network) if known.insert(network.arch_id.clone()) => found.push(network),
            Some(_) => {}
            None => dead += 1,
        }
    }
    Ok((found, dead))
}

/// Measures `networks` networks of `space` on `device` that none of `tables` was built from, and holds the predictions of each
/// table against that. `shows` is the device whose runtime shows the operators, where it is another one.
///
/// # Errors
/// If a device can't be used, the observer interrupts it, or no network can be measured.
pub fn validate(
    tables: &[LatencyTable],
    space: &SearchSpace,
    device: &mut dyn Device,
    mut shows: Option<&mut dyn Device>,
    (networks, seed): (usize, u64),
    observer: &mut dyn Observer,
) -> Result<Vec<Validation>, LutError> {
    let (drawn, dead) = held_out(space, tables, networks, seed)?;
    let mut extractors: Vec<Extractor> = tables
        .iter()
        .map(|table| Extractor::new(table.header.method, table.header.batch, table.header.precision()))
        .collect::<Result<_, LutError>>()?;
    let anchors = match (tables.first(), extractors.first_mut()) {
        (Some(table), Some(extractor)) => Anchors::of(&table.networks, table.header.pace.clone(), space, extractor)?,
        _ => None,
    };
    let mut checked: Vec<Vec<CheckedNetwork>> = vec![vec![]; tables.len()];
    let (mut failed, total): (Vec<FailedEntry>, usize) = (vec![], drawn.len());
    for together in drawn.chunks(TOGETHER) {
        let mut jobs = vec![];
        let mut predictions = vec![];
        for network in together {
            if observer.interrupted() {
                return Err(LutError::Interrupted);
            }
            for (table, extractor) in tables.iter().zip(&mut extractors) {
                let shows: &mut dyn Device = match &mut shows {
                    Some(shows) => &mut **shows,
                    None => device,
                };
                predictions.push(predicted(table, extractor, network, shows)?);
            }
            let model = extractors[0].export(&network.graph)?;
            jobs.push(Job { arch_id: Some(network.arch_id.clone()), ..Job::of_model(model) });
        }
        let answers = match &anchors {
            Some(anchors) => anchors.measure(device, &jobs),
            None => device.measure_all(&jobs),
        };
        let of_network = predictions.chunks(tables.len().max(1));
        for (((network, job), of_tables), answer) in together.iter().zip(&jobs).zip(of_network).zip(answers) {
            remove(&job.model);
            match answer {
                Ok(measured) => {
                    for ((table, checked), (prediction, estimated)) in tables.iter().zip(&mut checked).zip(of_tables) {
                        checked.push(CheckedNetwork {
                            arch: network.arch.clone(),
                            measured_ms: at_pace(&measured, table),
                            predicted_ms: prediction.p50_ms,
                            interval90_ms: prediction.interval90_ms,
                            estimated: *estimated,
                        });
                    }
                }
                Err(error) if error.is_unavailable() => return Err(error.into()),
                Err(error) => failed.push(FailedEntry { entry: network.arch.clone(), reason: error.to_string() }),
            }
        }
        let done = checked[0].len() + failed.len();
        observer.on(BuildEvent::Timed { done, total, error: None, left_s: None });
    }
    if checked.iter().any(Vec::is_empty) {
        let first = failed.first().map(|failed| failed.reason.clone());
        return Err(LutError::TooFew { measured: 0, wanted: 1, first });
    }
    Ok(checked.into_iter().map(|checked| Validation::new(checked, dead, failed.clone())).collect())
}

/// The median latency in ms, stated for the pace that the table's times are stated for.
fn at_pace(measured: &Measurement, table: &LatencyTable) -> f64 {
    let mut stated = Measurement { samples_s: vec![], ..measured.clone() };
    if let Some(pace) = &table.header.pace {
        stated.state_for(pace);
    }
    stated.p50_ms
}

/// What `table` predicts, and how many of the operators it has no measurement of.
fn predicted(
    table: &LatencyTable,
    extractor: &mut Extractor,
    network: &Network,
    shows: &mut dyn Device,
) -> Result<(Prediction, usize), LutError> {
    let mut costs = Costs::new();
    let counts = count(extractor.operators(&network.graph, shows)?, &mut costs);
    let measured = |key: &String| table.entries.get(key).is_some_and(|entry| entry.n > 0);
    let estimated = counts.keys().filter(|key| !measured(key)).count();
    if counts.keys().all(|key| table.entries.contains_key(key)) {
        return Ok((table.predict(&counts)?, estimated));
    }
    let mut more = table.clone();
    more.estimate(&costs);
    Ok((more.predict(&counts)?, estimated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_counted_by_hand() {
        let checked = |measured_ms: f64, predicted_ms: f64| CheckedNetwork {
            arch: String::new(),
            measured_ms,
            predicted_ms,
            interval90_ms: Some([predicted_ms * 0.95, predicted_ms * 1.05]),
            estimated: 0,
        };
        let found = Validation::new(vec![checked(1.0, 1.01), checked(2.0, 1.96), checked(4.0, 4.4)], 2, vec![]);
        assert_eq!((found.spearman, found.kendall, found.networks), (Some(1.0), Some(1.0), 3));
        assert!((found.median_error_pct - 2.0).abs() < 1e-9 && (found.p90_error_pct - 8.4).abs() < 1e-9, "{found:?}");
        assert!((found.coverage90_pct.unwrap() - 200.0 / 3.0).abs() < 1e-9);
        let json = serde_json::to_value(&found).unwrap();
        let names: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(names, ["coverage90_pct", "kendall", "median_error_pct", "networks", "p90_error_pct", "spearman"]);
    }
}
