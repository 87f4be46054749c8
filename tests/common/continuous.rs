//! Real numbers as what evolves, for the problems on which searches are compared: ZDT (Zitzler, Deb, Thiele 2000) and DTLZ2
//! (Deb, Thiele, Laumanns, Zitzler 2002).
#![allow(dead_code)]

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::f64::consts::PI;
use std::hash::{DefaultHasher, Hash, Hasher};
use tegu::sampler::Variation;

/// Simulated binary crossover and polynomial mutation (Deb and Agrawal 1995, Deb and Goyal 1996) with the probabilities that
/// pymoo has by default: a variable is crossed with 0.5, a child mutates with 0.9, in each variable with 1 / variables.
pub struct Reals {
    bounds: Vec<[f64; 2]>,
    /// Probability and eta.
    crossover: (f64, f64),
    taken: HashSet<u64>,
}

/// Eta of the mutation.
const MUTATION: f64 = 20.0;

impl Reals {
    pub fn new(bounds: Vec<[f64; 2]>, crossover: (f64, f64)) -> Self {
        Self { bounds, crossover, taken: HashSet::new() }
    }
}

impl Variation for Reals {
    type Individual = Vec<f64>;

    fn draw(&mut self, rng: &mut ChaCha8Rng) -> Option<Vec<f64>> {
        let drawn = self.bounds.iter().map(|[low, high]| low + (high - low) * rng.random::<f64>()).collect();
        self.take(&drawn).then_some(drawn)
    }

    fn breed(&mut self, [a, b]: [&Vec<f64>; 2], rng: &mut ChaCha8Rng) -> Vec<f64> {
        let mut child = a.clone();
        let (probability, eta) = self.crossover;
        if rng.random::<f64>() < probability {
            for ((own, other), bounds) in child.iter_mut().zip(b).zip(&self.bounds) {
                if rng.random::<bool>() && (*own - other).abs() > 1e-14 {
                    *own = cross(own.min(*other), own.max(*other), *bounds, eta, rng);
                }
            }
        }
        if rng.random::<f64>() < 0.9 {
            let probability = (1.0 / child.len() as f64).min(0.5);
            for (x, bounds) in child.iter_mut().zip(&self.bounds) {
                if rng.random::<f64>() < probability {
                    *x = mutate(*x, *bounds, rng);
                }
            }
        }
        child
    }

    fn take(&mut self, x: &Vec<f64>) -> bool {
        let mut hasher = DefaultHasher::new();
        x.iter().for_each(|x| x.to_bits().hash(&mut hasher));
        self.taken.insert(hasher.finish())
    }
}

/// One of the two children of `low` < `high`, each as likely.
fn cross(low: f64, high: f64, [least, most]: [f64; 2], eta: f64, rng: &mut ChaCha8Rng) -> f64 {
    let (random, lower) = (rng.random::<f64>(), rng.random::<bool>());
    let distance = high - low;
    let room = if lower { low - least } else { most - high };
    let alpha = 2.0 - (1.0 + 2.0 * room / distance).powf(-(eta + 1.0));
    let spread = if random <= 1.0 / alpha { random * alpha } else { 1.0 / (2.0 - random * alpha) };
    let spread = spread.powf(1.0 / (eta + 1.0)) * distance;
    (0.5 * if lower { low + high - spread } else { low + high + spread }).clamp(least, most)
}

fn mutate(x: f64, [least, most]: [f64; 2], rng: &mut ChaCha8Rng) -> f64 {
    let random: f64 = rng.random();
    let range = most - least;
    let power = |base: f64| base.powf(MUTATION + 1.0);
    let change = if random <= 0.5 {
        (2.0 * random + (1.0 - 2.0 * random) * power(1.0 - (x - least) / range)).powf(1.0 / (MUTATION + 1.0)) - 1.0
    } else {
        let value = 2.0 * (1.0 - random) + (2.0 * random - 1.0) * power(1.0 - (most - x) / range);
        1.0 - value.powf(1.0 / (MUTATION + 1.0))
    };
    (x + change * range).clamp(least, most)
}

/// The bounds of a problem's variables.
pub fn bounds(problem: &str) -> Vec<[f64; 2]> {
    match problem {
        "zdt1" | "zdt2" | "zdt3" => vec![[0.0, 1.0]; 30],
        "zdt4" => [&[[0.0, 1.0]][..], &[[-5.0, 5.0]; 9]].concat(),
        "zdt6" | "dtlz2" => vec![[0.0, 1.0]; if problem == "zdt6" { 10 } else { 12 }],
        _ => panic!("no problem {problem}"),
    }
}

/// What `x` costs.
pub fn costs(problem: &str, x: &[f64]) -> Vec<f64> {
    let rest = &x[1..];
    let mean = rest.iter().sum::<f64>() / rest.len() as f64;
    match problem {
        "zdt1" => zdt(x[0], 1.0 + 9.0 * mean, |ratio| 1.0 - ratio.sqrt()),
        "zdt2" => zdt(x[0], 1.0 + 9.0 * mean, |ratio| 1.0 - ratio * ratio),
        "zdt3" => zdt(x[0], 1.0 + 9.0 * mean, |ratio| 1.0 - ratio.sqrt() - ratio * (10.0 * PI * x[0]).sin()),
        "zdt4" => {
            let waves = rest.iter().map(|x| x * x - 10.0 * (4.0 * PI * x).cos() + 10.0);
            zdt(x[0], 1.0 + waves.sum::<f64>(), |ratio| 1.0 - ratio.sqrt())
        }
        "zdt6" => {
            let first = 1.0 - (-4.0 * x[0]).exp() * (6.0 * PI * x[0]).sin().powi(6);
            zdt(first, 1.0 + 9.0 * mean.powf(0.25), |ratio| 1.0 - ratio * ratio)
        }
        "dtlz2" => {
            let radius = 1.0 + x[2..].iter().map(|x| (x - 0.5).powi(2)).sum::<f64>();
            let ((sin_a, cos_a), (sin_b, cos_b)) = ((x[0] * PI / 2.0).sin_cos(), (x[1] * PI / 2.0).sin_cos());
            vec![radius * cos_a * cos_b, radius * cos_a * sin_b, radius * sin_a]
        }
        _ => panic!("no problem {problem}"),
    }
}

fn zdt(first: f64, g: f64, shape: impl Fn(f64) -> f64) -> Vec<f64> {
    vec![first, g * shape(first / g)]
}
