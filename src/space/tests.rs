//! Encodings round-trip, ids are those of isomorphism, errors say what was meant.

use super::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;

fn nas_bench_201() -> SearchSpace {
    SearchSpace::open("nas-bench-201").unwrap()
}

#[test]
fn every_architecture_survives_its_text() {
    for name in ["nas-bench-201", "mobilenet-macro", "tinybench"] {
        let space = SearchSpace::open(name).unwrap();
        let mut count = 0;
        for genotype in space.enumerate() {
            assert_eq!(space.parse_arch(&space.arch(&genotype)).unwrap(), genotype);
            count += 1;
        }
        assert_eq!(f64::from(count), space.size());
    }
}

#[test]
fn isomorphic_cells_share_an_id() {
    let space = nas_bench_201();
    let id = |arch: &str| space.id(&space.parse_arch(arch).unwrap());
    let same = |a, b| assert_eq!(id(a), id(b), "{a} and {b}");
    let differ = |a, b| assert_ne!(id(a), id(b), "{a} and {b}");
    // A convolution in front of or behind a plain edge, and one whose node leads nowhere.
    same(
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
        "|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
    );
    same(
        "|nor_conv_1x1~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|",
    );
    // One convolution used twice is not two convolutions, though both unfold to the same expression.
    differ(
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|",
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|",
    );
    same(
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|",
    );
}

#[test]
fn tinybench_is_small() {
    let space = SearchSpace::open("tinybench").unwrap();
    assert_eq!((space.choices(), space.size()), (&[5, 5, 5][..], 125.0));
    let ids: Vec<Option<ArchId>> = space.enumerate().map(|genotype| space.id(&genotype)).collect();
    // No direct edge, and at least one of the two others is absent.
    assert_eq!(ids.iter().filter(|id| id.is_none()).count(), 9);
    let distinct: std::collections::HashSet<&ArchId> = ids.iter().flatten().collect();
    assert_eq!(distinct.len(), 59);
}

/// NAS-Bench-201's own `to_unique_str` makes 6,466 distinct expressions. It keeps the number of absent edges
/// in the expression, and unfolds it to a tree, so that one convolution used twice is the same as two. Isomorphism
/// of the live graphs gives 6,147 classes, all dead cells one of them, and never one class with two costs.
#[test]
fn classes_of_nas_bench_201() {
    let space = nas_bench_201();
    let mut classes: HashMap<Option<ArchId>, Option<crate::graph::Cost>> = HashMap::new();
    for genotype in space.enumerate() {
        let graph = space.lower(&genotype, Scale::Probe).unwrap();
        let cost = graph
            .live()
            .ok()
            .map(|live| live.cost())
            .map(|cost| crate::graph::Cost { peak_activation_bytes: 0, ..cost });
        let known = classes.entry(space.id(&genotype)).or_insert(cost);
        assert_eq!(*known, cost, "{}", space.arch(&genotype));
    }
    assert_eq!(classes.len(), 6147);
}

