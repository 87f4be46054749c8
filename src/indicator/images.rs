//! Seeded probe images, so that a score needs no data set.
//!
//! Photographs have an amplitude spectrum close to 1/f and strongly correlated colour channels (Field 1987;
//! Ruderman et al. 1998). On NAS-Bench-201 such images rank networks better than white noise does.

use crate::network::standard_normal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex32;
use serde::{Deserialize, Serialize};

/// Where probe images come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Images {
    /// 1/f amplitude spectrum, correlated channels.
    #[default]
    Natural,
    /// Independent standard normal pixels.
    WhiteNoise,
}

/// Correlation of two channels of one natural image.
const CHANNEL_CORRELATION: f32 = 0.9;

impl Images {
    /// `count` images of `[channels, height, width]`, each with mean 0 and deviation 1, one behind the other.
    pub fn draw(self, count: usize, [channels, height, width]: [usize; 3], seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut all = Vec::with_capacity(count * channels * height * width);
        for _ in 0..count {
            match self {
                Self::WhiteNoise => all.extend((0..channels * height * width).map(|_| standard_normal(&mut rng))),
                Self::Natural => {
                    let common = natural_plane(height, width, &mut rng);
                    for _ in 0..channels {
                        let own = natural_plane(height, width, &mut rng);
                        let mix = |(c, o): (&f32, f32)| {
                            CHANNEL_CORRELATION.sqrt() * c + (1.0 - CHANNEL_CORRELATION).sqrt() * o
                        };
                        all.extend(common.iter().zip(own).map(mix));
                    }
                }
            }
        }
        all
    }

    /// `count` patches of `[channels, side, side]`, cut at random places out of as many larger images.
    pub fn draw_patches(self, count: usize, [channels, height, width]: [usize; 3], seed: u64) -> Vec<f32> {
        /// Side of the images that patches are cut from.
        const WHOLE: usize = 32;
        if self == Self::WhiteNoise || height >= WHOLE || width >= WHOLE {
            return self.draw(count, [channels, height, width], seed);
        }
        let images = self.draw(count, [channels, WHOLE, WHOLE], seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
        let mut all = Vec::with_capacity(count * channels * height * width);
        for image in images.chunks_exact(channels * WHOLE * WHOLE) {
            let top = rng.random_range(0..=WHOLE - height);
            let left = rng.random_range(0..=WHOLE - width);
            for plane in image.chunks_exact(WHOLE * WHOLE) {
                for row in plane.chunks_exact(WHOLE).skip(top).take(height) {
                    all.extend_from_slice(&row[left..left + width]);
                }
            }
        }
        all
    }
}

/// One plane of 1/f noise, mean 0, deviation 1.
fn natural_plane(height: usize, width: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut plane: Vec<Complex32> = (0..height * width).map(|_| Complex32::new(standard_normal(rng), 0.0)).collect();
    let mut planner = FftPlanner::new();
    transform(&mut plane, height, width, |length| planner.plan_fft_forward(length));
    for (index, value) in plane.iter_mut().enumerate() {
        let frequency = |at: usize, size: usize| at.min(size - at) as f32 / size as f32;
        let (fy, fx) = (frequency(index / width, height), frequency(index % width, width));
        // The mean is taken out; all else falls with 1/f.
        *value *= if index == 0 { 0.0 } else { fy.hypot(fx).recip() };
    }
    transform(&mut plane, height, width, |length| planner.plan_fft_inverse(length));
    let energy: f32 = plane.iter().map(|value| value.re * value.re).sum::<f32>() / (height * width) as f32;
    let deviation = if energy > 0.0 { energy.sqrt() } else { 1.0 };
    plane.into_iter().map(|value| value.re / deviation).collect()
}

/// A transform along the rows, then along the columns, in place.
fn transform(
    plane: &mut [Complex32],
    height: usize,
    width: usize,
    mut plan: impl FnMut(usize) -> std::sync::Arc<dyn rustfft::Fft<f32>>,
) {
    plan(width).process(plane);
    let along = plan(height);
    let mut column = vec![Complex32::default(); height];
    for x in 0..width {
        for (y, value) in column.iter_mut().enumerate() {
            *value = plane[y * width + x];
        }
        along.process(&mut column);
        for (y, value) in column.iter().enumerate() {
            plane[y * width + x] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_images_have_unit_energy_correlated_channels_and_a_falling_spectrum() {
        let (count, channels, side) = (32, 3, 32);
        let pixels = side * side;
        let images = Images::Natural.draw(count, [channels, side, side], 7);
        let (mut energy, mut across, mut neighbours) = (0.0, 0.0, 0.0);
        for image in images.chunks_exact(channels * pixels) {
            let (first, second) = (&image[..pixels], &image[pixels..2 * pixels]);
            energy += first.iter().map(|v| v * v).sum::<f32>();
            across += first.iter().zip(second).map(|(a, b)| a * b).sum::<f32>();
            neighbours += first.windows(2).map(|w| w[0] * w[1]).sum::<f32>();
        }
        let per_pixel = |sum: f32| sum / (count * pixels) as f32;
        assert!((per_pixel(energy) - 1.0).abs() < 0.1, "{}", per_pixel(energy));
        assert!((per_pixel(across) - CHANNEL_CORRELATION).abs() < 0.05, "{}", per_pixel(across));
        // Neighbouring pixels of white noise are uncorrelated.
        assert!(per_pixel(neighbours) > 0.5, "{}", per_pixel(neighbours));
    }

    #[test]
    fn patches_have_the_shape_asked_for() {
        assert_eq!(Images::Natural.draw_patches(10, [2, 3, 3], 1).len(), 10 * 2 * 9);
        assert_eq!(Images::WhiteNoise.draw_patches(10, [2, 3, 3], 1).len(), 10 * 2 * 9);
    }
}
