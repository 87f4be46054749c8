//! Batches, made ahead of their use by threads of their own.
//!
//! What is random about a sample depends on (seed, epoch, sample) alone, and the order on (seed, epoch): any number of
//! threads makes the same bits, and training that goes on at (epoch, batch) sees what it would have seen.

use super::split::shuffle;
use super::{Augmentation, DataError, Normalisation, Part};
use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Samples that a network sees at once.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Normalised, `[batch, channels, height, width]`, 32-bit floats.
    pub images: Tensor,
    /// Classes, `[batch]`, u32; of mixed samples, that of the larger share.
    pub labels: Tensor,
    /// Probabilities of the classes, `[batch, classes]`, 32-bit floats: rows of a one and zeros, where nothing is mixed.
    pub targets: Tensor,
}

/// How batches are made.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// Samples of a batch; default 128.
    pub batch: usize,
    /// What changes training samples; default nothing.
    pub augmentation: Augmentation,
    /// What order and augmentation are drawn by; default 0.
    pub seed: u64,
    /// Threads that make batches; 0, the default, for as many as there are cores, at most 4.
    pub workers: usize,
    /// Where batches are put; default the CPU.
    pub device: Device,
}

/// Makes the batches of one part. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Loader {
    part: Part,
    normalisation: Arc<Normalisation>,
    options: LoaderOptions,
}

/// The batches to come, in their order. Dropping it ends the threads that make them.
#[derive(Debug)]
pub struct Batches {
    /// One of each thread; they take turns.
    channels: Vec<Receiver<Made>>,
    threads: Vec<JoinHandle<()>>,
    first: usize,
    next: usize,
    end: usize,
    shape: [usize; 3],
    classes: usize,
    device: Device,
}

/// A batch, not yet on its device.
struct Made {
    images: Vec<f32>,
    labels: Vec<u32>,
    targets: Vec<f32>,
}

/// Batches that a thread is ahead of their use, at most.
const AHEAD: usize = 2;
/// The place of an epoch's order among its streams of random numbers; samples have the places below.
const ORDER: u32 = u32::MAX;

impl Default for LoaderOptions {
    fn default() -> Self {
        let (batch, augmentation, seed, workers) = (128, Augmentation::default(), 0, 0);
        Self { batch, augmentation, seed, workers, device: Device::Cpu }
    }
}

impl Loader {
    /// Batches of `part`.
    ///
    /// # Errors
    /// If the part is empty, the batch is, an option does not fit the samples, or the normalisation is of other channels.
    pub fn new(part: Part, normalisation: Normalisation, options: LoaderOptions) -> Result<Self, DataError> {
        let wrong = |field, reason: String| Err(DataError::Option { field, reason });
        if part.is_empty() {
            return wrong("data", "found no sample, expected one or more".into());
        }
        if options.batch == 0 {
            return wrong("batch", "found 0, expected one sample or more".into());
        }
        let [channels, ..] = part.shape();
        if normalisation.channels() != channels || normalisation.deviation.len() != channels {
            let found = normalisation.channels();
            return wrong("normalisation", format!("found {found} channels, expected the samples' {channels}"));
        }
        options.augmentation.check(part.shape())?;
        Ok(Self { part, normalisation: Arc::new(normalisation), options })
    }

    /// The samples that batches are made of.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// How samples are normalised.
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// Batches of an epoch of training: full ones alone, so that steps weigh the same; one of all samples where there
    /// are fewer than a batch.
    pub fn batches_per_epoch(&self) -> usize {
        (self.part.len() / self.options.batch).max(1)
    }

    /// The batches of an epoch of training, shuffled and augmented, from batch `first` on.
    pub fn epoch(&self, epoch: u32, first: usize) -> Batches {
        let mut order: Vec<u32> = (0..self.part.len() as u32).collect();
        shuffle(&mut order, &mut self.rng(epoch, ORDER));
        self.start(order, Some(epoch), first, self.batches_per_epoch())
    }

    /// All samples in their order, as they are; the last batch may be smaller.
    pub fn in_order(&self) -> Batches {
        let order = (0..self.part.len() as u32).collect();
        self.start(order, None, 0, self.part.len().div_ceil(self.options.batch))
    }

