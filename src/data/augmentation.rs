//! Random changes of training samples.

use super::DataError;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// What is changed, in this order: crop, flip, normalisation, cutout, erasing, mixup. All off where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// Pixels of zeros on every side that an image of the old size is cut out of at random.
    pub crop: usize,
    /// Side of a square of means, in pixels, around a random one (DeVries & Taylor 2017).
    pub cutout: usize,
    /// Probability of a rectangle of noise, of 2 to 33 % of the area and an aspect of 0.3 to 3.3 (Zhong et al. 2017).
    pub erasing: f64,
    /// α of mixup: λ ~ Beta(α, α) (Zhang et al. 2018); 0 mixes nothing.
    pub mixup: f64,
}

impl Augmentation {
    /// Whether nothing is changed.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the options for images of `shape` `[channels, height, width]`.
    ///
    /// # Errors
    /// If a probability is none, or an image is too small for what is cut out of it.
    pub fn check(&self, [_, height, width]: [usize; 3]) -> Result<(), DataError> {
        let wrong = |field, reason| Err(DataError::Option { field, reason });
        for (field, probability) in [("flip", self.flip), ("erasing", self.erasing)] {
            if !(0.0..=1.0).contains(&probability) {
                return wrong(field, format!("found {probability}, expected a probability from 0 to 1"));
            }
        }
        if !(0.0..=MOST_ALPHA).contains(&self.mixup) {
            return wrong("mixup", format!("found {}, expected α from 0 to {MOST_ALPHA}", self.mixup));
        }
        let side = height.min(width);
        for (field, pixels) in [("crop", self.crop), ("cutout", self.cutout)] {
            if pixels > side {
                return wrong(field, format!("found {pixels}, expected at most the image's side of {side} pixels"));
            }
        }
        if side == 1 && (self.flip > 0.0 || self.crop > 0 || self.cutout > 0 || self.erasing > 0.0) {
            return wrong("augmentation", "rows of features have only `mixup`".into());
        }
        Ok(())
    }

    /// Cuts out and flips one image, before it is normalised.
    pub(super) fn move_pixels(&self, image: &mut [f32], [_, height, width]: [usize; 3], rng: &mut ChaCha8Rng) {
        // Drawn whether used or not, so that one option does not change what another one draws.
        let (down, right): (u32, u32) = (rng.random(), rng.random());
        let flip = rng.random::<f64>() < self.flip;
        if self.crop > 0 {
            let span = 2 * self.crop + 1;
            let offset = |drawn: u32| (drawn as usize % span) as isize - self.crop as isize;
            shift(image, height, width, offset(down), offset(right));
        }
        if flip {
            image.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
    }

    /// Blanks out parts of one normalised image.
    pub(super) fn cover(&self, image: &mut [f32], [channels, height, width]: [usize; 3], rng: &mut ChaCha8Rng) {
        if self.cutout > 0 {
            let (y, x) = (rng.random_range(0..height), rng.random_range(0..width));
            let (above, below) = (self.cutout / 2, self.cutout.div_ceil(2));
            let rows = y.saturating_sub(above)..(y + below).min(height);
            let columns = x.saturating_sub(above)..(x + below).min(width);
            for plane in image.chunks_exact_mut(height * width) {
                rows.clone().for_each(|row| plane[row * width..][columns.clone()].fill(0.0));
            }
        }
        if self.erasing > 0.0 && rng.random::<f64>() < self.erasing {
            let Some([top, left, rows, columns]) = rectangle(height, width, rng) else { return };
            for channel in 0..channels {
                for row in top..top + rows {
                    let begin = (channel * height + row) * width + left;
                    image[begin..begin + columns].iter_mut().for_each(|pixel| *pixel = normal(rng));
                }
            }
        }
    }

    /// How much of a sample stays when it is mixed with its partner: 0.5 to 1. Both partners of a pair draw for
    /// themselves, so that the larger share may be called a sample's own.
    pub(super) fn share(&self, rng: &mut ChaCha8Rng) -> f32 {
        if self.mixup == 0.0 {
            return 1.0;
        }
        let share = beta(self.mixup, rng);
        share.max(1.0 - share) as f32
    }
}

/// The largest α of mixup: the sampler of Beta(α, α) rejects nearly all beyond.
const MOST_ALPHA: f64 = 4.0;

/// Moves all planes of an image; zeros come in.
fn shift(image: &mut [f32], height: usize, width: usize, down: isize, right: isize) {
    if (down, right) == (0, 0) {
        return;
    }
    let mut moved = vec![0.0; height * width];
    for plane in image.chunks_exact_mut(height * width) {
        moved.fill(0.0);
        for row in 0..height {
            let from = row as isize + down;
            if !(0..height as isize).contains(&from) {
                continue;
            }
            let source = &plane[from as usize * width..][..width];
            let target = &mut moved[row * width..][..width];
            let count = width - right.unsigned_abs();
            let (to, from) = ((-right).max(0) as usize, right.max(0) as usize);
            target[to..to + count].copy_from_slice(&source[from..from + count]);
        }
        plane.copy_from_slice(&moved);
    }
}

/// Top, left, rows and columns of what is erased; none where ten draws have not fitted into the image.
fn rectangle(height: usize, width: usize, rng: &mut ChaCha8Rng) -> Option<[usize; 4]> {
    const AREA: (f64, f64) = (0.02, 0.33);
    const ASPECT: (f64, f64) = (0.3, 3.3);
    for _ in 0..10 {
        let area = (height * width) as f64 * rng.random_range(AREA.0..AREA.1);
        let aspect = rng.random_range(ASPECT.0.ln()..ASPECT.1.ln()).exp();
        let rows = (area * aspect).sqrt().round() as usize;
        let columns = (area / aspect).sqrt().round() as usize;
        if (1..height).contains(&rows) && (1..width).contains(&columns) {
            let (top, left) = (rng.random_range(0..=height - rows), rng.random_range(0..=width - columns));
            return Some([top, left, rows, columns]);
        }
    }
    None
}

/// A number of Beta(α, α) (Jöhnk 1964).
fn beta(alpha: f64, rng: &mut ChaCha8Rng) -> f64 {
    loop {
        let (x, y) = (rng.random::<f64>().powf(alpha.recip()), rng.random::<f64>().powf(alpha.recip()));
        if x + y > 0.0 && x + y <= 1.0 {
            return x / (x + y);
        }
        // Both were so small that they became zero: then λ is one of the ends.
        if x + y == 0.0 {
            return f64::from(u8::from(rng.random::<bool>()));
        }
    }
}

/// One normally distributed number (Box and Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}
