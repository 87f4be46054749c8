use super::*;
use crate::genotype::Genotype;
use crate::indicator::Score;
use serde_json::json;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn trial(number: u64, state: TrialState) -> TrialRecord {
    TrialRecord {
        sampler: "nsga2".into(),
        number,
        genotype: Genotype::new(vec![0, 4, 255]),
        arch: "|none~0|".into(),
        arch_id: ArchId::new("00ff"),
        state,
        params: Some(1 << 40),
        live_params: Some(7),
        macs: None,
        model_sha256: Some("ab".into()),
        // Their last bit is lost where JSON text is read fast.
        seconds: StageSeconds {
            scoring_s: 0.1 + 0.2,
            exporting_s: 5e-324,
            loading_s: 0.7,
            measuring_s: 1.0 / 3.0,
            waiting_s: 0.0,
        },
    }
}

fn complete(latency: f64) -> TrialState {
    TrialState::Complete { objectives: [("latency".to_owned(), latency), ("score".to_owned(), -0.0)].into() }
}

fn failed() -> TrialState {
    TrialState::Failed { reason: "worker: killed by signal 11".into() }
}

fn known(value: f64) -> IndicatorOutcome {
    IndicatorOutcome::Value(Score { value, networks: vec![value / 3.0, 0.1 + 0.2] })
}

fn outcomes(value: f64) -> BTreeMap<String, IndicatorOutcome> {
    let failure = IndicatorOutcome::Failed("no gradient".into());
    [("ntk_condition".to_owned(), known(value)), ("linear_regions".to_owned(), failure)].into()
}

fn measurement(id: &str, device: &str, p50_ms: f64) -> MeasurementRecord {
    let measurement = json!({"samples_ms": [p50_ms, 2.5], "note": "a \"quoted\"\nline"});
    MeasurementRecord { arch_id: ArchId::new(id), device: device.into(), model_sha256: "cd".into(), measurement }
}

#[test]
fn everything_comes_back_as_it_was() {
    let folder = folder();
    let path = folder.path().join("study.sqlite");
    let trials: Vec<TrialRecord> =
        (0..50).map(|n| trial(n, if n % 7 == 3 { failed() } else { complete((n as f64 + 0.1).powf(9.7)) })).collect();
    let reference =
        ReferenceRecord { number: 0, arch: "a".into(), arch_id: ArchId::new("01"), indicators: outcomes(1.0 / 3.0) };
    {
        let mut store = Store::open(&path).unwrap();
        store.put_fact("config", &json!({"seed": 7})).unwrap();
        store.put_reference(&reference).unwrap();
        trials.iter().for_each(|trial| store.put_trial(trial).unwrap());
        store.put_trial(&TrialRecord { sampler: "random".into(), ..trials[0].clone() }).unwrap();
        store.put_indicators(&ArchId::new("02"), &outcomes(2.0)).unwrap();
        store.put_measurements(&[measurement("02", "cpu", 1.25)]).unwrap();
        store.put_measurements(&[measurement("01", "gpu", 0.5)]).unwrap();
    }
    let check = |store: Store| {
        assert_eq!(store.fact::<serde_json::Value>("config").unwrap(), Some(json!({"seed": 7})));
        assert_eq!(store.fact::<u64>("seed").unwrap(), None);
        assert_eq!(store.reference_sample().unwrap(), std::slice::from_ref(&reference));
        assert_eq!(store.trials("nsga2").unwrap(), trials);
        assert_eq!(store.trials("random").unwrap().len(), 1);
        assert_eq!(store.samplers().unwrap(), ["nsga2", "random"]);
        assert_eq!(store.indicators(&ArchId::new("01")).unwrap(), reference.indicators);
        assert_eq!(store.indicators(&ArchId::new("02")).unwrap(), outcomes(2.0));
        assert!(store.indicators(&ArchId::new("03")).unwrap().is_empty());
        let found = store.measurement(&ArchId::new("02"), "cpu").unwrap();
        assert_eq!(found, Some(measurement("02", "cpu", 1.25)));
        assert_eq!(store.measurement(&ArchId::new("02"), "gpu").unwrap(), None);
        assert_eq!(store.devices().unwrap(), ["cpu", "gpu"]);
    };
    check(Store::open(&path).unwrap());
    check(Store::open_read_only(&path).unwrap());
}

#[test]
fn what_is_finished_does_not_change() {
    let folder = folder();
    let mut store = Store::open(&folder.path().join("study.sqlite")).unwrap();
    let reference = |arch: &str, value: f64| ReferenceRecord {
        number: 0,
        arch: arch.into(),
        arch_id: ArchId::new("01"),
        indicators: outcomes(value),
    };
    for _ in 0..2 {
        store.put_fact("seed", &1).unwrap();
        store.put_reference(&reference("a", 1.0)).unwrap();
        store.put_trial(&trial(0, complete(1.0))).unwrap();
        store.put_trial(&trial(1, failed())).unwrap();
        store.put_measurements(&[measurement("01", "cpu", 1.0)]).unwrap();
    }
    let check = |result: Result<(), StoreError>, what: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(&format!("study.sqlite: {what} is stored already")), "{message}");
    };
    check(store.put_fact("seed", &2), "fact `seed`");
    check(store.put_reference(&reference("b", 1.0)), "architecture 0 of the reference sample");
    check(store.put_reference(&reference("a", 2.0)), "indicator `ntk_condition` of architecture 01");
    check(store.put_indicators(&ArchId::new("01"), &outcomes(2.0)), "indicator `ntk_condition` of architecture 01");
    check(store.put_trial(&trial(0, complete(2.0))), "trial 0 of sampler `nsga2`");
    check(store.put_trial(&trial(0, failed())), "trial 0 of sampler `nsga2`");
    check(store.put_trial(&trial(1, complete(2.0))), "trial 1 of sampler `nsga2`");
    check(store.put_measurements(&[measurement("01", "cpu", 2.0)]), "measurement of architecture 01 on device `cpu`");
    assert_eq!(store.trials("nsga2").unwrap(), [trial(0, complete(1.0)), trial(1, failed())]);
    assert_eq!(store.indicators(&ArchId::new("01")).unwrap(), outcomes(1.0));
    assert_eq!(store.measurement(&ArchId::new("01"), "cpu").unwrap(), Some(measurement("01", "cpu", 1.0)));
}

