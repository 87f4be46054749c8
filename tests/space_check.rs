//! `tegu space check`: the size of a space, its smallest and largest member, what runs its operators.

mod common;
#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use study::Workplace;

#[test]
fn a_space_shows_its_members() {
    let place = Workplace::new();
    let said = place.run(&["space", "check", "darts", "--width", "8", "--depth", "4", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["decisions"].as_array().unwrap().len(), 22);
    assert!((found["architectures"].as_f64().unwrap() / 1.0767e18 - 1.0).abs() < 1e-3, "{}", found["architectures"]);
    let params = |at: usize| found["members"][at]["params"].as_u64().unwrap();
    assert!(params(0) < params(2) && params(2) < params(1), "smallest, largest and random: {said:?}");
    let tract = &found["runtimes"][0];
    assert_eq!(
        (tract["profile"].as_str(), tract["failed"].as_array().map(Vec::len)),
        (Some("host-cpu-tract"), Some(0)),
        "{tract}"
    );

    let said = place.run(&["space", "check", "tinybench"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for expected in
        ["3 decisions, 1.2500e2 architectures", "smallest", "stage0.cell0", "host-cpu-tract: runs every operator"]
    {
        assert!(said.stdout.contains(expected), "{expected} is missing in {}", said.stdout);
    }
    assert!(place.run(&["space", "check", "tinybench", "--layers"]).stdout.contains("head.linear"));

    let said = place.run(&["space", "check", "regnet", "--svg", "random.svg"]);
    let drawn = std::fs::read_to_string(place.path("random.svg")).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert!(drawn.starts_with("<svg ") && drawn.contains("stage0.layer0"), "{drawn}");

    let said = place.run(&["space", "check", "nosuch.yaml"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}
