//! Statistics of latency samples: order statistics, an interval of the median over rounds, outliers.
//!
//! Single runs of one process are correlated; rounds far less so. Hence the interval resamples rounds (a block
//! bootstrap). With few rounds the plain percentile interval is too narrow (7 rounds: 87 % covered, not 95 %), so
//! its tail is the *expanded* one of Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), section
//! 5.3: `Φ(−√(n/(n−1)) · t(0.975; n−1))`, which covers 98 % with 7 rounds and 95–96 % from 9 on.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The fewest samples that a 90th percentile is given for.
pub const P90_FLOOR: usize = 64;
/// The fewest samples that a 99th percentile is given for.
pub const P99_FLOOR: usize = 662;

/// Resamplings of the bootstrap.
const RESAMPLES: usize = 2000;

/// A sample is an outlier where its modified z-score is beyond this (Iglewicz and Hoaglin 1993).
const OUTLIER_Z: f64 = 3.5;

/// The expanded tail of a 95 % interval by the number of rounds, from 2 on; from 41 rounds on, the last.
//
// from scipy.stats import norm, t
// [norm.cdf(-math.sqrt(n/(n-1)) * t.ppf(.975, n-1)) for n in range(2, 42)]
const TAILS: [f64; 40] = [
    0.0, 0.0, 0.00012, 0.00095, 0.00243, 0.00411, 0.00574, 0.00722, 0.00855, 0.00972, 0.01076, 0.01167, 0.01248,
    0.01321, 0.01386, 0.01444, 0.01497, 0.01544, 0.01588, 0.01628, 0.01665, 0.01698, 0.01729, 0.01758, 0.01785, 0.0181,
    0.01833, 0.01855, 0.01875, 0.01895, 0.01913, 0.0193, 0.01946, 0.01961, 0.01975, 0.01989, 0.02002, 0.02014, 0.02026,
    0.02037,
];

/// The median.
///
/// # Panics
/// If there are no values.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The quantile at `fraction` (0 to 1), interpolated linearly between order statistics (numpy's default).
///
/// # Panics
/// If there are no values.
pub fn quantile(values: &[f64], fraction: f64) -> f64 {
    assert!(!values.is_empty(), "a quantile needs a value");
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = fraction * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// The 90th percentile; absent below [`P90_FLOOR`] samples.
pub fn p90(values: &[f64]) -> Option<f64> {
    (values.len() >= P90_FLOOR).then(|| quantile(values, 0.90))
}

/// The 99th percentile; absent below [`P99_FLOOR`] samples.
pub fn p99(values: &[f64]) -> Option<f64> {
    (values.len() >= P99_FLOOR).then(|| quantile(values, 0.99))
}

/// The medians of these rounds.
///
/// # Panics
/// If a round is empty.
pub fn round_medians(rounds: &[Vec<f64>]) -> Vec<f64> {
    rounds.iter().map(|round| median(round)).collect()
}

/// The 95 % bootstrap interval of the median of `medians`, one a round: the same for the same seed.
///
/// # Panics
/// If there are none.
pub fn median_interval(medians: &[f64], seed: u64) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let resampled: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<f64> = medians.iter().map(|_| medians[rng.random_range(0..medians.len())]).collect();
            median(&drawn)
        })
        .collect();
    let tail = TAILS[medians.len().saturating_sub(2).min(TAILS.len() - 1)];
    (quantile(&resampled, tail), quantile(&resampled, 1.0 - tail))
}

