//! Whether measured latencies can be trusted: `cargo bench --bench latency -- aa|ab|python|ranks` (with `--profile dev`
//! where that is built already), on the device that `--device NAME` names, else on `host-cpu-ort-1thread`.
//!
//! - `aa`: the same bytes under two names, 200 pairs, half of them across worker processes: how often they are called
//!   different at 95 %, by `latency::compare` and by the usual test on pooled runs (Mann and Whitney).
//! - `ab`: a network with 5 % more work, 100 pairs, while another process loads one core every other round: how often
//!   the heavier one is told apart.
//! - `python`: our median beside that of Python's onnxruntime, one thread, over the models of `$TEGU_DATA/onnx`; needs
//!   a `python` on the path that has it (`tests/setup.sh`).
//! - `ranks`: 50 cells of NAS-Bench-201 measured twice in fresh processes (in so many rounds: `--rounds N`): Kendall's τ, beside
//!   that of 20 runs and their mean.

use anyhow::{Context, Result, anyhow, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tegu::device::{Device, HardwareProfile, Job, LocalDevice, OpenOptions};
use tegu::graph::{Activation, Conv2d, Graph, GraphBuilder, Op, Shape, Window};
use tegu::latency::statistics::median;
use tegu::latency::{Comparison, Measurement, Protocol, compare, measure};
use tegu::network::{Init, Weights};
use tegu::onnx::{ExportOptions, Metadata, export};
use tegu::runtime::{LoadOptions, SessionOptions, load, random_inputs};
use tegu::space::{Scale, SearchSpace};
use tegu::statistics::{kendall, ranks};

fn main() -> Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let at = args.iter().position(|arg| arg == "--device");
    let device = at.and_then(|at| args.drain(at..).nth(1)).unwrap_or_else(|| "host-cpu-ort-1thread".to_owned());
    let at = args.iter().position(|arg| arg == "--rounds");
    let rounds = at.and_then(|at| args.drain(at..).nth(1)).map(|rounds| rounds.parse()).transpose()?;
    let bench = Bench { profile: HardwareProfile::find(&device)?, folder: tempfile::tempdir()?, rounds };
    println!("{device}, {} cores", std::thread::available_parallelism()?);
    for what in args {
        let start = Instant::now();
        match what.as_str() {
            "aa" => bench.same_bytes()?,
            "ab" => bench.more_work()?,
            "python" => bench.beside_python()?,
            "ranks" => bench.ranks_twice()?,
            _ => bail!("`{what}`: expected aa, ab, python or ranks"),
        }
        println!("{what}: {:.0} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

struct Bench {
    profile: HardwareProfile,
    folder: tempfile::TempDir,
    rounds: Option<usize>,
}

impl Bench {
    /// The rounds that were asked for, whatever the interval is.
    fn longer(&self, protocol: &mut Protocol) {
        if let Some(rounds) = self.rounds {
            (protocol.rounds, protocol.max_rounds) = (rounds, rounds);
        }
    }

    fn device(&self, change: impl FnOnce(&mut Protocol)) -> LocalDevice {
        let mut profile = self.profile.clone();
        change(&mut profile.protocol);
        LocalDevice::new(
            profile,
            OpenOptions { executable: Some(env!("CARGO_BIN_EXE_tegu").into()), ..OpenOptions::default() },
        )
    }

    fn write(&self, name: &str, graph: &Graph) -> Result<PathBuf> {
        let path = self.folder.path().join(format!("{name}.onnx"));
        let weights = Weights::random(graph, Init::TorchDefault, 0, &candle_core::Device::Cpu)?;
        export(graph, &weights, &Metadata::new(), ExportOptions::default())?.save(&path)?;
        Ok(path)
    }

    /// Random cells of NAS-Bench-201 that are alive.
    fn cells(&self, count: usize) -> Result<Vec<PathBuf>> {
        let space = SearchSpace::open("nas-bench-201")?;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut live = || loop {
            if let Ok(graph) = space.lower(&space.sample(&mut rng), Scale::Full)?.live() {
                return anyhow::Ok(graph);
            }
        };
        (0..count).map(|number| self.write(&format!("cell{number}"), &live()?)).collect()
    }

    fn same_bytes(&self) -> Result<()> {
        let cells = self.cells(10)?;
        let mut jobs = vec![];
        for cell in &cells {
            let copy = cell.with_extension("copy.onnx");
            std::fs::copy(cell, &copy)?;
            jobs.extend([Job::of_model(cell), Job::of_model(copy)]);
        }
        let (mut within, mut across): (Vec<Pair>, Vec<Pair>) = (vec![], vec![]);
        let mut before: Option<Vec<Measurement>> = None;
        for process in 0..11 {
            let found = measured(&mut self.device(|_| ()), &jobs)?;
            if let Some(before) = &before {
                within.extend(found.chunks(2).map(|pair| Pair::of(&pair[0], &pair[1])));
                across.extend((0..cells.len()).map(|cell| Pair::of(&before[2 * cell], &found[2 * cell + 1])));
            }
            let narrow = found.iter().filter(|one| one.verdict.to_string() == "stable").count();
            println!("  process {process}: {narrow} of {} stable", found.len());
            before = Some(found);
        }
        report("within a process", &within);
        report("across processes", &across);
        within.extend(across);
        report("all", &within);
        Ok(())
    }

    fn more_work(&self) -> Result<()> {
        let (light, heavy) = (chain(20)?, chain(21)?);
        let work = heavy.cost().macs as f64 / light.cost().macs as f64;
        let jobs = [Job::of_model(self.write("light", &light)?), Job::of_model(self.write("heavy", &heavy)?)];
        let mut pairs = vec![];
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| load_a_core(&over));
            let mut device = self.device(|_| ());
            let all = (0..100).try_for_each(|_| {
                let found = measured(&mut device, &jobs)?;
                pairs.push(Pair::of(&found[0], &found[1]));
                anyhow::Ok(())
            });
            over.store(true, Ordering::Relaxed);
            all
        })?;
        let (faster, ties) = (count(&pairs, Comparison::Faster), count(&pairs, Comparison::Tie));
        let ratios: Vec<f64> = pairs.iter().map(|pair| pair.ratio).collect();
        println!(
            "{work:.4} times the work takes {:.4} times as long; told apart in {faster} of {}, {ties} ties",
            median(&ratios),
            pairs.len()
        );
        Ok(())
    }

    fn beside_python(&self) -> Result<()> {
        let data = std::env::var_os("TEGU_DATA").map_or_else(|| PathBuf::from("../shared/data"), PathBuf::from);
        let inputs = [
            ("ch_ppocr_mobile_v2.0_cls_infer.onnx", vec![("x", vec![1, 3, 48, 192])]),
            ("light_inception_v1.onnx", vec![]),
            ("light_resnet50.onnx", vec![]),
            ("light_shufflenet.onnx", vec![]),
            ("light_squeezenet.onnx", vec![]),
            ("magika_standard_v3_3.onnx", vec![("bytes", vec![1, 2048])]),
            ("silero_vad.onnx", vec![("input", vec![1, 256]), ("state", vec![2, 1, 128])]),
            ("wonnx_opt-mnist.onnx", vec![]),
        ];
        // Short turns, one after the other: the pace of the machine is then the same for both.
        let short = Protocol { warm_up_s: 0.02, rounds: 5, max_rounds: 5, runs_per_round: 2, ..Protocol::default() };
        let mut ratios = vec![];
        for (file, inputs) in inputs {
            let model = data.join("onnx").join(file);
            let input_dims = inputs.into_iter().map(|(name, dims)| (name.to_owned(), dims)).collect();
            let job = Job { input_dims, ..Job::of_model(&model) };
            let runtime = load(self.profile.runtime, &LoadOptions::default())?;
            let input_dims = job.input_dims.clone();
            let options = SessionOptions {
                threads: self.profile.threads,
                batch: Some(1),
                input_dims,
                ..SessionOptions::default()
            };
            let mut session = runtime.prepare(&model, &options)?;
            session.bind(random_inputs(session.inputs(), 0))?;
            let mut python = Python::start(&model, &job)?;
            let (mut ours, mut pythons, mut both) = (vec![], vec![], vec![]);
            let begin = Instant::now();
            while both.len() < 9 || (both.len() < 40 && begin.elapsed() < Duration::from_secs(12)) {
                let samples = measure(&mut *session, &short)?;
                let ours_ms = 1e3 * median(&samples.rounds.concat());
                let python_ms = python.median_ms()?;
                ours.push(ours_ms);
                pythons.push(python_ms);
                both.push(ours_ms / python_ms);
            }
            let ratio = median(&both);
            println!("  {file:38} {:9.4} ms, python {:9.4} ms, {ratio:.4}", median(&ours), median(&pythons));
            ratios.push(ratio);
        }
        println!("median ratio to python's onnxruntime {:.4}", median(&ratios));
        Ok(())
    }

    fn ranks_twice(&self) -> Result<()> {
        let cells = self.cells(50)?;
        let jobs: Vec<Job> = cells.iter().map(Job::of_model).collect();
        let mut naive = vec![];
        let (mut ours, mut pace) = (vec![], None);
        for _ in 0..2 {
            let start = Instant::now();
            let mut found = measured(&mut self.device(|protocol| self.longer(protocol)), &jobs)?;
            pace = pace.or(found[0].pace());
            found.iter_mut().zip(pace.iter().cycle()).for_each(|(one, pace)| one.state_for(pace));
            ours.push(found.iter().map(|one| one.p50_ms).collect::<Vec<f64>>());
            println!("  {} networks measured in {:.1} s", cells.len(), start.elapsed().as_secs_f64());
            naive.push(cells.iter().map(|cell| self.mean_of_20(cell)).collect::<Result<Vec<f64>>>()?);
        }
        for (what, twice) in [("protocol", &ours), ("20 runs and the mean", &naive)] {
            let tau = kendall(&twice[0], &twice[1]).context("latencies differ")?;
            let apart: Vec<f64> = twice[0].iter().zip(&twice[1]).map(|(a, b)| 100.0 * (a / b - 1.0).abs()).collect();
            println!("{what}: tau {tau:.4}, {:.2} % apart", median(&apart));
        }
        Ok(())
    }

    /// As others do it: 5 runs of warm-up, the mean of 20, in ms.
    fn mean_of_20(&self, model: &Path) -> Result<f64> {
        let runtime = load(self.profile.runtime, &LoadOptions::default())?;
        let options = SessionOptions { threads: self.profile.threads, ..SessionOptions::default() };
        let mut session = runtime.prepare(model, &options)?;
        session.bind(random_inputs(session.inputs(), 0))?;
        (0..5).try_for_each(|_| session.run())?;
        let start = Instant::now();
        (0..20).try_for_each(|_| session.run())?;
        Ok(start.elapsed().as_secs_f64() / 20.0 * 1e3)
    }
}

