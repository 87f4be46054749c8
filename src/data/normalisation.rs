//! From pixels to numbers of mean 0 and deviation 1 a channel: (scale · x − mean) / deviation.

use super::{Part, Values};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Key of a model's normalisation, as JSON, in its ONNX metadata.
pub const NORMALISATION_KEY: &str = "tegu.normalisation";

/// Mean and deviation of each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// What elements are multiplied by before: 1/255 for pixels, which is what is meant where nothing is said, 1 for features.
    #[serde(default = "of_pixels")]
    pub scale: f32,
    /// Mean of each channel, after scaling.
    pub mean: Vec<f32>,
    /// Deviation of each channel, after scaling; 1 for a channel that is constant.
    pub deviation: Vec<f32>,
}

fn of_pixels() -> f32 {
    1.0 / 255.0
}

impl Normalisation {
    /// The one that gives each channel of `part` mean 0 and deviation 1. Fit it on what is trained on, and on nothing else.
    pub fn fit(part: &Part) -> Self {
        let [channels, height, width] = part.shape();
        let plane = height * width;
        let samples = part.samples();
        let count = (part.len() * plane).max(1) as f64;
        let moments = |channel: usize| match samples.values() {
            // Whole numbers: sums are exact, whatever the order.
            Values::U8(values) => {
                let sums = |&index: &u32| {
                    let begin = (index as usize * channels + channel) * plane;
                    let pixels = &values[begin..begin + plane];
                    let sum: u64 = pixels.iter().map(|&pixel| u64::from(pixel)).sum();
                    (sum, pixels.iter().map(|&pixel| u64::from(pixel) * u64::from(pixel)).sum::<u64>())
                };
                let add = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
                let (sum, squares) = part.indices().par_iter().map(sums).reduce(|| (0, 0), add);
                let mean = sum as f64 / count;
                (mean / 255.0, (squares as f64 / count - mean * mean).max(0.0).sqrt() / 255.0)
            }
            Values::F32(values) => {
                let of = |&index: &u32| {
                    let begin = (index as usize * channels + channel) * plane;
                    values[begin..begin + plane].iter().map(|&value| f64::from(value))
                };
                let mean = part.indices().iter().flat_map(of).sum::<f64>() / count;
                let variance = part.indices().iter().flat_map(of).map(|x| (x - mean).powi(2)).sum::<f64>() / count;
                (mean, variance.sqrt())
            }
        };
        let scale = match samples.values() {
            Values::U8(_) => 1.0 / 255.0,
            Values::F32(_) => 1.0,
        };
        let of_channels: Vec<(f64, f64)> = (0..channels).map(moments).collect();
        let deviation = |&(_, deviation): &(f64, f64)| if deviation > 1e-12 { deviation as f32 } else { 1.0 };
        let mean = of_channels.iter().map(|&(mean, _)| mean as f32).collect();
        Self { scale, mean, deviation: of_channels.iter().map(deviation).collect() }
    }

    /// Says what is wrong with it for samples of so many channels.
    ///
    /// # Errors
    /// If figures are missing, or no numbers, or a deviation is not positive.
    pub fn check(&self, channels: usize) -> Result<(), String> {
        let found = [self.mean.len(), self.deviation.len()];
        if found != [channels; 2] {
            let [means, deviations] = found;
            return Err(format!("{means} means and {deviations} deviations, expected {channels} of each"));
        }
        let is_number = self.scale.is_finite() && self.mean.iter().all(|mean| mean.is_finite());
        match is_number && self.deviation.iter().all(|&deviation| deviation > 0.0 && deviation.is_finite()) {
            true => Ok(()),
            false => Err("expected finite numbers, deviations above 0".into()),
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Factor and summand of a channel: x becomes factor · x + summand.
    pub fn factor_and_summand(&self, channel: usize) -> (f32, f32) {
        let deviation = f64::from(self.deviation[channel]);
        ((f64::from(self.scale) / deviation) as f32, (-f64::from(self.mean[channel]) / deviation) as f32)
    }

    /// Normalises one sample `[channels, height, width]` in its place.
    pub fn apply(&self, sample: &mut [f32]) {
        let plane = sample.len() / self.channels().max(1);
        for (channel, pixels) in sample.chunks_exact_mut(plane.max(1)).enumerate() {
            let (factor, summand) = self.factor_and_summand(channel);
            pixels.iter_mut().for_each(|pixel| *pixel = pixel.mul_add(factor, summand));
        }
    }
}
