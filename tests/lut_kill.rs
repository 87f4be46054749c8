//! A lookup table is built on ONNX Runtime itself, `kill -9` in the middle: of the build, which goes on when it is started
//! again and measures nothing twice, and of the runtime's process, which costs the build one network at most.
#![cfg(unix)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use sysinfo::{Pid, ProcessesToUpdate, System};
use tegu::lut::LatencyTable;

/// Networks that the journal at `path` has as timed.
fn timed(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"record\":{\"timed\":")).count()
}

fn wait_for(child: &mut Child, journal: &Path, more_than: usize) {
    let begin = Instant::now();
    while timed(journal) <= more_than {
        assert!(begin.elapsed() < Duration::from_secs(120), "nothing measured within two minutes");
        assert!(child.try_wait().unwrap().is_none(), "the build ended before it was disturbed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The worker process of this `tegu`.
fn worker(of: &Child) -> Option<Pid> {
    let mut system = System::new().unwrap();
    system.refresh_processes(ProcessesToUpdate::All, true);
    let own = system.processes().iter().filter(|(_, process)| process.thread_kind().is_none());
    own.filter(|(_, process)| process.parent() == Some(Pid::from_u32(of.id()))).map(|(pid, _)| *pid).next()
}

#[test]
fn a_build_on_onnx_runtime_goes_on_after_it_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let profile: PathBuf = folder.path().join("ort.yaml");
    let protocol = "{warm_up_s: 0.005, rounds: 5, max_rounds: 5, runs_per_round: 3, min_round_s: 0, budget_s: 0.05}";
    let text = format!("name: ort\ndescription: of a test\nruntime: onnxruntime\nthreads: 1\nprotocol: {protocol}\n");
    std::fs::write(&profile, text).unwrap();
    let (table, journal) = (folder.path().join("t.json"), folder.path().join("t.json.partial"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tegu"));
    command.args(["--quiet", "lut", "build"]).arg(&profile).args([
        "nas-bench-201",
        "--width",
        "4",
        "--depth",
        "1",
        "-o",
    ]);
    command.arg(&table).args(["--budget", "15s", "--json", "--ort-lib"]).arg(common::ort_library());

    let mut build = command.spawn().unwrap();
    wait_for(&mut build, &journal, 5);
    build.kill().unwrap();
    build.wait().unwrap();
    let kept = timed(&journal);
    assert!(kept > 5 && !table.exists());

    let mut build = command.spawn().unwrap();
    wait_for(&mut build, &journal, kept);
    let worker = worker(&build).expect("the runtime has a process of its own");
    assert!(Command::new("kill").arg("-9").arg(worker.to_string()).status().unwrap().success());
    assert!(build.wait().unwrap().success(), "the build did not survive its worker");

    let table = LatencyTable::read(&table).unwrap();
    assert!(!journal.exists() && table.networks.len() > kept);
    let mut archs: Vec<&str> = table.networks.iter().map(|network| network.arch.as_str()).collect();
    archs.sort_unstable();
    let distinct = archs.len();
    archs.dedup();
    assert_eq!(archs.len(), distinct, "a network was measured twice");
    assert!(table.failed.len() <= 1, "{:?}", table.failed);
}
