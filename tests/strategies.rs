//! Strategies in a study: what they look at before a trial is computed again, and the same, when the study goes on.

#[path = "common/study.rs"]
mod study;

use study::Workplace;
use tegu::study::store::Store;

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