    fn start(&self, order: Vec<u32>, epoch: Option<u32>, first: usize, end: usize) -> Batches {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let workers = if self.options.workers == 0 { cores } else { self.options.workers };
        let workers = workers.min(end.saturating_sub(first)).max(1);
        let order: Arc<[u32]> = order.into();
        let (mut channels, mut threads) = (vec![], vec![]);
        for worker in 0..workers {
            let (sender, receiver) = sync_channel(AHEAD);
            let (loader, order) = (self.clone(), Arc::clone(&order));
            threads.push(std::thread::spawn(move || {
                for batch in (first + worker..end).step_by(workers) {
                    // Nobody receives any more once the batches are dropped.
                    if sender.send(loader.make(&order, epoch, batch)).is_err() {
                        break;
                    }
                }
            }));
            channels.push(receiver);
        }
        let (shape, classes, device) = (self.part.shape(), self.part.classes(), self.options.device.clone());
        Batches { channels, threads, first, next: first, end: end.max(first), shape, classes, device }
    }

    fn make(&self, order: &[u32], epoch: Option<u32>, batch: usize) -> Made {
        let size = self.options.batch;
        let positions = &order[batch * size..order.len().min((batch + 1) * size)];
        let elements = self.part.samples().elements();
        let mut images = vec![0.0; positions.len() * elements];
        let mut shares = vec![1.0; positions.len()];
        for ((image, share), &position) in images.chunks_exact_mut(elements).zip(&mut shares).zip(positions) {
            *share = self.sample(position, epoch, image);
        }
        let labels: Vec<u32> = positions.iter().map(|&position| self.part.label(position as usize)).collect();
        let targets = mix(&mut images, &labels, &shares, self.part.classes());
        Made { images, labels, targets }
    }

    /// Writes one sample and gives the share of it that stays when samples are mixed.
    fn sample(&self, position: u32, epoch: Option<u32>, image: &mut [f32]) -> f32 {
        let (shape, augmentation) = (self.part.shape(), &self.options.augmentation);
        let index = self.part.indices()[position as usize];
        self.part.samples().write(index as usize, image);
        let Some(epoch) = epoch.filter(|_| !augmentation.is_none()) else {
            self.normalisation.apply(image);
            return 1.0;
        };
        let mut rng = self.rng(epoch, index);
        augmentation.move_pixels(image, shape, &mut rng);
        self.normalisation.apply(image);
        augmentation.cover(image, shape, &mut rng);
        augmentation.share(&mut rng)
    }

    /// Random numbers of one sample in one epoch.
    fn rng(&self, epoch: u32, place: u32) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.options.seed);
        rng.set_stream(u64::from(epoch) << 32 | u64::from(place));
        rng
    }
}

/// Mixes each sample with the one at the mirrored place of the batch, which the shuffled order has drawn, and gives the
/// targets `[batch, classes]`.
fn mix(images: &mut [f32], labels: &[u32], shares: &[f32], classes: usize) -> Vec<f32> {
    let count = labels.len();
    let elements = images.len() / count.max(1);
    let mut targets = vec![0.0; count * classes];
    for (at, target) in targets.chunks_exact_mut(classes).enumerate() {
        target[labels[at] as usize] += shares[at];
        target[labels[count - 1 - at] as usize] += 1.0 - shares[at];
    }
    for at in 0..count / 2 {
        let (share, other_share) = (shares[at], shares[count - 1 - at]);
        if share == 1.0 && other_share == 1.0 {
            continue;
        }
        let (front, back) = images.split_at_mut((count - 1 - at) * elements);
        for (pixel, other) in front[at * elements..(at + 1) * elements].iter_mut().zip(back) {
            let (mine, theirs) = (*pixel, *other);
            *pixel = share * mine + (1.0 - share) * theirs;
            *other = other_share * theirs + (1.0 - other_share) * mine;
        }
    }
    targets
}

impl Batches {
    fn receive(&mut self) -> Result<Batch, DataError> {
        let channel = &self.channels[(self.next - self.first) % self.channels.len()];
        let made = channel.recv().map_err(|_| DataError::Worker)?;
        let (count, [channels, height, width]) = (made.labels.len(), self.shape);
        Ok(Batch {
            images: Tensor::from_vec(made.images, (count, channels, height, width), &self.device)?,
            labels: Tensor::from_vec(made.labels, count, &self.device)?,
            targets: Tensor::from_vec(made.targets, (count, self.classes), &self.device)?,
        })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        let batch = self.receive();
        self.next = if batch.is_ok() { self.next + 1 } else { self.end };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl ExactSizeIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        // Senders fail without receivers, so that all threads end.
        self.channels.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
