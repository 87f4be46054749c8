use super::*;

/// Sessions on a clock of their own: each run of `who` takes what `time` says of it and of the time; no time passes.
struct Fake<F> {
    time: F,
    now: f64,
    runs: Vec<usize>,
    turns: Vec<Who>,
    outcomes: Vec<(usize, Result<Samples, RuntimeError>)>,
    lost: Option<String>,
    patience: usize,
}

impl<F: FnMut(Who, usize, f64) -> Result<f64, RuntimeError>> Bench for Fake<F> {
    fn turn(&mut self, who: Who) -> bool {
        self.turns.push(who);
        self.turns.len() <= self.patience
    }

    fn run(&mut self, who: Who) -> Result<f64, RuntimeError> {
        let number = if let Who::Model(number) = who { number + 1 } else { 0 };
        self.runs.resize(self.runs.len().max(number + 1), 0);
        self.runs[number] += 1;
        let time = (self.time)(who, self.runs[number] - 1, self.now)?;
        self.now += time;
        Ok(time)
    }

    fn now(&self) -> f64 {
        self.now
    }

    fn done(&mut self, model: usize, outcome: Result<Samples, RuntimeError>) -> bool {
        self.outcomes.push((model, outcome));
        true
    }

    fn without_reference(&mut self, reason: String) {
        self.lost = Some(reason);
    }
}

fn fake<F: FnMut(Who, usize, f64) -> Result<f64, RuntimeError>>(time: F) -> Fake<F> {
    Fake { time, now: 0.0, runs: vec![], turns: vec![], outcomes: vec![], lost: None, patience: usize::MAX }
}

/// Samples a model whose n-th run takes `time(n)` seconds, without a reference.
fn sampled(protocol: &Protocol, time: impl Fn(usize) -> f64) -> Samples {
    let mut bench = fake(|_, n, _| Ok(time(n)));
    measure_in_turns(&mut bench, 1, false, protocol);
    bench.outcomes.pop().unwrap().1.unwrap()
}

fn half_width(samples: &Samples, protocol: &Protocol) -> f64 {
    figures(&samples.rounds, &samples.reference_s, 1, protocol.seed).half_width()
}

#[test]
fn a_quiet_model_takes_the_fewest_rounds() {
    let samples = sampled(&Protocol::default(), |n| if n == 0 { 0.5 } else { 0.002 });
    let found = figures(&samples.rounds, &samples.reference_s, 1, 0);
    assert_eq!((samples.first_run_s, found.p50_s, found.ci95_s), (0.5, 0.002, (0.002, 0.002)));
    assert_eq!((samples.stop, samples.rounds.len(), samples.rounds[0].len()), (StopReason::NarrowInterval, 7, 10));
    assert!(samples.warm);
}

#[test]
fn the_warm_up_lasts_until_windows_agree() {
    // Each run is 1 % faster than the one before, up to the 100th.
    let warming = |n: usize| 0.001 * 0.99_f64.powi(n.min(100) as i32);
    let samples = sampled(&Protocol::default(), warming);
    assert!(samples.warm && samples.warm_up_runs >= 95, "{} runs", samples.warm_up_runs);
    assert!(samples.rounds.iter().flatten().all(|&s| s < 1.02 * warming(100)));
}

#[test]
fn the_warm_up_is_bounded() {
    let protocol = Protocol { warm_up_s: 0.1, budget_s: 0.2, ..Protocol::default() };
    let samples = sampled(&protocol, |n| 0.001 * 1.01_f64.powi(n as i32));
    assert!(!samples.warm);
    assert!(samples.warm_up_runs < 100);
}

#[test]
fn a_noisy_model_ends_with_the_budget_or_the_most_rounds() {
    let samples = sampled(&Protocol::default(), restless);
    assert_eq!((samples.stop, samples.rounds.len()), (StopReason::MostRounds, 40));
    let protocol = Protocol { budget_s: 0.3, ..Protocol::default() };
    let samples = sampled(&protocol, restless);
    assert_eq!(samples.stop, StopReason::TimeBudget);
    assert!(half_width(&samples, &protocol) > 0.01);
}

#[test]
fn a_slow_model_gets_fewer_runs_but_enough_rounds() {
    let samples = sampled(&Protocol::default(), |_| 3.0);
    assert_eq!((samples.stop, samples.rounds.len()), (StopReason::TimeBudget, 5));
    assert!(samples.rounds.iter().all(|round| round.len() == 1));
    let samples = sampled(&Protocol::default(), |_| 0.1);
    assert_eq!((samples.rounds.len(), samples.rounds[0].len()), (7, 7));
}

#[test]
fn a_fast_model_fills_its_rounds() {
    assert_eq!(sampled(&Protocol::default(), |_| 100e-6).rounds[0].len(), 100);
    assert_eq!(sampled(&Protocol::default(), |_| 5e-6).rounds[0].len(), MOST_RUNS);
    assert_eq!(sampled(&Protocol::default(), |_| 0.0).rounds[0].len(), MOST_RUNS);
}

/// Run n of a model whose rounds are apart by half, so that its interval stays wide.
fn restless(n: usize) -> f64 {
    if (n / 12).is_multiple_of(2) { 0.002 } else { 0.003 }
}

