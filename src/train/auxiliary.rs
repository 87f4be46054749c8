//! A second classifier half-way, for gradients that reach the front of a deep network: it is trained with it, and not kept.
//!
//! It is that of DARTS for CIFAR (Liu et al. 2019, Section 3.2, released code; after Szegedy et al. 2015, Section 5), behind the block at two thirds
//! of the depth: a rectifier, a mean over 5×5 pixels in steps of 3, convolutions to 128 and, of 2×2 pixels, to 768 channels, each normalised and
//! rectified, and a fully connected layer. Windows are no larger than maps.

use super::TrainError;
use crate::graph::{Activation, Conv2d, Graph, GraphBuilder, NodeId, Op, Shape, Side, Window};

/// What the names of its nodes begin with.
const NAME: &str = "auxiliary";

/// The graph of a classifier with a second one beside it, where its loss has a `weight`, and the logits of both. Nodes of the classifier have the same
/// ids in both graphs.
///
/// # Errors
/// If there is no block of maps to put a second classifier behind.
pub(super) fn with_auxiliary(graph: &Graph, weight: Option<f64>) -> Result<(Graph, Vec<NodeId>), TrainError> {
    let Some(value) = weight else { return Ok((graph.clone(), vec![graph.output()])) };
    let blocks = graph.blocks();
    let output = blocks.get(2 * blocks.len() / 3).map(|block| block.output);
    let Some((mut at, Shape::Map { height, width, .. })) = output.map(|id| (id, graph.node(id).shape)) else {
        let expected = "null: the network has no blocks of maps to put a second classifier behind";
        return Err(TrainError::Option { field: "auxiliary", value, expected });
    };
    let window = |[height, width]: [usize; 2], kernel: usize, stride: usize| {
        let side = |size: usize| Side { kernel: kernel.min(size), stride, padding: 0, dilation: 1 };
        Window { rows: side(height), columns: side(width) }
    };
    let pool = window([height, width], 5, 3);
    let pooled = pool.output([height, width]).unwrap_or([1, 1]);
    let conv = |out_channels, window| Op::Conv2d(Conv2d { out_channels, window, groups: 1, bias: false });
    let relu = Op::Activation(Activation::Relu);
    let layers = [
        ("relu", relu),
        ("pool", Op::AvgPool(pool)),
        ("conv0", conv(128, Window::same(1, 1))),
        ("norm0", Op::BatchNorm),
        ("relu0", relu),
        ("conv1", conv(768, window(pooled, 2, 1))),
        ("norm1", Op::BatchNorm),
        ("relu1", relu),
        // One pixel, where the maps were 8×8, as on CIFAR.
        ("mean", Op::GlobalAvgPool),
        ("linear", Op::Linear { out_features: graph.output_shape().elements(), bias: true }),
    ];
    let mut builder = GraphBuilder::from(graph.clone());
    for (name, op) in layers {
        at = builder.push(format!("{NAME}.{name}"), op, &[at])?;
    }
    Ok((builder.finish(graph.output()), vec![graph.output(), at]))
}
