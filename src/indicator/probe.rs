//! What indicators look at: a candidate's probe networks, and the batches that run through them.
//!
//! The batches and the seeds are drawn once for a study ([`Probes`]), so that all candidates see the same;
//! what several indicators need of one candidate ([`Probe`]) is computed once.

use super::ntk::{Ntk, cross_kernel, first_kernels};
use super::{Images, IndicatorError, Mode, Settings};
use crate::genotype::Genotype;
use crate::graph::Graph;
use crate::network::{LayerGradient, Weights};
use crate::space::{Scale, SearchSpace};
use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::cell::OnceCell;

/// The settings, batches and labels that all candidates of a study share.
#[derive(Clone, Debug)]
pub struct Probes {
    settings: Settings,
    seed: u64,
    device: Device,
    first: Tensor,
    second: Tensor,
    labels: (Vec<usize>, Vec<usize>),
    patches: Vec<Tensor>,
}

/// One candidate under the eyes of the indicators.
#[derive(Debug)]
pub struct Probe<'a> {
    shared: &'a Probes,
    space: &'a SearchSpace,
    genotype: &'a Genotype,
    first: OnceCell<First>,
    kernels: OnceCell<Vec<Ntk>>,
}

/// What the first batch gives.
#[derive(Debug)]
struct First {
    networks: ProbeNetworks,
    kernels: Vec<Ntk>,
    /// For each network, the gradients of the body's layers, for the kernels across the batches.
    body: Vec<Vec<LayerGradient>>,
}

/// Networks of one graph with independent weights.
#[derive(Debug)]
pub struct ProbeNetworks {
    /// The graph.
    pub graph: Graph,
    /// The weights of each network.
    pub weights: Vec<Weights>,
}

impl Probes {
    /// Draws batches and labels for the networks of `space`.
    ///
    /// # Errors
    /// If the device can't hold them.
    pub fn new(space: &SearchSpace, settings: Settings, seed: u64, device: Device) -> Result<Self, IndicatorError> {
        let probe = space.network(Scale::Probe);
        let batch = settings.batch;
        let [channels, height, width] = probe.input;
        let images = |which: u64| -> Result<Tensor, IndicatorError> {
            let values = settings.images.draw(batch, probe.input, derive(seed, which));
            Ok(Tensor::from_vec(values, (batch, channels, height, width), &device)?)
        };
        let mut rng = ChaCha8Rng::seed_from_u64(derive(seed, 2));
        let mut labels = || (0..batch).map(|_| rng.random_range(0..probe.classes)).collect::<Vec<_>>();
        let patches = patches(space, settings.images, derive(seed, 3), &device)?;
        let labels = (labels(), labels());
        let (first, second) = (images(0)?, images(1)?);
        Ok(Self { settings, seed, first, second, labels, patches, device })
    }

    /// Whether the CPU computes.
    pub fn on_cpu(&self) -> bool {
        self.device.is_cpu()
    }

    /// The view of one candidate.
    pub fn of<'a>(&'a self, space: &'a SearchSpace, genotype: &'a Genotype) -> Probe<'a> {
        Probe { shared: self, space, genotype, first: OnceCell::new(), kernels: OnceCell::new() }
    }
}

/// Batches of the images that regions are counted with.
const PATCH_BATCHES: usize = 3;
/// Images of one such batch.
const PATCHES: usize = 1000;

fn patches(space: &SearchSpace, images: Images, seed: u64, device: &Device) -> Result<Vec<Tensor>, IndicatorError> {
    let [channels, height, width] = space.network(Scale::Thin).input;
    let batch = |number: u64| {
        let values = images.draw_patches(PATCHES, [channels, height, width], derive(seed, number));
        Ok(Tensor::from_vec(values, (PATCHES, channels, height, width), device)?)
    };
    (0..PATCH_BATCHES as u64).map(batch).collect()
}

/// A seed of its own for each purpose (SplitMix64, Steele et al. 2014).
fn derive(seed: u64, purpose: u64) -> u64 {
    let mut z = seed.wrapping_add(purpose.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Probe<'_> {
    /// The settings of the study.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The classes of the samples of both batches.
    pub fn labels(&self) -> (&[usize], &[usize]) {
        (&self.shared.labels.0, &self.shared.labels.1)
    }

    /// The batches that regions are counted with, each `[batch, channels, height, width]`.
    pub fn patches(&self) -> &[Tensor] {
        &self.shared.patches
    }

    /// The kernels of the probe networks on the first batch, computed once.
    ///
    /// # Errors
    /// If the candidate is dead, or Candle fails.
    pub fn first_kernels(&self) -> Result<&[Ntk], IndicatorError> {
        match self.kernels.get() {
            Some(kernels) => Ok(kernels),
            None => Ok(&self.first()?.kernels),
        }
    }

    /// The kernels of the probe networks, those across the batches among them, computed once.
    ///
    /// # Errors
    /// If the candidate is dead, or Candle fails.
    pub fn kernels(&self) -> Result<&[Ntk], IndicatorError> {
        if let Some(kernels) = self.kernels.get() {
            return Ok(kernels);
        }
        let First { networks, kernels, body } = self.first()?;
        let across = |((weights, kernels), body): ((&Weights, &Ntk), &Vec<LayerGradient>)| {
            let cross = cross_kernel(&networks.graph, weights, body, &self.shared.second)?;
            Ok(Ntk { body_cross: Some(cross), ..kernels.clone() })
        };
        let all: Vec<_> = networks.weights.iter().zip(kernels).zip(body).collect();
        let kernels = all.into_par_iter().map(across).collect::<Result<Vec<_>, IndicatorError>>()?;
        Ok(self.kernels.get_or_init(|| kernels))
    }

    fn first(&self) -> Result<&First, IndicatorError> {
        if let Some(first) = self.first.get() {
            return Ok(first);
        }
        let networks = self.networks(Scale::Probe)?;
        let one = |weights| {
            let mut body = Vec::new();
            let kernels = first_kernels(&networks.graph, weights, &self.shared.first, |layer| body.push(layer))?;
            Ok((kernels, body))
        };
        let both = networks.weights.par_iter().map(one).collect::<Result<Vec<_>, IndicatorError>>()?;
        let (kernels, body) = both.into_iter().unzip();
        Ok(self.first.get_or_init(|| First { networks, kernels, body }))
    }

    /// The thin networks, whose regions are counted.
    ///
    /// # Errors
    /// If the candidate is dead.
    pub fn thin_networks(&self) -> Result<ProbeNetworks, IndicatorError> {
        self.networks(Scale::Thin)
    }

    fn networks(&self, scale: Scale) -> Result<ProbeNetworks, IndicatorError> {
        let whole = self.space.lower(self.genotype, scale)?;
        let live = whole.live().map_err(|_| IndicatorError::Dead)?;
        // The released code runs operators that lead nowhere, and counts their ReLUs.
        let graph = match self.settings().mode {
            Mode::Fast => live,
            Mode::Compat => whole,
        };
        let draw = |number: usize| {
            let seed = derive(self.shared.seed, 16 + number as u64);
            Weights::random(&graph, self.settings().init, seed, &self.shared.device)
        };
        let weights = (0..self.settings().networks).map(draw).collect::<Result<_, _>>()?;
        Ok(ProbeNetworks { graph, weights })
    }
}
