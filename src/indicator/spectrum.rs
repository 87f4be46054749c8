//! What eigenvalues say of kernels and of covariances.

use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, DVector};

/// −Σ p ln p with p = λ / Σ λ: ln n for n equal eigenvalues, 0 for a single one. An eigenvalue below zero is one of zero
/// and rounding. Not a number where all are zero.
pub(super) fn entropy(eigenvalues: &DVector<f64>) -> f64 {
    let positive = || eigenvalues.iter().copied().filter(|&value| value > 0.0);
    let sum: f64 = positive().sum();
    if sum == 0.0 {
        return f64::NAN;
    }
    -positive().map(|value| (value / sum) * (value / sum).ln()).sum::<f64>()
}

/// The covariance of the channels over batch and pixels, `[channels, channels]`, of `maps`
/// `[batch, channels, height, width]` or `[batch, channels]`.
pub(super) fn channel_covariance(maps: &Tensor) -> Result<DMatrix<f64>, candle_core::Error> {
    let channels = maps.dim(1)?;
    let rows = maps.transpose(0, 1)?.contiguous()?.reshape((channels, ()))?;
    let count = rows.dim(1)?;
    let centred = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
    // To the CPU first: not every GPU has f64.
    let products = centred.matmul(&centred.t()?)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let products = DMatrix::from_row_slice(channels, channels, &products.flatten_all()?.to_vec1::<f64>()?);
    Ok(products / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np
    // x = (np.arange(2 * 3 * 2 * 2) ** 2 % 7).reshape(2, 3, 2, 2).astype(float)
    // c = np.cov(x.transpose(1, 0, 2, 3).reshape(3, -1), bias=True)
    // l = np.linalg.eigvalsh(c); p = l / l.sum(); print(c, -(p * np.log(p)).sum())
    #[test]
    fn covariance_and_entropy_are_numpys() {
        let values: Vec<f32> = (0..24).map(|i| (i * i % 7) as f32).collect();
        let maps = Tensor::from_vec(values, (2, 3, 2, 2), &Device::Cpu).unwrap();
        let covariance = channel_covariance(&maps).unwrap();
        let expected = DMatrix::from_row_slice(
            3,
            3,
            &[2.234375, -0.109375, -0.046875, -0.109375, 1.984375, 0.796875, -0.046875, 0.796875, 1.859375],
        );
        assert!((&covariance - expected).amax() < 1e-5, "{covariance}");
        let entropy = entropy(&covariance.symmetric_eigenvalues());
        assert!((entropy - 1.0386187459995444).abs() < 1e-6, "{entropy}");
    }

    #[test]
    fn entropy_knows_equal_single_and_no_eigenvalues() {
        let check = |eigenvalues: &[f64], expected: f64| {
            let entropy = entropy(&DVector::from_row_slice(eigenvalues));
            assert!((entropy - expected).abs() < 1e-12, "{eigenvalues:?}: {entropy}");
        };
        check(&[3.0; 4], 4f64.ln());
        check(&[2.0, 0.0, -1e-17], 0.0);
        assert!(entropy(&DVector::from_row_slice(&[0.0, 0.0])).is_nan());
    }
}
