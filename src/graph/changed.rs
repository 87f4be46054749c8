//! Graphs that are made of others, node by node.

use super::{Graph, GraphBuilder, GraphError, NodeId, Op, hash};

impl Graph {
    /// The graph with `op` of each node, but for the input, in the place of its operator; where that is none, what reads the node reads
    /// its first operand. Names stay, and zeros keep their shape, whatever they stand behind.
    ///
    /// # Errors
    /// If the operands' shapes don't fit an operator.
    pub fn with_operators(&self, op: impl Fn(NodeId) -> Option<Op>) -> Result<Graph, GraphError> {
        let mut builder = GraphBuilder::new(self.input_shape());
        let mut places = vec![builder.input()];
        for id in self.ids().skip(1) {
            let node = self.node(id);
            let inputs: Vec<NodeId> = node.inputs.iter().map(|input| places[input.0]).collect();
            places.push(match op(id) {
                Some(Op::Zero) => builder.zeros(node.name.as_str(), node.shape)?,
                Some(op) => builder.push(node.name.as_str(), op, &inputs)?,
                None => inputs[0],
            });
        }
        Ok(builder.finish(places[self.output.0]))
    }
}

/// A builder that goes on behind a graph, whose nodes keep their ids.
impl From<Graph> for GraphBuilder {
    fn from(graph: Graph) -> Self {
        let names = graph.nodes.iter().zip(0..).map(|(node, at)| (hash(&node.name), NodeId(at)));
        Self { names: names.collect(), nodes: graph.nodes }
    }
}
