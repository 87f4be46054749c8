//! What a user says about a training: the YAML of `tegu train --config`.
//!
//! The defaults are a recipe for small networks on small images: SGD with Nesterov momentum, a cosine from 0.1 to 0 behind a
//! linear warm-up, an average of the weights, gradients of norm 5 at most.

use super::TrainError;
use super::schedule::Schedule;
use crate::data::{Augmentation, SplitOptions};
use crate::network::Init;
use crate::space::NetworkChanges;
use crate::yaml::{self, YamlError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Passes over the training data.
    pub epochs: usize,
    /// Samples a step.
    pub batch: usize,
    /// What turns gradients into steps.
    pub optimizer: OptimizerOptions,
    /// The largest learning rate; 0.1 for SGD and 0.001 for AdamW where absent.
    pub lr: Option<f64>,
    /// How the learning rate falls from there.
    pub schedule: Schedule,
    /// Epochs, or a part of one, in which the learning rate rises from 0 on a line.
    pub warm_up_epochs: f64,
    /// Share of the target that all classes get alike (Szegedy et al. 2016).
    pub label_smoothing: f64,
    /// Decay of the average of the weights a step, which is what is validated and exported; null for none.
    pub ema_decay: Option<f64>,
    /// Largest norm of all gradients together; null for none.
    pub clip_norm: Option<f64>,
    /// Probability with which the last paths of the network are dropped at the end of training; it rises with depth and time
    /// (ScheduledDropPath, Zoph et al. 2018).
    pub drop_path: f64,
    /// Probability with which a feature is dropped before the last layer.
    pub dropout: f64,
    /// Weight of the loss of a second classifier at two thirds of the depth, which is trained with the network and not kept (.4 in DARTS, Liu et al.
    /// 2019); null for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auxiliary: Option<f64>,
    /// Epochs without a better validation after which training ends; null for never.
    pub patience: Option<usize>,
    /// Where all randomness comes from.
    pub seed: u64,
    /// How weights are drawn.
    pub init: Init,
    /// What is held out of the data: to choose the epoch and fit the temperature, and to test.
    pub split: SplitOptions,
    /// What is done to training images.
    pub augmentation: Augmentation,
    /// What the network learns from beside labels.
    pub distillation: Option<Distillation>,
}

/// What turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerOptions {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

/// Stochastic gradient descent with momentum (Sutskever et al. 2013), as PyTorch computes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Share of the last step that is kept.
    pub momentum: f64,
    /// Whether the gradient is that ahead of the step.
    pub nesterov: bool,
    /// Share of a weight that is added to its gradient; not for biases and batch normalisation.
    pub weight_decay: f64,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019), as PyTorch computes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Decay of the gradient's mean.
    pub beta1: f64,
    /// Decay of the gradient's squared mean.
    pub beta2: f64,
    /// Added to the root of the squared mean.
    pub eps: f64,
    /// Share of a weight that a step of learning rate 1 takes away; not for biases and batch normalisation.
    pub weight_decay: f64,
}

/// Teachers, and what is learned from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// The teachers; of several, the mean of their probabilities counts.
    pub teachers: Vec<TeacherOptions>,
    /// How.
    #[serde(default)]
    pub method: Method,
}

/// Where a teacher is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TeacherOptions {
    /// An ONNX model, run by tract.
    Onnx(PathBuf),
    /// A network of a search space, run by Candle.
    Network(NetworkTeacher),
}

/// A network of a search space with its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkTeacher {
    /// A space that comes with Tegu, or the path of a YAML file.
    pub space: String,
    /// The architecture, as its space writes it.
    pub arch: String,
    /// Its weights, safetensors.
    pub weights: PathBuf,
    /// What is changed about the space's network; input and classes are those of the data where absent.
    #[serde(default)]
    pub network: NetworkChanges,
}

/// What is learned from teachers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Labels and softened probabilities together.
    Kd(Kd),
    /// The teachers' mean probabilities alone, no labels.
    SoftEnsemble(SoftEnsemble),
}

