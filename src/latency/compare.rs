//! Whether two measured latencies differ, or are a tie.
//!
//! With `d = ln(a / b)` and `h` the arms of both intervals that face each other, relative and in quadrature, they
//! differ at 95 % where `|d| > h`. Where both were measured beside the same reference model, `a` and `b` are their
//! ratios to it: then it does not matter that the machine was slower on one day, except that not all models slow down
//! alike, so that a share of the reference's own difference counts as a further arm. Overlap of the two intervals
//! itself would be too strict a tie: it adds the arms instead of their squares.

use super::figures::DOUBT;
use super::measurement::{Measurement, ReferenceFigures};

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
    compare_with(a, b, 0.0)
}

fn compare_with(a: (f64, [f64; 2]), b: (f64, [f64; 2]), further_arm: f64) -> Comparison {
    let (fast, slow, verdict) = if a.0 <= b.0 { (a, b, Comparison::Faster) } else { (b, a, Comparison::Slower) };
    let arms = ((fast.1[1] / fast.0).ln()).hypot((slow.1[0] / slow.0).ln()).hypot(further_arm);
    // Not `<=`, so that what can't be computed (a figure of 0) is a tie.
    if (slow.0 / fast.0).ln() > arms { verdict } else { Comparison::Tie }
}

/// Compares the latency of `a` with that of `b`: faster, slower, or a tie at 95 %.
pub fn compare(a: &Measurement, b: &Measurement) -> Comparison {
    let place = |one: &Measurement| (one.device.clone(), one.runtime.clone(), one.runtime_version.clone());
    match (&a.reference, &b.reference) {
        (Some(left), Some(right)) if left.model_sha256 == right.model_sha256 && place(a) == place(b) => {
            let doubt = DOUBT * (left.p50_ms / right.p50_ms).ln();
            compare_with(to_reference(a, left), to_reference(b, right), doubt)
        }
        _ => compare_intervals((a.p50_ms, a.ci95_ms), (b.p50_ms, b.ci95_ms)),
    }
}

/// The ratio to the reference, without the doubt that was added when it was stated for another pace of the machine.
fn to_reference(one: &Measurement, reference: &ReferenceFigures) -> (f64, [f64; 2]) {
    let doubt = DOUBT * (reference.scale_ms / reference.p50_ms).ln() * one.p50_ms;
    let arm = |end: f64| ((end - one.p50_ms).powi(2) - doubt.powi(2)).max(0.0).sqrt();
    let ends = [one.p50_ms - arm(one.ci95_ms[0]), one.p50_ms + arm(one.ci95_ms[1])];
    (one.p50_ms / reference.scale_ms, ends.map(|end| end / reference.scale_ms))
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
