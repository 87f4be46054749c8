//! Another device's table for a new device, calibrated on a few networks that are measured there.
//!
//! `y = a · table + b`, fitted to the anchors by least relative squares, b ≥ 0. The anchors are networks that the table knows,
//! spread over its latencies, so that the table's own operators need not be found again on a runtime that may fuse others.
//! A table that does not order the anchors as the new device does is refused: a factor would not mend that.

use super::LutError;
use super::features::{Extractor, network, remove};
use super::table::{LatencyTable, Role, Timed};
use crate::device::{Device, Job};
use crate::latency::Measurement;
use crate::space::SearchSpace;
use crate::statistics::spearman;

/// The least rank correlation on the anchors: below, choices by the table are no better than by MACs.
const LEAST_CORRELATION: f64 = 0.9;
/// The fewest anchors: with less, chance correlates.
const FEWEST: usize = 5;

/// What came of a transfer.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// The calibrated table.
    pub table: LatencyTable,
    /// Networks that were measured.
    pub anchors: usize,
    /// Spearman's ρ of the table and the device on them.
    pub correlation: f64,
}

/// Calibrates `table` for `device` on `anchors` networks.
///
/// # Errors
/// [`LutError::Uncorrelated`] where the table does not order the anchors as the device does; else if there are too few, or
/// the device can't be used.
pub fn transfer(
    table: &LatencyTable,
    space: &SearchSpace,
    device: &mut dyn Device,
    anchors: usize,
) -> Result<Transfer, LutError> {
    if anchors < FEWEST {
        return Err(LutError::Unsuited(format!("{anchors} anchors found, expected {FEWEST} or more")));
    }
    device.check()?;
    let chosen = spread(table, anchors);
    let mut extractor = Extractor::new(table.header.method, device.profile().batch, device.profile().precision)?;
    let mut jobs = vec![];
    for timed in &chosen {
        let genotype = space.parse_arch(&timed.arch)?;
        let network = network(space, &genotype)?
            .ok_or_else(|| LutError::Unsuited(format!("{}: a dead network can't be an anchor", timed.arch)))?;
        let model = extractor.export(&network.graph)?;
        jobs.push(Job { arch_id: Some(network.arch_id), ..Job::of_model(model) });
    }
    let answers = device.measure_all(&jobs);
    jobs.iter().for_each(|job| remove(&job.model));
    let (mut measured, mut predicted, mut failure): (Vec<Measurement>, Vec<f64>, Option<String>) =
        (vec![], vec![], None);
    for (timed, answer) in chosen.iter().zip(answers) {
        match answer {
            Ok(mut measurement) => {
                if let Some(pace) = measured.first().and_then(Measurement::pace) {
                    measurement.state_for(&pace);
                }
                predicted.push(table.predict(&timed.counts)?.p50_ms);
                measured.push(measurement);
            }
            Err(error) if error.is_unavailable() => return Err(error.into()),
            Err(error) => failure = failure.or(Some(error.to_string())),
        }
    }
    if measured.len() < FEWEST {
        return Err(LutError::TooFew { measured: measured.len(), wanted: FEWEST, first: failure });
    }
    let times: Vec<f64> = measured.iter().map(|measurement| measurement.p50_ms).collect();
    let correlation = spearman(&predicted, &times).unwrap_or(0.0);
    if correlation < LEAST_CORRELATION {
        return Err(LutError::Uncorrelated { anchors: times.len(), correlation, wanted: LEAST_CORRELATION });
    }
    let calibrated = calibrated(table, device, &predicted, &measured);
    Ok(Transfer { table: calibrated, anchors: times.len(), correlation })
}

/// Networks of the table at even steps of its latencies, random ones where there are enough.
fn spread(table: &LatencyTable, anchors: usize) -> Vec<&Timed> {
    let of = |role: Role| table.networks.iter().filter(move |timed| timed.role == role);
    let mut all: Vec<&Timed> = of(Role::Random).collect();
    if all.len() < anchors {
        all.extend(of(Role::Chosen));
    }
    all.sort_by(|a, b| a.p50_ms.total_cmp(&b.p50_ms));
    let count = anchors.min(all.len());
    (0..count).map(|at| all[at * (all.len() - 1) / (count - 1).max(1)]).collect()
}

fn calibrated(table: &LatencyTable, device: &dyn Device, predicted: &[f64], measured: &[Measurement]) -> LatencyTable {
    let times: Vec<f64> = measured.iter().map(|measurement| measurement.p50_ms).collect();
    let all: Vec<usize> = (0..times.len()).collect();
    let (scale, offset_ms) = line(&all, predicted, &times);
    let left_out = |out: &usize| {
        let others: Vec<usize> = all.iter().copied().filter(|at| at != out).collect();
        let (scale, offset) = line(&others, predicted, &times);
        times[*out] / (scale * predicted[*out] + offset) - 1.0
    };
    let first = &measured[0];
    let mut new = table.clone();
    new.errors = all.iter().map(left_out).collect();
    new.scale = table.scale * scale;
    new.overhead_us = table.overhead_us + offset_ms * 1e3 / new.scale;
    new.failed = vec![];
    let header = &mut new.header;
    header.made_by = format!("tegu {}, from {} by {} anchors", env!("CARGO_PKG_VERSION"), header.device, times.len());
    header.device = first.device.clone();
    header.operators_of = header.operators_profile().cloned();
    header.profile = Some(device.profile().clone());
    header.host = Some(first.host.clone());
    header.runtime = first.runtime.clone();
    header.runtime_version = first.runtime_version.clone();
    header.execution_provider = first.execution_provider.clone();
    header.provider_options = first.provider_options.clone();
    (header.threads, header.batch, header.pace) = (first.threads, first.batch, first.pace());
    new
}

/// Slope and offset ≥ 0 of the least relative squares over the places `at`.
fn line(at: &[usize], x: &[f64], y: &[f64]) -> (f64, f64) {
    let sums = at.iter().fold([0.0; 5], |[xx, x1, one, xy, y1], &at| {
        let (x, one_y) = (x[at] / y[at], 1.0 / y[at]);
        [xx + x * x, x1 + x * one_y, one + one_y * one_y, xy + x, y1 + one_y]
    });
    let [xx, x1, one, xy, y1] = sums;
    let determinant = xx * one - x1 * x1;
    let offset = (xx * y1 - x1 * xy) / determinant;
    if offset.is_finite() && offset > 0.0 && determinant > 1e-12 * xx * one {
        let slope = (one * xy - x1 * y1) / determinant;
        if slope > 0.0 {
            return (slope, offset);
        }
    }
    (xy / xx, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_never_starts_below_zero() {
        let x = [1.0, 2.0, 3.0, 5.0];
        let on = |slope: f64, offset: f64| x.map(|x| slope * x + offset);
        let (slope, offset) = line(&[0, 1, 2, 3], &x, &on(2.0, 0.5));
        assert!((slope - 2.0).abs() < 1e-9 && (offset - 0.5).abs() < 1e-9);
        let (slope, offset) = line(&[0, 1, 2, 3], &x, &on(2.0, -0.5));
        assert!(offset == 0.0 && slope < 2.0);
    }
}
