//! Which channels can only be removed together.
//!
//! A layer's output channels are removed with the rows of its weight, and with the columns of whoever reads them; a sum needs the same
//! channels of all its operands, so that what makes them goes together (Fang et al. 2023, "DepGraph: Towards Any Structural Pruning",
//! Section 3). Each channel that a layer makes is an element; operators pass them on, sums and products unite them, and what is united
//! is one channel of a group. A group's channels are made by the same layers.

use crate::graph::{Graph, Node, NodeId, Op};
use std::collections::HashMap;

/// Channels that the same layers make and that are removed one by one, each from all of these layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Of the first layer that makes them, `stem.conv`; if it makes others besides, with its channels from the first to behind the last:
    /// `stem.conv[8..16]`.
    pub name: String,
    /// How many they are.
    pub channels: usize,
    /// Convolutions and linear layers whose results have them, depth-wise convolutions among them.
    pub producers: Vec<NodeId>,
    /// Convolutions and linear layers that sum over them.
    pub readers: Vec<NodeId>,
}

/// A channel of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index of the group.
    pub group: usize,
    /// Index of the channel within it.
    pub channel: usize,
}

/// The groups of a graph.
#[derive(Clone, Debug)]
pub struct Groups {
    groups: Vec<Group>,
    slots: Vec<Vec<Option<Slot>>>,
}

/// How a layer with weights deals with its operand's channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// Sums over all of them: rows are its own channels, columns the operand's.
    Dense,
    /// Keeps each: its rows are the operand's channels.
    DepthWise,
    /// Sums over parts of them, which are therefore left as they are.
    Grouped,
}

impl Layer {
    /// The layer that a node is; none where it is no convolution and not linear.
    pub(super) fn of(graph: &Graph, node: &Node) -> Option<Self> {
        match node.op {
            Op::Linear { .. } => Some(Self::Dense),
            Op::Conv2d(conv) if conv.groups == 1 => Some(Self::Dense),
            Op::Conv2d(conv) => {
                let is_depth_wise =
                    [graph.node(node.inputs[0]).shape.channels(), conv.out_channels] == [conv.groups; 2];
                Some(if is_depth_wise { Self::DepthWise } else { Self::Grouped })
            }
            _ => None,
        }
    }
}

impl Groups {
    /// Finds the groups of a live graph. Channels stay as they are where the input has them, the output, a convolution of several groups that is
    /// not depth-wise, a softmax, or an attention.
    pub fn of(graph: &Graph) -> Self {
        let mut elements = Elements::default();
        let mut all: Vec<Vec<usize>> = Vec::with_capacity(graph.nodes().len());
        let mut stays: Vec<usize> = vec![];
        for id in graph.ids() {
            let node = graph.node(id);
            let mut operands = node.inputs.iter().map(|input| &all[input.index()]);
            let made = match (node.op, Layer::of(graph, node)) {
                (_, Some(Layer::Dense)) | (Op::Input | Op::Zero, _) => elements.make(id, node.shape.channels()),
                (_, Some(Layer::Grouped)) => {
                    stays.extend(operands.flatten());
                    let made = elements.make(id, node.shape.channels());
                    stays.extend(&made);
                    made
                }
                (Op::Add | Op::Mul, _) => {
                    let first = operands.next().expect("a sum has operands").clone();
                    for other in operands {
                        first.iter().zip(other).for_each(|(&left, &right)| elements.unite(left, right));
                    }
                    first
                }
                (Op::Concat, _) => operands.flatten().copied().collect(),
                (Op::Attention(_) | Op::Softmax, _) => {
                    let last = operands.clone().next_back().expect("it has operands").clone();
                    stays.extend(operands.flatten());
                    last
                }
                _ => operands.next().expect("all but the input have operands").clone(),
            };
            all.push(made);
        }
        stays.extend(&all[0]);
        stays.extend(&all[graph.output().index()]);
        let (of_element, mut groups) = elements.groups(graph, &stays);
        let slots: Vec<Vec<Option<Slot>>> =
            all.iter().map(|made| made.iter().map(|&element| of_element[element]).collect()).collect();
        for id in graph.ids() {
            let Some(layer) = Layer::of(graph, graph.node(id)) else { continue };
            each_group(&slots[id.index()], |group| groups[group].producers.push(id));
            if layer == Layer::Dense {
                each_group(&slots[graph.node(id).inputs[0].index()], |group| groups[group].readers.push(id));
            }
        }
        for (index, group) in groups.iter_mut().enumerate() {
            let first = group.producers[0];
            let place = |slot: &Option<Slot>| slot.is_some_and(|slot| slot.group == index);
            let of_first = &slots[first.index()];
            let from = of_first.iter().position(place).expect("its producer has it");
            let to = of_first.iter().rposition(place).expect("its producer has it") + 1;
            group.name = graph.node(first).name.clone();
            if !of_first.iter().all(place) {
                group.name.push_str(&format!("[{from}..{to}]"));
            }
        }
        Self { groups, slots }
    }

