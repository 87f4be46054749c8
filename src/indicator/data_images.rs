//! Probe images from a data set: of its training part alone, the same number of each class, in a seeded order.

use super::Images;
use crate::data::{Calibration, DataError, DataSet, ReadOptions, SplitOptions};
use crate::space::{Scale, SearchSpace};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Labelled images to probe networks with. In records it is its digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeData {
    /// SHA-256 of the data set, its images as they were resized.
    pub sha256: String,
    #[serde(skip)]
    pool: Arc<Pool>,
    /// By the size that networks take.
    #[serde(skip)]
    calibration: Arc<BTreeMap<[usize; 2], Calibration>>,
}

impl PartialEq for ProbeData {
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl Eq for ProbeData {}

/// Images that batches are drawn from.
#[derive(Debug, Default)]
struct Pool {
    shape: [usize; 3],
    /// Each `[channels, height, width]`, in turns by class.
    images: Vec<Vec<f32>>,
    labels: Vec<usize>,
}

/// Images of the pool at most: what is drawn of it is far less.
const POOL: usize = 2048;

impl ProbeData {
    /// Reads the images of the data set at `path`, resized to `height` and `width`. Test and validation parts of the
    /// source, and copies of their images, are not among them.
    ///
    /// # Errors
    /// If the data is refused, or is no images.
    pub fn open(path: &Path, [height, width]: [usize; 2]) -> Result<Self, DataError> {
        let options = ReadOptions { size: Some([height, width]), ..ReadOptions::default() };
        let set = DataSet::open(path, &options)?;
        let train = set.split(&SplitOptions { validation: 0.0, test: 0.0, seed: 0 })?.train;
        let chosen = train.in_turns(POOL, 0);
        let elements = train.samples().elements();
        let image = |&index: &u32| {
            let mut image = vec![0.0; elements];
            train.samples().write(index as usize, &mut image);
            image
        };
        let images = chosen.iter().map(image).collect();
        let labels = chosen.iter().map(|&index| train.samples().labels()[index as usize] as usize).collect();
        let pool = Pool { shape: [set.shape()[0], height, width], images, labels };
        Ok(Self { sha256: set.sha256().to_owned(), pool: Arc::new(pool), calibration: Arc::default() })
    }

    /// These, with `count` samples of the training part at `path`, in turns by class, for the model that the space's networks are parts of: resized to
    /// what they take, normalised as the model's inputs are, to mean 0 and deviation 1 where that is not known.
    ///
    /// # Errors
    /// If the data is refused, or has other channels than the model's inputs.
    pub(super) fn with_calibration(self, path: &Path, space: &SearchSpace, count: usize) -> Result<Self, DataError> {
        let [channels, height, width] = space.network(Scale::Full).input;
        let chosen = space.resolutions().iter().map(|&side| [side, side]);
        let mut calibration = BTreeMap::new();
        for [height, width] in chosen.chain([[height, width]]) {
            let samples = Calibration::read(path, [channels, height, width], count, space.normalisation())?;
            calibration.insert([height, width], samples);
        }
        Ok(Self { calibration: Arc::new(calibration), ..self })
    }

    /// What networks with weights of their own are calibrated with, by the size of their inputs.
    pub(super) fn calibration(&self) -> &BTreeMap<[usize; 2], Calibration> {
        &self.calibration
    }

    /// Whether it can be drawn from: what was read back from a record can't.
    pub(super) fn is_at_hand(&self) -> bool {
        !self.pool.images.is_empty()
    }

    /// `count` images of `[channels, height, width]` each, one behind the other, and their classes: all below `classes`,
    /// as many of each as there can be, none twice before all were taken. Normalised over the pool.
    pub(super) fn draw(&self, count: usize, shape: [usize; 3], classes: usize, seed: u64) -> (Vec<f32>, Vec<usize>) {
        let of_classes: Vec<usize> = (0..self.pool.labels.len()).filter(|&at| self.pool.labels[at] < classes).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut by_class: Vec<Vec<usize>> = vec![vec![]; classes];
        of_classes.iter().for_each(|&at| by_class[self.pool.labels[at]].push(at));
        for of_class in &mut by_class {
            (1..of_class.len()).rev().for_each(|last| of_class.swap(last, rng.random_range(0..=last)));
        }
        let turns = by_class.iter().map(Vec::len).max().unwrap_or(0);
        let by_class = &by_class;
        let order = (0..turns).flat_map(|turn| by_class.iter().filter_map(move |of_class| of_class.get(turn).copied()));
        let chosen: Vec<usize> = order.collect::<Vec<_>>().into_iter().cycle().take(count).collect();
        let (mean, deviation) = self.moments(shape[0]);
        let mut values = Vec::with_capacity(count * shape.iter().product::<usize>());
        for &at in &chosen {
            let plane = self.pool.shape[1] * self.pool.shape[2];
            let image = with_channels(&self.pool.images[at], plane, shape[0]);
            for (channel, pixels) in image.chunks_exact(plane).enumerate() {
                values.extend(pixels.iter().map(|pixel| (pixel - mean[channel]) / deviation[channel]));
            }
        }
        (values, chosen.into_iter().map(|at| self.pool.labels[at]).collect())
    }

    /// `count` patches of `shape`, which is no larger than the images, cut at random places out of as many of them.
    pub(super) fn draw_patches(&self, count: usize, shape: [usize; 3], seed: u64) -> Vec<f32> {
        let [channels, height, width] = shape;
        let [_, rows, columns] = self.pool.shape;
        let (images, _) = self.draw(count, [channels, rows, columns], self.classes(), seed);
        Images::cut_patches(&images, [channels, rows, columns], [height, width], seed)
    }

    /// Classes of the pool's images.
    fn classes(&self) -> usize {
        self.pool.labels.iter().max().map_or(0, |most| most + 1)
    }

