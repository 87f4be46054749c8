//! The layer language of `models/*.yaml`: lists of layers, lowered into a graph.
//!
//! A block knows the channels that come in and are to go out and its stride; a layer's numbers may name them:
//! `3*in`, `out`, `stride`, `same` (the channels that this very layer receives), `width`, `classes`, and what is chosen
//! ([`Extent`]).

use super::NetworkSize;
use super::attention::AttentionLayer;
use super::extent::Extent;
use crate::graph::{Activation, Conv2d, GraphBuilder, GraphError, Margins, NodeId, Op, Pair, Shape, Side, Window};
use serde::Deserialize;
use std::mem::discriminant;

/// A layer, as written in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Layer {
    Conv(Box<ConvLayer>),
    BatchNorm,
    Relu,
    Relu6,
    HardSwish,
    Sigmoid,
    HardSigmoid,
    MaxPool(PoolLayer),
    AvgPool(PoolLayer),
    /// Zeros around the map; where negative, rows and columns are cut off.
    Pad(Margins),
    GlobalAvgPool,
    Linear(LinearLayer),
    Softmax,
    Dropout(DropoutLayer),
    Zero,
    Identity,
    /// The body's result plus the shortcut's. Without a shortcut the input is added where it has the shape.
    Residual(ResidualLayer),
    /// Nothing where the block keeps its shape, else these layers.
    MatchShape(Vec<Layer>),
    /// The results of all branches, concatenated along the channels.
    Concat(Vec<Vec<Layer>>),
    /// The map times a gate that is made of the map's mean (Hu et al. 2018).
    SqueezeExcite(GateLayer),
    #[expect(clippy::enum_variant_names, reason = "that is what everybody calls it")]
    LayerNorm,
    Gelu,
    /// Projections to queries, keys and values, their attention, and a projection back.
    Attention(AttentionLayer),
    PositionEmbedding,
    /// Half the size: ReLU, two convolutions of single pixels, the second a pixel away from the first, for half of the channels
    /// each, and normalisation (Liu et al. 2019).
    FactorizedReduction,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConvLayer {
    kernel: Pair<Extent>,
    #[serde(default = "Extent::out")]
    channels: Extent,
    #[serde(default = "one")]
    stride: Pair<Extent>,
    /// What keeps the size at stride 1, if absent.
    padding: Option<Pair<usize>>,
    #[serde(default = "one")]
    dilation: Pair<Extent>,
    #[serde(default = "Extent::one")]
    groups: Extent,
    #[serde(default)]
    bias: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolLayer {
    kernel: Pair<Extent>,
    #[serde(default = "one")]
    stride: Pair<Extent>,
    /// What keeps the size at stride 1, if absent.
    padding: Option<Pair<usize>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinearLayer {
    features: Extent,
    #[serde(default = "yes")]
    bias: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DropoutLayer {
    probability: f32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResidualLayer {
    body: Vec<Layer>,
    shortcut: Option<Vec<Layer>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GateLayer {
    /// Channels of the squeezed map.
    channels: Extent,
    /// What makes a factor of a number.
    #[serde(default)]
    gate: Gate,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Gate {
    #[default]
    HardSigmoid,
    Sigmoid,
}

fn one() -> Pair<Extent> {
    Pair([Extent::one(), Extent::one()])
}

fn yes() -> bool {
    true
}

/// What the layers of one block may refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub in_channels: usize,
    pub out_channels: usize,
    pub stride: usize,
    pub width: usize,
    pub classes: usize,
    /// What was chosen, by name; a later one stands in front of an earlier one.
    pub chosen: &'a [(&'a str, f64)],
}

impl Scope<'_> {
    /// Of a network whose numbers no decision is part of.
    pub fn undecided(network: &NetworkSize, in_channels: usize, out_channels: usize, stride: usize) -> Self {
        Self { in_channels, out_channels, stride, width: network.width, classes: network.classes, chosen: &[] }
    }

    fn keeps_shape(&self) -> bool {
        self.in_channels == self.out_channels && self.stride == 1
    }
}

/// Adds `layers` behind `from`; the nodes' names start with `prefix`.
pub(super) fn lower(
    builder: &mut GraphBuilder,
    layers: &[Layer],
    scope: &Scope<'_>,
    prefix: &str,
    from: NodeId,
) -> Result<NodeId, GraphError> {
    let mut at = from;
    for (index, layer) in layers.iter().enumerate() {
        let ordinal = layers[..index].iter().filter(|other| discriminant(*other) == discriminant(layer)).count() + 1;
        let name = match ordinal {
            1 => [prefix, ".", layer.kind()].concat(),
            _ => [prefix, ".", layer.kind(), &ordinal.to_string()].concat(),
        };
        at = layer.lower(builder, scope, name, at)?;
    }
    Ok(at)
}

impl Layer {
    fn kind(&self) -> &'static str {
        match self {
            Self::Conv(_) => "conv",
            Self::BatchNorm => "batch_norm",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::HardSwish => "hard_swish",
            Self::Sigmoid => "sigmoid",
            Self::HardSigmoid => "hard_sigmoid",
            Self::MaxPool(_) => "max_pool",
            Self::AvgPool(_) => "avg_pool",
            Self::Pad(_) => "pad",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Linear(_) => "linear",
            Self::Softmax => "softmax",
            Self::Dropout(_) => "dropout",
            Self::Zero => "zero",
            Self::Identity => "identity",
            Self::Residual(_) => "residual",
            Self::MatchShape(_) => "match_shape",
            Self::Concat(_) => "concat",
            Self::SqueezeExcite(_) => "squeeze_excite",
            Self::LayerNorm => "layer_norm",
            Self::Gelu => "gelu",
            Self::Attention(_) => "attention",
            Self::PositionEmbedding => "position_embedding",
            Self::FactorizedReduction => "factorized_reduction",
        }
    }

    fn lower(
        &self,
        builder: &mut GraphBuilder,
        scope: &Scope<'_>,
        name: String,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let same = builder.shape(from).channels();
        let op = match self {
            Self::Conv(conv) => Op::Conv2d(conv.resolve(scope, same)),
            Self::BatchNorm => Op::BatchNorm,
            Self::Relu => Op::Activation(Activation::Relu),
            Self::Relu6 => Op::Activation(Activation::Relu6),
            Self::HardSwish => Op::Activation(Activation::HardSwish),
            Self::Sigmoid => Op::Activation(Activation::Sigmoid),
            Self::HardSigmoid => Op::Activation(Activation::HardSigmoid),
            Self::MaxPool(pool) => Op::MaxPool(pool.resolve(scope, same)),
            Self::AvgPool(pool) => Op::AvgPool(pool.resolve(scope, same)),
            Self::Pad(margins) => Op::Pad(*margins),
            Self::GlobalAvgPool => Op::GlobalAvgPool,
            Self::Linear(linear) => {
                Op::Linear { out_features: linear.features.resolve(scope, same), bias: linear.bias }
            }
            Self::Softmax => Op::Softmax,
            Self::Dropout(dropout) => Op::Dropout { probability: dropout.probability },
            Self::Zero => Op::Zero,
            Self::Identity => Op::Identity,
            Self::Residual(residual) => return residual.lower(builder, scope, &name, from),
            Self::MatchShape(_) if scope.keeps_shape() => Op::Identity,
            Self::MatchShape(layers) => return lower(builder, layers, scope, &name, from),
            Self::Concat(branches) => {
                let lower_branch =
                    |(i, branch): (usize, &Vec<Layer>)| lower(builder, branch, scope, &format!("{name}.{i}"), from);
                let results: Vec<NodeId> = branches.iter().enumerate().map(lower_branch).collect::<Result<_, _>>()?;
                return builder.push(name, Op::Concat, &results);
            }
            Self::SqueezeExcite(gate) => return gate.lower(builder, scope, &name, from),
            Self::LayerNorm => Op::LayerNorm,
            Self::Gelu => Op::Activation(Activation::Gelu),
            Self::Attention(attention) => return attention.lower(builder, scope, &name, from),
            Self::PositionEmbedding => Op::PositionEmbedding,
            Self::FactorizedReduction => return factorized_reduction(builder, scope.out_channels, &name, from),
        };
        builder.push(name, op, &[from])
    }
}

/// All numbers of the layers.
pub(super) fn extents<'a>(layers: &'a [Layer], all: &mut Vec<&'a Extent>) {
    for layer in layers {
        match layer {
            Layer::Conv(conv) => {
                all.extend([&conv.channels, &conv.groups]);
                all.extend([&conv.kernel, &conv.stride, &conv.dilation].into_iter().flat_map(|pair| &pair.0));
            }
            Layer::MaxPool(pool) | Layer::AvgPool(pool) => {
                all.extend([&pool.kernel, &pool.stride].into_iter().flat_map(|pair| &pair.0));
            }
            Layer::Linear(linear) => all.push(&linear.features),
            Layer::SqueezeExcite(gate) => all.push(&gate.channels),
            Layer::Attention(attention) => all.extend(attention.extents()),
            Layer::MatchShape(layers) => extents(layers, all),
            Layer::Concat(branches) => branches.iter().for_each(|branch| extents(branch, all)),
            Layer::Residual(ResidualLayer { body, shortcut }) => {
                extents(body, all);
                shortcut.iter().for_each(|shortcut| extents(shortcut, all));
            }
            _ => {}
        }
    }
}

