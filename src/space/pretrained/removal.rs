//! Which blocks a network does without: each by itself, or stage by stage the last ones.

use super::super::Decision;
use crate::graph::{Graph, NodeId};
use crate::prune::Block;
use std::collections::BTreeSet;

/// Choices of a block, of which the first is that of a gene that does not count.
const BLOCK: [&str; 2] = ["keep", "remove"];

/// What is chosen about blocks.
#[derive(Clone, Debug)]
pub(super) enum Removal {
    /// Nothing.
    None,
    /// Each of these by itself.
    Blocks(Vec<Block>),
    /// How many of each stage's stay.
    Stages(Vec<Stage>),
}

/// Blocks in a row that no other block has inside, whose sums have one shape.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    blocks: Vec<Block>,
    depths: Vec<usize>,
}

impl Removal {
    /// # Errors
    /// If both ways are asked for.
    pub(super) fn new(graph: &Graph, all: &[Block], each: bool, depths: &[usize]) -> Result<Self, String> {
        match (each, depths) {
            (false, []) => Ok(Self::None),
            (true, []) => Ok(Self::Blocks(all.to_vec())),
            (true, _) => Err("depths: expected none beside `blocks: true`, by which each block goes by itself".into()),
            (false, _) => {
                let outermost = all.iter().filter(|block| !all.iter().any(|other| other.body.contains(&block.sum)));
                let outermost: Vec<Block> = outermost.cloned().collect();
                let shape = |block: &Block| graph.node(block.sum).shape;
                let stages = outermost.chunk_by(|one, next| shape(one) == shape(next)).map(|blocks| {
                    let within: Vec<usize> = depths.iter().copied().filter(|&depth| depth <= blocks.len()).collect();
                    let depths = if within.is_empty() { vec![blocks.len()] } else { within };
                    Stage { blocks: blocks.to_vec(), depths }
                });
                Ok(Self::Stages(stages.collect()))
            }
        }
    }

    pub(super) fn decisions(&self) -> Vec<Decision> {
        match self {
            Self::None => vec![],
            Self::Blocks(blocks) => {
                let choices = || BLOCK.map(str::to_owned).to_vec();
                blocks.iter().map(|block| Decision { name: block.name.clone(), choices: choices() }).collect()
            }
            Self::Stages(stages) => {
                let decision = |(at, stage): (usize, &Stage)| Decision {
                    name: format!("depth{}", at + 1),
                    choices: stage.depths.iter().map(usize::to_string).collect(),
                };
                stages.iter().enumerate().map(decision).collect()
            }
        }
    }

    /// The genes by which the most blocks stay.
    pub(super) fn whole(&self) -> Vec<u8> {
        let deepest = |stage: &Stage| (0..stage.depths.len()).max_by_key(|&at| stage.depths[at]).unwrap_or(0) as u8;
        match self {
            Self::None => vec![],
            Self::Blocks(blocks) => vec![0; blocks.len()],
            Self::Stages(stages) => stages.iter().map(deepest).collect(),
        }
    }

    /// The number of its decisions.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Blocks(blocks) => blocks.len(),
            Self::Stages(stages) => stages.len(),
        }
    }

    /// The blocks that go by these genes.
    pub(super) fn removed<'a>(&'a self, genes: &'a [u8]) -> Vec<&'a Block> {
        match self {
            Self::None => vec![],
            Self::Blocks(blocks) => {
                blocks.iter().zip(genes).filter(|(_, gene)| **gene == 1).map(|(block, _)| block).collect()
            }
            Self::Stages(stages) => {
                let gone = |(stage, &gene): (&'a Stage, &u8)| &stage.blocks[stage.depths[usize::from(gene)]..];
                stages.iter().zip(genes).flat_map(gone).collect()
            }
        }
    }

    /// Sets genes of blocks inside of removed ones to 0, and gives what is gone.
    pub(super) fn canonical(&self, genes: &mut [u8]) -> BTreeSet<NodeId> {
        let mut gone: BTreeSet<NodeId> = BTreeSet::new();
        if let Self::Blocks(blocks) = self {
            // An outer block's sum stands behind an inner one's.
            for (block, gene) in blocks.iter().zip(genes).rev() {
                if gone.contains(&block.sum) {
                    *gene = 0;
                } else if *gene == 1 {
                    gone.extend(&block.body);
                }
            }
            return gone;
        }
        gone.extend(self.removed(genes).into_iter().flat_map(|block| &block.body));
        gone
    }

    /// Number of canonical genotypes together with those of groups of channels, of which the layers are given, with `widths` choices each: where no group's
    /// layers are in several blocks and nowhere else, a block is gone, or it has what is inside.
    pub(super) fn size<'a>(&self, groups: impl Iterator<Item = &'a [NodeId]>, widths: usize) -> f64 {
        let blocks: Vec<&Block> = match self {
            Self::None => vec![],
            Self::Blocks(blocks) => blocks.iter().collect(),
            Self::Stages(stages) => stages.iter().flat_map(|stage| &stage.blocks).collect(),
        };
        // The innermost block that has all of these; behind the blocks, what none has.
        let home = |nodes: &[NodeId]| {
            let has = |at: &usize| nodes.iter().all(|node| blocks[*at].body.contains(node));
            (0..blocks.len()).filter(has).min_by_key(|&at| blocks[at].body.len()).unwrap_or(blocks.len())
        };
        let mut sizes = vec![1.0; blocks.len() + 1];
        for group in groups {
            sizes[home(group)] *= widths as f64;
        }
        match self {
            // Inner blocks' sums stand before outer ones'.
            Self::Blocks(_) => {
                for (at, block) in blocks.iter().enumerate() {
                    let with = sizes[at] + 1.0;
                    sizes[home(&[block.sum])] *= with;
                }
            }
            Self::None => {}
            Self::Stages(stages) => {
                let mut first = 0;
                for stage in stages {
                    let own = first..first + stage.blocks.len();
                    let of_depth = |depth: &usize| sizes[own.clone()][..*depth].iter().product::<f64>();
                    let all: f64 = stage.depths.iter().map(of_depth).sum();
                    sizes[blocks.len()] *= all;
                    first = own.end;
                }
            }
        }
        sizes[blocks.len()]
    }
}
