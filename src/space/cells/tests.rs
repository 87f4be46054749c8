//! DARTS's own genotypes are read; costs are those that its authors and others count; ids are those of isomorphism.

use crate::genotype::Genotype;
use crate::graph::{Node, Op};
use crate::space::{NetworkChanges, Scale, SearchSpace};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// `DARTS_V2`, found with second-order gradients on CIFAR-10 (github.com/quark0/darts, cnn/genotypes.py).
const DARTS_V2: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), \
    ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], \
    normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), \
    ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], \
    reduce_concat=[2, 3, 4, 5])";

fn darts() -> SearchSpace {
    SearchSpace::open("darts").unwrap()
}

fn data(file: &str) -> SearchSpace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    SearchSpace::open(path.to_str().unwrap()).unwrap()
}

/// 3,349,342 parameters without the auxiliary head is what the released code prints for its default, DARTS_V2 in 20 cells of
/// 36 channels (`param size = 3.349342MB`); the paper has 3.3 M (Liu et al. 2019, Table 1).
#[test]
fn parameters_of_darts_v2() {
    let space = darts();
    let genotype = space.parse_arch(DARTS_V2).unwrap();
    let id = space.id(&genotype).unwrap();
    let deployed = NetworkChanges { width: Some(36), depth: Some(20), ..Default::default() };
    let deployed = space.with_network(&deployed).unwrap();
    let graph = deployed.lower(&genotype, Scale::Full).unwrap();
    let cost = graph.live().unwrap().cost();
    assert_eq!((cost.params, cost.macs), (3_349_342, 528_359_040));
    assert_eq!(deployed.id(&genotype), Some(id));
    let reductions: Vec<&str> = graph.nodes().iter().filter_map(|node| node.name.strip_suffix(".nodes")).collect();
    let at = |name| reductions.iter().position(|found| *found == name);
    assert_eq!((reductions.len(), at("reduction1"), at("reduction2")), (20, Some(6), Some(13)));
}

/// 544.59 million is what github.com/sovrasov/flops-counter.pytorch counts in ImageNet's network (chakkritte in
/// github.com/quark0/darts/issues/46): MACs of convolutions and the classifier, two operations for each normalised number, one
/// for each that ReLU makes and pooling takes. The paper has 4.7 M parameters (and 574 million, by a counter that nobody has).
#[test]
fn macs_of_darts_v2_on_imagenet() {
    let space = data("darts-imagenet.yaml");
    let graph = space.lower(&space.parse_arch(DARTS_V2).unwrap(), Scale::Full).unwrap();
    let beside = |node: &Node| match node.op {
        Op::BatchNorm => 2 * node.shape.elements(),
        Op::Activation(_) => node.shape.elements(),
        Op::MaxPool(_) | Op::GlobalAvgPool => graph.node(node.inputs[0]).shape.elements(),
        _ => 0,
    };
    let cost = graph.cost();
    let counted = cost.macs + graph.nodes().iter().map(beside).sum::<usize>() as u64;
    assert_eq!(format!("{:.2}", counted as f64 / 1e6), "544.59");
    assert_eq!((cost.macs, cost.params), (529_911_552, 4_718_752));
}

#[test]
fn published_genotypes_are_read() {
    let space = darts();
    let genotype = space.parse_arch(DARTS_V2).unwrap();
    let text = "|sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~0|sep_conv_3x3~1|+|skip_connect~0|sep_conv_3x3~1|+\
                |skip_connect~0|dil_conv_3x3~2|/|max_pool_3x3~0|max_pool_3x3~1|+|max_pool_3x3~1|skip_connect~2|+\
                |max_pool_3x3~0|skip_connect~2|+|max_pool_3x3~1|skip_connect~2|";
    assert_eq!(space.arch(&genotype), text);
    assert_eq!(space.parse_arch(text).unwrap(), genotype);
    let ranges = DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)").replace("2)],", "2),\n],");
    assert_eq!(space.parse_arch(&ranges).unwrap(), genotype);
    let json = r#"{"normal": [["sep_conv_3x3", 1], ["sep_conv_3x3", 0], ["sep_conv_3x3", 0], ["sep_conv_3x3", 1],
        ["sep_conv_3x3", 1], ["skip_connect", 0], ["skip_connect", 0], ["dil_conv_3x3", 2]], "normal_concat": [2, 3, 4, 5],
        "reduce": [["max_pool_3x3", 0], ["max_pool_3x3", 1], ["skip_connect", 2], ["max_pool_3x3", 1], ["max_pool_3x3", 0],
        ["skip_connect", 2], ["skip_connect", 2], ["max_pool_3x3", 1]], "reduce_concat": [2, 3, 4, 5]}"#;
    assert_eq!(space.parse_arch(json).unwrap(), genotype);
    assert_eq!(space.id(&genotype).unwrap().as_str(), "0f8d3ca3b4f87330");

    let refused = |arch: &str, expected: &str| {
        let error = space.parse_arch(arch).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&DARTS_V2.replacen("sep_conv_3x3", "sep_conv_7x7", 1), "unknown operator `sep_conv_7x7`, expected one of");
    refused(&DARTS_V2.replacen("skip_connect', 0", "none', 0", 1), "unknown operator `none`");
    refused(&DARTS_V2.replacen("[2, 3, 4, 5]", "[3, 4, 5]", 1), "normal_concat: [3, 4, 5], expected [2, 3, 4, 5]");
    refused(
        &text.replacen("|sep_conv_3x3~0|sep_conv_3x3~1|", "|sep_conv_3x3~1|sep_conv_3x3~1|", 1),
        "normal: node 1: inputs 1 and 1, expected two different of 0 to 1",
    );
    refused("|skip_connect~0|", "expected 2 cells separated by `/`, found 1");
    refused("Genotype(normal=[", "expected `Genotype(normal=");
    refused("|max_pool_3x3~0|/|max_pool_3x3~0|", "normal: node 1 has 1 edges, expected 2");
}

