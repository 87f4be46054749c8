//! The trainings that are over, on disk; and whether they are of the space, data and options that are asked for.

use super::{Ending, Seed, SpaceTraining, SpaceTrainingError};
use crate::difference::{Difference, difference};
use crate::journal::{Journal, JournalError};
use crate::space::Scale;
use crate::train::TrainOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// What every training depends on, but for its architecture and seed. The first line.
    Begin(Value),
    /// A training.
    Training { arch: String, seed: u64, ending: Ending },
}

/// The trainings that are over.
pub(super) struct Lines {
    journal: Journal<Line>,
    endings: HashMap<(String, u64), Ending>,
}

impl Lines {
    pub fn open(path: &Path, of: &SpaceTraining) -> Result<Self, SpaceTrainingError> {
        let (journal, written) = Journal::open(path)?;
        let mut lines = Self { journal, endings: HashMap::new() };
        let begin = begin(of);
        if written.is_empty() {
            lines.journal.write(&Line::Begin(begin))?;
            return Ok(lines);
        }
        for (at, line) in written.into_iter().enumerate() {
            match line {
                Line::Begin(found) if at == 0 => {
                    if let Some(Difference { field, first, second }) = difference(&found, &begin) {
                        let difference = format!("{field}: {first} there, {second} now");
                        return Err(SpaceTrainingError::Changed { path: path.to_owned(), difference });
                    }
                }
                Line::Training { arch, seed, ending } if at > 0 => drop(lines.endings.insert((arch, seed), ending)),
                _ => {
                    let reason = format!("line {}: expected `begin` in the first line, and there alone", at + 1);
                    return Err(JournalError::Invalid { path: path.to_owned(), reason }.into());
                }
            }
        }
        Ok(lines)
    }

    pub fn get(&self, arch: &str, seed: &Seed) -> Option<&Ending> {
        self.endings.get(&(arch.to_owned(), seed.options.seed))
    }

    pub fn put(&mut self, arch: &str, seed: &Seed, ending: Ending) -> Result<(), SpaceTrainingError> {
        let (arch, seed) = (arch.to_owned(), seed.options.seed);
        self.journal.write(&Line::Training { arch: arch.clone(), seed, ending: ending.clone() })?;
        self.endings.insert((arch, seed), ending);
        Ok(())
    }
}

fn begin(of: &SpaceTraining) -> Value {
    json!({
        "tegu": env!("CARGO_PKG_VERSION"),
        "space": of.space.definition(),
        "network": of.space.network(Scale::Full),
        "data": of.data.sha256(),
        "options": TrainOptions { seed: 0, ..of.options.clone() },
    })
}
