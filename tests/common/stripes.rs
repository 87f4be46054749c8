//! Generated images that a tiny network learns in seconds: stripes of four directions, in noise.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

pub const CLASSES: usize = 4;
/// Height and width.
pub const SIDE: usize = 8;

/// Writes grey images into `folder`, as MNIST's files.
pub fn write_stripes(folder: &Path, train: usize, test: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for (name, count) in [("train", train), ("t10k", test)] {
        let header = |magic: u32, dims: &[usize]| -> Vec<u8> {
            std::iter::once(magic).chain(dims.iter().map(|&dim| dim as u32)).flat_map(u32::to_be_bytes).collect()
        };
        let mut images = header(0x803, &[count, SIDE, SIDE]);
        let mut labels = header(0x801, &[count]);
        for sample in 0..count {
            let class = sample % CLASSES;
            let phase: usize = rng.random_range(0..4);
            for row in 0..SIDE {
                for column in 0..SIDE {
                    let along = [row, column, row + column, row + SIDE - column][class] + phase;
                    let noise: i32 = rng.random_range(-60..=60);
                    images.push((if along % 4 < 2 { 180 } else { 70 } + noise) as u8);
                }
            }
            labels.push(class as u8);
        }
        std::fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}
