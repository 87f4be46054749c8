//! A space around a network that one has, and the weights that come with it.

use super::super::{NetworkChanges, SearchSpace, SpaceError, SpaceSection, Topology};
use super::Pretrained;
use crate::data::{Normalisation, is_generated, located};
use crate::foreign;
use crate::genotype::Genotype;
use crate::graph::Graph;
use crate::network::{Init, Weights, WeightsError};
use crate::prune::PruneError;
use candle_core::Device;
use std::path::Path;

impl SearchSpace {
    /// A space around a network that one has: what `read` gives of the model's file, its graph live, and what a section with `from_onnx` says about it. The
    /// files that it names are looked for beside `path`, which is where it is said to come from.
    ///
    /// # Errors
    /// If the model or a data set can't be read, or there is nothing to choose.
    pub fn around(
        section: &SpaceSection,
        path: &Path,
        read: impl FnOnce(&Path, Option<[usize; 3]>) -> Result<foreign::Pretrained, String>,
    ) -> Result<Self, SpaceError> {
        let invalid = |reason: String| SpaceError::Invalid { path: path.to_owned(), reason };
        let folder = path.parent().unwrap_or(Path::new(""));
        let Some(own) = &section.from_onnx else { return Err(invalid("from_onnx: expected a model".into())) };
        let of_plugins = section.options.keys().next().map(|_| "options");
        if let Some(field) = of_plugins.or((section.network != NetworkChanges::default()).then_some("network")) {
            return Err(invalid(format!("{field}: expected none beside `from_onnx`: the network is the model's")));
        }
        let model = folder.join(own);
        let invalid = |reason: String| invalid(format!("from_onnx: {reason}"));
        let network = read(&model, section.input).map_err(invalid)?;
        if let Some(expected) = section.sha256.as_ref().filter(|expected| **expected != network.sha256) {
            let (path, found) = (model.display(), &network.sha256);
            return Err(invalid(format!("{path}: its SHA-256 is {found}, expected {expected}")));
        }
        let pretrained = Pretrained::new(network, section, folder).map_err(invalid)?;
        let mut said = section.clone();
        if said.name.is_empty() {
            said.name = model.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        }
        said.sha256 = pretrained.sha256.first().cloned();
        for (of, sha256) in said.data_mut().zip(&pretrained.sha256[1..]) {
            of.sha256 = Some(sha256.clone());
        }
        let definition = serde_json::to_value(&said).map_err(|error| invalid(error.to_string()))?;
        // What a study keeps finds the files again, and no others.
        said.from_onnx = Some(std::path::absolute(&model).unwrap_or(model));
        for of in said.data_mut().filter(|of| !is_generated(&of.data)) {
            let data = located(folder, &of.data);
            of.data = std::path::absolute(&data).unwrap_or(data);
        }
        let text = serde_json::to_string(&said).map_err(|error| invalid(error.to_string()))?;
        let mut space = Self {
            name: said.name,
            description: said.description,
            networks: pretrained.networks().map_err(invalid)?,
            stem: vec![],
            head: vec![],
            topology: Topology::Pretrained(Box::new(pretrained)),
            constraints: said.constraints,
            precisions: None,
            choices: vec![],
            definition,
            text,
        };
        space.recount().map_err(invalid)?;
        space.check_operators(path)?;
        space.check_constraints().map_err(|at| space.refusal(at, path))?;
        Ok(space)
    }

    /// The space around an ONNX model that others have made, which a section names; see [`around`](Self::around).
    ///
    /// # Errors
    /// As there.
    pub fn from_onnx(section: &SpaceSection, path: &Path) -> Result<Self, SpaceError> {
        Self::around(section, path, |model, input| foreign::read(model, input).map_err(|error| error.to_string()))
    }

    /// The weights that the space brings for an architecture's full network, `graph`.
    ///
    /// # Errors
    /// If they can't be cut.
    pub fn brought(&self, genotype: &Genotype, graph: &Graph) -> Result<Option<Weights>, WeightsError> {
        let Some(of) = self.pretrained() else { return Ok(None) };
        match of.weights(genotype, graph) {
            Ok(own) => Ok(own),
            Err(PruneError::Weights(error)) => Err(error),
            // Where there is no network of it, the graph is another's.
            Err(_) => Ok(None),
        }
    }

    /// Weights of an architecture's `graph`: those that the space brings, where it is the full network's; drawn from `seed` elsewhere.
    ///
    /// # Errors
    /// If the device can't hold them.
    pub fn weights(
        &self,
        genotype: &Genotype,
        graph: &Graph,
        (init, seed): (Init, u64),
        device: &Device,
    ) -> Result<Weights, WeightsError> {
        match self.brought(genotype, graph)? {
            Some(own) => own.map(|_, tensor| tensor.to_device(device)),
            None => Weights::random(graph, init, seed, device),
        }
    }

    /// Whether its networks are parts of one model.
    pub fn is_pretrained(&self) -> bool {
        self.pretrained().is_some()
    }

    /// How the inputs of the model are normalised that its networks are parts of, where that is known.
    pub fn normalisation(&self) -> Option<&Normalisation> {
        self.pretrained()?.normalisation.as_ref()
    }

    /// The model that its networks are parts of: its live graph and weights.
    pub fn original(&self) -> Option<(&Graph, &Weights)> {
        self.pretrained().map(|of| (of.network.0.whole(), &of.network.1))
    }

    /// Heights of the inputs that are chosen from; none where there is no choice.
    pub fn resolutions(&self) -> &[usize] {
        self.pretrained().map_or(&[], |of| &of.resolution)
    }

    fn pretrained(&self) -> Option<&Pretrained> {
        match &self.topology {
            Topology::Pretrained(of) => Some(of),
            _ => None,
        }
    }
}
