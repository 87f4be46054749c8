//! Lookup tables of a device whose operators take planted times: built, held against networks that they have not seen,
//! resumed, transferred; and what a device that fails costs.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tegu::device::{Device, DeviceError, HardwareProfile, Job, LocalDevice, OpenOptions};
use tegu::genotype::ArchId;
use tegu::latency::{Measurement, Unit};
use tegu::lut::{
    BuildOptions, GraphView, ImportOptions, LatencyTable, LutError, Method, Role, SpaceRef, Unwatched, build, count,
    counted_operators, diff, fused_operators, import, transfer, validate,
};
use tegu::space::{NetworkChanges, Scale, SearchSpace};
use tegu::statistics::spearman;

/// A device that adds up planted times of the operators in the file.
struct Planted {
    profile: HardwareProfile,
    /// A measurement to put figures into.
    blank: Measurement,
    /// Whether it shows its graph: the file itself.
    shows: bool,
    /// Factor of all times but those of convolutions, so that two devices differ.
    others: f64,
    /// Whether what is slow elsewhere is fast.
    reversed: bool,
    /// Measurements after which the device is gone.
    most: usize,
    /// The architectures in the order of measuring; none for a chain.
    measured: Vec<Option<ArchId>>,
    /// Models with so many pools fail.
    fails_at_pools: Option<usize>,
}

impl Planted {
    fn new() -> Self {
        let text = "name: planted\ndescription: for tests\nruntime: mock\nprotocol: {warm_up_s: 0.001, rounds: 5, \
            max_rounds: 5, runs_per_round: 3, min_round_s: 0.0, budget_s: 0.01}";
        let profile = HardwareProfile::parse(text, Path::new("planted.yaml")).unwrap();
        let executable = Some(env!("CARGO_BIN_EXE_tegu").into());
        let mut mock = LocalDevice::new(profile.clone(), OpenOptions { executable, ..OpenOptions::default() });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m"), "sleep_us 1").unwrap();
        let blank = mock.measure(&Job::of_model(folder.path().join("m"))).unwrap();
        Self {
            profile,
            blank,
            shows: true,
            others: 1.0,
            reversed: false,
            most: usize::MAX,
            measured: vec![],
            fails_at_pools: None,
        }
    }

    /// The planted time of an operator in ms: arithmetic, within 40 %.
    fn time_ms(&self, key: &str, work: f64) -> f64 {
        let digest = key.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let factor = if key.contains("Conv") { 1.0 } else { self.others };
        (0.002 + work * 2e-8) * (0.6 + 0.8 * (digest % 1000) as f64 / 1000.0) * factor
    }
}

impl Device for Planted {
    fn profile(&self) -> &HardwareProfile {
        &self.profile
    }

