//! Plugins: the conformance suite on good and on broken ones, and each kind in a search.

#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use study::{Finished, LIVING, Workplace};
use tegu::study::store::{Store, TrialRecord, TrialState};

/// A workplace with folders of plugins, all of them `tests/data/plugins/plugin.py`.
struct Place(Workplace);

impl Place {
    fn new() -> Self {
        Self(Workplace::new())
    }

    /// Writes `plugins/NAME/plugin.yaml` with further lines.
    fn plugin(&self, name: &str, kind: &str, fault: &str, more: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/plugins/plugin.py");
        let script = script.display();
        let text = format!(
            "name: {name}\nkind: {kind}\nversion: 0.1.0\ndescription: for tests\n\
            command: [python3, '{script}', {kind}, {name}, '{fault}']\n{more}\n"
        );
        self.manifest(name, &text);
    }

    fn manifest(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(&format!("plugins/{name}"))).unwrap();
        self.0.write(&format!("plugins/{name}/plugin.yaml"), text);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// Runs `tegu plugin check NAME --json`: the exit code, and each check as `name: outcome: note`.
    fn check(&self, name: &str) -> (Option<i32>, Vec<String>) {
        let finished = self.0.run(&["plugin", "check", name, "--json"]);
        let found: Value =
            serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        assert_eq!(found["passed"], finished.code == Some(0), "{finished:?}");
        let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
        let checks = found["checks"].as_array().unwrap().iter();
        let lines = checks.map(|one| format!("{}: {}: {}", text(one, "name"), text(one, "outcome"), text(one, "note")));
        (finished.code, lines.collect())
    }

    /// Writes a study of 8 trials and no control that optimises the parameters and what `more` says.
    fn write_study(&self, name: &str, more: &str) {
        let text = format!(
            "study: {name}\nseed: 3\nindicators: {{batch: 4, networks: 1}}\nquality: {{recipe: teg, reference: 3}}\n{more}\n"
        );
        let defaults = [
            ("space:", "space: {name: tiny.yaml}\n"),
            ("objectives:", "objectives: [quality, params: {}]\n"),
            ("search:", "search: {sampler: random, trials: 8, control: none}\n"),
        ];
        let missing = defaults.iter().filter(|(key, _)| !text.contains(key)).map(|(_, line)| *line);
        self.0.write(&format!("{name}.yaml"), missing.fold(text.clone(), |text, line| text + line));
    }

    fn search(&self, name: &str) -> Finished {
        self.0.run(&["search", &format!("{name}.yaml"), "--json", "--quiet"])
    }

    /// Runs a study that must end well; gives the trials of its sampler.
    fn trials(&self, name: &str, sampler: &str) -> Vec<TrialRecord> {
        let finished = self.search(name);
        assert_eq!(finished.code, Some(0), "{name}: {finished:?}");
        self.store(name).trials(sampler).unwrap()
    }

    fn store(&self, name: &str) -> Store {
        Store::open_read_only(&self.0.folder(name).join("study.sqlite")).unwrap()
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn reasons(trials: &[TrialRecord]) -> Vec<&str> {
    let reason = |trial: &TrialRecord| match &trial.state {
        TrialState::Failed { reason } => Some(reason.clone()),
        TrialState::Complete { .. } => None,
    };
    let failed: Vec<&TrialRecord> = trials.iter().filter(|trial| reason(trial).is_some()).collect();
    failed
        .into_iter()
        .map(|trial| match &trial.state {
            TrialState::Failed { reason } => reason.as_str(),
            TrialState::Complete { .. } => "",
        })
        .collect()
}

#[test]
fn good_plugins_of_each_kind_pass() {
    let place = Place::new();
    for kind in ["indicator", "predictor", "objective", "device", "space", "sampler"] {
        let name = format!("good-{kind}");
        place.plugin(&name, kind, "", "");
        let (code, lines) = place.check(&name);
        assert_eq!(code, Some(0), "{lines:#?}");
        let failed: Vec<&String> = lines.iter().filter(|line| line.contains(": failed: ")).collect();
        assert!(failed.is_empty() && lines.len() >= 9, "{lines:#?}");
    }
    let listed = place.0.run(&["plugin", "list", "--json"]);
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(0), 6), "{listed:?}");
    place.manifest("odd", "name: odd\n");
    let listed = place.0.run(&["plugin", "list"]);
    assert!(listed.stdout.contains("good-space") && listed.stdout.contains("can't be used: "), "{listed:?}");
}

