//! The loop over epochs and steps, and what it goes on from.

use super::TrainError;
use super::auxiliary::with_auxiliary;
use super::average::{average, with_statistics};
use super::checkpoint::{self, CHECKPOINT, Epoch, State, Tensors};
use super::discriminator::Discriminator;
use super::evaluation::predict;
use super::loaders::Loaders;
use super::logits::logits;
use super::loss::{Loss, Taught};
use super::optimizer::{Optimizer, clip};
use super::options::{Method, TrainOptions};
use super::regularisation::{Drop, Regularisation};
use super::teachers::{Lesson, Teachers};
use crate::data::Batch;
use crate::difference::{Difference, difference};
use crate::files;
use crate::graph::{Graph, NodeId};
use crate::network::{TrainingPass, Weights, loss_gradient};
use candle_core::{D, DType, Device, Tensor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Instant;

/// What is trained, on what, how, and where checkpoints are kept.
#[derive(Clone, Debug)]
pub struct Training<'a> {
    /// A classifier: its live graph.
    pub graph: &'a Graph,
    /// Its weights to begin with, where it is tuned and not trained from drawn ones.
    pub start: Option<&'a Weights>,
    /// The data.
    pub data: &'a Loaders,
    /// How.
    pub options: &'a TrainOptions,
    /// The folder of the checkpoint; it must be there, and be nobody else's.
    pub folder: &'a Path,
    /// What computes.
    pub device: &'a Device,
}

/// A trained network.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The graph up to its logits.
    pub graph: Graph,
    /// The weights of the best epoch: their average where the options ask for one.
    pub weights: Weights,
    /// All epochs.
    pub curve: Vec<Epoch>,
    /// Number of the best one, by validation; of the last one where there is no validation part.
    pub best_epoch: usize,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Training is over.
    Finished(Box<Trained>),
    /// The observer asked it to stop; it goes on from the last epoch.
    Interrupted,
}

/// What goes on.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Epochs that an earlier run had done.
    Resumed(&'a [Epoch]),
    /// A step.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// Steps of the epoch so far.
        step: usize,
        /// Steps of an epoch.
        steps: usize,
        /// Mean loss of the epoch so far.
        loss: f64,
        /// Share of the epoch's samples that were right so far.
        accuracy: f64,
    },
    /// An epoch that is in the checkpoint.
    Epoch(&'a Epoch),
}

/// Who is told, and may ask to stop.
pub trait Observer {
    /// Something has happened.
    fn on(&mut self, event: Event);

    /// Whether to stop before the next step.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Who is not told, and asks to stop when this says so.
pub struct Until<'a>(pub &'a dyn Fn() -> bool);

impl Observer for Until<'_> {
    fn on(&mut self, _: Event) {}

    fn interrupted(&self) -> bool {
        (self.0)()
    }
}

/// Nobody.
impl Observer for () {
    fn on(&mut self, _: Event) {}
}

impl Training<'_> {
    /// Trains to the end, from the last checkpoint if there is one.
    ///
    /// # Errors
    /// If the options, the data, a teacher or the folder is refused, the loss is no number any more, or a checkpoint can't be
    /// written: the last one is there as it was.
    pub fn run(&self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        self.options.check()?;
        let graph = logits(self.graph)?;
        self.check_data(&graph)?;
        files::remove_drafts(self.folder)
            .map_err(|source| TrainError::File { path: self.folder.to_owned(), source })?;
        let mut run = Run::new(self, graph)?;
        if !run.state.curve.is_empty() {
            observer.on(Event::Resumed(&run.state.curve));
        }
        while !run.state.finished {
            let Some(epoch) = run.epoch(observer)? else { return Ok(Outcome::Interrupted) };
            run.finish_epoch(epoch)?;
            observer.on(Event::Epoch(run.state.curve.last().expect("an epoch was just done")));
        }
        let Run { graph, best, state: State { curve, best_epoch, .. }, .. } = run;
        let weights = Weights::from_tensors(&graph, owned(&best))?;
        Ok(Outcome::Finished(Box::new(Trained { graph, weights, curve, best_epoch })))
    }

    fn check_data(&self, graph: &Graph) -> Result<(), TrainError> {
        let part = self.data.train.part();
        let (input, classes) = (graph.input_shape().dims(), graph.output_shape().elements());
        if input != part.shape() || classes != part.classes() {
            return Err(TrainError::Misfit { input, classes, shape: part.shape(), found: part.classes() });
        }
        Ok(())
    }

    /// Everything that the curve depends on.
    fn fingerprint(&self, graph: &Graph) -> Result<Value, TrainError> {
        let digest = crate::genotype::hex(&Sha256::digest(format!("{graph:?}")));
        let mut all = json!({ "options": self.options, "data": self.data.sha256, "graph": digest });
        if let Some(start) = self.start {
            all["start"] = start.sha256()?.into();
        }
        Ok(all)
    }

    fn steps_an_epoch(&self) -> usize {
        self.data.train.batches_per_epoch()
    }
}

