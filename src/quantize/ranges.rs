//! Between which numbers a value is rounded, from what it was on calibration data.
//!
//! - min–max: from the least to the largest;
//! - percentile: the same, without a share of the least and of the largest elements;
//! - entropy: |x| up to the threshold at which the rounded histogram loses least, by the Kullback–Leibler divergence from
//!   the whole one (Migacz 2017, "8-bit Inference with TensorRT").

use super::{Activations, QuantizeError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;

/// How ranges are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RangeMethod {
    /// All that was seen.
    #[default]
    MinMax,
    /// The middle of what was seen, in percent of the elements.
    Percentile(f64),
    /// What loses least information.
    Entropy,
}

/// From where to where a value reaches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The lower end.
    pub low: f32,
    /// The upper end.
    pub high: f32,
}

/// The ranges of values by name.
pub type Ranges = BTreeMap<String, Range>;

/// Scale and zero point: x = scale · (q − zero_point).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    pub scale: f32,
    pub zero_point: i32,
}

/// Bins of a histogram.
const BINS: usize = 2048;
/// Share of the elements that [`RangeMethod::Entropy`] cuts off at most, exact zeros not counted.
const MOST_CUT: f64 = 1e-3;
/// Share of the elements, in percent, that [`RangeMethod::Percentile`] keeps where nothing is said.
const PERCENTILE: f64 = 99.99;

impl FromStr for RangeMethod {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("found `{text}`, expected minmax, percentile, percentile:99.9 or entropy");
        match text.split_once(':') {
            None if text == "minmax" => Ok(Self::MinMax),
            None if text == "percentile" => Ok(Self::Percentile(PERCENTILE)),
            None if text == "entropy" => Ok(Self::Entropy),
            Some(("percentile", share)) => {
                let share: f64 = share.parse().map_err(|_| wrong())?;
                let fits = share > 50.0 && share <= 100.0;
                fits.then_some(Self::Percentile(share)).ok_or_else(|| format!("{}: more than 50, up to 100", wrong()))
            }
            _ => Err(wrong()),
        }
    }
}

impl Range {
    /// The range that holds both.
    pub(super) fn union(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// The least that holds all of `values`.
    pub(super) fn of(values: &[f32]) -> Option<Self> {
        let first = Self { low: *values.first()?, high: *values.first()? };
        let range = values.iter().fold(first, |range, &value| range.union(Self { low: value, high: value }));
        // The comparisons pass over what is no number.
        let finite = range.low.is_finite() && range.high.is_finite() && values.iter().all(|value| value.is_finite());
        finite.then_some(range)
    }

    /// The 256 numbers that values of this range are rounded to, among them zero.
    pub(super) fn grid(self, activations: Activations) -> Grid {
        let (low, high) = (self.low.min(0.0), self.high.max(0.0));
        // A constant zero has any scale.
        let scale = |width: f32, steps: f32| if width > 0.0 { (width / steps).max(f32::MIN_POSITIVE) } else { 1.0 };
        match activations {
            Activations::Asymmetric => {
                let scale = scale(high - low, 255.0);
                Grid { scale, zero_point: (-low / scale).round().clamp(0.0, 255.0) as i32 }
            }
            Activations::Symmetric => Grid { scale: scale(high.max(-low), 127.0), zero_point: 0 },
        }
    }
}

/// How often a value was where, between the ends of its range.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    range: Range,
    counts: Vec<u64>,
}

impl Histogram {
    pub(super) fn new(range: Range) -> Self {
        Self { range, counts: vec![0; BINS] }
    }

    pub(super) fn add(&mut self, values: &[f32]) {
        let width = self.range.high - self.range.low;
        if width <= 0.0 {
            self.counts[0] += values.len() as u64;
            return;
        }
        let factor = BINS as f32 / width;
        for value in values {
            let bin = ((value - self.range.low) * factor) as usize;
            self.counts[bin.min(BINS - 1)] += 1;
        }
    }

    /// The range that a method makes of it.
    pub(super) fn narrow(&self, method: RangeMethod) -> Range {
        match method {
            RangeMethod::MinMax => self.range,
            RangeMethod::Percentile(percent) => self.without_tails((1.0 - percent / 100.0) / 2.0),
            RangeMethod::Entropy => {
                let threshold = self.threshold();
                Range { low: self.range.low.max(-threshold), high: self.range.high.min(threshold) }
            }
        }
    }

    /// The edge at the lower end of a bin.
    fn edge(&self, bin: usize) -> f32 {
        self.range.low + (self.range.high - self.range.low) * bin as f32 / BINS as f32
    }

    /// The range without a share of the elements at each end. An end at zero stays: what a rectifier gives is half zeros.
    fn without_tails(&self, share: f64) -> Range {
        let total: u64 = self.counts.iter().sum();
        let cut = (total as f64 * share) as u64;
        let bins_of_tail = |counts: &mut dyn Iterator<Item = &u64>| {
            let mut sum = 0;
            counts
                .take_while(|&&count| {
                    sum += count;
                    sum <= cut
                })
                .count()
        };
        let below = bins_of_tail(&mut self.counts.iter());
        let above = bins_of_tail(&mut self.counts.iter().rev());
        let low = if self.range.low >= 0.0 { self.range.low } else { self.edge(below) };
        let high = if self.range.high <= 0.0 { self.range.high } else { self.edge(BINS - above) };
        if low < high { Range { low, high } } else { self.range }
    }