fn measured(device: &mut LocalDevice, jobs: &[Job]) -> Result<Vec<Measurement>> {
    device.measure_all(jobs).into_iter().map(|outcome| Ok(outcome?)).collect()
}

/// Two measurements beside each other.
struct Pair {
    verdict: Comparison,
    /// Second over first.
    ratio: f64,
    /// Whether the usual test on all runs calls them different at 95 %.
    pooled: bool,
}

impl Pair {
    fn of(a: &Measurement, b: &Measurement) -> Self {
        let z = mann_whitney(&a.samples_s.concat(), &b.samples_s.concat());
        let scale = |one: &Measurement| one.reference.as_ref().map_or(1.0, |reference| reference.scale_ms);
        let ratio = b.p50_ms / scale(b) / (a.p50_ms / scale(a));
        Self { verdict: compare(a, b), ratio, pooled: z.abs() > 1.96 }
    }
}

fn count(pairs: &[Pair], verdict: Comparison) -> usize {
    pairs.iter().filter(|pair| pair.verdict == verdict).count()
}

fn report(what: &str, pairs: &[Pair]) {
    let share = |part: usize| 100.0 * part as f64 / pairs.len() as f64;
    let different = pairs.len() - count(pairs, Comparison::Tie);
    let pooled = pairs.iter().filter(|pair| pair.pooled).count();
    let apart: Vec<f64> = pairs.iter().map(|pair| 100.0 * (pair.ratio - 1.0).abs()).collect();
    println!(
        "A/A {what}: {different} of {} called different ({:.1} %), pooled runs {:.1} %; {:.2} % apart",
        pairs.len(),
        share(different),
        share(pooled),
        median(&apart)
    );
}

