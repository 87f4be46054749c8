//! Latencies of operators from those of whole networks: a ridge regression towards a physical prior.
//!
//! A network takes `y = o + Σ nₖ tₖ`: an overhead and its operators' times, all ≥ 0. With few networks the times are not
//! determined one by one, so they are drawn towards `pₖ = a + b·macs + c·grouped macs + d·elements`, the line that fits the
//! same networks best: minimise `Σ wᵢ ((yᵢ − ŷᵢ) / yᵢ)² + λ Σ (tₖ / pₖ − 1)²`. Errors count relative to the latency; networks
//! that lie far off count less (Huber 1964, bound 1.5 deviations); λ is the one of the least cross-validated error. No time is
//! negative: those that would be are held at 0 at first, and coordinate descent finds those that need not be.

use super::operator::OpCost;
use nalgebra::{DMatrix, DVector};

/// A timed network.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// How often it has each operator, by the operator's place.
    pub counts: Vec<(usize, f64)>,
    /// Its latency in seconds.
    pub time_s: f64,
    /// The latency's own relative standard error.
    pub error: f64,
}

/// What was found; all times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// What a network takes beside its operators.
    pub overhead_s: f64,
    /// Each operator's time.
    pub times_s: Vec<f64>,
    /// The prior's coefficients: overhead, an operator, a multiply-accumulate, one in a grouped convolution, an element.
    pub prior: [f64; 5],
    /// The weight of the prior.
    pub lambda: f64,
}

/// Weights of the prior that are tried.
const LAMBDAS: [f64; 9] = [1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1];
/// A network's own error is taken for at least this: no table is better.
const LEAST_ERROR: f64 = 0.005;
/// Deviations beyond which a network counts less.
const HUBER: f64 = 1.5;
/// The most sweeps of the coordinate descent.
const SWEEPS: usize = 300;
/// Errors beyond this are the same to the choice of λ: a few networks that were disturbed should not decide it.
const LARGEST_ERROR: f64 = 0.1;

impl Fit {
    /// Fits the operators' times; `costs` are theirs, by place.
    ///
    /// # Panics
    /// If there are no rows.
    pub fn new(costs: &[OpCost], rows: &[Row]) -> Self {
        let all: Vec<&Row> = rows.iter().collect();
        let prior = prior(costs, &all);
        let score = |lambda: f64| {
            let errors = left_out(costs, rows, prior, lambda);
            errors.iter().map(|error| error.abs().min(LARGEST_ERROR)).sum::<f64>()
        };
        let scored = LAMBDAS.map(|lambda| (score(lambda), lambda));
        let best = scored.iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are several").1;
        Self::with(costs, &all, prior, best)
    }

    /// The fit to other rows with this one's λ.
    pub fn again(&self, costs: &[OpCost], rows: &[&Row]) -> Self {
        Self::with(costs, rows, self.prior, self.lambda)
    }

    fn with(costs: &[OpCost], rows: &[&Row], prior: [f64; 5], lambda: f64) -> Self {
        let scales = scales(costs, &prior);
        let system = System::new(&scales, rows);
        let base: Vec<f64> = rows.iter().map(|row| 1.0 / (row.error.powi(2) + LEAST_ERROR.powi(2))).collect();
        let mean = base.iter().sum::<f64>() / base.len().max(1) as f64;
        let base: Vec<f64> = base.into_iter().map(|weight| weight / mean).collect();
        let mut weights = base.clone();
        let mut relative = system.solve(&weights, lambda);
        for _ in 0..4 {
            let residuals: Vec<f64> = system.residuals(&relative);
            let magnitudes: Vec<f64> = residuals.iter().map(|residual| residual.abs()).collect();
            let spread = (1.4826 * crate::latency::statistics::median(&magnitudes)).max(1e-4);
            for ((weight, base), residual) in weights.iter_mut().zip(&base).zip(&residuals) {
                *weight = base * (HUBER * spread / residual.abs().max(1e-12)).min(1.0);
            }
            relative = system.solve(&weights, lambda);
        }
        let mut times: Vec<f64> = relative.iter().zip(&scales).map(|(relative, scale)| relative * scale).collect();
        let overhead_s = times.remove(0);
        Self { overhead_s, times_s: times, prior, lambda }
    }

    /// Predicted latency in seconds of a network with these operators.
    pub fn predict(&self, counts: &[(usize, f64)]) -> f64 {
        self.overhead_s + counts.iter().map(|(at, count)| count * self.times_s[*at]).sum::<f64>()
    }

    /// For each row, `measured / predicted − 1`, predicted by a fit that did not have it (of ten folds).
    pub fn left_out(&self, costs: &[OpCost], rows: &[Row]) -> Vec<f64> {
        left_out(costs, rows, self.prior, self.lambda)
    }
}