    /// Side of the images that are drawn.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.pool.shape[1], self.pool.shape[2]]
    }

    /// Mean and deviation of each channel over the pool.
    fn moments(&self, channels: usize) -> (Vec<f32>, Vec<f32>) {
        let plane = self.pool.shape[1] * self.pool.shape[2];
        let count = (self.pool.images.len() * plane).max(1) as f64;
        let mut sums = vec![(0.0f64, 0.0f64); channels];
        for image in &self.pool.images {
            let image = with_channels(image, plane, channels);
            for (sum, pixels) in sums.iter_mut().zip(image.chunks_exact(plane)) {
                for &pixel in pixels {
                    let pixel = f64::from(pixel);
                    *sum = (sum.0 + pixel, sum.1 + pixel * pixel);
                }
            }
        }
        let moments = sums.into_iter().map(|(sum, squares)| {
            let (mean, square) = (sum / count, squares / count);
            let deviation = (square - mean * mean).max(0.0).sqrt();
            (mean as f32, if deviation > 1e-9 { deviation as f32 } else { 1.0 })
        });
        moments.unzip()
    }
}

/// An image with that many channels: its own, else copies of their mean.
fn with_channels(image: &[f32], plane: usize, channels: usize) -> Vec<f32> {
    let own = image.len() / plane;
    if own == channels {
        return image.to_vec();
    }
    let mean = |at: usize| image.iter().skip(at).step_by(plane).sum::<f32>() / own as f32;
    let grey: Vec<f32> = (0..plane).map(mean).collect();
    grey.repeat(channels)
}

#[cfg(test)]
mod tests {
    use super::super::{Probes, Settings, SettingsSection, View, score, teg};
    use super::*;
    use crate::space::SearchSpace;
    use candle_core::Device;

    /// A CIFAR-10 file whose pixels are 10 times the label, but for the last channel.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let sample = |at: usize, odd: u8| {
            let label = (at % 10) as u8;
            let pixel = move |pixel: usize| if pixel < 2048 { label * 10 + odd } else { (at % 200) as u8 };
            std::iter::once(label).chain((0..3072).map(pixel)).collect::<Vec<u8>>()
        };
        let write = |name: &str, count: usize, odd: u8| {
            let bytes: Vec<u8> = (0..count).flat_map(|at| sample(at, odd)).collect();
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        write("train.bin", 100, 0);
        write("test.bin", 50, 100);
        folder
    }

    #[test]
    fn batches_are_balanced_seeded_normalised_and_of_the_training_part() {
        let folder = folder();
        let data = ProbeData::open(folder.path(), [32, 32]).unwrap();
        let (images, labels) = data.draw(20, [3, 32, 32], 10, 1);
        let mut sorted = labels.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).map(|at| at / 2).collect::<Vec<_>>());
        // The label can be read off the image again: it is no test image.
        for (image, &label) in images.chunks_exact(3072).zip(&labels) {
            let expected = (label as f32 * 10.0 - 45.0) / 28.722_813;
            assert!((image[0] - expected).abs() < 1e-4, "{} is not {expected}", image[0]);
        }
        assert_eq!(data.draw(20, [3, 32, 32], 10, 1).1, labels);
        assert_ne!(data.draw(20, [3, 32, 32], 10, 2).0, images);
        assert!(data.draw(20, [3, 32, 32], 4, 1).1.iter().all(|&label| label < 4));
        // Grey ones, and more than there are.
        assert_eq!(data.draw(300, [1, 32, 32], 10, 1).0.len(), 300 * 1024);
        assert_eq!(data.draw_patches(1000, [1, 3, 3], 1).len(), 9000);
    }

    #[test]
    fn networks_are_probed_with_them() {
        let folder = folder();
        let space = SearchSpace::open("nas-bench-201").unwrap();
        let data = Some(folder.path().to_owned());
        let section = SettingsSection { batch: Some(8), networks: Some(1), data, ..SettingsSection::default() };
        let settings = section.resolve_for(&space, Path::new("")).unwrap();
        let probes = Probes::new(&space, settings.clone(), 3, Device::Cpu).unwrap();
        let cell = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|none~2|";
        let genotype = space.parse_arch(cell).unwrap();
        let scores = score(&probes, &space, &genotype, &teg());
        assert!(scores.values().all(Result::is_ok), "{scores:?}");
        let graph = probes.graph(&space, &genotype, View::Kernel).unwrap();
        let run = probes.run(&graph, View::Kernel, 0);
        let [first, second] = run.labels().map(<[usize]>::to_vec);
        let mut classes = [first, second].concat();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!(classes.len(), 10, "16 images of 10 classes");
        assert_eq!(run.images().dims(), [8, 3, 32, 32]);
        let seeded = SettingsSection { data: None, ..section }.resolve();
        assert_ne!(settings, seeded);
        let read: Settings = serde_json::from_value(serde_json::to_value(&settings).unwrap()).unwrap();
        let refused = Probes::new(&space, read, 3, Device::Cpu).unwrap_err().to_string();
        assert!(refused.contains("indicators.data"), "{refused}");
    }

    #[test]
    fn images_are_resized_and_records_hold_the_digest() {
        let folder = folder();
        let data = ProbeData::open(folder.path(), [16, 8]).unwrap();
        assert_eq!(data.draw(2, [3, 16, 8], 10, 0).0.len(), 2 * 3 * 16 * 8);
        let record = serde_json::to_string(&data).unwrap();
        assert_eq!(record, format!("{{\"sha256\":\"{}\"}}", data.sha256));
        let read: ProbeData = serde_json::from_str(&record).unwrap();
        assert!(read == data && !read.is_at_hand() && data.is_at_hand());
    }
}
