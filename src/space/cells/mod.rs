//! Spaces of two cells, as DARTS (Liu et al. 2019) and NASNet (Zoph et al. 2018) have them.
//!
//! A cell takes the results of the two cells before it. Each of its nodes is the sum of two operators on inputs or
//! earlier nodes, and its result is nodes side by side. Networks are normal cells with a few reduction cells at equal
//! distances, which halve the size and double the channels: what is found in few narrow cells goes into many wide ones.

mod notation;

use super::block::{self, Layer, Scope};
use super::operators::Operators;
use super::{Decision, NetworkSize, Networks};
use crate::genotype::Genotype;
use crate::graph::{GraphBuilder, GraphError, NodeId, Op};
use serde::Deserialize;

/// The cells before a cell whose results are its inputs.
const INPUTS: usize = 2;
/// Most choices that a gene has room for.
const MOST_CHOICES: usize = 255;
/// The cells, as the notation calls them.
const NAMES: [&str; 2] = ["normal", "reduce"];

/// The two cells of a space.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cells {
    /// Nodes of a cell, its inputs not among them.
    nodes: usize,
    /// Whether both operators of a node may have the same input.
    #[serde(default)]
    repeated_inputs: bool,
    /// The nodes that are a cell's result.
    #[serde(default)]
    output: Output,
    /// How many of a network's cells are reduction cells.
    reductions: usize,
    /// Behind the stem: what the first cell has for its later input. The stem's result where absent.
    second_stem: Option<Vec<Layer>>,
    /// What an input goes through first, to have the cell's channels.
    preprocess: Vec<Layer>,
    /// In its place, where the earlier input is larger than the later one; it is to halve the size.
    preprocess_larger: Vec<Layer>,
    /// The choices of an edge, in the order of the genes.
    operators: Operators,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Output {
    #[default]
    AllNodes,
    /// Those that no other node has for its input.
    UnusedNodes,
}

/// A node: the operator and the input of each of its two edges. Inputs are counted from the cell's own, 0 and 1.
type Node = [(u8, usize); 2];

impl Cells {
    /// All lists of layers.
    pub(super) fn layers(&self) -> impl Iterator<Item = &[Layer]> {
        let around = [&self.preprocess[..], &self.preprocess_larger];
        self.operators.all_layers().chain(around).chain(self.second_stem.as_deref())
    }

    /// Pairs of inputs that a node may have, counted from 0.
    fn pairs(&self, node: usize) -> impl Iterator<Item = [usize; 2]> + use<> {
        let (sources, apart) = (INPUTS + node, usize::from(!self.repeated_inputs));
        (0..sources).flat_map(move |first| (first + apart..sources).map(move |second| [first, second]))
    }

    /// Choices of one cell. What cannot be chosen is no decision.
    fn cell_choices(&self) -> Vec<usize> {
        let of_node = |node: usize| [self.pairs(node).count(), self.operators.len(), self.operators.len()];
        (0..self.nodes).flat_map(of_node).enumerate().filter_map(|(at, choices)| is_gene(at, choices)).collect()
    }

    pub(super) fn choices(&self, networks: &Networks) -> Result<Vec<usize>, String> {
        if self.nodes == 0 || self.pairs(self.nodes - 1).count() > MOST_CHOICES {
            return Err(format!("`cells.nodes`: {}, expected 1 or more, and {MOST_CHOICES} pairs at most", self.nodes));
        }
        for (name, size) in [("full", &networks.full), ("probe", &networks.probe), ("thin", &networks.thin)] {
            if size.depth.is_none_or(|depth| depth == 0) {
                return Err(format!("`networks.{name}.depth`: expected a number of cells"));
            }
        }
        Ok(self.cell_choices().repeat(NAMES.len()))
    }

    pub(super) fn decisions(&self) -> Vec<Decision> {
        let of_node = |cell: &str, node: usize| {
            let name = |of: &str| format!("{cell}.{}.{of}", node + 1);
            let pairs = self.pairs(node).map(|[first, second]| format!("{first}+{second}"));
            let inputs = Decision { name: name("inputs"), choices: pairs.collect() };
            [inputs, self.operators.decision(name("first")), self.operators.decision(name("second"))]
        };
        let of_cell = |cell| (0..self.nodes).flat_map(move |node| of_node(cell, node));
        let all = NAMES.into_iter().flat_map(of_cell).enumerate();
        all.filter(|(at, decision)| is_gene(*at, decision.choices.len()).is_some())
            .map(|(_, decision)| decision)
            .collect()
    }

    /// The nodes of both cells.
    fn read(&self, genotype: &Genotype) -> [Vec<Node>; 2] {
        let mut genes = genotype.genes().iter().copied();
        let mut gene = move || genes.next().expect("a genotype has a gene for each decision");
        [(); 2].map(|()| {
            let mut node = |node: usize| {
                let is_chosen = self.pairs(node).nth(1).is_some();
                let place = if is_chosen { usize::from(gene()) } else { 0 };
                let [first, second] = self.pairs(node).nth(place).expect("a gene is one of the choices");
                [(gene(), first), (gene(), second)]
            };
            (0..self.nodes).map(&mut node).collect()
        })
    }

