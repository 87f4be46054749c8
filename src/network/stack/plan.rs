//! Which nodes of several graphs are one operation, and in which order the operations run.
//!
//! Nodes of the same operator on operands of the same shapes go together when they are ready at the same time. Of
//! several operations that could run, the one whose nodes that are left come first on average is next (agenda-based
//! batching, Neubig et al. 2017, "On-the-fly Operation Batching in Dynamic Computation Graphs", Section 3.2). Where a
//! node comes is its depth as a share of its graph's: so short graphs wait for long ones and meet them at the next stage.
//! With depths themselves, 24 cells of NAS-Bench-201 take half as many operations again.

use crate::graph::{Graph, NodeId, Op, Shape};

/// Operations in the order in which they run. The first is the networks' input, which all share.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    /// Where each graph's output is.
    pub(super) outputs: Vec<Place>,
}

/// Nodes that are one operation; their results are slots of one tensor.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) op: Op,
    /// Shapes of the operands, and of the result.
    pub(super) operands: Vec<Shape>,
    pub(super) shape: Shape,
    /// Graph and node of each slot; none for the input.
    pub(super) nodes: Vec<(usize, NodeId)>,
    /// Where each operand comes from.
    pub(super) sources: Vec<Vec<Piece>>,
}

/// What an operation takes of one earlier one.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) group: usize,
    /// The slots taken, and whose they become.
    pub(super) slots: Vec<usize>,
    pub(super) positions: Vec<usize>,
}

/// Where a node's result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) group: usize,
    pub(super) slot: usize,
}

impl Plan {
    /// The operations of all graphs. None has more slots than there are graphs, so that scratch memory is bounded.
    pub(super) fn new(graphs: &[&Graph]) -> Self {
        let input = graphs.first().map_or(Shape::Vector(0), |graph| graph.input_shape());
        let first = Group { op: Op::Input, operands: vec![], shape: input, nodes: vec![], sources: vec![] };
        let (mut groups, mut agenda) = (vec![first], Agenda::new(graphs));
        for (member, graph) in graphs.iter().enumerate() {
            if let Some(id) = graph.ids().next() {
                agenda.found(member, id, Place { group: 0, slot: 0 });
            }
        }
        while let Some((kind, nodes)) = agenda.next() {
            let Kind { op, operands } = agenda.kinds[kind].clone();
            let sources = (0..operands.len()).map(|operand| agenda.pieces(&nodes, operand)).collect();
            let shape = nodes.first().map_or(Shape::Vector(0), |&(member, id)| graphs[member].node(id).shape);
            for (slot, &(member, id)) in nodes.iter().enumerate() {
                agenda.found(member, id, Place { group: groups.len(), slot });
            }
            groups.push(Group { op, operands, shape, nodes, sources });
        }
        let output = |(member, graph): (usize, &&Graph)| agenda.place(member, graph.output());
        let outputs = graphs.iter().enumerate().map(output).collect();
        Self { groups, outputs }
    }
}

/// What nodes must have in common to be one operation.
#[derive(Clone, Debug, PartialEq)]
struct Kind {
    op: Op,
    operands: Vec<Shape>,
}

struct Agenda<'a> {
    graphs: &'a [&'a Graph],
    kinds: Vec<Kind>,
    /// Nodes of each kind whose operands are known.
    ready: Vec<Vec<(usize, NodeId)>>,
    /// Sum of positions and number of the nodes of each kind that have not run.
    left: Vec<(usize, usize)>,
    nodes: Vec<Vec<State>>,
}

/// A graph's longest path, in the parts that depths are counted in.
const WHOLE: usize = 1 << 16;

/// A node of a graph.
#[derive(Clone, Debug, Default)]
struct State {
    /// None for the input, and for what passes its operand on.
    kind: Option<usize>,
    /// Operations on the longest path to it; once the whole graph is read, in parts of [`WHOLE`] of its longest path.
    depth: usize,
    /// Operands that are not known yet.
    missing: usize,
    takers: Vec<NodeId>,
    place: Option<Place>,
}