/// Checks a plugin with a fault, which must fail first with `expected`.
fn check_broken(place: &Place) -> impl Fn(&str, &str, &str) + '_ {
    |kind: &str, fault: &str, expected: &str| {
        let name = format!("{kind}-{fault}");
        // Time enough to start on a machine that is busy.
        let time_s = if fault == "hang" { 4 } else { 30 };
        place.plugin(&name, kind, fault, &format!("limits: {{time_s: {time_s}, memory_mib: 256}}"));
        let (code, lines) = place.check(&format!("plugins/{name}"));
        let failed: Vec<String> = lines.iter().filter(|line| line.contains(": failed: ")).cloned().collect();
        let found = failed.first().cloned().unwrap_or_default().replace(&name, "NAME");
        assert!(code == Some(1) && found.starts_with(expected), "{name}: expected `{expected}`: {lines:#?}");
    }
}

#[test]
fn plugins_that_give_no_answer_fail_each_for_its_own_reason() {
    let place = Place::new();
    let check = check_broken(&place);
    let start = "initialize: failed: plugin `NAME` can't be started: ";
    check("indicator", "protocol", &format!("{start}`initialize`: protocol: 2, expected 1"));
    check("indicator", "name", &format!("{start}`initialize`: name: other, expected NAME"));
    check("indicator", "start", &format!("{start}it exited with code 3 in `initialize`; its last words: no licence"));
    check("device", "facts", &format!("{start}`initialize`: missing field `runtime`"));
    check("indicator", "hang", "evaluate: failed: plugin `NAME`: `evaluate` not done within 4 s, its `limits.time_s`");
    check("indicator", "memory", "evaluate: failed: plugin `NAME`: `evaluate` needs more than 256 MiB");
    check(
        "predictor",
        "crash",
        "evaluate: failed: plugin `NAME` crashed (SIGABRT, aborted by its own code) in `evaluate`; its last words: no more memory cards",
    );
    check(
        "objective",
        "garbage",
        "evaluate: failed: plugin `NAME`: `evaluate`: wrote `Loading the model`, which is no JSON",
    );
    check(
        "indicator",
        "nan",
        "evaluate: failed: plugin `NAME`: `evaluate`: wrote `{\"jsonrpc\": \"2.0\", \"id\": 2, \"result\": {\"value\": NaN}}`",
    );
    check(
        "indicator",
        "text",
        "evaluate: failed: plugin `NAME`: `evaluate`: answered `{\"value\":\"good\"}`: invalid type: string",
    );
    check("indicator", "refuse", "evaluate: failed: evaluates no candidate of tinybench: not this one");
    check("device", "negative", "evaluate: failed: rounds_ms: -1");
}

#[test]
fn plugins_without_manners_fail_each_for_its_own_reason() {
    let place = Place::new();
    let check = check_broken(&place);
    check("indicator", "random", "determinism: failed: answered ");
    check(
        "indicator",
        "unknown",
        "unknown method: failed: `tegu-conformance-no-such-method` {}: plugin `NAME` exited with code 4",
    );
    check("indicator", "polite", "unknown method: failed: `tegu-conformance-no-such-method` {}: answered \"yes\"");
    check("indicator", "brittle", "bad parameters: failed: `evaluate` {}: plugin `NAME` exited with code 1");
    check("indicator", "parse", "a line that is no JSON: failed: plugin `NAME` exited with code 1");
    check("indicator", "deaf", "shutdown: failed: plugin `NAME`: `shutdown`: not done within 2 s");
    check("indicator", "farewell", "shutdown: failed: plugin `NAME`: `shutdown`: exited with code 7, expected code 0");
    check("space", "graph", &format!("lower: failed: {}", place.path("plugins/NAME").display()));
    check("sampler", "range", "ask and tell: failed: `ask`: [200, ");
}

