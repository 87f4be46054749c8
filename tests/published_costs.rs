//! Multiply-accumulates and parameters are those of the benchmarks' public tables, row by row.
//!
//! Both tables count the graph as it is *declared*, edges that lead nowhere included, and count
//! multiply-accumulates of convolutions and fully connected layers (no bias, normalisation, pooling or activation).
//!
//! - NAS-Bench-Macro: `params` and `flops` are ours, to the unit.
//! - NAS-Bench-201: `flops` in millions is ours plus 10, since its counter adds the classifier's 10 biases; the table
//!   has six significant digits. A difference of one unit in the last digit printed fails.
//! - Once-for-All's MobileNetV3 subnets, as Intel's DyNAS-T published them with its notebooks: `Model Parameters` and `MACs` are ours,
//!   to the unit.
//! - DeiT-Tiny: its authors' parameters, timm's multiply-accumulates.
//! - ResNets and MobileNetV3-Large: torchvision's table of weights (`num_params`, `_ops`).

mod common;

use std::path::{Path, PathBuf};
use tegu::graph::Cost;
use tegu::space::{NetworkChanges, Scale, SearchSpace};

/// Biases of NAS-Bench-201's classifier for CIFAR-10.
const CLASSIFIER_BIASES: u64 = 10;

/// Compares the cost of every row's architecture with the row's numbers; gives the number of rows.
fn check(
    table: &Path,
    space: &str,
    arch_column: &str,
    agrees: impl Fn(Cost, &dyn Fn(&str) -> String) -> bool,
) -> usize {
    let space = SearchSpace::open(space).unwrap();
    let mut reader = csv::Reader::from_path(table).unwrap();
    let header = reader.headers().unwrap().clone();
    let mut rows = 0;
    for row in reader.records() {
        let row = row.unwrap();
        let field = |title: &str| {
            let column = header.iter().position(|name| name == title);
            row[column.unwrap_or_else(|| panic!("{}: no column {title}", table.display()))].to_owned()
        };
        let genotype = space.parse_arch(&field(arch_column)).unwrap();
        let cost = space.lower(&genotype, Scale::Full).unwrap().cost();
        assert!(agrees(cost, &field), "{}: {row:?}\nfound {cost:?}", table.display());
        rows += 1;
    }
    rows
}

fn check_nas_bench_201(table: &Path) -> usize {
    check(table, "nas-bench-201", "arch_str", |cost, field| {
        let found = (cost.macs + CLASSIFIER_BIASES) as f64 / 1e6;
        let six_digits: f64 = format!("{found:.5e}").parse().unwrap();
        six_digits == field("flops_M_c10").parse::<f64>().unwrap()
    })
}

fn check_nas_bench_macro(table: &Path) -> usize {
    check(table, "mobilenet-macro", "arch", |cost, field| {
        (cost.params.to_string(), cost.macs.to_string()) == (field("params"), field("flops"))
    })
}

/// Twelve rows of each table, with the repository.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn samples_of_the_tables() {
    assert_eq!(check_nas_bench_201(&sample("nb201_costs.csv")), 12);
    assert_eq!(check_nas_bench_macro(&sample("nas_bench_macro_costs.csv")), 12);
}

#[test]
fn every_row_of_nas_bench_201() {
    if let Some(table) = common::data("nb201_dev.csv") {
        assert_eq!(check_nas_bench_201(&table), 1000);
    }
}

#[test]
fn every_row_of_nas_bench_macro() {
    if let Some(table) = common::data("nas_bench_macro_dev.csv") {
        assert_eq!(check_nas_bench_macro(&table), 1000);
    }
}

/// The cost of an architecture at the size that its space's file says.
fn cost(space: &SearchSpace, arch: &str) -> Cost {
    space.lower(&space.parse_arch(arch).unwrap(), Scale::Full).unwrap().cost()
}

fn check_once_for_all(table: &Path) -> usize {
    check(table, "mobilenet-v3", "Sub-network", |cost, field| {
        (cost.params.to_string(), cost.macs.to_string()) == (field("Model Parameters"), field("MACs"))
    })
}

#[test]
fn every_subnet_of_once_for_all() {
    for name in ["evonsga2", "linasnsga2"] {
        if let Some(table) = common::data(&format!("truth/mbnv3w10_{name}_acc_macs.csv")) {
            println!("{name}: {} subnets", check_once_for_all(&table));
        }
    }
}

/// <https://docs.pytorch.org/vision/stable/models.html>: parameters, and multiply-accumulates ("GFLOPS") at 224×224, to as many digits behind the point as
/// its table (`_ops`: three) or its pages (two) have.
fn check_torchvision(space: &str, members: &[(&str, u64, &str)]) {
    let space = SearchSpace::open(space).unwrap();
    for &(arch, params, gmacs) in members {
        let cost = cost(&space, arch);
        let (_, digits) = gmacs.split_once('.').unwrap();
        let found = format!("{:.*}", digits.len(), cost.macs as f64 / 1e9);
        assert_eq!((cost.params, found.as_str()), (params, gmacs), "{arch}");
    }
}

#[test]
fn resnets_of_torchvision() {
    check_torchvision(
        "resnet",
        &[
            ("basic/2,1,1/2,1,1/2,1,1/2,1,1", 11_689_512, "1.814"),
            ("basic/3,1,1/4,1,1/6,1,1/3,1,1", 21_797_672, "3.664"),
            ("bottleneck/3,1,1/4,1,1/6,1,1/3,1,1", 25_557_032, "4.089"),
            ("bottleneck/3,1,1/4,1,1/23,1,1/3,1,1", 44_549_160, "7.801"),
            ("bottleneck/3,1,2/4,1,2/6,1,2/3,1,2", 68_883_240, "11.398"),
        ],
    );
}

