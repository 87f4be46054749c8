//! Statements and rows. An `insert_…` leaves what is there as it is, and says whether that is what was to be stored.

use super::records::{EstimateRecord, EstimateSource, IndicatorOutcome, MeasurementRecord, ReferenceRecord};
use super::records::{StageSeconds, TrialRecord, TrialState};
use crate::genotype::{ArchId, Genotype};
use crate::indicator::Score;
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Params, Result, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

pub fn insert_reference(transaction: &Transaction, record: &ReferenceRecord) -> Result<bool> {
    let (number, id) = (integer(record.number)?, record.arch_id.as_str());
    let sql = "INSERT INTO reference_sample (number, arch, arch_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    if transaction.execute(sql, params![number, record.arch, id])? == 1 {
        return Ok(true);
    }
    let sql = "SELECT count(*) FROM reference_sample WHERE number = ?1 AND arch = ?2 AND arch_id = ?3";
    transaction.query_row(sql, params![number, record.arch, id], |row| Ok(row.get::<_, i64>(0)? == 1))
}

pub fn reference_sample(connection: &Connection) -> Result<Vec<ReferenceRecord>> {
    let mut sample =
        rows(connection, "SELECT number, arch, arch_id FROM reference_sample ORDER BY number", [], |row| {
            let (number, arch, arch_id) = (unsigned(row, 0)?, row.get(1)?, id(row, 2)?);
            Ok(ReferenceRecord { number, arch, arch_id, indicators: BTreeMap::new() })
        })?;
    for record in &mut sample {
        record.indicators = indicators(connection, &record.arch_id)?;
    }
    Ok(sample)
}

/// Gives what could not be stored because it is there with another outcome.
pub fn insert_indicators(
    transaction: &Transaction,
    arch_id: &ArchId,
    outcomes: &BTreeMap<String, IndicatorOutcome>,
) -> Result<Option<String>> {
    let sql = "INSERT INTO indicators (arch_id, name, value, networks, failure) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT DO NOTHING";
    let stored = indicators(transaction, arch_id)?;
    for (name, outcome) in outcomes {
        let (value, networks, failure) = match outcome {
            IndicatorOutcome::Value(score) => (Some(score.value), Some(json(&score.networks)?), None),
            IndicatorOutcome::Failed(reason) => (None, None, Some(reason)),
        };
        let added = transaction.execute(sql, params![arch_id.as_str(), name, value, networks, failure])?;
        if added == 0 && stored.get(name) != Some(outcome) {
            return Ok(Some(format!("indicator `{name}` of architecture {arch_id}")));
        }
    }
    Ok(None)
}

pub fn indicators(connection: &Connection, arch_id: &ArchId) -> Result<BTreeMap<String, IndicatorOutcome>> {
    let sql = "SELECT name, value, networks, failure FROM indicators WHERE arch_id = ?1";
    let outcomes = rows(connection, sql, [arch_id.as_str()], |row| {
        let outcome = match row.get(1)? {
            Some(value) => IndicatorOutcome::Value(Score { value, networks: from_json(row, 2)? }),
            None => IndicatorOutcome::Failed(row.get(3)?),
        };
        Ok((row.get(0)?, outcome))
    })?;
    Ok(outcomes.into_iter().collect())
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

fn from_json<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}

const TRIAL: &str =
    "SELECT number, genotype, arch, arch_id, reason, params, macs, model_sha256, scoring_s, exporting_s,
    measuring_s, live_params, loading_s, waiting_s FROM trials WHERE sampler = ?1";

pub fn insert_trial(transaction: &Transaction, record: &TrialRecord) -> Result<bool> {
    let number = integer(record.number)?;
    let (state, reason) = match &record.state {
        TrialState::Complete { .. } => ("complete", None),
        TrialState::Failed { reason } => ("failed", Some(reason)),
    };
    let sql = "INSERT INTO trials (sampler, number, genotype, arch, arch_id, state, reason, params, macs, model_sha256,
        scoring_s, exporting_s, measuring_s, live_params, loading_s, waiting_s)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
        ON CONFLICT DO NOTHING";
    let added = transaction.execute(
        sql,
        params![
            record.sampler,
            number,
            json(&record.genotype)?,
            record.arch,
            record.arch_id.as_str(),
            state,
            reason,
            record.params.map(integer).transpose()?,
            record.macs.map(integer).transpose()?,
            record.model_sha256,
            record.seconds.scoring_s,
            record.seconds.exporting_s,
            record.seconds.measuring_s,
            record.live_params.map(integer).transpose()?,
            record.seconds.loading_s,
            record.seconds.waiting_s,
        ],
    )?;
    if added == 0 {
        let sql = format!("{TRIAL} AND number = ?2");
        let stored = rows(transaction, &sql, params![record.sampler, number], |row| trial(row, &record.sampler))?;
        let mut stored = stored.into_iter().next().ok_or(Error::QueryReturnedNoRows)?;
        read_objectives(transaction, &mut stored)?;
        return Ok(stored == *record);
    }
    if let TrialState::Complete { objectives } = &record.state {
        let sql = "INSERT INTO objectives (sampler, number, name, value) VALUES (?1, ?2, ?3, ?4)";
        for (name, value) in objectives {
            transaction.execute(sql, params![record.sampler, number, name, value])?;
        }
    }
    Ok(true)
}

