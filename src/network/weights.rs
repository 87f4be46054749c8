//! The parameters of a network by name: initialised from a seed, saved and loaded as safetensors.
//!
//! A parameter's values depend on the seed and on its own name and shape alone. So the live part of a
//! graph has the very weights of the whole, and the order of nodes does not matter.

use crate::graph::{Graph, Parameter, Role};
use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// How weights are drawn before training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// PyTorch's default: weights and biases uniform in ±1/√fan_in.
    #[default]
    TorchDefault,
    /// Normal with deviation √(2/fan_in) (He et al. 2015), biases zero.
    KaimingNormal,
}

/// Why weights can't be had.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A parameter that the graph needs is absent.
    #[error("parameter `{0}` is missing")]
    Missing(String),
    /// A parameter of the wrong dimensions.
    #[error("parameter `{name}` has dimensions {found:?}, expected {expected:?}")]
    Dims {
        /// The parameter.
        name: String,
        /// What it has.
        found: Vec<usize>,
        /// What the graph needs.
        expected: Vec<usize>,
    },
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The tensors of a network, by parameter name, all f32 on one device.
#[derive(Clone, Debug)]
pub struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// Draws the weights of `graph` from `seed`.
    ///
    /// # Errors
    /// If the device can't hold them.
    pub fn random(graph: &Graph, init: Init, seed: u64, device: &Device) -> Result<Self, WeightsError> {
        let draw = |parameter: Parameter| {
            let tensor = Tensor::from_vec(values(&parameter, init, seed), parameter.dims, device)?;
            Ok((parameter.name, tensor))
        };
        Ok(Self(graph.parameters().into_iter().map(draw).collect::<Result<_, WeightsError>>()?))
    }

    /// Takes these tensors as the weights of `graph`; others than it needs are dropped.
    ///
    /// # Errors
    /// If one that it needs is missing or has the wrong dimensions.
    pub fn from_tensors(graph: &Graph, mut tensors: HashMap<String, Tensor>) -> Result<Self, WeightsError> {
        let mut all = BTreeMap::new();
        for parameter in graph.parameters() {
            let tensor =
                tensors.remove(&parameter.name).ok_or_else(|| WeightsError::Missing(parameter.name.clone()))?;
            if tensor.dims() != parameter.dims {
                return Err(WeightsError::Dims {
                    name: parameter.name,
                    found: tensor.dims().to_vec(),
                    expected: parameter.dims,
                });
            }
            all.insert(parameter.name, tensor.to_dtype(DType::F32)?);
        }
        Ok(Self(all))
    }

    /// Reads the weights of `graph` from a safetensors file.
    ///
    /// # Errors
    /// If the file can't be read, or one that the graph needs is missing or misshapen.
    pub fn load(graph: &Graph, path: &Path, device: &Device) -> Result<Self, WeightsError> {
        Self::from_tensors(graph, candle_core::safetensors::load(path, device)?)
    }

    /// Writes the weights as a safetensors file.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        let tensors: HashMap<_, _> = self.0.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        Ok(candle_core::safetensors::save(&tensors, path)?)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn get(&self, name: &str) -> Result<&Tensor, WeightsError> {
        self.0.get(name).ok_or_else(|| WeightsError::Missing(name.to_owned()))
    }

    /// These weights as variables that Candle's gradients are taken with respect to.
    ///
    /// # Errors
    /// If the device can't hold them.
    pub fn tracked(&self) -> Result<Self, WeightsError> {
        let track = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), Var::from_tensor(tensor)?.into_inner()));
        Ok(Self(self.0.iter().map(track).collect::<Result<_, WeightsError>>()?))
    }

    /// These weights, each changed by `f` of its name and itself.
    ///
    /// # Errors
    /// If `f` fails.
    pub fn map(&self, f: impl Fn(&str, &Tensor) -> Result<Tensor, candle_core::Error>) -> Result<Self, WeightsError> {
        let changed = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), f(name, tensor)?));
        Ok(Self(self.0.iter().map(changed).collect::<Result<_, WeightsError>>()?))
    }

    /// Names and tensors, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// SHA-256 over names, dimensions and values, in the order of the names.
    ///
    /// # Errors
    /// If a tensor can't be read from its device.
    pub fn sha256(&self) -> Result<String, WeightsError> {
        let mut digest = Sha256::new();
        for (name, tensor) in &self.0 {
            digest.update(format!("{name}{:?}", tensor.dims()));
            for value in tensor.flatten_all()?.to_vec1::<f32>()? {
                digest.update(value.to_le_bytes());
            }
        }
        Ok(crate::genotype::hex(&digest.finalize()))
    }
}

/// Of position embeddings (DeiT, Touvron et al. 2021; timm).
const POSITION_DEVIATION: f32 = 0.02;

fn values(parameter: &Parameter, init: Init, seed: u64) -> Vec<f32> {
    let count = parameter.dims.iter().product();
    let fan_in = parameter.fan_in as f32;
    let mut rng = rng_of(parameter, seed);
    match (parameter.role, init) {
        (Role::Scale | Role::RunningVariance, _) => vec![1.0; count],
        (Role::Shift | Role::RunningMean, _) | (Role::Bias, Init::KaimingNormal) => vec![0.0; count],
        (Role::Position, _) => (0..count).map(|_| POSITION_DEVIATION * standard_normal(&mut rng)).collect(),
        (Role::Weight | Role::Bias, Init::TorchDefault) => {
            let bound = fan_in.sqrt().recip();
            (0..count).map(|_| rng.random_range(-bound..bound)).collect()
        }
        (Role::Weight, Init::KaimingNormal) => {
            let deviation = (2.0 / fan_in).sqrt();
            (0..count).map(|_| deviation * standard_normal(&mut rng)).collect()
        }
    }
}

fn rng_of(parameter: &Parameter, seed: u64) -> ChaCha8Rng {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(&parameter.name).finalize();
    ChaCha8Rng::from_seed(digest.into())
}

/// One normally distributed number (Box and Muller 1958).
pub(crate) fn standard_normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * rng.random::<f32>()).cos()
}
