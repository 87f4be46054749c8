//! The reference sample that qualities are ranked in; and scoring many candidates on all cores.

use super::progress::{Event, Observer};
use super::store::{IndicatorOutcome, ReferenceRecord, Store};
use super::{Plan, StudyError};
use crate::genotype::Genotype;
use crate::indicator::{self, Indicator, IndicatorError, Probes, Score, Scores};
use crate::quality::SampleScores;
use crate::sampler::{RandomSearch, Sampler};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Makes another stream than the search's: its first population is not the sample that it is ranked in.
const REFERENCE_STREAM: u64 = 0x5eed_0000_0000_0000;

/// The reference sample's scores, drawn and scored as far as the store does not have them.
pub(super) fn reference(
    plan: &Plan,
    store: &mut Store,
    probes: &Probes,
    observer: &mut dyn Observer,
) -> Result<Option<Vec<SampleScores>>, StudyError> {
    // Indicators look at architectures, whatever the precision of their layers.
    let space = Arc::new(plan.space.of_floats());
    let mut draws = RandomSearch::new(plan.genes_of(&space)?, plan.config.seed ^ REFERENCE_STREAM);
    let sample = draws.ask(plan.config.quality.reference);
    let known: Vec<u64> = store.reference_sample()?.iter().map(|record| record.number).collect();
    let unknown: Vec<usize> = (0..sample.len()).filter(|&number| !known.contains(&(number as u64))).collect();
    let genotypes: Vec<&Genotype> = unknown.iter().map(|&number| &sample[number]).collect();
    let mut done = known.len();
    let indicators = plan.recipe.with_teg();
    let finished =
        score_in_parallel((plan, probes), &indicators, &genotypes, observer, |index, indicators, observer| {
            let genotype = genotypes[index];
            let arch_id = space.id(genotype).expect("samplers draw living networks only");
            let number = unknown[index] as u64;
            store.put_reference(&ReferenceRecord { number, arch: space.arch(genotype), arch_id, indicators })?;
            done += 1;
            observer.on(&Event::Reference { done, total: sample.len() });
            Ok(())
        })?;
    if !finished {
        return Ok(None);
    }
    let known = |record: ReferenceRecord| {
        record.indicators.into_iter().filter_map(|(name, outcome)| Some((name, outcome.score()?))).collect()
    };
    Ok(Some(store.reference_sample()?.into_iter().map(known).collect()))
}

pub(super) type Outcomes = BTreeMap<String, IndicatorOutcome>;

/// Scores candidates on all cores; `done` gets each as it is finished, on this thread. False if the observer
/// interrupted it: what runs is finished, what waits is left.
pub(super) fn score_in_parallel(
    (plan, probes): (&Plan, &Probes),
    indicators: &[&'static dyn Indicator],
    genotypes: &[&Genotype],
    observer: &mut dyn Observer,
    mut done: impl FnMut(usize, Outcomes, &mut dyn Observer) -> Result<(), StudyError>,
) -> Result<bool, StudyError> {
    if observer.interrupted() {
        return Ok(false);
    }
    let mut result = Ok(());
    let flow = indicator::score_each(probes, &plan.space, genotypes, indicators, |index, scores, _| {
        result = done(index, outcomes(scores), observer);
        match result.is_err() || observer.interrupted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    result.map(|()| flow.is_continue())
}

fn outcomes(scores: Scores) -> Outcomes {
    let outcome = |(name, score): (&str, Result<Score, IndicatorError>)| match score {
        Ok(score) => (name.to_owned(), IndicatorOutcome::Value(score)),
        Err(error) => (name.to_owned(), IndicatorOutcome::Failed(error.to_string())),
    };
    scores.into_iter().map(outcome).collect()
}
