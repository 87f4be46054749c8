//! Tegu: hardware-aware neural architecture search.
//!
//! Candidates of a search space are lowered to one operator [`graph`], scored without training by the
//! TEG indicators ([`indicator`]), exported to ONNX ([`onnx`]), measured in a child process on the target
//! ([`device`]), and searched for the Pareto front of quality against measured cost ([`study`]).
//!
//! The modules stand in the order in which a candidate passes through them: an import points to the left.
//! ARCHITECTURE.md has the picture, and `tests/layering.rs` holds the code to it.
#![warn(missing_docs)]

pub mod yaml;
pub mod genotype;
pub mod graph;
pub mod kernels;
pub mod latency;
pub mod network;
pub mod objective;
pub mod onnx;
pub mod pareto;
pub mod report;
pub mod runtime;
pub mod sampler;
pub mod space;
pub mod device;
pub mod indicator;
pub mod study;
pub mod cli;
pub mod config;
