//! How many bits the layers of a network are computed in, as decisions of a space (SimQ-NAS, Sridhar et al. 2023, Section 3: a
//! network's genes and its layers' precisions are searched together).
//!
//! A decision is made for each *part* of the space's networks whose layers have weights: the stem, the head, a reduction, an
//! edge of a stage's cells, a layer of a chain. It is written behind the architecture, a letter for each part:
//! `|conv~0|+…@ffsaf`.

use super::{Decision, SearchSpace, SpaceError};
use crate::genotype::Genotype;
use crate::graph::{Graph, Node, Op};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What separates an architecture's text from its precisions'.
pub(super) const SEPARATOR: char = '@';

/// What a layer's weights are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats: the layer stays as it is.
    Float,
    /// 8 bits around zero, a scale for each output channel.
    #[default]
    Symmetric,
    /// 8 bits between the least and the largest weight, one scale for all.
    Asymmetric,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Float, Self::Symmetric, Self::Asymmetric];

    fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Symmetric => "symmetric",
            Self::Asymmetric => "asymmetric",
        }
    }

    fn letter(self) -> char {
        self.name().chars().next().expect("no name is empty")
    }
}

/// The decisions about precision.
#[derive(Clone, Debug)]
pub(super) struct Precisions {
    /// What there is to choose from, in the order of the genes' values.
    choices: Vec<Precision>,
    /// Parts of the networks, in the order of the genes.
    parts: Vec<String>,
}

/// The part that a node is of, by its name: `stage0.cell2.edge0_1.conv.…` is of `stage0.edge0_1`, `stem.conv` of `stem`.
fn part_of(node: &str) -> String {
    let mut segments = node.split('.').filter(|segment| !segment.starts_with("cell"));
    let first = segments.next().unwrap_or_default();
    match segments.next().filter(|_| first.starts_with("stage")) {
        Some(second) => format!("{first}.{second}"),
        None => first.to_owned(),
    }
}

fn has_weights(node: &Node) -> bool {
    matches!(node.op, Op::Conv2d(_) | Op::Linear { .. })
}

impl Precisions {
    fn new(choices: Vec<Precision>) -> Self {
        Self { choices, parts: vec![] }
    }

    /// Number of decisions.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Number of choices of each.
    pub(super) fn choices(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|_| self.choices.len())
    }

    /// Takes the parts of these networks, in the order in which they come.
    pub(super) fn set_parts<'a>(&mut self, networks: impl Iterator<Item = &'a Graph>) {
        self.parts.clear();
        for network in networks {
            for part in network.nodes().iter().filter(|node| has_weights(node)).map(|node| part_of(&node.name)) {
                if !self.parts.contains(&part) {
                    self.parts.push(part);
                }
            }
        }
    }

    pub(super) fn decisions(&self) -> impl Iterator<Item = Decision> {
        let choices: Vec<String> = self.choices.iter().map(|choice| choice.name().to_owned()).collect();
        self.parts.iter().map(move |part| Decision { name: format!("precision of {part}"), choices: choices.clone() })
    }

    pub(super) fn write(&self, genes: &[u8]) -> String {
        genes.iter().map(|&gene| self.choices[usize::from(gene)].letter()).collect()
    }

    /// The genes that a text of letters says; without a text, those of the first choice.
    pub(super) fn parse(&self, text: Option<&str>) -> Result<Vec<u8>, String> {
        let Some(text) = text else { return Ok(vec![0; self.len()]) };
        let gene = |letter: char| {
            let known = || self.choices.iter().map(|choice| choice.letter().to_string()).collect::<Vec<_>>().join(", ");
            let found = self.choices.iter().position(|choice| choice.letter() == letter);
            found.map(|gene| gene as u8).ok_or_else(|| format!("found precision `{letter}`, expected {}", known()))
        };
        let genes: Vec<u8> = text.trim().chars().map(gene).collect::<Result<_, _>>()?;
        if genes.len() != self.len() {
            return Err(format!("found {} precisions, expected {}", genes.len(), self.len()));
        }
        Ok(genes)
    }

    /// The precision of each layer of a network, by the node's name.
    pub(super) fn of_layers(&self, genes: &[u8], network: &Graph) -> BTreeMap<String, Precision> {
        let layers = network.nodes().iter().filter(|node| has_weights(node));
        let of = |node: &Node| {
            let part = part_of(&node.name);
            let at = self.parts.iter().position(|known| *known == part);
            let gene = at.and_then(|at| genes.get(at)).expect("all parts of a space's networks are known");
            (node.name.clone(), self.choices[usize::from(*gene)])
        };
        layers.map(of).collect()
    }
}

impl SearchSpace {
    /// This space with the precision of each part of its networks as further decisions.
    ///
    /// # Errors
    /// If there are fewer than two choices, or one is there twice.
    pub fn with_precisions(mut self, choices: Vec<Precision>) -> Result<Self, SpaceError> {
        let twice = choices.iter().enumerate().find(|(at, choice)| choices[..*at].contains(choice));
        let reason = match twice {
            _ if self.is_plugin() => Some("a plugin's networks have no parts that Tegu knows".to_owned()),
            _ if self.is_pretrained() => Some("a model's parts have no precisions yet".to_owned()),
            Some((_, choice)) => Some(format!("`{}` is there twice", choice.name())),
            None if choices.len() < 2 => Some(format!("{} choices, expected two or three", choices.len())),
            None => None,
        };
        if let Some(reason) = reason {
            return Err(SpaceError::Arch { arch: "precisions".into(), space: self.name, reason });
        }
        self.precisions = Some(Precisions::new(choices));
        self.recounted()
    }

    /// This space without decisions about precision.
    pub fn of_floats(&self) -> Self {
        let mut space = self.clone();
        let precisions = space.precisions.take().map_or(0, |precisions| precisions.len());
        space.choices.truncate(self.choices.len() - precisions);
        space
    }

    /// The precision of each layer with weights of a network that this space lowers the genotype to, by the node's name;
    /// nothing where the space does not decide that.
    pub fn precisions(&self, genotype: &Genotype, network: &Graph) -> BTreeMap<String, Precision> {
        let (_, genes) = self.split(genotype);
        self.precisions.as_ref().map_or(BTreeMap::new(), |precisions| precisions.of_layers(genes, network))
    }

    /// Genes of the architecture, and those of its precisions.
    pub(super) fn split<'a>(&self, genotype: &'a Genotype) -> (Genotype, &'a [u8]) {
        let precisions = self.precisions.as_ref().map_or(0, Precisions::len);
        let (architecture, precisions) = genotype.genes().split_at(self.choices.len() - precisions);
        (Genotype::new(architecture.to_vec()), precisions)
    }
}
