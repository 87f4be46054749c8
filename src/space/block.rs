//! The layer language of `models/*.yaml`: lists of layers, lowered into a graph.
//!
//! A block knows the channels that come in and are to go out and its stride; a layer's numbers may name them:
//! `3*in`, `out`, `stride`, `same` (the channels that this very layer receives), `width`, `classes`.

use crate::graph::{Activation, Conv2d, GraphBuilder, GraphError, NodeId, Op, Window};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// A layer, as written in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Layer {
    Conv(ConvLayer),
    BatchNorm,
    Relu,
    Relu6,
    HardSwish,
    Sigmoid,
    MaxPool(PoolLayer),
    AvgPool(PoolLayer),
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
    /// Half the size: ReLU, two convolutions of single pixels, the second a pixel away from the first, for half of the channels
    /// each, and normalisation (Liu et al. 2019).
    FactorizedReduction,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConvLayer {
    kernel: Extent,
    #[serde(default = "Extent::out")]
    channels: Extent,
    #[serde(default = "Extent::one")]
    stride: Extent,
    /// What keeps the size at stride 1, if absent.
    padding: Option<usize>,
    #[serde(default = "one")]
    dilation: usize,
    #[serde(default = "Extent::one")]
    groups: Extent,
    #[serde(default)]
    bias: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolLayer {
    kernel: Extent,
    #[serde(default = "Extent::one")]
    stride: Extent,
    /// What keeps the size at stride 1, if absent.
    padding: Option<usize>,
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

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

/// A number, or a multiple of one that the block knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    factor: usize,
    of: Option<Quantity>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantity {
    In,
    Out,
    Same,
    Stride,
    Width,
    Classes,
}

const QUANTITIES: [(&str, Quantity); 6] = [
    ("in", Quantity::In),
    ("out", Quantity::Out),
    ("same", Quantity::Same),
    ("stride", Quantity::Stride),
    ("width", Quantity::Width),
    ("classes", Quantity::Classes),
];

impl Extent {
    fn one() -> Self {
        Self { factor: 1, of: None }
    }

    fn out() -> Self {
        Self { factor: 1, of: Some(Quantity::Out) }
    }

    /// The number, where `same` channels come into the layer.
    pub(super) fn resolve(self, scope: &Scope, same: usize) -> usize {
        self.factor
            * match self.of {
                None => 1,
                Some(Quantity::In) => scope.in_channels,
                Some(Quantity::Out) => scope.out_channels,
                Some(Quantity::Same) => same,
                Some(Quantity::Stride) => scope.stride,
                Some(Quantity::Width) => scope.width,
                Some(Quantity::Classes) => scope.classes,
            }
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExtentVisitor)
    }
}

struct ExtentVisitor;

impl Visitor<'_> for ExtentVisitor {
    type Value = Extent;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<&str> = QUANTITIES.iter().map(|(name, _)| *name).collect();
        write!(f, "a number, one of {}, or a multiple such as 3*in", names.join(", "))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Extent, E> {
        let factor = usize::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))?;
        Ok(Extent { factor, of: None })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Extent, E> {
        let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
        let (factor, name) = text.split_once('*').unwrap_or(("1", text));
        let factor = factor.trim().parse().map_err(|_| wrong())?;
        let (_, of) = QUANTITIES.iter().find(|(known, _)| *known == name.trim()).ok_or_else(wrong)?;
        Ok(Extent { factor, of: Some(*of) })
    }
}

/// What the layers of one block may refer to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub in_channels: usize,
    pub out_channels: usize,
    pub stride: usize,
    pub width: usize,
    pub classes: usize,
}

impl Scope {
    fn keeps_shape(&self) -> bool {
        self.in_channels == self.out_channels && self.stride == 1
    }
}