#[test]
fn a_manifest_that_cant_be_used_fails_with_its_line() {
    let place = Place::new();
    let check = |name: &str, text: &str, expected: &str| {
        place.manifest(name, text);
        let (code, lines) = place.check(name);
        assert_eq!((code, lines.len()), (Some(1), 1), "{lines:#?}");
        assert!(lines[0].starts_with(&format!("manifest: failed: {expected}")), "{lines:#?}");
    };
    check("a", "name: a\nkind: meter\n", "plugins/a/plugin.yaml:2:7: kind: unknown variant `meter`");
    check("b", "name: c\nkind: device\nversion: '1'\ndescription: d\ncommand: [x]", "plugins/b/plugin.yaml: name: `c`");
    let (code, lines) = place.check("nosuch");
    assert!(
        code == Some(1) && lines[0].starts_with("manifest: failed: no plugin `nosuch`: looked in plugins, "),
        "{lines:?}"
    );
    place.manifest("d", "name: d\nkind: device\nversion: '1'\ndescription: d\ncommand: [./nosuch]");
    let (_, lines) = place.check("d");
    assert_eq!(
        lines[1],
        "initialize: failed: plugin `d` can't be started: `./nosuch`: No such file or directory (os error 2)"
    );
}

#[test]
fn an_indicator_is_an_objective_and_is_never_asked_twice() {
    let place = Place::new();
    place.plugin("nodes", "indicator", "", "options: {log: '', factor: 1, sleep_s: 0}");
    let log = place.path("log");
    let objective = |more: &str| {
        format!(
            "objectives: [params: {{}}, plugin: {{name: nodes, options: {{log: '{}'{more}}}, at_least: 2}}]",
            log.display()
        )
    };
    let search = "search: {sampler: {nsga2: {population: 4}}, trials: 8, control: random}";
    place.write_study("study", &format!("{}\n{search}", objective("")));
    let finished = place.search("study");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let front: Value = serde_json::from_str(&finished.stdout).unwrap();
    let trials = place.store("study").trials("nsga2").unwrap();
    let values = |trial: &TrialRecord| match &trial.state {
        TrialState::Complete { objectives } => objectives["nodes"],
        TrialState::Failed { reason } => panic!("{reason}"),
    };
    assert!(trials.len() == 8 && trials.iter().all(|trial| values(trial) > 2.0), "{trials:?}");
    assert!(finished.stdout.contains("\"nodes\""), "{front}");
    let calls = place.log();
    let architectures: BTreeSet<&String> = calls.iter().collect();
    assert_eq!(calls.len(), architectures.len(), "an architecture of both samplers is asked for once");
    // The same command again: nothing is asked.
    assert_eq!(place.search("study").code, Some(0));
    assert_eq!(place.log(), calls);
    // Another option, another study.
    place.write_study("study", &format!("{}\n{search}", objective(", factor: 2")));
    let changed = place.search("study");
    assert_eq!(changed.code, Some(2));
    assert!(
        changed.stderr.contains("holds a study with another config") && changed.stderr.contains("factor"),
        "{changed:?}"
    );
}

