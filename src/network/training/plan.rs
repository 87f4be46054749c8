//! What a training pass computes, and what it need not: which maps are written down, and as what operators see them.
//!
//! Normalisation and activations have no maps of their own. A [`View`] names the map that they are of, and whoever reads it
//! does their arithmetic on the way. Convolutions that see the same view with the same window are one step.

use crate::graph::{Activation, Conv2d, Graph, Margins, NodeId, Op, Shape, Window};
use std::collections::HashMap;

/// A step's map as an operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// The step.
    pub(super) map: usize,
    /// Place in [`Plan::norms`].
    pub(super) norm: Option<usize>,
    pub(super) act: Option<Activation>,
}

impl View {
    fn plain(map: usize) -> Self {
        Self { map, norm: None, act: None }
    }

    pub(super) fn is_plain(self) -> bool {
        self == Self::plain(self.map)
    }
}

/// What a step computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Input,
    /// Also a fully connected layer: a convolution of one pixel.
    Dense(NodeId, Conv2d),
    Depthwise(NodeId, Conv2d),
    Add,
    Mul,
    Concat,
    MaxPool(Window),
    AvgPool(Window),
    GlobalAvgPool,
    Softmax,
    Pad(Margins),
    Sigmoid,
    /// A view that is written down.
    Copy,
    Zero,
    /// The product with the factor of a node.
    Factor(NodeId),
}

impl Kind {
    /// For people.
    pub(super) fn name(self) -> String {
        let window = |name: &str, window: Window, groups: usize| {
            let depthwise = if groups > 1 { "depthwise " } else { "" };
            let [kernel, stride] = [window.kernel(), window.each(|side| side.stride)];
            let stride = if stride[0] == stride[1] { format!("{}", stride[0]) } else { format!("{stride:?}") };
            format!("{depthwise}{name} {}x{}, stride {stride}", kernel[0], kernel[1])
        };
        match self {
            Self::Dense(_, conv) => window("convolution", conv.window, 1),
            Self::Depthwise(_, conv) => window("convolution", conv.window, conv.groups),
            Self::MaxPool(of) => window("max pool", of, 1),
            Self::AvgPool(of) => window("average pool", of, 1),
            Self::Factor(_) => "factor".into(),
            Self::Pad(_) => "pad".into(),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

/// One map, and how it comes about.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) inputs: Vec<View>,
    pub(super) channels: usize,
    /// Rows and columns.
    pub(super) size: [usize; 2],
    /// Convolutions that are computed together: this one and later ones; none of a later one.
    pub(super) together: Vec<usize>,
}

impl Step {
    pub(super) fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    pub(super) fn blocks(&self) -> usize {
        crate::kernels::blocked::blocks(self.channels)
    }

    /// Lanes of one sample.
    pub(super) fn lanes(&self) -> usize {
        self.blocks() * self.pixels()
    }
}

/// A batch normalisation.
#[derive(Clone, Copy, Debug)]
pub(super) struct NormOf {
    pub(super) node: NodeId,
    /// The step whose map is normalised.
    pub(super) map: usize,
}

fn is_candles(op: Op) -> bool {
    matches!(op, Op::LayerNorm | Op::Attention(_) | Op::PositionEmbedding | Op::Activation(Activation::Gelu))
}

/// The steps of a graph, operands before the steps that use them.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// In the graph's order.
    pub(super) norms: Vec<NormOf>,
    /// What cotangents are of.
    pub(super) outputs: Vec<View>,
}

impl Plan {
    /// Whether there are steps for all operators of `graph`; transformers are for Candle's differentiation.
    pub(super) fn takes(graph: &Graph) -> bool {
        graph.nodes().iter().all(|node| !is_candles(node.op))
    }

