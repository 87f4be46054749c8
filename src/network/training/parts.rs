//! What one reader of a map adds to the map's gradient, a sample at a time, and to those of its own parameters.

use super::forward::Context;
use super::plan::{Kind, View};
use super::pooling::{
    add_dot, add_product, add_sigmoid_gradient, add_softmax_gradient, maxima_gradient, move_channels, pad, shares,
};
use super::reverse::{Found, State};
use super::values::cleared;
use crate::graph::{Margins, NodeId};
use crate::kernels::blocked::{
    Convolutions, Depthwise, Frame, Memory, Packed, PackedTaps, Slide, Term, WeightPlan, scale_pixels, write_terms,
    write_view,
};
use crate::kernels::lanes::Lane;
use crate::network::WeightsError;

/// A reader of a map on the way back.
pub(super) enum Part {
    /// The output itself: what its gradient is.
    Seed(Memory),
    /// A step that hands its gradient on as it is.
    Sum(usize),
    Dense(Box<Dense>),
    Depthwise {
        step: usize,
        node: NodeId,
        bias: bool,
        depthwise: Depthwise,
        packed: PackedTaps,
    },
    Average {
        step: usize,
        sums: Depthwise,
        ones: PackedTaps,
        shares: Vec<f32>,
    },
    Maximum {
        step: usize,
        slide: Slide,
    },
    GlobalAverage(usize),
    Product {
        step: usize,
        other: View,
    },
    Concat {
        step: usize,
        first: usize,
    },
    Pad(usize, Margins),
    Softmax(usize),
    Sigmoid(usize),
    Factor(usize, NodeId),
}

/// Convolutions of one view.
pub(super) struct Dense {
    steps: Vec<usize>,
    nodes: Vec<(NodeId, bool)>,
    convolutions: Convolutions,
    packed: Packed,
    plan: WeightPlan,
}

/// Lanes that a thread works in.
#[derive(Default)]
pub(super) struct Scratch {
    inputs: Vec<Lane>,
    outputs: Vec<Lane>,
    /// A view's gradient that is not the first of its map.
    pub(super) own: Vec<Lane>,
}

impl Part {
    /// The reader that `step` is through its operand `operand`.
    pub(super) fn new(context: &Context<'_>, step: usize, operand: usize) -> Result<Self, WeightsError> {
        let of = &context.plan.steps[step];
        let size = context.plan.steps[of.inputs[operand].map].size;
        Ok(match of.kind {
            Kind::Add | Kind::Copy => Self::Sum(step),
            Kind::Dense(_, conv) => {
                let convolutions = context.convolutions(step, conv);
                let nodes = context.nodes(step);
                let weights = nodes.iter().map(|&(node, _)| context.parameters.of(node, "weight"));
                let packed = convolutions.pack_back(&weights.collect::<Result<Vec<_>, _>>()?);
                let plan = convolutions.weight_plan();
                let nodes = nodes.into_iter().map(|(node, conv)| (node, conv.bias)).collect();
                Self::Dense(Box::new(Dense { steps: of.together.clone(), nodes, convolutions, packed, plan }))
            }
            Kind::Depthwise(node, conv) => {
                let depthwise = context.depthwise(step, conv);
                let packed = depthwise.pack(context.parameters.of(node, "weight")?, None);
                Self::Depthwise { step, node, bias: conv.bias, depthwise, packed }
            }
            Kind::AvgPool(window) => {
                let sums = Depthwise::new(Slide::new(window, size), of.channels);
                let (ones, shares) = (sums.ones(), shares(&sums.slide));
                Self::Average { step, sums, ones, shares }
            }
            Kind::MaxPool(window) => Self::Maximum { step, slide: Slide::new(window, size) },
            Kind::GlobalAvgPool => Self::GlobalAverage(step),
            Kind::Mul => Self::Product { step, other: of.inputs[1 - operand] },
            Kind::Concat => {
                let first = of.inputs[..operand].iter().map(|view| context.plan.steps[view.map].channels).sum();
                Self::Concat { step, first }
            }
            Kind::Pad(margins) => Self::Pad(step, margins),
            Kind::Softmax => Self::Softmax(step),
            Kind::Sigmoid => Self::Sigmoid(step),
            Kind::Factor(node) => Self::Factor(step, node),
            Kind::Input | Kind::Zero => unreachable!("reads nothing"),
        })
    }

    /// Lanes of each sum over samples that it wants.
    pub(super) fn sums(&self) -> Vec<usize> {
        match self {
            Self::Dense(dense) => {
                let mut sums = vec![dense.convolutions.weight_lanes()];
                if dense.nodes.iter().any(|(_, bias)| *bias) {
                    sums.push(dense.convolutions.out_blocks());
                }
                sums
            }
            Self::Depthwise { depthwise, bias, packed, .. } => match bias {
                true => vec![depthwise.weight_lanes(), packed.blocks()],
                false => vec![depthwise.weight_lanes()],
            },
            _ => Vec::new(),
        }
    }

