//! What indicators look at: a candidate's networks, and the batches that run through them.
//!
//! Batches and seeds are drawn once for a study ([`Probes`]), so that all candidates see the same. A [`Run`] is one
//! network of one candidate; what several indicators need of it is computed once. Runs come one after the other, so
//! that only one network's activations are held.

use super::batches::{Batches, PATCHES, derive, fits, patches};
use super::brought::Brought;
use super::diswot::Teacher;
use super::jacov::input_correlations;
use super::linear_regions::count;
use super::loss::{LossGradients, loss_gradients};
use super::ntk::{Ntk, ntk};
use super::signs::Signs;
use super::{IndicatorError, Settings, View, spectrum};
use crate::genotype::Genotype;
use crate::graph::Graph;
use crate::network::{self, Activations, Weights};
use crate::space::{NetworkSize, Scale, SearchSpace};
use candle_core::{Device, Tensor};
use nalgebra::DMatrix;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::cell::OnceCell;
use std::sync::Arc;

/// The settings, batches and labels that all candidates of a study share.
#[derive(Clone, Debug)]
pub struct Probes {
    settings: Settings,
    seed: u64,
    device: Device,
    sizes: [NetworkSize; View::ALL.len()],
    kernel: Batches,
    features: Batches,
    patches: Vec<Tensor>,
    /// Where the space's networks come with weights, and there is data.
    brought: Option<Arc<Brought>>,
    stacks: bool,
}

/// One network of one candidate.
#[derive(Debug)]
pub struct Run<'a> {
    probes: &'a Probes,
    view: View,
    graph: &'a Graph,
    number: usize,
    /// Whether kernels are computed with those across to the second batch at once.
    across: bool,
    /// Whose weights they are, where they are not drawn.
    candidate: Option<(&'a SearchSpace, &'a Genotype)>,
    weights: OnceCell<Weights>,
    activations: OnceCell<Activations>,
    signs: OnceCell<Signs>,
    block_entropies: OnceCell<Vec<f64>>,
    kernels: OnceCell<Ntk>,
    cross_kernels: OnceCell<Ntk>,
    loss_gradients: OnceCell<LossGradients>,
    input_correlations: OnceCell<DMatrix<f64>>,
    regions: OnceCell<usize>,
}

impl Probes {
    /// Draws batches and labels for the networks of `space`.
    ///
    /// # Errors
    /// If the device can't hold them.
    pub fn new(space: &SearchSpace, settings: Settings, seed: u64, device: Device) -> Result<Self, IndicatorError> {
        let sizes = View::ALL.map(|view| view.size(space, settings.mode));
        let batches = |view: View, purpose: u64| {
            Batches::draw(&sizes[view as usize], view.batch(&settings), &settings, derive(seed, purpose), &device)
        };
        if let Some(data) = &settings.data {
            fits(data, &sizes)?;
        }
        let (kernel, features) = (batches(View::Kernel, 0)?, batches(View::Features, 1)?);
        let patches = patches(sizes[View::Regions as usize].input, &settings, derive(seed, 2), &device)?;
        let brought = Brought::of(space, &settings, &device)?.map(Arc::new);
        let stacks = !device.is_cpu();
        Ok(Self { settings, seed, device, sizes, kernel, features, patches, brought, stacks })
    }

    /// These batches for all views.
    #[cfg(test)]
    pub(super) fn given(settings: Settings, images: [Tensor; 2], labels: [Vec<usize>; 2]) -> Self {
        let space = SearchSpace::open("nas-bench-201").expect("a space of ours");
        let drawn = Self::new(&space, settings, 0, Device::Cpu).expect("the CPU holds the batches");
        let batches = Batches { images, labels };
        Self { kernel: batches.clone(), features: batches, ..drawn }
    }

    /// Whether networks of many candidates run together: one is too small for a GPU, and enough for a core.
    pub(super) fn stacks(&self) -> bool {
        self.stacks
    }

    /// These, with many networks at a time on the CPU, too: to test and time what other devices do.
    #[doc(hidden)]
    pub fn stacked(self) -> Self {
        Self { stacks: true, ..self }
    }

    /// The batches that a stack of this view's networks runs on: that of the kernels, and with `across` the second;
    /// those that regions are counted with.
    pub(super) fn stacked_batches(&self, view: View, across: bool) -> &[Tensor] {
        match view {
            View::Regions => &self.patches,
            _ => &self.batches(view).images[..1 + usize::from(across)],
        }
    }

    /// The weights of one of the view's networks; `graph` is the candidate's in that view.
    ///
    /// # Errors
    /// If the device can't hold them.
    pub(super) fn weights(
        &self,
        graph: &Graph,
        view: View,
        number: usize,
        device: &Device,
    ) -> Result<Weights, IndicatorError> {
        let seed = derive(self.seed, WEIGHTS + number as u64);
        Ok(Weights::random(graph, view.init(&self.settings), seed, device)?)
    }