/// Adds `layers` behind `from`; the nodes' names start with `prefix`.
pub(super) fn lower(
    builder: &mut GraphBuilder,
    layers: &[Layer],
    scope: &Scope,
    prefix: &str,
    from: NodeId,
) -> Result<NodeId, GraphError> {
    let mut at = from;
    for (index, layer) in layers.iter().enumerate() {
        let ordinal = layers[..index].iter().filter(|other| other.kind() == layer.kind()).count() + 1;
        let suffix = if ordinal > 1 { ordinal.to_string() } else { String::new() };
        let name = format!("{prefix}.{}{suffix}", layer.kind());
        at = layer.lower(builder, scope, &name, at)?;
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
            Self::MaxPool(_) => "max_pool",
            Self::AvgPool(_) => "avg_pool",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Linear(_) => "linear",
            Self::Softmax => "softmax",
            Self::Dropout(_) => "dropout",
            Self::Zero => "zero",
            Self::Identity => "identity",
            Self::Residual(_) => "residual",
            Self::MatchShape(_) => "match_shape",
            Self::Concat(_) => "concat",
            Self::FactorizedReduction => "factorized_reduction",
        }
    }

    fn lower(&self, builder: &mut GraphBuilder, scope: &Scope, name: &str, from: NodeId) -> Result<NodeId, GraphError> {
        let same = builder.shape(from).channels();
        let op = match self {
            Self::Conv(conv) => Op::Conv2d(conv.resolve(scope, same)),
            Self::BatchNorm => Op::BatchNorm,
            Self::Relu => Op::Activation(Activation::Relu),
            Self::Relu6 => Op::Activation(Activation::Relu6),
            Self::HardSwish => Op::Activation(Activation::HardSwish),
            Self::Sigmoid => Op::Activation(Activation::Sigmoid),
            Self::MaxPool(pool) => Op::MaxPool(pool.resolve(scope, same)),
            Self::AvgPool(pool) => Op::AvgPool(pool.resolve(scope, same)),
            Self::GlobalAvgPool => Op::GlobalAvgPool,
            Self::Linear(linear) => {
                Op::Linear { out_features: linear.features.resolve(scope, same), bias: linear.bias }
            }
            Self::Softmax => Op::Softmax,
            Self::Dropout(dropout) => Op::Dropout { probability: dropout.probability },
            Self::Zero => Op::Zero,
            Self::Identity => Op::Identity,
            Self::Residual(residual) => return residual.lower(builder, scope, name, from),
            Self::MatchShape(_) if scope.keeps_shape() => Op::Identity,
            Self::MatchShape(layers) => return lower(builder, layers, scope, name, from),
            Self::Concat(branches) => {
                let lower_branch =
                    |(i, branch): (usize, &Vec<Layer>)| lower(builder, branch, scope, &format!("{name}.{i}"), from);
                let results: Vec<NodeId> = branches.iter().enumerate().map(lower_branch).collect::<Result<_, _>>()?;
                return builder.push(name, Op::Concat, &results);
            }
            Self::FactorizedReduction => return factorized_reduction(builder, scope.out_channels, name, from),
        };
        builder.push(name, op, &[from])
    }
}

fn factorized_reduction(
    builder: &mut GraphBuilder,
    channels: usize,
    name: &str,
    from: NodeId,
) -> Result<NodeId, GraphError> {
    let half = |out_channels| {
        let window = Window { kernel: 1, stride: 2, padding: 0, dilation: 1 };
        Op::Conv2d(Conv2d { out_channels, window, groups: 1, bias: false })
    };
    let relu = builder.push(format!("{name}.relu"), Op::Activation(Activation::Relu), &[from])?;
    let first = builder.push(format!("{name}.conv"), half(channels / 2), &[relu])?;
    let moved = builder.push(format!("{name}.crop"), Op::Crop, &[relu])?;
    let second = builder.push(format!("{name}.conv2"), half(channels - channels / 2), &[moved])?;
    let both = builder.push(format!("{name}.concat"), Op::Concat, &[first, second])?;
    builder.push(format!("{name}.batch_norm"), Op::BatchNorm, &[both])
}

impl ConvLayer {
    fn resolve(&self, scope: &Scope, same: usize) -> Conv2d {
        let kernel = self.kernel.resolve(scope, same);
        let padding = self.padding.unwrap_or(self.dilation * (kernel.max(1) - 1) / 2);
        let stride = self.stride.resolve(scope, same);
        Conv2d {
            out_channels: self.channels.resolve(scope, same),
            window: Window { kernel, stride, padding, dilation: self.dilation },
            groups: self.groups.resolve(scope, same),
            bias: self.bias,
        }
    }
}

impl PoolLayer {
    fn resolve(&self, scope: &Scope, same: usize) -> Window {
        let kernel = self.kernel.resolve(scope, same);
        let padding = self.padding.unwrap_or((kernel.max(1) - 1) / 2);
        Window { kernel, stride: self.stride.resolve(scope, same), padding, dilation: 1 }
    }
}

impl ResidualLayer {
    fn lower(&self, builder: &mut GraphBuilder, scope: &Scope, name: &str, from: NodeId) -> Result<NodeId, GraphError> {
        let body = lower(builder, &self.body, scope, &format!("{name}.body"), from)?;
        let shortcut = match &self.shortcut {
            Some(layers) => lower(builder, layers, scope, &format!("{name}.shortcut"), from)?,
            None if builder.shape(body) == builder.shape(from) => from,
            None => return Ok(body),
        };
        builder.push(format!("{name}.add"), Op::Add, &[body, shortcut])
    }
}
