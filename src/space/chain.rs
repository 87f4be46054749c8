//! Chain spaces: layers one behind the other in stages, one of several operators each.
//!
//! Architectures are written as NAS-Bench-Macro does (Su et al. 2021): the operators' names without a
//! separator where each is one character (`20110010`), else joined by `-`.

use super::block::{self, Layer, Scope};
use super::extent::Extent;
use super::operators::Operators;
use super::{Decision, NetworkSize};
use crate::genotype::Genotype;
use crate::graph::{GraphBuilder, GraphError, NodeId};
use serde::Deserialize;

/// The chain of a space.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chain {
    stages: Vec<Stage>,
    operators: Operators,
}

/// Layers of one size.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    layers: usize,
    channels: Extent,
    /// Stride of the stage's first layer.
    stride: usize,
}

impl Chain {
    /// Number of layers of each stage, in a network of that depth.
    fn layers<'a>(&'a self, network: &'a NetworkSize) -> impl Iterator<Item = (&'a Stage, usize)> {
        let stages = self.stages.iter().take(network.stages.unwrap_or(self.stages.len()));
        stages.map(|stage| (stage, network.depth.unwrap_or(stage.layers)))
    }

    pub(super) fn choices(&self, network: &NetworkSize) -> Vec<usize> {
        let layers = self.layers(network).map(|(_, layers)| layers).sum();
        vec![self.operators.len(); layers]
    }

    /// All lists of layers that it has.
    pub(super) fn layer_lists(&self) -> impl Iterator<Item = &[Layer]> {
        self.operators.all_layers()
    }

    /// The stages' channels.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Extent> {
        self.stages.iter().map(|stage| &stage.channels)
    }

    pub(super) fn decisions(&self, network: &NetworkSize) -> Vec<Decision> {
        let stages = self.layers(network).enumerate();
        let names =
            stages.flat_map(|(at, (_, layers))| (0..layers).map(move |layer| format!("{}.{}", at + 1, layer + 1)));
        names.map(|name| self.operators.decision(name)).collect()
    }

    fn separator(&self) -> &'static str {
        if self.operators.names().all(|name| name.chars().count() == 1) { "" } else { "-" }
    }

    pub(super) fn arch(&self, genotype: &Genotype) -> String {
        let names: Vec<&str> = genotype.genes().iter().map(|&gene| self.operators.name(gene)).collect();
        names.join(self.separator())
    }

    pub(super) fn parse(&self, arch: &str, layers: usize) -> Result<Genotype, String> {
        let names: Vec<String> = match self.separator() {
            "" => arch.trim().chars().map(String::from).collect(),
            separator => arch.trim().split(separator).map(String::from).collect(),
        };
        if names.len() != layers {
            return Err(format!("expected {layers} operators, found {}", names.len()));
        }
        let genes = names.iter().map(|name| self.operators.gene(name)).collect::<Result<_, _>>()?;
        Ok(Genotype::new(genes))
    }

    pub(super) fn lower(
        &self,
        builder: &mut GraphBuilder,
        genotype: &Genotype,
        network: &NetworkSize,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let mut at = from;
        let mut genes = genotype.genes().iter();
        for (index, (stage, layers)) in self.layers(network).enumerate() {
            for layer in 0..layers {
                let mut scope = Scope {
                    in_channels: builder.shape(at).channels(),
                    out_channels: 0,
                    stride: if layer == 0 { stage.stride } else { 1 },
                    width: network.width,
                    classes: network.classes,
                    chosen: &[],
                };
                scope.out_channels = stage.channels.resolve(&scope, scope.in_channels);
                let gene = *genes.next().expect("a genotype has a gene for each layer");
                let name = format!("stage{index}.layer{layer}.op{}", self.operators.name(gene));
                at = block::lower(builder, self.operators.layers(gene), &scope, &name, at)?;
            }
        }
        Ok(at)
    }
}
