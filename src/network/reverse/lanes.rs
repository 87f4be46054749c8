//! The rules on cotangents that are the lanes of vectors, on a CPU.
//!
//! Memory is slower than arithmetic here, so a map is written as seldom as possible: nodes share one that is handed on
//! unchanged, batch normalisation's gradient is written down by the convolution that takes it, and a convolution
//! adds its input's gradient to what lies behind the ReLU, of which it leaves out what that one made zero.

use super::folded::{self, slope};
use super::{LayerGradient, Pass};
use crate::graph::{Activation, BATCH_NORM_EPS, Conv2d, NodeId, Op, Role, Shape};
pub(super) use crate::kernels::lanes::LANES;
use crate::kernels::lanes::{
    Cotangent, Dims, Lane, LaneConv, Map, Mask, Normalised, Sum, add_scaled, average_shares, from_lanes, max_pool,
    normalise, to_lanes,
};
use crate::kernels::with_values;
use crate::network::WeightsError;
use candle_core::{Device, Tensor};
use std::sync::Arc;

/// The cotangents of the nodes that were reached and not yet passed.
#[derive(Debug)]
pub(super) struct Lanes {
    /// Lanes that have a cotangent; the others are zero.
    count: usize,
    reached: Vec<Option<Cotangent>>,
    /// The ways back through batch normalisations that were found with another's, and from which map.
    ahead: Vec<(NodeId, Arc<Map>, Normalised)>,
}

impl Lanes {
    /// Begins with `seeds`, `[cotangents, batch, outputs]`.
    pub(super) fn new(pass: &Pass, seeds: &Tensor) -> Result<Self, WeightsError> {
        let (count, output) = (seeds.dim(0)?, pass.graph.output());
        let mut all = Self { count, reached: vec![None; pass.ids.len()], ahead: vec![] };
        all.reached[output.index()] = Some(unfold(seeds, count, dims(pass, output))?);
        Ok(all)
    }

    /// Passes one node: hands its cotangent on to its operands and gives its weight's gradient, if it has one.
    pub(super) fn pass(&mut self, pass: &Pass, id: NodeId) -> Result<Option<LayerGradient>, WeightsError> {
        let Some(mut cotangent) = self.reached[id.index()].take() else { return Ok(None) };
        let node = pass.graph.node(id);
        let from = node.inputs[0];
        let is_handed_on = matches!(node.op, Op::Identity | Op::Dropout { .. } | Op::PositionEmbedding);
        if cotangent.norm.is_some() && !is_handed_on && !matches!(node.op, Op::Conv2d(_) | Op::Add) {
            cotangent = self.written(cotangent);
        }
        let mut layer = None;
        match node.op {
            Op::Input | Op::Zero => {}
            Op::Identity | Op::Dropout { .. } | Op::PositionEmbedding => self.add(from, &cotangent),
            Op::Add => node.inputs.iter().for_each(|&input| self.add(input, &cotangent)),
            Op::Conv2d(conv) => layer = Some((Role::Weight, self.convolution(pass, id, conv, &cotangent)?)),
            Op::BatchNorm => {
                let Normalised { norm, of_scale } = self.normalised(pass, id, &cotangent)?;
                self.add(from, &Cotangent { norm: Some(Arc::new(norm)), ..cotangent.clone() });
                layer = Some((Role::Scale, of_scale));
            }
            Op::Activation(activation) => {
                let slope = slope(activation, pass.activations.of(from))?.flatten_all()?.to_vec1::<f32>()?;
                let size = cotangent.dims.sample();
                self.sum(pass, from, |sample, to| {
                    add_scaled(to, cotangent.of_sample(sample), &slope[sample * size..][..size]);
                });
            }
            Op::AvgPool(window) => {
                if let Some(mut sum) = self.begin(pass, from) {
                    let Dims { channels, height, width, .. } = sum.dims;
                    let shares = average_shares(window, height, width)?;
                    LaneConv::pooling(window, [channels, height, width])?
                        .pooling_gradient(&shares, &cotangent, &mut sum);
                    self.reached[from.index()] = Some(sum.finish());
                }
            }
            Op::MaxPool(window) => {
                if let Some(mut sum) = self.begin(pass, from) {
                    with_values(pass.activations.of(from), |input| max_pool(input, &cotangent, window, &mut sum))?;
                    self.reached[from.index()] = Some(sum.finish());
                }
            }
            Op::GlobalAvgPool => {
                let pixels = pass.graph.node(from).shape.pixels();
                let share = (pixels as f32).recip();
                self.sum(pass, from, |sample, to| {
                    for (plane, g) in to.chunks_mut(pixels).zip(cotangent.of_sample(sample)) {
                        let g = g.0.map(|g| g * share);
                        plane.iter_mut().for_each(|to| to.0.iter_mut().zip(&g).for_each(|(to, g)| *to += g));
                    }
                });
            }
            // Seldom or small.
            Op::Linear { .. } | Op::Mul | Op::Concat | Op::Softmax | Op::Pad(_) | Op::LayerNorm | Op::Attention(_) => {
                let (parts, of_weight) = folded::rule(pass, id, &self.fold(pass, id, &cotangent)?)?;
                for (to, part) in parts {
                    self.add(to, &unfold(&part, self.count, dims(pass, to))?);
                }
                return Ok(of_weight.map(|(role, gradient)| LayerGradient { node: id, role, gradient }));
            }
        }
        let Some((role, lanes)) = layer else { return Ok(None) };
        let gradient = Tensor::from_vec(from_lanes(&lanes, self.count), (self.count, lanes.len()), &Device::Cpu)?;
        Ok(Some(LayerGradient { node: id, role, gradient }))
    }

