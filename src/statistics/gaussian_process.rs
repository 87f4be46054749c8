//! Gaussian process regression with a given kernel and noise (Rasmussen and Williams 2006, algorithm 2.1).

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

/// A function known at some places, and what may be expected of it elsewhere. Its mean without any knowledge is 0.
pub struct GaussianProcess<X, K> {
    kernel: K,
    known: Vec<X>,
    /// The Cholesky factor of the known places' covariance, noise included.
    factor: Cholesky<f64, Dyn>,
    weights: DVector<f64>,
}

impl<X, K: Fn(&X, &X) -> f64> GaussianProcess<X, K> {
    /// Learns `values` at the places `known`; each value has an error of variance `noise`. None if the covariance is not
    /// positive definite.
    ///
    /// # Panics
    /// If there are not as many values as places.
    pub fn new(kernel: K, known: Vec<X>, values: &[f64], noise: f64) -> Option<Self> {
        assert_eq!(known.len(), values.len(), "a value for each place");
        let of_pair =
            |row: usize, column: usize| kernel(&known[row], &known[column]) + if row == column { noise } else { 0.0 };
        let factor = DMatrix::from_fn(known.len(), known.len(), of_pair).cholesky()?;
        let weights = factor.solve(&DVector::from_column_slice(values));
        Some(Self { kernel, known, factor, weights })
    }

    /// Mean and variance at a place.
    pub fn predict(&self, place: &X) -> (f64, f64) {
        let covariances = DVector::from_iterator(self.known.len(), self.known.iter().map(|x| (self.kernel)(x, place)));
        let explained = covariances.dot(&self.factor.solve(&covariances));
        (covariances.dot(&self.weights), (((self.kernel)(place, place)) - explained).max(0.0))
    }
}

/// Matérn's kernel with ν = 5/2 of a distance in length scales (Rasmussen and Williams 2006, equation 4.17).
pub fn matern52(distance: f64) -> f64 {
    let scaled = 5f64.sqrt() * distance;
    (1.0 + scaled + scaled * scaled / 3.0) * (-scaled).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np
    // k = lambda a, b: (lambda s: (1 + s + s*s/3) * np.exp(-s))(np.sqrt(5) * abs(a - b) / .5)
    // x, y = np.array([0, .3, 1]), np.array([1, .5, -1]); K = k(x[:, None], x[None]) + .1 * np.eye(3)
    // for p in (.2, 3): c = k(x, p); print(c @ np.linalg.solve(K, y), np.sqrt(1 - c @ np.linalg.solve(K, c)))
    #[test]
    fn it_predicts_what_numpy_does() {
        let kernel = |a: &f64, b: &f64| matern52((a - b).abs() / 0.5);
        let process = GaussianProcess::new(kernel, vec![0.0, 0.3, 1.0], &[1.0, 0.5, -1.0], 0.1).unwrap();
        let check = |place: f64, expected: [f64; 2]| {
            let (mean, variance) = process.predict(&place);
            assert!((mean - expected[0]).abs() < 1e-6, "{mean}");
            assert!((variance.sqrt() - expected[1]).abs() < 1e-6, "{}", variance.sqrt());
        };
        check(0.2, [0.684723336104927, 0.2684874613250282]);
        check(3.0, [-0.004904679639651564, 0.9999890100833517]);
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        assert!(GaussianProcess::new(|_: &f64, _: &f64| -1.0, vec![0.0], &[1.0], 0.0).is_none());
    }
}
