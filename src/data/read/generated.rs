//! Images that are drawn: five shapes and five textures of 16×16 pixels, for measures and tests that need nothing but Tegu.
//!
//! A class is a set of points of the plane, a shape around the origin or a texture all over. An image turns, scales and moves
//! the plane at random, paints the points in one colour and the others in a second, lights one side of a random line, and
//! adds noise. So colours say nothing, nor do single pixels. Each number is made by additions, products, quotients and
//! roots, which IEEE 754 rounds the same everywhere: the bytes are the same on every platform.

use super::super::{DataError, Samples, Values};
use super::{Found, malformed};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// Height and width.
const SIDE: usize = 16;
/// Points along a pixel's side at which the plane is looked at.
const POINTS: usize = 3;
/// What the names of generated data begin with.
const PREFIX: &str = "generated:";
/// What there is.
const TINY: &str = "generated:tiny";
/// Samples of the parts, as many of each class.
const TRAIN: usize = 2000;
const VALIDATION: usize = 500;
const TEST: usize = 2000;

/// A class of images.
struct Class {
    name: &'static str,
    /// Half a shape's extent, or a texture's period, in pixels: the least and the most.
    size: [f32; 2],
    /// How far a shape's centre may be from the image's, in pixels.
    off_centre: f32,
    /// Whether a point belongs to it, in units of its size.
    holds: fn(f32, f32) -> bool,
}

const SHAPE: Class = Class { name: "", size: [3.5, 6.5], off_centre: 3.0, holds: |_, _| false };
const TEXTURE: Class = Class { name: "", size: [3.5, 6.0], off_centre: 8.0, holds: |_, _| false };

const CLASSES: [Class; 10] = [
    Class { name: "disc", holds: |x, y| x * x + y * y < 0.8, ..SHAPE },
    Class { name: "ring", holds: |x, y| (0.3..1.0).contains(&(x * x + y * y)), ..SHAPE },
    Class { name: "square", holds: |x, y| x.abs().max(y.abs()) < 0.75, ..SHAPE },
    Class { name: "triangle", holds: |x, y| y > -0.6 && y + 1.8 * x.abs() < 1.0, ..SHAPE },
    Class { name: "cross", holds: |x, y| x.abs().min(y.abs()) < 0.28 && x.abs().max(y.abs()) < 1.0, ..SHAPE },
    Class { name: "stripes", holds: |x, _| saw(x) < 0.5, ..TEXTURE },
    Class { name: "zigzag", holds: |x, y| saw(x + 2.0 * (saw(0.5 * y) - 0.5).abs()) < 0.5, ..TEXTURE },
    Class { name: "checks", holds: |x, y| (saw(x) < 0.5) != (saw(y) < 0.5), ..TEXTURE },
    Class { name: "dots", holds: |x, y| (saw(x) - 0.5).powi(2) + (saw(y) - 0.5).powi(2) < 0.13, ..TEXTURE },
    Class { name: "waves", holds: |x, y| saw((x * x + y * y).sqrt()) < 0.5, ..TEXTURE },
];

/// From 0 to below 1, again and again.
fn saw(x: f32) -> f32 {
    x - x.floor()
}

/// Whether `path` is the name of generated data, of whatever kind.
pub fn is_generated(path: &Path) -> bool {
    path.to_str().is_some_and(|name| name.starts_with(PREFIX))
}

pub(super) fn read(path: &Path) -> Result<Found, DataError> {
    if path.to_str() != Some(TINY) {
        return Err(malformed(path, format!("there are no generated data of this name, expected `{TINY}`")));
    }
    let part = |count, seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let labels = (0..count).map(|sample| (sample % CLASSES.len()) as u32).collect::<Vec<_>>();
        let pixels = labels.iter().flat_map(|&label| image(&CLASSES[label as usize], &mut rng)).collect();
        Samples::new([3, SIDE, SIDE], Values::U8(pixels), labels)
    };
    Ok(Found {
        classes: CLASSES.iter().map(|class| class.name.to_owned()).collect(),
        train: part(TRAIN, 0),
        validation: Some(part(VALIDATION, 1)),
        test: Some(part(TEST, 2)),
    })
}

/// A straight line: the points whose product with a unit vector is `at`.
struct Line {
    direction: [f32; 2],
    at: f32,
}

