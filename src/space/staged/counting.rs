//! Which genes count: those of layers that are there, and of choices that the layer's block names. That is how a choice depends on
//! another one.

use super::choices::{BLOCK, Choices};
use super::{Stage, Staged};
use crate::space::block;
use crate::space::extent::Extent;

impl Staged {
    /// Number of architectures.
    pub(in crate::space) fn size(&self) -> f64 {
        let of_stage = |stage: &Stage, of_all: Option<&str>| {
            let layers = self.layers(stage);
            over_blocks(&stage.choices, stage.block.as_deref().or(of_all), &|block| {
                let layer = over_blocks(layers, block, &|block| {
                    let counts = layers.0.iter().filter(|one| one.name != BLOCK && self.names(block, &one.name));
                    counts.map(|one| one.values.len() as f64).product()
                });
                let depths: f64 = stage.depth.0.iter().map(|&depth| layer.powi(depth as i32)).sum();
                depths * product(&stage.choices)
            })
        };
        over_blocks(&self.choices, None, &|block| {
            product(&self.choices) * self.stages.iter().map(|stage| of_stage(stage, block)).product::<f64>()
        })
    }

    /// Sets genes that don't count to 0.
    pub(in crate::space) fn canonical(&self, genes: &mut [u8]) {
        let mut at = self.choices.0.len();
        let of_all = chosen_block(&self.choices, &genes[..at]);
        for stage in &self.stages {
            let is_decided = stage.depth.0.len() > 1;
            let depth = if is_decided { stage.depth.0[usize::from(genes[at])] } else { stage.depth.0[0] };
            at += usize::from(is_decided);
            let own = &genes[at..at + stage.choices.0.len()];
            let of_stage = chosen_block(&stage.choices, own).or(stage.block.as_deref()).or(of_all);
            at += own.len();
            let layers = self.layers(stage);
            for layer in 0..stage.depth.most() {
                let of_layer = &mut genes[at..at + layers.0.len()];
                at += of_layer.len();
                if layer >= depth {
                    of_layer.fill(0);
                    continue;
                }
                let block = chosen_block(layers, of_layer).or(of_stage);
                for (gene, choice) in of_layer.iter_mut().zip(&layers.0) {
                    if *gene > 0 && choice.name != BLOCK && !self.names(block, &choice.name) {
                        *gene = 0;
                    }
                }
            }
        }
    }

    /// Whether a block's numbers have the name of a choice among them.
    fn names(&self, block: Option<&str>, name: &str) -> bool {
        let mut extents = vec![];
        block::extents(block.and_then(|block| self.blocks.layers_of(block)).unwrap_or_default(), &mut extents);
        extents.into_iter().flat_map(Extent::chosen).any(|named| named == name)
    }
}

/// The sum over the blocks that `choices` decide between, or the value of the block that is decided already.
fn over_blocks(choices: &Choices, decided: Option<&str>, value: &dyn Fn(Option<&str>) -> f64) -> f64 {
    match choices.0.iter().find(|choice| choice.name == BLOCK) {
        Some(blocks) => blocks.values.iter().map(|block| value(Some(&block.text))).sum(),
        None => value(decided),
    }
}

/// Ways to make all choices but that of the block.
fn product(choices: &Choices) -> f64 {
    let others = choices.0.iter().filter(|choice| choice.name != BLOCK);
    others.map(|choice| choice.values.len() as f64).product()
}

fn chosen_block<'a>(choices: &'a Choices, genes: &[u8]) -> Option<&'a str> {
    let of = choices.0.iter().zip(genes).find(|(choice, _)| choice.name == BLOCK);
    of.map(|(choice, &gene)| choice.values[usize::from(gene)].text.as_str())
}
