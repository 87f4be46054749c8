use super::*;

static SESSION: SessionOptions = SessionOptions {
    threads: Some(1),
    execution_provider: None,
    input_dims: BTreeMap::new(),
    batch: None,
    graph_optimization: crate::runtime::GraphOptimization::All,
};

fn parts(samples: Samples, protocol: &Protocol) -> Measured<'_> {
    let info = RuntimeInfo { name: "tract".to_owned(), version: "0.23.9".to_owned(), library: None };
    Measured {
        model_sha256: "00".to_owned(),
        device: "here",
        runtime: info,
        session: &SESSION,
        nodes_by_provider: BTreeMap::new(),
        fallen_back: vec![],
        cores: None,
        batch: 1,
        protocol,
        load_s: 0.25,
        samples,
        reference: Ok("11".to_owned()),
        peak_memory_mib: Some(1.5),
        energy_j: None,
        throughput: None,
        sustained: None,
        host: Host::here(),
        before: HostState::default(),
        after: HostState::default(),
    }
}

fn measured(samples: Samples) -> Measurement {
    Measurement::new(parts(samples, &Protocol { between_process: 0.0, ..Protocol::default() }))
}

fn samples(warm: bool, stop: StopReason) -> Samples {
    let rounds = vec![vec![0.002; 10]; 7];
    let (reference_s, reference_turns_s) = (vec![0.0002; 7], vec![0.0002; 8]);
    Samples { first_run_s: 0.5, warm_up_runs: 4, warm, rounds, reference_s, reference_turns_s, loads: 1, stop }
}

#[test]
fn figures_carry_their_units() {
    let found = measured(samples(true, StopReason::NarrowInterval));
    assert_eq!((found.p50_ms, found.ci95_ms, found.p90_ms, found.p99_ms), (2.0, [2.0, 2.0], Some(2.0), None));
    assert_eq!((found.raw_p50_ms, found.throughput.unwrap().samples_per_s.round()), (Some(2.0), 500.0));
    let reference = found.reference.as_ref().unwrap();
    assert_eq!((reference.p50_ms, reference.scale_ms, reference.slowdown), (0.2, 0.2, Some(1.0)));
    assert_eq!((found.load_ms, found.first_run_ms, found.samples, found.rounds), (250.0, 500.0, 70, 7));
    assert_eq!((found.verdict, found.outliers), (Verdict::Stable, 0));
    assert_eq!(found.execution_provider, "cpu");
}

#[test]
fn times_survive_writing_and_reading() {
    for nanoseconds in (0..200_000_u64).map(|i| i * i * 7919 % 100_000_007) {
        let seconds = std::time::Duration::from_nanos(nanoseconds).as_secs_f64();
        for time in [seconds, ms(seconds), ms(seconds * 1.000_000_123_4)] {
            let read: f64 = serde_json::from_str(&serde_json::to_string(&time).unwrap()).unwrap();
            assert_eq!(read.to_bits(), time.to_bits(), "{time}");
        }
    }
}

#[test]
fn a_figure_is_noisy_unless_warm_and_narrow() {
    assert_eq!(measured(samples(false, StopReason::NarrowInterval)).verdict, Verdict::Noisy);
    assert_eq!(measured(samples(true, StopReason::TimeBudget)).verdict, Verdict::Noisy);
    assert_eq!(measured(samples(true, StopReason::MostRounds)).verdict, Verdict::Noisy);
}