fn factorized_reduction(
    builder: &mut GraphBuilder,
    channels: usize,
    name: &str,
    from: NodeId,
) -> Result<NodeId, GraphError> {
    let half = |out_channels| Op::Conv2d(Conv2d { out_channels, window: Window::same(1, 2), groups: 1, bias: false });
    let relu = builder.push(format!("{name}.relu"), Op::Activation(Activation::Relu), &[from])?;
    let first = builder.push(format!("{name}.conv"), half(channels / 2), &[relu])?;
    let moved = builder.push(format!("{name}.crop"), Op::Pad(Margins::CROP), &[relu])?;
    let second = builder.push(format!("{name}.conv2"), half(channels - channels / 2), &[moved])?;
    let both = builder.push(format!("{name}.concat"), Op::Concat, &[first, second])?;
    builder.push(format!("{name}.batch_norm"), Op::BatchNorm, &[both])
}

/// The window of a layer's kernel, stride and dilation.
fn window(
    [kernel, stride, dilation]: [&Pair<Extent>; 3],
    padding: Option<&Pair<usize>>,
    resolve: impl Fn(&Extent) -> usize,
) -> Window {
    let side = |at: usize| {
        let of = |pair: &Pair<Extent>| resolve(&pair.0[at]);
        let (kernel, stride, dilation) = (of(kernel), of(stride), of(dilation));
        let padding = padding.map_or(dilation * (kernel.max(1) - 1) / 2, |padding| padding.0[at]);
        Side { kernel, stride, padding, dilation }
    };
    Window { rows: side(0), columns: side(1) }
}

