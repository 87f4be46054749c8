//! Latencies that somebody else measured: a CSV with a column of architectures and one of latencies.
//!
//! Such a table answers for the architectures that it lists, and for nothing else: it runs no model.

use super::{DeviceError, HardwareProfile, Location};
use crate::latency::Unit;
use crate::sheet::{ARCH, Row, Sheet, SheetError};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The names that a column of latencies may have.
const LATENCY: [&str; 4] = ["latency_ms", "latency", "latency_us", "latency_s"];

/// A row of a CSV: an architecture as it is written there, and its latency in ms; none where there is none above 0.
pub type LatencyRow = (String, Option<f64>);

/// Reads the CSV at `path`: the latencies in `column` (`latency_ms`, `latency`, … where absent), which are in `unit` (that of
/// the column's name where absent).
///
/// # Errors
/// If there is no such column, no unit, or a line without a number.
pub fn read_latencies(path: &Path, column: Option<&str>, unit: Option<Unit>) -> Result<Vec<LatencyRow>, SheetError> {
    let sheet = Sheet::read(path)?;
    let arch = sheet.column(&ARCH)?;
    let latency = column.map_or_else(|| sheet.column(&LATENCY), |column| sheet.column(&[column]))?;
    let unit = unit.or_else(|| Unit::of_column(sheet.name(latency)));
    let unit = unit.ok_or_else(|| sheet.unclear(latency, "does not say its unit: give it (`unit`: ms, us or s)"))?;
    let row = |row: Row| {
        let above_0 = row.number(latency)?.filter(|value| *value > 0.0);
        Ok((row.text(arch).to_owned(), above_0.map(|value| value * unit.in_us() / 1e3)))
    };
    sheet.rows().map(row).collect()
}

/// A table in the place of a device.
#[derive(Clone, Debug)]
pub struct LatencyCsv {
    path: PathBuf,
    p50_ms: HashMap<String, Option<f64>>,
}

impl LatencyCsv {
    /// Reads the table that the profile names; none if the profile is of a device that runs models.
    ///
    /// # Errors
    /// [`DeviceError::Table`] if it can't be read.
    pub fn of(profile: &HardwareProfile) -> Result<Option<Self>, DeviceError> {
        let Location::Table { file, column, unit } = &profile.location else { return Ok(None) };
        let rows = read_latencies(file, column.as_deref(), *unit)?;
        Ok(Some(Self { path: file.clone(), p50_ms: rows.into_iter().collect() }))
    }

    /// The latency of an architecture in ms, as the table writes it.
    ///
    /// # Errors
    /// [`DeviceError::NoRecord`] if the table has none.
    pub fn p50_ms(&self, arch: &str) -> Result<f64, DeviceError> {
        let found = self.p50_ms.get(arch).copied().flatten();
        found.ok_or_else(|| DeviceError::NoRecord { arch: arch.to_owned(), study: self.path.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(csv: &str, more: &str) -> Result<LatencyCsv, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t.csv"), csv).unwrap();
        let text = format!("name: a\ndescription: b\nlocation: {{table: {{file: t.csv{more}}}}}");
        let profile = HardwareProfile::parse(&text, &folder.path().join("a.yaml")).unwrap();
        let shorter = |error: DeviceError| error.to_string().replace(&format!("{}/", folder.path().display()), "");
        Ok(LatencyCsv::of(&profile).map_err(shorter)?.expect("it is a table"))
    }

    #[test]
    fn a_table_answers_for_what_it_lists() {
        let check = |csv: &str, more: &str, expected: f64| {
            let found = open(csv, more).unwrap().p50_ms("|a|").unwrap();
            assert!((found - expected).abs() < 1e-12, "{csv} {more}: {found}");
        };
        check("arch,latency_ms\n|a|,1.5\n|b|,2\n", "", 1.5);
        check("arch_str,latency_us\n|a|,1500\n", "", 1.5);
        check("arch,latency\n|a|,0.0015\n", ", unit: s", 1.5);
        check("arch,pi4,latency_ms\n|a|,1.5,9\n", ", column: pi4, unit: ms", 1.5);
        let table = open("arch,latency_ms\n|a|,\n|b|,0\n", "").unwrap();
        for arch in ["|a|", "|b|", "|c|"] {
            let error = table.p50_ms(arch).unwrap_err().to_string();
            assert!(error.starts_with(&format!("no measurement of architecture {arch} is recorded in ")), "{error}");
        }
    }

    #[test]
    fn what_is_no_table_is_named() {
        let check = |csv: &str, more: &str, expected: &str| assert_eq!(open(csv, more).unwrap_err(), expected);
        check(
            "arch,latency\n|a|,1\n",
            "",
            "t.csv: column `latency` does not say its unit: give it (`unit`: ms, us or s)",
        );
        check("arch,latency_ms\n|a|,x\n", "", "t.csv:2: latency_ms: `x`, expected a number");
        check(
            "arch,latncy_ms\n|a|,1\n",
            "",
            "t.csv: no column `latency_ms`, expected one of arch, latncy_ms; did you mean `latncy_ms`?",
        );
    }
}
