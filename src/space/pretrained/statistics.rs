//! Batch normalisations that come back, and the statistics of those that are left.

use super::super::DataSection;
use super::samples;
use crate::data::Normalisation;
use crate::graph::{Graph, Shape};
use crate::network::{Weights, WeightsError, unfold_batch_norms, with_statistics_of};
use candle_core::Tensor;
use std::collections::HashMap;
use std::path::Path;

/// Samples that statistics are taken of.
const SAMPLES: usize = 128;

/// The samples as one batch, for each input that a network may have.
#[derive(Clone, Debug)]
pub(super) struct Statistics(HashMap<Shape, Tensor>);

impl Statistics {
    /// Reads what a section names, for the model's own input and for square ones of other heights; with the digest of the former.
    ///
    /// # Errors
    /// If it can't be read, or is not the data that the section says.
    pub(super) fn read(
        section: &DataSection,
        folder: &Path,
        own: [usize; 3],
        resolution: &[usize],
        normalisation: Option<&Normalisation>,
    ) -> Result<(Self, String), String> {
        let read = |section: &DataSection, input: [usize; 3]| {
            let read = samples::read(section, folder, input, SAMPLES, normalisation)?;
            let batch = samples::batches(&read, SAMPLES).map_err(|error| error.to_string())?.swap_remove(0);
            Ok::<_, String>((batch, read.sha256))
        };
        let (batch, sha256) = read(section, own)?;
        let shape = |[channels, height, width]: [usize; 3]| Shape::map(channels, height, width);
        let mut all = HashMap::from([(shape(own), batch)]);
        // The digest is of the samples as they were resized.
        let same = DataSection { sha256: None, ..section.clone() };
        for input in resolution.iter().map(|&size| [own[0], size, size]).filter(|&input| input != own) {
            all.insert(shape(input), read(&same, input)?.0);
        }
        Ok((Self(all), sha256))
    }

    /// The model with the normalisations that were folded away.
    pub(super) fn unfold(&self, graph: &Graph, weights: &Weights) -> Result<(Graph, Weights), WeightsError> {
        unfold_batch_norms(graph, weights, &self.0[&graph.input_shape()])
    }

    /// `weights` with the statistics that they have in a network; as they are where its input is none that was asked for, but a probe's.
    pub(super) fn measure(&self, graph: &Graph, weights: Weights) -> Result<Weights, WeightsError> {
        match self.0.get(&graph.input_shape()) {
            Some(batch) => with_statistics_of(graph, &weights, batch),
            None => Ok(weights),
        }
    }
}
