//! Many networks at once, of different architectures: what a GPU needs, for which one network is too small.
//!
//! Networks run in lockstep. Nodes of the same operator and shapes that are ready at the same time ([`plan`]) are one
//! Candle operation on a tensor `[rows, channels, batch · pixels]`, a row for each node and batch of images; in the
//! reverse pass, for all cotangents at once, `[rows, channels, cotangents · batch · pixels]`. With channels
//! before the batch, a convolution is a list of pixels to take and one product of matrices for all rows, and its result
//! lies as the next operator takes it. So operations are about as many as those of the largest of the networks.
//!
//! All is Candle's own operations, the same on any device. The rules are those of [`super::reverse`].

mod forward;
mod plan;
mod reverse;
mod tables;
#[cfg(test)]
mod tests;

use super::{Weights, WeightsError};
use crate::graph::{Conv2d, Graph, NodeId, Op};
use candle_core::{Device, Tensor};
use plan::Plan;
use tables::Tables;

/// One network of a stack.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its graph.
    pub graph: &'a Graph,
    /// Its weights; those on the CPU are read fastest.
    pub weights: &'a Weights,
}

/// Networks that run together, each on the same batches.
#[derive(Debug)]
pub struct Stack {
    plan: Plan,
    tables: Tables,
    /// `[batches, channels, samples · pixels]`
    input: Tensor,
    batches: usize,
    samples: usize,
    device: Device,
}

/// The products of one layer's gradients.
#[derive(Debug)]
pub struct LayerProducts {
    /// The network, by its number in the stack.
    pub member: usize,
    /// The layer.
    pub node: NodeId,
    /// G_b · G_0ᵀ for each batch b one after the other, `[batches · samples, samples]` row by row: row n of G_b is the
    /// gradient of the sum of sample n's outputs with respect to the layer's weight.
    pub products: Vec<f32>,
}

impl Stack {
    /// Prepares `members` to run on `batches`, each `[samples, channels, height, width]`; batch normalisation sees one
    /// batch at a time.
    ///
    /// # Errors
    /// If a weight is missing, batches differ in shape or do not fit the graphs' inputs, a graph is not
    /// [one for stacks](Self::takes), or the device fails.
    pub fn new(members: &[Member], batches: &[Tensor]) -> Result<Self, WeightsError> {
        let wrong = |what: String| WeightsError::Candle(candle_core::Error::Msg(what));
        if let Some(node) = members.iter().flat_map(|member| member.graph.nodes()).find(|node| !stacks(&node.op)) {
            return Err(wrong(format!("`{}` does not run in stacks", node.name)));
        }
        let first = batches.first().ok_or_else(|| wrong("a stack needs a batch".to_owned()))?;
        let (samples, channels, height, width) = first.dims4()?;
        for member in members {
            let takes = member.graph.input_shape().dims();
            if takes != [channels, height, width] {
                return Err(wrong(format!("a network takes {takes:?}, the batch has shape {:?}", first.dims())));
            }
        }
        // [batches, channels, samples · pixels]
        let input = Tensor::stack(batches, 0)?.transpose(1, 2)?.contiguous()?.flatten_from(2)?;
        let device = first.device().clone();
        let graphs: Vec<&Graph> = members.iter().map(|member| member.graph).collect();
        let plan = Plan::new(&graphs);
        let tables = Tables::new(&plan, members, batches.len(), &device)?;
        Ok(Self { plan, tables, input, batches: batches.len(), samples, device })
    }

    /// Whether `graph` can run in a stack: transformers run alone, their products are large enough for a device.
    pub fn takes(graph: &Graph) -> bool {
        graph.nodes().iter().all(|node| stacks(&node.op))
    }

    /// Operations on all members' nodes of a kind, each a few of Candle's.
    pub fn operations(&self) -> usize {
        self.plan.groups.len() - 1
    }

