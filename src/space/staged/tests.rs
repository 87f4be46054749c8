//! Genes of layers that are not there don't count; the notations of others are read; errors point at line and choice.

use crate::genotype::Genotype;
use crate::space::{Precision, Scale, SearchSpace};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::path::Path;

/// A small staged space with every kind of decision.
const ODD: &str = include_str!("../../../tests/data/odd-stages.yaml");

fn odd() -> SearchSpace {
    SearchSpace::parse(ODD, Path::new("odd-stages.yaml")).unwrap()
}

#[test]
fn sizes_are_those_of_the_depths() {
    let once_for_all = SearchSpace::open("mobilenet-v3").unwrap();
    assert_eq!(once_for_all.size(), (81f64 + 729.0 + 6561.0).powi(5));
    assert_eq!(once_for_all.choices().len(), 5 + 2 * 20);
    assert_eq!(SearchSpace::open("resnet").unwrap().size(), 2.0 * 9f64.powi(4) * (4.0 * 6.0 * 8.0 * 3.0));
    let space = odd();
    let (mut count, mut ids) = (0.0, HashMap::new());
    for genotype in space.enumerate() {
        assert_eq!(space.parse_arch(&space.arch(&genotype)).unwrap(), genotype);
        let before = ids.insert(space.id(&genotype).unwrap(), genotype.clone());
        assert_eq!(before, None, "{} has the id of another one", space.arch(&genotype));
        count += 1.0;
    }
    // Resolution · width · (blocks, twice) · ratio · ((kernels and expansions) of 2 layers or of 1).
    assert_eq!((count, space.size()), (2.0 * 2.0 * 4.0 * 2.0 * (4.0 + 16.0), 640.0));
}

#[test]
fn genes_of_absent_layers_do_not_count() {
    for name in ["mobilenet-v3", "resnet", "vit", "vit-stages"] {
        let space = SearchSpace::open(name).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20 {
            let drawn = space.sample(&mut rng);
            assert_eq!(space.canonical(&drawn), drawn);
            let differ = (0..drawn.genes().len()).filter(|&at| space.choices()[at] > 1).map(|at| {
                let other = drawn.with_gene(at, (drawn.genes()[at] + 1) % space.choices()[at] as u8);
                (
                    space.canonical(&other) != drawn,
                    space.arch(&other) != space.arch(&drawn),
                    space.id(&other) != space.id(&drawn),
                )
            });
            for (counts, is_written, has_id) in differ {
                assert_eq!((is_written, has_id), (counts, counts), "{}", space.arch(&drawn));
            }
        }
    }
}

/// Each layer is a part that has a precision, also where few architectures have it.
#[test]
fn precisions_of_layers() {
    let space = odd().with_precisions(vec![Precision::Float, Precision::Symmetric]).unwrap();
    let parts = ["stem", "stage0.layer0", "stage0.layer1", "stage1.layer0", "stage1.layer1", "head"];
    assert_eq!(space.choices().len() - odd().choices().len(), parts.len());
    let shallow = space.parse_arch("24,1/2,1:plain-gated/1:3,2@ffffff").unwrap();
    let id = |genotype: &Genotype| space.id(genotype).unwrap();
    for (at, part) in parts.iter().enumerate() {
        let other = shallow.with_gene(odd().choices().len() + at, 1);
        assert_eq!(id(&other) == id(&shallow), *part == "stage1.layer1", "{part}");
    }
}