    /// Bytes that all candidates together may take.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.settings.memory_mib << 20
    }

    /// Images of a batch that regions are counted with.
    pub(super) fn patch_batch(&self) -> usize {
        PATCHES
    }

    /// How indicators are computed.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The candidate's graph in a view.
    ///
    /// # Errors
    /// If it is dead, or can't be built.
    pub fn graph(&self, space: &SearchSpace, genotype: &Genotype, view: View) -> Result<Graph, IndicatorError> {
        let whole = match view {
            // Its input may be a decision.
            View::Architecture | View::Brought => space.lower(genotype, Scale::Full)?,
            _ => space.lower_to(genotype, &self.sizes[view as usize])?,
        };
        let live = whole.live().map_err(|_| IndicatorError::Dead)?;
        Ok(if view.keeps_dead_operators(&self.settings) { whole } else { live })
    }

    /// One of the view's networks; `graph` is the candidate's in that view.
    pub fn run<'a>(&'a self, graph: &'a Graph, view: View, number: usize) -> Run<'a> {
        Run {
            probes: self,
            view,
            graph,
            number,
            across: false,
            candidate: None,
            weights: OnceCell::new(),
            activations: OnceCell::new(),
            signs: OnceCell::new(),
            block_entropies: OnceCell::new(),
            kernels: OnceCell::new(),
            cross_kernels: OnceCell::new(),
            loss_gradients: OnceCell::new(),
            input_correlations: OnceCell::new(),
            regions: OnceCell::new(),
        }
    }

    fn batches(&self, view: View) -> &Batches {
        match view {
            View::Features => &self.features,
            _ => &self.kernel,
        }
    }

    /// The whole model's run, where the space's networks are parts of one.
    pub(super) fn original(&self) -> Option<Run<'_>> {
        let brought = self.brought.as_ref()?;
        let (graph, weights) = &brought.original;
        Some(Run { weights: OnceCell::from(weights.clone()), ..self.run(graph, View::Brought, 0) })
    }

    /// What students are compared with; it is the same for all of them.
    pub(super) fn teacher(&self) -> Result<Option<&Teacher>, IndicatorError> {
        let Some(brought) = &self.brought else { return Ok(None) };
        if let (None, Some(run)) = (brought.teacher.get(), self.original()) {
            let _ = brought.teacher.set(Teacher::new(&run)?);
        }
        Ok(brought.teacher.get())
    }
}

/// Purposes from here on are the networks' weights and, behind [`RUNS`] more, their other draws.
const WEIGHTS: u64 = 16;
const RUNS: u64 = 1 << 32;

impl<'a> Run<'a> {
    /// The run of a candidate with the weights that its space brings.
    pub(super) fn of(self, space: &'a SearchSpace, genotype: &'a Genotype) -> Self {
        Self { candidate: Some((space, genotype)), ..self }
    }

    /// The run whose kernels come with those across to the second batch: where something asks for these, the first
    /// batch's are not computed twice.
    pub(super) fn across(self, across: bool) -> Self {
        Self { across, ..self }
    }

    /// The run of which this is known already.
    pub(super) fn knowing(self, kernels: Option<Ntk>, regions: Option<usize>) -> Self {
        let known = kernels.map_or_else(OnceCell::new, OnceCell::from);
        let (kernels, cross_kernels) = if self.across { (OnceCell::new(), known) } else { (known, OnceCell::new()) };
        Self { kernels, cross_kernels, regions: regions.map_or_else(OnceCell::new, OnceCell::from), ..self }
    }

    /// The settings of the study.
    pub fn settings(&self) -> &Settings {
        &self.probes.settings
    }

    /// The network's graph.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The network's weights.
    ///
    /// # Errors
    /// If the device can't hold them.
    pub fn weights(&self) -> Result<&Weights, IndicatorError> {
        once(&self.weights, || match self.candidate {
            Some((space, genotype)) => {
                let drawn = (self.view.init(&self.probes.settings), self.probes.seed);
                Ok(space.weights(genotype, self.graph, drawn, &self.probes.device)?)
            }
            None => self.probes.weights(self.graph, self.view, self.number, &self.probes.device),
        })
    }

    /// The batch, `[batch, channels, height, width]`.
    pub fn images(&self) -> &Tensor {
        &self.batches().images[0]
    }

    /// A second batch of the same size.
    pub fn second_images(&self) -> &Tensor {
        &self.batches().images[1]
    }

    /// The classes of the samples of both batches.
    pub fn labels(&self) -> [&[usize]; 2] {
        let [first, second] = &self.batches().labels;
        [first, second]
    }

