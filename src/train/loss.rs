//! What training makes small, as functions of logits `[batch, classes]` and probabilities of the same shape. All are means
//! over the batch.
//!
//! - cross entropy: -Σ t · ln softmax(z), with targets t that label smoothing has moved towards 1 / classes
//! - knowledge distillation (Hinton et al. 2015): T² · Σ p · (ln p - ln softmax(z / T)), p the teachers' softened probabilities

use super::discriminator::Discriminator;
use super::options::{Distillation, Method};
use candle_core::{D, Error, Tensor};
use candle_nn::ops::{log_softmax, softmax};

/// What teachers say of a batch.
#[derive(Clone, Debug)]
pub struct Taught {
    /// Each teacher's logits, `[batch, classes]`.
    pub logits: Vec<Tensor>,
}

impl Taught {
    /// The mean of the teachers' probabilities, their logits divided by `temperature`.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn probabilities(&self, temperature: f64) -> Result<Tensor, Error> {
        let soft = |logits: &Tensor| softmax(&(logits / temperature)?, D::Minus1);
        let all: Vec<Tensor> = self.logits.iter().map(soft).collect::<Result<_, _>>()?;
        mean(&all)
    }

    /// The mean of the teachers' logits.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn mean_logits(&self) -> Result<Tensor, Error> {
        mean(&self.logits)
    }
}

fn mean(all: &[Tensor]) -> Result<Tensor, Error> {
    let (first, others) = all.split_first().ok_or_else(|| Error::Msg("no teacher".into()))?;
    let sum = others.iter().try_fold(first.clone(), |sum, other| sum + other)?;
    sum / all.len() as f64
}

/// Targets of which every class has got `smoothing / classes`.
///
/// # Errors
/// If Candle fails.
pub fn smooth(targets: &Tensor, smoothing: f64) -> Result<Tensor, Error> {
    if smoothing == 0.0 {
        return Ok(targets.clone());
    }
    targets.affine(1.0 - smoothing, smoothing / targets.dim(D::Minus1)? as f64)
}

/// Mean cross entropy of `logits` with the probabilities `targets`.
///
/// # Errors
/// If Candle fails.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor, Error> {
    (log_softmax(logits, D::Minus1)? * targets)?.sum(D::Minus1)?.mean_all()?.neg()
}

/// Mean T² · KL(teachers ‖ student).
///
/// # Errors
/// If Candle fails.
pub fn divergence(logits: &Tensor, taught: &Taught, temperature: f64) -> Result<Tensor, Error> {
    let teachers = taught.probabilities(temperature)?;
    // 0 · ln 0 is 0.
    let known = (&teachers * teachers.clamp(1e-30f32, 1f32)?.log()?)?.sum(D::Minus1)?.mean_all()?;
    let loss = (cross_entropy(&(logits / temperature)?, &teachers)? + known)?;
    loss * (temperature * temperature)
}

/// The loss of a batch, as one function of the network's logits.
#[derive(Clone, Copy, Debug)]
pub struct Loss<'a> {
    /// Share of the targets that all classes get alike.
    pub label_smoothing: f64,
    /// What is learned from teachers.
    pub distillation: Option<&'a Distillation>,
}