/// A training under way.
struct Run<'a> {
    training: &'a Training<'a>,
    graph: Graph,
    /// The graph with a second classifier, where there is one: the weights are of both.
    trained: Graph,
    /// What losses are of: its logits, and the second classifier's.
    outputs: Vec<NodeId>,
    regularisation: Regularisation,
    teachers: Option<Teachers>,
    state: State,
    weights: Weights,
    average: Option<Weights>,
    best: Weights,
    optimizer: Optimizer,
    discriminator: Option<Discriminator>,
}

/// What an epoch has added up.
#[derive(Default)]
struct Sums {
    steps: usize,
    loss: f64,
    samples: usize,
    correct: f64,
}

impl<'a> Run<'a> {
    /// A training at its beginning, or at its last checkpoint.
    fn new(training: &'a Training<'a>, graph: Graph) -> Result<Self, TrainError> {
        let Training { options, data, device, folder, .. } = *training;
        let part = data.train.part();
        let lesson = Lesson {
            shape: part.shape(),
            classes: part.classes(),
            batch: options.batch.min(part.len()),
            normalisation: data.train.normalisation(),
        };
        let distillation = options.distillation.as_ref();
        let teachers = distillation.map(|distillation| Teachers::open(distillation, lesson, device)).transpose()?;
        let discriminator = match distillation.map(|distillation| distillation.method) {
            Some(Method::SoftEnsemble(soft)) if soft.discriminator_lr.is_some() => {
                Some(Discriminator::new(part.classes(), options.seed, device)?)
            }
            _ => None,
        };
        let (trained, outputs) = with_auxiliary(&graph, options.auxiliary)?;
        let mut weights = Weights::random(&trained, options.init, options.seed, device)?;
        if let Some(start) = training.start {
            let start = Weights::from_tensors(&graph, owned(start))?;
            weights = weights.map(|name, drawn| start.get(name).unwrap_or(drawn).to_device(device))?;
        }
        let fingerprint = training.fingerprint(&graph)?;
        let mut run = Self {
            training,
            regularisation: Regularisation::new(&graph),
            teachers,
            state: State { fingerprint, steps: 0, curve: vec![], best_epoch: 0, finished: false },
            average: options.ema_decay.map(|_| weights.clone()),
            best: weights.clone(),
            optimizer: Optimizer::new(options.optimizer, &trained),
            discriminator,
            weights,
            graph,
            trained,
            outputs,
        };
        let path = folder.join(CHECKPOINT);
        if let Some((state, tensors)) = checkpoint::load(&path, device)? {
            if let Some(Difference { field, first, second }) = difference(&state.fingerprint, &run.state.fingerprint) {
                let difference = format!("{field}: {first} there, {second} now");
                return Err(TrainError::Changed { folder: folder.to_owned(), difference });
            }
            run.restore(state, tensors).map_err(|reason| TrainError::Corrupt { path, reason })?;
        }
        Ok(run)
    }

