//! `tegu inspect`: what a model file is, where it comes from, what it costs, and what a device makes of it.

mod common;
#[path = "common/study.rs"]
mod study;

use serde_json::Value;
use study::Workplace;
use tegu::space::{Scale, SearchSpace};

#[test]
fn a_model_of_a_study_says_where_it_comes_from() {
    let place = Workplace::new();
    place.search("small");
    let front = std::fs::read_to_string(place.folder("small").join("front.json")).unwrap();
    let front: Value = serde_json::from_str(&front).unwrap();
    let first = &front["front"][0];
    let id = first["arch_id"].as_str().unwrap();
    let model = format!("runs/small/models/{id}.onnx");
    let said = place.run(&["inspect", &model, "--json", "--device", "host-cpu-tract"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["sha256"], study::sha256(&place.path(&model)));
    assert_eq!(found["provenance"]["architecture"], first["arch"]);
    assert!(found["provenance"]["study"].as_str().unwrap().starts_with("small, trial "), "{found}");
    assert!(!found["indicators"].as_object().unwrap().is_empty());
    // What was measured is in the study: the file can't hold it.
    let measured = &found["measured"][0];
    let [low, high] = [0, 1].map(|end| measured["ci95_ms"][end].as_f64().unwrap());
    assert!(low <= measured["p50_ms"].as_f64().unwrap() && measured["p50_ms"].as_f64().unwrap() <= high, "{measured}");
    assert!(found["devices"][0]["measurement"]["p50_ms"].as_f64().unwrap() > 0.0, "{found}");
    let space = SearchSpace::open(place.path("tiny.yaml").to_str().unwrap()).unwrap();
    let genotype = space.parse_arch(first["arch"].as_str().unwrap()).unwrap();
    let live = space.lower(&genotype, Scale::Full).unwrap().live().unwrap();
    assert_eq!(found["macs"].as_u64(), Some(live.cost().macs), "{found}");
    assert!(place.run(&["inspect", &model]).stdout.contains("measured"));
}

/// Multiply-accumulates of ResNet-50 at 224×224: 4.09 · 10⁹ (He et al. 2016 say 3.8, without the stride in the 3×3 layers, which
/// torchvision's has); SqueezeNet 1.1's are .35, 1.0's .82 · 10⁹.
#[test]
fn costs_of_models_that_we_did_not_make_are_the_published_ones() {
    let place = Workplace::new();
    for (file, low, high) in [("light_resnet50.onnx", 3.8e9, 4.2e9), ("light_squeezenet.onnx", 0.3e9, 0.9e9)] {
        let Some(path) = common::data(&format!("onnx/{file}")) else { continue };
        let said = place.run(&["inspect", path.to_str().unwrap(), "--json"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let found: Value = serde_json::from_str(&said.stdout).unwrap();
        let macs = found["macs"].as_f64().unwrap();
        assert!((low..=high).contains(&macs), "{file}: {macs}");
        assert!(found["provenance"].as_object().unwrap().is_empty(), "{found}");
    }
}

#[test]
fn what_can_not_be_run_is_said() {
    let place = Workplace::new();
    place.write("text.onnx", "no model");
    let refused = place.run(&["inspect", "text.onnx"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("text.onnx"), "{refused:?}");
    let missing = place.run(&["inspect", "nosuch.onnx"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
}
