//! Tables that others made: Once-for-All and ProxylessNAS (YAML), FBNet (JSON), measured networks (CSV).
//!
//! | file | what it holds |
//! |---|---|
//! | `.yaml` | `KEY: {mean: 1.2, std: 0.1, count: 100}`, or `KEY: 1.2` |
//! | `.json` | the same, or nested: `{"layer3": {"k3_e1": 1.2}}` and `{"layer3": [1.2, 0.8]}` have keys `layer3/k3_e1`, `layer3/0` |
//! | `.csv` | a column `arch` (`arch_str`, `architecture`) and one of latencies |
//!
//! None of these says its unit reliably, so the unit must be given. What the keys mean is theirs: a network is then a list of
//! keys. Only a CSV of a known space is more: the additive model over our operators is fitted to it.

use super::LutError;
use super::assemble;
use super::counted::counted_operators;
use super::features::SpaceRef;
use super::operator::{Costs, count};
use super::table::{Entry, GraphView, Header, LatencyTable, Method, Role, Status, Timed};
use crate::device::read_latencies;
use crate::genotype::ArchId;
use crate::graph::Graph;
use crate::latency::Unit;
use crate::space::Scale;
use crate::statistics::spearman;
use crate::yaml;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What a file does not say of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportOptions {
    /// Unit of its latencies.
    pub unit: Unit,
    /// Name of the device.
    pub device: String,
    /// The space of the architectures of a CSV; without it, the table knows these architectures only.
    pub space: Option<SpaceRef>,
    /// The column of latencies; `latency_ms`, `latency` or `latency_us` where absent.
    pub column: Option<String>,
}

/// A table, and what was left out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The table.
    pub table: LatencyTable,
    /// Rows without a latency above 0, and dead architectures.
    pub left_out: usize,
}

/// Reads the table at `path`.
///
/// # Errors
/// If the file can't be read or is not of the form that its ending says.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, LutError> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if ending == "csv" {
        return csv_table(path, options);
    }
    let invalid = |reason: String| LutError::Invalid { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|source| LutError::File { path: path.to_owned(), source })?;
    let value: Value = match ending.as_str() {
        "yaml" | "yml" => yaml::parse(&text, path).map_err(|error| invalid(error.to_string()))?,
        "json" => serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?,
        _ => return Err(invalid("expected a file that ends in .yaml, .json or .csv".to_owned())),
    };
    let mut table = LatencyTable::new(header(path, options, Method::Imported, None));
    collect(&value, "", options.unit.in_us(), &mut table.entries).map_err(invalid)?;
    if table.entries.is_empty() {
        return Err(invalid("no latency found".to_owned()));
    }
    Ok(Imported { table, left_out: 0 })
}

fn header(path: &Path, options: &ImportOptions, method: Method, space: Option<SpaceRef>) -> Header {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    Header {
        device: options.device.clone(),
        method,
        graph: GraphView::Live,
        space,
        profile: None,
        operators_of: None,
        host: None,
        runtime: String::new(),
        runtime_version: String::new(),
        execution_provider: String::new(),
        provider_options: BTreeMap::new(),
        threads: 0,
        batch: 1,
        pace: None,
        seed: 0,
        made_by: format!("imported from {file}"),
    }
}

/// The latencies in `value`, whose key is `key` so far.
fn collect(value: &Value, key: &str, unit_us: f64, entries: &mut BTreeMap<String, Entry>) -> Result<(), String> {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}/{name}") };
    let mut put = |mean: f64, deviation: Option<f64>, n: usize| {
        if !mean.is_finite() || mean < 0.0 {
            return Err(format!("`{key}`: {mean} found, expected a latency"));
        }
        let half = deviation.filter(|_| n > 1).map(|deviation| 1.96 * deviation / (n as f64).sqrt());
        let entry = Entry {
            n,
            p50_us: mean * unit_us,
            ci_lo_us: half.map(|half| (mean - half) * unit_us),
            ci_hi_us: half.map(|half| (mean + half) * unit_us),
            rounds: 0,
            status: Status::Imported,
            cost: None,
        };
        entries.insert(key.to_owned(), entry);
        Ok(())
    };
    match value {
        Value::Number(number) if !key.is_empty() => put(number.as_f64().unwrap_or(f64::NAN), None, 1),
        Value::Object(fields) => {
            let number = |name: &str| fields.get(name).and_then(Value::as_f64);
            if let Some(mean) = number("mean").or_else(|| number("latency")).filter(|_| !key.is_empty()) {
                return put(mean, number("std"), number("count").map_or(1, |count| count as usize));
            }
            fields.iter().try_for_each(|(name, value)| collect(value, &below(name), unit_us, entries))
        }
        Value::Array(values) => values
            .iter()
            .enumerate()
            .try_for_each(|(at, value)| collect(value, &below(&at.to_string()), unit_us, entries)),
        _ => Err(format!("`{key}`: {value} found, expected a latency, `{{mean: …}}`, or a map of such")),
    }
}

