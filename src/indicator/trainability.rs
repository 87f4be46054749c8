//! Trainability by blocks: how a gradient changes from a block's output to its input.
//!
//! v = ±1 at random at the block's output, u = Jᵀv at its input, A = Σ u vᵀ / (B·H·W) over samples and pixels. With σ
//! the largest singular value of A the score is the mean over blocks of 2 − σ − 1/σ: 0 where the gradient keeps its
//! size, less where it explodes or vanishes (after Lee and Ham 2024, AZ-NAS, its trainability). Blocks are
//! [`Graph::blocks`](crate::graph::Graph::blocks). Batch normalisation's statistics are constants. In a strided block
//! u has more pixels than v: each of v is matched with the mean of those of u that it covers.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::network::{Mode, between};
use crate::objective::Direction;
use candle_core::{Tensor, Var};
use nalgebra::DMatrix;
use rand::RngExt;

/// How well gradients pass the blocks, higher is better.
#[derive(Clone, Copy, Debug)]
pub struct Trainability;

/// What [`Run::rng`] draws v for.
const PURPOSE: u64 = 11;

impl Indicator for Trainability {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "trainability",
            direction: Direction::Maximize,
            description: "trainability: how evenly gradients pass the blocks",
            formula: "mean over blocks of 2 − σ − 1/σ, σ the spectral norm of E[Jᵀv vᵀ]",
            source: "after Lee and Ham 2024 (AZ-NAS), trainability",
            view: View::Features,
            cost: "a forward and a backward pass, and a forward pass of the blocks",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        let (graph, weights, known) = (run.graph(), run.weights()?, run.activations()?);
        let mut rng = run.rng(PURPOSE);
        let blocks = graph.blocks();
        let mut sum = 0.0;
        for block in &blocks {
            let input = Var::from_tensor(known.of(block.input))?;
            let output = between(graph, weights, known, (block.input, &input), block.output, Mode::Frozen)?;
            let signs = (0..output.elem_count()).map(|_| if rng.random::<bool>() { 1f32 } else { -1.0 }).collect();
            let v = Tensor::from_vec(signs, output.shape(), output.device())?;
            let gradients = (&output * &v)?.sum_all()?.backward()?;
            let sigma = match gradients.get(&input) {
                Some(u) => spectral_norm(u, &v)?,
                None => 0.0,
            };
            sum += 2.0 - sigma - sigma.recip();
        }
        Ok(sum / blocks.len() as f64)
    }
}

/// The largest singular value of Σ u vᵀ / (B·H·W), of maps `[batch, channels, height, width]`; B, H, W are those of v.
fn spectral_norm(u: &Tensor, v: &Tensor) -> Result<f64, candle_core::Error> {
    let (batch, out_channels, height, width) = v.dims4()?;
    let columns = |map: &Tensor| map.transpose(0, 1)?.flatten_from(1);
    let u = columns(&pooled(u, height, width)?)?;
    let product = u.matmul(&columns(v)?.t()?)?.flatten_all()?.to_vec1::<f32>()?;
    let values = product.into_iter().map(|value| f64::from(value) / (batch * height * width) as f64);
    let a = DMatrix::from_row_iterator(u.dim(0)?, out_channels, values);
    Ok(if a.iter().all(|value| value.is_finite()) { a.singular_values().max() } else { f64::NAN })
}

/// `map` with the mean of the pixels that each of `height` × `width` covers.
fn pooled(map: &Tensor, height: usize, width: usize) -> Result<Tensor, candle_core::Error> {
    let (_, _, rows, columns) = map.dims4()?;
    if (rows, columns) == (height, width) {
        return Ok(map.clone());
    }
    let along_rows = map.broadcast_matmul(&means(columns, width, map)?.t()?)?;
    means(rows, height, map)?.broadcast_matmul(&along_rows)
}

/// `[to, from]`: the weights with which `from` pixels are averaged to `to`.
fn means(from: usize, to: usize, like: &Tensor) -> Result<Tensor, candle_core::Error> {
    let mut weights = vec![0f32; from * to];
    for (pixel, weights) in weights.chunks_mut(from).enumerate() {
        let covered = pixel * from / to..((pixel + 1) * from).div_ceil(to);
        let share = (covered.len() as f32).recip();
        weights[covered].fill(share);
    }
    Tensor::from_vec(weights, (to, from), like.device())
}
