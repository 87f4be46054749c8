//! The shape-checked operator graph of one candidate: the only operator vocabulary.
//!
//! Every search space lowers its genotypes to a [`Graph`]; the Candle network and the ONNX model are both
//! made from it, so that what is scored is what is measured. Nodes stand in topological order, shapes
//! are checked as nodes are added, and a graph that exists is therefore well formed.
//!
//! Shapes leave out the batch dimension: it belongs to the run, not to the architecture.

mod blocks;
mod canonical;
mod changed;
mod cost;
mod json;
mod live;
mod shape;
mod window;

pub use blocks::Block;
pub use cost::Cost;
pub use json::GraphJsonError;
pub use shape::Shape;
pub use window::{Margins, Pair, Side, Window};

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// A node of a graph, by its position in topological order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

impl NodeId {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A two-dimensional convolution, weight `[out_channels, in_channels / groups, rows, columns]` of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel, stride, padding, dilation.
    pub window: Window,
    /// Channel groups; as many as input channels for a depthwise convolution.
    pub groups: usize,
    /// Whether a bias `[out_channels]` is added.
    pub bias: bool,
}

/// An element-wise nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x · min(max(x + 3, 0), 6) / 6
    HardSwish,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// min(max(x + 3, 0), 6) / 6
    HardSigmoid,
    /// x · Φ(x), Φ the standard normal distribution (Hendrycks and Gimpel 2016): with the error function, not the approximation
    /// by tanh.
    Gelu,
}

/// How the pixels of a map look at those of another: in `heads` equal parts of the channels, each by itself, q of shape
/// `[channels, height, width]`, k and v of as many pixels as each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Parts of the channels.
    pub heads: usize,
    /// What the weight of a pixel is.
    pub kind: AttentionKind,
}

/// What the weight of a pixel m for a pixel n is, from the d channels of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// softmax over m of q_n · k_m / √d (Vaswani et al. 2017): its cost grows with the product of the numbers of pixels.
    Softmax,
    /// max(q_n, 0) · max(k_m, 0) / (Σ over m of these + ε), ε = [`LINEAR_ATTENTION_EPS`]: ReLU features without re-weighting
    /// (Katharopoulos et al. 2020; Cai et al. 2023, EfficientViT, Section 3.1). Summed over m first, the cost grows with the pixels
    /// and d².
    Linear,
}

/// What a node computes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The network's input; always node 0, and only that.
    Input,
    /// Convolution.
    Conv2d(Conv2d),
    /// Batch normalisation over each channel, with scale and shift, ε = [`BATCH_NORM_EPS`].
    BatchNorm,
    /// Element-wise nonlinearity.
    Activation(Activation),
    /// Element-wise sum of two or more maps of one shape.
    Add,
    /// Element-wise product of two maps; the second may be `[channels, 1, 1]` (a gate).
    Mul,
    /// Concatenation along channels.
    Concat,
    /// Maximum over a window.
    MaxPool(Window),
    /// Mean over a window; padding does not count.
    AvgPool(Window),
    /// Mean over all pixels: a map `[channels, height, width]` to a vector `[channels]`.
    GlobalAvgPool,
    /// Fully connected layer, weight `[out_features, in_features]`.
    Linear {
        /// Features of the output.
        out_features: usize,
        /// Whether a bias `[out_features]` is added.
        bias: bool,
    },
    /// Softmax over the features of a vector.
    Softmax,
    /// Dropout: the identity, except in training.
    Dropout {
        /// Probability with which an element is dropped in training.
        probability: f32,
    },
    /// A map with zeros around it, or with rows and columns cut off.
    Pad(Margins),
    /// Normalisation over the channels of each pixel, with scale and shift, ε = [`LAYER_NORM_EPS`] (Ba et al. 2016).
    LayerNorm,
    /// Attention of three operands: q, k, v; the result has q's pixels and v's channels.
    Attention(Attention),
    /// A map plus a trained one of the same shape: where each pixel is (Dosovitskiy et al. 2021).
    PositionEmbedding,
    /// All zeros in the input's shape: the absent edge of a cell.
    Zero,
    /// The input, unchanged.
    Identity,
}

