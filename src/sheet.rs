//! CSV files with a header, read by the names of their columns, so that an error names file, line and column.

use crate::yaml::closest;
use csv::StringRecord;
use std::path::{Path, PathBuf};

/// The names that a column of architectures may have.
pub(crate) const ARCH: [&str; 3] = ["arch", "arch_str", "architecture"];

/// A CSV file with a header.
pub(crate) struct Sheet {
    path: PathBuf,
    header: StringRecord,
    records: Vec<StringRecord>,
}

/// A row of a sheet.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    sheet: &'a Sheet,
    record: &'a StringRecord,
}

/// Why a CSV file was refused.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// It can't be read.
    #[error("{path}: {source}", path = path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{path}: no column `{column}`, expected one of {known}{hint}", path = path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        column: String,
        /// The file's columns.
        known: String,
        /// "; did you mean …", or nothing.
        hint: String,
    },
    /// A column that does not say enough.
    #[error("{path}: column `{column}` {reason}", path = path.display())]
    Unclear {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// A cell that is not what it should be.
    #[error("{path}:{line}: {column}: {reason}", path = path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// The column.
        column: String,
        /// What stands there, and what was expected.
        reason: String,
    },
}

impl Sheet {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, SheetError> {
        let read = || {
            let mut reader = csv::Reader::from_path(path)?;
            let header = reader.headers()?.clone();
            Ok(Self { path: path.to_owned(), header, records: reader.records().collect::<Result<_, _>>()? })
        };
        read().map_err(|source| SheetError::Csv { path: path.to_owned(), source })
    }

    /// Names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.iter()
    }

    /// Name of a column.
    pub fn name(&self, column: usize) -> &str {
        &self.header[column]
    }

    /// The column that has the first of these names that any has.
    pub fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.names().position(|known| known == *name))
    }

    /// [`Sheet::find`], or that there is no column of the first name.
    pub fn column(&self, names: &[&str]) -> Result<usize, SheetError> {
        self.find(names).ok_or_else(|| SheetError::Column {
            path: self.path.clone(),
            column: names[0].to_owned(),
            known: self.names().collect::<Vec<_>>().join(", "),
            hint: closest(names[0], self.names()).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default(),
        })
    }

    /// A column that does not say enough.
    pub fn unclear(&self, column: usize, reason: &str) -> SheetError {
        SheetError::Unclear { path: self.path.clone(), column: self.name(column).to_owned(), reason: reason.to_owned() }
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.records.iter().map(|record| Row { sheet: self, record })
    }
}

impl<'a> Row<'a> {
    /// What stands in a column, without spaces around it.
    pub fn text(self, column: usize) -> &'a str {
        self.record[column].trim()
    }

    /// The number in a column; none where it is empty.
    pub fn number(self, column: usize) -> Result<Option<f64>, SheetError> {
        let text = self.text(column);
        if text.is_empty() {
            return Ok(None);
        }
        let value = text.parse().ok().filter(|value: &f64| value.is_finite());
        value.map(Some).ok_or_else(|| self.wrong(column, format!("`{text}`, expected a number")))
    }

    /// What is wrong with a cell.
    pub fn wrong(self, column: usize, reason: String) -> SheetError {
        let (path, column) = (self.sheet.path.clone(), self.sheet.name(column).to_owned());
        SheetError::Cell { path, line: self.record.position().map_or(0, csv::Position::line), column, reason }
    }
}