/// The prior's estimate for an operator, in seconds.
pub fn estimate(prior: &[f64; 5], cost: &OpCost) -> f64 {
    prior[1] + prior[2] * cost.macs + prior[3] * cost.grouped_macs + prior[4] * cost.elements
}

fn left_out(costs: &[OpCost], rows: &[Row], prior: [f64; 5], lambda: f64) -> Vec<f64> {
    let folds = 10.min(rows.len());
    let mut errors = vec![0.0; rows.len()];
    for fold in 0..folds {
        let others: Vec<&Row> =
            rows.iter().enumerate().filter(|(at, _)| at % folds != fold || folds == 1).map(|(_, row)| row).collect();
        let fit = Fit::with(costs, &others, prior, lambda);
        for at in (fold..rows.len()).step_by(folds) {
            errors[at] = rows[at].time_s / fit.predict(&rows[at].counts).max(1e-12) - 1.0;
        }
    }
    errors
}

/// The prior's times: the overhead's first, then the operators'. None is 0, since times are fitted as multiples of it.
fn scales(costs: &[OpCost], prior: &[f64; 5]) -> Vec<f64> {
    let times: Vec<f64> = costs.iter().map(|cost| estimate(prior, cost)).collect();
    let mean = times.iter().sum::<f64>() / times.len().max(1) as f64;
    let floor = (0.02 * mean).max(1e-9);
    std::iter::once(prior[0]).chain(times).map(|time| time.max(floor)).collect()
}

/// The coefficients of the prior, all ≥ 0, of the least relative squares.
fn prior(costs: &[OpCost], rows: &[&Row]) -> [f64; 5] {
    let features = |row: &Row| {
        let mut sums = [1.0, 0.0, 0.0, 0.0, 0.0];
        for (at, count) in &row.counts {
            let OpCost { macs, grouped_macs, elements } = costs[*at];
            for (sum, value) in sums[1..].iter_mut().zip([1.0, macs, grouped_macs, elements]) {
                *sum += count * value;
            }
        }
        sums
    };
    let all: Vec<[f64; 5]> = rows.iter().map(|row| features(row)).collect();
    // Columns of one magnitude, so that the little that regularises touches all alike.
    let mut scale = [0.0f64; 5];
    for row in &all {
        (0..5).for_each(|at| scale[at] = scale[at].max(row[at]));
    }
    let typical = rows.iter().map(|row| row.time_s).sum::<f64>() / rows.len().max(1) as f64;
    let scale = scale.map(|largest| if largest > 0.0 { typical / largest } else { 0.0 });
    let matrix = DMatrix::from_fn(rows.len(), 5, |row, at| all[row][at] * scale[at] / rows[row].time_s);
    let system = System { matrix, prior: 0.0 };
    let relative = system.solve(&vec![1.0; rows.len()], 1e-4);
    std::array::from_fn(|at| relative[at] * scale[at])
}

/// Rows of `counts · scale / time`, which are to sum up to 1.
struct System {
    matrix: DMatrix<f64>,
    /// What the unknowns are drawn towards.
    prior: f64,
}

impl System {
    fn new(scales: &[f64], rows: &[&Row]) -> Self {
        let mut matrix = DMatrix::zeros(rows.len(), scales.len());
        for (at, row) in rows.iter().enumerate() {
            matrix[(at, 0)] = scales[0] / row.time_s;
            for (key, count) in &row.counts {
                matrix[(at, key + 1)] += count * scales[key + 1] / row.time_s;
            }
        }
        Self { matrix, prior: 1.0 }
    }

    /// `1 − Σ` of each row.
    fn residuals(&self, unknowns: &[f64]) -> Vec<f64> {
        let sums = &self.matrix * DVector::from_row_slice(unknowns);
        sums.iter().map(|sum| 1.0 - sum).collect()
    }

    /// The unknowns, none negative.
    fn solve(&self, weights: &[f64], lambda: f64) -> Vec<f64> {
        let mut weighted = self.matrix.clone();
        for (at, mut row) in weighted.row_iter_mut().enumerate() {
            row *= weights[at];
        }
        let gram = self.matrix.transpose() * &weighted;
        let target = weighted.row_sum_tr();
        let mut free: Vec<usize> = (0..gram.nrows()).collect();
        loop {
            let part = DMatrix::from_fn(free.len(), free.len(), |i, j| {
                gram[(free[i], free[j])] + if i == j { lambda } else { 0.0 }
            });
            let right = DVector::from_fn(free.len(), |i, _| target[free[i]] + lambda * self.prior);
            let solved = part.cholesky().expect("a Gram matrix with a ridge is positive definite").solve(&right);
            if solved.iter().all(|&value| value >= 0.0) {
                let mut unknowns = vec![0.0; gram.nrows()];
                free.iter().zip(solved.iter()).for_each(|(&at, &value)| unknowns[at] = value);
                if free.len() < gram.nrows() {
                    descend(&gram, &target, (lambda, self.prior), &mut unknowns);
                }
                return unknowns;
            }
            free = free.iter().zip(solved.iter()).filter(|(_, value)| **value >= 0.0).map(|(&at, _)| at).collect();
        }
    }
}

