//! Batches of what is trained on, validated with, and tested with.

use super::TrainError;
use super::options::TrainOptions;
use crate::data::{DataSet, Loader, LoaderOptions, Normalisation, Part};
use candle_core::Device;

/// Batches of the parts of a data set.
#[derive(Clone, Debug)]
pub struct Loaders {
    /// What is trained on.
    pub train: Loader,
    /// What training is watched with.
    pub validation: Option<Loader>,
    /// What is looked at last.
    pub test: Option<Loader>,
    /// Digest of the data set.
    pub sha256: String,
}

impl Loaders {
    /// Splits the data as the options say, and fits the normalisation on what is trained on.
    ///
    /// # Errors
    /// If an option does not fit the data.
    pub fn new(data: &DataSet, options: &TrainOptions, device: &Device) -> Result<Self, TrainError> {
        Self::normalised(data, options, None, device)
    }

    /// Those of networks whose weights know inputs of this normalisation.
    ///
    /// # Errors
    /// If an option or the normalisation does not fit the data.
    pub fn normalised(
        data: &DataSet,
        options: &TrainOptions,
        normalisation: Option<&Normalisation>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let split = data.split(&options.split)?;
        let normalisation = normalisation.cloned().unwrap_or_else(|| Normalisation::fit(&split.train));
        let loader = |part: Part, batch, augmentation| {
            let device = device.clone();
            let options = LoaderOptions { batch, augmentation, seed: options.seed, workers: 0, device };
            Loader::new(part, normalisation.clone(), options)
        };
        let looked_at = |part| loader(part, options.batch, Default::default());
        Ok(Self {
            train: loader(split.train, options.batch, options.augmentation)?,
            validation: split.validation.filter(|part| !part.is_empty()).map(looked_at).transpose()?,
            test: split.test.filter(|part| !part.is_empty()).map(looked_at).transpose()?,
            sha256: data.sha256().to_owned(),
        })
    }
}
