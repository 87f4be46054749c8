//! From [`Graph`](crate::graph::Graph) to a Candle network: weights, device, forward pass.

mod weights;

pub use weights::{Init, Weights, WeightsError};
