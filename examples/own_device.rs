//! A device of one's own: an accelerator that exists on paper only (the roofline of Williams et al. 2009), asked as any other device is.
//!
//! `cargo run --release --example own_device`

use sha2::{Digest, Sha256};
use std::path::Path;
use tegu::device::{Device, DeviceError, HardwareProfile, Job};
use tegu::latency::{Host, HostState, Measured, Measurement, Samples, StopReason};
use tegu::network::{Init, Weights};
use tegu::onnx::{self, ExportOptions, Metadata};
use tegu::runtime::{self, RuntimeInfo, SessionOptions};
use tegu::space::{Scale, SearchSpace};

/// Multiply-accumulates per second, bytes of weights per second, and seconds that each operator takes to be started.
const MACS_S: f64 = 10e9;
const BYTES_S: f64 = 1e9;
const START_S: f64 = 5e-6;

struct Roofline {
    profile: HardwareProfile,
}

impl Device for Roofline {
    fn profile(&self) -> &HardwareProfile {
        &self.profile
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError> {
        let refused = |error: &dyn std::fmt::Display| DeviceError::Refused(error.to_string());
        let session = SessionOptions { batch: Some(self.profile.batch), ..SessionOptions::default() };
        let macs = runtime::macs(&job.model, &session).map_err(|error| refused(&error))?;
        let info = onnx::inspect(&job.model)?;
        let operators: usize = info.operators.values().sum();
        let moved_s = info.constants as f64 * 4.0 / BYTES_S;
        let run_s = (macs as f64 / MACS_S).max(moved_s) + operators as f64 * START_S;
        let bytes = std::fs::read(&job.model).map_err(|error| refused(&error))?;
        Ok(Measurement::new(Measured {
            model_sha256: Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
            device: &self.profile.name,
            runtime: RuntimeInfo { name: "roofline".into(), version: "1".into(), library: None },
            session: &session,
            nodes_by_provider: [("roofline".to_owned(), operators)].into(),
            fallen_back: vec![],
            cores: None,
            batch: self.profile.batch,
            protocol: &self.profile.protocol,
            load_s: moved_s,
            samples: Samples {
                first_run_s: run_s,
                warm_up_runs: 1,
                warm: true,
                rounds: vec![vec![run_s]; self.profile.protocol.rounds],
                reference_s: vec![],
                reference_turns_s: vec![],
                loads: 1,
                stop: StopReason::NarrowInterval,
            },
            reference: Err(Some("there is nothing to correct".to_owned())),
            peak_memory_mib: None,
            energy_j: None,
            throughput: None,
            sustained: None,
            host: Host::here(),
            before: HostState::default(),
            after: HostState::default(),
        }))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let profile = "{name: paper-npu, description: 10 GMAC/s and 1 GB/s, protocol: {between_process: 0}}";
    let mut device = Roofline { profile: HardwareProfile::parse(profile, Path::new("paper-npu.yaml"))? };
    let space = SearchSpace::open("mobilenet-macro")?;
    let path = std::env::temp_dir().join("tegu-own-device.onnx");
    for arch in ["00000000", "11111111", "22222222", "00000222", "22000000"] {
        let graph = space.lower(&space.parse_arch(arch)?, Scale::Full)?.live()?;
        let weights = Weights::random(&graph, Init::TorchDefault, 0, &candle_core::Device::Cpu)?;
        onnx::export(&graph, &weights, &Metadata::new(), ExportOptions::default())?.save(&path)?;
        let found = device.measure(&Job::of_model(&path))?;
        let cost = graph.cost();
        let bound = if cost.macs as f64 / MACS_S > found.load_ms / 1e3 { "products" } else { "memory" };
        println!("{arch}: {:.3} ms, {} MACs, {} parameters, bound by {bound}", found.p50_ms, cost.macs, cost.params);
    }
    Ok(())
}
