//! Times a training step against PyTorch's: `TEGU_TORCH_PYTHON=…/bin/python cargo bench --bench training [NETWORK…]`.
//!
//! The same networks, batches and threads, in turns: one step of ours, one of PyTorch's, and so on. A step is forward,
//! backward, and SGD with momentum. What is compared is the least of all turns, of the clock's time and of the
//! processor's: the latter is what counts where other programs run beside it. Threads are rayon's: set `RAYON_NUM_THREADS`.
//! `TEGU_TORCH_CHANNELS_LAST=1` gives PyTorch its other memory format. Without a PyTorch there is no ratio, and it says so.

#[path = "training/networks.rs"]
mod networks;

use candle_core::{Device, Tensor};
use networks::{cells, describe, mobile, residual};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tegu::graph::Graph;
use tegu::network::{Init, TrainingPass, Weights, loss_gradient};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::SubscriberExt;

/// Turns of each.
const TURNS: usize = 8;

/// Rows of the list of operators.
const ROWS: usize = 8;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A PyTorch that waits for its turn.
struct Torch {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Torch {
    fn start(python: &str, network: &Value) -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/training.py");
        let mut command = Command::new(python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{python}: {error}"))?;
        let (to, from) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut torch = Self { child, to, from: BufReader::new(from) };
        torch.ask(&network.to_string())?;
        Ok(torch)
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.to, "{line}")?;
        let mut answer = String::new();
        match self.from.read_line(&mut answer)? {
            0 => Err("PyTorch ended without an answer".into()),
            _ => Ok(answer),
        }
    }

    /// Seconds of the clock and of the processor.
    fn turn(&mut self, what: &str) -> Result<[f64; 2]> {
        let answer = self.ask(what)?;
        let mut numbers = answer.split_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(wall), Some(cpu)) => Ok([wall?, cpu?]),
            _ => Err(format!("PyTorch answered {answer:?}").into()),
        }
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of this process's threads.
fn processor_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists, and writes to `time` alone.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn timed(f: impl FnOnce() -> Result<()>) -> Result<[f64; 2]> {
    let (start, cpu) = (Instant::now(), processor_s());
    f()?;
    Ok([start.elapsed().as_secs_f64(), processor_s() - cpu])
}

/// Seconds by phase and operator, from the events of a pass.
#[derive(Clone, Default)]
struct Operators(Arc<Mutex<BTreeMap<String, f64>>>);

impl Operators {
    fn clear(&self) {
        self.0.lock().expect("no panic while it is held").clear();
    }

    /// The slowest first.
    fn sorted(&self) -> Vec<(String, f64)> {
        let all = self.0.lock().expect("no panic while it is held");
        let mut all: Vec<(String, f64)> = all.iter().map(|(name, seconds)| (name.clone(), *seconds)).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Operators {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        #[derive(Default)]
        struct Fields(HashMap<&'static str, String>, f64);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
            }
            fn record_f64(&mut self, _: &Field, value: f64) {
                self.1 = value;
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let of = |name: &str| fields.0.get(name).cloned().unwrap_or_default();
        let key = format!("{}, {}", of("phase"), of("operator"));
        *self.0.lock().expect("no panic while it is held").entry(key).or_default() += fields.1;
    }
}

/// Weights that are trained by SGD with momentum.
struct Trained<'a> {
    graph: &'a Graph,
    weights: Weights,
    momenta: BTreeMap<String, Tensor>,
    input: Tensor,
    labels: Tensor,
}

impl<'a> Trained<'a> {
    fn new(graph: &'a Graph, batch: usize) -> Result<Self> {
        let weights = Weights::random(graph, Init::KaimingNormal, 1, &Device::Cpu)?;
        let input = Tensor::randn(0f32, 1.0, [vec![batch], graph.input_shape().dims()].concat(), &Device::Cpu)?;
        let labels = Tensor::from_vec((0..batch as u32).map(|at| at % 10).collect(), batch, &Device::Cpu)?;
        Ok(Self { graph, weights, momenta: BTreeMap::new(), input, labels })
    }

    fn forward(&self) -> Result<TrainingPass> {
        Ok(TrainingPass::run(self.graph, &self.weights, &self.input, &HashMap::new())?)
    }

