//! What models see of an architecture: the one-hot code of its genes, and statistics of its graph where there are some.

use crate::genotype::Genotype;
use nalgebra::{DMatrix, DMatrixView};

/// Rows of equally many numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    width: usize,
    values: Vec<f64>,
}

impl Rows {
    /// No rows yet, of `width` numbers each.
    ///
    /// # Panics
    /// If the width is 0.
    pub fn new(width: usize) -> Self {
        assert!(width > 0, "rows without numbers");
        Self { width, values: vec![] }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has another width.
    pub fn push(&mut self, row: impl IntoIterator<Item = f64>) {
        self.values.extend(row);
        assert!(self.values.len().is_multiple_of(self.width), "a row of another width than {}", self.width);
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The numbers of row `at`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.width..(at + 1) * self.width]
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width)
    }

    /// The rows at `indices`, in that order.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self { width: self.width, values: indices.iter().flat_map(|&at| self.row(at)).copied().collect() }
    }

    pub(super) fn values(&self) -> &[f64] {
        &self.values
    }

    /// The rows as columns, without a copy.
    pub(super) fn columns(&self) -> DMatrixView<'_, f64> {
        DMatrixView::from_slice(&self.values, self.width, self.len())
    }
}

/// Squared distances of rows: `[i, j]` of a's row i and b's row j.
pub(super) fn squared_distances(a: &Rows, b: &Rows) -> DMatrix<f64> {
    let norms = |rows: &Rows| rows.iter().map(|row| row.iter().map(|x| x * x).sum()).collect::<Vec<f64>>();
    let (of_a, of_b) = (norms(a), norms(b));
    let mut products = a.columns().transpose() * b.columns();
    for (mut column, b) in products.column_iter_mut().zip(of_b) {
        column.iter_mut().zip(&of_a).for_each(|(value, a)| *value = (a + b - 2.0 * *value).max(0.0));
    }
    products
}

/// How genotypes become rows: a place for each choice of each decision, 1 where it is taken, then the statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoding {
    choices: Vec<usize>,
    /// Mean and spread of each statistic.
    scales: Vec<(f64, f64)>,
}

impl Encoding {
    /// Genes alone, with `choices[i]` choices at decision i.
    ///
    /// # Panics
    /// If there are no decisions.
    pub fn new(choices: &[usize]) -> Self {
        assert!(!choices.is_empty(), "genotypes without decisions");
        Self { choices: choices.to_vec(), scales: vec![] }
    }

    /// With statistics after the genes, scaled so that those of `examples` have mean 0 and deviation 1.
    pub fn with_statistics<'a>(mut self, examples: impl IntoIterator<Item = &'a [f64]>) -> Self {
        let examples: Vec<&[f64]> = examples.into_iter().collect();
        let scale = |at: usize| {
            let column: Vec<f64> = examples.iter().map(|example| example[at]).collect();
            let mean = super::mean(&column);
            let variance = column.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / column.len() as f64;
            (mean, if variance > 0.0 { variance.sqrt() } else { 1.0 })
        };
        self.scales = (0..examples.first().map_or(0, |first| first.len())).map(scale).collect();
        self
    }

    /// Features of a row.
    pub fn width(&self) -> usize {
        self.choices.iter().sum::<usize>() + self.scales.len()
    }

    /// The feature of `choice` at `decision`.
    pub fn feature(&self, decision: usize, choice: usize) -> usize {
        self.choices[..decision].iter().sum::<usize>() + choice
    }

    /// The row of a genotype with these statistics.
    ///
    /// # Panics
    /// If the genes are not of these decisions, or the statistics not as many as those of the examples.
    pub fn row(&self, genotype: &Genotype, statistics: &[f64]) -> Vec<f64> {
        assert_eq!((genotype.genes().len(), statistics.len()), (self.choices.len(), self.scales.len()));
        let mut row = vec![0.0; self.width()];
        let mut start = 0;
        for (&gene, count) in genotype.genes().iter().zip(&self.choices) {
            row[start + usize::from(gene)] = 1.0;
            start += count;
        }
        let scaled = statistics.iter().zip(&self.scales).map(|(value, (mean, deviation))| (value - mean) / deviation);
        row[start..].iter_mut().zip(scaled).for_each(|(place, value)| *place = value);
        row
    }

    /// The rows of genotypes without statistics.
    ///
    /// # Panics
    /// If the genes are not of these decisions, or the encoding has statistics.
    pub fn rows<'a>(&self, genotypes: impl IntoIterator<Item = &'a Genotype>) -> Rows {
        let mut rows = Rows::new(self.width());
        genotypes.into_iter().for_each(|genotype| rows.push(self.row(genotype, &[])));
        rows
    }
}
