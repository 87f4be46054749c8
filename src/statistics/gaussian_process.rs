//! Gaussian process regression with a given kernel and noise (Rasmussen and Williams 2006, algorithm 2.1).

use nalgebra::{DMatrix, DVector};

/// Places of one product of matrices: bounds the memory of a prediction.
const BLOCK: usize = 2048;

/// Values with a covariance, and what follows from them: the algebra of a Gaussian process, whatever its places are.
/// The values' mean without any knowledge is 0.
pub struct Conditioned {
    /// The inverse of the Cholesky factor of the covariance, lower triangular.
    inverse: DMatrix<f64>,
    weights: DVector<f64>,
    quadratic: f64,
    log_determinant: f64,
}

impl Conditioned {
    /// Learns `values`, whose `covariance` has their noise on its diagonal. None if it is not positive definite.
    ///
    /// # Panics
    /// If there are not as many values as rows.
    pub fn new(covariance: DMatrix<f64>, values: &[f64]) -> Option<Self> {
        assert_eq!(covariance.nrows(), values.len(), "a value for each place");
        let factor = covariance.cholesky()?;
        let log_determinant = 2.0 * factor.l_dirty().diagonal().iter().map(|entry| entry.ln()).sum::<f64>();
        let values = DVector::from_column_slice(values);
        let weights = factor.solve(&values);
        let count = values.len();
        let inverse = factor.l().solve_lower_triangular(&DMatrix::identity(count, count))?;
        Some(Self { inverse, quadratic: values.dot(&weights), weights, log_determinant })
    }

    /// vᵀK⁻¹v of the values v and their covariance K.
    pub fn quadratic(&self) -> f64 {
        self.quadratic
    }

    /// The logarithm of the values' density.
    pub fn log_likelihood(&self) -> f64 {
        let count = self.weights.len() as f64;
        -0.5 * (self.quadratic + self.log_determinant + count * (2.0 * std::f64::consts::PI).ln())
    }

    /// The logarithm of the values' density with the factor of the covariance that makes it greatest,
    /// and that factor, vᵀK⁻¹v / n.
    pub fn log_likelihood_scaled(&self) -> (f64, f64) {
        let count = self.weights.len() as f64;
        let scale = self.quadratic / count;
        let constant = 1.0 + (2.0 * std::f64::consts::PI).ln();
        (-0.5 * (count * scale.ln() + self.log_determinant + count * constant), scale)
    }

    /// By how much each value differs from what the others alone predict: [K⁻¹v]ᵢ / [K⁻¹]ᵢᵢ (their section 5.4.2).
    pub fn errors_left_out(&self) -> Vec<f64> {
        let columns = self.inverse.column_iter();
        columns.zip(self.weights.iter()).map(|(column, weight)| weight / column.norm_squared()).collect()
    }

    /// Mean and variance at places whose covariances with the values are the columns of `covariances`, and whose
    /// variance without any knowledge is `prior`.
    pub fn predict(&self, covariances: &DMatrix<f64>, prior: f64) -> Vec<(f64, f64)> {
        let means = covariances.tr_mul(&self.weights);
        let mut predictions = Vec::with_capacity(covariances.ncols());
        for start in (0..covariances.ncols()).step_by(BLOCK) {
            let block = covariances.columns(start, BLOCK.min(covariances.ncols() - start));
            let explained = &self.inverse * block;
            let variances = explained.column_iter().map(|column| (prior - column.norm_squared()).max(0.0));
            predictions.extend(means.iter().skip(start).copied().zip(variances));
        }
        predictions
    }
}

/// A function known at some places, and what may be expected of it elsewhere. Its mean without any knowledge is 0.
pub struct GaussianProcess<X, K> {
    kernel: K,
    known: Vec<X>,
    values: Conditioned,
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
        let values = Conditioned::new(DMatrix::from_fn(known.len(), known.len(), of_pair), values)?;
        Some(Self { kernel, known, values })
    }

    /// Mean and variance at a place.
    pub fn predict(&self, place: &X) -> (f64, f64) {
        let covariances = DMatrix::from_fn(self.known.len(), 1, |row, _| (self.kernel)(&self.known[row], place));
        self.values.predict(&covariances, (self.kernel)(place, place))[0]
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

    // The same K and y: K1 = np.linalg.inv(K); ll = -.5 * (y @ K1 @ y + np.linalg.slogdet(K)[1] + 3 * np.log(2 * np.pi))
    // print(ll, [y[i] - K[i][r] @ np.linalg.solve(K[np.ix_(r, r)], y[r]) for i in range(3) for r in [[j for j in range(3) if j != i]]])
    // s = y @ K1 @ y / 3; print(-.5 * (np.linalg.slogdet(s * K)[1] + 3 + 3 * np.log(2 * np.pi)), s)
    #[test]
    fn its_likelihood_and_errors_are_numpys() {
        let places = [0.0f64, 0.3, 1.0];
        let covariance = DMatrix::from_fn(3, 3, |row, column| {
            matern52((places[row] - places[column]).abs() / 0.5) + if row == column { 0.1 } else { 0.0 }
        });
        let known = Conditioned::new(covariance, &[1.0, 0.5, -1.0]).unwrap();
        let (scaled, scale) = known.log_likelihood_scaled();
        let found = [&[known.log_likelihood()], known.errors_left_out().as_slice(), &[scaled, scale]].concat();
        for (found, expected) in found.iter().zip([
            -3.5539185529886383,
            0.5508280886451054,
            0.03630798548626757,
            -1.0459505072266695,
            -3.4652114651186814,
            0.694329701499755,
        ]) {
            assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
        }
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        assert!(GaussianProcess::new(|_: &f64, _: &f64| -1.0, vec![0.0], &[1.0], 0.0).is_none());
    }
}