/// (1 - weight) · cross entropy + weight · T² · KL(teacher ‖ student), both softened by T (Hinton et al. 2015).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kd {
    /// By what logits are divided.
    pub temperature: f64,
    /// Share of the teachers in the loss.
    pub weight: f64,
}

/// Cross entropy with the mean of the teachers' probabilities, and a discriminator of logits (Shen and Savvides 2020,
/// MEAL V2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoftEnsemble {
    /// Learning rate of the discriminator; null for none.
    pub discriminator_lr: Option<f64>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch: 128,
            optimizer: OptimizerOptions::default(),
            lr: None,
            schedule: Schedule::default(),
            warm_up_epochs: 1.0,
            label_smoothing: 0.0,
            ema_decay: Some(0.999),
            clip_norm: Some(5.0),
            drop_path: 0.0,
            dropout: 0.0,
            auxiliary: None,
            patience: None,
            seed: 0,
            init: Init::default(),
            split: SplitOptions::default(),
            augmentation: Augmentation::default(),
            distillation: None,
        }
    }
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        Self::Sgd(Sgd::default())
    }
}

impl Default for Sgd {
    fn default() -> Self {
        Self { momentum: 0.9, nesterov: true, weight_decay: 5e-4 }
    }
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.05 }
    }
}

impl Default for Method {
    fn default() -> Self {
        Self::Kd(Kd::default())
    }
}

impl Default for Kd {
    fn default() -> Self {
        Self { temperature: 4.0, weight: 0.9 }
    }
}

impl Default for SoftEnsemble {
    fn default() -> Self {
        Self { discriminator_lr: Some(1e-4) }
    }
}

impl TrainOptions {
    /// Reads the options at `path`; files that they name are looked for beside it.
    ///
    /// # Errors
    /// If the file can't be read, or says something else.
    pub fn read(path: &Path) -> Result<Self, YamlError> {
        let mut options: Self = yaml::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for teacher in options.distillation.iter_mut().flat_map(|distillation| &mut distillation.teachers) {
            match teacher {
                TeacherOptions::Onnx(file) => *file = folder.join(&*file),
                TeacherOptions::Network(network) => {
                    network.weights = folder.join(&network.weights);
                    let space = folder.join(&network.space);
                    if space.is_file() {
                        network.space = space.to_string_lossy().into_owned();
                    }
                }
            }
        }
        Ok(options)
    }

    /// The largest learning rate.
    pub fn peak_lr(&self) -> f64 {
        self.lr.unwrap_or(match self.optimizer {
            OptimizerOptions::Sgd(_) => 0.1,
            OptimizerOptions::AdamW(_) => 0.001,
        })
    }

