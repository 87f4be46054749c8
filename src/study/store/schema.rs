//! The tables, and whose file it is: `application_id` says that a file is a study's, `user_version` its schema.

use super::StoreError;
use rusqlite::{Connection, ErrorCode};
use std::path::Path;

/// The schema that this version writes.
pub const VERSION: i64 = 2;
/// "Tegu" in ASCII, in the header of every store.
const APPLICATION: i64 = 0x5465_6775;

/// Numbers that a study computes with are REAL: JSON text may lose their last bit.
const TABLES: &str = "
CREATE TABLE facts (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL  -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE reference_sample (
    number  INTEGER NOT NULL PRIMARY KEY,
    arch    TEXT NOT NULL,
    arch_id TEXT NOT NULL
) STRICT;

CREATE TABLE trials (
    sampler      TEXT NOT NULL,
    number       INTEGER NOT NULL,
    genotype     TEXT NOT NULL,  -- JSON list
    arch         TEXT NOT NULL,
    arch_id      TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('complete', 'failed')),
    reason       TEXT CHECK ((reason IS NULL) = (state = 'complete')),
    params       INTEGER,
    live_params  INTEGER,
    macs         INTEGER,
    model_sha256 TEXT,
    scoring_s    REAL NOT NULL,
    exporting_s  REAL NOT NULL,
    loading_s    REAL NOT NULL,
    measuring_s  REAL NOT NULL,
    waiting_s    REAL NOT NULL,
    PRIMARY KEY (sampler, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE objectives (
    sampler TEXT NOT NULL,
    number  INTEGER NOT NULL,
    name    TEXT NOT NULL,
    value   REAL NOT NULL,
    PRIMARY KEY (sampler, number, name),
    FOREIGN KEY (sampler, number) REFERENCES trials (sampler, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE indicators (
    arch_id TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   REAL,
    networks TEXT,  -- JSON list of each network's value
    failure TEXT CHECK ((failure IS NULL) <> (value IS NULL)),
    PRIMARY KEY (arch_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE measurements (
    arch_id      TEXT NOT NULL,
    device       TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    measurement  TEXT NOT NULL,  -- JSON
    PRIMARY KEY (arch_id, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE estimates (
    arch_id TEXT NOT NULL,
    device  TEXT NOT NULL,
    source  TEXT NOT NULL CHECK (source IN ('predicted', 'table')),
    p50_ms  REAL NOT NULL,
    low_ms  REAL NOT NULL,
    high_ms REAL NOT NULL,
    PRIMARY KEY (arch_id, device)
) STRICT, WITHOUT ROWID;
";

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A database without content.
    Nothing,
    /// A study that this version reads.
    Study,
}

/// Says what the file is, without changing it.
///
/// # Errors
/// If it is no database, somebody else's, or another version's, or can't be read.
pub fn identify(connection: &Connection, path: &Path) -> Result<Found, StoreError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let facts = || {
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok((number("PRAGMA application_id")?, number("PRAGMA user_version")?, tables))
    };
    let foreign = || StoreError::Foreign { path: path.to_owned() };
    match facts() {
        Ok((0, 0, 0)) => Ok(Found::Nothing),
        Ok((APPLICATION, VERSION, _)) => Ok(Found::Study),
        Ok((APPLICATION, found, _)) => {
            Err(StoreError::OtherVersion { path: path.to_owned(), found, supported: VERSION })
        }
        Ok(_) => Err(foreign()),
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::NotADatabase => Err(foreign()),
        Err(source) => Err(StoreError::Sqlite { path: path.to_owned(), source }),
    }
}

/// Makes the tables where there is nothing, and sets the connection up for writing.
pub fn prepare(connection: &mut Connection, found: Found) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    if found == Found::Nothing {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}