    fn batches(&self) -> &Batches {
        let brought = self.probes.brought.as_ref().filter(|_| self.view == View::Brought);
        let own = brought.and_then(|brought| brought.batches.get(&self.graph.input_shape().dims()));
        own.unwrap_or_else(|| self.probes.batches(self.view))
    }

    /// The model that the network is a part of, as a teacher.
    ///
    /// # Errors
    /// If it is a part of none, there is no data, or the model is no teacher.
    pub(super) fn teacher(&self, indicator: &'static str) -> Result<&'a Teacher, IndicatorError> {
        self.check_brought(indicator)?;
        Ok(self.probes.teacher()?.expect("there is a model"))
    }

    /// Whether there are weights to look at, and samples to look at them with.
    ///
    /// # Errors
    /// If not.
    pub(super) fn check_brought(&self, indicator: &'static str) -> Result<(), IndicatorError> {
        let unfit = |reason: &str| IndicatorError::Unfit { indicator, reason: reason.to_owned() };
        match (&self.probes.brought, self.candidate) {
            (Some(_), _) => Ok(()),
            (None, Some((space, _))) if space.is_pretrained() => {
                Err(unfit("there are no samples, expected `indicators.data`"))
            }
            _ => Err(unfit("the networks have no weights but drawn ones, expected a space `from_onnx`")),
        }
    }

    /// The batches that regions are counted with, each `[batch, channels, height, width]`.
    pub fn patches(&self) -> &[Tensor] {
        &self.probes.patches
    }

    /// Randomness of this very network, for `purpose`: the same for every candidate.
    pub fn rng(&self, purpose: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(derive(self.probes.seed, RUNS * (1 + purpose) + self.number as u64))
    }

    /// The results of all nodes on the batch, with the batch's statistics.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn activations(&self) -> Result<&Activations, IndicatorError> {
        once(&self.activations, || {
            Ok(network::activations(self.graph, self.weights()?, self.images(), network::Mode::Train)?)
        })
    }

    /// Which rectifiers are on, for each image of the batch.
    ///
    /// # Errors
    /// If Candle fails.
    pub(super) fn signs(&self) -> Result<&Signs, IndicatorError> {
        once(&self.signs, || Ok(Signs::new(self.graph, self.activations()?, self.images().dim(0)?)?))
    }

    /// The entropy of each block's output on the batch, in the blocks' order: that of the normalised eigenvalues of
    /// the covariance of its channels.
    ///
    /// # Errors
    /// If Candle fails.
    pub(super) fn block_entropies(&self) -> Result<&[f64], IndicatorError> {
        let of_block = |maps| -> Result<f64, IndicatorError> {
            Ok(spectrum::entropy(&spectrum::channel_covariance(maps)?.symmetric_eigenvalues()))
        };
        let known = once(&self.block_entropies, || {
            let activations = self.activations()?;
            self.graph.blocks().iter().map(|block| of_block(activations.of(block.output))).collect()
        })?;
        Ok(known)
    }

    /// The neural tangent kernels on the first batch.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn kernels(&self) -> Result<&Ntk, IndicatorError> {
        match self.across {
            true => self.cross_kernels(),
            false => once(&self.kernels, || Ok(ntk(self.graph, self.weights()?, self.images(), None)?)),
        }
    }

    /// The neural tangent kernels on both batches; an [`Indicator`](super::Indicator) that asks for them says so.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn cross_kernels(&self) -> Result<&Ntk, IndicatorError> {
        once(&self.cross_kernels, || Ok(ntk(self.graph, self.weights()?, self.images(), Some(self.second_images()))?))
    }

    /// The number of linear regions that the patches fall into.
    ///
    /// # Errors
    /// If Candle fails.
    pub(super) fn regions(&self) -> Result<usize, IndicatorError> {
        once(&self.regions, || Ok(count(self.graph, self.weights()?, self.patches())?)).copied()
    }

    /// The gradients of the batch's cross-entropy.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn loss_gradients(&self) -> Result<&LossGradients, IndicatorError> {
        once(&self.loss_gradients, || {
            Ok(loss_gradients(self.graph, self.weights()?, self.images(), self.labels()[0], true)?)
        })
    }

    /// How the samples' input Jacobians correlate, `[batch, batch]`.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn input_correlations(&self) -> Result<&DMatrix<f64>, IndicatorError> {
        once(&self.input_correlations, || Ok(input_correlations(self.graph, self.weights()?, self.images())?))
    }

    /// This run on other weights.
    #[cfg(test)]
    pub(super) fn on(self, weights: Weights) -> Self {
        Self { weights: weights.into(), ..self }
    }
}

/// The cell's value, computed where it has none.
fn once<T>(cell: &OnceCell<T>, compute: impl FnOnce() -> Result<T, IndicatorError>) -> Result<&T, IndicatorError> {
    if cell.get().is_none() {
        let _ = cell.set(compute()?);
    }
    Ok(cell.get().expect("it was computed above"))
}