    /// The way back through a batch normalisation. Those that have the same cotangent, as the edges into one node of a
    /// cell do, are found together, while it is in the cache.
    fn normalised(&mut self, pass: &Pass, id: NodeId, cotangent: &Cotangent) -> Result<Normalised, WeightsError> {
        let place = self.ahead.iter().position(|(node, ..)| *node == id);
        match place.map(|place| self.ahead.swap_remove(place)) {
            Some((_, map, found)) if Arc::ptr_eq(&map, &cotangent.map) => return Ok(found),
            _ => {}
        }
        let is_twin = |(node, reached): &(usize, &Option<Cotangent>)| {
            let same = |other: &Cotangent| Arc::ptr_eq(&other.map, &cotangent.map) && other.norm.is_none();
            pass.graph.nodes()[*node].op == Op::BatchNorm && reached.as_ref().is_some_and(same)
        };
        let twins = self.reached.iter().enumerate().filter(is_twin).map(|(node, _)| pass.ids[node]);
        let nodes: Vec<NodeId> = std::iter::once(id).chain(twins).collect();
        let input = |node: &NodeId| pass.activations.of(pass.graph.node(*node).inputs[0]);
        let layers = nodes.iter().map(|node| Ok((input(node), pass.weight(*node, "weight")?)));
        let layers: Vec<_> = layers.collect::<Result<_, WeightsError>>()?;
        let mut found = normalise(&layers, cotangent, BATCH_NORM_EPS)?.into_iter();
        let own = found.next().expect("as many as layers");
        self.ahead.extend(nodes[1..].iter().zip(found).map(|(node, found)| (*node, cotangent.map.clone(), found)));
        Ok(own)
    }

    /// The gradient of a convolution's weight; that of its input goes to the next node that is no ReLU.
    fn convolution(
        &mut self,
        pass: &Pass,
        id: NodeId,
        conv: Conv2d,
        cotangent: &Cotangent,
    ) -> Result<Vec<Lane>, WeightsError> {
        let from = pass.graph.node(id).inputs[0];
        let behind = pass.graph.node(from);
        let (to, mask) = match behind.op {
            Op::Activation(Activation::Relu) => (behind.inputs[0], Mask::Relu),
            Op::Activation(Activation::Relu6) => (behind.inputs[0], Mask::Relu6),
            _ => (from, Mask::All),
        };
        let Dims { channels, height, width, .. } = dims(pass, from);
        let kernel = LaneConv::new(conv.window, conv.groups, [channels, height, width], conv.out_channels)?;
        let mut sum = self.begin(pass, to);
        let of_weight = with_values(pass.activations.of(from), |input| {
            with_values(pass.weight(id, "weight").map_err(candle_core::Error::wrap)?, |weight| {
                Ok(kernel.gradients(input, weight, cotangent, mask, sum.as_mut()))
            })
        })?;
        if let Some(sum) = sum {
            self.reached[to.index()] = Some(sum.finish());
        }
        Ok(of_weight)
    }

    /// Adds to the cotangent of `to`; the first is shared.
    fn add(&mut self, to: NodeId, part: &Cotangent) {
        if to.index() == 0 {
            return;
        }
        let whole = match self.reached[to.index()].take() {
            None => part.clone(),
            known => {
                let mut sum = Sum::new(part.dims, known);
                (0..part.dims.batch).for_each(|sample| part.write_sample(sample, sum.sample(sample), true));
                sum.finish()
            }
        };
        self.reached[to.index()] = Some(whole);
    }

    /// Adds to the cotangent of `to` what `add` adds to each sample.
    fn sum(&mut self, pass: &Pass, to: NodeId, mut add: impl FnMut(usize, &mut [Lane])) {
        if let Some(mut sum) = self.begin(pass, to) {
            (0..pass.samples).for_each(|sample| add(sample, sum.sample(sample)));
            self.reached[to.index()] = Some(sum.finish());
        }
    }

    /// A sum that goes on with the cotangent of `to`; none for the network's input, of which nothing is asked.
    fn begin(&mut self, pass: &Pass, to: NodeId) -> Option<Sum> {
        let known = self.reached[to.index()].take();
        (to.index() > 0).then(|| Sum::new(dims(pass, to), known))
    }

    /// The map of a cotangent that is still to be normalised.
    fn written(&mut self, cotangent: Cotangent) -> Cotangent {
        let dims = cotangent.dims;
        let mut sum = Sum::new(dims, Some(cotangent));
        for sample in 0..dims.batch {
            sum.sample(sample);
        }
        sum.finish()
    }

    /// `[cotangents · batch, …]`
    fn fold(&self, pass: &Pass, id: NodeId, cotangent: &Cotangent) -> Result<Tensor, candle_core::Error> {
        let dims = [vec![self.count * pass.samples], pass.graph.node(id).shape.dims()].concat();
        Tensor::from_vec(from_lanes(&cotangent.map, self.count), dims, &Device::Cpu)
    }
}

/// The dimensions of a node's map, or of a vector as a map of one pixel.
fn dims(pass: &Pass, id: NodeId) -> Dims {
    let (batch, channels) = (pass.samples, pass.graph.node(id).shape.channels());
    match pass.graph.node(id).shape {
        Shape::Map { height, width, .. } => Dims { batch, channels, height, width },
        Shape::Vector(_) => Dims { batch, channels, height: 1, width: 1 },
    }
}

/// Folded cotangents, `count` of them, as lanes.
fn unfold(folded: &Tensor, count: usize, dims: Dims) -> Result<Cotangent, candle_core::Error> {
    let values = folded.flatten_all()?.to_vec1::<f32>()?;
    Ok(Cotangent::new(dims, to_lanes(&values, count, dims.elements())))
}