    fn check(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn measure(&mut self, job: &Job) -> Result<Measurement, DeviceError> {
        if self.measured.len() == self.most {
            let (device, reason) = ("planted".to_owned(), "it was unplugged".to_owned());
            return Err(DeviceError::Unavailable { device, reason });
        }
        self.measured.push(job.arch_id.clone());
        let operators = fused_operators(&job.model, &BTreeMap::new(), 1)?;
        let pools = operators.iter().filter(|operator| operator.key.starts_with("AveragePool")).count();
        if self.fails_at_pools == Some(pools) {
            return Err(DeviceError::Failed("no such pool".to_owned()));
        }
        let work = |cost: tegu::lut::OpCost| cost.macs + 3.0 * cost.grouped_macs + cost.elements;
        let p50_ms = 0.05 + operators.iter().map(|o| self.time_ms(&o.key, work(o.cost))).sum::<f64>();
        let p50_ms = if self.reversed { 1.0 / p50_ms } else { p50_ms };
        Ok(Measurement { p50_ms, ci95_ms: [p50_ms * 0.998, p50_ms * 1.002], ..self.blank.clone() })
    }

    fn optimize(&mut self, job: &Job, output: &Path) -> Result<(), DeviceError> {
        if !self.shows {
            let (device, reason) = ("planted".to_owned(), "it shows no graph".to_owned());
            return Err(DeviceError::Unavailable { device, reason });
        }
        std::fs::copy(&job.model, output).unwrap();
        Ok(())
    }
}

/// A small network, so that models are written quickly.
fn space() -> SpaceRef {
    let changes =
        NetworkChanges { width: Some(4), depth: Some(1), input: Some([3, 16, 16]), ..NetworkChanges::default() };
    SpaceRef { space: "nas-bench-201".to_owned(), changes }
}

fn options() -> BuildOptions {
    BuildOptions { method: Method::Fused, space: space(), seed: 1, budget: Duration::from_secs(600) }
}

fn built(device: &mut Planted, journal: &Path) -> Result<LatencyTable, LutError> {
    build(&space().open().unwrap(), device, &options(), journal, &mut Unwatched)
}

#[test]
fn a_planted_device_is_predicted_within_a_fraction_of_a_percent() {
    let folder = tempfile::tempdir().unwrap();
    let (mut device, opened) = (Planted::new(), space().open().unwrap());
    let table = built(&mut device, &folder.path().join("a")).unwrap();
    assert_eq!(table.header.method, Method::Fused);
    assert!(table.networks.iter().filter(|timed| timed.role == Role::Random).count() >= 60);
    let path = folder.path().join("t.json");
    table.write(&path).unwrap();
    assert_eq!(LatencyTable::read(&path).unwrap(), table);
    let found = validate(std::slice::from_ref(&table), &opened, &mut device, None, (40, 7), &mut Unwatched).unwrap();
    assert!(found[0].spearman.unwrap() > 0.999, "{:?}", found[0]);
    assert!(found[0].median_error_pct < 0.5 && found[0].p90_error_pct < 1.5, "{:?}", found[0]);
    let timed: Vec<&str> = table.networks.iter().map(|timed| timed.arch.as_str()).collect();
    assert!(found[0].checked.iter().all(|network| !timed.contains(&network.arch.as_str())));

    // An entry that is not there is named, as is one that was guessed.
    let mut counts = table.networks[0].counts.clone();
    counts.insert("Conv of a kind that nobody has".to_owned(), 1);
    let missing = table.predict(&counts).unwrap_err().to_string();
    assert_eq!(missing, "the table has no entry for an operator: Conv of a kind that nobody has");

    // The same again is the same table, and no entry changed beyond the noise.
    let again = built(&mut Planted::new(), &folder.path().join("b")).unwrap();
    assert_eq!(again.entries, table.entries);
    assert!(diff(&table, &again).changes.iter().all(|change| !change.beyond_noise));

    // A faster device of the same kind is calibrated; one that orders networks otherwise is refused.
    let mut other = Planted { others: 1.1, ..Planted::new() };
    let moved = transfer(&table, &opened, &mut other, 10).unwrap();
    assert!(moved.correlation > 0.95);
    let found = validate(&[moved.table], &opened, &mut other, None, (30, 7), &mut Unwatched).unwrap();
    assert!(found[0].median_error_pct < 5.0, "{:?}", found[0]);
    let mut reversed = Planted { reversed: true, ..Planted::new() };
    let refused = transfer(&table, &opened, &mut reversed, 10).unwrap_err().to_string();
    assert!(
        refused.starts_with("refused: on 10 anchors the table's rank correlation with the device is "),
        "{refused}"
    );
}

#[test]
fn a_runtime_that_shows_no_graph_has_operators_counted_in_ours() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = Planted { shows: false, ..Planted::new() };
    let table = built(&mut device, &folder.path().join("a")).unwrap();
    assert_eq!(table.header.method, Method::Counted);
    let opened = space().open().unwrap();
    let found = validate(&[table], &opened, &mut device, None, (40, 7), &mut Unwatched).unwrap();
    assert!(found[0].spearman.unwrap() > 0.99 && found[0].median_error_pct < 1.5, "{:?}", found[0]);
}

#[test]
fn an_interrupted_build_goes_on_and_measures_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("t.json.partial");
    let whole = built(&mut Planted::new(), &folder.path().join("whole")).unwrap();
    let mut first = Planted { most: 25, ..Planted::new() };
    let error = built(&mut first, &journal).unwrap_err().to_string();
    assert_eq!(error, "device `planted` can't be used: it was unplugged");
    // The last line is cut off in the middle, as a killed process may leave it.
    let bytes = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, &bytes[..bytes.len() - 7]).unwrap();
    let mut second = Planted::new();
    let table = built(&mut second, &journal).unwrap();
    assert!(table.entries.keys().eq(whole.entries.keys()));
    for (key, entry) in &table.entries {
        // Groups are others, and figures are written to the nanosecond.
        assert!((entry.p50_us / whole.entries[key].p50_us - 1.0).abs() < 1e-4, "{key}: {entry:?}");
    }
    // Eight anchors, and the one whose line was cut off.
    let again: HashSet<_> =
        first.measured.iter().flatten().filter(|id| second.measured.contains(&Some((*id).clone()))).collect();
    assert!(first.measured.len() == 25 && again.len() == 9, "{again:?}");
    // Lines of a build with other options are not gone on with.
    let other = BuildOptions { seed: 2, ..options() };
    let refused = build(&space().open().unwrap(), &mut second, &other, &journal, &mut Unwatched).unwrap_err();
    assert!(refused.to_string().contains("an unfinished build with other options"), "{refused}");
}

#[test]
fn networks_that_fail_cost_their_entries_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = Planted { fails_at_pools: Some(5), ..Planted::new() };
    let table = built(&mut device, &folder.path().join("a")).unwrap();
    assert!(!table.failed.is_empty() && table.failed.iter().all(|failed| failed.reason == "no such pool"));
    assert!(table.failed.iter().all(|failed| failed.entry.starts_with('|')), "{:?}", table.failed);
    assert!(table.half_width().unwrap() < 0.05);
}