    /// The steps of `graph` to the results of `outputs`, some of whose nodes' are multiplied by factors.
    pub(super) fn new(graph: &Graph, outputs: &[NodeId], has_factor: impl Fn(NodeId) -> bool) -> Self {
        let mut plan = Self { steps: Vec::new(), norms: Vec::new(), outputs: Vec::new() };
        let mut values: Vec<View> = Vec::with_capacity(graph.nodes().len());
        for id in graph.ids() {
            let node = graph.node(id);
            let operands: Vec<View> = node.inputs.iter().map(|input| values[input.index()]).collect();
            let mut value = plan.value(id, node.op, operands, node.shape);
            if has_factor(id) {
                value = plan.push(Kind::Factor(id), vec![value], node.shape);
            }
            values.push(value);
        }
        plan.outputs = outputs.iter().map(|output| values[output.index()]).collect();
        plan.gather();
        plan
    }

    fn value(&mut self, id: NodeId, op: Op, mut operands: Vec<View>, shape: Shape) -> View {
        let kind = match op {
            Op::BatchNorm => {
                let seen = match operands[0].is_plain() {
                    true => operands[0],
                    false => self.push(Kind::Copy, operands, shape),
                };
                self.norms.push(NormOf { node: id, map: seen.map });
                return View { norm: Some(self.norms.len() - 1), ..seen };
            }
            Op::Activation(Activation::Sigmoid) => Kind::Sigmoid,
            Op::Activation(activation) => {
                let seen = match operands[0].act {
                    None => operands[0],
                    Some(_) => self.push(Kind::Copy, operands, shape),
                };
                return View { act: Some(activation), ..seen };
            }
            Op::Identity | Op::Dropout { .. } => return operands[0],
            Op::Input => Kind::Input,
            Op::Conv2d(conv) => {
                let ins = self.steps[operands[0].map].channels;
                match conv.groups > 1 && conv.groups == ins && ins == conv.out_channels {
                    true => Kind::Depthwise(id, conv),
                    false => Kind::Dense(id, conv),
                }
            }
            Op::Linear { out_features, bias } => {
                Kind::Dense(id, Conv2d { out_channels: out_features, window: Window::same(1, 1), groups: 1, bias })
            }
            Op::Add => Kind::Add,
            Op::Mul => Kind::Mul,
            Op::Concat => Kind::Concat,
            Op::MaxPool(window) => Kind::MaxPool(window),
            // A window as large as the map is how gates pool.
            Op::AvgPool(window)
                if window.each(|side| side.padding) == [0; 2]
                    && self.steps[operands[0].map].size == window.kernel() =>
            {
                Kind::GlobalAvgPool
            }
            Op::AvgPool(window) => Kind::AvgPool(window),
            Op::GlobalAvgPool => Kind::GlobalAvgPool,
            Op::Softmax => Kind::Softmax,
            Op::Pad(margins) => Kind::Pad(margins),
            Op::LayerNorm | Op::Attention(_) | Op::PositionEmbedding => unreachable!("no plan takes them"),
            Op::Zero => {
                operands.clear();
                Kind::Zero
            }
        };
        self.push(kind, operands, shape)
    }

    fn push(&mut self, kind: Kind, inputs: Vec<View>, shape: Shape) -> View {
        let size = match shape {
            Shape::Map { height, width, .. } => [height, width],
            Shape::Vector(_) => [1, 1],
        };
        let together = vec![self.steps.len()];
        self.steps.push(Step { kind, inputs, channels: shape.channels(), size, together });
        View::plain(self.steps.len() - 1)
    }

    /// Puts convolutions of one view and window together.
    fn gather(&mut self) {
        let mut first: HashMap<(usize, Option<usize>, usize, Window), Vec<usize>> = HashMap::new();
        for at in 0..self.steps.len() {
            let Kind::Dense(_, conv) = self.steps[at].kind else { continue };
            let seen = self.steps[at].inputs[0];
            let known = first.entry((seen.map, seen.norm, conv.groups, conv.window)).or_default();
            let leader = known.iter().copied().find(|&other| self.steps[other].inputs[0] == seen);
            match leader {
                Some(leader) if conv.groups == 1 => {
                    self.steps[leader].together.push(at);
                    self.steps[at].together.clear();
                }
                _ => known.push(at),
            }
        }
    }
}