    /// The gradients of the parameters from the sums.
    pub(super) fn found(&self, state: &State<'_>, sums: &[Vec<Lane>]) -> Found {
        let bias = |lanes: &[Lane], channels: usize| lanes.iter().flat_map(|lane| lane.0).take(channels).collect();
        let channels = |step: usize| state.context.plan.steps[step].channels;
        let mut found = Found::new();
        match self {
            Self::Dense(dense) => {
                let all = dense.convolutions.weight_gradients(&sums[0]);
                let mut block = 0;
                for ((&step, &(node, has_bias)), gradient) in dense.steps.iter().zip(&dense.nodes).zip(all) {
                    // A branch that leads nowhere has no gradient.
                    if state.is_reached(step) {
                        found.push(((node, "weight"), gradient));
                        if has_bias {
                            found.push(((node, "bias"), bias(&sums[1][block..], channels(step))));
                        }
                    }
                    block += state.context.plan.steps[step].blocks();
                }
            }
            Self::Depthwise { step, node, bias: has_bias, depthwise, .. } => {
                found.push(((*node, "weight"), depthwise.weight_gradient(&sums[0])));
                if *has_bias {
                    found.push(((*node, "bias"), bias(&sums[1], channels(*step))));
                }
            }
            _ => {}
        }
        found
    }

    /// Adds what it has to say of a sample of `view` to `sums`, and writes or adds it to `out`, if that is wanted.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn add(
        &self,
        state: &State<'_>,
        view: View,
        sample: usize,
        scratch: &mut Scratch,
        out: Option<&mut [Lane]>,
        add: bool,
        sums: &mut [&mut [Lane]],
    ) {
        let plan = state.context.plan;
        let Scratch { inputs, outputs, .. } = scratch;
        match self {
            Self::Dense(dense) => dense.add(state, view, sample, [inputs, outputs], out, add, sums),
            Self::Depthwise { step, depthwise, packed, .. } => {
                let slide = depthwise.slide;
                let frame = slide.outputs();
                let gradient = framed(&state.terms(*step, sample), slide.output, frame, packed.blocks(), outputs);
                let seen = state.values.framed(plan, view, sample, slide.inputs(), inputs);
                depthwise.add_weight_sums(seen, gradient, sums[0]);
                if let Some(of_bias) = sums.get_mut(1) {
                    add_planes(gradient, frame.area(), of_bias);
                }
                if let Some(out) = out {
                    depthwise.input_gradient(packed, gradient, out, add);
                }
            }
            _ => {
                if let Some(out) = out {
                    self.add_plain(state, view, sample, [inputs, outputs], out, add);
                }
            }
        }
    }

    /// [`Part::add`] of what has no parameters.
    fn add_plain(
        &self,
        state: &State<'_>,
        view: View,
        sample: usize,
        [inputs, outputs]: [&mut Vec<Lane>; 2],
        out: &mut [Lane],
        add: bool,
    ) {
        let plan = state.context.plan;
        let (seen, bare) = (&plan.steps[view.map], Frame::bare(plan.steps[view.map].size));
        let (pixels, bare_of) = (seen.pixels(), |step: usize| Frame::bare(plan.steps[step].size));
        let result = |step: usize| {
            let lanes = plan.steps[step].lanes();
            &state.values.maps[step][sample * lanes..][..lanes]
        };
        let gradient = |step: usize, outputs| {
            let of = &plan.steps[step];
            framed(&state.terms(step, sample), of.size, bare_of(step), of.blocks(), outputs)
        };
        if !add && !matches!(self, Self::Seed(_) | Self::Sum(_) | Self::Average { .. }) {
            out.fill(Lane::default());
        }
        match self {
            Self::Seed(seed) => {
                let lanes = seen.lanes();
                let term = Term { gradient: &seed[sample * lanes..][..lanes], norm: None };
                write_terms(&[term], pixels, bare, out, add);
            }
            Self::Sum(step) => write_terms(&state.terms(*step, sample), pixels, bare, out, add),
            Self::Average { step, sums, ones, shares } => {
                let frame = sums.slide.outputs();
                let to = cleared(outputs, frame, seen.blocks(), 0.0);
                inputs.resize(plan.steps[*step].lanes().max(inputs.len()), Lane::default());
                let each = &mut inputs[..plan.steps[*step].lanes()];
                write_terms(
                    &state.terms(*step, sample),
                    sums.slide.output[0] * sums.slide.output[1],
                    bare_of(*step),
                    each,
                    false,
                );
                scale_pixels(each, shares);
                write_terms(&[Term { gradient: each, norm: None }], plan.steps[*step].pixels(), frame, to, false);
                sums.input_gradient(ones, to, out, add);
            }
            Self::Maximum { step, slide } => {
                let frame = cleared(inputs, slide.inputs(), seen.blocks(), f32::NEG_INFINITY);
                write_view(state.values.sample(plan, view, sample), pixels, slide.inputs(), frame, false);
                maxima_gradient(slide, frame, gradient(*step, outputs), out);
            }
            Self::GlobalAverage(step) => {
                let share = (pixels as f32).recip();
                for (out, g) in out.chunks_exact_mut(pixels).zip(gradient(*step, outputs)) {
                    let g = g.0.map(|g| g * share);
                    out.iter_mut().for_each(|out| out.0.iter_mut().zip(g).for_each(|(out, g)| *out += g));
                }
            }
            Self::Pad(step, margins) => {
                pad(gradient(*step, outputs), plan.steps[*step].size, margins.back(), out, true);
            }
            Self::Product { step, other } => {
                let of_other = &plan.steps[other.map];
                let factor = state.values.framed(plan, *other, sample, bare_of(other.map), inputs);
                let gradient = gradient(*step, outputs);
                match plan.steps[*step].pixels() {
                    of_product if of_product == pixels => {
                        add_product(gradient, factor, [pixels, of_other.pixels()], out);
                    }
                    of_product => add_dot(gradient, factor, of_product, out),
                }
            }
            Self::Concat { step, first } => {
                move_channels(gradient(*step, outputs), *first, out, 0, [seen.channels, pixels], true);
            }
            Self::Softmax(step) => add_softmax_gradient(result(*step), gradient(*step, outputs), out),
            Self::Sigmoid(step) => add_sigmoid_gradient(result(*step), gradient(*step, outputs), out),
            Self::Factor(step, node) => {
                let whole = cleared(inputs, bare, seen.blocks(), 0.0);
                write_terms(&state.terms(*step, sample), pixels, bare, whole, false);
                state.context.factors[node].multiply(sample, whole);
                write_terms(&[Term { gradient: whole, norm: None }], pixels, bare, out, true);
            }
            Self::Dense(_) | Self::Depthwise { .. } => unreachable!("has parameters"),
        }
    }
}