#[test]
fn a_killed_study_goes_on_without_asking_again() {
    let place = Place::new();
    place.plugin("nodes", "objective", "", "options: {log: '', sleep_s: 0.05}");
    let log = place.path("log");
    let objectives =
        format!("objectives: [params: {{}}, plugin: {{name: nodes, options: {{log: '{}'}}}}]", log.display());
    place.write_study("study", &objectives);
    let mut command = place.0.tegu(&["search", "study.yaml", "--quiet"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while place.log().len() < 3 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = place.log();
    assert!((3..8).contains(&before.len()), "{before:?}");
    let trials = place.trials("study", "random");
    assert_eq!((trials.len(), reasons(&trials).len()), (8, 0));
    let calls = place.log();
    let again = calls.len() - calls.iter().collect::<BTreeSet<_>>().len();
    assert!(again <= 1, "only what was being asked for is asked for again: {calls:?}");
}

#[test]
fn a_crash_costs_one_trial_and_a_plugin_that_cant_start_no_time() {
    let place = Place::new();
    let options = "limits: {time_s: 4}\noptions: {fails_on: 'none~1|+|', fault: crash}";
    place.plugin("nodes", "predictor", "", options);
    for (study, fault, expected) in [
        (
            "crashes",
            "crash",
            "plugin `nodes` crashed (SIGABRT, aborted by its own code) in `evaluate`; its last words: no more memory cards",
        ),
        ("hangs", "hang", "plugin `nodes`: `evaluate` not done within 4 s, its `limits.time_s`"),
        ("refuses", "refuse", "plugin `nodes`: not this one (`evaluate`, error 1)"),
    ] {
        place.write_study(
            study,
            &format!("objectives: [params: {{}}, plugin: {{name: nodes, options: {{fault: {fault}}}}}]"),
        );
        let trials = place.trials(study, "random");
        let failed = reasons(&trials);
        assert!(trials.len() == 8 && (1..4).contains(&failed.len()), "{study}: {trials:?}");
        assert!(failed.iter().all(|reason| *reason == expected), "{study}: {failed:?}");
    }
    place.plugin("unlicensed", "indicator", "start", "");
    place.write_study("never", "objectives: [params: {}, plugin: {name: unlicensed}]");
    let finished = place.search("never");
    let expected = "error: plugin `unlicensed` can't be started: it exited with code 3 in `initialize`; \
        its last words: no licence\n";
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), expected));
    assert!(!place.0.folder("never").exists());
    for (section, expected) in [
        ("{name: nosuch}", "no plugin `nosuch`: looked in plugins, "),
        (
            "{name: nodes, options: {factr: 1}}",
            "plugin `nodes` has no option `factr`, expected one of `fails_on`, `fault`",
        ),
        ("{name: meter}", "plugin `meter` is of kind device, expected indicator or predictor or objective"),
    ] {
        place.plugin("meter", "device", "", "");
        place.write_study("never", &format!("objectives: [params: {{}}, plugin: {section}]"));
        let finished = place.search("never");
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.starts_with(&format!("error: {expected}")), "{finished:?}");
    }
}

#[test]
fn a_sampler_searches_and_is_told() {
    let place = Place::new();
    place.plugin("dice", "sampler", "", "options: {log: '', odd: false, crash_at: 1000000, marker: ''}");
    let study = |name: &str, options: &str| {
        let log = place.path("log");
        let search = format!("sampler: {{plugin: {{name: dice, options: {{log: '{}'{options}}}}}}}", log.display());
        place.write_study(name, &format!("search: {{{search}, trials: 24, control: none}}"));
        let _ = std::fs::remove_file(&log);
        place.trials(name, "dice")
    };
    let genes = |trials: &[TrialRecord]| trials.iter().map(|trial| trial.genotype.clone()).collect::<Vec<_>>();
    let first = study("first", "");
    let told = place.log();
    assert_eq!(first.len(), 24);
    assert!(
        told.len() >= 24 && told.iter().filter(|line| line.ends_with(", null]")).count() <= told.len() - 24,
        "{told:?}"
    );
    assert_eq!(genes(&study("again", "")), genes(&first), "the same seed");
    // What can't be evaluated is dropped, told all the same, and replaced by draws.
    let odd = study("odd", ", odd: true");
    assert_eq!(odd.len(), 24);
    let told = place.log();
    assert!(told[0] == "[[9, 9, 9, 9, 9, 9], null]" && told.len() >= 26, "{told:?}");
    // A plugin that crashes once is started again, told all, and goes on as if nothing had been.
    let marker = place.path("crashed");
    let crashed = study("crashed", &format!(", crash_at: 10, marker: '{}'", marker.display()));
    assert!(marker.exists());
    assert_eq!(genes(&crashed), genes(&first));
}

