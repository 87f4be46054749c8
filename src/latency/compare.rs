//! Whether two measured latencies differ, or are a tie.
//!
//! With `d = ln(a / b)` and `h` the arms of both intervals that face each other, relative and in quadrature, they
//! differ at 95 % where `|d| > h`. Where both were measured beside the same reference model, `a` and `b` are their
//! ratios to it: then it does not matter that the machine was slower on one day. Overlap of the two intervals
//! itself would be too strict a tie: it adds the arms instead of their squares.

use super::measurement::Measurement;

/// One latency beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The first is faster.
    Faster,
    /// The first is slower.
    Slower,
    /// They can't be told apart.
    Tie,
}

/// Compares `a` with `b`: the figure of each and its 95 % interval, in one unit.
pub fn compare_intervals(a: (f64, [f64; 2]), b: (f64, [f64; 2])) -> Comparison {
    let (fast, slow, verdict) = if a.0 <= b.0 { (a, b, Comparison::Faster) } else { (b, a, Comparison::Slower) };
    let arms = ((fast.1[1] / fast.0).ln()).hypot((slow.1[0] / slow.0).ln());
    // Not `<=`, so that what can't be computed (a figure of 0) is a tie.
    if (slow.0 / fast.0).ln() > arms { verdict } else { Comparison::Tie }
}

/// Compares the latency of `a` with that of `b`: faster, slower, or a tie at 95 %.
pub fn compare(a: &Measurement, b: &Measurement) -> Comparison {
    let scale = |measured: &Measurement| measured.reference.as_ref().map(|reference| reference.scale_ms);
    let same = |a: &Measurement, b: &Measurement| match (&a.reference, &b.reference) {
        (Some(left), Some(right)) => {
            left.model_sha256 == right.model_sha256
                && (&a.device, &a.runtime, &a.runtime_version) == (&b.device, &b.runtime, &b.runtime_version)
        }
        _ => false,
    };
    let by = |measured: &Measurement| if same(a, b) { scale(measured).unwrap_or(1.0) } else { 1.0 };
    let relative = |measured: &Measurement| {
        let by = by(measured);
        (measured.p50_ms / by, measured.ci95_ms.map(|end| end / by))
    };
    compare_intervals(relative(a), relative(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: (f64, f64), b: (f64, f64), expected: Comparison) {
        let interval = |(figure, arm): (f64, f64)| (figure, [figure - arm, figure + arm]);
        assert_eq!(compare_intervals(interval(a), interval(b)), expected, "{a:?} {b:?}");
    }

    #[test]
    fn what_the_noise_explains_is_a_tie() {
        check((1.0, 0.01), (1.05, 0.01), Comparison::Faster);
        check((1.05, 0.01), (1.0, 0.01), Comparison::Slower);
        check((1.0, 0.01), (1.01, 0.01), Comparison::Tie);
        check((1.0, 0.0), (1.0, 0.0), Comparison::Tie);
        // The intervals overlap, the difference is real all the same.
        check((1.0, 0.01), (1.017, 0.01), Comparison::Faster);
        check((0.0, 0.0), (0.0, 0.0), Comparison::Tie);
    }
}
