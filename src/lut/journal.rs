//! What a build has found so far: JSON lines beside the table, each written before the next thing is done, so that a build
//! that was killed goes on where it was.

use super::table::{FailedEntry, Method, Timed};
use super::{Counts, LutError, OpCost, SpaceRef};
use crate::device::HardwareProfile;
use crate::genotype::ArchId;
use crate::journal;
use crate::latency::Measurement;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What a build is of: another one can't go on with its lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    pub tegu: String,
    pub profile: HardwareProfile,
    pub space: SpaceRef,
    pub definition: serde_json::Value,
    pub method: Method,
    pub seed: u64,
}

/// A line, and the seconds that the build had taken when it was written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at_s: f64,
    record: Record,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Record {
    Begin(Box<Begin>),
    /// The runtime shows no optimised graph: the method is another one than was asked for.
    Method(Method),
    Cost(String, OpCost),
    Counts(ArchId, Counts),
    Timed(Box<Timed>),
    Failed(FailedEntry),
    /// One whole measurement, for the header.
    Measurement(Box<Measurement>),
}

/// The lines of a build, read and written.
pub(super) struct Journal {
    lines: journal::Journal<Line>,
    /// Seconds that earlier runs took.
    pub before_s: f64,
    pub method: Method,
    pub profile: HardwareProfile,
    pub costs: BTreeMap<String, OpCost>,
    pub counts: HashMap<ArchId, Counts>,
    pub timed: Vec<Timed>,
    pub failed: Vec<FailedEntry>,
    pub measurement: Option<Measurement>,
}

impl Journal {
    /// Opens the lines at `path`, or begins them.
    pub fn open(path: &Path, begin: Begin) -> Result<Self, LutError> {
        let (lines, written) = journal::Journal::open(path)?;
        let (method, profile) = (begin.method, begin.profile.clone());
        let mut journal = Self {
            lines,
            before_s: 0.0,
            method,
            profile,
            costs: BTreeMap::new(),
            counts: HashMap::new(),
            timed: vec![],
            failed: vec![],
            measurement: None,
        };
        if written.is_empty() {
            journal.write(0.0, Record::Begin(Box::new(begin)))?;
            return Ok(journal);
        }
        for (at, line) in written.into_iter().enumerate() {
            let invalid = |reason: String| LutError::Invalid { path: path.to_owned(), reason };
            if (at == 0) != matches!(line.record, Record::Begin(_)) {
                return Err(invalid(format!("line {}: expected the build's beginning in the first line", at + 1)));
            }
            journal.before_s = journal.before_s.max(line.at_s);
            match line.record {
                Record::Begin(found) if *found == begin => {}
                Record::Begin(_) => {
                    let reason = "an unfinished build with other options (device, space, method or seed): go on with \
                        those, or remove the file or give --fresh to begin anew";
                    return Err(invalid(reason.to_owned()));
                }
                Record::Method(method) => journal.method = method,
                Record::Cost(key, cost) => drop(journal.costs.insert(key, cost)),
                Record::Counts(id, counts) => drop(journal.counts.insert(id, counts)),
                Record::Timed(timed) => journal.timed.push(*timed),
                Record::Failed(failed) => journal.failed.push(failed),
                Record::Measurement(measurement) => journal.measurement = Some(*measurement),
            }
        }
        Ok(journal)
    }

    pub fn put_method(&mut self, at_s: f64, method: Method) -> Result<(), LutError> {
        self.method = method;
        self.write(at_s, Record::Method(method))
    }

    /// The operators of an architecture; costs that are new stand in `costs`.
    pub fn put_counts(
        &mut self,
        at_s: f64,
        id: Option<&ArchId>,
        counts: &Counts,
        costs: &BTreeMap<String, OpCost>,
    ) -> Result<(), LutError> {
        for (key, cost) in costs {
            if self.costs.insert(key.clone(), *cost).is_none() {
                self.write(at_s, Record::Cost(key.clone(), *cost))?;
            }
        }
        let Some(id) = id else { return Ok(()) };
        self.counts.insert(id.clone(), counts.clone());
        self.write(at_s, Record::Counts(id.clone(), counts.clone()))
    }

    pub fn put_timed(&mut self, at_s: f64, timed: Timed, measurement: &Measurement) -> Result<(), LutError> {
        if self.measurement.is_none() {
            let whole = Measurement { samples_s: vec![], ..measurement.clone() };
            self.measurement = Some(whole.clone());
            self.write(at_s, Record::Measurement(Box::new(whole)))?;
        }
        self.timed.push(timed.clone());
        self.write(at_s, Record::Timed(Box::new(timed)))
    }

    pub fn put_failed(&mut self, at_s: f64, failed: FailedEntry) -> Result<(), LutError> {
        self.failed.push(failed.clone());
        self.write(at_s, Record::Failed(failed))
    }

    /// Whether this architecture or chain was tried already.
    pub fn knows(&self, entry: &str) -> bool {
        self.timed.iter().any(|timed| timed.arch == entry) || self.failed.iter().any(|failed| failed.entry == entry)
    }

    fn write(&mut self, at_s: f64, record: Record) -> Result<(), LutError> {
        Ok(self.lines.write(&Line { at_s, record })?)
    }
}