#[test]
fn the_rounds_end_for_all_at_once_but_for_those_whose_budget_is_spent() {
    let times = |who, n| match who {
        Who::Model(1) => restless(n),
        Who::Model(2) => 0.5,
        _ => 0.002,
    };
    let mut bench = fake(|who, n, _| Ok(times(who, n)));
    measure_in_turns(&mut bench, 3, true, &Protocol::default());
    let mut found: Vec<(usize, usize, StopReason)> = vec![];
    for (model, samples) in &bench.outcomes {
        let samples = samples.as_ref().unwrap();
        found.push((*model, samples.rounds.len(), samples.stop));
    }
    found[1..].sort_by_key(|one| one.0);
    let narrow = StopReason::NarrowInterval;
    assert_eq!(found, [(2, 10, narrow), (0, 40, narrow), (1, 40, StopReason::MostRounds)]);
}

fn times(who: Who) -> f64 {
    match who {
        Who::Reference => 0.0002,
        Who::Model(number) => 0.001 * (number + 1) as f64,
    }
}

#[test]
fn models_take_turns_with_the_reference_in_a_new_order_each_round() {
    let mut bench = fake(|who, _, _| Ok(times(who)));
    measure_in_turns(&mut bench, 25, true, &Protocol::default());
    let mut done: Vec<usize> = bench.outcomes.iter().map(|outcome| outcome.0).collect();
    done.sort_unstable();
    assert_eq!(done, (0..25).collect::<Vec<_>>());
    // After the warm-ups: a turn of the reference before each model's in each of the 7 rounds, and one that closes the last.
    let turns = &bench.turns[26..];
    assert_eq!(turns.len(), 7 * 2 * 25 + 1);
    let rounds: Vec<&[Who]> = turns.chunks(50).collect();
    for round in &rounds[..7] {
        let references: Vec<usize> = (0..50).filter(|&at| round[at] == Who::Reference).collect();
        assert_eq!(references, (0..50).step_by(2).collect::<Vec<_>>());
    }
    assert_eq!(rounds[7], [Who::Reference]);
    assert_ne!(rounds[0], rounds[1]);
    let samples = bench.outcomes[0].1.as_ref().unwrap();
    assert_eq!(samples.reference_s, [0.0002; 7]);
    // From just before its first turn to just after its last one, whose places in their rounds are by chance.
    assert!((5 * 25..=7 * 25 + 1).contains(&samples.reference_turns_s.len()), "{}", samples.reference_turns_s.len());
    // The same seed gives the same order.
    let mut again = fake(|who, _, _| Ok(times(who)));
    measure_in_turns(&mut again, 25, true, &Protocol::default());
    assert_eq!(again.turns, bench.turns);
}

#[test]
fn a_machine_that_gets_slower_is_corrected_for() {
    // 10 % slower every second; the batch takes about a second.
    let protocol = Protocol::default();
    let mut bench = fake(|who, _, now| Ok(times(who) * (1.0 + 0.1 * now)));
    measure_in_turns(&mut bench, 10, true, &protocol);
    let mut found: Vec<(usize, Figures)> = vec![];
    for (number, outcome) in bench.outcomes {
        let samples = outcome.unwrap();
        assert_eq!(samples.stop, StopReason::NarrowInterval);
        found.push((number, figures(&samples.rounds, &samples.reference_s, 1, 0)));
        assert!(super::super::figures::throttled(&samples.reference_turns_s));
    }
    for (number, figures) in found {
        let ratio = figures.p50_s / figures.reference_s.unwrap() / (5.0 * (number + 1) as f64);
        assert!((ratio - 1.0).abs() < 0.001 && figures.half_width() < 0.001, "{number}: {ratio} {figures:?}");
    }
}

#[test]
fn a_run_that_fails_ends_that_model_alone() {
    let failing =
        |who, n| if (who, n) == (Who::Model(1), 60) { Err(RuntimeError::Run("no".into())) } else { Ok(times(who)) };
    let mut bench = fake(|who, n, _| failing(who, n));
    measure_in_turns(&mut bench, 3, true, &Protocol::default());
    for (number, outcome) in bench.outcomes {
        assert_eq!(outcome.err().map(|error| error.to_string()), (number == 1).then(|| "run failed: no".to_owned()));
    }
}

#[test]
fn without_a_usable_reference_it_goes_on_without() {
    let check = |reference: fn(usize) -> Result<f64, RuntimeError>, expected: &str| {
        let mut bench = fake(|who, n, _| if who == Who::Reference { reference(n) } else { Ok(times(who)) });
        measure_in_turns(&mut bench, 2, true, &Protocol::default());
        assert_eq!(bench.lost.as_deref(), Some(expected));
        for (_, outcome) in bench.outcomes {
            let samples = outcome.unwrap();
            assert!(
                samples.reference_s.is_empty() && samples.reference_turns_s.is_empty() && samples.rounds.len() == 7
            );
        }
    };
    check(|_| Ok(1e-6), "it runs in less than 10 µs");
    check(|_| Err(RuntimeError::Run("no such operator".into())), "run failed: no such operator");
    check(|n| if n < 120 { Ok(2e-4) } else { Err(RuntimeError::Run("lost".into())) }, "run failed: lost");
}

#[test]
fn nothing_goes_on_when_nobody_waits() {
    let mut bench = fake(|who, _, _| Ok(times(who)));
    bench.patience = 20;
    measure_in_turns(&mut bench, 8, true, &Protocol::default());
    assert_eq!((bench.turns.len(), bench.outcomes.len()), (21, 0));
}
