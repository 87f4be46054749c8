//! What a measured latency is: [`Protocol`], [`measure`], its statistics, and the [`Measurement`] that is kept.
//!
//! A figure is the median of the medians of rounds, with a bootstrap interval over rounds, after a warm-up that
//! ends when it is warm. Every sample is kept; the seconds of one run each.

mod host;
mod measure;
mod measurement;
mod protocol;
pub mod statistics;

pub use host::Host;
pub use measure::{Samples, StopReason, measure};
pub use measurement::{Measured, Measurement, Verdict};
pub use protocol::{FEWEST_ROUNDS, Protocol, ProtocolError};