impl<'a> Agenda<'a> {
    fn new(graphs: &'a [&'a Graph]) -> Self {
        let mut agenda = Self { graphs, kinds: vec![], ready: vec![], left: vec![], nodes: vec![] };
        for graph in graphs {
            let mut nodes: Vec<State> = vec![State::default(); graph.nodes().len()];
            for id in graph.ids() {
                let node = graph.node(id);
                let deepest = node.inputs.iter().map(|input| nodes[input.index()].depth).max().unwrap_or(0);
                for input in &node.inputs {
                    nodes[input.index()].takers.push(id);
                }
                let state = &mut nodes[id.index()];
                state.missing = node.inputs.len();
                let passes_on = matches!(node.op, Op::Input | Op::Identity | Op::Dropout { .. });
                state.depth = deepest + usize::from(!passes_on);
                if !passes_on {
                    let operands = node.inputs.iter().map(|&input| graph.node(input).shape).collect();
                    nodes[id.index()].kind = Some(agenda.kind(Kind { op: node.op, operands }));
                }
            }
            let longest = nodes.iter().map(|state| state.depth).max().unwrap_or(0).max(1);
            for state in &mut nodes {
                state.depth = state.depth * WHOLE / longest;
                if let Some(kind) = state.kind {
                    let (depths, count) = &mut agenda.left[kind];
                    (*depths, *count) = (*depths + state.depth, *count + 1);
                }
            }
            agenda.nodes.push(nodes);
        }
        agenda
    }

    fn kind(&mut self, kind: Kind) -> usize {
        self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.kinds.push(kind);
            self.ready.push(vec![]);
            self.left.push((0, 0));
            self.kinds.len() - 1
        })
    }

    /// A node's result is known: so may be operands of others.
    fn found(&mut self, member: usize, id: NodeId, place: Place) {
        let mut known = vec![id];
        while let Some(id) = known.pop() {
            self.nodes[member][id.index()].place = Some(place);
            for taker in self.nodes[member][id.index()].takers.clone() {
                let state = &mut self.nodes[member][taker.index()];
                state.missing -= 1;
                match (state.missing, state.kind) {
                    (0, Some(kind)) => self.ready[kind].push((member, taker)),
                    (0, None) => known.push(taker),
                    _ => {}
                }
            }
        }
    }

    /// The nodes that run next, and their kind.
    fn next(&mut self) -> Option<(usize, Vec<(usize, NodeId)>)> {
        let could = (0..self.kinds.len()).filter(|&kind| !self.ready[kind].is_empty());
        let earlier = |&a: &usize, &b: &usize| {
            let ((of_a, count_a), (of_b, count_b)) = (self.left[a], self.left[b]);
            (of_a * count_b).cmp(&(of_b * count_a))
        };
        let kind = could.min_by(earlier)?;
        let mut nodes = std::mem::take(&mut self.ready[kind]);
        nodes.sort_by_key(|&(member, id)| (self.nodes[member][id.index()].depth, member, id));
        self.ready[kind] = nodes.split_off(nodes.len().min(self.graphs.len()));
        // In the order of what they take, so that it is mostly one piece.
        nodes.sort_by_key(|&(member, id)| (self.place(member, self.graphs[member].node(id).inputs[0]), member, id));
        for &(member, id) in &nodes {
            let (depths, count) = &mut self.left[kind];
            (*depths, *count) = (*depths - self.nodes[member][id.index()].depth, *count - 1);
        }
        Some((kind, nodes))
    }

    fn place(&self, member: usize, id: NodeId) -> Place {
        self.nodes[member][id.index()].place.expect("operands run before what takes them")
    }

    /// Where one operand of these nodes comes from, in pieces of one operation each.
    fn pieces(&self, nodes: &[(usize, NodeId)], operand: usize) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = vec![];
        for (position, &(member, id)) in nodes.iter().enumerate() {
            let Place { group, slot } = self.place(member, self.graphs[member].node(id).inputs[operand]);
            match pieces.iter_mut().find(|piece| piece.group == group) {
                Some(piece) => {
                    piece.slots.push(slot);
                    piece.positions.push(position);
                }
                None => pieces.push(Piece { group, slots: vec![slot], positions: vec![position] }),
            }
        }
        pieces
    }
}
