//! A training survives `kill -9` at any moment, and a disk that is full: it goes on with the same bits.

#[path = "common/stripes.rs"]
mod stripes;
#[path = "common/study.rs"]
mod study;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use study::{LIVING, Workplace, sha256};
use tegu::train::{CHECKPOINT, Epoch, TrainingRecord};

const EPOCHS: usize = 8;

fn place() -> Workplace {
    let place = Workplace::new();
    std::fs::create_dir(place.path("data")).unwrap();
    stripes::write_stripes(&place.path("data"), 384, 64);
    let everything = "epochs: 8\nbatch: 32\noptimizer: {adamw: {}}\nlr: 0.01\ndrop_path: 0.2\ndropout: 0.1\n\
        augmentation: {crop: 1, mixup: 0.2}\nsplit: {validation: 0.2}\n";
    place.write("train.yaml", everything);
    place
}

fn args(output: &str) -> Vec<String> {
    let args =
        ["train", "--space", "tiny.yaml", "--arch", LIVING, "--data", "data", "--config", "train.yaml", "-o", output];
    args.iter().chain(&["--quiet"]).map(|arg| (*arg).to_owned()).collect()
}

/// A training, killed when the test ends early.
struct Running(Child);

impl Running {
    fn start(place: &Workplace, output: &str) -> Self {
        let args = args(output);
        let mut command = place.tegu(&args.iter().map(String::as_str).collect::<Vec<_>>());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn curve(folder: &Path) -> Vec<Epoch> {
    let curve = TrainingRecord::read(folder).map_or(vec![], |record| record.curve);
    curve.into_iter().map(|epoch| Epoch { seconds: 0.0, ..epoch }).collect()
}

#[test]
fn a_killed_training_gives_the_same_curve() {
    let place = place();
    let begin = Instant::now();
    let mut whole = Running::start(&place, "whole.onnx");
    assert!(whole.0.wait().unwrap().success());
    let took = begin.elapsed();
    let expected = curve(&place.path("whole.training"));
    assert_eq!(expected.len(), EPOCHS);

    let folder = place.path("parts.training");
    let mut stood = vec![];
    for kill in 0..6u32 {
        let before = curve(&folder).len();
        let mut running = Running::start(&place, "parts.onnx");
        let begin = Instant::now();
        // The first kills come by the clock, the others when one more epoch is done, and a little later.
        while kill >= 2 && curve(&folder).len() <= before {
            assert!(begin.elapsed() < Duration::from_secs(60), "no epoch came");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(took / 16 * (kill % 3) / 2);
        assert!(running.0.try_wait().unwrap().is_none(), "training ended before kill {kill}");
        running.0.kill().unwrap();
        running.0.wait().unwrap();
        let now = curve(&folder);
        assert_eq!(now, expected[..now.len()], "kill {kill}");
        assert!(now.len() >= before && now.len() < EPOCHS);
        stood.push(now.len());
    }
    assert!(*stood.last().unwrap() >= 4, "{stood:?}");
    assert!(Running::start(&place, "parts.onnx").0.wait().unwrap().success());
    assert_eq!(curve(&folder), expected);
    assert_eq!(sha256(&place.path("parts.onnx")), sha256(&place.path("whole.onnx")));
    let drafts = std::fs::read_dir(&folder).unwrap().flatten();
    assert_eq!(drafts.filter(|entry| entry.file_name().to_string_lossy().starts_with(".tmp")).count(), 0);
}

/// A process may write no file larger than a limit: what a full disk looks like to it.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoint() {
    use std::os::unix::process::CommandExt;
    let place = place();
    let run = |limit: Option<u64>| {
        let args = args("m.onnx");
        let mut command = place.tegu(&args.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(limit) = limit {
            let limit_files = move || {
                let all = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                // SAFETY: both only change what the kernel keeps of this process.
                let failed = unsafe {
                    libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
                    libc::setrlimit(libc::RLIMIT_FSIZE, &all)
                };
                if failed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
            };
            // SAFETY: it calls nothing but the kernel between fork and exec.
            unsafe { command.pre_exec(limit_files) };
        }
        study::Finished::from(command.output().unwrap())
    };
    let full = run(Some(2000));
    assert_eq!(full.code, Some(1), "{full:?}");
    assert!(full.stderr.contains(CHECKPOINT) && full.stderr.contains("File too large"), "{}", full.stderr);
    assert!(!place.path("m.training").join(CHECKPOINT).exists());

    let mut running = Running::start(&place, "m.onnx");
    while curve(&place.path("m.training")).len() < 2 {
        assert!(running.0.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(running);
    let before = sha256(&place.path("m.training").join(CHECKPOINT));
    assert_eq!(run(Some(2000)).code, Some(1));
    assert_eq!(sha256(&place.path("m.training").join(CHECKPOINT)), before);
    assert_eq!(run(None).code, Some(0));
    assert_eq!(curve(&place.path("m.training")).len(), EPOCHS);
}