#[test]
fn notations_of_once_for_all() {
    let space = SearchSpace::open("mobilenet-v3").unwrap();
    let ks = "[3, 5, 3, 3, 7, 7, 7, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5]";
    let e = "[3, 4, 6, 3, 6, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 6]";
    let arch = "2:3,3-5,4/3:7,6-7,3-7,3/2:3,3-3,3/2:3,3-3,3/4:3,3-3,3-3,3-5,6";
    let check = |text: &str| assert_eq!(space.arch(&space.parse_arch(text).unwrap()), arch, "{text}");
    check(arch);
    check(&format!(r#"{{"ks": {ks}, "e": {e}, "d": [2, 3, 2, 2, 4]}}"#));
    check(&format!("{{'wid': None, 'ks': {ks}, 'e': {e}, 'd': [2, 3, 2, 2, 4], 'r': [224]}}"));
    check(&format!(r#"{{"kernel": {ks}, "expansion": {e}, "depth": [2, 3, 2, 2, 4], "resolution": 224}}"#));
    let refused = |text: &str, expected: &str| {
        let error = space.parse_arch(text).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    refused(&format!(r#"{{"ks": {ks}, "d": [2, 3, 2, 2, 4]}}"#), "`e` is missing: expected a list of 20");
    refused(&format!(r#"{{"ks": {ks}, "e": {e}, "d": [2, 3]}}"#), "`d` has 2 entries, expected 5");
    refused(
        &format!(r#"{{"ks": {ks}, "e": {e}, "d": [2, 5, 2, 2, 4]}}"#),
        "`d`, entry 2: depth 5, expected one of 2, 3, 4",
    );
    refused(
        &format!(r#"{{"ks": {ks}, "e": {e}, "d": [2, 3, 2, 2, 4], "r": [192]}}"#),
        "`r` is nothing that is decided",
    );
    refused("2:3,3-5,4", "expected 5 stages joined by `/`, found 1 parts");
    refused(&arch.replace("2:3,3-5,4/", "2:3,3/"), "stage 1: depth 2, found 1 layers behind `:`");
    refused(&arch.replace("7,6-", "9,6-"), "stage 2, layer 1: kernel 9, expected one of 3, 5, 7");
    refused(&arch.replace("7,6-", "7-"), "stage 2, layer 1: found `7`, expected kernel, expansion joined by `,`");
}

#[test]
fn resolution_is_the_full_networks_alone() {
    let space = odd();
    let side =
        |arch: &str, scale| space.lower(&space.parse_arch(arch).unwrap(), scale).unwrap().input_shape().dims()[1];
    let [large, small] = ["24,1/2,1:plain-plain/2:3,2-5,2", "18,1/2,1:plain-plain/2:3,2-5,2"];
    assert_eq!((side(large, Scale::Full), side(small, Scale::Full)), (24, 18));
    assert_eq!(side(large, Scale::Probe), side(small, Scale::Probe));
    // With another input, the choices are the same shares of it.
    let changed = crate::space::NetworkChanges { input: Some([2, 32, 32]), ..Default::default() };
    let half = space.clone().with_network(&changed).unwrap();
    let shape = half.lower(&half.parse_arch(small).unwrap(), Scale::Full).unwrap().input_shape();
    assert_eq!(shape.dims(), [2, 24, 24]);
}

#[test]
fn errors_point_at_line_and_choice() {
    let check = |from: &str, to: &str, expected: &str| {
        assert!(ODD.contains(from), "{from}");
        let text = ODD.replacen(from, to, 1);
        let line = text.lines().position(|line| line.contains(to)).unwrap() + 1;
        let error = SearchSpace::parse(&text, Path::new("my.yaml")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let path = "my.yaml:";
        assert!(
            !expected.contains(path) || error.starts_with(&format!("{path}{line}")),
            "{error}, expected line {line}"
        );
    };
    check("expansion*in", "expnsion*in", "my.yaml:");
    check("expansion*in", "expnsion*in", "unknown name `expnsion`, expected a number or one of in, out,");
    check("expansion*in", "expnsion*in", "did you mean `expansion`?");
    check("block: inverted", "block: inverse", "my.yaml:");
    check(
        "block: inverted",
        "block: inverse",
        "stage 2: unknown block `inverse`, expected one of plain, gated, inverted; did you mean `inverted`?",
    );
    check("kernel: [3, 5]", "kernel: [3, wide]", "`kernel` has wide, expected a number");
    check("kernel: [3, 5]", "kernel: [3, 3]", "`kernel` has 3 twice");
    check("depth: [1, 2]", "depth: [1, 0]", "expected depths of 1 to 255 layers");
    check("kernel: [3, 5]", "stride: [3, 5]", "`stride` can't be the name of a choice");
    check("ratio: [0.5, 1]", "ratio: [0.99, 1]", "1.ratio: 0.99 and 1 make the same probe, expected a wider `probe`");
    check(
        "resolution: [18, 24]",
        "resolution: [18, 26]",
        "`resolution` goes up to 26, expected the full network's input, 24×24",
    );
    check("multiple: [1, 1.5]", "block: [plain, gatd]", "unknown name `multiple`");
}

#[test]
fn other_spaces_name_nothing_that_is_chosen() {
    let text = include_str!("../../../models/mobilenet-macro.yaml").replace("channels: 6*in", "channels: expansion*in");
    let error = SearchSpace::parse(&text, Path::new("my.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("my.yaml:39") && error.contains("unknown name `expansion`"), "{error}");
    let depth = crate::space::NetworkChanges { depth: Some(3), ..Default::default() };
    let error = odd().with_network(&depth).unwrap_err().to_string();
    assert!(error.contains("its depths are decisions"), "{error}");
}

/// A choice counts where the layer's block names it; ranges are lists.
#[test]
fn choices_depend_on_the_block() {
    let text = include_str!("../../../tests/data/odd-stages.yaml")
        .replace(
            "layers: {block: [plain, gated]}",
            "layers: {block: [plain, gated, inverted], kernel: {from: 3, to: 7, step: 2}, expansion: [2, 3]}",
        )
        .replace("depth: [1, 2]", "depth: {from: 1, to: 2}");
    let space = SearchSpace::parse(&text, Path::new("odd-stages.yaml")).unwrap();
    assert_eq!(space.size(), 2.0 * 2.0 * 2.0 * (1.0 + 1.0 + 3.0 * 2.0f64).powi(2) * (4.0 + 16.0));
    let of = |arch: &str| space.parse_arch(arch).unwrap();
    let [inverted, plain] = ["inverted,5,3", "plain,5,3"].map(|layer| of(&format!("24,1/2,1:{layer}-gated,3,2/1:3,2")));
    assert_ne!(inverted, of("24,1/2,1:inverted,7,3-gated,3,2/1:3,2"));
    assert_eq!(plain, of("24,1/2,1:plain,3,2-gated,3,2/1:3,2"));
    assert_eq!(space.arch(&plain), "24,1/2,1:plain,3,2-gated,3,2/1:3,2");
    let unused = text.replace("block: [plain, gated, inverted]", "block: [plain, gated]");
    let error = SearchSpace::parse(&unused, Path::new("odd-stages.yaml")).unwrap_err().to_string();
    assert!(error.contains("1.1.kernel: no block that its layer may be names it"), "{error}");
}
