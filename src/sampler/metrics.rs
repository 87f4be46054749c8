//! Figures of architectures that cost little beside a trial: training-free indicators, predicted latencies, short trainings.
//!
//! They are what RoBoT weighs, what TE-NAS prunes by, and the fidelities that successive halving goes through.

use super::draws::Draws;
use super::{GeneSpace, SamplerError};
use crate::genotype::Genotype;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::fmt;
use std::sync::Arc;

/// Gives the values of one metric, by its index, for many genotypes; `None` where it fails.
pub type Measure = Arc<dyn Fn(usize, &[Genotype]) -> Vec<Option<f64>> + Send + Sync>;

/// Metrics by name. They are functions of the architecture: the same genotype has the same values at any time.
#[derive(Clone)]
pub struct Metrics {
    names: Vec<String>,
    /// How many metrics each fidelity has, with those of the ones before it.
    fidelities: Vec<usize>,
    measure: Measure,
}

impl Metrics {
    /// Metrics of these names, the cheapest first; more is better in each. `measure` is asked for as few as a strategy needs.
    pub fn new(names: Vec<String>, measure: Measure) -> Self {
        Self { fidelities: (1..=names.len()).collect(), names, measure }
    }

    /// Takes metrics that cost about the same as one fidelity: `fidelities` has the number of metrics up to the end of each.
    ///
    /// # Panics
    /// If the numbers do not rise to that of all metrics.
    pub fn with_fidelities(mut self, fidelities: Vec<usize>) -> Self {
        let rise = fidelities.is_sorted_by(|a, b| a < b) && fidelities.first() != Some(&0);
        assert!(rise && fidelities.last().is_none_or(|&last| last == self.names.len()), "{fidelities:?}");
        self.fidelities = fidelities;
        self
    }

    /// How many metrics each fidelity has, with those of the ones before it.
    pub fn fidelities(&self) -> &[usize] {
        &self.fidelities
    }

    /// Their names, the cheapest first.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Where the metric of this name stands.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn index(&self, name: &str) -> Result<usize, SamplerError> {
        let unknown = || SamplerError::Metric { name: name.to_owned(), known: self.names.join(", ") };
        self.names.iter().position(|known| known == name).ok_or_else(unknown)
    }

    /// One metric's values of `genotypes`.
    ///
    /// # Panics
    /// If the function behind it gives more or fewer.
    pub(super) fn values(&self, metric: usize, genotypes: &[Genotype]) -> Vec<Option<f64>> {
        let values = (self.measure)(metric, genotypes);
        assert_eq!(values.len(), genotypes.len(), "a value for each genotype");
        values.into_iter().map(|value| value.filter(|value| value.is_finite())).collect()
    }

    /// One metric's values, the least of them in place of what failed.
    pub(super) fn filled(&self, metric: usize, genotypes: &[Genotype]) -> Vec<f64> {
        let values = self.values(metric, genotypes);
        let least = values.iter().flatten().copied().reduce(f64::min).unwrap_or(0.0);
        values.into_iter().map(|value| value.unwrap_or(least)).collect()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Architectures to choose from: all of a space of at most `most` genotypes, else so many that are drawn by `seed`.
pub(super) fn pool(space: &GeneSpace, most: usize, seed: u64) -> Vec<Genotype> {
    let size: f64 = space.choices().iter().map(|&count| count as f64).product();
    let mut draws = Draws::new(space.clone());
    if size <= most as f64 {
        return std::iter::from_fn(|| draws.walk()).collect();
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..most).map_while(|_| draws.draw(&mut rng)).collect()
}
