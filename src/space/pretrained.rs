//! A space around a network with weights: how wide each group of its channels is, which blocks it does without, how large its inputs are.
//!
//! ```text
//! from_onnx: {model: m.onnx, widths: [0.25, 0.5, 0.75, 1], blocks: true, resolution: [160, 192, 224]}
//! ```
//!
//! An architecture is written as its choices, joined by commas: widths of the groups in the order of [`Groups`](crate::prune::Groups), `keep` or
//! `remove` for each block, the inputs' height. Its id is of these and of the file, since equal graphs may have other weights.

use super::{Constraint, Decision, NetworkSize, Networks, SearchSpace, SpaceError, Topology, listed};
use crate::data::Normalisation;
use crate::foreign;
use crate::genotype::{ArchId, Genotype, hex};
use crate::graph::{Graph, NodeId, Shape};
use crate::network::{Init, Weights, WeightsError};
use crate::prune::{Block, Choice, Group, Importance, Prunable, PruneError, Width, at_input};
use crate::yaml;
use candle_core::Device;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Choices of a block, of which the first is that of a gene that does not count.
const BLOCK: [&str; 2] = ["keep", "remove"];

/// Channels of each 1024 that groups have in the full network, the probe and the thin one; at least one.
const PARTS: [usize; 3] = [1024, 128, 1];

/// Heights and widths of the probe's and of the thin network's inputs, where weights belong to no place of a map.
const SIZES: [usize; 2] = [32, 3];

/// What may be chosen around an ONNX model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FromOnnx {
    /// The file; its path counts from the space's own.
    pub(super) model: PathBuf,
    /// Parts of a group's channels, each more than 0 and at most 1.
    #[serde(default)]
    pub(super) widths: Vec<f64>,
    /// Whether blocks may be removed.
    #[serde(default)]
    pub(super) blocks: bool,
    /// Heights of square inputs.
    #[serde(default)]
    pub(super) resolution: Vec<usize>,
    /// `[channels, height, width]` of the model's input, where the file leaves it open.
    pub(super) input: Option<[usize; 3]>,
    /// How its inputs are normalised, where the file does not say so.
    pub(super) normalisation: Option<Normalisation>,
    /// SHA-256 that the file is to have.
    pub(super) sha256: Option<String>,
}

/// Such a space as written in YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpaceFile {
    name: String,
    description: String,
    from_onnx: FromOnnx,
    #[serde(default)]
    constraints: Vec<Constraint>,
}

/// A network with what is chosen about it.
#[derive(Clone, Debug)]
pub(super) struct Pretrained {
    network: Arc<(Prunable, Weights)>,
    sha256: String,
    normalisation: Option<Normalisation>,
    widths: Vec<f64>,
    blocks: bool,
    resolution: Vec<usize>,
}

impl Pretrained {
    /// A space of a live graph with its weights.
    pub(super) fn new(model: foreign::Pretrained, from: &FromOnnx, by: Importance<'_>) -> Result<Self, String> {
        let foreign::Pretrained { graph, weights, sha256, normalisation } = model;
        let FromOnnx { widths, blocks, resolution, .. } = from.clone();
        let twice = (1..widths.len()).any(|at| widths[..at].contains(&widths[at]));
        if widths.len() > 256 || twice || widths.iter().any(|part| !(*part > 0.0 && *part <= 1.0)) {
            return Err(format!("widths: {widths:?}, expected different numbers above 0 and up to 1, 256 at most"));
        }
        let twice = (1..resolution.len()).any(|at| resolution[..at].contains(&resolution[at]));
        if resolution.len() > 256 || twice {
            return Err(format!("resolution: {resolution:?}, expected different numbers, 256 at most"));
        }
        let channels = graph.input_shape().channels();
        let normalisation = from.normalisation.clone().or(normalisation);
        if let Some(normalisation) = &normalisation {
            normalisation.check(channels).map_err(|reason| format!("normalisation: {reason}"))?;
        }
        for &size in &resolution {
            at_input(&graph, [channels, size, size]).map_err(|error| format!("resolution: {error}"))?;
        }
        let prunable = Prunable::new(graph, &weights, by).map_err(|error| error.to_string())?;
        let made = Self { network: Arc::new((prunable, weights)), sha256, normalisation, widths, blocks, resolution };
        match made.decisions().is_empty() {
            true => Err("nothing to choose, expected `widths`, `blocks` or `resolution`".into()),
            false => Ok(made),
        }
    }