#[test]
fn a_device_measures() {
    let place = Place::new();
    place.plugin("meter", "device", "", "");
    place.plugin("broken", "device", "crash", "");
    let profile = |name: &str| {
        let text = format!(
            "name: {name}-board\ndescription: for tests\nlocation: {{plugin: {{name: plugins/{name}}}}}\nthreads: 2\n\
            protocol: {{runs_per_round: 4}}\n"
        );
        place.0.write(&format!("{name}.yaml"), text);
    };
    profile("meter");
    profile("broken");
    let exported = place.0.run(&["export", "tiny.yaml", LIVING, "-o", "m.onnx"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let finished = place.0.run(&["profile", "m.onnx", "--device", "meter.yaml", "--json"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let found: Value = serde_json::from_str(&finished.stdout).unwrap();
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    assert_eq!(
        [text("device"), text("runtime"), text("runtime_version"), text("execution_provider")],
        ["meter-board", "sleepy", "1.2", "dsp"]
    );
    let p50_ms = found["p50_ms"].as_f64().unwrap();
    let size = std::fs::metadata(place.path("m.onnx")).unwrap().len() as f64;
    assert!(
        (p50_ms / (size / 1e5) - 1.002).abs() < 0.002 && found["samples"] == 28 && found["threads"] == 2,
        "{found}"
    );
    assert!((found["energy_mj_per_run"].as_f64().unwrap() - 3.0).abs() < 1e-9 && found["load_ms"] == 12.5, "{found}");
    assert_eq!(text("model_sha256"), study::sha256(&place.path("m.onnx")));
    let finished = place.0.run(&["profile", "m.onnx", "--device", "broken.yaml"]);
    assert_eq!(finished.code, Some(1));
    let expected = "error: m.onnx: plugin `broken` crashed (SIGABRT, aborted by its own code) in `evaluate`";
    assert!(finished.stderr.starts_with(expected), "{finished:?}");
    // In a search, with an objective that sees what was measured.
    place.plugin("same", "objective", "", "options: {latency: latency_ms@meter-board}");
    place.write_study("study", "objectives: [quality, latency: {device: meter.yaml}, plugin: {name: same}]");
    let trials = place.trials("study", "random");
    assert_eq!((trials.len(), reasons(&trials)), (8, vec![]));
    for trial in &trials {
        let TrialState::Complete { objectives } = &trial.state else { panic!() };
        assert_eq!(objectives["same"], objectives["latency_ms@meter-board"]);
    }
}

#[test]
fn a_space_is_searched() {
    let place = Place::new();
    place.plugin("layers", "space", "", "options: {fails_on: [], fault: crash, log: ''}");
    place.write_study("study", "space: {name: layers}");
    let trials = place.trials("study", "random");
    assert_eq!((trials.len(), reasons(&trials)), (8, vec![]));
    let choices =
        |trial: &TrialRecord| trial.arch.split(',').all(|choice| ["conv3", "conv1", "skip"].contains(&choice));
    assert!(trials.iter().all(choices), "dead ones are not asked for: {trials:?}");
    assert_eq!(trials.iter().map(|trial| &trial.arch_id).collect::<BTreeSet<_>>().len(), 8);
    assert!(trials.iter().all(|trial| !trial.arch.starts_with("conv1")), "drawn by the plugin: {trials:?}");
    // The plugin varies genotypes, too.
    let search = "search: {sampler: {nsga2: {population: 4, crossover: 0}}, trials: 8, control: none}";
    let log = place.path("log");
    place.write_study("evolved", &format!("space: {{name: layers, options: {{log: '{}'}}}}\n{search}", log.display()));
    let evolved = place.trials("evolved", "nsga2");
    assert!(evolved.iter().all(|trial| !trial.arch.starts_with("conv1")), "changed by the plugin: {evolved:?}");
    assert!(place.log().iter().any(|line| line == "mutate"), "{:?}", place.log());
    // What a command reads of the study, and what needs none.
    let report = place.0.run(&["report", "runs/study", "--format", "json"]);
    assert_eq!(report.code, Some(0), "{report:?}");
    let score = place.0.run(&["score", "plugins/layers", "conv3,skip,conv1", "--quiet"]);
    assert!(score.code == Some(0) && score.stdout.contains("conv3,skip,conv1"), "{score:?}");
    let score = place.0.run(&["score", "layers", "conv3,skip,conv5", "--quiet"]);
    let expected = "error: `conv3,skip,conv5` is no architecture of layers: 3: `conv5`, expected one of conv3, conv1, skip, none\n";
    assert_eq!((score.code, score.stderr.as_str()), (Some(2), expected));
    // A crash in lowering is one failed trial with its reason.
    let genes = trials[2].genotype.genes();
    place.write_study("crash", &format!("space: {{name: plugins/layers, options: {{fails_on: {genes:?}}}}}"));
    let crashed = place.trials("crash", "random");
    let failed = reasons(&crashed);
    assert_eq!((crashed.len(), failed.len()), (8, 1), "{crashed:?}");
    assert!(failed[0].contains("plugin `layers` crashed (SIGABRT"), "{failed:?}");
    place.write_study("wide", "space: {name: layers, network: {width: 3}}");
    let finished = place.search("wide");
    assert!(finished.code == Some(2) && finished.stderr.contains("expected `options` in its place"), "{finished:?}");
}