    /// Does the next epoch; none if it was interrupted.
    fn epoch(&mut self, observer: &mut dyn Observer) -> Result<Option<Epoch>, TrainError> {
        let begin = Instant::now();
        let (number, steps) = (self.state.curve.len() + 1, self.training.steps_an_epoch());
        let mut sums = Sums::default();
        let mut lr = 0.0;
        for batch in self.training.data.train.epoch((number - 1) as u32, 0) {
            if observer.interrupted() {
                return Ok(None);
            }
            lr = self.step(&batch?, number, &mut sums)?;
            let (loss, accuracy) = (sums.loss / sums.steps as f64, sums.correct / sums.samples as f64);
            observer.on(Event::Step { epoch: number, step: sums.steps, steps, loss, accuracy });
        }
        let validation = match &self.training.data.validation {
            Some(loader) => Some(predict(&self.graph, self.shown(), loader)?.metrics(1.0)),
            None => None,
        };
        if let Some(loss) = validation.map(|metrics| metrics.loss).filter(|loss| !loss.is_finite()) {
            return Err(self.diverged(number, sums.steps, "validation loss", loss));
        }
        Ok(Some(Epoch {
            epoch: number,
            lr,
            loss: sums.loss / sums.steps as f64,
            accuracy: sums.correct / sums.samples as f64,
            validation_loss: validation.map(|metrics| metrics.loss),
            validation_accuracy: validation.map(|metrics| metrics.accuracy),
            seconds: begin.elapsed().as_secs_f64(),
        }))
    }

    /// One step; gives its learning rate.
    fn step(&mut self, batch: &Batch, epoch: usize, sums: &mut Sums) -> Result<f64, TrainError> {
        let Training { options, device, .. } = *self.training;
        let all = (options.epochs * self.training.steps_an_epoch()) as u64;
        let warm_up = options.warm_up_epochs * self.training.steps_an_epoch() as f64;
        let lr = options.schedule.lr(options.peak_lr(), self.state.steps, all, warm_up);
        let path = options.drop_path * (self.state.steps + 1) as f64 / all as f64;
        let drop = Drop { path, feature: options.dropout, seed: options.seed, step: self.state.steps };
        let count = batch.images.dim(0)?;
        let factors = self.regularisation.factors(&self.graph, drop, count, device)?;

        let pass = TrainingPass::run_to(&self.trained, &self.outputs, &self.weights, &batch.images, &factors)?;
        let output = pass.output();
        let taught: Option<Taught> = self.teachers.as_mut().map(|all| all.teach(&batch.images)).transpose()?;
        let loss = Loss { label_smoothing: options.label_smoothing, distillation: options.distillation.as_ref() };
        let (value, cotangent) = loss_gradient(&output, |output| {
            loss.of(output, &batch.targets, taught.as_ref(), self.discriminator.as_ref())
        })?;
        let mut value = f64::from(value.to_scalar::<f32>()?);
        let mut cotangents = vec![cotangent];
        for (second, weight) in pass.outputs()[1..].iter().zip(options.auxiliary) {
            let loss = Loss { distillation: None, ..loss };
            let of = |output: &Tensor| loss.of(output, &batch.targets, None, None)? * weight;
            let (own, cotangent) = loss_gradient(second, of)?;
            value += f64::from(own.to_scalar::<f32>()?);
            cotangents.push(cotangent);
        }
        sums.steps += 1;
        if !value.is_finite() {
            return Err(self.diverged(epoch, sums.steps, "loss", value));
        }
        let with_statistics = with_statistics(&self.weights, pass.statistics())?;
        let mut gradients = pass.gradients(&cotangents)?;
        if let Some(most) = options.clip_norm {
            let norm = clip(&mut gradients, most)?;
            if !norm.is_finite() {
                return Err(self.diverged(epoch, sums.steps, "the gradients' norm", norm));
            }
        }
        self.weights = self.optimizer.step(&with_statistics, &gradients, lr)?;
        self.state.steps += 1;
        if let (Some(old), Some(decay)) = (&self.average, options.ema_decay) {
            self.average = Some(average(old, &self.weights, decay, self.state.steps)?);
        }
        if let (Some(discriminator), Some(taught)) = (&mut self.discriminator, &taught)
            && let Some(Method::SoftEnsemble(soft)) = options.distillation.as_ref().map(|all| all.method)
            && let Some(lr) = soft.discriminator_lr
        {
            discriminator.learn(&output, &taught.mean_logits()?, lr)?;
        }
        sums.loss += value;
        sums.samples += count;
        sums.correct += correct(&output, &batch.labels)?;
        Ok(lr)
    }