#[test]
fn regnets_of_torchvision() {
    check_torchvision(
        "regnet",
        &[
            ("x,22,24,24.48,2.54,16", 5_495_976, "0.41"),
            ("x,16,56,35.73,2.28,16", 7_259_656, "0.80"),
            ("y,16,48,27.89,2.09,8", 4_344_144, "0.40"),
        ],
    );
}

/// TC-ResNet (Choi et al. 2019; `audio_nets/tc_resnet.py` of github.com/hyperconnect/TC-ResNet has the layers): parameters, running statistics among them, and
/// operations, of which a multiply-accumulate is two. Others print the paper's 66 K and 3.0 M of TC-ResNet8, 137 K of TC-ResNet14, and 305 K of
/// TC-ResNet14-1.5 with 6.7 M multiplications, half of 13.4 M (Kim et al. 2021, BC-ResNet); for the other figures, the paper alone is the source.
#[test]
fn temporal_convolutional_residual_networks() {
    let changes = NetworkChanges { input: Some([40, 1, 98]), classes: Some(12), ..Default::default() };
    let space = SearchSpace::open("signals-1d").unwrap().with_network(&changes).unwrap();
    let check = |width: &str, stage: &str, published: [&str; 2]| {
        let arch = format!("{width},1/{stage}/{stage}/{stage}");
        let graph = space.lower(&space.parse_arch(&arch).unwrap(), Scale::Full).unwrap();
        let numbers: usize = graph.parameters().iter().map(|one| one.dims.iter().product::<usize>()).sum();
        let operations = 2.0 * graph.cost().macs as f64;
        assert_eq!([format!("{:.0}K", numbers as f64 / 1e3), format!("{:.1}M", operations / 1e6)], published, "{arch}");
    };
    let (one, two) = ("1:9,1,plain", "2:9,1,plain-9,1,plain");
    check("1", one, ["66K", "3.0M"]);
    check("1.5", one, ["145K", "6.6M"]);
    check("1", two, ["137K", "6.1M"]);
    check("1.5", two, ["305K", "13.4M"]);
}

/// DARTS's code has NASNet-A's cells (`genotypes.py`); Liu et al. 2019, Table 1, has 3.1 M parameters for that code's network. Zoph et al. 2018
/// have 3.3 M for theirs of this size (6@768), whose cells' results have one more map in the normal cell, its earlier input, and one
/// more in the reduction cell, a node that is taken: by the same count 3,328,234.
#[test]
fn nasnet_a() {
    let changes = NetworkChanges { width: Some(32), depth: Some(20), ..Default::default() };
    let space = SearchSpace::open("nasnet").unwrap().with_network(&changes).unwrap();
    let cost = cost(&space, common::NASNET_A);
    assert_eq!(cost.params, 3_061_738);
}

/// MobileNetV3-Large's third stage has expansions that Once-for-All leaves out (200 and 184 of 80 channels): with them it is a member of the
/// space. Torchvision has 5,483,032 parameters (Howard et al. 2019, Table 3: 5.4 M) and 0.217 G multiply-accumulates (Howard: 219 M). Ours are
/// without the bias of the first fully connected layer, 1,280 numbers, which Once-for-All does not have.
#[test]
fn mobilenet_v3_large() {
    let text =
        include_str!("../models/mobilenet-v3.yaml").replace("expansion: [3, 4, 6]", "expansion: [2.3, 2.5, 3, 4, 6]");
    let space = SearchSpace::parse(&text, Path::new("mobilenet-v3-large.yaml")).unwrap();
    let cost = cost(&space, "2:3,4-3,3/3:5,3-5,3-5,3/4:3,6-3,2.5-3,2.3-3,2.3/2:3,6-3,6/3:5,6-5,6-5,6");
    assert_eq!(cost.params + 1280, 5_483_032);
    assert_eq!(format!("{:.3}", cost.macs as f64 / 1e9), "0.217");
}

/// DeiT-Tiny has 5,717,416 parameters with its class token and that one's position, 192 numbers each (Touvron et al. 2021, Table 1: 5 M; timm's
/// `deit_tiny_patch16_224`), which networks with a head on the mean of all tokens don't have.
///
/// timm's table (results/benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv of github.com/huggingface/pytorch-image-models, `param_count` and `infer_gmacs`) says
/// 5.72 M and 1.26 G multiply-accumulates. Its counter takes 5 for each element of a layer normalisation. With these, and with one token more, ours are
/// that; ours count no normalisation.
#[test]
fn deit_tiny() {
    let space = SearchSpace::open("vit").unwrap();
    let layers = ["softmax,3,4"; 12].join("-");
    let cost = cost(&space, &format!("3/1,patches_16/12:{layers}"));
    assert_eq!(cost.params + 2 * 192, 5_717_416);
    let (tokens, channels) = (196, 192);
    let layer = |tokens: u64| tokens * 12 * channels * channels + 2 * tokens * tokens * channels;
    let patches_and_classes = tokens * 3 * 16 * 16 * channels + channels * 1000;
    assert_eq!(cost.macs, patches_and_classes + 12 * layer(tokens));
    let theirs = patches_and_classes + 12 * layer(tokens + 1) + 25 * 5 * channels * (tokens + 1);
    assert_eq!(format!("{:.2}", theirs as f64 / 1e9), "1.26");
}
