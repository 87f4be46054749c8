//! An ensemble of small fully connected networks: ReLU layers, trained on all rows at once by AdamW (Loshchilov and
//! Hutter 2019) with a cosine of the learning rate. Members differ in how they start; their mean is the prediction, their differences
//! the deviation.
//!
//! With free statistics (FBNetV3: Dai et al. 2021, "neural acquisition"), the hidden layers first learn to predict numbers that cost
//! nothing (MACs, parameters) from many rows without targets, then all layers learn the targets.

use super::boosted_trees::spread;
use super::losses::Loss;
use super::targets::TargetTransform;
use super::{Prediction, Rows, Surrogate, SurrogateError, mean};
use nalgebra::{DMatrix, DVector};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Rows of one prediction: bounds its memory.
const BLOCK: usize = 4096;

/// How networks are trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpOptions {
    /// Units of each hidden layer.
    pub hidden: Vec<usize>,
    /// What is minimised.
    pub loss: Loss,
    /// Steps, each over all rows.
    pub epochs: usize,
    /// Learning rate at the start.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Networks.
    pub ensemble: usize,
}

impl Default for MlpOptions {
    fn default() -> Self {
        Self {
            hidden: vec![32, 32],
            loss: Loss::default(),
            epochs: 200,
            learning_rate: 3e-3,
            weight_decay: 0.1,
            ensemble: 4,
        }
    }
}

/// Rows without targets, and numbers that are known of each.
#[derive(Clone, Copy, Debug)]
pub struct FreeStatistics<'a> {
    /// Features, as those of the rows with targets.
    pub rows: &'a Rows,
    /// The known numbers of each row.
    pub statistics: &'a Rows,
    /// Steps of learning them.
    pub epochs: usize,
}

impl MlpOptions {
    /// The networks that `rows` and `targets` teach after `free` statistics did; the same for the same `seed`.
    ///
    /// # Errors
    /// If there are not as many targets or statistics as rows or fewer than two, a number is not finite, or an option is
    /// out of its range.
    pub fn fit_pretrained(
        &self,
        rows: &Rows,
        targets: &[f64],
        free: &FreeStatistics<'_>,
        seed: u64,
    ) -> Result<Box<dyn Surrogate>, SurrogateError> {
        super::check(rows, targets)?;
        if free.rows.len() != free.statistics.len() || free.rows.width() != rows.width() {
            return Err(SurrogateError::Count { rows: free.rows.len(), targets: free.statistics.len() });
        }
        Ok(Box::new(Ensemble::fit(self, rows, targets, Some(free), seed)?))
    }

    pub(super) fn check(&self) -> Result<(), SurrogateError> {
        let smallest = self.hidden.iter().copied().min().unwrap_or(1);
        for (field, value) in [("hidden", smallest), ("epochs", self.epochs), ("ensemble", self.ensemble)] {
            if value == 0 {
                return Err(SurrogateError::Option { field, value: 0.0, expected: "1 or more" });
            }
        }
        for (field, value) in [("learning_rate", self.learning_rate), ("weight_decay", self.weight_decay)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(SurrogateError::Option { field, value, expected: "0 or more" });
            }
        }
        Ok(())
    }
}

pub(super) struct Ensemble {
    /// Each with what scales its output to the targets: output · first + second.
    members: Vec<(Network, f64, f64)>,
}

impl Ensemble {
    pub(super) fn fit(
        options: &MlpOptions,
        rows: &Rows,
        targets: &[f64],
        free: Option<&FreeStatistics<'_>>,
        seed: u64,
    ) -> Result<Self, SurrogateError> {
        options.check()?;
        let features = rows.columns().into_owned();
        let pretraining = free.map(|free| (free.rows.columns().into_owned(), standardised(free.statistics)));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let member = |_| {
            let mut network = Network::new(rows.width(), &options.hidden, 1, &mut rng);
            if let (Some(free), Some((free_features, statistics))) = (free, &pretraining) {
                let mut proxy = Network::new(rows.width(), &options.hidden, statistics.nrows(), &mut rng);
                proxy.train(options, free.epochs, free_features, |outputs| {
                    (outputs - statistics) * (2.0 / statistics.len() as f64)
                });
                let hidden = options.hidden.len();
                network.layers.splice(..hidden, proxy.layers.into_iter().take(hidden));
            }
            network.train(options, options.epochs, &features, |outputs| {
                let (_, gradient) = options.loss.gradient(outputs.as_slice(), targets);
                DMatrix::from_row_slice(1, gradient.len(), &gradient)
            });
            let outputs = network.outputs(&features);
            let (slope, offset) = match options.loss {
                Loss::Mse => (1.0, 0.0),
                _ => line(outputs.as_slice(), targets),
            };
            (network, slope, offset)
        };
        Ok(Self { members: (0..options.ensemble).map(member).collect() })
    }
}

/// The columns of statistics as rows of mean 0 and deviation 1.
fn standardised(statistics: &Rows) -> DMatrix<f64> {
    let mut scaled = statistics.columns().into_owned();
    for mut row in scaled.row_iter_mut() {
        let values = TargetTransform::ZScore.apply(&row.iter().copied().collect::<Vec<f64>>());
        row.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    }
    scaled
}

