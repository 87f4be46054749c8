//! The worker process: what it measures, and what becomes of models that crash, hang, or need too much memory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use sysinfo::{Pid, ProcessStatus, ProcessesToUpdate, System};
use tegu::device::{self, Device, DeviceError, HardwareProfile, Job, OpenOptions, Record};
use tegu::genotype::ArchId;
use tegu::graph::{Activation, Conv2d, GraphBuilder, Op, Shape, Window};
use tegu::latency::{Comparison, Measurement, Verdict, compare};
use tegu::network::{Init, Weights};
use tegu::onnx::{self, Batch, ExportOptions, Metadata};

struct Bench {
    folder: tempfile::TempDir,
    device: Box<dyn Device>,
}

impl Bench {
    /// A device of the mock runtime, whose model files say what goes wrong, with short rounds.
    fn mock(more: &str) -> Self {
        Self::new(&format!("runtime: mock\nprotocol: {{warm_up_s: 0.05, min_round_s: 0.0, budget_s: 0.2}}\n{more}"))
    }

    fn new(profile: &str) -> Self {
        let text = format!("name: bench\ndescription: for tests\n{profile}");
        let profile = HardwareProfile::parse(&text, Path::new("bench.yaml")).unwrap();
        let device = device::open(profile, options()).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), device }
    }

    fn write(&self, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join("m.onnx");
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn measure(&mut self, contents: impl AsRef<[u8]>) -> Result<Measurement, DeviceError> {
        let job = Job::of_model(self.write(contents));
        self.device.measure(&job)
    }

    /// Writes a model for each of `contents` and measures them in turns.
    fn measure_all(&mut self, contents: &[&str]) -> Vec<Result<Measurement, DeviceError>> {
        let job = |(number, contents): (usize, &&str)| {
            let path = self.folder.path().join(format!("{number}.onnx"));
            std::fs::write(&path, contents).unwrap();
            Job::of_model(path)
        };
        let jobs: Vec<Job> = contents.iter().enumerate().map(job).collect();
        self.device.measure_all(&jobs)
    }

    /// Measures a model that fails, checks the reason, and that a good model is measured afterwards.
    fn check_failure(&mut self, contents: &str, expected: &str) {
        let found = self.measure(contents).expect_err(contents).to_string();
        let folder = format!("{}/", self.folder.path().display());
        assert_eq!(found.replace(&folder, ""), expected);
        self.measure("sleep_us 10").unwrap_or_else(|error| panic!("after `{contents}`: {error}"));
    }
}

fn options() -> OpenOptions {
    OpenOptions { executable: Some(env!("CARGO_BIN_EXE_tegu").into()), ..OpenOptions::default() }
}

#[test]
fn a_measurement_is_whole() {
    let mut bench = Bench::mock("threads: 1");
    let found = bench.measure("sleep_us 500").unwrap();
    assert!(found.p50_ms >= 0.5 && found.ci95_ms[0] <= found.p50_ms && found.p50_ms <= found.ci95_ms[1], "{found:?}");
    assert!(found.rounds >= 5 && found.samples == found.samples_s.iter().map(Vec::len).sum::<usize>());
    assert_eq!((found.device.as_str(), found.runtime.as_str()), ("bench", "mock"));
    assert_eq!((found.threads, found.batch, found.seed), (1, 1, 0));
    // printf 'sleep_us 500' | sha256sum
    assert_eq!(found.model_sha256, "b529c9c347382cc2db21301810f9fa28ae8ea0935ad2b10d514fa57f66d2ef14");
}

#[test]
fn the_interval_and_the_reason_for_stopping_are_kept() {
    let mut bench = Bench::mock("");
    let found = bench.measure("sleep_us 20000").unwrap();
    assert_eq!(found.samples_s.iter().map(Vec::len).max(), Some(1), "{found:?}");
}