/// Coordinate descent to the best unknowns ≥ 0: the way there may have held too many at 0.
fn descend(gram: &DMatrix<f64>, target: &DVector<f64>, (lambda, prior): (f64, f64), unknowns: &mut [f64]) {
    for _ in 0..SWEEPS {
        let mut change = 0.0f64;
        for at in 0..unknowns.len() {
            let along: f64 = gram.column(at).iter().zip(&*unknowns).map(|(gram, unknown)| gram * unknown).sum();
            let rest = target[at] + lambda * prior - (along - gram[(at, at)] * unknowns[at]);
            let new = (rest / (gram[(at, at)] + lambda)).max(0.0);
            change = change.max((new - unknowns[at]).abs());
            unknowns[at] = new;
        }
        if change < 1e-6 {
            break;
        }
    }
}

/// The half-width of the interval that covers `share` of new values with these absolute errors (split conformal, Vovk et al.
/// 2005): the ⌈(n + 1) · share⌉-th smallest; none where there are too few.
pub fn conformal(errors: &[f64], share: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = errors.iter().map(|error| error.abs()).collect();
    sorted.sort_by(f64::total_cmp);
    let rank = ((sorted.len() + 1) as f64 * share - 1e-9).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Networks on a device whose operators take what the planted times say, within `noise`.
    fn planted(networks: usize, noise: f64, seed: u64) -> (Vec<OpCost>, Vec<f64>, Vec<Row>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let costs: Vec<OpCost> = (0..12)
            .map(|at| OpCost { macs: 1e5 * (1 + at * at) as f64, grouped_macs: 0.0, elements: 1e4 * (12 - at) as f64 })
            .collect();
        let times: Vec<f64> = costs
            .iter()
            .map(|cost| (2e-6 + cost.macs / 4e10 + cost.elements / 8e9) * rng.random_range(0.5..1.5))
            .collect();
        let rows = (0..networks)
            .map(|_| {
                let counts: Vec<(usize, f64)> =
                    (0..12).map(|at| (at, f64::from(rng.random_range(0..6u32)))).filter(|(_, n)| *n > 0.0).collect();
                let exact = 10e-6 + counts.iter().map(|(at, n)| n * times[*at]).sum::<f64>();
                let time_s = exact * (1.0 + noise * (rng.random::<f64>() - 0.5));
                Row { counts, time_s, error: 0.002 }
            })
            .collect();
        (costs, times, rows)
    }

    #[test]
    fn a_planted_additive_device_is_recovered() {
        let (costs, times, rows) = planted(40, 0.0, 1);
        let fit = Fit::new(&costs, &rows);
        for (found, expected) in fit.times_s.iter().zip(&times) {
            assert!((found / expected - 1.0).abs() < 0.01, "{found} {expected}");
        }
        assert!((fit.overhead_s / 10e-6 - 1.0).abs() < 0.05, "{}", fit.overhead_s);
    }

    #[test]
    fn noise_and_a_few_disturbed_networks_do_little() {
        let (costs, _, mut rows) = planted(60, 0.02, 2);
        for at in [3, 17, 40] {
            rows[at].time_s *= 1.6;
        }
        let fit = Fit::new(&costs, &rows);
        let (_, _, others) = planted(200, 0.0, 2);
        let errors: Vec<f64> =
            others[60..].iter().map(|row| (row.time_s / fit.predict(&row.counts) - 1.0).abs()).collect();
        assert!(crate::latency::statistics::median(&errors) < 0.006, "{}", crate::latency::statistics::median(&errors));
        assert!(fit.left_out(&costs, &rows).iter().filter(|error| **error > 0.3).count() == 3);
    }

    #[test]
    fn what_no_network_has_is_taken_from_the_prior() {
        let (costs, _, mut rows) = planted(40, 0.0, 3);
        rows.retain(|row| row.counts.iter().all(|(at, _)| *at != 5));
        let fit = Fit::new(&costs, &rows);
        let prior = estimate(&fit.prior, &costs[5]);
        assert!((fit.times_s[5] / prior - 1.0).abs() < 1e-6);
    }

    #[test]
    fn intervals_cover_as_they_say() {
        assert_eq!(conformal(&[0.1; 8], 0.9), None);
        let errors: Vec<f64> = (1..=19).map(f64::from).collect();
        assert_eq!(conformal(&errors, 0.9), Some(18.0));
        assert_eq!(conformal(&errors, 0.5), Some(10.0));
    }
}
