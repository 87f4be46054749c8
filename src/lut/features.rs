//! From an architecture or a model to its operators.

use super::counted::{self, counted_operators};
use super::fused::fused_operators;
use super::operator::Operator;
use super::{LutError, Method};
use crate::device::{Device, Job};
use crate::genotype::{ArchId, Genotype};
use crate::graph::Graph;
use crate::network::{Init, Weights};
use crate::onnx::{self, Batch, ExportOptions, Metadata, Precision};
use crate::space::{NetworkChanges, Scale, SearchSpace};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A space as a user names it, with the size of its full network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceRef {
    /// Name, or path of a YAML file.
    pub space: String,
    /// What is changed of the full network.
    pub changes: NetworkChanges,
}

impl SpaceRef {
    /// Opens it.
    ///
    /// # Errors
    /// If there is no such space, or its operators don't fit a network of that size.
    pub fn open(&self) -> Result<SearchSpace, LutError> {
        Ok(SearchSpace::open(&self.space)?.with_network(&self.changes)?)
    }
}

/// A living architecture of a space.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub arch: String,
    pub arch_id: ArchId,
    pub graph: Graph,
}

/// The architecture of `genotype`; none for a dead one.
pub(super) fn network(space: &SearchSpace, genotype: &Genotype) -> Result<Option<Network>, LutError> {
    let Some(arch_id) = space.id(genotype) else { return Ok(None) };
    let Ok(graph) = space.lower(genotype, Scale::Full)?.live() else { return Ok(None) };
    Ok(Some(Network { arch: space.arch(genotype), arch_id, graph }))
}

/// Makes models of graphs, and finds their operators by one method.
pub struct Extractor {
    method: Method,
    batch: usize,
    precision: Precision,
    folder: tempfile::TempDir,
    last: usize,
}

impl Extractor {
    /// An extractor of this method for runs of `batch` samples in this element type.
    ///
    /// # Errors
    /// If no folder for models can be made.
    pub fn new(method: Method, batch: usize, precision: Precision) -> Result<Self, LutError> {
        let folder = tempfile::Builder::new().prefix("tegu-lut").tempdir();
        let folder = folder.map_err(|source| LutError::File { path: std::env::temp_dir(), source })?;
        Ok(Self { method, batch, precision, folder, last: 0 })
    }

    /// What it does.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Writes `graph` as a model with random weights; it stays until the extractor is dropped.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn export(&mut self, graph: &Graph) -> Result<PathBuf, LutError> {
        self.last += 1;
        let file_name = format!("{}.onnx", self.last);
        let path = self.folder.path().join(&file_name);
        let weights = Weights::random(graph, Init::TorchDefault, 0, &candle_core::Device::Cpu)?;
        let (batch, precision) = (Batch::Fixed(self.batch), self.precision);
        let options = ExportOptions { batch, file_name, precision, ..ExportOptions::default() };
        onnx::export(graph, &weights, &Metadata::new(), options)?.save(&path)?;
        Ok(path)
    }

    /// The operators of `graph`.
    ///
    /// # Errors
    /// If the device can't show its optimised graph (only [`Method::Fused`] asks it for one).
    pub fn operators(&mut self, graph: &Graph, device: &mut dyn Device) -> Result<Vec<Operator>, LutError> {
        match self.method {
            Method::Fused => {
                let model = self.export(graph)?;
                let operators = self.operators_of_model(&Job::of_model(&model), device);
                remove(&model);
                operators
            }
            Method::Counted | Method::Micro => Ok(counted_operators(graph, self.batch)),
            Method::Imported => {
                Err(LutError::Unsuited("an imported table knows no graphs: name its entries".to_owned()))
            }
        }
    }

    /// The operators of any model.
    ///
    /// # Errors
    /// If it is not the runtime's optimised graph that the table is of, or the device can't show it.
    pub fn operators_of_model(&mut self, job: &Job, device: &mut dyn Device) -> Result<Vec<Operator>, LutError> {
        if self.method != Method::Fused {
            let reason = "a table of this method knows architectures of its space only, not models";
            return Err(LutError::Unsuited(reason.to_owned()));
        }
        let optimized = self.folder.path().join("optimized.onnx");
        device.optimize(job, &optimized)?;
        let operators = fused_operators(&optimized, &job.input_dims, self.batch);
        remove(&optimized);
        Ok(operators?)
    }

    pub(super) fn groups(&self, graph: &Graph) -> Vec<counted::Group> {
        counted::groups(graph, self.batch)
    }
}

/// Removes a temporary file; one that stays goes with its folder.
pub(super) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!("{}: {error}", path.display());
    }
}
