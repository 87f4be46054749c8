//! Cell spaces: one operator on each edge of a small complete graph, the cell stacked in stages.
//!
//! Architectures are written as NAS-Bench-201 does (Dong and Yang 2020, Section 2.1):
//! `|op~0|+|op~0|op~1|+…`, for each node the operators on the edges from the nodes before it.

use super::block::{self, Layer, Scope};
use super::operators::Operators;
use super::{Decision, NetworkSize};
use crate::genotype::Genotype;
use crate::graph::{GraphBuilder, GraphError, NodeId, Op};
use serde::Deserialize;

/// The cell of a space.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cell {
    /// Nodes, the input among them.
    nodes: usize,
    /// How often the channels double, plus one.
    stages: usize,
    /// The choices of an edge, in the order of the genes.
    operators: Operators,
    /// What stands between two stages; it is to halve the size and double the channels.
    reduction: Vec<Layer>,
}

impl Cell {
    /// Edges in the order of the genes: `(from, to)`.
    fn edges(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        (1..self.nodes).flat_map(|to| (0..to).map(move |from| (from, to)))
    }

    pub(super) fn choices(&self) -> Result<Vec<usize>, String> {
        if self.nodes < 2 || self.stages == 0 {
            return Err("`cell` needs 2 nodes and 1 stage at least".into());
        }
        Ok(self.edges().map(|_| self.operators.len()).collect())
    }

    /// All lists of layers that it has.
    pub(super) fn layers(&self) -> impl Iterator<Item = &[Layer]> {
        self.operators.all_layers().chain([&self.reduction[..]])
    }

    pub(super) fn decisions(&self) -> Vec<Decision> {
        self.edges().map(|(from, to)| self.operators.decision(format!("{from} → {to}"))).collect()
    }

    pub(super) fn arch(&self, genotype: &Genotype) -> String {
        let mut nodes = vec![String::from("|"); self.nodes - 1];
        for ((from, to), &gene) in self.edges().zip(genotype.genes()) {
            nodes[to - 1] += &format!("{}~{from}|", self.operators.name(gene));
        }
        nodes.join("+")
    }

    pub(super) fn parse(&self, arch: &str) -> Result<Genotype, String> {
        let nodes: Vec<&str> = arch.trim().split('+').collect();
        if nodes.len() != self.nodes - 1 {
            return Err(format!("expected {} nodes joined by `+`, found {}", self.nodes - 1, nodes.len()));
        }
        let mut genes = vec![];
        for (index, node) in nodes.iter().enumerate() {
            let edges: Vec<&str> = node.split('|').filter(|edge| !edge.is_empty()).collect();
            if edges.len() != index + 1 {
                return Err(format!("node {} has {} edges, expected {}", index + 1, edges.len(), index + 1));
            }
            for (from, edge) in edges.iter().enumerate() {
                let (operator, source) = edge.split_once('~').ok_or(format!("`{edge}` has no `~source`"))?;
                if source.parse() != Ok(from) {
                    return Err(format!("`{edge}` stands where the edge from node {from} is expected"));
                }
                genes.push(self.operators.gene(operator)?);
            }
        }
        Ok(Genotype::new(genes))
    }

    pub(super) fn lower(
        &self,
        builder: &mut GraphBuilder,
        genotype: &Genotype,
        network: &NetworkSize,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let scope = |in_channels, out_channels, stride| Scope::undecided(network, in_channels, out_channels, stride);
        let mut at = from;
        let stages = network.stages.unwrap_or(self.stages).min(self.stages);
        for stage in 0..stages {
            if stage > 0 {
                let channels = builder.shape(at).channels();
                let name = format!("reduction{stage}");
                at = block::lower(builder, &self.reduction, &scope(channels, 2 * channels, 2), &name, at)?;
            }
            for cell in 0..network.depth.unwrap_or(1) {
                let channels = builder.shape(at).channels();
                let name = format!("stage{stage}.cell{cell}");
                at = self.lower_cell(builder, genotype, &scope(channels, channels, 1), &name, at)?;
            }
        }
        Ok(at)
    }

    fn lower_cell(
        &self,
        builder: &mut GraphBuilder,
        genotype: &Genotype,
        scope: &Scope,
        name: &str,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let mut nodes = vec![from];
        let mut genes = genotype.genes().iter();
        for to in 1..self.nodes {
            let mut terms = vec![];
            for (source, &node) in nodes.iter().enumerate() {
                let gene = genes.next().expect("a genotype has a gene for each edge");
                let prefix = format!("{name}.edge{source}_{to}.{}", self.operators.name(*gene));
                terms.push(block::lower(builder, self.operators.layers(*gene), scope, &prefix, node)?);
            }
            nodes.push(match terms[..] {
                [only] => only,
                _ => builder.push(format!("{name}.node{to}"), Op::Add, &terms)?,
            });
        }
        Ok(*nodes.last().expect("a cell has nodes"))
    }
}
