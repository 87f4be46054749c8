//! Models that crash, hang, need too much memory or are refused cost their own trial; a device that can't be
//! used at all ends the study before time is spent.

#[path = "common/study.rs"]
mod study;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use study::{STUDY, Workplace};
use tegu::study::store::{Store, TrialState};

/// The study `name` on the device that `profile` describes.
fn write(place: &Workplace, name: &str, profile: &str) {
    place.write("bench.yaml", format!("name: bench\ndescription: for tests\n{profile}"));
    let latency = STUDY.lines().find(|line| line.contains("protocol:")).unwrap();
    place.write_study(name, &[("host-cpu-tract", "bench.yaml"), (latency, "")]);
}

/// How often each reason is a trial's; paths are left out.
fn reasons(place: &Workplace, name: &str) -> (BTreeMap<String, usize>, usize) {
    let store = Store::open_read_only(&place.folder(name).join("study.sqlite")).unwrap();
    let mut reasons = BTreeMap::new();
    let mut complete = 0;
    for trial in [store.trials("nsga2").unwrap(), store.trials("random").unwrap()].concat() {
        match trial.state {
            TrialState::Complete { .. } => complete += 1,
            TrialState::Failed { reason } => {
                let model = format!("runs/{name}/models/{}", trial.arch_id);
                let absolute = place.path(&model).display().to_string();
                let reason = reason.replace(&absolute, "MODEL").replace(&model, "MODEL");
                *reasons.entry(reason).or_default() += 1;
            }
        }
    }
    (reasons, complete)
}

const SHORT: &str = "protocol: {warm_up_s: 0.01, rounds: 5, max_rounds: 5, runs_per_round: 3, min_round_s: 0.0, \
    budget_s: 0.05}\n";

