//! MEAL V2's discriminator: tells the student's logits from its teachers' (Shen and Savvides 2020).
//!
//! Three fully connected layers, classes → classes / 2 → classes / 4 → 2, ReLU between them; binary cross entropy of both
//! outputs with [1, 0] for the student and [0, 1] for teachers. The published code adds this loss to the student's, which
//! so learns to be told apart; here the student is to be taken for a teacher, as an adversary is.

use super::seeds::rng;
use candle_core::{Device, Error, Tensor, Var};
use rand::RngExt;
use std::collections::BTreeMap;

/// The discriminator's weights.
#[derive(Clone, Debug)]
pub struct Discriminator {
    /// `[outputs, inputs]` and `[outputs]` of each layer.
    layers: Vec<[Tensor; 2]>,
}

impl Discriminator {
    /// A discriminator of logits of so many classes, drawn from `seed`: uniform in ±1/√inputs.
    ///
    /// # Errors
    /// If the device can't hold it.
    pub fn new(classes: usize, seed: u64, device: &Device) -> Result<Self, Error> {
        let mut rng = rng(seed, "discriminator", 0);
        let sizes = [classes, (classes / 2).max(2), (classes / 4).max(2), 2];
        let mut layers = vec![];
        for pair in sizes.windows(2) {
            let (inputs, outputs) = (pair[0], pair[1]);
            let bound = (inputs as f32).sqrt().recip();
            let mut draw = |dims: &[usize]| {
                let count: usize = dims.iter().product();
                let values: Vec<f32> = (0..count).map(|_| rng.random_range(-bound..bound)).collect();
                Tensor::from_vec(values, dims, device)
            };
            layers.push([draw(&[outputs, inputs])?, draw(&[outputs])?]);
        }
        Ok(Self { layers })
    }

    /// How far the student's `logits` are from being taken for a teacher's; its gradient is the student's.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn deceived(&self, logits: &Tensor) -> Result<Tensor, Error> {
        binary_cross_entropy(&forward(&self.layers, logits)?, TEACHER)
    }

    /// Learns a step of `lr` to tell both apart; gives the loss before it.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn learn(&mut self, student: &Tensor, teachers: &Tensor, lr: f64) -> Result<f32, Error> {
        let mut variables = vec![];
        for [weight, bias] in &self.layers {
            variables.push([Var::from_tensor(weight)?, Var::from_tensor(bias)?]);
        }
        let layers: Vec<[Tensor; 2]> =
            variables.iter().map(|[weight, bias]| [weight.as_tensor().clone(), bias.as_tensor().clone()]).collect();
        let of_student = binary_cross_entropy(&forward(&layers, &student.detach())?, STUDENT)?;
        let of_teachers = binary_cross_entropy(&forward(&layers, &teachers.detach())?, TEACHER)?;
        let loss = ((of_student + of_teachers)? / 2.0)?;
        let gradients = loss.backward()?;
        for (layer, variables) in self.layers.iter_mut().zip(&variables) {
            for (old, variable) in layer.iter_mut().zip(variables) {
                if let Some(gradient) = gradients.get(variable) {
                    *old = (&*old - (gradient * lr)?)?;
                }
            }
        }
        loss.to_scalar()
    }

    /// The weights by name.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let layers = self.layers.iter().enumerate();
        layers
            .flat_map(|(at, [w, b])| [(format!("{at}.weight"), w.clone()), (format!("{at}.bias"), b.clone())])
            .collect()
    }

    /// Takes these weights; false, and nothing taken, if they are not those of [`Discriminator::tensors`].
    pub fn restore(&mut self, mut tensors: BTreeMap<String, Tensor>) -> bool {
        let mut layers = vec![];
        for (at, [weight, bias]) in self.layers.iter().enumerate() {
            let found = (tensors.remove(&format!("{at}.weight")), tensors.remove(&format!("{at}.bias")));
            let (Some(w), Some(b)) = found else { return false };
            if w.dims() != weight.dims() || b.dims() != bias.dims() {
                return false;
            }
            layers.push([w, b]);
        }
        self.layers = layers;
        true
    }
}

/// What the discriminator is to say.
const STUDENT: [f32; 2] = [1.0, 0.0];
const TEACHER: [f32; 2] = [0.0, 1.0];

fn forward(layers: &[[Tensor; 2]], logits: &Tensor) -> Result<Tensor, Error> {
    let mut at = logits.clone();
    for (index, [weight, bias]) in layers.iter().enumerate() {
        at = at.matmul(&weight.t()?)?.broadcast_add(bias)?;
        if index + 1 < layers.len() {
            at = at.relu()?;
        }
    }
    Ok(at)
}

/// Mean of max(x, 0) - x · t + ln(1 + e^-|x|).
fn binary_cross_entropy(outputs: &Tensor, target: [f32; 2]) -> Result<Tensor, Error> {
    let target = Tensor::new(&target, outputs.device())?;
    let soft = (outputs.abs()?.neg()?.exp()? + 1.0)?.log()?;
    (outputs.relu()? - outputs.broadcast_mul(&target)? + soft)?.mean_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(seed: u64, shift: f32) -> Tensor {
        let mut rng = rng(seed, "logits", 0);
        let values: Vec<f32> = (0..64 * 8).map(|at| rng.random_range(-1.0..1.0) + shift * (at % 3) as f32).collect();
        Tensor::from_vec(values, (64, 8), &Device::Cpu).unwrap()
    }

    #[test]
    fn it_learns_to_tell_both_apart() {
        let (student, teachers) = (logits(1, 0.0), logits(2, 0.7));
        let mut discriminator = Discriminator::new(8, 0, &Device::Cpu).unwrap();
        let first = discriminator.learn(&student, &teachers, 0.5).unwrap();
        assert!((first - std::f32::consts::LN_2).abs() < 0.1, "{first}: it begins without a clue");
        let last = (0..300).map(|_| discriminator.learn(&student, &teachers, 0.5).unwrap()).last().unwrap();
        assert!(last < 0.4, "{last}");
        let cost = |logits| discriminator.deceived(logits).unwrap().to_scalar::<f32>().unwrap();
        assert!(cost(&teachers) < cost(&student));
        // A step along the student's gradient takes it nearer to its teachers.
        let (before, gradient) =
            crate::network::loss_gradient(&student, |logits| discriminator.deceived(logits)).unwrap();
        let nearer = (&student - (gradient * 10.0).unwrap()).unwrap();
        assert!(cost(&nearer) < before.to_scalar::<f32>().unwrap());
    }

    #[test]
    fn it_goes_on_from_its_tensors() {
        let (student, teachers) = (logits(1, 0.0), logits(2, 0.7));
        let mut one = Discriminator::new(8, 0, &Device::Cpu).unwrap();
        one.learn(&student, &teachers, 0.5).unwrap();
        let mut other = Discriminator::new(8, 1, &Device::Cpu).unwrap();
        assert!(other.restore(one.tensors()));
        assert!(!other.restore(BTreeMap::new()));
        let [one, other] = [&mut one, &mut other].map(|d| d.learn(&student, &teachers, 0.5).unwrap());
        assert_eq!(one, other);
    }
}
