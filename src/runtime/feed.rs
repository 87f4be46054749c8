//! Inputs for measuring any model: seeded, so that every run and every runtime gets the same.

use super::{NamedTensor, Values};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws a value for each input of `specs`: floats uniform with mean 0 and deviation 1, integers 0 or 1
/// (valid as indices, masks and bytes alike), truth values all false.
pub fn random_inputs(specs: &[NamedTensor], seed: u64) -> Vec<NamedTensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |spec: &NamedTensor| {
        let count = spec.values.len();
        let values = match spec.values {
            Values::F32(_) => Values::F32((0..count).map(|_| float(&mut rng)).collect()),
            Values::F16(_) => Values::F16((0..count).map(|_| half::f16::from_f32(float(&mut rng))).collect()),
            Values::F64(_) => Values::F64((0..count).map(|_| f64::from(float(&mut rng))).collect()),
            Values::I64(_) => Values::I64((0..count).map(|_| i64::from(rng.random::<bool>())).collect()),
            Values::I32(_) => Values::I32((0..count).map(|_| i32::from(rng.random::<bool>())).collect()),
            Values::U8(_) => Values::U8((0..count).map(|_| u8::from(rng.random::<bool>())).collect()),
            Values::I8(_) => Values::I8((0..count).map(|_| i8::from(rng.random::<bool>())).collect()),
            Values::Bool(_) => Values::Bool(vec![false; count]),
        };
        NamedTensor { values, ..spec.clone() }
    };
    specs.iter().map(&mut draw).collect()
}

/// Uniform in ±√3: mean 0, deviation 1.
fn float(rng: &mut impl Rng) -> f32 {
    let bound = 3f32.sqrt();
    rng.random_range(-bound..bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let specs = [
            NamedTensor { name: "x".into(), dims: vec![64, 64], values: Values::F32(vec![0.0; 4096]) },
            NamedTensor { name: "ids".into(), dims: vec![8], values: Values::I64(vec![0; 8]) },
        ];
        let inputs = random_inputs(&specs, 1);
        assert_eq!(inputs, random_inputs(&specs, 1));
        assert_ne!(inputs, random_inputs(&specs, 2));
        let Values::F32(values) = &inputs[0].values else { panic!("expected floats") };
        let deviation = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
        assert!((deviation - 1.0).abs() < 0.05, "deviation {deviation}");
    }
}
