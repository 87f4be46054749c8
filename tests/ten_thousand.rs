//! Ten thousand draws, mutations and crossovers of every space that comes with Tegu: all are valid, have an id that stays, and are what their text
//! says. `cargo test --test ten_thousand -- --nocapture` prints how fast they are drawn and lowered, on one thread.

mod common;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;
use tegu::genotype::{ArchId, Genotype};
use tegu::space::{Scale, SearchSpace};

/// What DARTS found with second-order gradients (github.com/quark0/darts, cnn/genotypes.py).
const DARTS_V2: &str = "|sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~0|sep_conv_3x3~1|+|skip_connect~0|sep_conv_3x3~1|+\
    |skip_connect~0|dil_conv_3x3~2|/|max_pool_3x3~0|max_pool_3x3~1|+|max_pool_3x3~1|skip_connect~2|+\
    |max_pool_3x3~0|skip_connect~2|+|max_pool_3x3~1|skip_connect~2|";

const COUNT: usize = 10_000;

/// Spaces whose genotypes are all alive, and different networks if they differ.
const ONE_TO_ONE: [&str; 5] = ["mobilenet-v3", "resnet", "tabular", "vit", "vit-stages"];

#[test]
fn samples_mutations_and_crossovers_are_valid() {
    let mut names: Vec<String> =
        std::fs::read_dir("models").unwrap().map(|entry| name(&entry.unwrap().path())).collect();
    names.sort();
    for name in names {
        check(&SearchSpace::open(&name).unwrap());
    }
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn check(space: &SearchSpace) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let start = Instant::now();
    let drawn: Vec<Genotype> = (0..COUNT).map(|_| space.sample(&mut rng)).collect();
    let nodes: usize = drawn.iter().map(|one| space.lower(one, Scale::Full).unwrap().nodes().len()).sum();
    let rate = COUNT as f64 / start.elapsed().as_secs_f64();
    println!("{}: {rate:.0} drawn and lowered a second, {} nodes on average", space.name, nodes / COUNT);
    let choices = space.choices();
    let mutated = drawn.iter().map(|parent| {
        let at = rng.random_range(0..choices.len());
        space.canonical(&parent.with_gene(at, rng.random_range(0..choices[at]) as u8))
    });
    let mutated: Vec<Genotype> = mutated.collect();
    let crossed = drawn.windows(2).map(|pair| {
        let gene = |at: usize| pair[usize::from(rng.random::<bool>())].genes()[at];
        space.canonical(&Genotype::new((0..choices.len()).map(gene).collect()))
    });
    let all: Vec<Genotype> = crossed.chain(mutated).chain(drawn.iter().cloned()).collect();
    let valid = |genotype: &Genotype| -> Option<(Genotype, ArchId)> {
        let genes = genotype.genes();
        assert!(genes.len() == choices.len() && genes.iter().zip(choices).all(|(&gene, &of)| usize::from(gene) < of));
        let arch = space.arch(genotype);
        assert_eq!(space.parse_arch(&arch).unwrap(), *genotype, "{arch}");
        assert_eq!(space.canonical(genotype), *genotype, "{arch}");
        space.id(genotype).map(|id| (genotype.clone(), id))
    };
    let count = all.len();
    let ids: Vec<(Genotype, ArchId)> = all.into_par_iter().filter_map(|one| valid(&one)).collect();
    let mut known: HashMap<&Genotype, &ArchId> = HashMap::new();
    for (genotype, id) in &ids {
        assert_eq!(*known.entry(genotype).or_insert(id), id, "{}", space.arch(genotype));
    }
    println!("{}: {:.1} % are alive", space.name, 100.0 * ids.len() as f64 / count as f64);
    if ONE_TO_ONE.contains(&space.name.as_str()) {
        let mut distinct: Vec<&ArchId> = known.values().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((ids.len(), distinct.len()), (count, known.len()), "{}", space.name);
    }
}

/// Ids stand in stores and tables, so they stay, from version to version.
#[test]
fn ids_stay() {
    let deit = format!("3/1,patches_16/12:{}", ["softmax,3,4"; 12].join("-"));
    let tokens = format!("2/1,convolutions/6:{}", ["softmax,2,2", "linear,4,3"].repeat(3).join("-"));
    let darts = DARTS_V2.replace("|skip_connect~0|dil_conv_3x3~2|", "|avg_pool_3x3~0|sep_conv_5x5~3|");
    let known = [
        ("mobilenet-v3", "2:3,3-3,3/2:3,3-3,3/2:3,3-3,3/2:3,3-3,3/2:3,3-3,3", "2b7ac0d1a3c31254"),
        ("mobilenet-v3", "2:3,3-5,4/3:7,6-7,3-7,3/2:3,3-3,3/2:3,3-3,3/4:3,3-3,3-3,3-5,6", "75fec4d6f8707577"),
        ("resnet", "basic/2,1,1/2,1,1/2,1,1/2,1,1", "e046feba521acd4b"),
        ("resnet", "bottleneck/3,1,2/4,1,2/6,1,2/3,1,2", "d38b5513dca3fb59"),
        ("regnet", "x,22,24,24.48,2.54,16", "9a275ce337acd9e7"),
        ("regnet", "y,16,48,27.89,2.09,8", "14c12c331b2a5f22"),
        ("nasnet", common::NASNET_A, "929c8b5053930d8e"),
        ("darts", DARTS_V2, "0f8d3ca3b4f87330"),
        ("darts", &darts, "3378e79d36ac336e"),
        ("vit", &deit, "f60d457d3117c223"),
        ("vit", &tokens, "cb9d87bcafcf427b"),
        ("vit-stages", "1,1,2:linear,2,2/2,1.5,1:softmax,4,3-linear,2,2/1,1,2:softmax,6,4", "d87cb1a02014e2f1"),
        (
            "vit-stages",
            "2,1.5,4:softmax,2,2-linear,6,4/2,1,2:linear,4,3-linear,2,2/1,1.5,1:linear,6,4",
            "b2fc49678c7c848e",
        ),
        ("signals-1d", "1,1/1:9,1,plain/1:9,1,plain/1:9,1,plain", "402eb342695799bf"),
        (
            "signals-1d",
            "1.5,2/2:3,4,separable-5,1,plain/1:7,2,separable/3:9,1,plain-3,1,plain-5,2,separable",
            "a337dac8f86ce875",
        ),
        ("tabular", "1/3:plain,1-residual,2-residual,0.5", "c5d0503929170b30"),
        ("tabular", "0.5/1:residual,1", "bb24751208634216"),
    ];
    let found = known.map(|(space, arch, _)| {
        let space = SearchSpace::open(space).unwrap();
        (space.name.clone(), arch, space.id(&space.parse_arch(arch).unwrap()).unwrap().to_string())
    });
    assert_eq!(found, known.map(|(space, arch, id)| (space.to_owned(), arch, id.to_owned())));
}
