//! Rank correlations of what a study has of its trials.
//!
//! Under no association ρ's standard error is about 1/√(n − 1): the `random` row shows what chance gives on the very
//! same trials.

use super::{Correlation, StudyReport, TrialRow};
use crate::statistics::spearman;
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
