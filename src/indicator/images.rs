//! Seeded probe images, so that a score needs no data set.
//!
//! Photographs have a spectrum that falls with the frequency, and strongly correlated colour channels (Field 1987;
//! Ruderman et al. 1998). On NAS-Bench-201 such images rank networks better than white noise does, best with a power of
//! 1/f, and where images differ in brightness and contrast as photographs do.

use crate::network::standard_normal;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Where probe images come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Images {
    /// 1/f power spectrum, correlated channels.
    #[default]
    Natural,
    /// Independent standard normal pixels.
    WhiteNoise,
}

/// Correlation of two channels of one natural image.
const CHANNEL_CORRELATION: f32 = 0.9;

impl Images {
    /// `count` images of `[channels, height, width]`, one behind the other; over all images a pixel
    /// has mean 0 and deviation 1.
    pub fn draw(self, count: usize, [channels, height, width]: [usize; 3], seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut all = Vec::with_capacity(count * channels * height * width);
        let spectrum = Spectrum::new(height, width);
        for _ in 0..count {
            match self {
                Self::WhiteNoise => all.extend((0..channels * height * width).map(|_| standard_normal(&mut rng))),
                Self::Natural => {
                    let common = spectrum.draw(&mut rng);
                    for _ in 0..channels {
                        let own = spectrum.draw(&mut rng);
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
        Self::cut_patches(&images, [channels, WHOLE, WHOLE], [height, width], seed)
    }

    /// A patch `[channels, height, width]` out of each of `images`, `[channels, rows, columns]` and one behind the
    /// other, at a random place.
    pub(super) fn cut_patches(
        images: &[f32],
        [channels, rows, columns]: [usize; 3],
        [height, width]: [usize; 2],
        seed: u64,
    ) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(1));
        let mut all = vec![];
        for image in images.chunks_exact(channels * rows * columns) {
            let top = rng.random_range(0..=rows - height);
            let left = rng.random_range(0..=columns - width);
            for plane in image.chunks_exact(rows * columns) {
                for row in plane.chunks_exact(columns).skip(top).take(height) {
                    all.extend_from_slice(&row[left..left + width]);
                }
            }
        }
        all
    }
}

/// Planes of 1/f noise: independent normal coefficients whose variance falls with 1/f, in a real orthonormal basis of
/// plane waves. The mean varies as much as the longest wave.
struct Spectrum {
    rows: Waves,
    columns: Waves,
    /// Deviation of each coefficient.
    amplitudes: Vec<f32>,
}

/// The waves of one axis: row `k` is `cas(2π k x / n) / √n`, cas = cos + sin (Hartley 1942). The product of two such
/// waves is one of the plane's, whatever the signs of its frequencies.
struct Waves(Vec<f32>);

impl Waves {
    fn new(size: usize) -> Self {
        let wave = |index: usize| {
            let turn = (index / size * (index % size) % size) as f64 / size as f64 * std::f64::consts::TAU;
            ((turn.cos() + turn.sin()) / (size as f64).sqrt()) as f32
        };
        Self((0..size * size).map(wave).collect())
    }
}

impl Spectrum {
    fn new(height: usize, width: usize) -> Self {
        let frequency = |at: usize, size: usize| at.min(size - at) as f32 / size as f32;
        let longest = 1.0 / height.max(width) as f32;
        let power =
            |index: usize| frequency(index / width, height).hypot(frequency(index % width, width)).max(longest).recip();
        let whole: f32 = (0..height * width).map(power).sum();
        let amplitude = |index: usize| (power(index) / whole * (height * width) as f32).sqrt();
        let amplitudes = (0..height * width).map(amplitude).collect();
        Self { rows: Waves::new(height), columns: Waves::new(width), amplitudes }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let width = self.columns.0.len().isqrt();
        let coefficients: Vec<f32> = self.amplitudes.iter().map(|a| a * standard_normal(rng)).collect();
        // Along the rows, then along the columns; the matrices of waves are symmetric.
        let mut half = vec![0.0; coefficients.len()];
        for (out, row) in half.chunks_exact_mut(width).zip(coefficients.chunks_exact(width)) {
            add_products(out, row, &self.columns.0);
        }
        let mut plane = vec![0.0; coefficients.len()];
        for (out, row) in plane.chunks_exact_mut(width).zip(self.rows.0.chunks_exact(coefficients.len() / width)) {
            add_products(out, row, &half);
        }
        plane
    }
}

/// `out += factors · rows`, where `rows` are as long as `out`.
fn add_products(out: &mut [f32], factors: &[f32], rows: &[f32]) {
    for (factor, row) in factors.iter().zip(rows.chunks_exact(out.len())) {
        out.iter_mut().zip(row).for_each(|(out, value)| *out += factor * value);
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
        // Neighbouring pixels of white noise are uncorrelated; these, with numpy's transform, are as follows.
        // p = 1 / np.maximum(np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32))), 1 / 32)
        // k = np.fft.ifft2(p).real; k /= k[0, 0]; (992 * k[0, 1] + 31 * k[1, 1]) / 1024
        let expected = 0.290;
        assert!((per_pixel(neighbours) - expected).abs() < 0.03, "{}", per_pixel(neighbours));
    }

    #[test]
    fn patches_have_the_shape_asked_for() {
        assert_eq!(Images::Natural.draw_patches(10, [2, 3, 3], 1).len(), 10 * 2 * 9);
        assert_eq!(Images::WhiteNoise.draw_patches(10, [2, 3, 3], 1).len(), 10 * 2 * 9);
    }
}
