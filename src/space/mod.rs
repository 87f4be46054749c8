//! What may be chosen: search spaces, read from `models/*.yaml`.
//!
//! A space is data: a stem, a *cell* (operators on the edges of a small graph, stacked in stages), two *cells* (of nodes
//! with two inputs, DARTS's), a *chain* (operators one behind the other) or *stages* (as many layers as is decided, each of its
//! own), and a head. It says which decisions there are and lowers a
//! [`Genotype`] to a [`Graph`], in one of three sizes: the full network, the probe that the indicators
//! look at, and the thin one whose linear regions are counted.

mod attention;
mod block;
mod cell;
mod cells;
mod chain;
mod changed;
mod checks;
mod constraint;
mod error;
mod extent;
mod extremes;
mod listed;
mod open;
mod operators;
mod plugin;
mod precision;
mod pretrained;
mod section;
mod size;
mod staged;
mod variation;

pub use constraint::Constraint;
pub use error::SpaceError;
pub use plugin::{Mutated, Sampled, SpaceFacts};
pub use precision::Precision;
pub use section::{DataSection, ImportanceSection, SpaceSection};
pub use size::{NetworkChanges, NetworkSize, Scale};

use crate::genotype::{ArchId, Genotype};
use crate::graph::{Graph, GraphBuilder, GraphError, Shape};
use crate::yaml;
use block::{Layer, Scope};
use cell::Cell;
use cells::Cells;
use chain::Chain;
use plugin::PluginSpace;
use precision::Precisions;
use pretrained::Pretrained;
use serde::{Deserialize, Serialize};
use size::Networks;
use staged::Staged;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A family of architectures.
#[derive(Clone, Debug)]
pub struct SearchSpace {
    /// Name of the space.
    pub name: String,
    /// What it holds, in a line.
    pub description: String,
    networks: Networks,
    stem: Vec<Layer>,
    head: Vec<Layer>,
    topology: Topology,
    constraints: Vec<Constraint>,
    precisions: Option<Precisions>,
    choices: Vec<usize>,
    definition: serde_json::Value,
    text: String,
}

#[derive(Clone, Debug)]
enum Topology {
    Cell(Cell),
    Cells(Cells),
    Chain(Chain),
    Staged(Box<Staged>),
    Plugin(PluginSpace),
    Pretrained(Box<Pretrained>),
}

/// One decision of a space, which a gene holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What it is about: an edge `from → to` of a cell, `cell.node.what` of cells, or `stage.layer` of a chain, counted from 1; a plugin has its own names.
    pub name: String,
    /// What there is to choose from, in the order of the gene's values.
    pub choices: Vec<String>,
}

/// A space as written in YAML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpaceFile {
    name: String,
    description: String,
    networks: Networks,
    stem: Vec<Layer>,
    cell: Option<Cell>,
    cells: Option<Cells>,
    chain: Option<Chain>,
    staged: Option<Staged>,
    head: Vec<Layer>,
    #[serde(default)]
    constraints: Vec<Constraint>,
}

