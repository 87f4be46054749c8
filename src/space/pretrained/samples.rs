//! The data sets that a space around a model looks at.

use super::super::DataSection;
use crate::data::{Calibration, Normalisation, located};
use candle_core::{Device, Tensor};
use std::path::Path;

/// `count` samples of the data that a section names, looked for in `folder`, as inputs of a model.
///
/// # Errors
/// If it can't be read, or is not the data that the section says.
pub(super) fn read(
    section: &DataSection,
    folder: &Path,
    input: [usize; 3],
    count: usize,
    normalisation: Option<&Normalisation>,
) -> Result<Calibration, String> {
    let path = located(folder, &section.data);
    let samples = Calibration::read(&path, input, count, normalisation).map_err(|error| error.to_string())?;
    match section.sha256.as_ref().filter(|expected| **expected != samples.sha256) {
        Some(expected) => Err(format!("{}: its SHA-256 is {}, expected {expected}", path.display(), samples.sha256)),
        None => Ok(samples),
    }
}

/// The samples in batches of `size` `[batch, channels, height, width]`.
///
/// # Errors
/// If Candle fails.
pub(super) fn batches(samples: &Calibration, size: usize) -> Result<Vec<Tensor>, candle_core::Error> {
    let [channels, height, width] = samples.shape;
    let elements = channels * height * width;
    let dims = |values: &[f32]| (values.len() / elements, channels, height, width);
    let of = |values: &[f32]| Tensor::from_slice(values, dims(values), &Device::Cpu);
    samples.values.chunks(size * elements).map(of).collect()
}
