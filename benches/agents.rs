//! What agents cost: simulated measurements (mock runtime) through 1, 2, 4 and 8 agents on this machine, beside the same
//! measurements by a worker process without agents.
//!
//! `cargo bench --profile dev --bench agents [-- COUNT]` (10,000 where nothing is said). Needs `nats-server` (tests/setup.sh nats).
//! Every model is another file of some kilobytes, uploaded once. The overhead of a measurement is what one agent needs for
//! it beyond what it takes here. First measurements that take next to no time, so that all of it is overhead; then, a tenth as many,
//! some that take as long as a small model's do and leave the processor alone, so that it is seen how agents add up.

#[path = "../tests/common/nats.rs"]
mod nats;
#[path = "../tests/common/study.rs"]
mod study;

use nats::{Agent, Nats};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use study::{LIVING, Workplace};
use tegu::device::{self, HardwareProfile, Job, OpenOptions};
use tegu::nats::NatsOptions;

/// Candidates that a search asks for at once, and how many such batches are under way.
const BATCH: usize = 16;
const UNDER_WAY: usize = 4;

const PROFILE: &str = "\
name: mock
description: simulated
runtime: mock
protocol: {warm_up_s: 0.0, rounds: 5, max_rounds: 5, runs_per_round: 1, min_round_s: 0.0, budget_s: 0.01, reference: false}
";

/// Seconds of this process's threads on a processor, and its resident memory in MiB.
fn usage() -> (f64, f64) {
    // SAFETY: the structure is written by the call.
    let used = unsafe {
        let mut used = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_SELF, &mut used);
        used
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse::<f64>().ok());
    (seconds(used.ru_utime) + seconds(used.ru_stime), resident.unwrap_or_default() / 1024.0)
}

fn main() {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000_usize);
    let place = Workplace::new();
    let exported = place.run(&["export", "tiny.yaml", LIVING, "-o", "m.onnx"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let said = place.run(&["inspect", "m.onnx", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&said.stdout).expect("it is JSON");
    // Every run of this model takes 5 ms.
    let options = format!("{{Conv {}: sleep_us 5000}}", found["operators"]["Conv"]);
    place.write("mock.yaml", PROFILE);
    place.write(
        "sleepy.yaml",
        PROFILE.replace("name: mock", "name: sleepy")
            + &format!("execution_provider: {{name: mock, options: {options}}}\n"),
    );
    run(&place, "mock", count);
    run(&place, "sleepy", count / 10);
}

/// So many copies of the model, each another file.
fn jobs(place: &Workplace, run: usize, count: usize) -> Vec<Job> {
    let model = std::fs::read(place.path("m.onnx")).expect("it was exported");
    let job = |at: usize| {
        let path: PathBuf = place.path(&format!("{run}-{at}.onnx"));
        // A field that no reader knows makes it another file of the same model.
        let text = format!("{run:04}-{at:06}");
        let field = [0xca, 0x3e, text.len() as u8];
        std::fs::write(&path, [model.as_slice(), &field, text.as_bytes()].concat()).expect("there is room");
        Job::of_model(path)
    };
    (0..count).map(job).collect()
}

fn run(place: &Workplace, name: &str, count: usize) {
    let file = place.path(&format!("{name}.yaml")).display().to_string();
    let executable = Some(PathBuf::from(env!("CARGO_BIN_EXE_tegu")));
    let options = OpenOptions { executable, ..OpenOptions::default() };
    let mut here = device::open(HardwareProfile::find(&file).expect("it is a profile"), options).expect("it is local");
    let (all, begun) = (jobs(place, 0, count), Instant::now());
    for batch in all.chunks(8) {
        assert!(here.measure_all(batch).iter().all(Result::is_ok));
    }
    let here_ms = begun.elapsed().as_secs_f64() * 1e3 / count as f64;
    println!("{name}: {count} measurements, without agents {here_ms:.2} ms each");
    println!("agents  measurements/s  ms each  overhead ms  coordinator: CPU ms each  MiB before  MiB after");
    for agents in [1, 2, 4, 8] {
        let nats = Nats::start();
        let agent = |number: usize| Agent::ready(place, &nats.url(), &format!("a{number}"), &["--profile", &file]);
        let _agents: Vec<Agent> = (0..agents).map(agent).collect();
        let all = jobs(place, agents, count);
        let options = NatsOptions::at(Some(&nats.url()));
        let profile = device::agent_profile(name, &options).expect("its agents have registered it");
        let open = OpenOptions { nats: options, ..OpenOptions::default() };
        let mut device = device::open(profile, open).expect("it is registered");
        assert!(device.measure_all(&[Job::of_model(place.path("m.onnx"))]).iter().all(Result::is_ok));
        let (next, before, begun) = (AtomicUsize::new(0), usage(), Instant::now());
        let batches: Vec<&[Job]> = all.chunks(BATCH).collect();
        std::thread::scope(|scope| {
            for _ in 0..UNDER_WAY {
                let mut handle = device.elsewhere().expect("agents are elsewhere");
                let (next, batches) = (&next, &batches);
                scope.spawn(move || {
                    while let Some(batch) = batches.get(next.fetch_add(1, Ordering::SeqCst)) {
                        for outcome in handle.measure_all(batch) {
                            outcome.expect("it is measured");
                        }
                        handle.stored(batch);
                    }
                });
            }
        });
        let (seconds, after) = (begun.elapsed().as_secs_f64(), usage());
        let each_ms = seconds * 1e3 / count as f64;
        // Several agents do several at once.
        let overhead = if agents == 1 { format!("{:.2}", each_ms - here_ms) } else { "-".to_owned() };
        println!(
            "{agents:6}  {:14.0}  {each_ms:7.2}  {overhead:>11}  {:24.2}  {:10.1}  {:9.1}",
            count as f64 / seconds,
            (after.0 - before.0) * 1e3 / count as f64,
            before.1,
            after.1
        );
        for job in &all {
            std::fs::remove_file(&job.model).expect("it is there");
        }
    }
}
