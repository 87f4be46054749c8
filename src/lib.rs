//! Tegu: hardware-aware neural architecture search.
//!
//! Candidates of a search space are lowered to one operator [`graph`], scored without training by the
//! TEG indicators ([`indicator`]), exported to ONNX ([`onnx`]), measured in a child process on the target
//! ([`device`]), and searched for the Pareto front of quality against measured cost ([`study`]).
//!
//! `examples/` has short programs: `library` scores, exports and measures; `own_space`, `own_indicator`, `own_device` and
//! `own_sampler` bring something of their own. Other languages take part as plugins (docs/plugins.md).
//!
//! ARCHITECTURE.md has the way of a candidate through the modules; an import points to the left of it, which
//! `tests/layering.rs` holds the code to.
#![warn(missing_docs)]

pub mod agent;
pub mod cli;
pub mod config;
pub mod conformance;
pub mod data;
pub mod device;
mod difference;
mod files;
pub mod foreign;
pub mod genotype;
pub mod graph;
pub mod indicator;
pub mod journal;
pub mod kernels;
pub mod latency;
pub mod lut;
pub mod nats;
pub mod network;
pub mod objective;
pub mod onnx;
pub mod pareto;
pub mod plugin;
mod process;
pub mod prune;
pub mod quality;
pub mod quantize;
pub mod report;
pub mod runtime;
pub mod sampler;
mod sheet;
pub mod space;
pub mod statistics;
pub mod study;
pub mod surrogate;
pub mod tabular;
pub mod train;
pub mod yaml;