#[test]
fn a_record_reads_back_as_it_was() {
    let found = measured(samples(true, StopReason::NarrowInterval));
    let json = serde_json::to_string(&found).unwrap();
    assert!(json.contains(r#""verdict":"stable""#) && json.contains(r#""stop":"narrow_interval""#), "{json}");
    assert_eq!(serde_json::from_str::<Measurement>(&json).unwrap(), found);
}

#[test]
fn the_deviation_between_processes_widens_the_interval() {
    let found = Measurement::new(parts(samples(true, StopReason::NarrowInterval), &Protocol::default()));
    let arm = 1.96 * 0.006 * 2.0;
    assert_eq!((found.p50_ms, found.between_process), (2.0, 0.006));
    assert!((found.ci95_ms[0] - (2.0 - arm)).abs() < 1e-6 && (found.ci95_ms[1] - (2.0 + arm)).abs() < 1e-6);
}

#[test]
fn a_machine_that_slowed_down_is_throttled() {
    let narrow = || samples(true, StopReason::NarrowInterval);
    let slower = |by: f64| (0..8).map(|turn| 0.0002 * (1.0 + by * f64::from(turn) / 7.0)).collect::<Vec<_>>();
    let with = |turns, clocks: Option<(f64, f64)>| {
        let mut parts = parts(Samples { reference_turns_s: turns, ..narrow() }, &SLACK);
        (parts.before.clock_mhz, parts.after.clock_mhz) = clocks.unzip();
        Measurement::new(parts).verdict
    };
    assert_eq!(with(slower(0.1), None), Verdict::Throttled);
    assert_eq!(with(slower(0.02), None), Verdict::Stable);
    assert_eq!(with(slower(0.04), Some((3000.0, 2800.0))), Verdict::Throttled);
    assert_eq!(with(slower(0.0), Some((3000.0, 800.0))), Verdict::Stable);
    // Without a reference, its own rounds tell.
    let alone = Samples {
        rounds: slower(0.1).iter().map(|s| vec![*s; 3]).collect(),
        reference_s: vec![],
        reference_turns_s: vec![],
        ..narrow()
    };
    assert_eq!(measured(alone).verdict, Verdict::Throttled);
}

const SLACK: Protocol = Protocol {
    warm_up_s: 1.0,
    warm_up_agreement: 0.02,
    rounds: 7,
    max_rounds: 40,
    runs_per_round: 10,
    min_round_s: 0.01,
    target_half_width: 0.01,
    budget_s: 5.0,
    untimed_runs: 2,
    reference: true,
    between_process: 0.0,
    processes: 1,
    loads: 1,
    sustained_s: 0.0,
    streams: 1,
    streams_s: 1.0,
    seed: 0,
};

#[test]
fn nodes_that_ran_elsewhere_are_the_first_thing_to_know() {
    let parts = Measured {
        nodes_by_provider: [("CUDAExecutionProvider".to_owned(), 3), ("CPUExecutionProvider".to_owned(), 1)].into(),
        fallen_back: vec!["last (Softmax)".to_owned()],
        ..parts(samples(true, StopReason::NarrowInterval), &SLACK)
    };
    let found = Measurement::new(parts);
    assert_eq!((found.verdict, found.ep_coverage), (Verdict::Fallback, Some(0.75)));
    assert_eq!(measured(samples(true, StopReason::NarrowInterval)).ep_coverage, None);
}

#[test]
fn without_a_reference_the_fields_are_absent() {
    let bare =
        || Samples { reference_s: vec![], reference_turns_s: vec![], ..samples(true, StopReason::NarrowInterval) };
    let reason = Some("no such operator".to_owned());
    let found = Measurement::new(Measured { reference: Err(reason.clone()), ..parts(bare(), &SLACK) });
    assert_eq!((found.reference, found.no_reference, found.p50_ms), (None, reason, 2.0));
}

#[test]
fn figures_are_stated_for_another_pace() {
    let mut found = measured(samples(true, StopReason::NarrowInterval));
    found.state_for(&pace(&found, 0.22));
    assert_eq!((found.p50_ms, found.raw_p50_ms), (2.2, Some(2.0)));
    let doubt = 2.2 * 0.5 * 1.1_f64.ln();
    assert!((found.ci95_ms[0] - (2.2 - doubt)).abs() < 1e-5 && (found.ci95_ms[1] - (2.2 + doubt)).abs() < 1e-5);
    let reference = found.reference.unwrap();
    assert_eq!((reference.p50_ms, reference.scale_ms), (0.2, 0.22));
}

#[test]
fn several_processes_make_one_figure() {
    let of = |ms: f64, stop| {
        let mut one = measured(samples(true, stop));
        (one.p50_ms, one.ci95_ms) = (ms, [ms - 0.02, ms + 0.04]);
        one
    };
    let all = vec![
        of(2.0, StopReason::NarrowInterval),
        of(2.2, StopReason::TimeBudget),
        of(2.1, StopReason::NarrowInterval),
        of(2.1, StopReason::NarrowInterval),
    ];
    let found = Measurement::of_processes(all, 0.01);
    let arm = |own: f64| (own / 2.0).hypot(1.96 * 0.005 * 2.1);
    assert_eq!((found.p50_ms, found.processes, found.rounds, found.samples), (2.1, 4, 28, 280));
    assert!((found.ci95_ms[0] - (2.1 - arm(0.02))).abs() < 1e-5, "{:?}", found.ci95_ms);
    assert!((found.ci95_ms[1] - (2.1 + arm(0.04))).abs() < 1e-5, "{:?}", found.ci95_ms);
    assert_eq!((found.between_process, found.stop, found.verdict), (0.01, StopReason::TimeBudget, Verdict::Noisy));
    assert_eq!(found.reference.unwrap().by_round_s.len(), 28);
}

/// A record of version 0.1.0, before there was a reference.
#[test]
fn older_records_can_be_read() {
    let mut json = serde_json::to_value(measured(samples(true, StopReason::NarrowInterval))).unwrap();
    let new = [
        "raw_p50_ms",
        "reference",
        "no_reference",
        "between_process",
        "processes",
        "loads",
        "ep_coverage",
        "fallen_back",
        "cores",
        "peak_memory_mib",
        "energy_mj_per_run",
        "throughput",
        "sustained",
        "before",
        "after",
    ];
    for field in new {
        assert!(json.as_object_mut().unwrap().remove(field).is_some(), "{field}");
    }
    let found: Measurement = serde_json::from_value(json).unwrap();
    assert_eq!((found.raw_p50_ms, found.reference, found.processes, found.between_process), (None, None, 1, 0.0));
}

#[test]
fn what_one_pace_corrects_in_both_does_not_make_them_alike() {
    use crate::latency::{Comparison, compare};
    let of = |ms: f64, scale_ms: f64| {
        let mut one = measured(samples(true, StopReason::NarrowInterval));
        (one.p50_ms, one.ci95_ms) = (ms, [0.99 * ms, 1.01 * ms]);
        one.state_for(&pace(&one, scale_ms));
        one
    };
    // Both were measured at the same pace: only their own arms count, whatever they are stated for.
    for scale_ms in [0.2, 0.3] {
        assert_eq!(compare(&of(2.0, scale_ms), &of(2.05, scale_ms)), Comparison::Faster);
        assert_eq!(compare(&of(2.0, scale_ms), &of(2.02, scale_ms)), Comparison::Tie);
    }
    // At another pace of the machine, the reference's own difference is in doubt.
    let mut later = of(2.05, 0.2);
    later.reference.as_mut().unwrap().p50_ms = 0.22;
    assert_eq!(compare(&of(2.0, 0.2), &later), Comparison::Tie);
}

fn pace(measured: &Measurement, reference_ms: f64) -> super::Pace {
    super::Pace { reference_ms, ..measured.pace().unwrap() }
}
