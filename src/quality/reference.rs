//! The reference sample of a space: architectures that others' standings are taken in.

use super::SampleScores;
use crate::files;
use crate::genotype::{ArchId, Genotype};
use crate::indicator::{Indicator, Probes, Settings, first_isomorphic, score_each};
use crate::space::{NetworkSize, Scale, SearchSpace};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;

/// A scored reference sample, and what it depends on: it can be kept in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// What the scores depend on.
    pub of: ReferenceKey,
    /// The architectures, as their space writes them, with their scores.
    pub sample: Vec<(String, SampleScores)>,
}

/// What the scores of a reference sample depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReferenceKey {
    /// Tegu's version.
    pub tegu_version: String,
    /// The space's file.
    pub space: serde_json::Value,
    /// The space's full network, which a user may change.
    pub network: NetworkSize,
    /// How indicators were computed.
    pub settings: Settings,
    /// The seed of the draws, and of all batches and weights.
    pub seed: u64,
    /// Architectures.
    pub count: usize,
}

/// Makes another stream than a search's: its first population is not the sample that it is ranked in.
const STREAM: u64 = 0x5eed_0000_0000_0000;
/// Draws in a row that bring nothing new, at which a small space counts as exhausted.
const FRUITLESS: usize = 1000;

/// Draws `count` living architectures of `space`, no two isomorphic; fewer where it has no more.
pub fn draw_reference(space: &SearchSpace, count: usize, seed: u64) -> Vec<Genotype> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ STREAM);
    let (mut known, mut sample, mut fruitless) = (std::collections::HashSet::<ArchId>::new(), vec![], 0);
    while sample.len() < count && fruitless < FRUITLESS {
        let genotype = space.sample(&mut rng);
        match space.id(&genotype) {
            Some(id) if known.insert(id.clone()) => {
                sample.push(genotype);
                fruitless = 0;
            }
            _ => fruitless += 1,
        }
    }
    sample
}

/// Scores architectures on all cores, isomorphic ones once; `done` hears of each that is scored, and of how many there
/// are. A failed score is absent.
pub fn score_all(
    probes: &Probes,
    space: &SearchSpace,
    genotypes: &[Genotype],
    indicators: &[&'static dyn Indicator],
    done: impl Fn(usize, usize),
) -> Vec<SampleScores> {
    let first = first_isomorphic(space, genotypes);
    let distinct: Vec<usize> = (0..genotypes.len()).filter(|&at| first[at] == at).collect();
    let candidates: Vec<&Genotype> = distinct.iter().map(|&at| &genotypes[at]).collect();
    let mut scored: HashMap<usize, SampleScores> = HashMap::new();
    let _ = score_each(probes, space, &candidates, indicators, |index, scores, _| {
        let known = scores.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score.ok()?)));
        scored.insert(distinct[index], known.collect());
        done(scored.len(), distinct.len());
        ControlFlow::Continue(())
    });
    first.iter().map(|at| scored[at].clone()).collect()
}

impl Reference {
    /// Draws and scores the sample of that key.
    pub fn compute(
        of: ReferenceKey,
        probes: &Probes,
        space: &SearchSpace,
        indicators: &[&'static dyn Indicator],
        done: impl Fn(usize, usize),
    ) -> Self {
        let genotypes = draw_reference(space, of.count, of.seed);
        let scores = score_all(probes, space, &genotypes, indicators, done);
        let sample = genotypes.iter().map(|genotype| space.arch(genotype)).zip(scores).collect();
        Self { of, sample }
    }

    /// The sample in the file at `path`; none where there is no such file, or it is another version's.
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// Writes the sample as a file, whole or not at all.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder)?;
        files::write_whole(path, &serde_json::to_vec(self)?)
    }

    /// Whether it is that of `key` and has these indicators.
    pub fn serves(&self, key: &ReferenceKey, indicators: &[&'static dyn Indicator]) -> bool {
        let has = |name: &str| self.sample.iter().any(|(_, scores)| scores.contains_key(name));
        self.of == *key && indicators.iter().all(|indicator| has(indicator.facts().name))
    }

    /// The scores alone.
    pub fn scores(&self) -> Vec<SampleScores> {
        self.sample.iter().map(|(_, scores)| scores.clone()).collect()
    }
}

impl ReferenceKey {
    /// The key of a sample of `space`.
    pub fn new(space: &SearchSpace, settings: &Settings, seed: u64, count: usize) -> Self {
        let tegu_version = env!("CARGO_PKG_VERSION").to_owned();
        let network = space.network(Scale::Full).clone();
        Self { tegu_version, space: space.definition().clone(), network, settings: settings.clone(), seed, count }
    }
}