/// Slope and offset of the line that leads from `x` to `y` with the least squares.
fn line(x: &[f64], y: &[f64]) -> (f64, f64) {
    let (of_x, of_y) = (mean(x), mean(y));
    let products = x.iter().zip(y).map(|(x, y)| (x - of_x) * (y - of_y)).sum::<f64>();
    let squares = x.iter().map(|x| (x - of_x).powi(2)).sum::<f64>();
    let slope = if squares > 0.0 { products / squares } else { 0.0 };
    (slope, of_y - slope * of_x)
}

impl Surrogate for Ensemble {
    fn predict(&self, rows: &Rows) -> Vec<Prediction> {
        let features = rows.columns();
        let mut predictions = Vec::with_capacity(rows.len());
        for start in (0..rows.len()).step_by(BLOCK) {
            let block = features.columns(start, BLOCK.min(rows.len() - start)).into_owned();
            let outputs: Vec<DMatrix<f64>> = self
                .members
                .iter()
                .map(|(network, slope, offset)| (network.outputs(&block) * *slope).add_scalar(*offset))
                .collect();
            let of_row = |at: usize| spread(&outputs.iter().map(|output| output[at]).collect::<Vec<f64>>());
            predictions.extend((0..block.ncols()).map(of_row));
        }
        predictions
    }
}

/// Layers of weights `[out, in]` and biases; a ReLU between each two. Rows are columns here.
struct Network {
    layers: Vec<(DMatrix<f64>, DVector<f64>)>,
}

impl Network {
    /// As PyTorch starts linear layers: uniform in ±1/√inputs.
    fn new(inputs: usize, hidden: &[usize], outputs: usize, rng: &mut ChaCha8Rng) -> Self {
        let mut before = inputs;
        let layer = |&units: &usize| {
            let bound = 1.0 / (before as f64).sqrt();
            let mut draw = || rng.random_range(-bound..bound);
            let weights = DMatrix::from_fn(units, before, |_, _| draw());
            let biases = DVector::from_fn(units, |_, _| draw());
            before = units;
            (weights, biases)
        };
        Self { layers: hidden.iter().chain([&outputs]).map(layer).collect() }
    }

    /// The outputs `[out, rows]`.
    fn outputs(&self, features: &DMatrix<f64>) -> DMatrix<f64> {
        self.activations(features).pop().expect("a network has layers")
    }

    /// What each layer gives, the last without ReLU.
    fn activations(&self, features: &DMatrix<f64>) -> Vec<DMatrix<f64>> {
        let mut results: Vec<DMatrix<f64>> = Vec::with_capacity(self.layers.len());
        for (at, (weights, biases)) in self.layers.iter().enumerate() {
            let mut result = weights * results.last().unwrap_or(features);
            result.column_iter_mut().for_each(|mut column| column += biases);
            if at + 1 < self.layers.len() {
                result.apply(|value| *value = value.max(0.0));
            }
            results.push(result);
        }
        results
    }

    /// `steps` of AdamW along the gradient by the outputs that `slope` gives.
    fn train(
        &mut self,
        options: &MlpOptions,
        steps: usize,
        features: &DMatrix<f64>,
        slope: impl Fn(&DMatrix<f64>) -> DMatrix<f64>,
    ) {
        let mut moments: Vec<[Moments; 2]> = self
            .layers
            .iter()
            .map(|(weights, biases)| [Moments::new(weights.len()), Moments::new(biases.len())])
            .collect();
        let transposed = features.transpose();
        for step in 0..steps {
            let rate = 0.5 * options.learning_rate * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
            let mut results = self.activations(features);
            let mut cotangent = slope(&results.pop().expect("a network has layers"));
            for at in (0..self.layers.len()).rev() {
                let of_weights =
                    if at == 0 { &cotangent * &transposed } else { &cotangent * results[at - 1].transpose() };
                let of_biases = cotangent.column_sum();
                let (weights, biases) = &mut self.layers[at];
                if at > 0 {
                    cotangent = weights.transpose() * &cotangent;
                    let active = results[at - 1].as_slice();
                    cotangent.iter_mut().zip(active).filter(|(_, active)| **active <= 0.0).for_each(|(c, _)| *c = 0.0);
                }
                let update = Update { step: step + 1, rate, decay: options.weight_decay };
                update.apply(weights.as_mut_slice(), of_weights.as_slice(), &mut moments[at][0]);
                update.apply(biases.as_mut_slice(), of_biases.as_slice(), &mut moments[at][1]);
            }
        }
    }
}

/// Running means of a gradient and of its square.
struct Moments {
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Moments {
    fn new(count: usize) -> Self {
        Self { first: vec![0.0; count], second: vec![0.0; count] }
    }
}

struct Update {
    step: usize,
    rate: f64,
    decay: f64,
}

impl Update {
    fn apply(&self, parameters: &mut [f64], gradient: &[f64], moments: &mut Moments) {
        const BETAS: (f64, f64) = (0.9, 0.999);
        let step = i32::try_from(self.step).unwrap_or(i32::MAX);
        let (of_first, of_second) = (1.0 - BETAS.0.powi(step), 1.0 - BETAS.1.powi(step));
        for (at, parameter) in parameters.iter_mut().enumerate() {
            let slope = gradient[at];
            let first = &mut moments.first[at];
            let second = &mut moments.second[at];
            *first = BETAS.0 * *first + (1.0 - BETAS.0) * slope;
            *second = BETAS.1 * *second + (1.0 - BETAS.1) * slope * slope;
            let direction = (*first / of_first) / ((*second / of_second).sqrt() + 1e-8);
            *parameter -= self.rate * (direction + self.decay * *parameter);
        }
    }
}