#[test]
fn a_refused_write_leaves_nothing_behind() {
    let folder = folder();
    let mut store = Store::open(&folder.path().join("study.sqlite")).unwrap();
    let id = ArchId::new("01");
    store.put_indicators(&id, &[("z".to_owned(), known(1.0))].into()).unwrap();
    let clash = [("a", 1.0), ("z", 2.0)].map(|(name, value)| (name.to_owned(), known(value)));
    store.put_indicators(&id, &clash.into()).unwrap_err();
    assert_eq!(store.indicators(&id).unwrap().len(), 1);
}

#[test]
fn a_failure_is_no_number() {
    let folder = folder();
    let mut store = Store::open(&folder.path().join("study.sqlite")).unwrap();
    let error = store.put_trial(&trial(3, complete(f64::NAN))).unwrap_err().to_string();
    let expected =
        "trial 3 of sampler `nsga2`: `latency` is NaN: expected a finite number, or a failure with its reason";
    assert_eq!(error, expected);
    let error = store.put_indicators(&ArchId::new("01"), &outcomes(f64::INFINITY)).unwrap_err().to_string();
    assert!(error.starts_with("architecture 01: `ntk_condition` is inf"), "{error}");
}

#[test]
fn measurements_are_exported_for_a_replay() {
    let folder = folder();
    let mut store = Store::open(&folder.path().join("study.sqlite")).unwrap();
    for (id, device, p50_ms) in [("0b", "cpu", 2.0), ("0a", "cpu", 0.1 + 0.2), ("0c", "gpu", 3.0)] {
        store.put_measurements(&[measurement(id, device, p50_ms)]).unwrap();
    }
    let path = folder.path().join("cpu.jsonl");
    assert_eq!(store.export_measurements("cpu", &path).unwrap(), 2);
    let expected = concat!(
        r#"{"arch_id":"0a","measurement":{"note":"a \"quoted\"\nline","samples_ms":[0.30000000000000004,2.5]}}"#,
        "\n",
        r#"{"arch_id":"0b","measurement":{"note":"a \"quoted\"\nline","samples_ms":[2.0,2.5]}}"#,
        "\n",
    );
    assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    let error = store.export_measurements("cpu", &folder.path().join("absent/cpu.jsonl")).unwrap_err().to_string();
    assert!(error.contains("cpu.jsonl"), "{error}");
}

#[test]
fn other_files_are_refused_and_left_alone() {
    let folder = folder();
    let check = |name: &str, write: &dyn Fn(&Path), expected: &str| {
        let path = folder.path().join(name);
        write(&path);
        let before = std::fs::read(&path).unwrap();
        for opened in [Store::open(&path), Store::open_read_only(&path)] {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(expected), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
    };
    let sql = |path: &Path, sql: &str| Connection::open(path).unwrap().execute_batch(sql).unwrap();
    check("notes.txt", &|path| std::fs::write(path, "hello").unwrap(), "not a study of Tegu");
    check("long.txt", &|path| std::fs::write(path, "hello ".repeat(9999)).unwrap(), "not a study of Tegu");
    check("other.sqlite", &|path| sql(path, "CREATE TABLE trials (a)"), "not a study of Tegu");
    let newer = |path: &Path| {
        drop(Store::open(path).unwrap());
        sql(path, "PRAGMA user_version = 3");
    };
    check("newer.sqlite", &newer, "study has schema version 3, this Tegu reads 2");
    let error = Store::open_read_only(&folder.path().join("absent.sqlite")).unwrap_err().to_string();
    assert!(error.contains("absent.sqlite: "), "{error}");
    assert!(!folder.path().join("absent.sqlite").exists());
    let error = Store::open(&folder.path().join("absent/study.sqlite")).unwrap_err().to_string();
    assert!(error.contains("absent/study.sqlite"), "{error}");
}

#[test]
fn one_writes_and_others_read() {
    let folder = folder();
    let path = folder.path().join("study.sqlite");
    let mut store = Store::open(&path).unwrap();
    let error = Store::open(&path).unwrap_err().to_string();
    assert!(error.ends_with(&format!("study is in use by process {}", std::process::id())), "{error}");
    let reader = Store::open_read_only(&path).unwrap();
    store.put_trial(&trial(0, failed())).unwrap();
    assert_eq!(reader.trials("nsga2").unwrap().len(), 1);
    drop(store);
    assert_eq!(Store::open(&path).unwrap().trials("nsga2").unwrap().len(), 1);
}

#[test]
fn every_commit_reaches_the_disk() {
    let folder = folder();
    let store = Store::open(&folder.path().join("study.sqlite")).unwrap();
    let pragma =
        |name: &str| store.connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("journal_mode").unwrap(), "wal".to_owned().into());
    assert_eq!(pragma("synchronous").unwrap(), 2.into(), "2 is FULL");
}
