//! What is different between two tables, beyond their noise. Where both were measured beside the same reference model, their
//! times are compared at the first one's pace: that the whole machine was slower is one fact, which the headers say.

use super::table::{Entry, LatencyTable};
use crate::latency::statistics::median;
use serde::Serialize;

/// How an entry changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The operator.
    pub key: String,
    /// Its time in the first table, in µs.
    pub before_us: f64,
    /// Its time in the second one.
    pub after_us: f64,
    /// Whether the 95 % intervals are apart.
    pub beyond_noise: bool,
}

/// The difference of two tables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What the headers say differently: field, first, second.
    pub headers: Vec<(String, String, String)>,
    /// Median of `after / before` over the entries of both; none where there is none.
    pub median_ratio: Option<f64>,
    /// Entries of both, the largest changes of time first, those beyond the noise before all others.
    pub changes: Vec<Change>,
    /// Entries of the first table alone.
    pub only_before: Vec<String>,
    /// Entries of the second table alone.
    pub only_after: Vec<String>,
}

/// Compares two tables.
pub fn diff(before: &LatencyTable, after: &LatencyTable) -> Difference {
    let factor = match (&before.header.pace, &after.header.pace) {
        (Some(a), Some(b)) if a.model_sha256 == b.model_sha256 => a.reference_ms / b.reference_ms,
        _ => 1.0,
    };
    let times = |entry: &Entry, scale: f64| {
        let (low, high) = (entry.ci_lo_us.unwrap_or(entry.p50_us), entry.ci_hi_us.unwrap_or(entry.p50_us));
        (entry.p50_us * scale, low * scale, high * scale)
    };
    let both = before.entries.iter().filter_map(|(key, entry)| Some((key, entry, after.entries.get(key)?)));
    let mut changes: Vec<Change> = both
        .map(|(key, old, new)| {
            let ((before_us, before_low, before_high), (after_us, after_low, after_high)) =
                (times(old, before.scale), times(new, after.scale * factor));
            let beyond_noise = before_high < after_low || after_high < before_low;
            Change { key: key.clone(), before_us, after_us, beyond_noise }
        })
        .collect();
    let size = |change: &Change| (change.after_us - change.before_us).abs();
    changes.sort_by(|a, b| b.beyond_noise.cmp(&a.beyond_noise).then(size(b).total_cmp(&size(a))));
    let ratios: Vec<f64> =
        changes.iter().filter(|c| c.before_us > 0.0).map(|change| change.after_us / change.before_us).collect();
    let only = |one: &LatencyTable, other: &LatencyTable| {
        one.entries.keys().filter(|key| !other.entries.contains_key(*key)).cloned().collect()
    };
    Difference {
        headers: headers(before, after),
        median_ratio: (!ratios.is_empty()).then(|| median(&ratios)),
        changes,
        only_before: only(before, after),
        only_after: only(after, before),
    }
}

fn headers(before: &LatencyTable, after: &LatencyTable) -> Vec<(String, String, String)> {
    let fields = |table: &LatencyTable| {
        let header = &table.header;
        let host = header.host.as_ref();
        [
            ("device", header.device.clone()),
            ("cpu", host.and_then(|host| host.cpu.clone()).unwrap_or_default()),
            ("kernel", host.and_then(|host| host.kernel.clone()).unwrap_or_default()),
            ("method", format!("{:?}", header.method).to_lowercase()),
            ("space", header.space.as_ref().map(|space| space.space.clone()).unwrap_or_default()),
            ("runtime", format!("{} {}", header.runtime, header.runtime_version).trim().to_owned()),
            ("execution_provider", header.execution_provider.clone()),
            ("provider_options", format!("{:?}", header.provider_options)),
            ("threads", header.threads.to_string()),
            ("batch", header.batch.to_string()),
            ("reference_ms", header.pace.as_ref().map(|pace| pace.reference_ms.to_string()).unwrap_or_default()),
            ("made_by", header.made_by.clone()),
        ]
    };
    let pairs = fields(before).into_iter().zip(fields(after));
    pairs.filter(|(a, b)| a != b).map(|((name, a), (_, b))| (name.to_owned(), a, b)).collect()
}
