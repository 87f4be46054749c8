//! Strategies in a study: what they look at before a trial is computed again, and the same, when the study goes on.

#[path = "common/stripes.rs"]
mod stripes;
#[path = "common/study.rs"]
mod study;

use study::Workplace;
use tegu::study::store::{Store, TrialState};

#[test]
fn strategies_that_look_at_metrics_go_on_as_others_do() {
    let place = Workplace::new();
    for (name, sampler) in [
        ("successive_halving", "{successive_halving: {batch: 3, levels: [[macs], [linear_regions]]}}"),
        ("robot", "{robot: {evaluations: 3, pool: 12, batch: 2}}"),
    ] {
        let changes = [
            ("{nsga2: {population: 6}}", sampler),
            ("control: random", "control: none"),
            ("trials: 20", "trials: 6"),
            ("reference: 6", "reference: 4"),
        ];
        place.write_study(name, &changes);
        place.search(name);
        let path = place.folder(name).join("study.sqlite");
        let archs = || -> Vec<String> {
            let trials = Store::open_read_only(&path).unwrap().trials(name).unwrap();
            trials.into_iter().map(|trial| trial.arch).collect()
        };
        let whole = archs();
        assert_eq!(whole.len(), 6, "{name}");
        // The same study, as if it had been killed before its last trials.
        let store = rusqlite::Connection::open(&path).unwrap();
        store.execute_batch("DELETE FROM objectives WHERE number > 2; DELETE FROM trials WHERE number > 2").unwrap();
        drop(store);
        assert_eq!(archs().len(), 3, "{name}");
        place.search(name);
        assert_eq!(archs(), whole, "{name}");
    }
}

#[test]
fn accuracy_after_a_short_training_is_an_objective() {
    let place = Workplace::new();
    std::fs::create_dir(place.path("data")).unwrap();
    stripes::write_stripes(&place.path("data"), 96, 8);
    let accuracy = "  - accuracy: {data: data, epochs: 2, train: {batch: 24, split: {validation: 0.25}}}\n";
    let changes = [
        ("objectives:\n", &*format!("objectives:\n{accuracy}")),
        ("control: random", "control: none"),
        ("trials: 20", "trials: 4"),
        ("reference: 6", "reference: 4"),
    ];
    place.write_study("taught", &changes);
    let refused = place.run(&["search", "taught.yaml"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("objectives: accuracy: data: "), "{refused:?}");
    assert!(refused.stderr.contains("`space: {network: {input: [1, 8, 8], classes: 4}}`"), "{refused:?}");

    let fitting = [&changes[..], &[("tiny.yaml}", "tiny.yaml, network: {input: [1, 8, 8], classes: 4}}")]].concat();
    place.write_study("taught", &fitting);
    place.search("taught");
    let path = place.folder("taught").join("study.sqlite");
    let trials = || Store::open_read_only(&path).unwrap().trials("nsga2").unwrap();
    let whole = trials();
    let accuracies: Vec<f64> = whole
        .iter()
        .map(|trial| match &trial.state {
            TrialState::Complete { objectives } => objectives["accuracy"],
            TrialState::Failed { reason } => panic!("{reason}"),
        })
        .collect();
    assert!(
        accuracies.len() == 4 && accuracies.iter().all(|accuracy| (0.0..=1.0).contains(accuracy)),
        "{accuracies:?}"
    );
    // As if it had been killed before anything of the last trials was stored: training gives the same again.
    let store = rusqlite::Connection::open(&path).unwrap();
    let last = whole[3].arch_id.as_str();
    store
        .execute_batch(&format!(
            "DELETE FROM objectives WHERE number > 2; DELETE FROM trials WHERE number > 2;
             DELETE FROM indicators WHERE arch_id = '{last}' AND name = 'accuracy'"
        ))
        .unwrap();
    drop(store);
    place.search("taught");
    assert_eq!(trials()[3].state, whole[3].state);
}