    /// Checks that all values are within their ranges.
    ///
    /// # Errors
    /// The field, what was found, and what was expected.
    pub fn check(&self) -> Result<(), TrainError> {
        let share = |value: f64| (0.0..1.0).contains(&value);
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let mut rules = vec![
            ("epochs", self.epochs as f64, self.epochs > 0, "1 or more"),
            ("batch", self.batch as f64, self.batch > 1, "2 or more"),
            ("lr", self.peak_lr(), positive(self.peak_lr()), "more than 0"),
            ("warm_up_epochs", self.warm_up_epochs, not_negative(self.warm_up_epochs), "0 or more"),
            ("label_smoothing", self.label_smoothing, share(self.label_smoothing), "0 to less than 1"),
            ("drop_path", self.drop_path, share(self.drop_path), "0 to less than 1"),
            ("dropout", self.dropout, share(self.dropout), "0 to less than 1"),
        ];
        rules.extend(self.ema_decay.map(|value| ("ema_decay", value, share(value), "0 to less than 1")));
        rules.extend(self.clip_norm.map(|value| ("clip_norm", value, positive(value), "more than 0")));
        rules.extend(self.auxiliary.map(|value| ("auxiliary", value, positive(value), "more than 0")));
        rules.extend(self.patience.map(|value| ("patience", value as f64, value > 0, "1 or more")));
        match self.optimizer {
            OptimizerOptions::Sgd(sgd) => rules.extend([
                ("optimizer.sgd.momentum", sgd.momentum, share(sgd.momentum), "0 to less than 1"),
                ("optimizer.sgd.weight_decay", sgd.weight_decay, not_negative(sgd.weight_decay), "0 or more"),
            ]),
            OptimizerOptions::AdamW(adam) => rules.extend([
                ("optimizer.adamw.beta1", adam.beta1, share(adam.beta1), "0 to less than 1"),
                ("optimizer.adamw.beta2", adam.beta2, share(adam.beta2), "0 to less than 1"),
                ("optimizer.adamw.eps", adam.eps, positive(adam.eps), "more than 0"),
                ("optimizer.adamw.weight_decay", adam.weight_decay, not_negative(adam.weight_decay), "0 or more"),
            ]),
        }
        if let Schedule::CosinePower(cosine) = self.schedule {
            rules.push(("schedule.cosine_power.power", cosine.power, cosine.power >= 1.0, "1 or more"));
            let within = not_negative(cosine.lr_min) && cosine.lr_min <= self.peak_lr();
            rules.push(("schedule.cosine_power.lr_min", cosine.lr_min, within, "0 to lr"));
        }
        if let Some(distillation) = &self.distillation {
            let teachers = distillation.teachers.len();
            rules.push(("distillation.teachers", teachers as f64, teachers > 0, "1 teacher or more"));
            match distillation.method {
                Method::Kd(kd) => rules.extend([
                    ("distillation.method.kd.temperature", kd.temperature, positive(kd.temperature), "more than 0"),
                    ("distillation.method.kd.weight", kd.weight, (0.0..=1.0).contains(&kd.weight), "0 to 1"),
                ]),
                Method::SoftEnsemble(soft) => {
                    rules.extend(soft.discriminator_lr.map(|lr| {
                        ("distillation.method.soft_ensemble.discriminator_lr", lr, positive(lr), "more than 0")
                    }))
                }
            }
        }
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((field, value, _, expected)) => Err(TrainError::Option { field, value, expected }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The YAML blocks of docs/training.md.
    fn blocks() -> Vec<&'static str> {
        let text = include_str!("../../docs/training.md");
        text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let parse = |text| yaml::parse::<TrainOptions>(text, Path::new("docs/training.md")).unwrap();
        assert_eq!(parse(blocks()[0]), TrainOptions::default());
        assert_eq!(parse("{}"), TrainOptions::default());
        let distillation = parse(blocks()[1]).distillation.unwrap();
        assert_eq!((distillation.teachers.len(), distillation.method), (2, Method::default()));
        TrainOptions::default().check().unwrap();
    }

    #[test]
    fn files_are_looked_for_beside_the_options() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.yaml");
        std::fs::write(&path, "distillation: {teachers: [onnx: a.onnx], method: {soft_ensemble: {}}}\n").unwrap();
        let distillation = TrainOptions::read(&path).unwrap().distillation.unwrap();
        assert_eq!(distillation.teachers, [TeacherOptions::Onnx(folder.path().join("a.onnx"))]);
        assert_eq!(distillation.method, Method::SoftEnsemble(SoftEnsemble::default()));
    }

    #[test]
    fn what_is_out_of_its_range_is_named() {
        let check = |text: &str, expected: &str| {
            let options: TrainOptions = yaml::parse(text, Path::new("a.yaml")).unwrap();
            assert_eq!(options.check().unwrap_err().to_string(), expected);
        };
        check("epochs: 0", "epochs: 0, expected 1 or more");
        check("ema_decay: 1", "ema_decay: 1, expected 0 to less than 1");
        check("optimizer: {sgd: {momentum: 1.5}}", "optimizer.sgd.momentum: 1.5, expected 0 to less than 1");
        check("schedule: {cosine_power: {power: 0.5}}", "schedule.cosine_power.power: 0.5, expected 1 or more");
        check("lr: .nan", "lr: NaN, expected more than 0");
        check("distillation: {teachers: []}", "distillation.teachers: 0, expected 1 teacher or more");
        let text = "distillation: {teachers: [onnx: a], method: {kd: {weight: 2}}}";
        check(text, "distillation.method.kd.weight: 2, expected 0 to 1");
    }
}
