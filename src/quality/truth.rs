//! A table of architectures and how good they turned out to be: what somebody trained.

use crate::genotype::Genotype;
use crate::sheet::{ARCH, Sheet, SheetError};
use crate::space::SearchSpace;
use std::path::{Path, PathBuf};

/// Architectures of a space with a figure each, such as a test accuracy; more is better.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// The architectures, in the order of the file.
    pub genotypes: Vec<Genotype>,
    /// Their figures.
    pub values: Vec<f64>,
}

/// Why a table was refused.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// It is no table of architectures and figures.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// Too few architectures for a rank correlation.
    #[error("{path}: {found} architectures have a figure in column `{column}`, expected 3 or more", path = path.display())]
    Few {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// How many there are.
        found: usize,
    },
}

impl Truth {
    /// Reads the column `column` of a CSV file with a header; the architectures stand in a column `arch`, `arch_str`
    /// or `architecture`. Rows without a figure are left out.
    ///
    /// # Errors
    /// If the file can't be read, a column is missing, or a row is no architecture or no number.
    pub fn read(space: &SearchSpace, path: &Path, column: &str) -> Result<Self, TruthError> {
        let sheet = Sheet::read(path)?;
        let (arch, figure) = (sheet.column(&ARCH)?, sheet.column(&[column])?);
        let mut truth = Self { genotypes: vec![], values: vec![] };
        for row in sheet.rows() {
            let Some(value) = row.number(figure)? else { continue };
            let genotype = space.parse_arch(row.text(arch)).map_err(|error| row.wrong(arch, error.to_string()))?;
            truth.genotypes.push(genotype);
            truth.values.push(value);
        }
        match truth.values.len() {
            0..3 => {
                Err(TruthError::Few { path: path.to_owned(), column: column.to_owned(), found: truth.values.len() })
            }
            _ => Ok(truth),
        }
    }

    /// The first `count` architectures of a seeded order, or all where there are no more.
    pub fn sample(&self, count: usize, seed: u64) -> Self {
        use rand::{SeedableRng, seq::SliceRandom};
        let mut order: Vec<usize> = (0..self.values.len()).collect();
        order.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
        order.truncate(count);
        order.sort_unstable();
        Self {
            genotypes: order.iter().map(|&at| self.genotypes[at].clone()).collect(),
            values: order.iter().map(|&at| self.values[at]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_or_refused_with_its_line() {
        let space = SearchSpace::open("mobilenet-macro").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("truth.csv");
        let read = |text: &str, column: &str| {
            std::fs::write(&path, text).unwrap();
            Truth::read(&space, &path, column).map_err(|error| error.to_string())
        };
        let rows = "arch,acc,std\n00000001,1.5,\n00000002,2,\n00000012,,\n20110010,4e1,\n";
        let truth = read(rows, "acc").unwrap();
        assert_eq!(truth.values, [1.5, 2.0, 40.0]);
        assert_eq!(space.arch(&truth.genotypes[2]), "20110010");
        assert_eq!(truth.sample(2, 1).values.len(), 2);
        let refused = |text: &str, column: &str, expected: &str| {
            let message = read(text, column).unwrap_err();
            assert!(message.contains(expected), "{message}");
        };
        refused(rows, "acccuracy", "no column `acccuracy`, expected one of arch, acc, std");
        refused("name,acc\nx,1\n", "acc", "no column `arch`");
        refused("arch,acc\n00000001,high\n", "acc", "truth.csv:2: acc: `high`, expected a number");
        refused("arch,acc\n0000000x,1\n", "acc", "truth.csv:2: arch: `0000000x` is no architecture");
        refused("arch,acc\n00000001,1\n00000002,2\n", "acc", "2 architectures have a figure");
    }
}