/// Has the device start a shell script with this last line for its worker. Gives how often it did.
#[cfg(unix)]
fn scripted(bench: &mut Bench, line: &str) -> impl Fn() -> usize + use<> {
    use std::os::unix::fs::PermissionsExt;
    let (script, starts) = (bench.folder.path().join("script"), bench.folder.path().join("starts"));
    std::fs::write(&script, format!("#!/bin/sh\necho >> '{}'\n{line}\n", starts.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let profile = bench.device.profile().clone();
    bench.device = device::open(profile, OpenOptions { executable: Some(script), ..OpenOptions::default() }).unwrap();
    move || std::fs::read(&starts).map_or(0, |lines| lines.len())
}

#[cfg(unix)]
#[test]
fn a_worker_is_kept_until_it_fails() {
    let mut bench = Bench::mock("");
    let started = scripted(&mut bench, &format!("exec '{}' \"$@\"", env!("CARGO_BIN_EXE_tegu")));
    assert_eq!(started(), 0);
    for _ in 0..3 {
        bench.measure("").unwrap();
        assert!(bench.measure("fail on request").is_err());
    }
    assert_eq!(started(), 1);
    assert!(bench.measure("crash").is_err());
    bench.measure("").unwrap();
    assert_eq!(started(), 2);
}

/// The shell takes the second request; the worker never sees it and ends.
#[cfg(unix)]
#[test]
fn a_worker_that_ends_between_two_requests_costs_no_model() {
    let mut bench = Bench::mock("");
    let line = format!("(head -n 1; sleep 2) | '{}' \"$@\"", env!("CARGO_BIN_EXE_tegu"));
    let started = scripted(&mut bench, &line);
    bench.measure("").unwrap();
    let found = bench.measure_all(&["", "sleep_us 10"]);
    assert!(found.iter().all(Result::is_ok), "{found:?}");
    assert_eq!(started(), 2);
}

#[test]
fn a_failure_is_the_runtimes_reason() {
    let mut bench = Bench::mock("");
    bench.check_failure("fail no such operator", "m.onnx: run failed: no such operator");
    bench.check_failure("load fail no such operator", "can't prepare m.onnx: no such operator");
    let missing = bench.folder.path().join("missing.onnx");
    let error = bench.device.measure(&Job::of_model(&missing)).unwrap_err().to_string();
    assert_eq!(error, format!("{}: No such file or directory (os error 2)", missing.display()));
}

#[test]
fn a_crash_costs_one_measurement() {
    let crashed = |stage: &str| format!("m.onnx: the worker crashed (SIGABRT, aborted by its own code) while {stage}");
    let mut bench = Bench::mock("");
    bench.check_failure("crash", &crashed("running the model"));
    bench.check_failure("load crash", &crashed("loading the model"));
}

#[test]
fn a_hang_is_stopped() {
    let stopped =
        |stage: &str| format!("m.onnx: not done within 1 s, the profile's `limits.time_s` (stopped while {stage})");
    let mut bench = Bench::mock("limits: {time_s: 1}");
    let start = Instant::now();
    bench.check_failure("hang", &stopped("running the model"));
    bench.check_failure("load hang", &stopped("loading the model"));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn too_much_memory_is_stopped() {
    let stopped = |stage: &str| {
        format!("m.onnx: needs more than 300 MiB, the profile's `limits.memory_mib` (stopped while {stage})")
    };
    let mut bench = Bench::mock("limits: {memory_mib: 300}");
    bench.check_failure("load allocate 100000", &stopped("loading the model"));
    bench.check_failure("allocate 100000", &stopped("running the model"));
}

#[test]
fn models_that_misbehave_in_turns_cost_themselves_alone() {
    let mut bench = Bench::mock("limits: {time_s: 1, memory_mib: 400}");
    // It crashes when it was run so often that the others are in their rounds, too.
    let models = [
        ("sleep_us 400", ""),
        ("crash", "the worker crashed (SIGABRT, aborted by its own code) while running the model"),
        ("after 60 crash", "the worker crashed (SIGABRT, aborted by its own code) while running the model"),
        ("load crash", "the worker crashed (SIGABRT, aborted by its own code) while loading the model"),
        ("sleep_us 100", ""),
        ("fail no such kernel", "run failed: no such kernel"),
        ("after 40 hang", "not done within 1 s, the profile's `limits.time_s` (stopped while running the model)"),
        ("after 50 fail late", "run failed: late"),
        (
            "allocate 100000",
            "needs more than 400 MiB, the profile's `limits.memory_mib` (stopped while running the model)",
        ),
        ("sleep_us 200", ""),
    ];
    let found = bench.measure_all(&models.map(|model| model.0));
    for (number, ((model, expected), outcome)) in models.iter().zip(&found).enumerate() {
        match outcome {
            Ok(measured) => assert!(expected.is_empty() && measured.p50_ms >= 0.09, "{model}: {measured:?}"),
            Err(error) => {
                let path = bench.folder.path().join(format!("{number}.onnx"));
                assert_eq!(error.to_string(), format!("{}: {expected}", path.display()), "{model}");
            }
        }
    }
    let p50 = |number: usize| found[number].as_ref().unwrap().p50_ms;
    assert!(p50(4) < p50(9) && p50(9) < p50(0), "each figure is its own model's");
    assert!(bench.device.measure_all(&[]).is_empty());
}

/// Models that fit one by one are measured, also where they don't fit together.
#[test]
fn models_that_need_much_memory_don_t_stand_beside_each_other() {
    let mut bench = Bench::mock("limits: {memory_mib: 400}");
    let found = bench.measure_all(&["load allocate 250", "load allocate 240", "sleep_us 10", "load allocate 230"]);
    found.iter().for_each(|outcome| assert!(outcome.is_ok(), "{outcome:?}"));
    let peak = |number: usize| found[number].as_ref().unwrap().peak_memory_mib;
    if cfg!(target_os = "linux") {
        assert!((240.0..280.0).contains(&peak(0).unwrap()) && peak(2).unwrap() < 20.0, "{:?} {:?}", peak(0), peak(2));
    }
}

fn with_reference(instruction: &str) -> Bench {
    let options = format!("{{Conv 6: {instruction}}}");
    Bench::mock(&format!("execution_provider: {{name: mock, options: {options}}}\nlimits: {{time_s: 1}}"))
}

#[test]
fn the_reference_is_beside_each_measurement() {
    let mut bench = with_reference("sleep_us 300");
    let found = bench.measure_all(&["sleep_us 500", "sleep_us 1000"]);
    for measured in found.iter().map(|outcome| outcome.as_ref().unwrap()) {
        let reference = measured.reference.as_ref().unwrap();
        assert!(reference.p50_ms >= 0.3 && reference.by_round_s.len() == measured.rounds, "{measured:?}");
        assert_eq!((reference.model_sha256.len(), &measured.no_reference), (64, &None));
        // Corrected is raw, stated for another pace of the machine.
        let of_scale = measured.p50_ms / measured.raw_p50_ms.unwrap() * reference.p50_ms / reference.scale_ms;
        assert!((of_scale - 1.0).abs() < 0.2, "{of_scale}");
        assert!(measured.throughput.unwrap().samples_per_s > 0.0 && measured.after.is_some(), "{measured:?}");
    }
    let [a, b] = [0, 1].map(|number: usize| found[number].as_ref().unwrap());
    let scale = |measured: &Measurement| measured.reference.as_ref().unwrap().scale_ms;
    assert_eq!(scale(a), scale(b));
    assert_eq!(
        (compare(a, b), compare(b, a), compare(a, a)),
        (Comparison::Faster, Comparison::Slower, Comparison::Tie)
    );
}

#[test]
fn a_reference_that_can_t_be_run_is_said_and_does_without() {
    let check = |instruction: &str, expected: &str| {
        let mut bench = with_reference(instruction);
        for outcome in bench.measure_all(&["sleep_us 100", "sleep_us 200"]) {
            let measured = outcome.unwrap();
            assert_eq!((&measured.reference, measured.no_reference.as_deref()), (&None, Some(expected)));
            assert_eq!(Some(measured.p50_ms), measured.raw_p50_ms);
        }
        bench.measure("").unwrap();
    };
    check("fail no such kernel", "run failed: no such kernel");
    check("sleep_us 0", "it runs in less than 10 µs");
    let stage = "while running the reference model";
    check("crash", &format!("the worker crashed (SIGABRT, aborted by its own code) {stage}"));
    let limit = "not done within 1 s, the profile's `limits.time_s` (stopped";
    check("hang", &format!("{limit} {stage})"));
    let mut bench = Bench::new("runtime: mock\nprotocol: {reference: false, budget_s: 0.1, warm_up_s: 0.01}");
    let measured = bench.measure("sleep_us 100").unwrap();
    assert_eq!((measured.reference, measured.no_reference), (None, None));
}

#[test]
fn nodes_that_fall_back_are_named_or_the_model_refused() {
    let provider = "execution_provider: {name: mock, options: {fallback: Sigmoid}";
    let mut bench = Bench::mock(&format!("{provider}, allow_fallback: true}}"));
    let found = bench.measure(conv_sigmoid()).unwrap();
    assert_eq!((found.verdict, found.ep_coverage), (Verdict::Fallback, Some(0.5)));
    assert_eq!(found.fallen_back, ["output (Sigmoid)"]);
    let mut bench = Bench::mock(&format!("{provider}}}"));
    let error = bench.measure(conv_sigmoid()).unwrap_err();
    assert!(error.is_input() && error.to_string().ends_with("execution provider `mock` does not run output (Sigmoid)"));
}

#[cfg(target_os = "linux")]
#[test]
fn the_worker_is_pinned_to_the_profiles_cores() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let core: usize = allowed.split([',', '-']).next().unwrap().parse().unwrap();
    let found = Bench::mock(&format!("cores: [{core}]")).measure("sleep_us 100").unwrap();
    assert_eq!((found.cores, found.host.cores), (Some(vec![core]), 1));
    let error = Bench::mock("cores: [99999]").measure("").unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let expected =
        "device `bench` can't be used: can't be pinned to core 99999: it is not there, or this process may not use it";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn several_processes_streams_and_a_long_run() {
    let protocol = "budget_s: 0.1, warm_up_s: 0.01, processes: 3, streams: 2, streams_s: 0.2, sustained_s: 0.3";
    let mut bench = Bench::new(&format!("runtime: mock\nprotocol: {{{protocol}}}"));
    let outcomes = bench.measure_all(&["sleep_us 2000", "fail no", "sleep_us 1000"]);
    assert_eq!(outcomes[1].as_ref().unwrap_err().to_string().split(": ").last(), Some("no"));
    let found = outcomes[0].as_ref().unwrap();
    assert_eq!((found.processes, found.samples_s.len()), (3, found.rounds));
    assert!(found.rounds >= 15 && found.between_process > 0.0, "{found:?}");
    let throughput = found.throughput.unwrap();
    assert!(throughput.streams == 2 && (200.0..=1000.0).contains(&throughput.samples_per_s), "{throughput:?}");
    let sustained = found.sustained.as_ref().unwrap();
    assert!(sustained.seconds >= 0.3 && sustained.windows.len() == 2 && sustained.ratio > 0.5, "{sustained:?}");
    let worker_alone = [found.energy_mj_per_run, found.reference.as_ref().map(|reference| reference.p50_ms)];
    assert!(worker_alone.iter().flatten().all(|&figure| figure > 0.0));
}

#[test]
fn several_loads_take_turns() {
    let mut bench =
        Bench::new("runtime: mock\nprotocol: {budget_s: 2, warm_up_s: 0.01, rounds: 9, max_rounds: 9, loads: 3}");
    // Each is a session of its own: none runs as often as one would alone.
    let model = "sleep_us 500\nafter 120 fail too often";
    let found = bench.measure(model).unwrap();
    assert_eq!((found.loads, found.processes), (3, 1));
    assert!(found.rounds == 9 && (0.5..5.0).contains(&found.p50_ms), "{found:?}");
    let error = bench.measure(model.replace("120", "7")).unwrap_err().to_string();
    assert!(error.ends_with("run failed: too often"), "{error}");
}

#[test]
fn an_executable_that_is_no_worker_is_named() {
    for (executable, expected) in [
        ("/nonexistent/tegu", "no worker process: /nonexistent/tegu: No such file or directory (os error 2)"),
        ("/bin/true", "no worker process: /bin/true: exited with code 0 before it said hello"),
    ] {
        let profile = HardwareProfile::find("host-cpu-tract").unwrap();
        let mut device =
            device::open(profile, OpenOptions { executable: Some(executable.into()), ..OpenOptions::default() })
                .unwrap();
        assert_eq!(device.measure(&Job::of_model("m.onnx")).unwrap_err().to_string(), expected);
    }
}

/// This test is its own client: run again with the variable set, it measures a model that hangs.
#[test]
fn a_worker_ends_when_its_client_is_killed() {
    const CLIENT: &str = "TEGU_TEST_IS_CLIENT";
    let mut bench = Bench::mock("limits: {time_s: 60}");
    if std::env::var_os(CLIENT).is_some() {
        let error = bench.measure("hang").unwrap_err();
        panic!("the client was not killed: {error}");
    }
    let mut client = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_worker_ends_when_its_client_is_killed"])
        .env(CLIENT, "1")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let worker = wait_for("the worker", || children(client.id()).first().copied());
    // Long enough to be in the middle of the measurement; if it is not, the test is weaker, not wrong.
    std::thread::sleep(Duration::from_millis(500));
    assert!(is_running(worker));
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the worker's end", || (!is_running(worker)).then_some(()));
}

#[test]
fn a_replay_gives_what_a_device_gave() {
    let mut bench = Bench::mock("");
    let (good, bad) = (ArchId::new("0a"), ArchId::new("0b"));
    let outcomes = [(&good, bench.measure("")), (&bad, bench.measure("fail on request"))];
    let lines = outcomes.each_ref().map(|(arch, outcome)| {
        let record = Record::new((*arch).clone(), "bench", outcome);
        serde_json::to_string(&record).unwrap() + "\n"
    });
    std::fs::write(bench.folder.path().join("measurements.jsonl"), lines.concat()).unwrap();

    let profile =
        format!("name: again\ndescription: again\nlocation: {{replay: {{study: {:?}}}}}", bench.folder.path());
    let profile = HardwareProfile::parse(&profile, Path::new("again.yaml")).unwrap();
    let mut replay = device::open(profile, OpenOptions::default()).unwrap();
    let mut job = |arch: &ArchId| replay.measure(&Job { arch_id: Some(arch.clone()), ..Job::of_model("m.onnx") });
    assert_eq!(job(&good).unwrap(), *outcomes[0].1.as_ref().unwrap());
    assert_eq!(job(&bad).unwrap_err().to_string(), outcomes[1].1.as_ref().unwrap_err().to_string());
    let error = job(&ArchId::new("0c")).unwrap_err().to_string();
    assert!(error.starts_with("no measurement of architecture 0c is recorded in "), "{error}");
}

/// A model with one convolution and a sigmoid, its batch dimension open.
fn conv_sigmoid() -> Vec<u8> {
    let mut graph = GraphBuilder::new(Shape::Map { channels: 3, height: 16, width: 16 });
    let conv = Conv2d { out_channels: 8, window: Window::same(3, 1), groups: 1, bias: true };
    let conv = graph.push("conv", Op::Conv2d(conv), &[graph.input()]).unwrap();
    let sigmoid = graph.push("sigmoid", Op::Activation(Activation::Sigmoid), &[conv]).unwrap();
    let graph = graph.finish(sigmoid);
    let weights = Weights::random(&graph, Init::default(), 1, &candle_core::Device::Cpu).unwrap();
    let options = ExportOptions { batch: Batch::Dynamic, ..ExportOptions::default() };
    onnx::export(&graph, &weights, &Metadata::default(), options).unwrap().bytes
}

#[test]
fn a_models_open_batch_is_the_profiles() {
    let mut bench = Bench::new("runtime: tract\nbatch: 3");
    let found = bench.measure(conv_sigmoid()).unwrap();
    assert_eq!((found.runtime.as_str(), found.threads, found.batch), ("tract", 1, 3));
    assert_eq!(found.execution_provider, "cpu");
}

#[test]
fn an_operator_that_the_target_lacks_is_named() {
    let mut bench = Bench::new("unsupported_operators: [Softmax, Sigmoid]");
    let error = bench.measure(conv_sigmoid()).unwrap_err().to_string();
    let path = bench.folder.path().join("m.onnx");
    let expected = "operator `Sigmoid` is among the `unsupported_operators` of profile `bench`";
    assert_eq!(error, format!("{}: {expected}", path.display()));
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    let mut bench = Bench::new("runtime: tract");
    let model = conv_sigmoid();
    let (truncated, garbage) = (&model[..model.len() / 2], "<!doctype html><title>404</title>");
    let truncated_or_other = "is it truncated, or of another format?";
    for (contents, expected) in
        [(truncated, truncated_or_other), (garbage.as_bytes(), truncated_or_other), (b"", "the file is empty")]
    {
        let error = bench.measure(contents).unwrap_err().to_string();
        let start = format!("can't prepare {}: not a valid ONNX model: ", bench.folder.path().join("m.onnx").display());
        assert!(error.starts_with(&start) && error.ends_with(expected), "{error}");
    }
    bench.measure(&model).unwrap();
}

fn children(parent: u32) -> Vec<Pid> {
    let mut system = System::new().unwrap();
    system.refresh_processes(ProcessesToUpdate::All, true);
    let processes = system.processes().iter();
    // On Linux, threads are listed as well.
    let own = processes.filter(|(_, process)| process.thread_kind().is_none());
    own.filter(|(_, process)| process.parent() == Some(Pid::from_u32(parent))).map(|(pid, _)| *pid).collect()
}

/// Whether the process is there and no zombie.
fn is_running(pid: Pid) -> bool {
    let mut system = System::new().unwrap();
    system.refresh_processes(ProcessesToUpdate::Some(&[pid]), true);
    system.process(pid).is_some_and(|process| !matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead))
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Some(found) => return found,
            None if start.elapsed() > Duration::from_secs(20) => panic!("{what} did not come"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