/// How many values lie far from the median, in terms of the median absolute deviation:
/// `0.6745 · |x − median| / MAD > 3.5`.
///
/// # Panics
/// If there are no values.
pub fn outliers(values: &[f64]) -> usize {
    let middle = median(values);
    let deviations: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    let bound = OUTLIER_Z * median(&deviations) / 0.6745;
    deviations.iter().filter(|&&deviation| deviation > bound).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x[i] = (7 i² + 3 i) mod 101 + i/10`, in µs: a fixed sequence that Python makes as well.
    fn sequence(count: u64) -> Vec<f64> {
        (0..count).map(|i| ((7 * i * i + 3 * i) % 101) as f64 + i as f64 / 10.0).collect()
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} found, {expected} expected");
    }

    // import numpy as np
    // from scipy.stats import median_abs_deviation
    // x = lambda n: np.array([(7*i*i + 3*i) % 101 + i/10 for i in range(n)])
    // for n in (1, 2, 63, 64, 700):
    //     print(n, np.median(x(n)), np.quantile(x(n), .9), np.quantile(x(n), .99))
    #[test]
    fn order_statistics_equal_numpys() {
        for (count, at_50, at_90, at_99) in [
            (1, 0.0, 0.0, 0.0),
            (2, 5.05, 9.09, 9.998999999999999),
            (63, 49.3, 93.68, 102.142),
            (64, 51.349999999999994, 93.77, 102.448),
            (700, 81.35, 132.63, 160.21599999999998),
        ] {
            let values = sequence(count);
            close(median(&values), at_50);
            close(quantile(&values, 0.9), at_90);
            close(quantile(&values, 0.99), at_99);
        }
    }

    #[test]
    fn percentiles_are_absent_below_their_floor() {
        assert_eq!((p90(&sequence(63)), p99(&sequence(661))), (None, None));
        assert!(p90(&sequence(64)).is_some() && p99(&sequence(662)).is_some());
    }

    // y = x(200); y[[3, 77, 150]] = [400, 900, -300]
    // z = .6745 * abs(y - np.median(y)) / median_abs_deviation(y); print((z > 3.5).sum(), (z > 3.5).nonzero())
    #[test]
    fn outliers_are_counted_by_their_deviation() {
        let mut values = sequence(200);
        assert_eq!(outliers(&values), 0);
        (values[3], values[77], values[150]) = (400.0, 900.0, -300.0);
        assert_eq!(outliers(&values), 3);
        assert_eq!(outliers(&[1.0; 9]), 0);
    }

    // The bootstrap's exact distribution for an odd number n of rounds (Maritz and Jarrett 1978): the median is the
    // k-th smallest or less with probability P(Binomial(n, k/n) > n/2), so the interval's ends are order statistics:
    // from scipy.stats import binom
    // ends = lambda n, tail: min(k for k in range(1, n+1) if binom.sf(n//2, n, k/n) >= tail)
    // print([(n, ends(n, TAILS[n-2])) for n in (5, 7, 9, 15, 25)])
    #[test]
    fn the_interval_ends_where_the_exact_bootstrap_does() {
        for (rounds, from_below) in [(5, 1), (7, 1), (9, 2), (15, 4), (25, 8)] {
            let medians: Vec<f64> = (1..=rounds).map(|i| i as f64).collect();
            let (low, high) = median_interval(&medians, 7);
            assert_eq!((low, high), (from_below as f64, (rounds + 1 - from_below) as f64), "{rounds} rounds");
        }
    }

    #[test]
    fn the_interval_covers_the_true_median() {
        // Exponential noise above a floor, as latencies have; the true median is 1 + ln 2.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let truth = 1.0 + std::f64::consts::LN_2;
        for (rounds, at_least, at_most) in [(7, 0.96, 1.0), (12, 0.93, 0.99), (25, 0.92, 0.99)] {
            let covered = (0..400).filter(|&trial| {
                let medians: Vec<f64> = (0..rounds).map(|_| 1.0 - (1.0 - rng.random::<f64>()).ln()).collect();
                let (low, high) = median_interval(&medians, trial);
                low <= truth && truth <= high
            });
            let coverage = covered.count() as f64 / 400.0;
            assert!((at_least..=at_most).contains(&coverage), "{rounds} rounds: {coverage} covered");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let medians = sequence(9);
        assert_eq!(median_interval(&medians, 1), median_interval(&medians, 1));
        assert_eq!(median_interval(&[2.5; 6], 1), (2.5, 2.5));
    }
}
