//! A classifier's logits: what training looks at, and what a temperature divides.

use crate::graph::{Graph, GraphBuilder, GraphError, NodeId, Op};
use crate::network::{Weights, WeightsError};

/// The graph without the softmax that it may end with: its logits.
///
/// # Errors
/// Never for a graph that is well formed.
pub fn logits(graph: &Graph) -> Result<Graph, GraphError> {
    graph.with_operators(|id| match graph.node(id).op {
        Op::Softmax if id == graph.output() => None,
        op => Some(op),
    })
}

/// The graph with a softmax behind it, if it has none.
///
/// # Errors
/// If its output is no vector.
pub fn with_softmax(graph: &Graph) -> Result<Graph, GraphError> {
    if graph.node(graph.output()).op == Op::Softmax {
        return Ok(graph.clone());
    }
    let mut builder = GraphBuilder::from(graph.clone());
    let output = builder.push("probabilities", Op::Softmax, &[graph.output()])?;
    Ok(builder.finish(output))
}

/// Weights that make all logits of `graph` `factor` times as large: those of its last layer, scaled. None where what
/// comes last is no convolution, fully connected layer or batch normalisation, perhaps with a mean over pixels behind it.
///
/// # Errors
/// If Candle fails.
pub fn scaled(graph: &Graph, weights: &Weights, factor: f64) -> Result<Option<Weights>, WeightsError> {
    let Some(last) = last_layer(graph) else { return Ok(None) };
    let suffixes = ["weight", "bias"].map(|suffix| format!("{}.{suffix}", graph.node(last).name));
    let scale = |name: &str, tensor: &candle_core::Tensor| match suffixes.iter().any(|own| own == name) {
        true => tensor * factor,
        false => Ok(tensor.clone()),
    };
    weights.map(scale).map(Some)
}

/// Name of the layer that [`scaled`] scales.
pub fn last_layer(graph: &Graph) -> Option<NodeId> {
    let users = |id: NodeId| graph.nodes().iter().filter(|node| node.inputs.contains(&id)).count();
    let mut at = graph.output();
    let mut expected = 0;
    loop {
        // What another operator takes too is not the last layer's alone.
        if users(at) > expected {
            return None;
        }
        expected = 1;
        match graph.node(at).op {
            Op::Linear { .. } | Op::Conv2d(_) | Op::BatchNorm => return Some(at),
            Op::GlobalAvgPool | Op::AvgPool(_) | Op::Identity | Op::Dropout { .. } => at = graph.node(at).inputs[0],
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Init, Mode, forward};
    use crate::space::{Scale, SearchSpace};
    use candle_core::{Device, Tensor};

    #[test]
    fn logits_are_scaled_by_the_last_layer() {
        let space = SearchSpace::open("nas-bench-201").unwrap();
        let genotype = space.parse_arch("|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|");
        let graph = space.lower(&genotype.unwrap(), Scale::Probe).unwrap().live().unwrap();
        let probabilities = with_softmax(&graph).unwrap();
        assert_eq!(probabilities.node(probabilities.output()).op, Op::Softmax);
        assert_eq!(logits(&probabilities).unwrap(), graph);
        assert_eq!(logits(&graph).unwrap(), graph);
        assert_eq!(with_softmax(&probabilities).unwrap(), probabilities);

        let weights = Weights::random(&graph, Init::default(), 0, &Device::Cpu).unwrap();
        let scaled = scaled(&graph, &weights, 0.5).unwrap().unwrap();
        let input = Tensor::rand(-1f32, 1.0, (2, 3, 32, 32), &Device::Cpu).unwrap();
        let [one, half] = [&weights, &scaled].map(|weights| {
            forward(&graph, weights, &input, Mode::Inference).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        });
        one.iter().zip(&half).for_each(|(one, half)| assert!((one / 2.0 - half).abs() < 1e-6, "{one} {half}"));
        assert!(last_layer(&probabilities).is_none());
    }
}