    /// The sizes of the full network, the probe and the thin one.
    pub(super) fn networks(&self) -> Result<Networks, String> {
        let graph = self.prunable().whole();
        let Shape::Map { channels, height, width } = graph.input_shape() else {
            return Err("its input is no map".into());
        };
        let smallest = |wanted: usize| {
            let sides = SIZES.into_iter().filter(|&side| side >= wanted && side < height.min(width)).rev();
            let mut inputs = sides.map(|side| [channels, side, side]);
            inputs.find(|&input| at_input(graph, input).is_ok()).unwrap_or([channels, height, width])
        };
        let size = |input, width| NetworkSize {
            input,
            classes: graph.output_shape().channels(),
            width,
            depth: None,
            stages: None,
            stem: true,
        };
        Ok(Networks {
            full: size([channels, height, width], PARTS[0]),
            probe: size(smallest(SIZES[0]), PARTS[1]),
            thin: size(smallest(SIZES[1]), PARTS[2]),
        })
    }

    fn prunable(&self) -> &Prunable {
        &self.network.0
    }

    /// The groups whose widths are chosen.
    fn groups(&self) -> &[Group] {
        if self.widths.is_empty() { &[] } else { self.prunable().groups().all() }
    }

    /// The blocks that may go.
    fn blocks(&self) -> &[Block] {
        if self.blocks { self.prunable().blocks() } else { &[] }
    }

    pub(super) fn decisions(&self) -> Vec<Decision> {
        let decision = |name: &str, choices: Vec<String>| Decision { name: name.to_owned(), choices };
        let widths: Vec<String> = self.widths.iter().map(f64::to_string).collect();
        let groups = self.groups().iter().map(|group| decision(&group.name, widths.clone()));
        let blocks = self.blocks().iter().map(|block| decision(&block.name, BLOCK.map(str::to_owned).to_vec()));
        let sizes: Vec<String> = self.resolution.iter().map(usize::to_string).collect();
        let resolution = (!sizes.is_empty()).then(|| decision("resolution", sizes));
        groups.chain(blocks).chain(resolution).collect()
    }

    pub(super) fn choices(&self) -> Vec<usize> {
        self.decisions().iter().map(|decision| decision.choices.len()).collect()
    }

    pub(super) fn arch(&self, genotype: &Genotype) -> String {
        listed::arch(&self.decisions(), genotype)
    }

    pub(super) fn parse(&self, arch: &str) -> Result<Genotype, String> {
        listed::parse(&self.decisions(), arch)
    }

    /// Sets genes of what stands inside of removed blocks to 0: groups all of whose layers are there, and blocks.
    pub(super) fn canonical(&self, genes: &mut [u8]) {
        let (groups, blocks) = (self.groups(), self.blocks());
        let is_removed = |genes: &[u8], at: usize| genes[groups.len() + at] == 1;
        // An outer block's sum stands behind an inner one's.
        let mut gone: BTreeSet<NodeId> = BTreeSet::new();
        for (at, block) in blocks.iter().enumerate().rev() {
            if gone.contains(&block.sum) {
                genes[groups.len() + at] = 0;
            } else if is_removed(genes, at) {
                gone.extend(&block.body);
            }
        }
        for (at, group) in groups.iter().enumerate() {
            if group.producers.iter().all(|layer| gone.contains(layer)) {
                genes[at] = 0;
            }
        }
    }

    /// Number of canonical genotypes, where no group's layers are in several blocks and nowhere else: a block is gone, or it has what is inside.
    pub(super) fn size(&self) -> f64 {
        let blocks = self.blocks();
        // The innermost block that has all of these; behind the blocks, what none has.
        let home = |nodes: &[NodeId]| {
            let has = |block: &&Block| nodes.iter().all(|node| block.body.contains(node));
            let innermost = blocks.iter().filter(has).min_by_key(|block| block.body.len());
            innermost.and_then(|found| blocks.iter().position(|block| block == found)).unwrap_or(blocks.len())
        };
        let mut sizes = vec![1.0; blocks.len() + 1];
        for group in self.groups() {
            sizes[home(&group.producers)] *= self.widths.len() as f64;
        }
        // Inner blocks' sums stand before outer ones'.
        for (at, block) in blocks.iter().enumerate() {
            let with = sizes[at] + 1.0;
            sizes[home(&[block.sum])] *= with;
        }
        sizes[blocks.len()] * self.resolution.len().max(1) as f64
    }

