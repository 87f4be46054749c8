//! A digest of the graph that does not depend on names or on the order of nodes and of operands, but for those of attention.
//!
//! Colour refinement (Weisfeiler and Leman 1968) on the directed graph: a node's colour starts as its
//! operator and shape and is refined by the multisets of its operands' and users' colours. Unlike an
//! expression that is unfolded into a tree, it tells one shared convolution from two equal ones.

use super::{Graph, Margins, Node, Op};
use crate::genotype::ArchId;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

type Colour = [u8; 32];

impl Graph {
    /// Id of this graph's structure: equal for isomorphic graphs. Take it of the [live](Graph::live) graph.
    pub fn structure_id(&self) -> ArchId {
        self.structure_id_marked(&BTreeMap::new())
    }

    /// [`Graph::structure_id`] of a graph some of whose nodes, by name, differ from others of their kind.
    pub fn structure_id_marked(&self, marks: &BTreeMap<&str, u8>) -> ArchId {
        let mut users: Vec<Vec<usize>> = vec![vec![]; self.nodes.len()];
        for id in self.ids() {
            self.node(id).inputs.iter().for_each(|i| users[i.0].push(id.0));
        }
        let mark = |node: &Node| marks.get(node.name.as_str()).map_or(&[][..], std::slice::from_ref);
        let mut colours: Vec<Colour> =
            self.nodes.iter().map(|node| digest(&[&label(&node.op, node.shape.dims()), mark(node)])).collect();
        // One pass each way carries a difference through the whole of an acyclic graph; the second
        // round tells nodes apart whose ancestors differ in their users alone.
        for _ in 0..2 {
            for at in 0..self.nodes.len() {
                let operands = self.nodes[at].inputs.iter().map(|i| colours[i.0]);
                let operands = match self.nodes[at].op {
                    Op::Attention(_) => {
                        operands.zip(0u8..).map(|(colour, place)| digest(&[&colour, &[place]])).collect()
                    }
                    _ => operands.collect(),
                };
                colours[at] = refine(colours[at], operands);
            }
            for at in (0..self.nodes.len()).rev() {
                let by = users[at].iter().map(|&user| colours[user]);
                colours[at] = refine(colours[at], by.collect());
            }
        }
        let whole = refine(colours[self.output.0], colours);
        ArchId::new(crate::genotype::hex(&whole[..8]))
    }
}

fn label(op: &Op, dims: Vec<usize>) -> Vec<u8> {
    match op {
        // Under the name that it had as an operator of its own, so that ids stay.
        Op::Pad(Margins::CROP) => format!("Crop{dims:?}").into_bytes(),
        op => format!("{op:?}{dims:?}").into_bytes(),
    }
}

fn refine(own: Colour, mut others: Vec<Colour>) -> Colour {
    others.sort_unstable();
    let others: Vec<u8> = others.concat();
    digest(&[&own, &others])
}

fn digest(parts: &[&[u8]]) -> Colour {
    parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part)).finalize().into()
}
