//! The neural tangent kernel of a probe network on a batch.
//!
//! K = GGᵀ with row n of G the gradient of Σ_c y\[n, c\] with respect to all weights (convolutions, batch
//! normalisation's scales, classifier; no biases), through the batch's statistics (Jacot et al. 2018; Chen et al.
//! 2021, Section 3). K is summed layer by layer, so that G is never held whole.

use crate::graph::{Graph, NodeId};
use crate::network::{LayerGradient, LayerProducts, Member, PerSampleGradients, Stack, Weights, WeightsError};
use candle_core::{DType, Device, Tensor};
use nalgebra::DMatrix;

/// Kernels of one network.
#[derive(Clone, Debug)]
pub struct Ntk {
    /// K over all weights, `[batch, batch]`.
    pub all: DMatrix<f64>,
    /// K over the weights between stem and head, `[batch, batch]`.
    pub body: DMatrix<f64>,
    /// The body's kernel between a second batch (rows) and the first (columns), where one was given.
    pub body_cross: Option<DMatrix<f64>>,
}

/// The kernels of `graph` on `first` `[batch, channels, height, width]`, and across `second`, of the same shape.
///
/// # Errors
/// If a weight is missing, or Candle fails.
pub fn ntk(graph: &Graph, weights: &Weights, first: &Tensor, second: Option<&Tensor>) -> Result<Ntk, WeightsError> {
    let rows = PerSampleGradients::new(graph, weights, first)?;
    let mut across = second.map(|second| PerSampleGradients::new(graph, weights, second)).transpose()?;
    let mut kernels = Ntk::zero(first.dim(0)?, second.is_some());
    for layer in rows {
        let layer = layer?;
        let gram = product(&layer.gradient, &layer.gradient)?;
        if in_body(graph, layer.node) {
            kernels.body += &gram;
            // The second pass goes as far as the body: not into the stem.
            if let (Some(cross), Some(across)) = (&mut kernels.body_cross, &mut across) {
                let is_twin = |twin: &Result<LayerGradient, _>| twin.as_ref().map_or(true, |l| l.node == layer.node);
                let twin = across.find(is_twin).expect("both passes walk the same graph")?;
                *cross += product(&twin.gradient, &layer.gradient)?;
            }
        }
        kernels.all += gram;
    }
    Ok(kernels)
}

/// The kernels of each of `members` on the first of `batches`, and across the second, if there is one; all at once.
///
/// # Errors
/// As [`Stack::new`].
pub fn stacked(members: &[Member], batches: &[Tensor]) -> Result<Vec<Ntk>, WeightsError> {
    let samples = batches.first().map_or(Ok(0), |first| first.dim(0))?;
    let mut kernels = vec![Ntk::zero(samples, batches.len() > 1); members.len()];
    for LayerProducts { member, node, products } in Stack::new(members, batches)?.products()? {
        let of = &mut kernels[member];
        let products: Vec<f64> = products.into_iter().map(f64::from).collect();
        let mut products = products.chunks_exact(samples * samples);
        let mut next = || products.next().map(|product| DMatrix::from_row_slice(samples, samples, product));
        let gram = next().expect("a stack has a batch");
        if in_body(members[member].graph, node) {
            of.body += &gram;
            if let (Some(cross), Some(product)) = (&mut of.body_cross, next()) {
                *cross += product;
            }
        }
        of.all += gram;
    }
    Ok(kernels)
}

impl Ntk {
    fn zero(samples: usize, across: bool) -> Self {
        let zeros = || DMatrix::zeros(samples, samples);
        Self { all: zeros(), body: zeros(), body_cross: across.then(zeros) }
    }
}

fn in_body(graph: &Graph, layer: NodeId) -> bool {
    let name = &graph.node(layer).name;
    !name.starts_with("stem.") && !name.starts_with("head.")
}

/// abᵀ of two matrices `[batch, elements]`.
fn product(a: &Tensor, b: &Tensor) -> Result<DMatrix<f64>, candle_core::Error> {
    // To the CPU first: not every GPU has f64.
    let gram = a.matmul(&b.t()?)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let (rows, columns) = gram.dims2()?;
    Ok(DMatrix::from_row_slice(rows, columns, &gram.flatten_all()?.to_vec1::<f64>()?))
}

/// λ_max / max(λ_min, 10⁻¹² λ_max), and both eigenvalues: `(κ, λ_min, λ_max)`.
pub fn condition(kernel: &DMatrix<f64>) -> (f64, f64, f64) {
    let eigenvalues = kernel.symmetric_eigenvalues();
    let (low, high) = (eigenvalues.min(), eigenvalues.max());
    (high / low.max(1e-12 * high), low, high)
}