fn csv_table(path: &Path, options: &ImportOptions) -> Result<Imported, LutError> {
    let all = read_latencies(path, options.column.as_deref(), Some(options.unit))?;
    let count = all.len();
    let rows: Vec<(String, f64)> = all.into_iter().filter_map(|(arch, ms)| Some((arch, ms?))).collect();
    let left_out = count - rows.len();
    if let Some(space) = &options.space {
        let mut found = from_latencies(space, &rows, header(path, options, Method::Counted, Some(space.clone())))?;
        found.left_out += left_out;
        return Ok(found);
    }
    let mut table = LatencyTable::new(header(path, options, Method::Imported, None));
    for (arch, ms) in rows {
        let (p50_us, status) = (ms * 1e3, Status::Imported);
        let entry = Entry { n: 1, p50_us, ci_lo_us: None, ci_hi_us: None, rounds: 0, status, cost: None };
        table.entries.insert(arch, entry);
    }
    Ok(Imported { table, left_out })
}

/// The additive model over our operators, fitted to architectures of a space and their latencies in ms; dead ones are left out.
/// Of the [views](GraphView) of our graph it is the one whose fit orders best what it was not given.
///
/// # Errors
/// If one is no architecture of the space, or there are fewer than ten.
pub fn from_latencies(space: &SpaceRef, rows: &[(String, f64)], header: Header) -> Result<Imported, LutError> {
    let opened = space.open()?;
    let mut graphs: Vec<(&str, f64, Graph, ArchId)> = vec![];
    for (arch, ms) in rows {
        let genotype = opened.parse_arch(arch)?;
        if let Some(id) = opened.id(&genotype) {
            graphs.push((arch, *ms, opened.lower(&genotype, Scale::Full)?, id));
        }
    }
    if graphs.len() < 10 {
        let reason = format!("{} living architectures with a latency found, expected 10 or more", graphs.len());
        return Err(LutError::Unsuited(reason));
    }
    let left_out = rows.len() - graphs.len();
    let mut best: Option<(f64, LatencyTable)> = None;
    for view in [GraphView::Live, GraphView::Needed, GraphView::Declared] {
        let (mut costs, mut timed) = (Costs::new(), vec![]);
        for (arch, ms, graph, id) in &graphs {
            timed.push(Timed {
                arch: (*arch).to_owned(),
                arch_id: Some(id.clone()),
                role: Role::Random,
                p50_ms: *ms,
                ci95_ms: [*ms, *ms],
                rounds: 1,
                counts: count(counted_operators(&view.of(graph)?, header.batch), &mut costs),
            });
        }
        let method = Method::Counted;
        let mut table = LatencyTable::new(Header { method, graph: view, space: Some(space.clone()), ..header.clone() });
        assemble::fitted(&mut table, &timed, &costs, 0);
        table.networks = timed;
        // By order: a view that gets some kind of network wrong has a small median error all the same.
        let measured: Vec<f64> = table.networks.iter().map(|timed| timed.p50_ms).collect();
        let left_out: Vec<f64> = measured.iter().zip(&table.errors).map(|(ms, error)| ms / (1.0 + error)).collect();
        let order = spearman(&left_out, &measured).unwrap_or(-1.0);
        if best.as_ref().is_none_or(|(most, _)| order > *most) {
            best = Some((order, table));
        }
    }
    let (_, table) = best.expect("there are several views");
    Ok(Imported { table, left_out })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(name: &str, text: &str, unit: Unit) -> Result<Imported, LutError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        import(&path, &ImportOptions { unit, device: "phone".into(), space: None, column: None })
    }

    fn check(name: &str, text: &str, unit: Unit, expected: &[(&str, f64)]) {
        let table = imported(name, text, unit).unwrap().table;
        let found: Vec<(&str, f64)> = table.entries.iter().map(|(key, entry)| (key.as_str(), entry.p50_us)).collect();
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn every_style_is_read_in_the_unit_that_is_given() {
        let yaml = "Conv-input:5x5:\n  count: 4\n  mean: 0.5\n  std: 0.1\nLogits: 2\n";
        check("t.yaml", yaml, Unit::Ms, &[("Conv-input:5x5", 500.0), ("Logits", 2000.0)]);
        let json = r#"{"layer0": {"k3_e1": 3, "skip": {"latency": 0}}, "layer1": [1.5, 2]}"#;
        let expected = [("layer0/k3_e1", 3.0), ("layer0/skip", 0.0), ("layer1/0", 1.5), ("layer1/1", 2.0)];
        check("t.json", json, Unit::Us, &expected);
        check("t.csv", "arch,latency_ms\na b,0.25\nc,\nd,0\n", Unit::S, &[("a b", 250_000.0)]);
        let entry = imported("t.yaml", yaml, Unit::Ms).unwrap().table.entries["Conv-input:5x5"].clone();
        assert_eq!((entry.n, entry.ci_lo_us.unwrap().round(), entry.ci_hi_us.unwrap().round()), (4, 402.0, 598.0));
    }

    #[test]
    fn what_is_no_table_is_refused_by_name() {
        let refused = |name: &str, text: &str| {
            let error = imported(name, text, Unit::Ms).unwrap_err().to_string();
            error.rsplit_once(name).unwrap().1.trim_start_matches(": ").to_owned()
        };
        assert_eq!(
            refused("t.json", r#"{"a": {"b": "fast"}}"#),
            "`a/b`: \"fast\" found, expected a latency, `{mean: …}`, or a map of such"
        );
        assert_eq!(refused("t.json", "{}"), "no latency found");
        assert_eq!(refused("t.txt", ""), "expected a file that ends in .yaml, .json or .csv");
        assert_eq!(refused("t.csv", "arch,ms\na,1\n"), "no column `latency_ms`, expected one of arch, ms");
        assert_eq!(refused("t.csv", "arch,latency\na,fast\n"), ":2: latency: `fast`, expected a number");
    }
}