/// The z-score of Mann and Whitney's U.
fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let (n, m) = (a.len() as f64, b.len() as f64);
    let sum: f64 = ranks(&all)[..a.len()].iter().sum();
    (sum - n * (n + m + 1.0) / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}

/// A chain of equal convolutions, so that one more is as much more work.
fn chain(layers: usize) -> Result<Graph> {
    let mut net = GraphBuilder::new(Shape::map(32, 16, 16));
    let mut last = net.input();
    for layer in 0..layers {
        let conv = Conv2d { out_channels: 32, window: Window::same(3, 1), groups: 1, bias: true };
        let conv = net.push(format!("conv{layer}"), Op::Conv2d(conv), &[last])?;
        last = net.push(format!("relu{layer}"), Op::Activation(Activation::Relu), &[conv])?;
    }
    Ok(net.finish(last))
}

/// Keeps a core busy about every other round of two models, until it is over.
fn load_a_core(over: &AtomicBool) {
    const ROUND: Duration = Duration::from_millis(35);
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        while start.elapsed() < ROUND {
            std::hint::spin_loop();
        }
        std::thread::sleep(ROUND);
    }
}

/// A process of Python's onnxruntime with one model, which runs it for a turn when it is told to.
struct Python {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Python {
    fn start(model: &Path, job: &Job) -> Result<Self> {
        const CODE: &str = "
import sys, json, time, numpy as np, onnxruntime as ort
options = ort.SessionOptions(); options.intra_op_num_threads = 1; options.log_severity_level = 3
session = ort.InferenceSession(sys.argv[1], options, providers=['CPUExecutionProvider'])
given = json.loads(sys.argv[2]); types = {'float': np.float32, 'int64': np.int64, 'int32': np.int32}
rng = np.random.default_rng(0); binding = session.io_binding()
for value in session.get_inputs():
    dims = given.get(value.name) or [d if isinstance(d, int) else 1 for d in value.shape]
    kind = types[value.type[7:-1]]
    array = (rng.uniform(-1.7, 1.7, dims) if kind is np.float32 else rng.integers(0, 2, dims)).astype(kind)
    binding.bind_cpu_input(value.name, np.ascontiguousarray(array))
for value in session.get_outputs(): binding.bind_output(value.name)
for line in sys.stdin:
    for _ in range(4): session.run_with_iobinding(binding)
    times, begin = [], time.perf_counter()
    while time.perf_counter() < begin + 0.05 or len(times) < 10:
        start = time.perf_counter(); session.run_with_iobinding(binding); times.append(time.perf_counter() - start)
    print(1e3 * float(np.median(times)), flush=True)
";
        let dims = serde_json::to_string(&job.input_dims)?;
        let mut command = Command::new("python");
        command.arg("-c").arg(CODE).arg(model).arg(dims).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("python")?;
        let answers = BufReader::new(child.stdout.take().context("its output is piped")?);
        Ok(Self { child, answers })
    }

    fn median_ms(&mut self) -> Result<f64> {
        writeln!(self.child.stdin.as_mut().context("its input is piped")?)?;
        let mut text = String::new();
        self.answers.read_line(&mut text)?;
        text.trim().parse().map_err(|error| anyhow!("python said `{text}`: {error}"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