impl Dense {
    #[allow(clippy::too_many_arguments)]
    fn add(
        &self,
        state: &State<'_>,
        view: View,
        sample: usize,
        [inputs, outputs]: [&mut Vec<Lane>; 2],
        out: Option<&mut [Lane]>,
        add: bool,
        sums: &mut [&mut [Lane]],
    ) {
        let slide = self.convolutions.slide;
        let frame = slide.outputs();
        let blocks = |step: usize| state.context.plan.steps[step].blocks();
        let gradient = match self.steps[..] {
            [step] => framed(&state.terms(step, sample), slide.output, frame, blocks(step), outputs),
            _ => {
                let mut rest = cleared(outputs, frame, self.convolutions.out_blocks(), 0.0);
                for &step in &self.steps {
                    let (to, behind) = rest.split_at_mut(blocks(step) * frame.area());
                    rest = behind;
                    let terms = state.terms(step, sample);
                    write_terms(&terms, slide.output[0] * slide.output[1], frame, to, false);
                    if terms.is_empty() {
                        to.fill(Lane::default());
                    }
                }
                &outputs[..self.convolutions.outputs_lanes().1]
            }
        };
        let seen = state.values.framed(state.context.plan, view, sample, slide.inputs(), inputs);
        self.convolutions.add_weight_sums(&self.plan, seen, gradient, sums[0]);
        if let Some(of_bias) = sums.get_mut(1) {
            add_planes(gradient, frame.area(), of_bias);
        }
        if let Some(out) = out {
            self.convolutions.input_gradient(&self.packed, gradient, out, add);
        }
    }
}

/// A gradient in a frame with margins of zeros: `scratch`, or what it is made of where it is the same.
fn framed<'a>(
    terms: &[Term<'a>],
    size: [usize; 2],
    frame: Frame,
    blocks: usize,
    scratch: &'a mut Vec<Lane>,
) -> &'a [Lane] {
    if let [Term { gradient, norm: None }] = terms
        && frame.is_bare()
    {
        return gradient;
    }
    let to = cleared(scratch, frame, blocks, 0.0);
    write_terms(terms, size[0] * size[1], frame, to, false);
    to
}

/// Adds the sum of each plane to `sums`. Margins are zero.
fn add_planes(map: &[Lane], area: usize, sums: &mut [Lane]) {
    for (plane, sum) in map.chunks_exact(area).zip(sums) {
        plane.iter().for_each(|x| sum.0.iter_mut().zip(x.0).for_each(|(sum, x)| *sum += x));
    }
}
