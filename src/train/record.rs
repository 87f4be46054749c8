//! What is kept of a training for people and reports: `training.json` in its folder.

use super::TrainError;
use super::checkpoint::{Epoch, write_whole};
use super::model::Evaluated;
use super::options::TrainOptions;
use crate::genotype::ArchId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Name of the record in a training's folder.
pub const RECORD: &str = "training.json";

/// A training, as far as it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// The search space.
    pub space: String,
    /// The architecture, as its space writes it.
    pub arch: String,
    /// Its id.
    pub arch_id: Option<ArchId>,
    /// The study that it was found by.
    pub study: Option<String>,
    /// The sampler whose trial it is, and the trial's number.
    pub trial: Option<(String, u64)>,
    /// How it is trained.
    pub options: TrainOptions,
    /// What it is trained on.
    pub data: DataFacts,
    /// Trained parameters of what is trained.
    pub params: u64,
    /// The epochs so far.
    pub curve: Vec<Epoch>,
    /// Number of the best epoch, once training is over.
    pub best_epoch: Option<usize>,
    /// How good it is, once training is over.
    pub evaluated: Option<Evaluated>,
    /// The exported model and its SHA-256.
    pub model: Option<(PathBuf, String)>,
}

/// A data set, in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFacts {
    /// Where it was read from.
    pub path: PathBuf,
    /// Digest of its contents.
    pub sha256: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Shape of a sample, `[channels, height, width]`.
    pub shape: [usize; 3],
    /// Samples that are trained on.
    pub train: usize,
    /// Samples that training is watched with.
    pub validation: usize,
    /// Samples that are looked at last.
    pub test: usize,
}

impl TrainingRecord {
    /// Writes it into the training's folder: the old one is there until the new one is whole.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn save(&self, folder: &Path) -> Result<(), TrainError> {
        let text = serde_json::to_string_pretty(self).expect("numbers and text are JSON");
        write_whole(&folder.join(RECORD), text.as_bytes())
    }

    /// Reads that of a training's folder.
    ///
    /// # Errors
    /// If it can't be read, or is no such record.
    pub fn read(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(RECORD);
        let text = std::fs::read_to_string(&path).map_err(|source| TrainError::File { path: path.clone(), source })?;
        serde_json::from_str(&text).map_err(|error| TrainError::Corrupt { path, reason: error.to_string() })
    }
}

/// The records of all trainings in the folders below `folder`, by the folders' names; none where there is no such folder.
///
/// # Errors
/// If one can't be read.
pub fn records(folder: &Path) -> Result<Vec<(String, TrainingRecord)>, TrainError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(source) => return Err(TrainError::File { path: folder.to_owned(), source }),
    };
    let mut all = vec![];
    for entry in entries {
        let path = entry.map_err(|source| TrainError::File { path: folder.to_owned(), source })?.path();
        if path.join(RECORD).is_file() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.push((name, TrainingRecord::read(&path)?));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}
