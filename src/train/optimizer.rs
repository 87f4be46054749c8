//! What turns gradients into the next weights. Both are what PyTorch's `SGD` and `AdamW` compute.
//!
//! SGD, with g' = g + weight_decay · w:  b ← momentum · b + g';  w ← w - lr · (g' + momentum · b) with Nesterov's gradient,
//! w - lr · b without (Sutskever et al. 2013).
//!
//! AdamW:  w ← w · (1 - lr · weight_decay);  m ← β₁ m + (1 - β₁) g;  v ← β₂ v + (1 - β₂) g²;
//! w ← w - lr / (1 - β₁ᵗ) · m / (√v / √(1 - β₂ᵗ) + ε) (Loshchilov and Hutter 2019).
//!
//! Weight decay is for the weights of convolutions and fully connected layers: not for biases, and not for batch normalisation.

use super::options::{AdamW, OptimizerOptions, Sgd};
use crate::graph::{Graph, Role};
use crate::network::{Gradients, Weights, WeightsError};
use candle_core::Tensor;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// An optimizer and what it remembers.
#[derive(Clone, Debug)]
pub struct Optimizer {
    options: OptimizerOptions,
    /// Steps done.
    steps: u64,
    /// By `<memory>.<parameter>`.
    memory: BTreeMap<String, Tensor>,
    decayed: BTreeSet<String>,
}

impl Optimizer {
    /// An optimizer of the parameters of `graph` that has done no step.
    pub fn new(options: OptimizerOptions, graph: &Graph) -> Self {
        let decayed = graph.parameters().into_iter().filter(|parameter| parameter.role == Role::Weight);
        let decayed = decayed.map(|parameter| parameter.name).collect();
        Self { options, steps: 0, memory: BTreeMap::new(), decayed }
    }