    /// Runs all networks forward and shows the results of each operation: of which nodes (member, node), and
    /// `[nodes, batches, channels, samples, pixels]`. Each is dropped when nothing takes it any more.
    ///
    /// # Errors
    /// If Candle or `see` fails.
    pub fn forward<E: From<WeightsError>>(
        &self,
        mut see: impl FnMut(&[(usize, NodeId)], Tensor) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut last = vec![0; self.plan.groups.len()];
        for (at, group) in self.plan.groups.iter().enumerate() {
            group.sources.iter().flatten().for_each(|piece| last[piece.group] = at);
        }
        let mut known = forward::Forwarded::new(self);
        for at in 1..self.plan.groups.len() {
            known.run(self, at)?;
            let group = &self.plan.groups[at];
            let (channels, pixels) = (group.shape.channels(), group.shape.pixels());
            let dims = [group.nodes.len(), self.batches, channels, self.samples, pixels];
            see(&group.nodes, known.value(at).reshape(dims.as_slice()).map_err(WeightsError::from)?)?;
            (0..=at).filter(|&before| last[before] <= at).for_each(|before| known.forget(before));
        }
        Ok(())
    }

    /// The products of all layers' gradients under the cotangents of the samples' summed outputs.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn products(&self) -> Result<Vec<LayerProducts>, WeightsError> {
        let mut known = forward::Forwarded::new(self);
        for at in 1..self.plan.groups.len() {
            known.run(self, at)?;
        }
        let products = reverse::products(self, known)?;
        if products.is_empty() {
            return Ok(vec![]);
        }
        // One transfer for all.
        let flat: Vec<Tensor> = products.iter().map(|(_, one)| one.flatten_all()).collect::<Result<_, _>>()?;
        let values = Tensor::cat(&flat, 0)?.to_vec1::<f32>()?;
        let nodes = products.iter().flat_map(|(at, _)| &self.plan.groups[*at].nodes);
        let of_node = values.chunks_exact(self.batches * self.samples * self.samples);
        let layer = |(&(member, node), values): (&(usize, NodeId), &[f32])| LayerProducts {
            member,
            node,
            products: values.to_vec(),
        };
        Ok(nodes.zip(of_node).map(layer).collect())
    }

    /// The rows of an operation's tensors.
    fn rows(&self, at: usize) -> usize {
        match at {
            0 => self.batches,
            _ => self.plan.groups[at].nodes.len() * self.batches,
        }
    }
}

fn stacks(op: &Op) -> bool {
    !matches!(op, Op::LayerNorm | Op::Attention(_) | Op::PositionEmbedding)
}

/// Bytes that a network adds to a stack on `batches` of `samples` images, roughly; with `reverse`, for as many
/// cotangents as samples.
pub fn stacked_bytes(graph: &Graph, samples: usize, batches: usize, reverse: bool) -> u64 {
    // Elements an image that an operation takes for itself, forward and in reverse: the taps of its windows, twice
    // while their order is changed.
    let scratch = |id: NodeId| {
        let node = graph.node(id);
        let from = node.inputs.first().map_or(node.shape, |&from| graph.node(from).shape);
        let (maps, channels) = (from.elements() + node.shape.elements(), from.channels());
        match node.op {
            Op::Conv2d(Conv2d { window, .. }) | Op::MaxPool(window) | Op::AvgPool(window) => {
                let taps = 2 * window.taps();
                let back = node.shape.channels() * from.pixels().max(node.shape.pixels());
                (taps * channels * node.shape.pixels(), taps * back + maps)
            }
            _ => (maps, 2 * maps),
        }
    };
    let most = |of: fn((usize, usize)) -> usize| graph.ids().map(|id| of(scratch(id))).max().unwrap_or(0);
    let elements: usize = graph.nodes().iter().map(|node| node.shape.elements()).sum();
    let images = (samples * batches) as u64;
    let forward = images * 4 * (elements + most(|(forward, _)| forward)) as u64;
    if !reverse {
        return forward;
    }
    // Cotangents that wait for others, those that are passed, and the gradients of a layer.
    let cost = graph.cost();
    let cotangents = samples as u64 * (2 * cost.peak_activation_bytes + 4 * most(|(_, reverse)| reverse) as u64);
    forward + images * (cotangents + 8 * cost.params)
}
