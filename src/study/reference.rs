//! The reference sample that qualities are ranked in.

use super::progress::{Event, Observer};
use super::scoring::Scoring;
use super::store::{IndicatorOutcome, ReferenceRecord, Store};
use super::{Plan, StudyError};
use crate::genotype::Genotype;
use crate::quality::SampleScores;
use crate::sampler::{RandomSearch, Sampler};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes another stream than the search's: its first population is not the sample that it is ranked in.
const REFERENCE_STREAM: u64 = 0x5eed_0000_0000_0000;

/// The reference sample's scores, drawn and scored as far as the store does not have them.
pub(super) fn reference(
    plan: &Plan,
    store: &mut Store,
    scoring: &Scoring,
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
    let indicators = plan.scored_by(plan.recipe.indicators());
    let finished = scoring.each(plan, &indicators, &genotypes, observer, |index, indicators, observer| {
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

/// What came of a candidate's indicators.
pub(super) type Outcomes = BTreeMap<String, IndicatorOutcome>;
