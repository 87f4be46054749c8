//! What is trained on, what training is watched with, and what tests.

use super::{DataError, DataSet, Part, Samples};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// How a data set is divided where its source does not.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitOptions {
    /// Share of the training part that is held out for validation, where the source has no such part; default 0.1.
    pub validation: f64,
    /// Share that is held out for the test, where the source has no such part; default 0.
    pub test: f64,
    /// What is drawn by; default 0.
    pub seed: u64,
}

/// Parts of a data set that have no sample in common, nor copies of one.
#[derive(Clone, Debug)]
pub struct Split {
    /// What is trained on.
    pub train: Part,
    /// What training is watched with.
    pub validation: Option<Part>,
    /// What is looked at last.
    pub test: Option<Part>,
    /// Training and validation samples that were left out, as copies of test samples, or of validation samples that
    /// the source chose.
    pub left_out: usize,
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self { validation: 0.1, test: 0.0, seed: 0 }
    }
}

impl DataSet {
    /// Divides the data: parts that the source has stay what they are, others are drawn from the training part, the same
    /// share of each class. Copies never stand on both sides.
    ///
    /// # Errors
    /// If a share is no share, or a class would have no sample to train on.
    pub fn split(&self, options: &SplitOptions) -> Result<Split, DataError> {
        check(options)?;
        let classes = self.classes.len();
        let digests = self.train.digests();
        let mut taken: HashSet<[u8; 32]> = HashSet::new();
        for part in [&self.validation, &self.test].into_iter().flatten() {
            taken.extend(part.digests());
        }
        let mut rest: Vec<u32> = (0..self.train.len() as u32).collect();
        rest.retain(|&index| !taken.contains(&digests[index as usize]));
        let mut left_out = self.train.len() - rest.len();

        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        let mut hold_out = |share: f64| {
            (share > 0.0).then(|| {
                let held = stratified(&self.train, &digests, &rest, share, &mut rng);
                let chosen: HashSet<u32> = held.iter().copied().collect();
                rest.retain(|index| !chosen.contains(index));
                Part::new(&self.train, held, classes)
            })
        };
        let test = self.test().or_else(|| hold_out(options.test));
        let validation = match &self.validation {
            Some(samples) => {
                let tested: HashSet<[u8; 32]> = self.test.iter().flat_map(|part| part.digests()).collect();
                let digests = samples.digests();
                let kept = (0..samples.len() as u32).filter(|&index| !tested.contains(&digests[index as usize]));
                let kept = Part::new(samples, kept.collect(), classes);
                left_out += samples.len() - kept.len();
                Some(kept)
            }
            None => hold_out(options.validation),
        };
        let train = Part::new(&self.train, rest, classes);
        self.every_class_has_samples(&train)?;
        if left_out > 0 {
            tracing::warn!(
                "{}: {left_out} samples are copies of what validates or tests, and are not trained on",
                self.path.display()
            );
        }
        let some = |part: Option<Part>| part.filter(|part| !part.is_empty());
        Ok(Split { train, validation: some(validation), test: some(test), left_out })
    }

    fn every_class_has_samples(&self, train: &Part) -> Result<(), DataError> {
        let mut counts = vec![0usize; self.classes.len()];
        train.labels().into_iter().for_each(|label| counts[label as usize] += 1);
        let Some(empty) = counts.iter().position(|&count| count == 0) else { return Ok(()) };
        let reason = format!(
            "class `{}` (label {empty} of {}) has no sample to train on; expected one or more of each class",
            self.classes[empty],
            self.classes.len()
        );
        Err(DataError::Malformed { path: self.path.clone(), reason })
    }
}

fn check(options: &SplitOptions) -> Result<(), DataError> {
    for (field, share) in [("validation", options.validation), ("test", options.test)] {
        if !(0.0..1.0).contains(&share) {
            return Err(DataError::Option {
                field,
                reason: format!("found {share}, expected a share from 0 to below 1"),
            });
        }
    }
    if options.validation + options.test >= 1.0 {
        let reason = format!("with `test`, {} are held out: nothing is left", options.validation + options.test);
        return Err(DataError::Option { field: "validation", reason });
    }
    Ok(())
}

/// `share` of each class among `candidates`, rounded to the nearest; never a sample that occurs twice, so that no copy of it
/// stays behind.
fn stratified(
    samples: &Samples,
    digests: &[[u8; 32]],
    candidates: &[u32],
    share: f64,
    rng: &mut ChaCha8Rng,
) -> Vec<u32> {
    let mut copies: HashMap<&[u8; 32], usize> = HashMap::new();
    candidates.iter().for_each(|&index| *copies.entry(&digests[index as usize]).or_default() += 1);
    let mut held = vec![];
    for of_class in by_class(candidates, samples.labels()) {
        let wanted = (of_class.len() as f64 * share).round() as usize;
        let mut single: Vec<u32> =
            of_class.into_iter().filter(|&index| copies[&digests[index as usize]] == 1).collect();
        shuffle(&mut single, rng);
        held.extend(single.into_iter().take(wanted));
    }
    held
}

/// Positions in the samples of `count` of the part's, in turns by class, in an order drawn by `seed`.
pub(super) fn in_turns(part: &Part, count: usize, seed: u64) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut classes = by_class(part.indices(), part.samples().labels());
    classes.iter_mut().for_each(|of_class| shuffle(of_class, &mut rng));
    let turns = classes.iter().map(Vec::len).max().unwrap_or(0);
    let in_turns = (0..turns).flat_map(|turn| classes.iter().filter_map(move |of_class| of_class.get(turn).copied()));
    in_turns.take(count).collect()
}

/// The indices of each class, in the order of the classes.
fn by_class(indices: &[u32], labels: &[u32]) -> Vec<Vec<u32>> {
    let mut classes: Vec<Vec<u32>> = vec![];
    for &index in indices {
        let label = labels[index as usize] as usize;
        if classes.len() <= label {
            classes.resize(label + 1, vec![]);
        }
        classes[label].push(index);
    }
    classes
}

/// Fisher and Yates.
pub(super) fn shuffle(indices: &mut [u32], rng: &mut impl Rng) {
    for last in (1..indices.len()).rev() {
        indices.swap(last, rng.random_range(0..=last));
    }
}
