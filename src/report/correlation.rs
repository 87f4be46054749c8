//! Spearman's rank correlation: how far a quantity orders architectures as another one does.
//!
//! ρ is Pearson's correlation of the ranks, equal values sharing the mean of their ranks (Spearman, "The proof
//! and measurement of association between two things", 1904). Under no association its standard error is about
//! 1/√(n − 1): the `random` row shows what chance gives on the very same trials.

use super::{Correlation, StudyReport, TrialRow};
use rand::{RngExt, SeedableRng};

/// Correlations of every indicator, `params`, `macs` and a seeded `random` number with every objective, `params`
/// and `macs`, over the complete trials of search and control. Pairs that are constant, or that fewer than
/// three trials have, are left out.
pub fn correlate(report: &StudyReport) -> Vec<Correlation> {
    let trials: Vec<&TrialRow> = report.trials.iter().filter(|trial| trial.is_complete()).collect();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(report.seed);
    let noise: Vec<Option<f64>> = trials.iter().map(|_| Some(rng.random::<f64>())).collect();
    let values = |of: &dyn Fn(&TrialRow) -> Option<f64>| trials.iter().map(|trial| of(trial)).collect::<Vec<_>>();
    let sizes = [
        ("params".to_owned(), values(&|t| t.params.map(|n| n as f64))),
        ("macs".to_owned(), values(&|t| t.macs.map(|n| n as f64))),
    ];
    let indicators = report.indicators.iter().map(|i| &i.name);
    let objectives = report.objectives.iter().map(|o| &o.name);
    let rows: Vec<_> = indicators
        .map(|name| (name.clone(), values(&|t| t.indicators.get(name).copied())))
        .chain(sizes.clone())
        .chain([("random".to_owned(), noise)])
        .collect();
    let columns: Vec<_> =
        objectives.map(|name| (name.clone(), values(&|t| t.objectives.get(name).copied()))).chain(sizes).collect();
    let mut correlations = Vec::new();
    for (of, x) in &rows {
        for (with, y) in columns.iter().filter(|(with, _)| with != of) {
            let (x, y): (Vec<f64>, Vec<f64>) = x.iter().zip(y).filter_map(|(x, y)| (*x).zip(*y)).unzip();
            if let Some(spearman) = spearman(&x, &y) {
                correlations.push(Correlation { of: of.clone(), with: with.clone(), spearman, trials: x.len() });
            }
        }
    }
    correlations
}

/// Spearman's ρ of paired values; none where there are fewer than three pairs, or one side is constant.
///
/// # Panics
/// If `x` and `y` differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "values come in pairs");
    if x.len() < 3 {
        return None;
    }
    let (x, y) = (ranks(x), ranks(y));
    // The mean of all ranks is the same on both sides, ties or not.
    let mean = (x.len() + 1) as f64 / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let spread = (product(&x, &x) * product(&y, &y)).sqrt();
    (spread > 0.0).then(|| (product(&x, &y) / spread).clamp(-1.0, 1.0))
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spearman_equals_scipys() {
        let check = |x: &[f64], y: &[f64], expected: f64| {
            let found = spearman(x, y).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} instead of {expected}");
        };
        // from scipy.stats import spearmanr
        // spearmanr([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]).statistic
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0], 0.820_782_681_668_123_3);
        check(&[1.0, 2.0, 3.0], &[1e9, 10.0, -4.0], -1.0);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[4.0, 4.0, 4.0]), None);
        assert_eq!(spearman(&[1.0, 2.0], &[4.0, 5.0]), None);
    }
}