    /// What a genotype leaves, its groups `part` 1024ths as wide.
    fn choice(&self, genotype: &Genotype, part: usize) -> Choice {
        let (groups, blocks) = (self.groups(), self.blocks());
        let genes = genotype.genes();
        let mut choice = Choice::default();
        for (at, group) in self.prunable().groups().all().iter().enumerate() {
            let chosen = if groups.is_empty() { 1.0 } else { self.widths[usize::from(genes[at])] };
            let channels = Width::Fraction(chosen).of(group.channels).unwrap_or(group.channels);
            choice.widths.insert(group.name.clone(), Width::Channels((channels * part / PARTS[0]).max(1)));
        }
        let removed = blocks.iter().zip(&genes[groups.len()..]).filter(|(_, gene)| **gene == 1);
        choice.removed = removed.map(|(block, _)| block.name.clone()).collect();
        choice
    }

    /// The full network's size with the inputs that a genotype chooses.
    pub(super) fn chosen_size(&self, genotype: &Genotype, full: &NetworkSize) -> NetworkSize {
        let gene = genotype.genes().get(self.groups().len() + self.blocks().len());
        let size = gene.and_then(|&gene| self.resolution.get(usize::from(gene)));
        let input = size.map_or(full.input, |&size| [full.input[0], size, size]);
        NetworkSize { input, ..full.clone() }
    }

    pub(super) fn lower(&self, genotype: &Genotype, size: &NetworkSize) -> Result<Graph, PruneError> {
        let graph = self.prunable().graph(&self.choice(genotype, size.width))?;
        at_input(&graph, size.input)
    }

    /// The part of the model's weights that is a full network's; none where `graph` is not that network's.
    fn weights(&self, genotype: &Genotype, graph: &Graph) -> Result<Option<Weights>, PruneError> {
        let (prunable, weights) = &*self.network;
        let (full, weights) = prunable.prune(weights, &self.choice(genotype, PARTS[0]))?;
        Ok((full.parameters() == graph.parameters()).then_some(weights))
    }

    /// The id of a canonical genotype.
    pub(super) fn id(&self, genotype: &Genotype) -> ArchId {
        let text = format!("{},{}", self.sha256, self.arch(genotype));
        ArchId::new(hex(&Sha256::digest(text)[..8]))
    }
}

impl SearchSpace {
    /// Reads a space around a network from YAML text with `from_onnx`; `path` is where it is said to come from, `read` gives what is in the model's file, the
    /// graph live.
    ///
    /// # Errors
    /// If the text is not such a space, the model can't be read, or there is nothing to choose about it.
    pub fn around(
        text: &str,
        path: &Path,
        read: impl FnOnce(&Path, Option<[usize; 3]>) -> Result<foreign::Pretrained, String>,
    ) -> Result<Self, SpaceError> {
        let SpaceFile { name, description, from_onnx, constraints } = yaml::parse(text, path)?;
        let invalid =
            |reason: String| SpaceError::Invalid { path: path.to_owned(), reason: format!("from_onnx: {reason}") };
        let model = path.parent().unwrap_or(Path::new("")).join(&from_onnx.model);
        let network = read(&model, from_onnx.input).map_err(invalid)?;
        let sha256 = network.sha256.clone();
        if let Some(expected) = from_onnx.sha256.as_ref().filter(|expected| **expected != sha256) {
            return Err(invalid(format!("{}: its SHA-256 is {sha256}, expected {expected}", model.display())));
        }
        let pretrained = Pretrained::new(network, &from_onnx, Importance::L1).map_err(invalid)?;
        let mut definition: serde_json::Value = yaml::parse(text, path)?;
        definition["from_onnx"]["sha256"] = sha256.into();
        // What a study keeps finds the file again, and no other.
        let mut kept = definition.clone();
        kept["from_onnx"]["model"] = std::path::absolute(&model).unwrap_or(model).to_string_lossy().into();
        let mut space = Self {
            name,
            description,
            networks: pretrained.networks().map_err(invalid)?,
            stem: vec![],
            head: vec![],
            topology: Topology::Pretrained(Box::new(pretrained)),
            constraints,
            precisions: None,
            choices: vec![],
            definition,
            text: kept.to_string(),
        };
        space.recount().map_err(invalid)?;
        space.check_operators(path)?;
        space.check_constraints().map_err(|at| space.refusal(at, path))?;
        Ok(space)
    }

    /// The space around an ONNX model that others have made, from YAML text with `from_onnx`.
    pub(super) fn from_onnx(text: &str, path: &Path) -> Result<Self, SpaceError> {
        Self::around(text, path, |model, input| foreign::read(model, input).map_err(|error| error.to_string()))
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
