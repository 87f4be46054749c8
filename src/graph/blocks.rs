//! The blocks of a network: the cells, reductions and layers that a space names its nodes by.

use super::{Graph, NodeId};

/// Consecutive nodes of one name: `stem`, `reduction1`, `stage0.cell2`, `stage1.layer0`, `head`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What the names of its nodes start with.
    pub name: String,
    /// The node in front of it that its nodes take; the last one, where they take the results of several blocks.
    pub input: NodeId,
    /// Its last node that another block, or the network's output, takes.
    pub output: NodeId,
}

impl Graph {
    /// The blocks between stem and head, in the order of their outputs. One that hands its input on is none.
    pub fn blocks(&self) -> Vec<Block> {
        let block = |id: NodeId| block_name(&self.node(id).name);
        let mut blocks: Vec<Block> = vec![];
        for id in self.ids().skip(1).filter(|&id| !matches!(block(id), "stem" | "head")) {
            let first = self.node(id).inputs.iter().copied().filter(|&input| block(input) != block(id)).max();
            match blocks.iter_mut().find(|known| known.name == block(id)) {
                Some(known) => known.input = first.map_or(known.input, |first| first.max(known.input)),
                None => {
                    let input = first.unwrap_or(NodeId(0));
                    blocks.push(Block { name: block(id).to_owned(), input, output: id });
                }
            }
        }
        for id in self.ids() {
            let outside = |input: &&NodeId| block(**input) != block(id);
            for input in self.node(id).inputs.iter().filter(outside).chain((id == self.output).then_some(&self.output))
            {
                if let Some(known) = blocks.iter_mut().find(|known| known.name == block(*input)) {
                    known.output = known.output.max(*input);
                }
            }
        }
        blocks.sort_by_key(|block| block.output);
        blocks
    }
}

fn block_name(node: &str) -> &str {
    let depth = if node.starts_with("stage") { 2 } else { 1 };
    node.match_indices('.').nth(depth - 1).map_or(node, |(end, _)| &node[..end])
}