    /// The weights after one more step; those without a gradient stay as they are.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn step(&mut self, weights: &Weights, gradients: &Gradients, lr: f64) -> Result<Weights, WeightsError> {
        self.steps += 1;
        let mut next = HashMap::with_capacity(gradients.len());
        for (name, gradient) in gradients {
            let weight = weights.get(name)?.detach();
            let gradient = gradient.detach();
            let changed = match self.options {
                OptimizerOptions::Sgd(sgd) => self.sgd(sgd, name, &weight, gradient, lr)?,
                OptimizerOptions::AdamW(adam) => self.adam(adam, name, &weight, &gradient, lr)?,
            };
            next.insert(name.as_str(), changed);
        }
        weights.map(|name, old| Ok(next.get(name).unwrap_or(old).clone()))
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What it remembers, by name, so that [`Optimizer::restore`] goes on with the same bits.
    pub fn memory(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.memory.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Takes up what another one remembered after `steps` steps.
    pub fn restore(&mut self, steps: u64, memory: BTreeMap<String, Tensor>) {
        (self.steps, self.memory) = (steps, memory);
    }

    fn decay(&self, name: &str, weight_decay: f64) -> f64 {
        if self.decayed.contains(name) { weight_decay } else { 0.0 }
    }

    fn sgd(
        &mut self,
        sgd: Sgd,
        name: &str,
        weight: &Tensor,
        gradient: Tensor,
        lr: f64,
    ) -> Result<Tensor, candle_core::Error> {
        let decay = self.decay(name, sgd.weight_decay);
        let gradient = if decay == 0.0 { gradient } else { (gradient + (weight * decay)?)? };
        if sgd.momentum == 0.0 {
            return weight - (gradient * lr)?;
        }
        let key = format!("momentum.{name}");
        let kept = match self.memory.get(&key) {
            Some(kept) => ((kept * sgd.momentum)? + &gradient)?,
            None => gradient.copy()?,
        };
        let direction = if sgd.nesterov { (gradient + (&kept * sgd.momentum)?)? } else { kept.clone() };
        self.memory.insert(key, kept);
        weight - (direction * lr)?
    }

    fn adam(
        &mut self,
        adam: AdamW,
        name: &str,
        weight: &Tensor,
        gradient: &Tensor,
        lr: f64,
    ) -> Result<Tensor, candle_core::Error> {
        let AdamW { beta1, beta2, eps, .. } = adam;
        let mean = self.average(&format!("mean.{name}"), gradient, beta1)?;
        let square = self.average(&format!("square.{name}"), &gradient.sqr()?, beta2)?;
        let decay = self.decay(name, adam.weight_decay);
        let weight = if decay == 0.0 { weight.clone() } else { (weight * (1.0 - lr * decay))? };
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (bias1, bias2) = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
        let root = ((square.sqrt()? / bias2.sqrt())? + eps)?;
        weight - ((mean / root)? * (lr / bias1))?
    }

    /// The decaying average of `value` under `key`, which begins at 0.
    fn average(&mut self, key: &str, value: &Tensor, decay: f64) -> Result<Tensor, candle_core::Error> {
        let new = (value * (1.0 - decay))?;
        let average = match self.memory.get(key) {
            Some(old) => ((old * decay)? + new)?,
            None => new,
        };
        self.memory.insert(key.to_owned(), average.clone());
        Ok(average)
    }
}

/// Scales all gradients by one factor so that their norm together is `most` at most; gives the norm before
/// (PyTorch's `clip_grad_norm_`).
///
/// # Errors
/// If Candle fails.
pub fn clip(gradients: &mut Gradients, most: f64) -> Result<f64, candle_core::Error> {
    let mut square = 0.0;
    for gradient in gradients.values() {
        square += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    let norm = square.sqrt();
    let factor = most / (norm + 1e-6);
    if factor < 1.0 {
        for gradient in gradients.values_mut() {
            *gradient = (&*gradient * factor)?;
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Conv2d, GraphBuilder, Op, Shape, Window};
    use candle_core::Device;

    /// A convolution of one weight with a bias, so that one parameter decays and the other does not.
    fn graph() -> Graph {
        let mut builder = GraphBuilder::new(Shape::map(1, 1, 1));
        let conv = Conv2d { out_channels: 1, window: Window::same(1, 1), groups: 1, bias: true };
        let input = builder.input();
        let output = builder.push("conv", Op::Conv2d(conv), &[input]).unwrap();
        builder.finish(output)
    }

    fn weights(values: [f32; 2]) -> Weights {
        let tensor = |value, dims: &[usize]| Tensor::full(value, dims, &Device::Cpu).unwrap();
        let all = [("conv.weight", tensor(values[0], &[1, 1, 1, 1])), ("conv.bias", tensor(values[1], &[1]))];
        Weights::from_tensors(&graph(), all.map(|(name, tensor)| (name.to_owned(), tensor)).into()).unwrap()
    }

    fn value(tensor: &Tensor) -> f32 {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
    }

    /// Three steps of gradients (0.5, -0.3), (-1.2, 0.8), (0.25, 0.1) with learning rates 0.1, 0.1, 0.05.
    fn check(options: OptimizerOptions, expected: [[f64; 2]; 3]) {
        let mut optimizer = Optimizer::new(options, &graph());
        let mut at = weights([1.5, -0.7]);
        let gradients = [[0.5, -0.3], [-1.2, 0.8], [0.25, 0.1]];
        for (step, ((gradient, lr), expected)) in gradients.into_iter().zip([0.1, 0.1, 0.05]).zip(expected).enumerate()
        {
            let gradients = weights(gradient).iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
            at = optimizer.step(&at, &gradients, lr).unwrap();
            // As a checkpoint does.
            let memory = optimizer.memory().map(|(name, tensor)| (name.to_owned(), tensor.copy().unwrap())).collect();
            let steps = optimizer.steps();
            optimizer = Optimizer::new(options, &graph());
            optimizer.restore(steps, memory);
            let found = ["conv.weight", "conv.bias"].map(|name| f64::from(value(at.get(name).unwrap())));
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{options:?}, step {step}: {found}, expected {expected}");
            }
        }
    }

    // import torch
    // torch.set_default_dtype(torch.float64)
    // def run(make, decay):
    //     w, b = torch.tensor([1.5], requires_grad=True), torch.tensor([-0.7], requires_grad=True)
    //     o = make([{"params": [w], "weight_decay": decay}, {"params": [b], "weight_decay": 0}])
    //     for (gw, gb), lr in zip([(0.5, -0.3), (-1.2, 0.8), (0.25, 0.1)], [0.1, 0.1, 0.05]):
    //         for group in o.param_groups: group["lr"] = lr
    //         w.grad, b.grad = torch.tensor([gw]), torch.tensor([gb])
    //         o.step()
    //         print([round(w.item(), 9), round(b.item(), 9)], end=", ")
    //     print()
    // S, A = torch.optim.SGD, torch.optim.AdamW
    // run(lambda p: S(p, lr=0.1), 0.01)
    // run(lambda p: S(p, lr=0.1, momentum=0.9), 0.01)
    // run(lambda p: S(p, lr=0.1, momentum=0.9, nesterov=True), 0.01)
    // run(lambda p: A(p, lr=0.1), 0.05)
    #[test]
    fn steps_are_those_of_pytorch() {
        let sgd = |momentum, nesterov| OptimizerOptions::Sgd(Sgd { momentum, nesterov, weight_decay: 0.01 });
        check(sgd(0.0, false), GOLDEN[0]);
        check(sgd(0.9, false), GOLDEN[1]);
        check(sgd(0.9, true), GOLDEN[2]);
        check(OptimizerOptions::AdamW(AdamW::default()), GOLDEN[3]);
    }

    const GOLDEN: [[[f64; 2]; 3]; 4] = [
        [[1.4485, -0.67], [1.5670515, -0.75], [1.553767974, -0.755]],
        [[1.4485, -0.67], [1.5207015, -0.723], [1.539931824, -0.75185]],
        [[1.40215, -0.643], [1.585770915, -0.7707], [1.589774812, -0.801665]],
        [[1.392500002, -0.600000003], [1.428471648, -0.646163001], [1.435160402, -0.667599054]],
    ];

    #[test]
    fn gradients_are_clipped_together() {
        let all = |values| -> Gradients {
            weights(values).iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
        };
        let mut gradients = all([3.0, -4.0]);
        assert_eq!(clip(&mut gradients, 10.0).unwrap(), 5.0);
        assert_eq!(value(&gradients["conv.bias"]), -4.0);
        clip(&mut gradients, 1.0).unwrap();
        assert!((value(&gradients["conv.weight"]) - 0.6).abs() < 1e-6);
        assert!((value(&gradients["conv.bias"]) + 0.8).abs() < 1e-6);
    }
}