/// One image, `[channels, height, width]`.
fn image(class: &Class, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let [cos, sin] = unit(rng);
    let size = rng.random_range(class.size[0]..class.size[1]);
    let centre = [(); 2].map(|()| SIDE as f32 / 2.0 + rng.random_range(-class.off_centre..class.off_centre));
    let light = Line { direction: unit(rng), at: rng.random_range(-6.0..6.0) };
    let lit = rng.random_range(-30.0..30.0f32);
    let ground = [(); 3].map(|()| rng.random_range(80.0..176.0f32));
    let paint = {
        let colour: [f32; 3] = unit(rng);
        let contrast = rng.random_range(90.0..140.0f32);
        colour.map(|channel| contrast * channel)
    };
    let mut shares = [[0.0; 2]; SIDE * SIDE];
    for (pixel, [painted, bright]) in shares.iter_mut().enumerate() {
        for point in 0..POINTS * POINTS {
            let along = |pixel: usize, point: usize| pixel as f32 + (point as f32 + 0.5) / POINTS as f32;
            let (x, y) = (along(pixel % SIDE, point % POINTS), along(pixel / SIDE, point / POINTS));
            let (right, down) = (x - centre[0], y - centre[1]);
            let inside = (class.holds)((right * cos + down * sin) / size, (down * cos - right * sin) / size);
            let [nx, ny] = light.direction;
            let beyond = (x - SIDE as f32 / 2.0) * nx + (y - SIDE as f32 / 2.0) * ny > light.at;
            *painted += f32::from(u8::from(inside)) / (POINTS * POINTS) as f32;
            *bright += f32::from(u8::from(beyond)) / (POINTS * POINTS) as f32;
        }
    }
    let mut pixels = Vec::with_capacity(3 * shares.len());
    for channel in 0..3 {
        for [painted, bright] in shares {
            let noise = NOISE * (rng.random::<f32>() + rng.random::<f32>() - 1.0);
            let value = ground[channel] + painted * paint[channel] + bright * lit + noise;
            pixels.push(value.round().clamp(0.0, 255.0) as u8);
        }
    }
    pixels
}

/// The largest noise of a pixel.
const NOISE: f32 = 30.0;

/// A random direction.
fn unit<const N: usize>(rng: &mut ChaCha8Rng) -> [f32; N] {
    loop {
        let vector = [(); N].map(|()| rng.random_range(-1.0..1.0f32));
        let square: f32 = vector.iter().map(|x| x * x).sum();
        // Those in the corners would make diagonals more frequent; very short ones would round.
        if (0.01..1.0).contains(&square) {
            return vector.map(|x| x / square.sqrt());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{DataSet, Part, ReadOptions};
    use super::*;

    fn open(name: &str) -> Result<DataSet, DataError> {
        DataSet::open(Path::new(name), &ReadOptions::default())
    }

    /// Tables that were trained on them name this digest: other images need another name.
    #[test]
    fn they_are_always_the_same() {
        let set = open("generated:tiny").unwrap();
        assert_eq!(set.sha256(), "1d90ee3da852d8dfff4f4a473efd4e66aa9abd7ba7ae3b20b36a4b0ca4cad91f");
        assert_eq!((set.shape(), set.classes().len()), ([3, 16, 16], 10));
    }

    #[test]
    fn classes_are_balanced_and_parts_share_nothing() {
        let set = open("generated:tiny").unwrap();
        let split = set.split(&Default::default()).unwrap();
        assert_eq!(split.left_out, 0);
        let parts: [Part; 3] = [split.train, split.validation.unwrap(), split.test.unwrap()];
        assert_eq!(parts.each_ref().map(Part::len), [TRAIN, VALIDATION, TEST]);
        for part in parts {
            let mut counts = [0; CLASSES.len()];
            part.labels().into_iter().for_each(|label| counts[label as usize] += 1);
            assert_eq!(counts, [part.len() / CLASSES.len(); CLASSES.len()]);
        }
    }

    /// Shapes cover some of their surroundings, textures about as much as they leave, and no two are nearly the same.
    #[test]
    fn classes_are_different_sets_of_points() {
        let grid = || (0..1600).map(|at| [(at % 40) as f32 / 10.0 - 1.95, (at / 40) as f32 / 10.0 - 1.95]);
        let held: Vec<Vec<bool>> =
            CLASSES.iter().map(|class| grid().map(|[x, y]| (class.holds)(x, y)).collect()).collect();
        for (at, class) in held.iter().enumerate() {
            let share = class.iter().filter(|held| **held).count() as f32 / 1600.0;
            let expected = if at < 5 { 0.05..0.25 } else { 0.35..0.65 };
            assert!(expected.contains(&share), "{}: {share}", CLASSES[at].name);
            for (other, points) in held.iter().enumerate().take(at) {
                let apart = class.iter().zip(points).filter(|(a, b)| a != b).count();
                assert!(apart > 60, "{} and {}: {apart}", CLASSES[at].name, CLASSES[other].name);
            }
        }
    }

    #[test]
    fn another_name_is_refused() {
        let error = open("generated:large").unwrap_err().to_string();
        let expected = "generated:large: there are no generated data of this name, expected `generated:tiny`";
        assert_eq!(error, expected);
    }
}
