//! JSON lines of what is done so far, each written before the next thing is begun: what was killed goes on where it was.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Write;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// A file of lines, each a `Record` as JSON.
#[derive(Debug)]
pub struct Journal<Record> {
    path: PathBuf,
    file: File,
    records: PhantomData<Record>,
}

/// Why lines can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that is not what it should be.
    #[error("{path}: {reason}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, what was found, and what was expected.
        reason: String,
    },
}

impl<Record: Serialize + DeserializeOwned> Journal<Record> {
    /// Opens the file at `path`, or begins it; gives the records that are there. A last line that was cut off while it was
    /// written is removed.
    ///
    /// # Errors
    /// If the file can't be read or written, or a line is no record.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), JournalError> {
        let broken = |source| JournalError::File { path: path.to_owned(), source };
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(broken(error)),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let record = |(at, line): (usize, &str)| {
            let reason = |error: serde_json::Error| format!("line {}: {error}", at + 1);
            serde_json::from_str(line)
                .map_err(|error| JournalError::Invalid { path: path.to_owned(), reason: reason(error) })
        };
        let records = text[..whole].lines().enumerate().map(record).collect::<Result<_, _>>()?;
        let file = File::options().create(true).append(true).open(path).map_err(broken)?;
        file.set_len(whole as u64).map_err(broken)?;
        Ok((Self { path: path.to_owned(), file, records: PhantomData }, records))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&mut self, record: &Record) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(record).expect("records are plain data");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| JournalError::File { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let (mut journal, records) = Journal::<(u32, String)>::open(&path).unwrap();
        assert!(records.is_empty());
        let records = [(1, "ä\n".to_owned()), (2, String::new())];
        records.iter().for_each(|record| journal.write(record).unwrap());
        // Killed within a line, even within a character.
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes.extend_from_slice(b"[3,\"\xc3");
        std::fs::write(&path, bytes).unwrap();
        let (mut journal, found) = Journal::<(u32, String)>::open(&path).unwrap();
        assert_eq!(found, records);
        assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, whole);
        journal.write(&(3, "c".to_owned())).unwrap();
        assert_eq!(Journal::<(u32, String)>::open(&path).unwrap().1.len(), 3);
        let error = Journal::<u32>::open(&path).unwrap_err().to_string();
        assert!(error.contains("a.journal: line 1: invalid type"), "{error}");
    }
}
