//! A study's store survives `kill -9`: whatever a process said was stored is there when the store is opened again.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tegu::genotype::{ArchId, Genotype};
use tegu::study::store::{MeasurementRecord, Store, StoreError, TrialRecord, TrialState};

/// Where the child writes; without it, the child's test stores a few trials of its own.
const STORE: &str = "TEGU_TEST_STORE";
const SAMPLER: &str = "random";
const DEVICE: &str = "cpu";

fn trial(number: u64) -> TrialRecord {
    TrialRecord {
        sampler: SAMPLER.into(),
        number,
        genotype: Genotype::new(number.to_le_bytes().to_vec()),
        arch: number.to_string(),
        arch_id: ArchId::new(format!("{number:016x}")),
        state: TrialState::Complete { objectives: [("latency".to_owned(), number as f64 / 3.0)].into() },
        params: Some(number),
        live_params: None,
        macs: Some(number),
        model_sha256: None,
        seconds: Default::default(),
    }
}

fn measurement(number: u64) -> MeasurementRecord {
    MeasurementRecord {
        arch_id: trial(number).arch_id,
        device: DEVICE.into(),
        model_sha256: "00".into(),
        measurement: serde_json::json!({ "samples_ms": vec![number; 200] }),
    }
}

/// Goes on with the trials of the store, up to `count`, and says each number after it is stored.
fn store_trials(path: &Path, count: u64) {
    let mut store = Store::open(path).unwrap();
    let mut stdout = std::io::stdout().lock();
    // The test harness has begun a line.
    writeln!(stdout).unwrap();
    for number in store.trials(SAMPLER).unwrap().len() as u64..count {
        store.put_measurements(&[measurement(number)]).unwrap();
        store.put_trial(&trial(number)).unwrap();
        writeln!(stdout, "stored {number}").unwrap();
        stdout.flush().unwrap();
    }
}

/// Kills its process when the test that started it ends early.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn child() {
    match std::env::var_os(STORE) {
        Some(path) => store_trials(Path::new(&path), u64::MAX),
        None => {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("study.sqlite");
            store_trials(&path, 2);
            store_trials(&path, 3);
            assert_eq!(Store::open(&path).unwrap().trials(SAMPLER).unwrap(), [trial(0), trial(1), trial(2)]);
        }
    }
}

#[test]
fn what_was_stored_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.sqlite");
    let mut acknowledged = 0;
    for round in 0..10u64 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(STORE, &path);
        let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
        let process = child.0.id();
        let stdout = BufReader::new(child.0.stdout.take().unwrap());
        let numbers = stdout.lines().filter_map(|line| line.unwrap().strip_prefix("stored ")?.parse::<u64>().ok());
        let mut numbers = numbers.peekable();
        assert_eq!(numbers.peek(), Some(&acknowledged), "round {round} goes on where the last one was killed");

        let error = Store::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::InUse { process: Some(id), .. } if id == process), "{error}");
        assert!(!Store::open_read_only(&path).unwrap().trials(SAMPLER).unwrap().is_empty());

        std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        let last = numbers.last().unwrap();

        let seen = Store::open_read_only(&path).unwrap().trials(SAMPLER).unwrap();
        let store = Store::open(&path).unwrap();
        let stored = store.trials(SAMPLER).unwrap();
        assert_eq!(seen, stored, "a reader that comes first after the kill");
        assert!(stored.len() as u64 > last, "{} trials are there, {last} was acknowledged", stored.len());
        for (number, found) in stored.iter().enumerate() {
            assert_eq!(*found, trial(number as u64));
            assert!(store.measurement(&found.arch_id, DEVICE).unwrap().is_some(), "measurement {number}");
        }
        // Of the trial under way, at most its measurement and itself, stored but not acknowledged.
        assert!(stored.len() as u64 <= last + 2 && store.measurements(DEVICE).unwrap().len() <= stored.len() + 1);
        acknowledged = stored.len() as u64;
        drop(store);

        let raw = rusqlite::Connection::open(&path).unwrap();
        let verdict: String = raw.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
    }
}
