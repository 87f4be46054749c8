//! A study survives `kill -9` at any moment: the same command goes on, nothing is lost or measured twice, and
//! what comes out is what an undisturbed run gives.

#[path = "common/study.rs"]
mod study;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use study::{Finished, Workplace, sha256};
use sysinfo::{ProcessesToUpdate, System};
use tegu::study::store::{Store, TrialRecord};

const DEVICE: &str = "host-cpu-tract";
const KILLS: usize = 10;

/// Everything that a study has stored, by what it is of.
#[derive(Clone, Debug, Default, PartialEq)]
struct Stored {
    reference: BTreeMap<u64, String>,
    indicators: i64,
    trials: BTreeMap<(String, u64), TrialRecord>,
    /// As the text that is in the file, with all raw samples.
    measurements: BTreeMap<String, String>,
    /// Models without a measurement on the real device: one is being measured, or is about to be.
    measuring: usize,
}

impl Stored {
    /// Nothing where there is no study yet. May look while a search runs.
    fn read(folder: &Path) -> Self {
        let path = folder.join("study.sqlite");
        let Ok(store) = Store::open_read_only(&path) else { return Self::default() };
        let reference = store.reference_sample().unwrap();
        let trials = ["nsga2", "random"].into_iter().flat_map(|sampler| store.trials(sampler).unwrap());
        let raw = rusqlite::Connection::open(&path).unwrap();
        let mut rows = raw.prepare("SELECT arch_id || '@' || device, measurement FROM measurements").unwrap();
        let measurements = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let measurements: BTreeMap<String, String> = measurements.collect::<Result<_, _>>().unwrap();
        let models = std::fs::read_dir(folder.join("models")).into_iter().flatten();
        let ids = models.filter_map(|model| model.ok()?.file_name().to_str()?.strip_suffix(".onnx").map(str::to_owned));
        let measuring = ids.filter(|id| !measurements.contains_key(&format!("{id}@{DEVICE}"))).count();
        Self {
            measuring,
            reference: reference.into_iter().map(|record| (record.number, record.arch)).collect(),
            indicators: raw.query_row("SELECT count(*) FROM indicators", [], |row| row.get(0)).unwrap(),
            trials: trials.map(|record| ((record.sampler.clone(), record.number), record)).collect(),
            measurements,
        }
    }

    fn trials_of(&self, sampler: &str) -> usize {
        self.trials.keys().filter(|(of, _)| of == sampler).count()
    }

    /// Checks that what was stored `before` is there as it was, and that trials are numbered without gaps.
    fn check_grown_from(&self, before: &Self, when: &str) {
        for (number, arch) in &before.reference {
            assert_eq!(self.reference.get(number), Some(arch), "{when}: reference {number}");
        }
        for (key, trial) in &before.trials {
            assert_eq!(self.trials.get(key), Some(trial), "{when}: trial {key:?}");
        }
        for (key, measurement) in &before.measurements {
            assert_eq!(self.measurements.get(key), Some(measurement), "{when}: {key} was measured again");
        }
        assert!(self.indicators >= before.indicators, "{when}");
        for sampler in ["nsga2", "random"] {
            let numbers: Vec<u64> = self.trials.keys().filter(|(of, _)| of == sampler).map(|(_, at)| *at).collect();
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{when}: {sampler}");
        }
    }
}

/// A running search, killed when the test ends early.
struct Search(Option<Child>);

impl Search {
    fn start(place: &Workplace, name: &str, threads: &str) -> Self {
        let config = format!("{name}.yaml");
        let mut command = place.tegu(&["search", &config, "--json", "--quiet"]);
        command.env("RAYON_NUM_THREADS", threads).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it is taken once")
    }

    fn has_ended(&mut self) -> bool {
        self.child().try_wait().unwrap().is_some()
    }

