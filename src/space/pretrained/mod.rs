//! A space around a network with weights: how wide each group of its channels is, which blocks it does without, how large its inputs are.
//!
//! An architecture is written as its choices, joined by commas: widths of the groups in the order of [`Groups`](crate::prune::Groups), `keep` or
//! `remove` for each block or each stage's depth, the inputs' height. Its id is of these, of the file and of the data that channels are ordered by, since
//! equal graphs may have other weights.

mod gradients;
mod opened;
mod removal;
mod samples;
mod statistics;

use super::{Decision, ImportanceSection, NetworkSize, Networks, SpaceSection, listed};
use crate::data::Normalisation;
use crate::foreign;
use crate::genotype::{ArchId, Genotype, hex};
use crate::graph::{Graph, Shape};
use crate::network::Weights;
use crate::prune::{Choice, Group, Importance, Prunable, PruneError, Width, at_input};
use removal::Removal;
use sha2::{Digest, Sha256};
use statistics::Statistics;
use std::path::Path;
use std::sync::Arc;

/// Channels of each 1024 that groups have in the full network, the probe and the thin one; at least one.
const PARTS: [usize; 3] = [1024, 128, 1];

/// Heights and widths of the probe's and of the thin network's inputs, where weights belong to no place of a map.
const SIZES: [usize; 2] = [32, 3];

/// A network with what is chosen about it.
#[derive(Clone, Debug)]
pub(super) struct Pretrained {
    network: Arc<(Prunable, Weights)>,
    /// The file's, and those of the data that the section names.
    sha256: Vec<String>,
    statistics: Option<Statistics>,
    normalisation: Option<Normalisation>,
    widths: Vec<f64>,
    removal: Removal,
    resolution: Vec<usize>,
}

impl Pretrained {
    /// A space of a live graph with its weights; what the section names is looked for in `folder`.
    pub(super) fn new(model: foreign::Pretrained, from: &SpaceSection, folder: &Path) -> Result<Self, String> {
        let foreign::Pretrained { graph, weights, sha256, normalisation } = model;
        let SpaceSection { widths, resolution, depths, .. } = from.clone();
        let twice = (1..widths.len()).any(|at| widths[..at].contains(&widths[at]));
        if widths.len() > 256 || twice || widths.iter().any(|part| !(*part > 0.0 && *part <= 1.0)) {
            return Err(format!("widths: {widths:?}, expected different numbers above 0 and up to 1, 256 at most"));
        }
        for (field, numbers) in [("resolution", &resolution), ("depths", &depths)] {
            let twice = (1..numbers.len()).any(|at| numbers[..at].contains(&numbers[at]));
            if numbers.len() > 256 || twice {
                return Err(format!("{field}: {numbers:?}, expected different numbers, 256 at most"));
            }
        }
        let input @ [channels, ..] = input_of(&graph)?;
        for &size in &resolution {
            at_input(&graph, [channels, size, size]).map_err(|error| format!("resolution: {error}"))?;
        }
        let normalisation = from.normalisation.clone().or(normalisation);
        if let Some(normalisation) = &normalisation {
            normalisation.check(channels).map_err(|reason| format!("normalisation: {reason}"))?;
        }
        let mut sha256 = vec![sha256];
        let (mut graph, mut weights, mut statistics) = (graph, weights, None);
        if let Some(section) = &from.batch_norm {
            let of = |reason: String| format!("batch_norm: {reason}");
            let read = Statistics::read(section, folder, input, &resolution, normalisation.as_ref());
            let (read, digest) = read.map_err(of)?;
            sha256.push(digest);
            (graph, weights) = read.unfold(&graph, &weights).map_err(|error| of(error.to_string()))?;
            statistics = Some(read);
        }
        let prunable = match &from.importance {
            ImportanceSection::Magnitude => Prunable::new(graph, &weights, Importance::L1),
            ImportanceSection::Gradients(section) => {
                let of = |reason: String| format!("importance.gradients: {reason}");
                let samples = samples::read(section, folder, input, gradients::SAMPLES, normalisation.as_ref());
                let samples = samples.map_err(of)?;
                let gradients = gradients::gradients(&graph, &weights, &samples).map_err(of)?;
                sha256.push(samples.sha256);
                Prunable::new(graph, &weights, Importance::Taylor(&gradients))
            }
        };
        let prunable = prunable.map_err(|error| error.to_string())?;
        let removal = Removal::new(prunable.whole(), prunable.blocks(), from.blocks, &depths)?;
        let made = Self {
            network: Arc::new((prunable, weights)),
            sha256,
            statistics,
            normalisation,
            widths,
            removal,
            resolution,
        };
        match made.decisions().is_empty() {
            true => Err("nothing to choose, expected `widths`, `depths`, `blocks` or `resolution`".into()),
            false => Ok(made),
        }
    }

