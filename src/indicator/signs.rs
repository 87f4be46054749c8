//! Which rectifiers of a network are on, for each image of a batch, packed into words.

use crate::graph::{Activation, Graph, Op};
use crate::network::Activations;
use candle_core::Error;

/// The signs of all units behind a ReLU (or another activation that is above zero where its input is).
#[derive(Clone, Debug)]
pub(super) struct Signs {
    /// For each image the words of one layer behind the other; a layer starts with a new word, and what is left of
    /// its last is zero.
    rows: Vec<Vec<u64>>,
    /// Units of each layer.
    layers: Vec<usize>,
}

impl Signs {
    /// The signs in a network's results on a batch of `images`.
    ///
    /// # Errors
    /// If the device can't give the results.
    pub(super) fn new(graph: &Graph, activations: &Activations, images: usize) -> Result<Self, Error> {
        let mut signs = Self { rows: vec![vec![]; images], layers: vec![] };
        for id in graph.ids().filter(|&id| is_rectifier(&graph.node(id).op)) {
            signs.push(&activations.of(id).flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(signs)
    }

    /// Adds a layer, its values `[image, unit]`.
    fn push(&mut self, values: &[f32]) {
        let units = values.len() / self.rows.len().max(1);
        for (row, values) in self.rows.iter_mut().zip(values.chunks_exact(units.max(1))) {
            row.extend(values.chunks(64).map(pack));
        }
        self.layers.push(units);
    }

    /// Number of units.
    pub(super) fn units(&self) -> usize {
        self.layers.iter().sum()
    }

    /// The words of each image.
    pub(super) fn into_rows(self) -> Vec<Vec<u64>> {
        self.rows
    }

    /// Number of images.
    pub(super) fn images(&self) -> usize {
        self.rows.len()
    }

    /// In how many units two images differ.
    pub(super) fn distance(&self, one: usize, other: usize) -> u64 {
        self.rows[one].iter().zip(&self.rows[other]).map(|(a, b)| u64::from((a ^ b).count_ones())).sum()
    }

    /// For each unit its signs over the images, the first image in the lowest bit; images behind the 64th don't count.
    pub(super) fn columns(&self) -> Vec<u64> {
        let mut columns = Vec::with_capacity(self.units());
        let mut word = 0;
        for &layer in &self.layers {
            for first in (0..layer).step_by(64) {
                let mut block = [0; 64];
                block.iter_mut().zip(&self.rows).for_each(|(line, row)| *line = row[word]);
                transpose(&mut block);
                columns.extend_from_slice(&block[..(layer - first).min(64)]);
                word += 1;
            }
        }
        columns
    }
}

/// Whether a result above zero says that a unit is on.
pub(super) fn is_rectifier(op: &Op) -> bool {
    matches!(op, Op::Activation(Activation::Relu | Activation::Relu6 | Activation::HardSwish | Activation::Gelu))
}

/// The signs of up to 64 values, the first in the lowest bit.
fn pack(values: &[f32]) -> u64 {
    let mut signs = [0; 64];
    signs.iter_mut().zip(values).for_each(|(sign, &value)| *sign = u8::from(value > 0.0));
    let (bytes, _) = signs.as_chunks::<8>();
    // Eight bytes of 0 or 1 become eight bits: the factor brings byte i to bit 56 + i.
    let bits = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    bytes.iter().rev().fold(0, |word, bytes| word << 8 | bits(bytes))
}

/// Signs, 1 or 0 each, packed into words, the first in the lowest bit.
pub(super) fn words(signs: impl Iterator<Item = u8>) -> Vec<u64> {
    let (mut words, mut free) = (vec![], 0);
    for sign in signs {
        if free == 0 {
            words.push(0);
            free = u64::BITS;
        }
        if let Some(word) = words.last_mut() {
            *word |= u64::from(sign) << (u64::BITS - free);
        }
        free -= 1;
    }
    words
}

/// Swaps lines and bits of a square of bits, halves by halves (Warren 2012, Hacker's Delight, Section 7-3).
fn transpose(block: &mut [u64; 64]) {
    let (mut half, mut low) = (32, u64::MAX >> 32);
    while half > 0 {
        for line in (0..64).filter(|line| line & half == 0) {
            let swapped = (block[line] >> half ^ block[line + half]) & low;
            block[line] ^= swapped << half;
            block[line + half] ^= swapped;
        }
        half /= 2;
        low ^= low << half;
    }
}

#[cfg(test)]
impl Signs {
    /// The signs of layers `[image, unit]` of `images`.
    pub(super) fn of_layers(images: usize, layers: &[&[f32]]) -> Self {
        let mut signs = Self { rows: vec![vec![]; images], layers: vec![] };
        layers.iter().for_each(|layer| signs.push(layer));
        signs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_hold_every_sign() {
        let (images, layers) = (5, [3, 64, 130]);
        let on = |layer: usize, image: usize, unit: usize| (7 * layer + 3 * image * image + unit * unit) % 5 < 2;
        let values = |layer: usize| -> Vec<f32> {
            let one = |at: usize| if on(layer, at / layers[layer], at % layers[layer]) { 0.5 } else { 0.0 };
            (0..images * layers[layer]).map(one).collect()
        };
        let values: Vec<Vec<f32>> = (0..3).map(values).collect();
        let signs = Signs::of_layers(images, &[&values[0], &values[1], &values[2]]);
        assert_eq!(signs.units(), 197);
        let units = || (0..3).flat_map(|layer| (0..layers[layer]).map(move |unit| (layer, unit)));
        let column = |(layer, unit)| (0..images).map(|image| u64::from(on(layer, image, unit)) << image).sum::<u64>();
        assert_eq!(signs.columns(), units().map(column).collect::<Vec<_>>());
        let differs = units().filter(|&(layer, unit)| on(layer, 1, unit) != on(layer, 4, unit)).count();
        assert_eq!(signs.distance(1, 4), differs as u64);
    }
}