    /// The groups, in the order of their first layers.
    pub fn all(&self) -> &[Group] {
        &self.groups
    }

    /// What each channel of a node's result is; none where it always stays.
    pub fn slots(&self, node: NodeId) -> &[Option<Slot>] {
        &self.slots[node.index()]
    }
}

/// Calls `f` once for each group that `slots` have.
fn each_group(slots: &[Option<Slot>], f: impl FnMut(usize)) {
    let mut found: Vec<usize> = slots.iter().flatten().map(|slot| slot.group).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().for_each(f);
}

/// Channels that layers make, in disjoint sets of those that are one.
#[derive(Debug, Default)]
struct Elements {
    /// Another of the same set; of its first, itself.
    parents: Vec<usize>,
    makers: Vec<NodeId>,
}

impl Elements {
    fn make(&mut self, maker: NodeId, count: usize) -> Vec<usize> {
        let from = self.parents.len();
        self.parents.extend(from..from + count);
        self.makers.extend(std::iter::repeat_n(maker, count));
        (from..from + count).collect()
    }

    /// The first of an element's set.
    fn first(&mut self, mut element: usize) -> usize {
        while self.parents[element] != element {
            self.parents[element] = self.parents[self.parents[element]];
            element = self.parents[element];
        }
        element
    }

    fn unite(&mut self, left: usize, right: usize) {
        let [left, right] = [self.first(left), self.first(right)];
        self.parents[left.max(right)] = left.min(right);
    }

    /// The slot of each element, and groups without names. Two channels are of one group if the same layers make them.
    fn groups(mut self, graph: &Graph, stays: &[usize]) -> (Vec<Option<Slot>>, Vec<Group>) {
        let count = self.parents.len();
        let firsts: Vec<usize> = (0..count).map(|element| self.first(element)).collect();
        let mut can_go = vec![true; count];
        stays.iter().for_each(|&element| can_go[firsts[element]] = false);
        let mut makers: Vec<Vec<NodeId>> = vec![vec![]; count];
        (0..count).for_each(|element| makers[firsts[element]].push(self.makers[element]));
        let mut known: HashMap<&[NodeId], usize> = HashMap::new();
        let mut groups: Vec<Group> = vec![];
        let mut slots: Vec<Option<Slot>> = vec![None; count];
        for element in 0..count {
            let first = firsts[element];
            if first != element {
                slots[element] = slots[first];
            } else if can_go[element] && makers[element].iter().any(|&maker| graph.node(maker).op != Op::Zero) {
                let group = *known.entry(&makers[element]).or_insert_with(|| {
                    groups.push(Group { name: String::new(), channels: 0, producers: vec![], readers: vec![] });
                    groups.len() - 1
                });
                slots[element] = Some(Slot { group, channel: groups[group].channels });
                groups[group].channels += 1;
            }
        }
        (slots, groups)
    }
}
