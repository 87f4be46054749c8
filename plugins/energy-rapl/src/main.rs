//! A plugin of Tegu: the energy that one run of a candidate takes, as an objective.
//!
//! Where the processor's RAPL counters can be read, the model is run by tract between two readings. Where they can't (a virtual machine, a
//! container, another make of processor, an ordinary user), a model of energy stands in, and the plugin says so: in its capabilities, `measured`
//! or `model`, and in a log message. Everything that concerns models and counters is Tegu's public library.

mod conversation;
mod measured;
mod model;

use conversation::{Failure, Request, notify, reply};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use tegu::latency::EnergyCounter;

/// What a study's config may say; Tegu sends the manifest's values where it says nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    source: Wanted,
    powercap: PathBuf,
    rounds: usize,
    round_s: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { source: Wanted::Auto, powercap: "/sys/class/powercap".into(), rounds: 7, round_s: 0.2 }
    }
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    Auto,
    Rapl,
    Model,
}

/// Where energies come from.
enum Source {
    Counters { counter: EnergyCounter, rounds: usize, round_s: f64, seed: u64 },
    Model,
}

/// An energy in mJ, with what is known of its error.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Energy {
    value: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Initialize {
    protocol: u32,
    #[serde(default)]
    options: Options,
    #[serde(default)]
    seed: u64,
}

#[derive(Deserialize)]
struct Evaluate {
    candidate: Candidate,
}

/// What this plugin needs of a candidate.
#[derive(Deserialize)]
struct Candidate {
    onnx: PathBuf,
    graph: model::Graph,
}

fn main() -> std::io::Result<()> {
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout());
    let mut source = None;
    for line in input.split(b'\n') {
        let request = match serde_json::from_slice::<Request>(&line?) {
            Ok(request) => request,
            Err(error) => {
                reply(&mut output, &Value::Null, Err(Failure::Unreadable(error.to_string())))?;
                continue;
            }
        };
        let outcome = answer(&request, &mut source, &mut output);
        reply(&mut output, &request.id, outcome)?;
        if request.method == "shutdown" {
            break;
        }
    }
    Ok(())
}

fn answer(request: &Request, source: &mut Option<Source>, output: &mut impl Write) -> Result<Value, Failure> {
    match request.method.as_str() {
        "initialize" => {
            let params: Initialize = request.params()?;
            if params.protocol != 1 {
                return Err(Failure::Params(format!("protocol {}: expected 1", params.protocol)));
            }
            let (opened, why) = open(params)?;
            notify(output, "log", &json!({"level": "info", "message": why}))?;
            let capability = if matches!(opened, Source::Model) { "model" } else { "measured" };
            *source = Some(opened);
            Ok(json!({
                "protocol": 1, "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"),
                "capabilities": [capability], "direction": "minimize", "unit": "mJ",
            }))
        }
        "evaluate" => {
            let Evaluate { candidate } = request.params()?;
            let energy = match source {
                None => return Err(Failure::Params("evaluate before initialize".into())),
                Some(Source::Model) => model::energy(&candidate)?,
                Some(Source::Counters { counter, rounds, round_s, seed }) => {
                    let mut progress = |fraction| notify(output, "progress", &json!({"fraction": fraction}));
                    measured::energy(counter, &candidate.onnx, *rounds, *round_s, *seed, &mut progress)?
                }
            };
            Ok(json!(energy))
        }
        "shutdown" => Ok(Value::Null),
        other => Err(Failure::Method(other.to_owned())),
    }
}

/// Where energies are to come from, and what there is to say of it.
fn open(Initialize { options, seed, .. }: Initialize) -> Result<(Source, String), Failure> {
    let Options { source, powercap, rounds, round_s } = options;
    if rounds < 5 || !(round_s.is_finite() && round_s > 0.0) {
        return Err(Failure::Params(format!("rounds {rounds}, round_s {round_s}: expected 5 or more, and seconds")));
    }
    let counter = (source != Wanted::Model).then(|| EnergyCounter::in_folder(&powercap)).flatten();
    let folder = powercap.display();
    match (source, counter) {
        (_, Some(counter)) => {
            let said = format!("RAPL counters in {folder}: energy of the whole package while tract runs the model");
            Ok((Source::Counters { counter, rounds, round_s, seed }, said))
        }
        (Wanted::Rapl, None) => Err(Failure::Candidate(format!("no RAPL counter can be read in {folder}"))),
        (Wanted::Model, None) => Ok((Source::Model, "energies are those of a model, as asked for".into())),
        (Wanted::Auto, None) => {
            Ok((Source::Model, format!("no RAPL counter can be read in {folder}: energies are those of a model")))
        }
    }
}
