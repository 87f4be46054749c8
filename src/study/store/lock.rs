//! One writer a study: a lock file beside the store, locked by the operating system, which frees it however the process
//! ends. The file names the process for the message to a second one; the file itself stays, its presence says nothing.

use super::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Held while the study is written to.
#[derive(Debug)]
pub struct StudyLock {
    file: File,
}

impl StudyLock {
    /// Takes the lock of the store at `study`.
    ///
    /// # Errors
    /// If a process has it, or the lock file can't be written.
    pub fn take(study: &Path) -> Result<Self, StoreError> {
        let path = lock_path(study);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: study.to_owned(), process: owner(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for StudyLock {
    /// Closing alone would not do: a process that this one is just starting has a copy of the file until it runs its
    /// program, and the lock would last until then.
    fn drop(&mut self) {
        // What could fail here is freed by the file's end.
        let _ = self.file.unlock();
    }
}

fn lock_path(study: &Path) -> PathBuf {
    let mut name = study.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// The process that the lock file names. Not every system lets a locked file be read.
fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_being_started_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path().join("study.sqlite");
        let lock = StudyLock::take(&study).unwrap();
        // What a fork has until its exec.
        let _copy = lock.file.try_clone().unwrap();
        assert!(matches!(StudyLock::take(&study), Err(StoreError::InUse { .. })));
        drop(lock);
        StudyLock::take(&study).unwrap();
    }
}