/// The ε of every batch normalisation (PyTorch's default).
pub const BATCH_NORM_EPS: f64 = 1e-5;
/// The ε of every layer normalisation (that of vision transformers: DeiT, timm).
pub const LAYER_NORM_EPS: f64 = 1e-6;
/// What is added to the sum of a linear attention's weights, which may all be zero.
pub const LINEAR_ATTENTION_EPS: f64 = 1e-6;

/// One operator with its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name; the parameters' names start with it (`stem.conv` has `stem.conv.weight`).
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Where its operands come from, all of them earlier in the order.
    pub inputs: Vec<NodeId>,
    /// Shape of the result, without the batch.
    pub shape: Shape,
}

/// What a parameter is, and so how it is initialised and whether it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Weight of a convolution or a fully connected layer.
    Weight,
    /// Bias of a convolution or a fully connected layer.
    Bias,
    /// A normalisation's γ.
    Scale,
    /// A normalisation's β.
    Shift,
    /// What is added to a map by [`Op::PositionEmbedding`].
    Position,
    /// Batch normalisation's running mean; not trained.
    RunningMean,
    /// Batch normalisation's running variance; not trained.
    RunningVariance,
}

/// A tensor that a graph's node needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// `<node>.weight`, `<node>.bias`, `<node>.running_mean` or `<node>.running_var`.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its dimensions, in the order of the node's documentation.
    pub dims: Vec<usize>,
    /// Number of inputs that one output of the layer sums over (for initialisation).
    pub fan_in: usize,
}

/// The operator graph of one candidate, in topological order.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    output: NodeId,
}

/// Why operators do not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GraphError {
    /// Operands whose shapes the operator can't take.
    #[error("node `{node}`: {reason}")]
    Shape {
        /// Name of the node.
        node: String,
        /// What was found, and what was expected.
        reason: String,
    },
    /// Two nodes of one name.
    #[error("node `{0}` exists twice: names must be unique")]
    DuplicateName(String),
    /// The output does not depend on the input.
    #[error("the output does not depend on the input: no path of operators connects them")]
    Dead,
}

/// Builds a [`Graph`] node by node, checking shapes on the way.
#[derive(Debug)]
pub struct GraphBuilder {
    nodes: Vec<Node>,
    /// Nodes by the hash of their name; of two names of one hash, the first.
    names: HashMap<u64, NodeId, BuildHasherDefault<AsItIs>>,
}

impl GraphBuilder {
    /// A graph of nothing but its input.
    pub fn new(input: Shape) -> Self {
        let node = Node { name: "input".into(), op: Op::Input, inputs: vec![], shape: input };
        let mut builder = Self { nodes: Vec::with_capacity(ROOM), names: HashMap::default() };
        builder.names.reserve(ROOM);
        builder.names.insert(hash(&node.name), NodeId(0));
        builder.nodes.push(node);
        builder
    }

    /// The node of the network's input.
    pub fn input(&self) -> NodeId {
        NodeId(0)
    }

    /// Shape of a node's result.
    pub fn shape(&self, node: NodeId) -> Shape {
        self.nodes[node.0].shape
    }

