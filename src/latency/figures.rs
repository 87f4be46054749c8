//! From rounds to a figure: drift correction by the reference, the interval, and what the reference says of the machine.
//!
//! With `mᵣ` the median of round r and `qᵣ` the reference's time at that round, the corrected rounds are
//! `mᵣ / qᵣ · Q`, `Q = median(q)`; the figure is their median, its interval a bootstrap over rounds. Another process
//! finds another figure for the same bytes (memory layout, placement of threads): a deviation σ between processes
//! widens each arm a of the interval to `√(a² + (1.96 σ p50)²)`.
//!
//! Where a model was loaded several times, round r is of load r mod L: the figure is the mean of the loads' medians, the
//! bootstrap is over the rounds' deviations from these, and the loads' own deviation s widens the arms by `t(0.975; L−1) s/√L`.
//!
//! The bootstrap takes rounds for independent. Where the machine is busy for seconds they are not: with their
//! autocorrelation ρ at lag 1, n of them are worth n (1 − ρ) / (1 + ρ), which widens the arms accordingly.

use super::statistics::{median, median_interval, round_medians};
use crate::statistics::kendall;

/// The standard normal quantile of a 95 % interval.
const Z: f64 = 1.96;

/// From this much slower at the end than at the beginning, the machine is throttled.
const THROTTLED: f64 = 1.03;

/// It got slower all the way: Kendall's τ of the turns' times and their order is at least this.
const MONOTONOUS: f64 = 0.5;

/// Not all models slow down alike when the machine does, so a share of each correction between two moments is
/// doubtful: an arm at 95 %. (Found between processes on a machine whose other core was busy or not.)
pub const DOUBT: f64 = 0.5;

/// The most that correlated rounds are taken for.
const MOST_CORRELATED: f64 = 0.8;

/// Student's t at 97.5 % for 1 to 7 degrees of freedom; beyond, the last.
//
// from scipy.stats import t; [round(t.ppf(.975, n), 3) for n in range(1, 8)]
const STUDENT: [f64; 7] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365];

/// A median of rounds; seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Median of the corrected rounds; of several loads, the mean of their medians.
    pub p50_s: f64,
    /// Its 95 % interval within this process and these loads: what more rounds would narrow.
    pub ci95_s: (f64, f64),
    /// Relative deviation of the figure between draws of so many loads, such that ±1.96 of it cover 95 %; 0 for one load.
    pub between_loads: f64,
    /// Median of the rounds as they were timed.
    pub raw_p50_s: f64,
    /// Median of the reference over these rounds, where there is one.
    pub reference_s: Option<f64>,
}

impl Figures {
    /// Half the interval's width as a fraction of the median.
    pub fn half_width(&self) -> f64 {
        (self.ci95_s.1 - self.ci95_s.0) / 2.0 / self.p50_s
    }
}

/// The figures of `rounds`, corrected by the reference's time at each of them (empty: not corrected), which `loads`
/// sessions took turns in. The same for the same seed.
///
/// # Panics
/// If there is no round, or one is empty.
pub fn figures(rounds: &[Vec<f64>], reference_s: &[f64], loads: usize, seed: u64) -> Figures {
    let raw = round_medians(rounds);
    let overall = (reference_s.len() == raw.len()).then(|| median(reference_s));
    let corrected: Vec<f64> = match overall {
        Some(overall) => raw.iter().zip(reference_s).map(|(round, reference)| round / reference * overall).collect(),
        None => raw.clone(),
    };
    let by_load = medians_by_load(&corrected, loads);
    let p50_s = mean(&by_load);
    // As if all loads were alike; a median of each is taken away from these deviations.
    let alike: Vec<f64> = match by_load.as_slice() {
        [_] => corrected,
        loads => corrected.iter().zip(loads.iter().cycle()).map(|(time, load)| time - load + p50_s).collect(),
    };
    let (low, high) = median_interval(&alike, seed);
    let correlated = autocorrelation(&alike).clamp(0.0, MOST_CORRELATED);
    let free = (alike.len() as f64 / (alike.len() + 1 - by_load.len()).max(1) as f64).sqrt();
    let wider = free * ((1.0 + correlated) / (1.0 - correlated)).sqrt();
    Figures {
        p50_s,
        ci95_s: ((p50_s - wider * (p50_s - low)).max(0.0), p50_s + wider * (high - p50_s)),
        between_loads: between_loads(&by_load),
        raw_p50_s: mean(&medians_by_load(&raw, loads)),
        reference_s: overall,
    }
}

/// The median of each load's rounds, for the loads that have one.
fn medians_by_load(rounds: &[f64], loads: usize) -> Vec<f64> {
    let loads = loads.clamp(1, rounds.len());
    let of_load = |load: usize| rounds.iter().skip(load).step_by(loads).copied().collect::<Vec<f64>>();
    (0..loads).map(|load| median(&of_load(load))).collect()
}

