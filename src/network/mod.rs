//! From [`Graph`](crate::graph::Graph) to a Candle network: weights, device, forward and reverse pass.

mod device;
mod fold;
mod forward;
mod reverse;
mod stack;
mod tokens;
mod training;
mod unfold;
mod weights;

pub use device::Compute;
pub use fold::fold_batch_norms;
pub use forward::{Activations, Mode, activations, activations_with, between, forward};
pub use reverse::{LayerGradient, PerSampleGradients};
pub use stack::{LayerProducts, Member, Stack, stacked_bytes};
pub use training::{BatchStatistics, Gradients, TrainingPass, loss_gradient};
pub use unfold::{unfold_batch_norms, with_statistics_of};
pub(crate) use weights::standard_normal;
pub use weights::{Init, Weights, WeightsError};
