//! Reachability: which nodes take part in the result.
//!
//! A node is *varying* if it depends on the input through no [`Op::Zero`], and *live* if it is varying and
//! the output depends on it. What is not live is an edge that leads nowhere, or a constant (a
//! convolution of an absent edge). NAS-Bench-201 counts such operators; a target never needs them. Two
//! operators without parameters on the same operands have one value and become one node.

use super::{Attention, AttentionKind, Graph, GraphError, Node, NodeId, Op};

impl Graph {
    /// The graph of the live nodes alone: absent edges leave the sums that they were part of, sums of one
    /// are that one, identities and dropout are passed through. The names stay, and so do the weights.
    ///
    /// # Errors
    /// [`GraphError::Dead`] if the output does not depend on the input.
    pub fn live(&self) -> Result<Graph, GraphError> {
        let mut nodes: Vec<Node> = Vec::new();
        // For each old node, the new node that has its value; none where it does not vary.
        let mut value: Vec<Option<NodeId>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let operands: Vec<NodeId> = node.inputs.iter().filter_map(|i| value[i.0]).collect();
            let complete = operands.len() == node.inputs.len();
            let new = match node.op {
                Op::Input => Some(place(&mut nodes, node.clone())),
                Op::Zero => None,
                Op::Identity | Op::Dropout { .. } => operands.first().copied(),
                Op::Add if operands.len() < 2 => operands.first().copied(),
                // A concatenation keeps its channels' places, so an absent part of it stays as zeros; a softmax of zeros is a mean.
                Op::Concat | Op::Attention(Attention { kind: AttentionKind::Softmax, .. })
                    if !complete && self.takes_zeros(node, &value) =>
                {
                    let part = |input: &NodeId| value[input.0].unwrap_or_else(|| zeros(&mut nodes, self.node(*input)));
                    let inputs = node.inputs.iter().map(part).collect();
                    Some(place(&mut nodes, Node { inputs, ..node.clone() }))
                }
                _ if !complete && node.op != Op::Add => None,
                _ => Some(place(&mut nodes, Node { inputs: operands, ..node.clone() })),
            };
            value.push(new);
        }
        let output = value[self.output.0].ok_or(GraphError::Dead)?;
        Ok(Graph { nodes, output }.reachable())
    }

    /// Whether something is left of a concatenation or an attention with absent operands: any part; the values that are looked at.
    fn takes_zeros(&self, node: &Node, value: &[Option<NodeId>]) -> bool {
        let needed = if node.op == Op::Concat { 0 } else { node.inputs.len() - 1 };
        node.inputs[needed..].iter().any(|input| value[input.0].is_some())
    }

    /// Whether the output depends on the input.
    pub fn is_alive(&self) -> bool {
        self.live().is_ok()
    }

    /// The graph without the nodes that the output does not need, but with its constants: nothing needs what an absent edge
    /// comes from.
    pub fn needed(&self) -> Graph {
        let mut nodes = self.nodes.clone();
        nodes.iter_mut().filter(|node| node.op == Op::Zero).for_each(|node| node.inputs = vec![NodeId(0)]);
        Graph { nodes, output: self.output }.reachable()
    }

    /// The graph without the nodes that the output does not need.
    fn reachable(&self) -> Graph {
        let mut needed = vec![false; self.nodes.len()];
        needed[0] = true;
        needed[self.output.0] = true;
        for id in self.ids().rev().filter(|id| id.0 > 0) {
            if needed[id.0] {
                self.node(id).inputs.iter().for_each(|i| needed[i.0] = true);
            }
        }
        let mut place = vec![NodeId(0); self.nodes.len()];
        let mut nodes = Vec::new();
        for id in self.ids().filter(|id| needed[id.0]) {
            let node = self.node(id);
            let inputs = node.inputs.iter().map(|i| place[i.0]).collect();
            place[id.0] = NodeId(nodes.len());
            nodes.push(Node { inputs, ..node.clone() });
        }
        Graph { nodes, output: place[self.output.0] }
    }
}

/// The node that computes what `node` does: one that is there already, or `node` itself.
fn place(nodes: &mut Vec<Node>, node: Node) -> NodeId {
    let has_parameters =
        matches!(node.op, Op::Conv2d(_) | Op::Linear { .. } | Op::BatchNorm | Op::LayerNorm | Op::PositionEmbedding);
    let equal = |other: &Node| other.op == node.op && other.inputs == node.inputs && other.shape == node.shape;
    let known = (!has_parameters).then(|| nodes.iter().position(equal)).flatten();
    NodeId(known.unwrap_or_else(|| {
        nodes.push(node);
        nodes.len() - 1
    }))
}

/// Zeros in the shape of `node`, as a node on the network's input.
fn zeros(nodes: &mut Vec<Node>, node: &Node) -> NodeId {
    place(nodes, Node { name: format!("{}.zero", node.name), op: Op::Zero, inputs: vec![NodeId(0)], shape: node.shape })
}