impl Loss<'_> {
    /// The mean loss of `logits`, of which a gradient can be taken.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn of(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        taught: Option<&Taught>,
        discriminator: Option<&Discriminator>,
    ) -> Result<Tensor, Error> {
        let labels = |logits| cross_entropy(logits, &smooth(targets, self.label_smoothing)?);
        let (Some(distillation), Some(taught)) = (self.distillation, taught) else { return labels(logits) };
        match distillation.method {
            Method::Kd(kd) => {
                let soft = (divergence(logits, taught, kd.temperature)? * kd.weight)?;
                if kd.weight == 1.0 { Ok(soft) } else { soft + (labels(logits)? * (1.0 - kd.weight))? }
            }
            Method::SoftEnsemble(_) => {
                let soft = cross_entropy(logits, &taught.probabilities(1.0)?)?;
                match discriminator {
                    Some(discriminator) => soft + discriminator.deceived(logits)?,
                    None => Ok(soft),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::loss_gradient;
    use crate::train::options::Kd;
    use candle_core::Device;

    fn tensor(rows: &[[f32; 3]; 2]) -> Tensor {
        Tensor::new(rows, &Device::Cpu).unwrap()
    }

    /// Loss and gradient of the logits.
    fn check(loss: Loss, taught: Option<&Taught>, expected: (f64, [[f64; 3]; 2])) {
        let logits = tensor(&[[0.2, -1.0, 0.7], [1.5, 0.3, -0.4]]);
        let targets = tensor(&[[0.0, 1.0, 0.0], [0.7, 0.0, 0.3]]);
        let (value, gradient) = loss_gradient(&logits, |logits| loss.of(logits, &targets, taught, None)).unwrap();
        let value = f64::from(value.to_scalar::<f32>().unwrap());
        assert!((value - expected.0).abs() < 1e-5, "{value}, expected {}", expected.0);
        for (found, expected) in gradient.to_vec2::<f32>().unwrap().iter().zip(expected.1) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{gradient}");
            }
        }
    }

    // import torch, torch.nn.functional as F
    // torch.set_default_dtype(torch.float64)
    // t = torch.tensor([[0, 1, 0], [.7, 0, .3]])
    // teachers = [torch.tensor([[1.0, 0.5, -2.0], [0.1, 0.2, 0.3]]), torch.tensor([[-1.0, 2.0, 0.0], [3.0, 0.0, 0.4]])]
    // soft = lambda T: sum((x / T).softmax(1) for x in teachers) / 2
    // kl = lambda z, T: T * T * F.kl_div((z / T).log_softmax(1), soft(T), reduction="batchmean")
    // for f in [lambda z: F.cross_entropy(z, t), lambda z: F.cross_entropy(z, t, label_smoothing=0.1),
    //           lambda z: 0.1 * F.cross_entropy(z, t) + 0.9 * kl(z, 4), lambda z: F.cross_entropy(z, soft(1))]:
    //     z = torch.tensor([[.2, -1, .7], [1.5, .3, -.4]], requires_grad=True)
    //     f(z).backward()
    //     print((round(f(z).item(), 9), [[round(x, 9) for x in row] for row in z.grad.tolist()]), end=",\n")
    #[test]
    fn losses_are_those_of_pytorch() {
        let golden: [(f64, [[f64; 3]; 2]); 4] = [
            (1.611933014, [[0.169496381, -0.448948671, 0.279452289], [-0.005353729, 0.103805462, -0.098451733]]),
            (1.586766348, [[0.152829715, -0.415615338, 0.262785623], [0.012979604, 0.087138795, -0.1001184]]),
            (0.764153647, [[0.056576142, -0.351112833, 0.294536691], [0.017511063, 0.061666921, -0.079177984]]),
            (1.390642211, [[0.008056641, -0.251445409, 0.243388768], [0.047085941, 0.009676175, -0.056762116]]),
        ];
        let taught = Taught {
            logits: vec![tensor(&[[1.0, 0.5, -2.0], [0.1, 0.2, 0.3]]), tensor(&[[-1.0, 2.0, 0.0], [3.0, 0.0, 0.4]])],
        };
        let distillation = |method| Distillation { teachers: vec![], method };
        let kd = distillation(Method::Kd(Kd::default()));
        let soft = distillation(Method::SoftEnsemble(crate::train::options::SoftEnsemble { discriminator_lr: None }));
        check(Loss { label_smoothing: 0.0, distillation: None }, None, golden[0]);
        check(Loss { label_smoothing: 0.1, distillation: None }, None, golden[1]);
        check(Loss { label_smoothing: 0.0, distillation: Some(&kd) }, Some(&taught), golden[2]);
        check(Loss { label_smoothing: 0.0, distillation: Some(&soft) }, Some(&taught), golden[3]);
    }
}