/// NASNet-A as DARTS's code has it: what it concatenates are the nodes that none takes.
#[test]
fn nasnet_cells_repeat_inputs() {
    let space = SearchSpace::open("nasnet").unwrap();
    let published = "Genotype(normal = [('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), ('sep_conv_3x3', 0), \
        ('avg_pool_3x3', 1), ('skip_connect', 0), ('avg_pool_3x3', 0), ('avg_pool_3x3', 0), ('sep_conv_3x3', 1), \
        ('skip_connect', 1)], normal_concat = [2, 3, 4, 5, 6], reduce = [('sep_conv_5x5', 1), ('sep_conv_7x7', 0), \
        ('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 0), ('skip_connect', 3), \
        ('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1)], reduce_concat = [4, 5, 6])";
    let genotype = space.parse_arch(published).unwrap();
    assert_eq!(space.parse_arch(&space.arch(&genotype)).unwrap(), genotype);
    assert!(space.id(&genotype).is_some());
    assert_eq!(space.decisions()[0].choices, ["0+0", "0+1", "1+1"]);
}

#[test]
fn isomorphic_cells_share_an_id() {
    let space = darts();
    let reduce = "|max_pool_3x3~0|max_pool_3x3~1|+|skip_connect~2|max_pool_3x3~1|+|max_pool_3x3~0|skip_connect~2|+\
                  |skip_connect~2|max_pool_3x3~1|";
    let id = |normal: &str| space.id(&space.parse_arch(&format!("{normal}/{reduce}")).unwrap()).unwrap();
    let rest = "|max_pool_3x3~0|avg_pool_3x3~1|+|max_pool_3x3~0|max_pool_3x3~1|";
    let one = id(&format!("|sep_conv_3x3~0|sep_conv_5x5~1|+|dil_conv_3x3~0|dil_conv_5x5~1|+{rest}"));
    // Two nodes that only read inputs, the other way round.
    assert_eq!(one, id(&format!("|dil_conv_3x3~0|dil_conv_5x5~1|+|sep_conv_3x3~0|sep_conv_5x5~1|+{rest}")));
    // The inputs are different cells behind the first.
    assert_ne!(one, id(&format!("|sep_conv_3x3~1|sep_conv_5x5~0|+|dil_conv_3x3~0|dil_conv_5x5~1|+{rest}")));
    assert_ne!(one, id(&format!("|sep_conv_3x3~0|sep_conv_5x5~1|+|dil_conv_3x3~0|dil_conv_5x5~2|+{rest}")));
}

#[test]
fn samples_and_mutations_are_valid() {
    for (space, size) in [
        (darts(), (180.0 * 7f64.powi(8)).powi(2)),
        (SearchSpace::open("nasnet").unwrap(), 56_700f64.powi(2) * 13f64.powi(20)),
    ] {
        assert!((space.size() / size - 1.0).abs() < 1e-9, "{}: {}", space.name, space.size());
        let choices = space.choices();
        assert_eq!(space.decisions().iter().map(|one| one.choices.len()).collect::<Vec<_>>(), choices);
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut last = space.sample(&mut rng);
        for at in 0..10_000 {
            let genotype = match at % 3 {
                0 => space.sample(&mut rng),
                1 => {
                    let gene = rng.random_range(0..choices.len());
                    last.with_gene(gene, rng.random_range(0..choices[gene]) as u8)
                }
                _ => {
                    let (other, cut) = (space.sample(&mut rng), rng.random_range(0..choices.len()));
                    Genotype::new([&last.genes()[..cut], &other.genes()[cut..]].concat())
                }
            };
            let arch = space.arch(&genotype);
            assert_eq!(space.parse_arch(&arch).unwrap(), genotype);
            let id = space.id(&genotype);
            assert!(id.is_some(), "{arch}");
            if at % 100 == 0 {
                assert_eq!(space.id(&space.parse_arch(&arch).unwrap()), id);
                assert!(space.lower(&genotype, Scale::Full).unwrap().is_alive(), "{arch}");
                assert!(space.lower(&genotype, Scale::Thin).unwrap().is_alive(), "{arch}");
            }
            last = genotype;
        }
    }
}

#[test]
fn the_smallest_pools_and_the_largest_convolves() {
    let space = darts();
    let [smallest, largest] = space.extremes(Scale::Full).unwrap().map(|genotype| space.arch(&genotype));
    let normal = smallest.split('/').next().unwrap();
    assert!(!normal.contains("conv"), "{smallest}");
    assert!(!largest.contains("pool") && largest.matches("sep_conv_5x5").count() == 16, "{largest}");
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let odd = NetworkChanges { input: Some([3, 30, 30]), ..Default::default() };
    let error = darts().with_network(&odd).unwrap_err().to_string();
    assert!(error.contains("expected equal heights and widths"), "{error}");
    let text = include_str!("../../../models/darts.yaml");
    let refused = |from: &str, to: &str, expected: &str| {
        let error = SearchSpace::parse(&text.replacen(from, to, 1), Path::new("my.yaml")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(
        "classes: 10, width: 16, depth: 8",
        "classes: 10, width: 16",
        "`networks.full.depth`: expected a number of cells",
    );
    refused("nodes: 4", "nodes: 0", "`cells.nodes`: 0, expected 1 or more");
    refused("nodes: 4", "node: 4", "unknown field `node`");
}
