//! Ten thousand draws, mutations and crossovers of every space that comes with Tegu: all are valid, have an id that stays, and are what their text
//! says. `cargo test --test ten_thousand -- --nocapture` prints how fast they are drawn and lowered, on one thread.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;
use tegu::genotype::{ArchId, Genotype};
use tegu::space::{Scale, SearchSpace};

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
