//! Rank statistics of paired values: how far one quantity orders things as another one does.
//!
//! Spearman's ρ is Pearson's correlation of the ranks, equal values sharing the mean of theirs (Spearman 1904);
//! Kendall's τ is the share of pairs in the same order minus that in the other, τ-b where there are ties (Kendall
//! 1945), counted in O(n log n) (Knight 1966).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Ranks from 1, the smallest value first; equal values share the mean of theirs.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let shared = start as f64 + (group.len() + 1) as f64 / 2.0;
        group.iter().for_each(|&index| ranks[index] = shared);
        start += group.len();
    }
    ranks
}

/// Spearman's ρ of paired values; none where there are fewer than three pairs, or one side is constant.
///
/// # Panics
/// If `x` and `y` differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    if x.len() < 3 {
        assert_eq!(x.len(), y.len(), "values come in pairs");
        return None;
    }
    pearson(&ranks(x), &ranks(y))
}

/// Pearson's r of paired values; none where one side is constant.
///
/// # Panics
/// If `x` and `y` differ in length.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "values come in pairs");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (of_x, of_y) = (mean(x), mean(y));
    let mut sums = [0.0; 3];
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - of_x, y - of_y);
        sums = [sums[0] + x * x, sums[1] + y * y, sums[2] + x * y];
    }
    let spread = (sums[0] * sums[1]).sqrt();
    (spread > 0.0).then(|| (sums[2] / spread).clamp(-1.0, 1.0))
}

/// Kendall's τ-b of paired values; none where there are fewer than two pairs, or one side is constant.
///
/// # Panics
/// If `x` and `y` differ in length.
pub fn kendall(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "values come in pairs");
    let mut pairs: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all = pairs_of(pairs.len());
    let tied_x: f64 = pairs.chunk_by(|a, b| a.0 == b.0).map(|group| pairs_of(group.len())).sum();
    let tied_both: f64 = pairs.chunk_by(|a, b| a == b).map(|group| pairs_of(group.len())).sum();
    let mut of_y: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let swaps = exchanges(&mut of_y) as f64;
    let tied_y = of_y.chunk_by(|a, b| a == b).map(|group| pairs_of(group.len())).sum::<f64>();
    let spread = ((all - tied_x) * (all - tied_y)).sqrt();
    (spread > 0.0).then(|| (all - tied_x - tied_y + tied_both - 2.0 * swaps) / spread)
}

fn pairs_of(count: usize) -> f64 {
    (count * count.saturating_sub(1) / 2) as f64
}

/// Sorts, and counts the pairs that stood in descending order.
fn exchanges(values: &mut [f64]) -> u64 {
    let middle = values.len() / 2;
    if middle == 0 {
        return 0;
    }
    let (left, right) = values.split_at_mut(middle);
    let mut count = exchanges(left) + exchanges(right);
    let (left, right) = (left.to_vec(), right.to_vec());
    let (mut l, mut r) = (0, 0);
    for value in values {
        if l < left.len() && (r == right.len() || left[l] <= right[r]) {
            *value = left[l];
            l += 1;
        } else {
            *value = right[r];
            r += 1;
            count += (left.len() - l) as u64;
        }
    }
    count
}

/// The 95 % percentile interval of a statistic of `count` things over `resamples` draws with replacement; none where
/// no draw has the statistic. The same for the same seed.
pub fn bootstrap(
    count: usize,
    resamples: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<[f64; 2]> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![0; count];
    let mut found: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            drawn.iter_mut().for_each(|index| *index = rng.random_range(0..count));
            statistic(&drawn)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    let at = |fraction: f64| found.get((fraction * (found.len().max(1) - 1) as f64).round() as usize).copied();
    Some([at(0.025)?, at(0.975)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_equal_scipys() {
        let check = |x: &[f64], y: &[f64], rho: f64, tau: f64| {
            let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
            assert!(close(spearman(x, y), rho), "{:?} instead of {rho}", spearman(x, y));
            assert!(close(kendall(x, y), tau), "{:?} instead of {tau}", kendall(x, y));
        };
        // from scipy.stats import kendalltau, spearmanr
        // x, y = [1, 2, 3, 4, 5], [5, 6, 7, 8, 7]; spearmanr(x, y).statistic, kendalltau(x, y).statistic
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0], 0.820_782_681_668_123_3, 0.737_864_787_372_621_7);
        check(&[1.0, 2.0, 3.0], &[1e9, 10.0, -4.0], -1.0, -1.0);
        // x, y = [2, 2, 1, 3, 3, 0, 5], [1, 4, 4, 2, 6, 0, 6]
        check(
            &[2.0, 2.0, 1.0, 3.0, 3.0, 0.0, 5.0],
            &[1.0, 4.0, 4.0, 2.0, 6.0, 0.0, 6.0],
            0.685_185_185_185_185_2,
            0.578_947_368_421_052_1,
        );
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[4.0, 4.0, 4.0]), None);
        assert_eq!(kendall(&[1.0, 2.0, 3.0], &[4.0, 4.0, 4.0]), None);
        assert_eq!(spearman(&[1.0, 2.0], &[4.0, 5.0]), None);
        assert_eq!(kendall(&[1.0], &[4.0]), None);
    }

    #[test]
    fn an_interval_holds_the_statistic() {
        let values: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 101)).collect();
        let mean = |at: &[usize]| Some(at.iter().map(|&i| values[i]).sum::<f64>() / at.len() as f64);
        let [low, high] = bootstrap(values.len(), 1000, 1, mean).unwrap();
        let whole = mean(&(0..200).collect::<Vec<_>>()).unwrap();
        // ±1.96 standard errors are ±4.0 here.
        assert!(low < whole && whole < high && (6.0..10.0).contains(&(high - low)), "{low} {whole} {high}");
        assert_eq!(bootstrap(3, 10, 1, |_| None), None);
    }
}