    fn finish(mut self) -> Finished {
        self.0.take().unwrap().wait_with_output().unwrap().into()
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A name, and whether the moment has come.
type Moment = (&'static str, fn(&Stored) -> bool);

/// Moments of a study, one for each kill: so much is stored at least when it comes.
fn moments() -> [Moment; KILLS] {
    [
        ("before anything", |_| true),
        ("at the study's beginning", |_| true),
        ("in the reference sample", |stored| stored.reference.len() >= 2),
        ("scoring the first candidates", |stored| stored.reference.len() == 6 && stored.indicators > 6 * 3),
        ("with the first measurement", |stored| !stored.measurements.is_empty()),
        ("in a measurement", |stored| stored.trials.len() >= 3 && stored.measuring > 0),
        ("between generations", |stored| stored.trials.len() >= 6),
        ("late in the search", |stored| stored.trials_of("nsga2") >= 15),
        ("at the control's beginning", |stored| stored.trials_of("nsga2") == 20),
        ("in the control", |stored| stored.trials_of("random") >= 9),
    ]
}

/// What a kill found.
#[derive(Debug)]
#[allow(dead_code)]
struct Hit {
    moment: &'static str,
    reference: usize,
    indicators: i64,
    search: usize,
    control: usize,
    measurements: usize,
    measuring: usize,
}

/// Runs the study `name`, killed at each of the moments and a little later by chance; gives what was hit.
fn run_killed(place: &Workplace, name: &str, seed: u64) -> Vec<Hit> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let folder = place.folder(name);
    let mut hit = vec![];
    let mut before = Stored::default();
    for (moment, has_come) in moments() {
        let mut search = Search::start(place, name, "2");
        let begin = Instant::now();
        // Fine steps: a trial takes some 20 ms here.
        while !has_come(&Stored::read(&folder)) && !search.has_ended() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{moment} did not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        let late = match moment {
            "before anything" => 0..5_000,
            "at the study's beginning" => 5_000..60_000,
            "in the reference sample" => 0..4_000,
            "in a measurement" => 0..10_000,
            _ => 0..25_000,
        };
        std::thread::sleep(Duration::from_micros(rng.random_range(late)));
        let killed = !search.has_ended();
        assert!(killed, "the study ended before the kill {moment}");
        search.child().kill().unwrap();
        search.child().wait().unwrap();
        let stored = Stored::read(&folder);
        stored.check_grown_from(&before, moment);
        hit.push(Hit {
            moment,
            reference: stored.reference.len(),
            indicators: stored.indicators,
            search: stored.trials_of("nsga2"),
            control: stored.trials_of("random"),
            measurements: stored.measurements.len(),
            measuring: stored.measuring,
        });
        before = stored;
    }
    let finished = Search::start(place, name, "2").finish();
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{name}");
    let stored = Stored::read(&folder);
    stored.check_grown_from(&before, "at the end");
    assert_eq!((stored.trials_of("nsga2"), stored.trials_of("random"), stored.reference.len()), (20, 20, 6));
    hit
}

/// The front without what differs between runs: times, and when it was.
fn front(place: &Workplace, name: &str) -> Value {
    let text = std::fs::read_to_string(place.folder(name).join("front.json")).unwrap();
    let mut front: Value = serde_json::from_str(&text).unwrap();
    front["created"] = Value::Null;
    for summary in ["search", "control"] {
        for time in ["scoring_s", "exporting_s", "loading_s", "measuring_s", "waiting_s", "total_s"] {
            front[summary][time] = Value::Null;
        }
    }
    front
}

/// Checks that each model of the front is there with the bytes that were recorded, and no other model and no draft.
fn check_models(place: &Workplace, name: &str) {
    let folder = place.folder(name);
    let front = front(place, name);
    let mut expected: Vec<String> = vec![];
    for trial in front["front"].as_array().unwrap() {
        let model = trial["model"].as_str().unwrap_or_else(|| panic!("{name}: no model of {trial}"));
        assert_eq!(sha256(&folder.join(model)), trial["model_sha256"], "{name}: {model}");
        expected.push(model.trim_start_matches("models/").to_owned());
    }
    assert!(!expected.is_empty());
    let mut found: Vec<String> = std::fs::read_dir(folder.join("models"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{name}");
}

/// Writes the study `name`, measured by the records of `runs/small`.
fn write_replay(place: &Workplace, name: &str) {
    place.write(
        "replay.yaml",
        "name: replayed\ndescription: records\nlocation: {replay: {study: measurements.jsonl}}\n",
    );
    place.write_study(name, &[(DEVICE, "replay.yaml")]);
}

/// Processes that run the executable in this folder or below it: searches and their workers.
fn processes_in(folder: &Path) -> Vec<String> {
    let mut system = System::new().unwrap();
    let kind = sysinfo::ProcessRefreshKind::everything();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    let there = system.processes().values().filter(|process| process.cwd().is_some_and(|cwd| cwd.starts_with(folder)));
    there.map(|process| format!("{} {:?}", process.pid(), process.cmd())).collect()
}

fn check_no_process_left(place: &Workplace) {
    let folder = place.path("").canonicalize().unwrap();
    let begin = Instant::now();
    loop {
        let left = processes_in(&folder);
        if left.is_empty() {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_study_that_is_killed_goes_on_to_the_same_front() {
    // Undisturbed, on the real device; then everything that the sampler can come to is recorded.
    let place = Workplace::new();
    place.search("small");
    check_models(&place, "small");
    let store = Store::open_read_only(&place.folder("small").join("study.sqlite")).unwrap();
    assert!(store.export_measurements(DEVICE, &place.path("measurements.jsonl")).unwrap() >= 20);

    let studies = ["undisturbed", "killed", "one", "four"];
    studies.into_iter().for_each(|name| write_replay(&place, name));
    place.search("undisturbed");
    check_models(&place, "undisturbed");
    let hit = run_killed(&place, "killed", 1);
    check_models(&place, "killed");
    println!("killed: {hit:#?}");
    for (name, threads) in [("one", "1"), ("four", "4")] {
        let finished = Search::start(&place, name, threads).finish();
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{name}");
        check_models(&place, name);
    }

    let same_study = |name: &str| {
        let mut front = front(&place, name);
        front["study"] = Value::Null;
        // The study's name is in the model's metadata.
        front["front"].as_array_mut().unwrap().iter_mut().for_each(|trial| trial["model_sha256"] = Value::Null);
        front
    };
    let archive = |name: &str| -> Vec<_> {
        let trials = Stored::read(&place.folder(name)).trials.into_values();
        trials.map(|trial| (trial.sampler, trial.number, trial.arch, trial.state)).collect()
    };
    for name in &studies[1..] {
        assert_eq!(same_study(name), same_study("undisturbed"), "{name}");
        assert_eq!(archive(name), archive("undisturbed"), "{name}");
    }
    // The replayed archive is that of the run that was recorded.
    assert_eq!(
        archive("undisturbed").into_iter().map(|(_, _, arch, _)| arch).collect::<Vec<_>>(),
        archive("small").into_iter().map(|(_, _, arch, _)| arch).collect::<Vec<_>>()
    );
    check_no_process_left(&place);
}

#[test]
fn a_measurement_is_never_made_twice() {
    let place = Workplace::new();
    let hit = run_killed(&place, "small", 2);
    assert!(hit.iter().any(|hit| hit.measuring > 0), "{hit:#?}");
    for phase in [|hit: &Hit| hit.reference < 6, |hit: &Hit| (1..20).contains(&hit.search), |hit: &Hit| hit.control > 0]
    {
        assert!(hit.iter().any(phase), "{hit:#?}");
    }
    println!("killed: {hit:#?}");
    check_models(&place, "small");
    check_no_process_left(&place);
    // Nor by a finished study.
    let before = Stored::read(&place.folder("small"));
    place.search("small");
    assert_eq!(Stored::read(&place.folder("small")), before);
    check_models(&place, "small");
}

#[test]
fn fresh_starts_over_and_leaves_what_is_not_the_studys() {
    let place = Workplace::new();
    place.write_study("short", &[("trials: 20", "trials: 2"), ("control: random", "control: none")]);
    place.search("short");
    let notes = place.folder("short").join("notes.txt");
    std::fs::write(&notes, "mine").unwrap();
    let before = Stored::read(&place.folder("short"));
    place.write_study("short", &[("trials: 20", "trials: 3"), ("control: random", "control: none")]);
    let refused = place.run(&["search", "short.yaml", "--quiet"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert_eq!(Stored::read(&place.folder("short")), before, "a refused config changes nothing");
    // A study of an older version goes as well.
    let store = rusqlite::Connection::open(place.folder("short").join("study.sqlite")).unwrap();
    store.execute_batch("PRAGMA user_version = 1").unwrap();
    drop(store);
    let fresh = place.run(&["search", "short.yaml", "--quiet", "--fresh"]);
    assert_eq!((fresh.code, fresh.stderr.as_str()), (Some(0), ""));
    let after = Stored::read(&place.folder("short"));
    assert_eq!(after.trials.len(), 3);
    assert!(after.measurements.iter().all(|measured| before.measurements.get(measured.0) != Some(measured.1)));
    assert_eq!(std::fs::read_to_string(notes).unwrap(), "mine");
    check_models(&place, "short");
}

#[test]
fn a_repeated_study_runs_each_seed_once_and_says_how_far_they_are_apart() {
    let place = Workplace::new();
    place.write_study("twice", &[("trials: 20", "trials: 6\n  repeats: 2"), ("reference: 6", "reference: 4")]);
    place.search("twice");
    let report = place.run(&["report", "runs/twice", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    let by_sampler = |name: &str| {
        let trials = report["trials"].as_array().unwrap().iter().filter(|trial| trial["sampler"] == name);
        trials.map(|trial| trial["arch"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let names = ["nsga2", "random", "nsga2#2", "random#2"];
    assert_eq!(names.map(|name| by_sampler(name).len()), [6; 4]);
    assert_ne!(by_sampler("nsga2"), by_sampler("nsga2#2"));
    assert_eq!(by_sampler("nsga2#2"), by_sampler("random#2"), "a control begins as its search does");
    let seeds = &report["seeds"];
    assert_eq!((&seeds["seeds"][1], seeds["search"].as_array().unwrap().len()), (&serde_json::json!(4), 2), "{seeds}");
    assert_eq!(seeds["search"][0], report["search"]["hypervolume"]);
    assert_eq!(report["controls"].as_array().unwrap().len(), 2);
    let shares: f64 = report["preferences"].as_array().unwrap().iter().map(|p| p["on_front"].as_f64().unwrap()).sum();
    assert!((shares - 6.0).abs() < 1e-9, "six decisions, each made by all of the front: {shares}");
    // Nothing is left to do.
    let before = Stored::read(&place.folder("twice"));
    place.search("twice");
    assert_eq!(Stored::read(&place.folder("twice")), before);
}

#[cfg(unix)]
fn interrupt(search: &mut Search) {
    // SAFETY: it sends a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(search.child().id() as i32, libc::SIGINT) }, 0);
}

#[cfg(unix)]
fn wait_for_trials(place: &Workplace, name: &str, count: usize) {
    let begin = Instant::now();
    while Stored::read(&place.folder(name)).trials.len() < count {
        assert!(begin.elapsed() < Duration::from_secs(60), "{name}: trial {count} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_running_trial_and_the_same_command_goes_on() {
    let place = Workplace::new();
    let mut search = Search::start(&place, "small", "2");
    wait_for_trials(&place, "small", 4);
    interrupt(&mut search);
    let begin = Instant::now();
    let finished = search.finish();
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(130), ""), "{finished:?}");
    assert!(finished.stderr.contains("tegu: finishing what is running; once more to stop at once\n"));
    assert!(finished.stderr.ends_with("tegu: interrupted: the same command goes on where it stopped\n"));
    let stored = Stored::read(&place.folder("small"));
    assert!((4..20).contains(&stored.trials.len()), "{}", stored.trials.len());
    // The trial that was running is whole: no measurement is without its trial.
    assert_eq!(stored.trials.len(), stored.measurements.len());

    // Where scoring is what runs, no trial is.
    let mut again = Search::start(&place, "small", "2");
    std::thread::sleep(Duration::from_millis(150));
    interrupt(&mut again);
    assert_eq!(again.finish().code, Some(130));
    let between = Stored::read(&place.folder("small"));
    between.check_grown_from(&stored, "after the second Ctrl-C");

    place.search("small");
    let end = Stored::read(&place.folder("small"));
    end.check_grown_from(&between, "at the end");
    assert_eq!(end.trials.len(), 40);
    check_models(&place, "small");
    check_no_process_left(&place);
}

#[cfg(unix)]
#[test]
fn a_second_ctrl_c_stops_at_once() {
    let place = Workplace::new();
    // One candidate hangs for longer than the test lasts: the first Ctrl-C waits for it.
    place.write(
        "hangs.yaml",
        "name: hangs\ndescription: every model hangs\nruntime: mock\nlimits: {time_s: 100}\n\
        execution_provider: {name: mock, options: {Conv 3: hang, Conv 5: hang, Conv 7: hang, Conv 9: hang, \
        Conv 11: hang, Conv 13: hang, Conv 15: hang}}\n",
    );
    let protocol = study::STUDY.lines().find(|line| line.contains("protocol:")).unwrap();
    place.write_study("stuck", &[(DEVICE, "hangs.yaml"), (protocol, "")]);
    let mut search = Search::start(&place, "stuck", "2");
    let begin = Instant::now();
    let models = place.folder("stuck").join("models");
    while std::fs::read_dir(&models).map_or(0, Iterator::count) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no model came");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    interrupt(&mut search);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!search.has_ended(), "the first Ctrl-C waits for the trial that is running");
    let second = Instant::now();
    interrupt(&mut search);
    let finished = search.finish();
    assert!(second.elapsed() < Duration::from_secs(3));
    assert_eq!(finished.code, Some(130), "{finished:?}");
    assert_eq!(Stored::read(&place.folder("stuck")).trials.len(), 0);
    check_no_process_left(&place);
}
