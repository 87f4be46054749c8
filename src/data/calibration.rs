//! Some samples of a data set as a model that knows such takes them.

use super::{DataError, DataSet, Normalisation, ReadOptions, SplitOptions};
use std::path::Path;

/// Samples with their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Channels, height and width.
    pub shape: [usize; 3],
    /// Normalised, one sample behind the other.
    pub values: Vec<f32>,
    /// The samples' classes.
    pub labels: Vec<usize>,
    /// Digest of the data set as it was resized.
    pub sha256: String,
}

impl Calibration {
    /// `count` samples of the training part of the data at `path`, in turns by class, resized to `[channels, height, width]` and normalised; to mean 0 and
    /// deviation 1 where it is not said how. Test samples and their copies are not among them.
    ///
    /// # Errors
    /// If the data is refused, or has other channels.
    pub fn read(
        path: &Path,
        [channels, height, width]: [usize; 3],
        count: usize,
        normalisation: Option<&Normalisation>,
    ) -> Result<Self, DataError> {
        let set = DataSet::open(path, &ReadOptions { size: Some([height, width]), ..ReadOptions::default() })?;
        let shape = set.shape();
        if shape[0] != channels {
            let reason = format!("samples have {} channels, expected the {channels} of the model's inputs", shape[0]);
            return Err(DataError::Option { field: "calibration", reason });
        }
        let train = set.split(&SplitOptions { validation: 0.0, test: 0.0, seed: 0 })?.train;
        let normalisation = normalisation.cloned().unwrap_or_else(|| Normalisation::fit(&train));
        let (indices, samples) = (train.in_turns(count, 0), train.samples());
        let mut values = vec![0.0; indices.len() * samples.elements()];
        for (&index, sample) in indices.iter().zip(values.chunks_exact_mut(samples.elements())) {
            samples.write(index as usize, sample);
            normalisation.apply(sample);
        }
        let labels = indices.iter().map(|&index| samples.labels()[index as usize] as usize).collect();
        Ok(Self { shape, values, labels, sha256: set.sha256().to_owned() })
    }

    /// Says whether a model that tells so many classes apart can be right.
    ///
    /// # Errors
    /// If a sample is of a class that it does not know.
    pub fn check_classes(&self, classes: usize) -> Result<(), String> {
        match self.labels.iter().find(|&&label| label >= classes) {
            Some(class) => Err(format!("a sample is of class {class}, the model tells {classes} apart")),
            None => Ok(()),
        }
    }
}
