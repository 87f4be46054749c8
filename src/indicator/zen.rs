//! Expressivity: how much the features move when the input does.
//!
//! ln E‖f(x) − f(x + αε)‖ + Σ over batch normalisations of ln σ, with x and ε standard normal, f the features in front
//! of the global pooling, standard normal weights, and σ² the mean over channels of the variance that a
//! normalisation divides by: what it takes away is given back (Lin et al. 2021, Zen-NAS, Algorithm 1). The paper takes
//! residual links out; here they stay, since a cell is nothing without them. Where layers are normalised pixel by pixel, there is no σ of a
//! layer to be given back: transformers have no Zen-score.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::graph::{Graph, NodeId, Op};
use crate::kernels;
use crate::network::{Mode, Weights, activations, standard_normal};
use crate::objective::Direction;
use candle_core::Tensor;

/// The Zen-score, higher is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zen;

/// Size α of the noise.
const NOISE: f64 = 0.01;
/// Images of the paper's batch.
const IMAGES: usize = 16;
/// The purpose of this indicator's draws.
const DRAWS: u64 = 0x007a_656e;

impl Indicator for Zen {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "zen",
            direction: Direction::Maximize,
            description: "expressivity: how much the features move when the input does",
            formula: "ln E‖f(x) − f(x + 0.01 ε)‖ + Σ over batch normalisations of ln σ",
            source: "Lin et al. 2021 (Zen-NAS), Algorithm 1",
            view: View::Features,
            cost: "two forward passes of half a batch",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        if let Some(node) = run.graph().nodes().iter().find(|node| node.op == Op::LayerNorm) {
            let reason =
                format!("`{}` takes each pixel's size away, expected networks of batch normalisation", node.name);
            return Err(IndicatorError::Unfit { indicator: "zen", reason });
        }
        let mut rng = run.rng(DRAWS);
        let dims = [&[IMAGES], &run.images().dims()[1..]].concat();
        let mut draw = || {
            let values: Vec<f32> = (0..dims.iter().product()).map(|_| standard_normal(&mut rng)).collect();
            Tensor::from_vec(values, dims.as_slice(), run.images().device())
        };
        let (input, noise) = (draw()?, draw()?);
        score(run.graph(), &standard(run.weights()?)?, &input, &noise)
    }
}

/// Kaiming's weights as standard normal ones.
fn standard(weights: &Weights) -> Result<Weights, IndicatorError> {
    Ok(weights.map(|_, weight| match weight.dims() {
        [_] => Ok(weight.clone()),
        [_, fan_in @ ..] => weight * (fan_in.iter().product::<usize>() as f64 / 2.0).sqrt(),
        [] => unreachable!("a parameter has dimensions"),
    })?)
}

/// The Zen-score of a network for `input` and `noise`, both `[batch, channels, height, width]`.
fn score(graph: &Graph, weights: &Weights, input: &Tensor, noise: &Tensor) -> Result<f64, IndicatorError> {
    let still = activations(graph, weights, input, Mode::Train)?;
    let moved = activations(graph, weights, &(input + (noise * NOISE)?)?, Mode::Train)?;
    let features = features(graph);
    let distances = (still.of(features) - moved.of(features))?.flatten_from(1)?.sqr()?.sum(1)?.sqrt()?;
    let mut score = f64::from(distances.mean_all()?.to_scalar::<f32>()?).ln();
    for id in graph.ids().filter(|&id| graph.node(id).op == Op::BatchNorm) {
        let (_, variances) = kernels::batch_statistics(still.of(graph.node(id).inputs[0]))?;
        score += 0.5 * f64::from(variances.mean_all()?.to_scalar::<f32>()?).ln();
    }
    Ok(score)
}

/// The map that is pooled last, or the output of a network that does not pool.
fn features(graph: &Graph) -> NodeId {
    let pool = graph.ids().rev().find(|&id| graph.node(id).op == Op::GlobalAvgPool);
    pool.map_or(graph.output(), |pool| graph.node(pool).inputs[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Activation, Conv2d, GraphBuilder, Shape, Window};
    use candle_core::{DType, Device};
    use std::collections::HashMap;

    // import numpy as np
    // x = (np.arange(2 * 2 * 3 * 3) ** 2 % 7).reshape(2, 2, 3, 3) - 3.0
    // e = (np.arange(2 * 2 * 3 * 3) ** 3 % 5).reshape(2, 2, 3, 3) - 2.0
    // w = np.array([[1.0, -2], [0.5, 1], [-1, 3]]); g = np.array([1.0, 2, 0.5]); b = np.array([0.0, -1, 0.25])
    // def f(x):
    //     y = np.einsum('oi,bihw->bohw', w, x); v = y.var((0, 2, 3)); c = lambda t: t[:, None, None]
    //     return np.maximum((y - c(y.mean((0, 2, 3)))) / np.sqrt(c(v) + 1e-5) * c(g) + c(b), 0), v
    // d = f(x)[0] - f(x + 0.01 * e)[0]
    // print(np.log(np.mean([np.linalg.norm(one) for one in d])) + 0.5 * np.log(f(x)[1].mean()))
    #[test]
    fn it_is_numpys() {
        let mut graph = GraphBuilder::new(Shape::map(2, 3, 3));
        let conv = Conv2d { out_channels: 3, window: Window::same(1, 1), groups: 1, bias: false };
        let mut end = graph.input();
        for (name, op) in [
            ("conv", Op::Conv2d(conv)),
            ("norm", Op::BatchNorm),
            ("relu", Op::Activation(Activation::Relu)),
            ("pool", Op::GlobalAvgPool),
        ] {
            end = graph.push(name, op, &[end]).unwrap();
        }
        let graph = graph.finish(end);
        let tensor = |values: &[f32], dims: &[usize]| Tensor::from_slice(values, dims, &Device::Cpu).unwrap();
        let weights = HashMap::from([
            ("conv.weight".to_owned(), tensor(&[1.0, -2.0, 0.5, 1.0, -1.0, 3.0], &[3, 2, 1, 1])),
            ("norm.weight".to_owned(), tensor(&[1.0, 2.0, 0.5], &[3])),
            ("norm.bias".to_owned(), tensor(&[0.0, -1.0, 0.25], &[3])),
            ("norm.running_mean".to_owned(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap()),
            ("norm.running_var".to_owned(), Tensor::ones(3, DType::F32, &Device::Cpu).unwrap()),
        ]);
        let weights = Weights::from_tensors(&graph, weights).unwrap();
        let batch = |value: fn(u32) -> f32| {
            let values: Vec<f32> = (0..36).map(value).collect();
            tensor(&values, &[2, 2, 3, 3])
        };
        let (input, noise) = (batch(|i| (i.pow(2) % 7) as f32 - 3.0), batch(|i| (i.pow(3) % 5) as f32 - 2.0));
        let value = score(&graph, &weights, &input, &noise).unwrap();
        assert!((value - -1.755340867069335).abs() < 1e-3, "{value}");
    }
}
