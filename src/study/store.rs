//! The store of a study: one SQLite file that has every finished piece of work.
//!
//! What a `put_…` function has returned from is on disk: the file is in WAL mode with `synchronous = FULL`, so it
//! survives `kill -9` and a power failure, and each call is one transaction. What is finished never changes: putting the same
//! thing again does nothing, and putting another in its place is an error. One process writes at a time, which a
//! lock file beside the store sees to (`study.sqlite.lock`); any number may read.

mod error;
mod lock;
mod records;
mod schema;
mod sql;
#[cfg(test)]
mod tests;

use crate::files;
use crate::genotype::ArchId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::StoreError;
pub use records::{
    EstimateRecord, EstimateSource, IndicatorOutcome, MeasurementRecord, ReferenceRecord, StageSeconds, TrialRecord,
    TrialState,
};

/// How long to wait for a process that reads while the store is tidied up.
const BUSY: Duration = Duration::from_secs(10);

/// The store of one study.
#[derive(Debug)]
pub struct Store {
    // Before the lock, so that it is closed before another process may come in.
    connection: Connection,
    path: PathBuf,
    _lock: Option<lock::StudyLock>,
}

impl Store {
    /// Opens the store at `path` for writing, and makes it if there is none. The folder must be there.
    ///
    /// # Errors
    /// If another process has it open for writing, if it was made by another version, if the file is not a
    /// study's, or if it can't be read or written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = lock::StudyLock::take(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut store = Self::connect(path, flags, Some(lock))?;
        // Before anything is written: a file that is not ours stays as it is.
        let found = schema::identify(&store.connection, path)?;
        schema::prepare(&mut store.connection, found).map_err(|source| store.broken(source))?;
        Ok(store)
    }

    /// Opens the store at `path` for reading, also while another process writes.
    ///
    /// # Errors
    /// If there is none, if it was made by another version, if the file is not a study's, or if it can't be read.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        if let Err(source) = std::fs::metadata(path) {
            return Err(StoreError::Io { path: path.to_owned(), source });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Self::connect(path, flags, None)?;
        match schema::identify(&store.connection, path)? {
            schema::Found::Study => Ok(store),
            schema::Found::Nothing => Err(StoreError::Foreign { path: path.to_owned() }),
        }
    }

    fn connect(path: &Path, flags: OpenFlags, lock: Option<lock::StudyLock>) -> Result<Self, StoreError> {
        let broken = |source| StoreError::Sqlite { path: path.to_owned(), source };
        let connection = Connection::open_with_flags(path, flags).map_err(broken)?;
        connection.busy_timeout(BUSY).map_err(broken)?;
        Ok(Self { connection, path: path.to_owned(), _lock: lock })
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores a fact of the study (`config`, `seed`, `version`, …).
    ///
    /// # Errors
    /// If there is another one with this key, or the store can't be written.
    pub fn put_fact<T: Serialize>(&mut self, key: &str, value: &T) -> Result<(), StoreError> {
        let value = self.json(value, || format!("fact `{key}`"))?;
        let sql = "INSERT INTO facts (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        let added = self.connection.execute(sql, params![key, value]).map_err(|source| self.broken(source))?;
        if added == 0 && self.fact_json(key)?.as_ref() != Some(&value) {
            return Err(self.finished(format!("fact `{key}`")));
        }
        Ok(())
    }

    /// Stores facts that belong together: all of them, or none.
    ///
    /// # Errors
    /// If one of the keys is there already, or the store can't be written.
    pub fn put_new_facts(&mut self, facts: &[(&str, serde_json::Value)]) -> Result<(), StoreError> {
        self.write(|transaction| {
            for (key, value) in facts {
                let sql = "INSERT INTO facts (key, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
                if transaction.execute(sql, params![key, value.to_string()])? == 0 {
                    return Ok(Some(format!("fact `{key}`")));
                }
            }
            Ok(None)
        })
    }

    /// The fact with this key, if there is one.
    ///
    /// # Errors
    /// If it is not a `T`, or the store can't be read.
    pub fn fact<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let parse = |text: String| self.parse(&text, || format!("fact `{key}`"));
        self.fact_json(key)?.map(parse).transpose()
    }

    fn fact_json(&self, key: &str) -> Result<Option<String>, StoreError> {
        let row = self.connection.query_row("SELECT value FROM facts WHERE key = ?1", [key], |row| row.get(0));
        row.optional().map_err(|source| self.broken(source))
    }

    /// Stores one architecture of the reference sample, with its indicators.
    ///
    /// # Errors
    /// If another architecture has its number, one of its indicators is there with another outcome or is not a finite
    /// number, or the store can't be written.
    pub fn put_reference(&mut self, record: &ReferenceRecord) -> Result<(), StoreError> {
        check_indicators(&record.arch_id, &record.indicators)?;
        self.write(|transaction| {
            let same = sql::insert_reference(transaction, record)?;
            if !same {
                return Ok(Some(format!("architecture {} of the reference sample", record.number)));
            }
            sql::insert_indicators(transaction, &record.arch_id, &record.indicators)
        })
    }

    /// The reference sample, by number.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn reference_sample(&self) -> Result<Vec<ReferenceRecord>, StoreError> {
        sql::reference_sample(&self.connection).map_err(|source| self.broken(source))
    }

    /// Stores a finished trial.
    ///
    /// # Errors
    /// If its sampler has another trial with this number, an objective is not a finite number, or the store can't be
    /// written.
    pub fn put_trial(&mut self, record: &TrialRecord) -> Result<(), StoreError> {
        let what = || format!("trial {} of sampler `{}`", record.number, record.sampler);
        if let TrialState::Complete { objectives } = &record.state {
            check_finite(objectives.iter().map(|(name, value)| (name, *value)), what)?;
        }
        self.write(|transaction| {
            let same = sql::insert_trial(transaction, record)?;
            Ok((!same).then(what))
        })
    }

    /// The trials of a sampler, by number.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn trials(&self, sampler: &str) -> Result<Vec<TrialRecord>, StoreError> {
        sql::trials(&self.connection, sampler).map_err(|source| self.broken(source))
    }

    /// Why a trial of this architecture failed, of whichever sampler, if one did.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn failure(&self, arch_id: &ArchId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT reason FROM trials WHERE arch_id = ?1 AND state = 'failed' LIMIT 1";
        let row = self.connection.query_row(sql, [arch_id.as_str()], |row| row.get(0));
        row.optional().map_err(|source| self.broken(source))
    }

    /// The samplers that have trials, by name.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn samplers(&self) -> Result<Vec<String>, StoreError> {
        sql::strings(&self.connection, "SELECT DISTINCT sampler FROM trials ORDER BY sampler")
            .map_err(|source| self.broken(source))
    }

    /// Stores what indicators said of an architecture, for every trial and sampler that comes to it.
    ///
    /// # Errors
    /// If one is there with another outcome or is not a finite number, or the store can't be written.
    pub fn put_indicators(
        &mut self,
        arch_id: &ArchId,
        indicators: &BTreeMap<String, IndicatorOutcome>,
    ) -> Result<(), StoreError> {
        check_indicators(arch_id, indicators)?;
        self.write(|transaction| sql::insert_indicators(transaction, arch_id, indicators))
    }

    /// What indicators said of an architecture, by the indicator's name; empty before they said anything.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn indicators(&self, arch_id: &ArchId) -> Result<BTreeMap<String, IndicatorOutcome>, StoreError> {
        sql::indicators(&self.connection, arch_id).map_err(|source| self.broken(source))
    }

    /// Stores measurements that were made together: all of them, or none.
    ///
    /// # Errors
    /// If there is another one of one of the architectures on its device, or the store can't be written.
    pub fn put_measurements(&mut self, records: &[MeasurementRecord]) -> Result<(), StoreError> {
        let what = |record: &MeasurementRecord| {
            format!("measurement of architecture {} on device `{}`", record.arch_id, record.device)
        };
        let json = |record: &MeasurementRecord| self.json(&record.measurement, || what(record));
        let texts: Vec<String> = records.iter().map(json).collect::<Result<_, _>>()?;
        self.write(|transaction| {
            for (record, json) in records.iter().zip(&texts) {
                if !sql::insert_measurement(transaction, record, json)? {
                    return Ok(Some(what(record)));
                }
            }
            Ok(None)
        })
    }

    /// Stores a latency that was not measured.
    ///
    /// # Errors
    /// If there is another one of this architecture on this device, or the store can't be written.
    pub fn put_estimate(&mut self, record: &EstimateRecord) -> Result<(), StoreError> {
        let what = || format!("estimate of architecture {} on device `{}`", record.arch_id, record.device);
        check_finite([(&"p50_ms".to_owned(), record.p50_ms)], what)?;
        self.write(|transaction| {
            let same = sql::insert_estimate(transaction, record)?;
            Ok((!same).then(what))
        })
    }

    /// The latency of an architecture on a device that was not measured, if there is one.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn estimate(&self, arch_id: &ArchId, device: &str) -> Result<Option<EstimateRecord>, StoreError> {
        sql::estimate(&self.connection, arch_id, device).map_err(|source| self.broken(source))
    }

    /// The measurement of an architecture on a device, if there is one.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn measurement(&self, arch_id: &ArchId, device: &str) -> Result<Option<MeasurementRecord>, StoreError> {
        let row = sql::measurement(&self.connection, arch_id, device).map_err(|source| self.broken(source))?;
        row.map(|row| self.read_measurement(device, row)).transpose()
    }

    /// The measurements on a device, by architecture.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn measurements(&self, device: &str) -> Result<Vec<MeasurementRecord>, StoreError> {
        let rows = sql::measurements(&self.connection, device).map_err(|source| self.broken(source))?;
        rows.into_iter().map(|row| self.read_measurement(device, row)).collect()
    }

    fn read_measurement(&self, device: &str, row: sql::MeasurementRow) -> Result<MeasurementRecord, StoreError> {
        let what = || format!("measurement of architecture {} on device `{device}`", row.arch_id);
        let measurement = self.parse(&row.json, what)?;
        Ok(MeasurementRecord {
            arch_id: row.arch_id,
            device: device.to_owned(),
            model_sha256: row.model_sha256,
            measurement,
        })
    }

    /// The devices that have measurements, by name.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn devices(&self) -> Result<Vec<String>, StoreError> {
        sql::strings(&self.connection, "SELECT DISTINCT device FROM measurements ORDER BY device")
            .map_err(|source| self.broken(source))
    }

    /// Writes the measurements on a device for a replay: a JSON line each, `{"arch_id": …, "measurement": …}`, by
    /// architecture, digit for digit as they are stored. Gives their number. `path` gets all of them or stays as it was.
    ///
    /// # Errors
    /// If the store can't be read or the file can't be written.
    pub fn export_measurements(&self, device: &str, path: &Path) -> Result<usize, StoreError> {
        let rows = sql::measurements(&self.connection, device).map_err(|source| self.broken(source))?;
        let mut text = String::new();
        for row in &rows {
            let id = serde_json::Value::from(row.arch_id.as_str());
            text.push_str(&format!("{{\"arch_id\":{id},\"measurement\":{}}}\n", row.json));
        }
        let written = files::write_whole(path, text.as_bytes());
        written.map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        Ok(rows.len())
    }

    /// Runs `work` in one transaction, which counts unless `work` names something finished that it would change.
    fn write(&mut self, work: impl FnOnce(&Transaction) -> rusqlite::Result<Option<String>>) -> Result<(), StoreError> {
        let attempt = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let finished = work(&transaction)?;
            match finished {
                None => transaction.commit()?,
                Some(_) => transaction.rollback()?,
            }
            Ok(finished)
        };
        match attempt() {
            Ok(None) => Ok(()),
            Ok(Some(what)) => Err(self.finished(what)),
            Err(source) => Err(self.broken(source)),
        }
    }

    fn json<T: Serialize>(&self, value: &T, what: impl Fn() -> String) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|source| self.not_json(what(), source))
    }

    fn parse<T: DeserializeOwned>(&self, text: &str, what: impl Fn() -> String) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|source| self.not_json(what(), source))
    }

    fn not_json(&self, what: String, source: serde_json::Error) -> StoreError {
        StoreError::Json { path: self.path.clone(), what, source }
    }

    fn finished(&self, what: String) -> StoreError {
        StoreError::Finished { path: self.path.clone(), what }
    }

    fn broken(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.clone(), source }
    }
}

fn check_indicators(id: &ArchId, indicators: &BTreeMap<String, IndicatorOutcome>) -> Result<(), StoreError> {
    let values = indicators.iter().filter_map(|(name, outcome)| match outcome {
        IndicatorOutcome::Value(score) => Some((name, score.value)),
        IndicatorOutcome::Failed(_) => None,
    });
    check_finite(values, || format!("architecture {id}"))
}

fn check_finite<'a>(
    values: impl IntoIterator<Item = (&'a String, f64)>,
    what: impl Fn() -> String,
) -> Result<(), StoreError> {
    match values.into_iter().find(|(_, value)| !value.is_finite()) {
        Some((name, value)) => Err(StoreError::NotFinite { what: what(), name: name.clone(), value }),
        None => Ok(()),
    }
}