impl ConvLayer {
    fn resolve(&self, scope: &Scope<'_>, same: usize) -> Conv2d {
        let steps = [&self.kernel, &self.stride, &self.dilation];
        Conv2d {
            out_channels: self.channels.resolve(scope, same),
            window: window(steps, self.padding.as_ref(), |extent| extent.resolve(scope, same)),
            groups: self.groups.resolve(scope, same),
            bias: self.bias,
        }
    }
}

impl PoolLayer {
    fn resolve(&self, scope: &Scope<'_>, same: usize) -> Window {
        let steps = [&self.kernel, &self.stride, &one()];
        window(steps, self.padding.as_ref(), |extent| extent.resolve(scope, same))
    }
}

impl ResidualLayer {
    fn lower(
        &self,
        builder: &mut GraphBuilder,
        scope: &Scope<'_>,
        name: &str,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let body = lower(builder, &self.body, scope, &format!("{name}.body"), from)?;
        // A shortcut is to have the body's channels, whatever the stage's are.
        let scope = &Scope { out_channels: builder.shape(body).channels(), ..*scope };
        let shortcut = match &self.shortcut {
            Some(layers) => lower(builder, layers, scope, &format!("{name}.shortcut"), from)?,
            None if builder.shape(body) == builder.shape(from) => from,
            None => return Ok(body),
        };
        builder.push(format!("{name}.add"), Op::Add, &[body, shortcut])
    }
}

impl GateLayer {
    fn lower(
        &self,
        builder: &mut GraphBuilder,
        scope: &Scope<'_>,
        name: &str,
        from: NodeId,
    ) -> Result<NodeId, GraphError> {
        let (channels, size) = match builder.shape(from) {
            Shape::Map { channels, height, width } => (channels, [height, width]),
            shape => {
                let reason = format!("found {shape}, expected a map");
                return Err(GraphError::Shape { node: name.to_owned(), reason });
            }
        };
        let conv =
            |out_channels| Op::Conv2d(Conv2d { out_channels, window: Window::same(1, 1), groups: 1, bias: true });
        let gate = match self.gate {
            Gate::HardSigmoid => Activation::HardSigmoid,
            Gate::Sigmoid => Activation::Sigmoid,
        };
        let whole = |size: usize| Side { kernel: size, stride: size, padding: 0, dilation: 1 };
        let layers = [
            ("mean", Op::AvgPool(Window { rows: whole(size[0]), columns: whole(size[1]) })),
            ("squeeze", conv(self.channels.resolve(scope, channels))),
            ("relu", Op::Activation(Activation::Relu)),
            ("excite", conv(channels)),
            ("gate", Op::Activation(gate)),
        ];
        let mut at = from;
        for (part, op) in layers {
            at = builder.push(format!("{name}.{part}"), op, &[at])?;
        }
        builder.push(name, Op::Mul, &[from, at])
    }
}