/// The lines of the journal at `path` that are of this kind.
fn lines(path: &Path, kind: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.contains(&format!("\"record\":{{\"{kind}\":"))).map(str::to_owned).collect()
}

#[test]
fn a_build_survives_crashes_of_the_runtime_and_its_own_end() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("mock.yaml");
    // Models of 16 convolutions crash the runtime, those of 19 hang; the others take a while.
    let sleeps: Vec<String> = (5..30)
        .filter(|convs| ![16, 19].contains(convs))
        .map(|n| format!("Conv {n}: sleep_us {}", 100 + 40 * n))
        .collect();
    let text = format!(
        "name: mock\ndescription: for tests\nruntime: mock\nlimits: {{time_s: 0.6, memory_mib: 1000}}\n\
         execution_provider: {{name: mock, options: {{{}, Conv 16: crash, Conv 19: hang}}}}\n\
         protocol: {{warm_up_s: 0.001, rounds: 5, max_rounds: 5, runs_per_round: 1, min_round_s: 0.0, budget_s: 0.01}}",
        sleeps.join(", ")
    );
    std::fs::write(&profile, text).unwrap();
    let (table, partial) = (folder.path().join("t.json"), folder.path().join("t.json.partial"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tegu"));
    command.args(["--quiet", "lut", "build"]).arg(&profile).args(["mobilenet-macro", "--width", "4", "-o"]).arg(&table);
    command.args(["--budget", "60s", "--json"]);
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    while lines(&partial, "timed").len() < 10 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no measurement within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = lines(&partial, "timed");
    assert!(!table.exists());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!partial.exists());
    let table = LatencyTable::read(&table).unwrap();
    assert!(table.networks.len() > kept.len());
    let mut archs: Vec<&str> = table.networks.iter().map(|timed| timed.arch.as_str()).collect();
    archs.sort_unstable();
    let distinct = archs.len();
    archs.dedup();
    assert_eq!(archs.len(), distinct, "a network was measured twice");
    let reasons: String = table.failed.iter().map(|failed| failed.reason.as_str()).collect();
    assert!(reasons.contains("the worker crashed") && reasons.contains("not done within 0.6 s"), "{reasons}");
}

/// The additive model over our operators from 100 published timings; ρ on 2,000 others. `least_ms` drops the networks that
/// were folded away before they were measured.
fn check_published(device: &str, least_ms: f64, view: GraphView, expected: f64) {
    let Some(path) = common::data("nb201_oracle.csv") else { return };
    let mut reader = csv::Reader::from_path(path).unwrap();
    let column = format!("latency_ms_{device}");
    let at = reader.headers().unwrap().iter().position(|name| name == column).unwrap();
    let space = SearchSpace::open("nas-bench-201").unwrap();
    // The file's order is random.
    let rows: Vec<(String, f64)> = reader
        .records()
        .map(|row| row.unwrap())
        .filter_map(|row| Some((row[1].to_owned(), row[at].parse::<f64>().ok()?)))
        .filter(|(arch, ms)| *ms > least_ms && space.id(&space.parse_arch(arch).unwrap()).is_some())
        .take(2100)
        .collect();
    let (fitted, others) = rows.split_at(100);
    let folder = tempfile::tempdir().unwrap();
    let csv: String = fitted.iter().map(|(arch, ms)| format!("{arch},{ms}\n")).collect();
    let file = folder.path().join("timings.csv");
    std::fs::write(&file, format!("arch,latency_ms\n{csv}")).unwrap();
    let reference = SpaceRef { space: "nas-bench-201".to_owned(), changes: NetworkChanges::default() };
    let options = ImportOptions { unit: Unit::Ms, device: device.to_owned(), space: Some(reference), column: None };
    let table = import(&file, &options).unwrap().table;
    let predicted = |arch: &str| {
        let graph = space.lower(&space.parse_arch(arch).unwrap(), Scale::Full).unwrap();
        let counts = count(counted_operators(&table.header.graph.of(&graph).unwrap(), 1), &mut BTreeMap::new());
        table.predict(&counts).unwrap().p50_ms
    };
    let predictions: Vec<f64> = others.iter().map(|(arch, _)| predicted(arch)).collect();
    let measured: Vec<f64> = others.iter().map(|(_, ms)| *ms).collect();
    let rho = spearman(&predictions, &measured).unwrap();
    assert!(
        rho >= expected && table.header.graph == view,
        "{device}, {:?}: ρ {rho:.4}, expected {expected} or more",
        table.header.graph
    );
}

#[test]
fn published_latencies_of_a_xeon_are_additive() {
    check_published("gold_6226", 0.0, GraphView::Declared, 0.986);
}

#[test]
fn published_latencies_of_a_1080_ti_are_additive() {
    check_published("1080ti_1", 0.0, GraphView::Declared, 0.986);
}

#[test]
fn published_latencies_of_a_raspberry_pi_are_additive() {
    check_published("raspi4", 1.0, GraphView::Needed, 0.93);
}
