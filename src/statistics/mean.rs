//! The mean of a sample and its interval by Student's t.

/// Student's t at 0.975 with 1 to 6 degrees of freedom.
const FEW: [f64; 6] = [12.706_204_736, 4.302_652_730, 3.182_446_305, 2.776_445_105, 2.570_581_836, 2.446_911_851];

/// The mean, and its 95 % confidence interval for values of a normal distribution: mean ± t · s / √n. No interval for fewer
/// than two values, no mean for none.
pub fn mean_interval(values: &[f64]) -> (Option<f64>, Option<[f64; 2]>) {
    let count = values.len() as f64;
    if values.is_empty() {
        return (None, None);
    }
    let equal = values.iter().all(|value| *value == values[0]);
    // Of equal values without a rounding error.
    let mean = if equal { values[0] } else { values.iter().sum::<f64>() / count };
    if values.len() < 2 {
        return (Some(mean), None);
    }
    if equal {
        return (Some(mean), Some([mean, mean]));
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = t975(values.len() - 1) * (variance / count).sqrt();
    (Some(mean), Some([mean - half, mean + half]))
}

/// Student's t at 0.975 (Abramowitz and Stegun 1964, 26.7.5; right to a thousandth from seven degrees of freedom on).
fn t975(freedom: usize) -> f64 {
    if let Some(t) = freedom.checked_sub(1).and_then(|at| FEW.get(at)) {
        return *t;
    }
    let (z, n) = (1.959_963_985_f64, freedom as f64);
    let terms = [
        z,
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
    ];
    terms.iter().rev().fold(0.0, |sum, term| sum / n + term)
}

#[cfg(test)]
mod tests {
    use super::*;

    // from scipy.stats import t; [t.ppf(.975, n) for n in (1, 4, 5, 7, 19, 99)]
    #[test]
    fn quantiles_equal_scipys() {
        for (freedom, expected) in
            [(1, 12.70620), (4, 2.77645), (5, 2.57058), (7, 2.36462), (19, 2.09302), (99, 1.98422)]
        {
            assert!((t975(freedom) - expected).abs() < 1e-3, "{freedom}: {}", t975(freedom));
        }
    }

    #[test]
    fn an_interval_needs_two_values() {
        assert_eq!(mean_interval(&[]), (None, None));
        assert_eq!(mean_interval(&[3.0]), (Some(3.0), None));
        assert_eq!(mean_interval(&[90.3; 12]), (Some(90.3), Some([90.3; 2])));
        let (mean, interval) = mean_interval(&[1.0, 3.0]);
        let [low, high] = interval.unwrap();
        assert!(mean == Some(2.0) && (low + 10.706).abs() < 1e-3 && (high - 14.706).abs() < 1e-3);
    }
}
