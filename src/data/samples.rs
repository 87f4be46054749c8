//! Samples in memory, and parts of them.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Samples of one shape with their labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    shape: [usize; 3],
    values: Values,
    labels: Vec<u32>,
}

/// The elements of samples, one sample behind the other, each `[channels, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Pixels, 0 to 255.
    U8(Vec<u8>),
    /// Features.
    F32(Vec<f32>),
}

/// Some of the samples of a source: what it trains on, validates with, or tests with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Part {
    samples: Arc<Samples>,
    /// Which of them, in rising order.
    indices: Arc<[u32]>,
    classes: usize,
}

impl Samples {
    /// Samples of `shape` `[channels, height, width]`, one label each.
    ///
    /// # Panics
    /// If there are not as many values as `labels` times `shape`: readers make both.
    pub fn new(shape: [usize; 3], values: Values, labels: Vec<u32>) -> Self {
        let expected = labels.len() * shape.iter().product::<usize>();
        assert_eq!(values.len(), expected, "{} samples of {shape:?}", labels.len());
        Self { shape, values, labels }
    }

    /// The same numbers as samples of another shape; none if that has not as many.
    pub fn with_shape(self, shape: [usize; 3]) -> Option<Self> {
        let elements = shape.iter().try_fold(1, |all: usize, dim| all.checked_mul(*dim));
        (elements == Some(self.elements())).then_some(Self { shape, ..self })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Shape of a sample, `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Elements of one sample.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// All elements.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The classes of all samples.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Writes one sample's elements as floats, pixels as 0.0 to 255.0, into `out` of as many.
    pub fn write(&self, index: usize, out: &mut [f32]) {
        let range = index * self.elements()..(index + 1) * self.elements();
        match &self.values {
            Values::U8(values) => out.iter_mut().zip(&values[range]).for_each(|(out, &value)| *out = f32::from(value)),
            Values::F32(values) => out.copy_from_slice(&values[range]),
        }
    }

    /// SHA-256 of each sample's elements.
    pub(super) fn digests(&self) -> Vec<[u8; 32]> {
        let elements = self.elements();
        let digest = |index: usize| -> [u8; 32] {
            let range = index * elements..(index + 1) * elements;
            match &self.values {
                Values::U8(values) => Sha256::digest(&values[range]).into(),
                Values::F32(values) => {
                    let bytes: Vec<u8> = values[range].iter().flat_map(|value| value.to_le_bytes()).collect();
                    Sha256::digest(&bytes).into()
                }
            }
        };
        (0..self.len()).into_par_iter().map(digest).collect()
    }
}

impl Values {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Part {
    /// The samples of these positions, in rising order, of data of so many classes.
    pub(super) fn new(samples: &Arc<Samples>, mut indices: Vec<u32>, classes: usize) -> Self {
        indices.sort_unstable();
        Self { samples: Arc::clone(samples), indices: indices.into(), classes }
    }

    /// All samples, of data of so many classes.
    pub fn whole(samples: &Arc<Samples>, classes: usize) -> Self {
        Self { samples: Arc::clone(samples), indices: (0..samples.len() as u32).collect(), classes }
    }

    /// The first `count` samples that a seeded draw takes, balanced over the classes as far as they reach; all where
    /// there are no more.
    pub fn balanced(&self, count: usize, seed: u64) -> Self {
        Self::new(&self.samples, self.in_turns(count, seed), self.classes)
    }

    /// As [`Part::balanced`], as positions in [`Part::samples`], the classes taking turns.
    pub fn in_turns(&self, count: usize, seed: u64) -> Vec<u32> {
        super::split::in_turns(self, count, seed)
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Number of classes of the data, also of those that no sample of this part is of.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Shape of a sample, `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        self.samples.shape()
    }

    /// All samples of the source's part that this one is taken of.
    pub fn samples(&self) -> &Arc<Samples> {
        &self.samples
    }

    /// Which of [`Part::samples`] belong to it, in rising order.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The class of the sample at a position of this part.
    pub fn label(&self, position: usize) -> u32 {
        self.samples.labels()[self.indices[position] as usize]
    }

    /// The classes of its samples.
    pub fn labels(&self) -> Vec<u32> {
        (0..self.len()).map(|position| self.label(position)).collect()
    }
}