fn between_loads(medians: &[f64]) -> f64 {
    let count = medians.len() as f64;
    if medians.len() < 2 || medians.iter().all(|median| *median == 0.0) {
        return 0.0;
    }
    let mean = mean(medians);
    let variance = medians.iter().map(|one| (one / mean - 1.0).powi(2)).sum::<f64>() / (count - 1.0);
    let student = STUDENT[(medians.len() - 2).min(STUDENT.len() - 1)];
    student / Z * (variance / count).sqrt()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Autocorrelation at lag 1, of deviations from the median that are cut at three median deviations, so that one
/// disturbed round does not hide it. (Its bias of −1/n is left: few rounds say little.)
fn autocorrelation(rounds: &[f64]) -> f64 {
    let middle = median(rounds);
    let typical = median(&rounds.iter().map(|round| (round - middle).abs()).collect::<Vec<_>>());
    let cut: Vec<f64> = rounds.iter().map(|round| (round - middle).clamp(-3.0 * typical, 3.0 * typical)).collect();
    let sum: f64 = cut.iter().map(|deviation| deviation * deviation).sum();
    if sum > 0.0 { cut.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / sum } else { 0.0 }
}

/// The interval with a relative deviation between processes added to it in quadrature.
pub fn widened(p50: f64, (low, high): (f64, f64), between_process: f64) -> (f64, f64) {
    let arm = |arm: f64| arm.hypot(Z * between_process * p50);
    ((p50 - arm(p50 - low)).max(0.0), p50 + arm(high - p50))
}

/// How much slower the last third of `turns` is than the first: 1.05 is 5 % slower. None of fewer than six.
pub fn slowdown(turns: &[f64]) -> Option<f64> {
    let third = turns.len() / 3;
    (third >= 2).then(|| median(&turns[turns.len() - third..]) / median(&turns[..third]))
}

/// Whether the machine got slower by more than a few percent, all the way from the first to the last of `turns`.
pub fn throttled(turns: &[f64]) -> bool {
    let order: Vec<f64> = (0..turns.len()).map(|turn| turn as f64).collect();
    slowdown(turns).is_some_and(|slowdown| slowdown > THROTTLED)
        && kendall(&order, turns).is_some_and(|tau| tau >= MONOTONOUS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} found, {expected} expected");
    }

    #[test]
    fn a_drift_that_the_reference_has_as_well_is_corrected() {
        // The machine gets 2 % slower every round.
        let pace: Vec<f64> = (0..9).map(|round| 1.02_f64.powi(round)).collect();
        let rounds: Vec<Vec<f64>> = pace.iter().map(|pace| vec![0.003 * pace; 4]).collect();
        let reference: Vec<f64> = pace.iter().map(|pace| 0.0002 * pace).collect();
        let found = figures(&rounds, &reference, 1, 0);
        let middle = 1.02_f64.powi(4);
        close(found.p50_s, 0.003 * middle);
        close(found.raw_p50_s, 0.003 * middle);
        close(found.reference_s.unwrap(), 0.0002 * middle);
        assert!(found.half_width() < 1e-9);
        let raw = figures(&rounds, &[], 1, 0);
        assert!(raw.half_width() > 0.04 && raw.reference_s.is_none() && raw.p50_s == found.raw_p50_s, "{raw:?}");
    }

    #[test]
    fn rounds_that_are_alike_for_a_while_count_for_fewer() {
        let interval = |time: &dyn Fn(usize) -> f64| {
            let rounds: Vec<Vec<f64>> = (0..24).map(|round| vec![time(round)]).collect();
            figures(&rounds, &[], 1, 0).half_width()
        };
        let pace = [1.0, 1.01, 1.02, 1.03];
        let (mixed, in_blocks) = (interval(&|round| pace[round % 4]), interval(&|round| pace[round / 6]));
        assert!(in_blocks > 2.0 * mixed, "{in_blocks} {mixed}");
        assert_eq!(autocorrelation(&[1.0; 8]), 0.0);
    }

    #[test]
    fn several_loads_are_averaged_and_their_spread_is_known() {
        // A runtime with two paces, drawn anew at each load.
        let rounds: Vec<Vec<f64>> = (0..12).map(|round| vec![[1.0, 1.0, 2.0][round % 3]; 3]).collect();
        let found = figures(&rounds, &[], 3, 0);
        close(found.p50_s, 4.0 / 3.0);
        close(found.raw_p50_s, 4.0 / 3.0);
        assert!(found.half_width() < 1e-9, "more rounds would change nothing: {found:?}");
        // The loads' relative deviation is √3/4, their mean's a √3rd of that.
        close(found.between_loads, 4.303 / 1.96 * 0.25);
        assert_eq!(figures(&rounds, &[], 1, 0).between_loads, 0.0);
        // Fewer rounds than loads: the others have had none.
        close(figures(&rounds[..2], &[], 3, 0).p50_s, 1.0);
    }

    #[test]
    fn processes_that_differ_widen_the_interval() {
        let (low, high) = widened(1.0, (0.99, 1.02), 0.0045);
        close(1.0 - low, 0.01_f64.hypot(1.96 * 0.0045));
        close(high - 1.0, 0.02_f64.hypot(1.96 * 0.0045));
        assert_eq!(widened(2.0, (1.5, 2.5), 0.0), (1.5, 2.5));
    }

    #[test]
    fn only_a_machine_that_gets_slower_all_the_way_is_throttled() {
        let turns = |time: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..12).map(time).collect() };
        assert!(throttled(&turns(&|n| 1.0 + 0.01 * n as f64)));
        assert!(throttled(&turns(&|n| if n < 5 { 1.0 + 1e-6 * n as f64 } else { 1.1 + 1e-6 * n as f64 })));
        for (what, quiet) in [
            ("constant", turns(&|_| 1.0)),
            ("faster", turns(&|n| 1.0 - 0.01 * n as f64)),
            ("slightly slower", turns(&|n| 1.0 + 0.001 * n as f64)),
            ("disturbed once", turns(&|n| if n == 10 { 2.0 } else { 1.0 })),
            ("up and down", turns(&|n| [1.0, 1.08, 1.0, 1.06][n % 4])),
            ("too few", vec![1.0, 1.1, 1.2, 1.3, 1.4]),
        ] {
            assert!(!throttled(&quiet), "{what}");
        }
    }
}
