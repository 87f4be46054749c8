//! Energy by counters: rounds of runs between two readings, as many as last the round's time; the median of the rounds, with a bootstrap
//! interval. It is the whole package's energy, so whatever else runs on the machine counts as well.

use crate::Energy;
use crate::conversation::Failure;
use std::path::Path;
use std::time::Instant;
use tegu::latency::{EnergyCounter, statistics};
use tegu::runtime::{self, LoadOptions, RuntimeKind, SessionOptions};

/// Runs before the first round, the slow first one among them.
const WARM_UP_RUNS: usize = 5;

/// Energy of one run of the model on one sample, in mJ.
pub fn energy(
    counter: &EnergyCounter,
    model: &Path,
    rounds: usize,
    round_s: f64,
    seed: u64,
    progress: &mut dyn FnMut(f64) -> std::io::Result<()>,
) -> Result<Energy, Failure> {
    let refused = |error: runtime::RuntimeError| Failure::Candidate(error.to_string());
    let tract = runtime::load(RuntimeKind::Tract, &LoadOptions::default()).map_err(refused)?;
    let options = SessionOptions { batch: Some(1), ..SessionOptions::default() };
    let mut session = tract.prepare(model, &options).map_err(refused)?;
    session.bind(runtime::random_inputs(session.inputs(), seed)).map_err(refused)?;
    let mut run_s = 0.0;
    for _ in 0..WARM_UP_RUNS {
        let started = Instant::now();
        session.run().map_err(refused)?;
        run_s = started.elapsed().as_secs_f64();
    }
    let runs = (round_s / run_s).ceil().clamp(1.0, 1e6) as usize;

    let read = || counter.read().ok_or_else(|| Failure::Candidate("the RAPL counters can't be read any more".into()));
    let mut millijoules = vec![];
    for round in 1..=rounds {
        let before = read()?;
        for _ in 0..runs {
            session.run().map_err(refused)?;
        }
        let joules = counter.joules(&before, &read()?);
        millijoules.push(joules * 1e3 / runs as f64);
        progress(round as f64 / rounds as f64)?;
    }
    let value = statistics::median(&millijoules);
    if value <= 0.0 {
        return Err(Failure::Candidate(format!("the RAPL counters stood still for rounds of {round_s} s")));
    }
    let (low, high) = statistics::median_interval(&millijoules, seed);
    Ok(Energy { value, low, high })
}