impl SearchSpace {
    /// Reads a space from YAML text; `path` is where it is said to come from.
    ///
    /// # Errors
    /// If the text is not a space.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SpaceError> {
        let definition: serde_json::Value = yaml::parse(text, path)?;
        if definition.get("from_onnx").is_some() {
            return Self::from_onnx(&yaml::parse(text, path)?, path);
        }
        let file: SpaceFile = yaml::parse(text, path)?;
        let invalid = |reason: String| SpaceError::Invalid { path: path.to_owned(), reason };
        let topology = match (file.cell, file.cells, file.chain, file.staged) {
            (Some(cell), None, None, None) => Topology::Cell(cell),
            (None, Some(cells), None, None) => Topology::Cells(cells),
            (None, None, Some(chain), None) => Topology::Chain(chain),
            (None, None, None, Some(staged)) => Topology::Staged(Box::new(staged)),
            _ => return Err(invalid("expected one of `cell`, `cells`, `chain` and `staged`".into())),
        };
        let mut space = Self {
            name: file.name,
            description: file.description,
            networks: file.networks,
            stem: file.stem,
            head: file.head,
            topology,
            constraints: file.constraints,
            precisions: None,
            choices: vec![],
            definition,
            text: text.to_owned(),
        };
        space.check_names(path)?;
        space.recount().map_err(invalid)?;
        space.check_operators(path)?;
        let checked = space.check_probe().and_then(|()| space.check_constraints());
        checked.map_err(|at| space.refusal(at, path))?;
        Ok(space)
    }

    fn recount(&mut self) -> Result<(), String> {
        let precisions = self.precisions.take();
        self.choices = match &self.topology {
            Topology::Cell(cell) => cell.choices()?,
            Topology::Cells(cells) => cells.choices(&self.networks)?,
            Topology::Chain(chain) => chain.choices(&self.networks.full),
            Topology::Staged(staged) => staged.choices(),
            Topology::Plugin(of) => of.choices(),
            Topology::Pretrained(of) => of.choices(),
        };
        if let Some(mut precisions) = precisions {
            let networks = self.uniform().map(|genotype| self.lower(&genotype, Scale::Full));
            let networks: Vec<Graph> = networks.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
            precisions.set_parts(networks.iter());
            self.choices.extend(precisions.choices());
            self.precisions = Some(precisions);
        }
        Ok(())
    }

    /// This space with its decisions counted again.
    fn recounted(mut self) -> Result<Self, SpaceError> {
        let path = PathBuf::from(&self.name);
        self.recount().map_err(|reason| SpaceError::Invalid { path, reason })?;
        Ok(self)
    }

    /// For each choice the architecture that takes it wherever it can: together they have every operator.
    pub fn uniform(&self) -> impl Iterator<Item = Genotype> + '_ {
        (0..self.choices.iter().copied().max().unwrap_or(0)).map(|choice| {
            let mut genes: Vec<u8> = self.choices.iter().map(|&choices| choice.min(choices - 1) as u8).collect();
            if let Topology::Staged(staged) = &self.topology {
                staged.deepen(&mut genes);
                staged.canonical(&mut genes);
            }
            Genotype::new(genes)
        })
    }

    /// The space's file as it is written: what [`parse`](Self::parse) makes the same space of.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The space's file as data, to compare with: two spaces of one definition have the same architectures. Genes may differ,
    /// since the order of operators, which they count by, is not in it.
    pub fn definition(&self) -> &serde_json::Value {
        &self.definition
    }

    /// Size of one of the space's networks.
    pub fn network(&self, scale: Scale) -> &NetworkSize {
        match scale {
            Scale::Full => &self.networks.full,
            Scale::Probe => &self.networks.probe,
            Scale::Thin => &self.networks.thin,
        }
    }

    fn is_staged(&self) -> bool {
        matches!(self.topology, Topology::Staged(_))
    }

    /// Number of choices of each decision.
    pub fn choices(&self) -> &[usize] {
        &self.choices
    }

    /// What is decided, in the order of the genes.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut decisions = match &self.topology {
            Topology::Cell(cell) => cell.decisions(),
            Topology::Cells(cells) => cells.decisions(),
            Topology::Chain(chain) => chain.decisions(self.network(Scale::Full)),
            Topology::Staged(staged) => staged.decisions(),
            Topology::Plugin(of) => of.decisions(),
            Topology::Pretrained(of) => of.decisions(),
        };
        decisions.extend(self.precisions.iter().flat_map(Precisions::decisions));
        decisions
    }

    /// Number of genotypes; where genes may not count, of those that are [canonical](Self::canonical). What keeps to no
    /// [constraint](Self::constraints) is counted, too.
    pub fn size(&self) -> f64 {
        let product = |choices: &[usize]| choices.iter().map(|&choices| choices as f64).product();
        match &self.topology {
            Topology::Staged(staged) => staged.size() * product(&self.choices[staged.choices().len()..]),
            Topology::Pretrained(of) => of.size(),
            _ => product(&self.choices),
        }
    }

    /// The genotype with all genes that don't count, those of layers that a stage does not have, of what a layer's block does not
    /// name, and of what is inside of removed blocks, set to 0.
    pub fn canonical(&self, genotype: &Genotype) -> Genotype {
        let mut genes = genotype.genes().to_vec();
        match &self.topology {
            Topology::Staged(staged) => staged.canonical(&mut genes),
            Topology::Pretrained(of) => of.canonical(&mut genes),
            _ => {}
        }
        Genotype::new(genes)
    }

    /// All genotypes that keep to the constraints, in lexicographic order of their genes.
    pub fn enumerate(&self) -> impl Iterator<Item = Genotype> + '_ {
        let genotypes = self.all_genes();
        let counts = |genotype: &Genotype| self.canonical(genotype) == *genotype;
        genotypes.filter(move |genotype| counts(genotype) && self.violation(genotype).is_none())
    }

    fn all_genes(&self) -> impl Iterator<Item = Genotype> + '_ {
        let mut next = Some(vec![0u8; self.choices.len()]);
        std::iter::from_fn(move || {
            let current = next.clone()?;
            let genes = next.as_mut()?;
            match (0..genes.len()).rev().find(|&i| usize::from(genes[i]) + 1 < self.choices[i]) {
                Some(i) => {
                    genes[i] += 1;
                    genes[i + 1..].fill(0);
                }
                None => next = None,
            }
            Some(Genotype::new(current))
        })
    }

    /// The architecture as text, as the space's publication writes it; with its precisions behind an `@`, where these are
    /// decided.
    pub fn arch(&self, genotype: &Genotype) -> String {
        let (architecture, precisions) = self.split(genotype);
        let arch = match &self.topology {
            Topology::Cell(cell) => cell.arch(&architecture),
            Topology::Cells(cells) => cells.arch(&architecture),
            Topology::Chain(chain) => chain.arch(&architecture),
            Topology::Staged(staged) => staged.arch(&architecture),
            Topology::Plugin(of) => of.arch(&architecture),
            Topology::Pretrained(of) => of.arch(&architecture),
        };
        match &self.precisions {
            Some(known) => format!("{arch}{}{}", precision::SEPARATOR, known.write(precisions)),
            None => arch,
        }
    }

    /// Reads an architecture from text.
    ///
    /// # Errors
    /// If the text names no architecture of this space.
    pub fn parse_arch(&self, arch: &str) -> Result<Genotype, SpaceError> {
        let parse = || {
            let (architecture, letters) = match (&self.precisions, arch.split_once(precision::SEPARATOR)) {
                (Some(_), Some((architecture, letters))) => (architecture, Some(letters)),
                _ => (arch, None),
            };
            let precisions =
                self.precisions.as_ref().map(|known| known.parse(letters)).transpose()?.unwrap_or_default();
            let decisions = self.choices.len() - precisions.len();
            let genotype = match &self.topology {
                Topology::Cell(cell) => cell.parse(architecture)?,
                Topology::Cells(cells) => cells.parse(architecture)?,
                Topology::Chain(chain) => chain.parse(architecture, decisions)?,
                Topology::Staged(staged) => staged.parse(architecture, &self.networks.full)?,
                Topology::Plugin(of) => of.parse(architecture)?,
                Topology::Pretrained(of) => of.parse(architecture)?,
            };
            let genotype = Genotype::new([genotype.genes(), &precisions].concat());
            self.violation(&genotype).map_or(Ok(genotype), Err)
        };
        parse().map_err(|reason| SpaceError::Arch { arch: arch.to_owned(), space: self.name.clone(), reason })
    }

    /// The id of an architecture, which isomorphic ones share; none for a dead one, whose output does not
    /// depend on its input, and for one that does not keep to the space's constraints. Where layers are not all of floats, it says that too ([`ArchId::architecture`]).
    pub fn id(&self, genotype: &Genotype) -> Option<ArchId> {
        if self.violation(genotype).is_some() {
            return None;
        }
        if let Topology::Pretrained(of) = &self.topology {
            return Some(of.id(&self.canonical(genotype)));
        }
        let probe = match (self.lower(genotype, Scale::Probe), &self.topology) {
            (Err(_), Topology::Plugin(plugin)) => return plugin.id_of_failed(genotype, &self.networks),
            (probe, _) => probe.ok()?,
        };
        let live = probe.live().ok()?;
        // The probe has one input, whatever the network's.
        let resolution = match &self.topology {
            Topology::Staged(staged) => staged.resolution_gene(genotype),
            _ => None,
        };
        let mut marks: BTreeMap<&str, u8> =
            resolution.map(|gene| (live.nodes()[0].name.as_str(), gene)).into_iter().collect();
        let id = live.structure_id_marked(&marks);
        let mut precisions = self.precisions(genotype, &live);
        precisions.retain(|_, precision| *precision != Precision::Float);
        if precisions.is_empty() {
            return Some(id);
        }
        marks.extend(precisions.iter().map(|(layer, precision)| (layer.as_str(), *precision as u8)));
        Some(id.with_variant(&live.structure_id_marked(&marks)))
    }

    /// [`Graph::statistics`] of the live network of an architecture; zeros of a dead one.
    pub fn statistics(&self, genotype: &Genotype) -> [f64; 5] {
        let live = self.lower(genotype, Scale::Full).ok().and_then(|graph| graph.live().ok());
        live.map_or([0.0; 5], |graph| graph.statistics())
    }

    /// The graph of an architecture as the space defines it, with all the edges that lead nowhere:
    /// what published tables count. [`Graph::live`] is what is scored, exported and measured.
    ///
    /// # Errors
    /// If the operators don't fit together.
    pub fn lower(&self, genotype: &Genotype, scale: Scale) -> Result<Graph, SpaceError> {
        match (scale, &self.topology) {
            (Scale::Full, Topology::Staged(staged)) => {
                self.lower_to(genotype, &staged.chosen_size(genotype, &self.networks.full))
            }
            (Scale::Full, Topology::Pretrained(of)) => {
                self.lower_to(genotype, &of.chosen_size(genotype, &self.networks.full))
            }
            _ => self.lower_to(genotype, self.network(scale)),
        }
    }

    /// [`SearchSpace::lower`] to a network of any size.
    ///
    /// # Errors
    /// If the operators don't fit together.
    pub fn lower_to(&self, genotype: &Genotype, size: &NetworkSize) -> Result<Graph, SpaceError> {
        let refused = |reason| SpaceError::Lower { space: self.name.clone(), reason };
        match &self.topology {
            Topology::Plugin(plugin) => return plugin.lower(genotype, size, &self.networks).map_err(refused),
            Topology::Pretrained(of) => return of.lower(genotype, size).map_err(|error| refused(error.to_string())),
            _ => {}
        }
        let misfit = |source| SpaceError::Graph { space: self.name.clone(), source };
        self.lower_network(genotype, size).map_err(misfit)
    }

    fn lower_network(&self, genotype: &Genotype, network: &NetworkSize) -> Result<Graph, GraphError> {
        let [channels, height, width] = network.input;
        let mut builder = GraphBuilder::new(Shape::map(channels, height, width));
        let chosen = match &self.topology {
            Topology::Staged(staged) => staged.whole(genotype),
            _ => vec![],
        };
        let mut scope = Scope {
            in_channels: channels,
            out_channels: network.width,
            stride: 1,
            width: network.width,
            classes: network.classes,
            chosen: &chosen,
        };
        let mut at = builder.input();
        if network.stem {
            at = block::lower(&mut builder, &self.stem, &scope, "stem", at)?;
        }
        at = match &self.topology {
            Topology::Cell(cell) => cell.lower(&mut builder, genotype, network, at)?,
            Topology::Cells(cells) => cells.lower(&mut builder, genotype, network, at)?,
            Topology::Chain(chain) => chain.lower(&mut builder, genotype, network, at)?,
            Topology::Staged(staged) => staged.lower(&mut builder, genotype, network, at)?,
            Topology::Plugin(_) | Topology::Pretrained(_) => unreachable!("they lower by themselves"),
        };
        scope.in_channels = builder.shape(at).channels();
        scope.out_channels = scope.in_channels;
        at = block::lower(&mut builder, &self.head, &scope, "head", at)?;
        Ok(builder.finish(at))
    }
}

#[cfg(test)]
mod tests;
