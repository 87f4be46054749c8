//! The images and labels that all candidates of a study see, drawn once from a seed or from a data set.

use super::{IndicatorError, ProbeData, Settings, View};
use crate::space::NetworkSize;
use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Two batches.
#[derive(Clone, Debug)]
pub(super) struct Batches {
    pub(super) images: [Tensor; 2],
    pub(super) labels: [Vec<usize>; 2],
}

impl Batches {
    pub(super) fn draw(
        size: &NetworkSize,
        batch: usize,
        settings: &Settings,
        seed: u64,
        device: &Device,
    ) -> Result<Self, IndicatorError> {
        let [channels, height, width] = size.input;
        if let Some(data) = &settings.data {
            // One draw, so that the batches share no image.
            let (values, labels) = data.draw(2 * batch, size.input, size.classes, derive(seed, 0));
            let images = Tensor::from_vec(values, (2 * batch, channels, height, width), device)?;
            let images = [images.narrow(0, 0, batch)?, images.narrow(0, batch, batch)?.contiguous()?];
            return Ok(Self { images, labels: [labels[..batch].to_vec(), labels[batch..].to_vec()] });
        }
        let draw = |which: u64| -> Result<Tensor, IndicatorError> {
            let values = settings.images.draw(batch, size.input, derive(seed, which));
            Ok(Tensor::from_vec(values, (batch, channels, height, width), device)?)
        };
        let mut rng = ChaCha8Rng::seed_from_u64(derive(seed, 2));
        let mut labels = || (0..batch).map(|_| rng.random_range(0..size.classes)).collect::<Vec<_>>();
        Ok(Self { labels: [labels(), labels()], images: [draw(0)?, draw(1)?] })
    }
}

/// Checks that batches of all views can be made of the data.
pub(super) fn fits(data: &ProbeData, sizes: &[NetworkSize; View::ALL.len()]) -> Result<(), IndicatorError> {
    let unfit = |reason: String| Err(IndicatorError::Unfit { indicator: "indicators.data", reason });
    if !data.is_at_hand() {
        return unfit("the settings are of a record, expected data that was read".to_owned());
    }
    let [height, width] = data.size();
    for view in [View::Kernel, View::Features] {
        let [_, rows, columns] = sizes[view as usize].input;
        if [rows, columns] != [height, width] {
            return unfit(format!("images were resized to {height}×{width}, the networks take {rows}×{columns}"));
        }
    }
    let [_, rows, columns] = sizes[View::Regions as usize].input;
    if rows > height || columns > width {
        return unfit(format!("images are {height}×{width}, too small for patches of {rows}×{columns}"));
    }
    Ok(())
}

/// Batches of the images that regions are counted with.
const PATCH_BATCHES: usize = 3;
/// Images of one such batch.
pub(super) const PATCHES: usize = 1000;

pub(super) fn patches(
    input: [usize; 3],
    settings: &Settings,
    seed: u64,
    device: &Device,
) -> Result<Vec<Tensor>, IndicatorError> {
    let [channels, height, width] = input;
    let batch = |number: u64| {
        let seed = derive(seed, number);
        let values = match &settings.data {
            Some(data) => data.draw_patches(PATCHES, input, seed),
            None => settings.images.draw_patches(PATCHES, input, seed),
        };
        Ok(Tensor::from_vec(values, (PATCHES, channels, height, width), device)?)
    };
    (0..PATCH_BATCHES as u64).map(batch).collect()
}

/// A seed of its own for each purpose (SplitMix64, Steele et al. 2014).
pub(super) fn derive(seed: u64, purpose: u64) -> u64 {
    let mut z = seed.wrapping_add(purpose.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