    fn step(&mut self) -> Result<()> {
        let pass = self.forward()?;
        let loss = |output: &Tensor| candle_nn::loss::cross_entropy(output, &self.labels);
        let (_, cotangent) = loss_gradient(&pass.output(), loss)?;
        for (name, gradient) in pass.gradients(&[cotangent])? {
            let momentum = match self.momenta.remove(&name) {
                Some(momentum) => (momentum * 0.9)?.add(&gradient)?,
                None => gradient,
            };
            self.momenta.insert(name, momentum);
        }
        let momenta = &self.momenta;
        self.weights = self.weights.map(|name, weight| match momenta.get(name) {
            Some(momentum) => weight - (momentum * 0.01)?,
            None => Ok(weight.clone()),
        })?;
        Ok(())
    }
}

fn compare(name: &str, graph: &Graph, batch: usize, operators: &Operators) -> Result<()> {
    let mut ours = Trained::new(graph, batch)?;
    let python = std::env::var("TEGU_TORCH_PYTHON").ok();
    let mut torch = python.map(|python| Torch::start(&python, &describe(graph, batch))).transpose()?;
    // Forward and step of ours, then of PyTorch.
    let mut best = [[f64::INFINITY; 2]; 4];
    for turn in 0..=TURNS {
        operators.clear();
        let mut found = vec![timed(|| ours.forward().map(drop))?];
        operators.clear();
        found.push(timed(|| ours.step())?);
        if let Some(torch) = &mut torch {
            found.extend([torch.turn("forward")?, torch.turn("step")?]);
        }
        // The first of each makes room for its memory.
        if turn > 0 {
            for (best, found) in best.iter_mut().zip(found) {
                (0..2).for_each(|clock| best[clock] = best[clock].min(found[clock]));
            }
        }
    }
    let ms = |at: usize, clock: usize| best[at][clock] * 1e3;
    println!("\n{name}, batch {batch}: ms of the clock (of the processor), least of {TURNS} turns");
    for (at, phase) in ["forward", "step"].into_iter().enumerate() {
        print!("  {phase:<10}{:>9.1} ({:.1})", ms(at, 0), ms(at, 1));
        if torch.is_some() {
            let ratio = |clock: usize| best[at][clock] / best[at + 2][clock];
            print!(
                "   PyTorch {:>9.1} ({:.1})   ratio {:.2} ({:.2})",
                ms(at + 2, 0),
                ms(at + 2, 1),
                ratio(0),
                ratio(1)
            );
        }
        println!();
    }
    println!("  operators of the last step, ms:");
    let print = |all: Vec<(String, f64)>| {
        let whole: f64 = all.iter().map(|(_, seconds)| seconds).sum();
        for (operator, seconds) in all.into_iter().take(ROWS) {
            println!("    {operator:<52}{:>9.1}{:>6.1} %", seconds * 1e3, seconds / whole * 100.0);
        }
    };
    print(operators.sorted());
    if let Some(torch) = &mut torch {
        println!("  PyTorch's:");
        print(serde_json::from_str(&torch.ask("profile")?)?);
    }
    Ok(())
}

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let operators = Operators::default();
    let filter = tracing_subscriber::filter::Targets::new().with_target("tegu::training", tracing::Level::TRACE);
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(operators.clone()))?;
    println!("{} threads", rayon::current_num_threads());
    if std::env::var_os("TEGU_TORCH_PYTHON").is_none() {
        println!("NOT COMPARED with PyTorch: set TEGU_TORCH_PYTHON to a Python that has torch");
    }
    let image = [3, 32, 32];
    let networks = [
        ("cells-3x3", cells(image, "333333", 5), 64),
        ("cells-mixed", cells(image, "3s1a31", 5), 64),
        ("cells-small", cells(image, "3s1a31", 1), 128),
        ("mobile", mobile(), 64),
        ("residual", residual(image), 64),
        ("fashion", cells([1, 28, 28], "313s33", 2), 128),
        ("fashion-residual", residual([1, 28, 28]), 128),
    ];
    for (name, graph, batch) in &networks {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            compare(name, graph, *batch, &operators)?;
        }
    }
    Ok(())
}