    /// Adds an operator.
    ///
    /// # Errors
    /// If the operands' shapes don't fit the operator, or the name is taken.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let name = name.into();
        let shape = match inputs {
            // Most operators: spaces are lowered ten thousand times a second.
            &[one] => shape::infer(&op, &[self.shape(one)]),
            _ => shape::infer(&op, &inputs.iter().map(|&i| self.shape(i)).collect::<Vec<_>>()),
        };
        let shape = shape.map_err(|reason| GraphError::Shape { node: name.clone(), reason })?;
        let id = NodeId(self.nodes.len());
        let first = *self.names.entry(hash(&name)).or_insert(id);
        if first != id && self.nodes[first.0].name == name {
            return Err(GraphError::DuplicateName(name));
        }
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), shape });
        Ok(id)
    }

    /// Adds zeros of any shape: an absent operand, such as a live graph's concatenations have.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn zeros(&mut self, name: impl Into<String>, shape: Shape) -> Result<NodeId, GraphError> {
        let id = self.push(name, Op::Zero, &[NodeId(0)])?;
        self.nodes[id.0].shape = shape;
        Ok(id)
    }

    /// The graph whose result is `output`.
    pub fn finish(self, output: NodeId) -> Graph {
        Graph { nodes: self.nodes, output }
    }
}

/// Nodes that there is room for from the start: most graphs have as many.
const ROOM: usize = 512;

/// The hasher of what is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl Graph {
    /// All nodes, operands before the operators that use them.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of this id.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Ids of all nodes, in topological order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The node whose result is the network's.
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// Shape of one input sample.
    pub fn input_shape(&self) -> Shape {
        self.nodes[0].shape
    }

    /// Shape of one output sample.
    pub fn output_shape(&self) -> Shape {
        self.node(self.output).shape
    }

    /// The parameters of one node, in a fixed order.
    pub fn node_parameters(&self, id: NodeId) -> Vec<Parameter> {
        let node = self.node(id);
        let parameter = |suffix: &str, role, dims: Vec<usize>, fan_in| Parameter {
            name: format!("{}.{suffix}", node.name),
            role,
            dims,
            fan_in,
        };
        match node.op {
            Op::Conv2d(conv) => {
                let per_group = self.node(node.inputs[0]).shape.channels() / conv.groups;
                let [rows, columns] = conv.window.kernel();
                let fan_in = per_group * rows * columns;
                let dims = vec![conv.out_channels, per_group, rows, columns];
                let mut all = vec![parameter("weight", Role::Weight, dims, fan_in)];
                if conv.bias {
                    all.push(parameter("bias", Role::Bias, vec![conv.out_channels], fan_in));
                }
                all
            }
            Op::Linear { out_features, bias } => {
                let fan_in = self.node(node.inputs[0]).shape.channels();
                let mut all = vec![parameter("weight", Role::Weight, vec![out_features, fan_in], fan_in)];
                if bias {
                    all.push(parameter("bias", Role::Bias, vec![out_features], fan_in));
                }
                all
            }
            Op::BatchNorm => {
                let dims = vec![node.shape.channels()];
                vec![
                    parameter("weight", Role::Scale, dims.clone(), 1),
                    parameter("bias", Role::Shift, dims.clone(), 1),
                    parameter("running_mean", Role::RunningMean, dims.clone(), 1),
                    parameter("running_var", Role::RunningVariance, dims, 1),
                ]
            }
            Op::LayerNorm => {
                let dims = vec![node.shape.channels()];
                vec![parameter("weight", Role::Scale, dims.clone(), 1), parameter("bias", Role::Shift, dims, 1)]
            }
            Op::PositionEmbedding => vec![parameter("weight", Role::Position, node.shape.dims(), 1)],
            _ => vec![],
        }
    }

    /// The convolution that a node's zeros can be the padding of: the node cuts nothing off, and nothing else reads it.
    pub fn padded_convolution(&self, id: NodeId) -> Option<NodeId> {
        let Op::Pad(margins) = self.node(id).op else { return None };
        let mut readers = self.ids().filter(|&reader| self.node(reader).inputs.contains(&id));
        let (reader, others) = (readers.next()?, readers.next());
        let takes = matches!(self.node(reader).op, Op::Conv2d(_)) && others.is_none() && id != self.output;
        (takes && margins.adds()).then_some(reader)
    }

    /// All parameters, in the order of the nodes.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.ids().flat_map(|id| self.node_parameters(id)).collect()
    }
}
