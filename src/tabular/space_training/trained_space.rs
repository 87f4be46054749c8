//! The table of a space that was trained, as CSV, and what it is worth as a measure.

use super::{Ending, SpaceTrainingError};
use crate::files;
use crate::genotype::ArchId;
use crate::statistics::spearman;
use crate::train::TrainError;
use serde::Serialize;
use std::collections::HashSet;
use std::path::Path;

/// Architectures and their figures.
#[derive(Clone, Debug)]
pub struct TrainedSpace {
    pub(super) seeds: Vec<u64>,
    pub(super) rows: Vec<Row>,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub arch: String,
    pub id: Option<ArchId>,
    pub macs: u64,
    pub params: u64,
    /// By seed.
    pub endings: Vec<Ending>,
}

/// What a table has to tell architectures apart with. Accuracies are test accuracies in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Architectures.
    pub architectures: usize,
    /// Dead ones among them.
    pub dead: usize,
    /// How many there are if isomorphic ones are one, dead ones left out.
    pub distinct: usize,
    /// Trainings that failed.
    pub failed: usize,
    /// Why the first of them did.
    pub first_failure: Option<String>,
    /// The best mean over seeds, of living architectures; none where all failed.
    pub best: Option<f64>,
    /// The worst.
    pub worst: Option<f64>,
    /// Different means among them.
    pub levels: usize,
    /// Standard deviation between seeds of one architecture, over all of them; none with one seed.
    pub seed_deviation: Option<f64>,
    /// Standard deviation of the means.
    pub deviation: Option<f64>,
    /// Spearman's ρ between two seeds, the mean of all pairs; none with one seed.
    pub seed_correlation: Option<f64>,
    /// Seconds of all trainings together.
    pub training_s: f64,
}

impl TrainedSpace {
    /// Writes the table: `arch`, `arch_id` (none of a dead one), multiply-accumulates and parameters as the space declares
    /// them, validation and test accuracy of each seed in percent, their means, the test accuracy's standard deviation, and
    /// mean seconds of a training. What a failed training would have found is empty, and means are those of the others.
    ///
    /// # Errors
    /// If it can't be written; what was at `path` is there as it was.
    pub fn write(&self, path: &Path) -> Result<(), SpaceTrainingError> {
        let mut table = csv::Writer::from_writer(vec![]);
        let of_seeds = |part: &'static str| self.seeds.iter().map(move |seed| format!("{part}_seed{seed}"));
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let header = named(&["arch", "arch_id", "params", "macs"]).into_iter();
        let header = header.chain(of_seeds("validation")).chain(of_seeds("test"));
        table.write_record(header.chain(named(&["validation_mean", "test_mean", "test_std", "seconds"])))?;
        for row in &self.rows {
            let id = row.id.as_ref().map(ToString::to_string).unwrap_or_default();
            let costs = [row.arch.clone(), id, row.params.to_string(), row.macs.to_string()];
            let (validation, test) = (row.accuracies(|figures| figures.validation), row.test());
            let number = |value: Option<f64>| value.map(|value| rounded(value).to_string()).unwrap_or_default();
            let seconds = mean(&row.present(|figures| figures.seconds));
            let figures = validation.iter().chain(&test).copied();
            let last = [mean(&present(&validation)), mean(&present(&test)), deviation(&present(&test)), seconds];
            table.write_record(costs.into_iter().chain(figures.chain(last).map(number)))?;
        }
        let bytes = table.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
        files::write_whole(path, &bytes).map_err(|source| TrainError::File { path: path.to_owned(), source })?;
        Ok(())
    }

    /// What it has to tell architectures apart with.
    pub fn summary(&self) -> Summary {
        let living: Vec<&Row> = self.rows.iter().filter(|row| row.id.is_some()).collect();
        let means: Vec<f64> = living.iter().filter_map(|row| mean(&present(&row.test()))).collect();
        let failures: Vec<&String> =
            self.rows.iter().flat_map(|row| &row.endings).filter_map(Ending::failure).collect();
        let deviations: Vec<f64> = living.iter().filter_map(|row| deviation(&present(&row.test()))).collect();
        let squares: Vec<f64> = deviations.iter().map(|deviation| deviation * deviation).collect();
        let of_seed = |at: usize| living.iter().map(|row| row.test()[at]).collect::<Option<Vec<f64>>>();
        let seeds: Vec<Vec<f64>> = (0..self.seeds.len()).filter_map(of_seed).collect();
        let pairs = (0..seeds.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        let correlations: Vec<f64> = pairs.filter_map(|(a, b)| spearman(&seeds[a], &seeds[b])).collect();
        let levels: HashSet<u64> = means.iter().map(|mean| rounded(*mean).to_bits()).collect();
        Summary {
            architectures: self.rows.len(),
            dead: self.rows.len() - living.len(),
            distinct: living.iter().filter_map(|row| row.id.as_ref()).collect::<HashSet<_>>().len(),
            failed: failures.len(),
            first_failure: failures.first().map(|reason| (*reason).clone()),
            best: means.iter().copied().reduce(f64::max),
            worst: means.iter().copied().reduce(f64::min),
            levels: levels.len(),
            seed_deviation: mean(&squares).map(f64::sqrt),
            deviation: deviation(&means),
            seed_correlation: mean(&correlations),
            training_s: self.rows.iter().flat_map(|row| row.present(|figures| figures.seconds)).sum(),
        }
    }
}

impl Row {
    /// A figure of each training, none of a failed one.
    fn figure(&self, of: fn(&super::Figures) -> f64) -> Vec<Option<f64>> {
        self.endings.iter().map(|ending| ending.figures().map(of)).collect()
    }

    fn present(&self, of: fn(&super::Figures) -> f64) -> Vec<f64> {
        present(&self.figure(of))
    }

    /// In percent.
    fn accuracies(&self, of: fn(&super::Figures) -> f64) -> Vec<Option<f64>> {
        self.figure(of).into_iter().map(|share| share.map(|share| 100.0 * share)).collect()
    }

    fn test(&self) -> Vec<Option<f64>> {
        self.accuracies(|figures| figures.test)
    }
}

impl Ending {
    fn figures(&self) -> Option<&super::Figures> {
        match self {
            Self::Trained(figures) => Some(figures),
            Self::Failed(_) => None,
        }
    }

    fn failure(&self) -> Option<&String> {
        match self {
            Self::Trained(_) => None,
            Self::Failed(reason) => Some(reason),
        }
    }
}

fn present(values: &[Option<f64>]) -> Vec<f64> {
    values.iter().copied().flatten().collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation that a sample tells of; none for fewer than two values.
fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// To three digits behind the point.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