#[test]
fn errors_say_what_was_meant() {
    let space = nas_bench_201();
    let check = |arch: &str, expected: &str| {
        let error = space.parse_arch(arch).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("|nor_conv_3x3~0|", "expected 3 nodes joined by `+`, found 1");
    check(
        "|nor_conv3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "unknown operator `nor_conv3x3`, expected one of none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3; \
         did you mean `nor_conv_3x3`?",
    );
    check("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "`none~1` stands where the edge from node 0 is expected");
    let error = SearchSpace::open("nasbench-201").unwrap_err().to_string();
    assert!(error.ends_with("did you mean `nas-bench-201`?"), "{error}");
}

#[test]
fn a_misspelt_layer_is_an_error_of_the_file() {
    let text = include_str!("../../models/nas-bench-201.yaml").replace("avg_pool: {kernel: 3}", "avg_pool: {kernl: 3}");
    let error = SearchSpace::parse(&text, Path::new("my.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("my.yaml:2"), "{error}");
    assert!(error.contains("cell.operators.avg_pool_3x3[0].avg_pool: unknown field `kernl`"), "{error}");
    let text = include_str!("../../models/nasnet.yaml").replace("kernel: [1, 7]", "kernel: [1, 7, 7]");
    let error = SearchSpace::parse(&text, Path::new("my.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("my.yaml:39:41: cells.operators.conv_7x1_1x7[1]"), "{error}");
    assert!(error.contains("conv.kernel: invalid length 3, expected a number, or [rows, columns]"), "{error}");
}

/// One row of pixels, and windows along it: sizes by side, choices among them.
#[test]
fn numbers_of_a_window_are_of_both_sides_or_of_each() {
    let space = SearchSpace::open("signals-1d").unwrap();
    let arch = "1,2/1:7,4,separable/1:3,1,plain/1:3,1,plain";
    let graph = space.lower(&space.parse_arch(arch).unwrap(), Scale::Full).unwrap();
    let window = |name: &str| {
        let node = graph.nodes().iter().find(|node| node.name.ends_with(name)).unwrap();
        let crate::graph::Op::Conv2d(conv) = node.op else { panic!("{name} is no convolution") };
        (conv.window.to_string(), node.shape.dims())
    };
    let (stem, depthwise) = (window("stem.conv"), window("stage0.layer0.separable.residual.body.conv"));
    assert_eq!(stem, ("kernel=1x3, stride=1x2, padding=0x1, dilation=1".into(), vec![16, 1, 64]));
    assert_eq!(depthwise, ("kernel=1x7, stride=1x2, padding=0x12, dilation=1x4".into(), vec![16, 1, 32]));
}

#[test]
fn precisions_are_decisions() {
    let plain = nas_bench_201();
    let space = plain.clone().with_precisions(vec![Precision::Float, Precision::Symmetric]).unwrap();
    // Stem, six edges in each of three stages, two reductions, head.
    assert_eq!((space.choices().len(), space.decisions().len()), (6 + 22, 6 + 22));
    assert!(space.decisions().iter().any(|one| one.name == "precision of stage1.edge0_1"));
    let cell = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|";
    let floats = space.parse_arch(cell).unwrap();
    assert_eq!(space.arch(&floats), format!("{cell}@{}", "f".repeat(22)));
    assert_eq!(space.parse_arch(&space.arch(&floats)).unwrap(), floats);
    let id = |genotype: &Genotype| space.id(genotype).unwrap();
    let of_floats = plain.id(&plain.parse_arch(cell).unwrap()).unwrap();
    assert_eq!(id(&floats), of_floats);
    let decisions = space.decisions();
    let with = |genotype: &Genotype, part: &str, choice| {
        let at = decisions.iter().position(|one| one.name == format!("precision of {part}")).unwrap();
        genotype.with_gene(at, choice)
    };
    let integers = with(&floats, "stage1.edge0_1", 1);
    assert_ne!(id(&integers), of_floats);
    assert_eq!(id(&integers).architecture(), of_floats);
    assert_eq!(id(&with(&floats, "stage1.edge0_3", 1)), of_floats, "an edge without a layer");
    // The same network, its convolution on another edge.
    let other = space.parse_arch("|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|").unwrap();
    assert_eq!(id(&with(&other, "stage1.edge1_3", 1)), id(&integers));
    let graph = space.lower(&integers, Scale::Full).unwrap().live().unwrap();
    let layers = space.precisions(&integers, &graph);
    let rounded: Vec<&String> =
        layers.iter().filter(|(_, one)| **one != Precision::Float).map(|(name, _)| name).collect();
    assert_eq!(rounded.len(), 5, "a convolution in each of five cells: {rounded:?}");
    assert!(rounded.iter().all(|name| name.starts_with("stage1.cell")), "{rounded:?}");

    let refused = |arch: &str, expected: &str| {
        let error = space.parse_arch(arch).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&format!("{cell}@ff"), "found 2 precisions, expected 22");
    refused(&format!("{cell}@{}x", "f".repeat(21)), "found precision `x`, expected f, s");
    let error = plain.with_precisions(vec![Precision::Float; 2]).unwrap_err().to_string();
    assert!(error.contains("`float` is there twice"), "{error}");
}

#[test]
fn every_graph_survives_its_json() {
    let mut rng = <ChaCha8Rng as rand::SeedableRng>::seed_from_u64(1);
    for (name, _) in open::BUILT_IN {
        let space = SearchSpace::open(name).unwrap();
        let drawn: Vec<Genotype> = (0..30).map(|_| space.sample(&mut rng)).collect();
        for genotype in space.uniform().chain(drawn) {
            for scale in [Scale::Full, Scale::Probe, Scale::Thin] {
                let graph = space.lower(&genotype, scale).unwrap();
                for graph in [graph.live().ok(), Some(graph)].into_iter().flatten() {
                    let text = graph.to_json().to_string();
                    assert_eq!(Graph::from_json(&serde_json::from_str(&text).unwrap()).unwrap(), graph, "{name}");
                }
            }
        }
    }
}

/// A space of two operators, `more` in front of its head.
fn chain(operators: &str, more: &str) -> Result<SearchSpace, SpaceError> {
    let text = format!(
        "name: chain\ndescription: a chain\nnetworks:\n  full: {{input: [3, 8, 8], classes: 4, width: 8}}\n  \
         probe: {{input: [3, 8, 8], classes: 4, width: 4}}\n  thin: {{input: [1, 5, 5], classes: 4, width: 2}}\n\
         stem: [conv: {{kernel: 3}}]\nchain:\n  stages: [{{layers: 4, channels: width, stride: 1}}]\n  \
         operators:\n{operators}{more}head: [global_avg_pool, linear: {{features: classes}}]\n"
    );
    SearchSpace::parse(&text, Path::new("chain.yaml"))
}

const KERNELS: &str = "    small: [conv: {kernel: 3}, relu]\n    large: [conv: {kernel: 5}, relu]\n";

#[test]
fn members_keep_to_constraints() {
    // 4 layers of 576 or 1,600 weights, 216 in the stem, 36 in the head.
    let space = chain(KERNELS, "constraints: [params <= 5k, params >= 2.6k]\n").unwrap();
    let all: Vec<String> = space.enumerate().map(|genotype| space.arch(&genotype)).collect();
    assert_eq!(all.len(), 4 + 6, "one or two large ones: {all:?}");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..100 {
        assert!(all.contains(&space.arch(&space.sample(&mut rng))));
    }
    let [least, most] = space.extremes(Scale::Full).unwrap();
    let large = |genotype: &Genotype| genotype.genes().iter().sum::<u8>();
    assert_eq!((large(&least), large(&most)), (1, 2));
    assert_eq!(space.id(&Genotype::new(vec![0, 0, 0, 0])), None);
    let refused = space.parse_arch("large-large-large-small").unwrap_err().to_string();
    assert!(refused.ends_with("params are 5628, expected params <= 5k"), "{refused}");
    let none = chain(KERNELS, "constraints: [params <= 1k]\n").unwrap_err().to_string();
    assert!(
        none.starts_with("chain.yaml:13:15: constraints: none of 10000 random architectures keeps to them"),
        "{none}"
    );
    let wrong = chain(KERNELS, "constraints: [param <= 1k]\n").unwrap_err().to_string();
    assert!(wrong.starts_with("chain.yaml:13:15: ") && wrong.matches("did you mean `params`?").count() == 1, "{wrong}");
}

#[test]
fn what_does_not_fit_is_named_by_line_and_choice() {
    let refused = |operators: &str, expected: &str| {
        let error = chain(operators, "").unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    let wide = "    wide: [conv: {kernel: 9, padding: 0}, relu]\n";
    refused(
        &format!("{KERNELS}{wide}"),
        "chain.yaml:13:5: 1.1: choice `wide`: network `full`: node `stage0.layer0.opwide.conv`: ",
    );
    let grouped = "    grouped: [conv: {kernel: 3, groups: 8}, relu]\n";
    refused(&format!("{KERNELS}{grouped}"), "chain.yaml:13:5: 1.1: choice `grouped`: network `probe`: ");
}