pub fn trials(connection: &Connection, sampler: &str) -> Result<Vec<TrialRecord>> {
    let sql = format!("{TRIAL} ORDER BY number");
    let mut trials = rows(connection, &sql, [sampler], |row| trial(row, sampler))?;
    trials.iter_mut().try_for_each(|record| read_objectives(connection, record))?;
    Ok(trials)
}

/// A row of [`TRIAL`], its objectives still to come.
fn trial(row: &Row, sampler: &str) -> Result<TrialRecord> {
    let genotype: Genotype = from_json(row, 1)?;
    let state = match row.get(4)? {
        Some(reason) => TrialState::Failed { reason },
        None => TrialState::Complete { objectives: BTreeMap::new() },
    };
    Ok(TrialRecord {
        sampler: sampler.to_owned(),
        number: unsigned(row, 0)?,
        genotype,
        arch: row.get(2)?,
        arch_id: id(row, 3)?,
        state,
        params: optional_unsigned(row, 5)?,
        live_params: optional_unsigned(row, 11)?,
        macs: optional_unsigned(row, 6)?,
        model_sha256: row.get(7)?,
        seconds: StageSeconds {
            scoring_s: row.get(8)?,
            exporting_s: row.get(9)?,
            loading_s: row.get(12)?,
            measuring_s: row.get(10)?,
            waiting_s: row.get(13)?,
        },
    })
}

fn read_objectives(connection: &Connection, record: &mut TrialRecord) -> Result<()> {
    if let TrialState::Complete { objectives } = &mut record.state {
        let sql = "SELECT name, value FROM objectives WHERE sampler = ?1 AND number = ?2";
        let values = rows(connection, sql, params![record.sampler, integer(record.number)?], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        objectives.extend(values);
    }
    Ok(())
}

/// A measurement as it is stored.
pub struct MeasurementRow {
    pub arch_id: ArchId,
    pub model_sha256: String,
    pub json: String,
}

pub fn insert_measurement(transaction: &Transaction, record: &MeasurementRecord, json: &str) -> Result<bool> {
    let sql = "INSERT INTO measurements (arch_id, device, model_sha256, measurement) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT DO NOTHING";
    let id = record.arch_id.as_str();
    if transaction.execute(sql, params![id, record.device, record.model_sha256, json])? == 1 {
        return Ok(true);
    }
    let stored = measurement(transaction, &record.arch_id, &record.device)?.ok_or(Error::QueryReturnedNoRows)?;
    Ok(stored.model_sha256 == record.model_sha256 && stored.json == json)
}

pub fn measurement(connection: &Connection, arch_id: &ArchId, device: &str) -> Result<Option<MeasurementRow>> {
    let sql = "SELECT arch_id, model_sha256, measurement FROM measurements WHERE arch_id = ?1 AND device = ?2";
    connection.query_row(sql, [arch_id.as_str(), device], measurement_row).optional()
}

pub fn measurements(connection: &Connection, device: &str) -> Result<Vec<MeasurementRow>> {
    let sql = "SELECT arch_id, model_sha256, measurement FROM measurements WHERE device = ?1 ORDER BY arch_id";
    rows(connection, sql, [device], measurement_row)
}

fn measurement_row(row: &Row) -> Result<MeasurementRow> {
    Ok(MeasurementRow { arch_id: id(row, 0)?, model_sha256: row.get(1)?, json: row.get(2)? })
}

pub fn insert_estimate(transaction: &Transaction, record: &EstimateRecord) -> Result<bool> {
    let sql = "INSERT INTO estimates (arch_id, device, source, p50_ms, low_ms, high_ms)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let source = match record.source {
        EstimateSource::Predicted => "predicted",
        EstimateSource::Table => "table",
    };
    let (id, [low_ms, high_ms]) = (record.arch_id.as_str(), record.interval_ms);
    if transaction.execute(sql, params![id, record.device, source, record.p50_ms, low_ms, high_ms])? == 1 {
        return Ok(true);
    }
    Ok(estimate(transaction, &record.arch_id, &record.device)?.as_ref() == Some(record))
}

pub fn estimate(connection: &Connection, arch_id: &ArchId, device: &str) -> Result<Option<EstimateRecord>> {
    let sql = "SELECT source, p50_ms, low_ms, high_ms FROM estimates WHERE arch_id = ?1 AND device = ?2";
    let read = |row: &Row| {
        let source: String = row.get(0)?;
        Ok(EstimateRecord {
            arch_id: arch_id.clone(),
            device: device.to_owned(),
            source: if source == "table" { EstimateSource::Table } else { EstimateSource::Predicted },
            p50_ms: row.get(1)?,
            interval_ms: [row.get(2)?, row.get(3)?],
        })
    };
    connection.query_row(sql, [arch_id.as_str(), device], read).optional()
}

pub fn strings(connection: &Connection, sql: &str) -> Result<Vec<String>> {
    rows(connection, sql, [], |row| row.get(0))
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map(params, read)?.collect()
}

fn id(row: &Row, at: usize) -> Result<ArchId> {
    Ok(ArchId::new(row.get::<_, String>(at)?))
}

/// SQLite's integers are signed.
fn integer(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

fn unsigned(row: &Row, at: usize) -> Result<u64> {
    let value: i64 = row.get(at)?;
    u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(at, value))
}

fn optional_unsigned(row: &Row, at: usize) -> Result<Option<u64>> {
    let value: Option<i64> = row.get(at)?;
    value.map(|value| u64::try_from(value).map_err(|_| Error::IntegralValueOutOfRange(at, value))).transpose()
}