#[test]
fn models_that_misbehave_cost_a_trial_each() {
    let place = Workplace::new();
    let options = "{Conv 13: crash, Conv 11: hang, Conv 5: allocate 100000, Conv 7: fail no such kernel}";
    let profile = format!(
        "runtime: mock\nlimits: {{time_s: 0.5, memory_mib: 300}}\nexecution_provider: {{name: mock, options: {options}}}\n"
    );
    write(&place, "bad", &(profile + SHORT));
    let begin = Instant::now();
    let front = place.search("bad");
    assert!(!front["front"].as_array().unwrap().is_empty());
    let (reasons, complete) = reasons(&place, "bad");
    let expected = [
        "bench: MODEL.onnx: needs more than 300 MiB, the profile's `limits.memory_mib` (stopped while running the model)",
        "bench: MODEL.onnx: not done within 0.5 s, the profile's `limits.time_s` (stopped while running the model)",
        "bench: MODEL.onnx: run failed: no such kernel",
        "bench: MODEL.onnx: the worker crashed (SIGABRT, aborted by its own code) while running the model",
    ];
    assert_eq!(reasons.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{reasons:?}");
    assert_eq!(complete + reasons.values().sum::<usize>(), 40);
    assert!(complete >= 5, "{reasons:?}");

    // A hang is not waited for again: neither by the control nor by the same command.
    let store = Store::open_read_only(&place.folder("bad").join("study.sqlite")).unwrap();
    let mut tried = BTreeMap::new();
    for trial in [store.trials("nsga2").unwrap(), store.trials("random").unwrap()].concat() {
        if matches!(&trial.state, TrialState::Failed { .. }) {
            *tried.entry(trial.arch_id).or_insert(0) += usize::from(trial.seconds.measuring_s > 0.0);
        }
    }
    assert!(tried.values().all(|&times| times == 1), "{tried:?}");
    let again = Instant::now();
    place.search("bad");
    assert!(again.elapsed() < Duration::from_secs(5), "{:?} of {:?}", again.elapsed(), begin.elapsed());
}

#[test]
fn candidates_with_an_operator_that_the_target_lacks_fail_and_the_search_goes_on() {
    let place = Workplace::new();
    write(&place, "pools", &format!("unsupported_operators: [AveragePool]\n{SHORT}"));
    let front = place.search("pools");
    let (reasons, complete) = reasons(&place, "pools");
    let expected = "bench: MODEL.onnx: operator `AveragePool` is among the `unsupported_operators` of profile `bench`";
    assert_eq!(reasons.keys().collect::<Vec<_>>(), [expected]);
    assert!(complete >= 5 && reasons[expected] >= 5, "{complete} {reasons:?}");
    for trial in front["front"].as_array().unwrap() {
        assert!(trial["model"].is_string(), "{trial}");
    }
}

#[test]
fn candidates_that_a_provider_runs_in_part_only_fail_with_the_nodes_named() {
    let place = Workplace::new();
    let check = |name: &str, more: &str, start: &str| {
        let provider = format!("execution_provider: {{name: mock, options: {{fallback: AveragePool}}{more}");
        write(&place, name, &format!("runtime: mock\n{provider}\n{SHORT}"));
        place.search(name);
        let (reasons, complete) = reasons(&place, name);
        let named = |reason: &String| reason.contains(start) && reason.contains("(AveragePool)");
        assert!(reasons.keys().all(named) && complete >= 5, "{complete} {reasons:?}");
        reasons.values().sum::<usize>()
    };
    let strict = check("strict", "}", "MODEL.onnx: execution provider `mock` does not run ");
    let bounded = check(
        "bounded",
        ", allow_fallback: true}\nbudget: {ep_coverage: 1.0}",
        "of the nodes, the profile's `budget.ep_coverage` is 1: ",
    );
    assert!(strict >= 5 && bounded >= 5, "{strict} {bounded}");
    assert_eq!(check("allowed", ", allow_fallback: true}", ""), 0);
}

/// Runs a study that fails before anything is scored; gives what it says.
fn check_fatal(place: &Workplace, name: &str, code: i32, expected: &str) {
    let finished = place.run(&["search", &format!("{name}.yaml"), "--json", "--quiet"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(code), ""), "{finished:?}");
    assert_eq!(finished.stderr, format!("error: {expected}\n"));
    let store = Store::open_read_only(&place.folder(name).join("study.sqlite")).unwrap();
    assert!(store.reference_sample().unwrap().is_empty() && store.trials("nsga2").unwrap().is_empty());
}

#[test]
fn a_device_that_cant_be_used_ends_the_study_at_once() {
    let place = Workplace::new();
    write(&place, "library", "runtime: onnxruntime\nlibrary: /nonexistent/libonnxruntime.so\n");
    let finished = place.run(&["search", "library.yaml", "--quiet"]);
    assert_eq!(finished.code, Some(1));
    let start = "error: device `bench` can't be used: ONNX Runtime: ";
    assert!(
        finished.stderr.starts_with(start) && finished.stderr.contains("/nonexistent/libonnxruntime.so"),
        "{finished:?}"
    );

    write(&place, "driver", "runtime: mock\nexecution_provider: {name: mock, options: {unavailable: no driver}}\n");
    check_fatal(&place, "driver", 1, "device `bench` can't be used: no driver");

    write(&place, "memory", "limits: {memory_mib: 1}\n");
    let reason =
        "the worker alone needs more than 1 MiB, the profile's `limits.memory_mib` (stopped while loading the runtime)";
    check_fatal(&place, "memory", 1, &format!("device `bench` can't be used: {reason}"));

    write(&place, "records", "location: {replay: {study: nosuch.jsonl}}\n");
    check_fatal(&place, "records", 2, "nosuch.jsonl: No such file or directory (os error 2)");

    // Once the device is there, the same study goes on.
    write(&place, "driver", "runtime: mock\n");
    let changed = place.run(&["search", "driver.yaml", "--quiet"]);
    assert!(changed.code == Some(2) && changed.stderr.contains("execution_provider"), "{changed:?}");
}

#[test]
fn a_study_whose_trials_all_failed_says_why() {
    let place = Workplace::new();
    write(&place, "none", "unsupported_operators: [Conv]\n");
    let finished = place.run(&["search", "none.yaml", "--json", "--quiet"]);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    let start = "error: all trials failed, the first one with: bench: ";
    assert!(finished.stderr.starts_with(start) && finished.stderr.contains("operator `Conv`"), "{finished:?}");
    assert!(place.folder("none").join("report.html").is_file());
}
