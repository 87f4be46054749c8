//! What a measured latency is: [`Protocol`], [`measure_in_turns`], its statistics, and the [`Measurement`] that is kept.
//!
//! A figure is the median of the medians of rounds, corrected by a reference model's drift, with a bootstrap
//! interval over rounds, after a warm-up that ends when it is warm. Every sample is kept; the seconds of one run each.

mod compare;
mod energy;
mod figures;
mod host;
mod long;
mod measure;
mod measurement;
mod memory;
mod protocol;
mod reference;
pub mod statistics;
mod unit;

pub use compare::{Comparison, compare, compare_intervals};
pub use energy::EnergyCounter;
pub use figures::{Figures, figures};
pub use host::{Host, HostState};
pub use long::{Sustained, Throughput, Window, sustain, throughput};
pub use measure::{Bench, Samples, StopReason, Who, measure, measure_in_turns};
pub use measurement::{Measured, Measurement, Pace, ReferenceFigures, Verdict};
pub use memory::PeakMemory;
pub(crate) use memory::resident_bytes;
pub use protocol::{FEWEST_ROUNDS, Protocol, ProtocolError};
pub use reference::reference_model;
pub use unit::Unit;
