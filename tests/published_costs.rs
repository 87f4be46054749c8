//! Multiply-accumulates and parameters are those of the benchmarks' public tables, row by row.
//!
//! Both tables count the graph as it is *declared*, edges that lead nowhere included, and count
//! multiply-accumulates of convolutions and fully connected layers (no bias, normalisation, pooling or activation).
//!
//! - NAS-Bench-Macro: `params` and `flops` are ours, to the unit.
//! - NAS-Bench-201: `flops` in millions is ours plus 10, since its counter adds the classifier's 10 biases; the table
//!   has six significant digits. A difference of one unit in the last digit printed fails.

mod common;

use std::path::{Path, PathBuf};
use tegu::graph::Cost;
use tegu::space::{Scale, SearchSpace};

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