    /// The weights that are validated and exported.
    fn shown(&self) -> &Weights {
        self.average.as_ref().unwrap_or(&self.weights)
    }

    /// Takes an epoch to the curve and writes the checkpoint.
    fn finish_epoch(&mut self, epoch: Epoch) -> Result<(), TrainError> {
        let Training { options, folder, .. } = *self.training;
        let at = |number: usize| self.state.curve.get(number.wrapping_sub(1));
        if at(self.state.best_epoch).is_none_or(|best| !better(best, &epoch)) {
            self.best = self.shown().clone();
            self.state.best_epoch = epoch.epoch;
        }
        let waited = epoch.epoch - self.state.best_epoch;
        let patient = options.patience.is_none_or(|patience| waited < patience);
        self.state.finished = epoch.epoch == options.epochs || !patient;
        self.state.curve.push(epoch);
        checkpoint::save(&folder.join(CHECKPOINT), &self.state, &self.tensors())
    }

    fn tensors(&self) -> Tensors {
        let of = |prefix: &'static str, weights: &Weights| -> Vec<(String, Tensor)> {
            weights.iter().map(|(name, tensor)| (format!("{prefix}.{name}"), tensor.clone())).collect()
        };
        let mut all: Tensors = of("weights", &self.weights).into_iter().collect();
        all.extend(of("best", &self.best));
        all.extend(self.average.iter().flat_map(|average| of("average", average)));
        all.extend(self.optimizer.memory().map(|(name, tensor)| (format!("optimizer.{name}"), tensor.clone())));
        let discriminator = self.discriminator.iter().flat_map(Discriminator::tensors);
        all.extend(discriminator.map(|(name, tensor)| (format!("discriminator.{name}"), tensor)));
        all
    }

    fn restore(&mut self, state: State, tensors: Tensors) -> Result<(), String> {
        let mut groups: BTreeMap<&str, Tensors> = BTreeMap::new();
        for (name, tensor) in &tensors {
            let (group, name) = name.split_once('.').ok_or_else(|| format!("what is `{name}`?"))?;
            groups.entry(group).or_default().insert(name.to_owned(), tensor.clone());
        }
        let mut take = |group: &str| groups.remove(group).unwrap_or_default();
        let graph = &self.trained;
        let mut weights = |group: &str| {
            let tensors = take(group).into_iter().collect();
            Weights::from_tensors(graph, tensors).map_err(|error| format!("{group}: {error}"))
        };
        (self.weights, self.best) = (weights("weights")?, weights("best")?);
        if self.average.is_some() {
            self.average = Some(weights("average")?);
        }
        self.optimizer.restore(state.steps, take("optimizer"));
        let discriminator = take("discriminator");
        if self.discriminator.as_mut().is_some_and(|own| !own.restore(discriminator)) {
            return Err("discriminator: its tensors are missing".into());
        }
        self.state = state;
        Ok(())
    }

    fn diverged(&self, epoch: usize, step: usize, what: &'static str, value: f64) -> TrainError {
        let kept = match self.state.curve.len() {
            0 => "there is no checkpoint yet".to_owned(),
            epochs => format!("the checkpoint of epoch {epochs} stays"),
        };
        TrainError::Diverged { epoch, step, what, value, lr: self.training.options.peak_lr(), kept }
    }
}

fn owned(weights: &Weights) -> HashMap<String, Tensor> {
    weights.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
}

/// Whether `best` stays the best beside `new`, which came later: by validation accuracy, then loss. Without validation, the
/// last one is the best.
fn better(best: &Epoch, new: &Epoch) -> bool {
    let (Some(a), Some(b)) = (best.validation_accuracy, new.validation_accuracy) else { return false };
    let losses = best.validation_loss.zip(new.validation_loss);
    a > b || a == b && losses.is_none_or(|(a, b)| a <= b)
}

/// Number of samples whose largest output is that of their label.
fn correct(output: &Tensor, labels: &Tensor) -> Result<f64, candle_core::Error> {
    let hits = output.argmax(D::Minus1)?.eq(labels)?.to_dtype(DType::F32)?;
    Ok(f64::from(hits.sum_all()?.to_scalar::<f32>()?))
}
