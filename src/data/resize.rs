//! Images brought to one size: resized so that they just cover it, then cut to their centre.

use super::{Samples, Values};
use image::imageops::{FilterType, crop_imm, resize};
use image::{ImageBuffer, Luma, Primitive};
use rayon::prelude::*;

/// Height and width that an image of `from` is resized to so that it covers `to`, and the top and left of the centre.
pub(super) fn cover(from: [usize; 2], to: [usize; 2]) -> ([usize; 2], [usize; 2]) {
    let factor = (to[0] as f64 / from[0] as f64).max(to[1] as f64 / from[1] as f64);
    let scaled = [0, 1].map(|axis| ((from[axis] as f64 * factor).round() as usize).max(to[axis]));
    (scaled, [0, 1].map(|axis| (scaled[axis] - to[axis]) / 2))
}

/// The samples at `size`, height and width.
pub(super) fn resized(samples: &Samples, size: [usize; 2]) -> Samples {
    let [channels, rows, columns] = samples.shape();
    if [rows, columns] == size {
        return samples.clone();
    }
    let from = [rows, columns];
    let values = match samples.values() {
        Values::U8(values) => Values::U8(planes(values, from, size)),
        Values::F32(values) => Values::F32(planes(values, from, size)),
    };
    Samples::new([channels, size[0], size[1]], values, samples.labels().to_vec())
}

/// All planes, each at the new size.
fn planes<T>(values: &[T], from: [usize; 2], to: [usize; 2]) -> Vec<T>
where
    T: Primitive + Send + Sync + 'static,
    Luma<T>: image::Pixel<Subpixel = T>,
{
    let (scaled, [top, left]) = cover(from, to);
    let plane = |pixels: &[T]| -> Vec<T> {
        let plane: ImageBuffer<Luma<T>, Vec<T>> =
            ImageBuffer::from_raw(from[1] as u32, from[0] as u32, pixels.to_vec()).expect("a plane has its size");
        let plane = resize(&plane, scaled[1] as u32, scaled[0] as u32, FilterType::Triangle);
        crop_imm(&plane, left as u32, top as u32, to[1] as u32, to[0] as u32).to_image().into_raw()
    };
    values.par_chunks_exact(from[0] * from[1]).flat_map_iter(plane).collect()
}
