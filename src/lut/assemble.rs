//! From timed networks to the entries of a table.

use super::fit::{Fit, Row};
use super::journal::Journal;
use super::operator::{Costs, OpCost};
use super::options::BuildOptions;
use super::table::{Entry, GraphView, Header, LatencyTable, Method, Role, Status, Timed};
use crate::latency::statistics::quantile;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Resamplings of the networks, for the entries' intervals.
const RESAMPLES: usize = 100;

/// The operators of timed networks, what they do, and the networks as rows.
pub(super) fn rows(timed: &[Timed], costs: &Costs) -> (Vec<String>, Vec<OpCost>, Vec<Row>) {
    let keys: BTreeSet<&String> = timed.iter().flat_map(|timed| timed.counts.keys()).collect();
    let keys: Vec<String> = keys.into_iter().cloned().collect();
    let of_keys = keys.iter().map(|key| costs.get(key).copied().unwrap_or_default()).collect();
    let row = |timed: &Timed| {
        let place = |key: &String| keys.binary_search(key).expect("the keys are those of the networks");
        let [low, high] = timed.ci95_ms;
        Row {
            counts: timed.counts.iter().map(|(key, n)| (place(key), f64::from(*n))).collect(),
            time_s: timed.p50_ms / 1e3,
            error: (high - low) / 2.0 / 1.96 / timed.p50_ms,
        }
    };
    let rows = timed.iter().map(row).collect();
    (keys, of_keys, rows)
}

/// The table of what was measured.
pub(super) fn table(options: &BuildOptions, journal: Journal) -> LatencyTable {
    let mut table = LatencyTable::new(header(options, &journal));
    match journal.method {
        Method::Micro => micro(&mut table, &journal),
        _ => fitted(&mut table, &journal.timed, &journal.costs, options.seed),
    }
    table.networks = journal.timed;
    table.failed = journal.failed;
    table
}

fn header(options: &BuildOptions, journal: &Journal) -> Header {
    let measured = journal.measurement.as_ref().expect("something was measured");
    Header {
        device: measured.device.clone(),
        method: journal.method,
        graph: GraphView::Live,
        space: Some(options.space.clone()),
        profile: Some(journal.profile.clone()),
        operators_of: None,
        host: Some(measured.host.clone()),
        runtime: measured.runtime.clone(),
        runtime_version: measured.runtime_version.clone(),
        execution_provider: measured.execution_provider.clone(),
        provider_options: measured.provider_options.clone(),
        threads: measured.threads,
        batch: measured.batch,
        pace: measured.pace(),
        seed: options.seed,
        made_by: format!("tegu {}", env!("CARGO_PKG_VERSION")),
    }
}

/// Fits the entries of `table` to `timed`; operators of `all` that no network has are estimated.
pub(super) fn fitted(table: &mut LatencyTable, timed: &[Timed], all: &Costs, seed: u64) {
    let (keys, costs, rows) = rows(timed, all);
    let fit = Fit::new(&costs, &rows);
    let errors = fit.left_out(&costs, &rows);
    let random = timed.iter().zip(errors).filter(|(timed, _)| timed.role == Role::Random);
    table.errors = random.map(|(_, error)| error).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let resampled: Vec<Fit> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<&Row> = rows.iter().map(|_| &rows[rng.random_range(0..rows.len())]).collect();
            fit.again(&costs, &drawn)
        })
        .collect();
    let pooled = pooled(&rows);
    for (at, key) in keys.into_iter().enumerate() {
        let having: Vec<&Timed> = timed.iter().filter(|timed| timed.counts.contains_key(&key)).collect();
        let times: Vec<f64> = resampled.iter().map(|fit| fit.times_s[at] * 1e6).collect();
        let entry = Entry {
            n: having.len(),
            p50_us: fit.times_s[at] * 1e6,
            ci_lo_us: Some(quantile(&times, 0.025)),
            ci_hi_us: Some(quantile(&times, 0.975)),
            rounds: having.iter().map(|timed| timed.rounds).sum(),
            status: if pooled.contains(&at) { Status::Pooled } else { Status::Fitted },
            cost: Some(costs[at]),
        };
        table.entries.insert(key, entry);
    }
    table.overhead_us = fit.overhead_s * 1e6;
    let [_, operator, mac, grouped, element] = fit.prior;
    table.estimate_s = Some([operator, mac, grouped, element]);
    table.estimate(all);
}

/// The operators that are in every network as often as each other, or that every network has equally often, as the overhead.
fn pooled(rows: &[Row]) -> BTreeSet<usize> {
    let mut patterns: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
    for (row, of) in rows.iter().enumerate() {
        for (at, count) in &of.counts {
            patterns.entry(*at).or_default().push((row, *count));
        }
    }
    let mut alike: HashMap<Vec<(usize, u64)>, Vec<usize>> = HashMap::new();
    for (at, pattern) in &patterns {
        let first = pattern[0].1;
        alike.entry(pattern.iter().map(|(row, n)| (*row, (n / first).to_bits())).collect()).or_default().push(*at);
    }
    let everywhere: Vec<(usize, u64)> = (0..rows.len()).map(|row| (row, 1f64.to_bits())).collect();
    let shared = alike.into_iter().filter(|(pattern, places)| places.len() > 1 || *pattern == everywhere);
    shared.flat_map(|(_, places)| places).collect()
}

/// Each operator's time is what it took alone.
fn micro(table: &mut LatencyTable, journal: &Journal) {
    for timed in journal.timed.iter().filter(|timed| timed.role == Role::Chain) {
        let Some((key, _)) = timed.counts.iter().next() else { continue };
        let [low, high] = timed.ci95_ms.map(|end| end * 1e3);
        let entry = Entry {
            n: 1,
            p50_us: timed.p50_ms * 1e3,
            ci_lo_us: Some(low),
            ci_hi_us: Some(high),
            rounds: timed.rounds,
            status: Status::Measured,
            cost: journal.costs.get(key).copied(),
        };
        table.entries.insert(key.clone(), entry);
    }
    let random = journal.timed.iter().filter(|timed| timed.role == Role::Random);
    // A network with an operator that failed has no prediction, and so no error.
    let error = |timed: &Timed| Some(timed.p50_ms / table.predict(&timed.counts).ok()?.p50_ms - 1.0);
    table.errors = random.filter_map(error).collect();
}