    /// The genes of both cells, whose nodes may have their edges in either order.
    fn write(&self, cells: &[Vec<Node>; 2]) -> Result<Genotype, String> {
        let mut genes = vec![];
        for (name, cell) in NAMES.iter().zip(cells) {
            if cell.len() != self.nodes {
                return Err(format!("{name}: {} nodes, expected {}", cell.len(), self.nodes));
            }
            for (at, node) in cell.iter().enumerate() {
                let [(first, from), (second, other)] = *node;
                let ordered =
                    if from <= other { [(first, from), (second, other)] } else { [(second, other), (first, from)] };
                let pair = ordered.map(|(_, source)| source);
                let place = self.pairs(at).position(|known| known == pair).ok_or_else(|| {
                    let kind = if self.repeated_inputs { "two" } else { "two different" };
                    let most = INPUTS + at - 1;
                    format!("{name}: node {}: inputs {from} and {other}, expected {kind} of 0 to {most}", at + 1)
                })?;
                genes.extend((self.pairs(at).count() > 1).then_some(place as u8));
                genes.extend(ordered.map(|(operator, _)| operator));
            }
        }
        Ok(Genotype::new(genes))
    }

    /// The nodes that a cell's result is made of, counted from the cell's inputs.
    fn output(&self, cell: &[Node]) -> Vec<usize> {
        let used = |node: &usize| cell.iter().flatten().any(|(_, source)| source == node);
        let nodes = INPUTS..INPUTS + cell.len();
        match self.output {
            Output::AllNodes => nodes.collect(),
            Output::UnusedNodes => nodes.filter(|node| !used(node)).collect(),
        }
    }

    pub(super) fn lower(
        &self,
        builder: &mut GraphBuilder,
        genotype: &Genotype,
        network: &NetworkSize,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let scope = |in_channels, out_channels, stride| Scope::undecided(network, in_channels, out_channels, stride);
        let (cells, depth) = (self.read(genotype), network.depth.unwrap_or(1));
        let reductions = network.stages.map_or(self.reductions, |stages| stages.saturating_sub(1).min(self.reductions));
        let mut inputs = [from; INPUTS];
        if let (Some(layers), true) = (&self.second_stem, network.stem) {
            let channels = builder.shape(from).channels();
            inputs[1] = block::lower(builder, layers, &scope(channels, network.width, 1), "stem.second", from)?;
        }
        let (mut channels, mut stage) = (network.width, 0);
        for at in 0..depth {
            // Of 20 cells and 2 reductions the 7th and the 14th, as in DARTS's code.
            let reduces = (1..=reductions).any(|reduction| reduction * depth / (reductions + 1) == at);
            let (cell, name) = match reduces {
                true => {
                    (channels, stage) = (2 * channels, stage + 1);
                    (&cells[1], format!("reduction{stage}"))
                }
                false => (&cells[0], format!("stage{stage}.cell{at}")),
            };
            let edge = scope(channels, channels, if reduces { 2 } else { 1 });
            let result = self.lower_cell(builder, cell, &edge, &name, inputs)?;
            inputs = [inputs[1], result];
        }
        Ok(inputs[1])
    }

    fn lower_cell(
        &self,
        builder: &mut GraphBuilder,
        cell: &[Node],
        edge: &Scope,
        name: &str,
        inputs: [NodeId; INPUTS],
    ) -> Result<NodeId, GraphError> {
        let larger = builder.shape(inputs[0]).pixels() > builder.shape(inputs[1]).pixels();
        let mut nodes = vec![];
        for (at, input) in inputs.into_iter().enumerate() {
            let halves = at == 0 && larger;
            let layers = if halves { &self.preprocess_larger } else { &self.preprocess };
            let in_channels = builder.shape(input).channels();
            let scope = Scope { in_channels, stride: if halves { 2 } else { 1 }, ..*edge };
            nodes.push(block::lower(builder, layers, &scope, &format!("{name}.input{at}"), input)?);
        }
        for (at, node) in cell.iter().enumerate() {
            let name = format!("{name}.node{}", at + 1);
            let mut terms = vec![];
            for (side, &(operator, source)) in ["first", "second"].iter().zip(node) {
                let scope = Scope { stride: if source < INPUTS { edge.stride } else { 1 }, ..*edge };
                let prefix = [&name, ".", side, ".", self.operators.name(operator)].concat();
                terms.push(block::lower(builder, self.operators.layers(operator), &scope, &prefix, nodes[source])?);
            }
            nodes.push(builder.push(name, Op::Add, &terms)?);
        }
        let results: Vec<NodeId> = self.output(cell).into_iter().map(|node| nodes[node]).collect();
        match results[..] {
            [only] => Ok(only),
            _ => builder.push(format!("{name}.nodes"), Op::Concat, &results),
        }
    }
}

/// The choices of a decision, unless they are the one pair that the first node has.
fn is_gene(at: usize, choices: usize) -> Option<usize> {
    (!at.is_multiple_of(3) || choices > 1).then_some(choices)
}

#[cfg(test)]
mod tests;
