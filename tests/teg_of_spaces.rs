//! The TEG three on every space that comes with Tegu: they have values on random members, and tell them apart. `--nocapture` prints their ranges.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tegu::indicator::{Probes, SettingsSection, score, teg};
use tegu::network::Compute;
use tegu::space::SearchSpace;

/// Random members of each space.
const MEMBERS: usize = 6;
/// Images of a batch; linear regions are counted among thousands of their own.
const BATCH: usize = 8;

/// Smooth networks have no linear regions: what is counted in their place tells few apart, as their files say.
const SMOOTH: [&str; 2] = ["vit", "vit-stages"];

#[test]
fn the_three_tell_members_of_every_space_apart() {
    let mut spaces: Vec<_> = std::fs::read_dir("models").unwrap().map(|entry| entry.unwrap().path()).collect();
    spaces.sort();
    for path in spaces {
        check(&SearchSpace::open(path.to_str().unwrap()).unwrap());
    }
}

fn check(space: &SearchSpace) {
    let settings = SettingsSection { batch: Some(BATCH), networks: Some(1), ..SettingsSection::default() };
    let probes = Probes::new(space, settings.resolve(), 3, Compute::Cpu.open().unwrap()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let members = std::iter::repeat_with(|| space.sample(&mut rng)).filter(|genotype| space.id(genotype).is_some());
    let members: Vec<_> = members.take(MEMBERS).collect();
    let scores: Vec<_> = members.iter().map(|genotype| score(&probes, space, genotype, &teg())).collect();
    for indicator in teg() {
        let name = indicator.facts().name;
        let values = scores.iter().zip(&members).map(|(scores, genotype)| match &scores[name] {
            Ok(score) => score.value,
            Err(error) => panic!("{}: {name} of {}: {error}", space.name, space.arch(genotype)),
        });
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        println!("{}: {name} from {:.4} to {:.4}", space.name, values[0], values[MEMBERS - 1]);
        values.dedup();
        let is_smooth = SMOOTH.contains(&space.name.as_str()) && name == "linear_regions";
        assert!(
            is_smooth || values.len() >= MEMBERS / 2,
            "{}: {name} has {} values: {values:?}",
            space.name,
            values.len()
        );
    }
}
