//! Blocks that a network can do without: what is added to its own input.

use super::slice::needed;
use crate::graph::{Graph, NodeId, Op};
use std::collections::BTreeMap;

/// A residual block whose shortcut is the identity: without the body, its sum is the shortcut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Name of the sum.
    pub name: String,
    /// The sum.
    pub sum: NodeId,
    /// The operand that is left of it.
    pub shortcut: NodeId,
    /// What nothing needs without the sum.
    pub body: Vec<NodeId>,
}

/// The sums of a live graph one operand of which dominates the others, which is to say that these depend on the input through it alone; with a
/// layer that goes with them.
pub fn removable(graph: &Graph) -> Vec<Block> {
    let dominators = Dominators::of(graph);
    let before = needed(graph, &BTreeMap::new());
    let block = |sum: NodeId| {
        let node = graph.node(sum);
        let dominates = |shortcut: &NodeId| {
            let value = passed_through(graph, *shortcut);
            let mut others = node.inputs.iter().filter(|input| *input != shortcut).peekable();
            others.peek().is_some() && others.all(|&other| dominators.dominates(value, other))
        };
        let shortcut = node.inputs.iter().copied().find(dominates)?;
        let after = needed(graph, &[(sum, shortcut)].into());
        let gone = |id: &NodeId| before[id.index()] && !after[id.index()] && *id != sum;
        let body: Vec<NodeId> = graph.ids().filter(gone).collect();
        let has_layer = body.iter().any(|&id| matches!(graph.node(id).op, Op::Conv2d(_) | Op::Linear { .. }));
        has_layer.then(|| Block { name: node.name.clone(), sum, shortcut, body })
    };
    graph.ids().filter(|&id| graph.node(id).op == Op::Add && before[id.index()]).filter_map(block).collect()
}

/// What a node passes through unchanged.
fn passed_through(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Op::Identity | Op::Dropout { .. } = graph.node(id).op {
        id = graph.node(id).inputs[0];
    }
    id
}

/// For each node the last one that all paths to it lead through; none of a constant.
struct Dominators(Vec<Option<usize>>);

impl Dominators {
    fn of(graph: &Graph) -> Self {
        let mut all = Self(Vec::with_capacity(graph.nodes().len()));
        for node in graph.nodes() {
            let operands = node.inputs.iter().map(|input| input.index());
            let varying = operands.filter(|&input| all.0[input].is_some());
            let last = match node.op {
                Op::Input => Some(0),
                Op::Zero => None,
                _ => varying.reduce(|left, right| all.common(left, right)),
            };
            all.0.push(last);
        }
        all
    }

    /// The last node that all paths to both lead through.
    fn common(&self, mut left: usize, mut right: usize) -> usize {
        while left != right {
            // The one behind the other in topological order goes back; the input, which is before all, never does.
            let later = if left > right { &mut left } else { &mut right };
            *later = self.0[*later].unwrap_or(0);
        }
        left
    }

    /// Whether all paths to `other` lead through `id`, and it is another node.
    fn dominates(&self, id: NodeId, other: NodeId) -> bool {
        let mut at = other.index();
        while at > id.index() {
            match self.0[at] {
                Some(before) => at = before,
                None => return false,
            }
        }
        at == id.index() && id != other
    }
}
