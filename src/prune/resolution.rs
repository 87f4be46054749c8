//! The same network for inputs of another size.

use super::PruneError;
use crate::graph::{Graph, GraphBuilder, NodeId, Op, Shape, Window};

/// The graph for inputs of `[channels, height, width]`, with the same weights. A pool over a whole map is one over the whole of the new one.
///
/// # Errors
/// If weights belong to places of a map: a kernel as large as its map, an embedding of positions; or the channels are others; or a
/// window does not fit.
pub fn at_input(graph: &Graph, [channels, height, width]: [usize; 3]) -> Result<Graph, PruneError> {
    let refused = |node: &str, reason: String| {
        Err(PruneError::Resolution { node: node.to_owned(), reason, size: [height, width] })
    };
    if channels != graph.input_shape().channels() {
        let expected = graph.input_shape().channels();
        return refused("input", format!("it has {expected} channels, not {channels}"));
    }
    let mut builder = GraphBuilder::new(Shape::map(channels, height, width));
    let mut places: Vec<NodeId> = vec![builder.input()];
    for node in &graph.nodes()[1..] {
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| places[input.index()]).collect();
        let [before, now] = [graph.node(node.inputs[0]).shape, builder.shape(inputs[0])];
        let op = match node.op {
            op if before == now => op,
            Op::AvgPool(window) if covers(window, before) => Op::AvgPool(over_all(now)),
            Op::MaxPool(window) if covers(window, before) => Op::MaxPool(over_all(now)),
            Op::Conv2d(conv) if conv.window.taps() > 1 && covers(conv.window, before) => {
                return refused(&node.name, format!("its kernel is as large as its map, {before}"));
            }
            Op::PositionEmbedding => return refused(&node.name, format!("it has a weight for each place of {before}")),
            Op::Zero if node.shape != before => return refused(&node.name, format!("its zeros are {}", node.shape)),
            op => op,
        };
        let place = match op {
            Op::Zero if before == now => builder.zeros(node.name.clone(), node.shape)?,
            op => builder.push(node.name.clone(), op, &inputs)?,
        };
        places.push(place);
    }
    Ok(builder.finish(places[graph.output().index()]))
}

/// Whether a window has the whole of a map, and nothing around it.
fn covers(window: Window, shape: Shape) -> bool {
    let Shape::Map { height, width, .. } = shape else { return false };
    let sides = window.sides();
    window.kernel() == [height, width] && sides.iter().all(|side| side.padding == 0 && side.dilation == 1)
}

fn over_all(shape: Shape) -> Window {
    let size = match shape {
        Shape::Map { height, width, .. } => [height, width],
        Shape::Vector(_) => [1; 2],
    };
    Window::new(size, size, [0; 2], [1; 2])
}