    /// |x| at which to cut off.
    fn threshold(&self) -> f32 {
        let largest = self.range.high.max(-self.range.low);
        if largest <= 0.0 {
            return 0.0;
        }
        // Of magnitudes, by the middles of the bins.
        let mut counts = vec![0.0f64; BINS];
        for (bin, &count) in self.counts.iter().enumerate() {
            let middle = (self.edge(bin) + self.edge(bin + 1)) / 2.0;
            counts[((middle.abs() / largest * BINS as f32) as usize).min(BINS - 1)] += count as f64;
        }
        // Exact zeros are many behind a rectifier, and lose nothing at any scale.
        counts[0] = counts[1];
        let levels = if self.range.low < 0.0 { 128 } else { 256 };
        // Where a value is often exactly the same (a background), its bins are spikes that rounding smears, which the
        // divergence takes for worse than to cut off what matters: so little may be cut off at most.
        let most_cut = counts.iter().sum::<f64>() * MOST_CUT;
        let mut beyond = 0.0;
        let least_kept = BINS
            - counts
                .iter()
                .rev()
                .take_while(|&&count| {
                    beyond += count;
                    beyond <= most_cut
                })
                .count();
        let losses = (levels.max(least_kept)..=BINS).step_by(8).map(|kept| (kept, divergence(&counts, kept, levels)));
        let best = losses.min_by(|(_, a), (_, b)| a.total_cmp(b)).map_or(BINS, |(kept, _)| kept);
        largest * best as f32 / BINS as f32
    }
}

/// Kullback–Leibler divergence of the first `kept` bins, with all that lies beyond in the last of them, from what is
/// left of them at so many levels.
fn divergence(counts: &[f64], kept: usize, levels: usize) -> f64 {
    let mut reference = counts[..kept].to_vec();
    reference[kept - 1] += counts[kept..].iter().sum::<f64>();
    let mut rounded = vec![0.0; kept];
    for level in 0..levels {
        let (begin, end) = (level * kept / levels, (level + 1) * kept / levels);
        let filled = counts[begin..end].iter().filter(|&&count| count > 0.0).count();
        let mean = counts[begin..end].iter().sum::<f64>() / filled.max(1) as f64;
        (begin..end).filter(|&bin| counts[bin] > 0.0).for_each(|bin| rounded[bin] = mean);
    }
    let (whole, rounded_whole) = (reference.iter().sum::<f64>(), rounded.iter().sum::<f64>());
    if whole == 0.0 || rounded_whole == 0.0 {
        return f64::INFINITY;
    }
    // A bin that rounding has lost counts as a very rare one.
    let smallest = 1e-4 / kept as f64;
    let loss = |(p, q): (&f64, &f64)| {
        let (p, q) = (p / whole, (q / rounded_whole).max(smallest));
        if p > 0.0 { p * (p / q).ln() } else { 0.0 }
    };
    reference.iter().zip(&rounded).map(loss).sum()
}

/// The range of a value.
///
/// # Errors
/// If none was found.
pub(super) fn range_of(ranges: &Ranges, value: &str) -> Result<Range, QuantizeError> {
    ranges.get(value).copied().ok_or_else(|| QuantizeError::Range {
        value: value.to_owned(),
        reason: "it has no range, expected those of all values that `FloatModel::observed` names".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normal numbers, the largest of 20,000 of them far out.
    fn histogram(relu: bool) -> Histogram {
        let uniform = |at: usize| (at as f64 + 0.5) / 20_000.0;
        let mut values: Vec<f32> =
            (0..20_000).map(|at| crate::statistics::normal_quantile(uniform(at)) as f32).collect();
        values[19_999] = 40.0;
        if relu {
            values.iter_mut().for_each(|value| *value = value.max(0.0));
        }
        let mut histogram = Histogram::new(Range::of(&values).unwrap());
        histogram.add(&values);
        histogram
    }

    #[test]
    fn methods_leave_out_what_is_far_from_all_others() {
        for relu in [false, true] {
            let histogram = histogram(relu);
            let all = histogram.narrow(RangeMethod::MinMax);
            assert_eq!(all.high, 40.0);
            let percentile = histogram.narrow(RangeMethod::Percentile(99.9));
            assert!((2.9..4.5).contains(&percentile.high), "{percentile:?}");
            let entropy = histogram.narrow(RangeMethod::Entropy);
            assert!((2.0..8.0).contains(&entropy.high), "{entropy:?}");
            for range in [percentile, entropy] {
                assert!(if relu { range.low == 0.0 } else { (-8.0..-1.5).contains(&range.low) }, "{range:?}");
            }
        }
    }

    #[test]
    fn grids_hold_zero_and_both_ends() {
        let check = |low: f32, high: f32, activations, scale: f32, zero_point: i32| {
            let grid = Range { low, high }.grid(activations);
            assert!((grid.scale - scale).abs() < 1e-6 && grid.zero_point == zero_point, "{grid:?}");
        };
        check(-1.0, 1.55, Activations::Asymmetric, 0.01, 100);
        check(0.5, 2.55, Activations::Asymmetric, 0.01, 0);
        check(-2.55, -1.0, Activations::Asymmetric, 0.01, 255);
        check(-1.27, 1.0, Activations::Symmetric, 0.01, 0);
        check(0.0, 0.0, Activations::Asymmetric, 1.0, 0);
    }

    #[test]
    fn methods_are_read_and_numbers_checked() {
        assert_eq!("percentile:99.9".parse(), Ok(RangeMethod::Percentile(99.9)));
        assert_eq!("percentile".parse(), Ok(RangeMethod::Percentile(99.99)));
        assert!("percentile:10".parse::<RangeMethod>().unwrap_err().contains("more than 50"));
        assert!("max".parse::<RangeMethod>().unwrap_err().contains("expected minmax"));
        assert_eq!(Range::of(&[1.0, f32::NAN, 2.0]), None);
        assert_eq!(Range::of(&[]), None);
    }
}