    /// The sizes of the full network, the probe and the thin one.
    pub(super) fn networks(&self) -> Result<Networks, String> {
        let graph = self.prunable().whole();
        let [channels, height, width] = input_of(graph)?;
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

    pub(super) fn decisions(&self) -> Vec<Decision> {
        let decision = |name: &str, choices: Vec<String>| Decision { name: name.to_owned(), choices };
        let widths: Vec<String> = self.widths.iter().map(f64::to_string).collect();
        let groups = self.groups().iter().map(|group| decision(&group.name, widths.clone()));
        let sizes: Vec<String> = self.resolution.iter().map(usize::to_string).collect();
        let resolution = (!sizes.is_empty()).then(|| decision("resolution", sizes));
        groups.chain(self.removal.decisions()).chain(resolution).collect()
    }

    /// For each gene the value by which most of the model stays; none for the inputs, of which no size is more.
    pub(super) fn whole(&self) -> Vec<Option<u8>> {
        let widest = (0..self.widths.len()).max_by(|&a, &b| self.widths[a].total_cmp(&self.widths[b]));
        let widths = self.groups().iter().map(|_| widest.map(|at| at as u8));
        let resolution = (!self.resolution.is_empty()).then_some(None);
        widths.chain(self.removal.whole().into_iter().map(Some)).chain(resolution).collect()
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
        let groups = self.groups();
        let gone = self.removal.canonical(&mut genes[groups.len()..]);
        for (group, gene) in groups.iter().zip(genes) {
            if group.producers.iter().all(|layer| gone.contains(layer)) {
                *gene = 0;
            }
        }
    }

    /// Number of canonical genotypes.
    pub(super) fn size(&self) -> f64 {
        let layers = self.groups().iter().map(|group| group.producers.as_slice());
        self.removal.size(layers, self.widths.len()) * self.resolution.len().max(1) as f64
    }

    /// What a genotype leaves, its groups `part` 1024ths as wide.
    fn choice(&self, genotype: &Genotype, part: usize) -> Choice {
        let groups = self.groups();
        let genes = genotype.genes();
        let mut choice = Choice::default();
        for (at, group) in self.prunable().groups().all().iter().enumerate() {
            let chosen = if groups.is_empty() { 1.0 } else { self.widths[usize::from(genes[at])] };
            let channels = Width::Fraction(chosen).of(group.channels).unwrap_or(group.channels);
            choice.widths.insert(group.name.clone(), Width::Channels((channels * part / PARTS[0]).max(1)));
        }
        let removed = self.removal.removed(&genes[groups.len()..]).into_iter();
        choice.removed = removed.map(|block| block.name.clone()).collect();
        choice
    }

    /// The full network's size with the inputs that a genotype chooses.
    pub(super) fn chosen_size(&self, genotype: &Genotype, full: &NetworkSize) -> NetworkSize {
        let gene = genotype.genes().get(self.groups().len() + self.removal.len());
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
        match &self.statistics {
            _ if full.parameters() != graph.parameters() => Ok(None),
            Some(of) => Ok(Some(of.measure(graph, weights)?)),
            None => Ok(Some(weights)),
        }
    }

    /// The id of a canonical genotype.
    pub(super) fn id(&self, genotype: &Genotype) -> ArchId {
        let text = format!("{},{}", self.sha256.join(","), self.arch(genotype));
        ArchId::new(hex(&Sha256::digest(text)[..8]))
    }
}

/// Channels, height and width of a graph's input.
fn input_of(graph: &Graph) -> Result<[usize; 3], String> {
    match graph.input_shape() {
        Shape::Map { channels, height, width } => Ok([channels, height, width]),
        Shape::Vector(_) => Err("its input is no map".into()),
    }
}
