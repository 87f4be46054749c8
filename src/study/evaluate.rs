//! From genotypes to finished trials: score, export, estimate, measure, store.
//!
//! Candidates of a batch are scored in parallel, then exported in parallel, then measured together in turns, so that on a
//! host that is its own target nothing else runs while something is measured. Devices elsewhere measure on while the next
//! batch is scored.

mod figures;

use super::accuracy::{ACCURACY, Accuracies, ECE};
use super::batch::{Batch, Scored, chosen};
use super::candidate::Candidate;
use super::flight::Flight;
use super::latency::{Latencies, Latency, known};
use super::progress::{Event, Observer};
use super::reference::reference;
use super::scoring::Scoring;
use super::store::{Store, TrialRecord, TrialState};
use super::{MODELS, Plan, Source, StudyError};
use crate::config::LatencySource;
use crate::device::OpenOptions;
use crate::genotype::{ArchId, Genotype};
use crate::indicator::Indicator;
use crate::objective::ObjectiveVector;
use crate::pareto::{ParetoFront, dominates};
use crate::quality::{Quality, QualityFacts};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Most candidates that are measured together: between two such groups a study can be interrupted.
const TOGETHER: usize = 8;
/// Most batches that are under way where devices elsewhere measure.
const FLYING: usize = 4;

/// What turns genotypes into trials.
pub(super) struct Evaluator<'a> {
    plan: &'a Plan,
    store: &'a mut Store,
    models: PathBuf,
    options: &'a OpenOptions,
    scoring: Scoring,
    quality: Quality,
    /// What candidates are scored by.
    indicators: Vec<&'static dyn Indicator>,
    /// What answers for the plan's devices, in its order, once there is something to evaluate.
    latencies: Vec<Latencies>,
    /// Where accuracy is an objective.
    accuracies: Option<Accuracies>,
}

impl<'a> Evaluator<'a> {
    /// Draws and scores the reference sample, as far as the store does not have it. None if the observer
    /// interrupted it.
    pub(super) fn new(
        plan: &'a Plan,
        store: &'a mut Store,
        folder: &Path,
        options: &'a OpenOptions,
        observer: &mut dyn Observer,
    ) -> Result<Option<Self>, StudyError> {
        let compute = plan.config.compute.open().map_err(|error| {
            let built = "is Tegu built for it, with `--features cuda` or `--features metal`?";
            let reason = format!("compute: {} can't be opened ({built}): {error}", plan.config.compute);
            StudyError::Config { path: PathBuf::from(&plan.config.study), reason }
        })?;
        let accuracies = Accuracies::new(plan, folder, compute.clone())?;
        let scoring = Scoring::open(plan, compute, options)?;
        let mut latencies = vec![];
        if store.reference_sample()?.len() < plan.config.quality.reference {
            // Before time is spent on a study that can't go on.
            latencies = opened(plan, store, options)?;
        }
        let Some(sample) = reference(plan, store, &scoring, observer)? else { return Ok(None) };
        let quality = Quality::new(&plan.recipe, &sample);
        store.put_fact("quality", &QualityFacts::new(plan.recipe.name, &quality))?;
        let indicators = plan.scored_by(quality.indicators());
        let models = folder.join(MODELS);
        Ok(Some(Self { plan, store, models, options, scoring, quality, indicators, latencies, accuracies }))
    }

    /// The trials of a sampler that earlier runs finished.
    pub(super) fn stored(&self, sampler: &str) -> Result<Vec<TrialRecord>, StudyError> {
        Ok(self.store.trials(sampler)?)
    }

    /// The store.
    pub(super) fn store(&self) -> &Store {
        self.store
    }

    /// How many batches may be under way: what is proposed next may depend on what is known, but not on who measures it.
    pub(super) fn most_batches(&self) -> usize {
        let mixed = self.latencies.iter().any(|latencies| latencies.planned.source == LatencySource::Mixed);
        let elsewhere = self.latencies.iter().any(Latencies::is_elsewhere);
        if elsewhere && !mixed { FLYING } else { 1 }
    }

    /// Scores those of `genotypes` that have no scores yet, in parallel. None if the observer interrupted it.
    pub(super) fn score(
        &mut self,
        genotypes: &[Genotype],
        observer: &mut dyn Observer,
    ) -> Result<Option<Scored>, StudyError> {
        let begun = Instant::now();
        if self.latencies.is_empty() && !genotypes.is_empty() {
            self.latencies = opened(self.plan, self.store, self.options)?;
        }
        let mut unknown: Vec<(ArchId, &Genotype)> = vec![];
        for genotype in genotypes {
            if let Some(id) = self.plan.space.id(genotype).map(|id| id.architecture())
                && unknown.iter().all(|(known, _)| *known != id)
                && self.store.indicators(&id)?.is_empty()
            {
                unknown.push((id, genotype));
            }
        }
        let mut done = 0;
        let genotypes: Vec<&Genotype> = unknown.iter().map(|(_, genotype)| *genotype).collect();
        let store = &mut self.store;
        let scored = |index: usize, outcomes, observer: &mut dyn Observer| {
            store.put_indicators(&unknown[index].0, &outcomes)?;
            done += 1;
            observer.on(&Event::Scoring { done, total: unknown.len() });
            Ok(())
        };
        let finished = self.scoring.each(self.plan, &self.indicators, &genotypes, observer, scored)?;
        let ids = unknown.into_iter().map(|(id, _)| id).collect();
        Ok(finished.then(|| Scored { ids, seconds: begun.elapsed().as_secs_f64() }))
    }

    /// Begins to evaluate candidates whose scores are there, whose trials are numbered from `first`: all that is done here, and
    /// asks devices elsewhere. None if the observer interrupted it: what was measured is kept. `front` is what the sampler has
    /// found so far.
    pub(super) fn begin(
        &mut self,
        (sampler, first): (&str, usize),
        (genotypes, scored): (&[Genotype], Scored),
        front: &ParetoFront<ArchId>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Batch>, StudyError> {
        let begun = Instant::now();
        let candidate = |(at, genotype): (usize, &Genotype)| {
            Candidate::new(self.plan, self.store, (sampler, (first + at) as u64), genotype)
        };
        let candidates: Vec<Candidate> = genotypes.iter().enumerate().map(candidate).collect::<Result<_, _>>()?;
        let mut batch = Batch { candidates, spent_s: scored.seconds, scored, flights: vec![] };
        self.estimate(&mut batch.candidates)?;
        if !self.train(&mut batch.candidates, observer)? {
            return Ok(None);
        }
        if self.plan.sources.contains(&Source::Size) || !self.plan.figures.is_empty() {
            self.export(&mut batch.candidates, None)?;
        }
        if !self.figures(&mut batch.candidates, false, observer)? {
            return Ok(None);
        }
        if !self.measure(&mut batch, front, observer)? {
            return Ok(None);
        }
        batch.spent_s += begun.elapsed().as_secs_f64();
        Ok(Some(batch))
    }

    /// Waits for what devices elsewhere were asked, and stores the batch's trials. None if the observer interrupted it: what
    /// they answer is there when the study goes on.
    pub(super) fn finish(
        &mut self,
        mut batch: Batch,
        observer: &mut dyn Observer,
    ) -> Result<Option<Vec<TrialRecord>>, StudyError> {
        let begun = Instant::now();
        for flight in std::mem::take(&mut batch.flights) {
            let (waited, at, places) = (Instant::now(), flight.device, flight.places.clone());
            let Some(outcomes) = flight.land(observer) else { return Ok(None) };
            let mut chosen = chosen(&mut batch.candidates, &places);
            self.latencies[at].take(self.store, &mut chosen, outcomes, &self.models)?;
            // Others loaded and measured; here, all of it was waiting for them.
            let share = waited.elapsed().as_secs_f64() / places.len().max(1) as f64;
            chosen.iter_mut().for_each(|candidate| candidate.record.seconds.measuring_s += share);
        }
        if self.latencies.iter().all(|latencies| !latencies.measures()) {
            self.export(&mut batch.candidates, None)?;
        }
        if !self.figures(&mut batch.candidates, true, observer)? {
            return Ok(None);
        }
        batch.spent_s += begun.elapsed().as_secs_f64();
        batch.share_time();
        let mut records = vec![];
        for candidate in batch.candidates {
            let state = match self.objectives(&candidate)? {
                Ok(objectives) => TrialState::Complete { objectives },
                Err(reason) => TrialState::Failed { reason },
            };
            let record = TrialRecord { state, ..candidate.record };
            self.store.put_trial(&record)?;
            records.push(record);
        }
        Ok(Some(records))
    }

    /// Stores where hypervolumes are measured from.
    pub(super) fn put_reference_point(&mut self, costs: &[f64]) -> Result<(), StudyError> {
        Ok(self.store.put_fact("reference_point", &costs)?)
    }

    fn estimate(&mut self, batch: &mut [Candidate]) -> Result<(), StudyError> {
        for latencies in self.latencies.iter_mut().filter(|latencies| latencies.estimates()) {
            for candidate in &mut *batch {
                candidate.within_memory(&latencies.planned.profile);
                latencies.estimate(self.store, candidate)?;
            }
        }
        Ok(())
    }

    /// Trains the sound candidates whose accuracy is an objective and not known. False if the observer interrupted it.
    fn train(&mut self, batch: &mut [Candidate], observer: &mut dyn Observer) -> Result<bool, StudyError> {
        let Some(accuracies) = &self.accuracies else { return Ok(true) };
        let open = |candidate: &&mut Candidate| candidate.sound().is_some() && !candidate.values.contains_key(ACCURACY);
        let mut open: Vec<&mut Candidate> = batch.iter_mut().filter(open).collect();
        let total = open.len();
        for (done, candidate) in open.iter_mut().enumerate() {
            let begin = Instant::now();
            observer.on(&Event::Training { done, total });
            if !accuracies.find(self.plan, self.store, candidate, &|| observer.interrupted())? {
                return Ok(false);
            }
            candidate.record.seconds.scoring_s += begin.elapsed().as_secs_f64();
        }
        Ok(true)
    }

    /// Measures what is to be measured, on all devices, or asks those that are elsewhere. False if the observer interrupted it.
    fn measure(
        &mut self,
        Batch { candidates: batch, flights, .. }: &mut Batch,
        front: &ParetoFront<ArchId>,
        observer: &mut dyn Observer,
    ) -> Result<bool, StudyError> {
        let everywhere: Vec<usize> = (0..batch.len()).collect();
        for at in 0..self.latencies.len() {
            let planned = &self.latencies[at].planned;
            if planned.source == LatencySource::Measured && self.latencies[at].measures() {
                let profile = planned.profile.clone();
                batch.iter_mut().for_each(|candidate| candidate.within_memory(&profile));
                let open = self.unmeasured(at, batch, &everywhere)?;
                if !open.is_empty()
                    && let Some(device) = self.latencies[at].elsewhere()
                {
                    observer.on(&Event::Measuring { done: 0, together: open.len(), total: open.len() });
                    let jobs = Latencies::jobs(&chosen(batch, &open), &self.models);
                    flights.push(Flight::begin(at, device, open, jobs));
                } else if !self.measure_on(at, batch, &open, observer)? {
                    return Ok(false);
                }
            }
        }
        let mixed: Vec<usize> =
            (0..self.latencies.len()).filter(|&at| self.latencies[at].planned.source == LatencySource::Mixed).collect();
        // What was measured in a group may dominate what else could have entered the front.
        let mut front = front.clone();
        loop {
            let group = if mixed.is_empty() { vec![] } else { self.promising(batch, &front)? };
            if group.is_empty() {
                return Ok(true);
            }
            for &at in &mixed {
                let open = self.unmeasured(at, batch, &group)?;
                if !self.measure_on(at, batch, &open, observer)? {
                    return Ok(false);
                }
            }
            for &at in &group {
                if let Ok(objectives) = self.objectives(&batch[at])?
                    && let Some(vector) = super::vector_of(&self.plan.objectives, &objectives)
                {
                    front.insert(batch[at].record.arch_id.clone(), vector);
                }
            }
        }
    }

    /// Candidates that may enter `front` by the best that their intervals allow, and are not measured on every device that
    /// measures: those first whose order is the most uncertain.
    fn promising(&mut self, batch: &[Candidate], front: &ParetoFront<ArchId>) -> Result<Vec<usize>, StudyError> {
        let mut found: Vec<(usize, usize)> = vec![];
        let mut known_of: Vec<Vec<Option<Latency>>> = vec![];
        for candidate in batch {
            let of = |latencies: &Latencies| known(self.store, &candidate.record.arch_id, latencies.name());
            known_of.push(self.latencies.iter().map(of).collect::<Result<_, _>>()?);
        }
        for (at, candidate) in batch.iter().enumerate() {
            if candidate.sound().is_none() {
                continue;
            }
            let predicted = |(latencies, latency): &(&Latencies, &Option<Latency>)| {
                latencies.planned.source == LatencySource::Mixed && latency.is_some_and(|latency| !latency.measured)
            };
            let open: Vec<usize> = self
                .latencies
                .iter()
                .zip(&known_of[at])
                .enumerate()
                .filter(|(_, pair)| predicted(pair))
                .map(|p| p.0)
                .collect();
            let best = self.best_case(candidate)?;
            if open.is_empty() || best.is_none_or(|best| front.members().iter().any(|(_, one)| dominates(one, &best))) {
                continue;
            }
            // How many others its latency can't be told from.
            let overlaps =
                |a: &Latency, b: &Latency| a.interval_ms[0] <= b.interval_ms[1] && b.interval_ms[0] <= a.interval_ms[1];
            let doubts = |&device: &usize| {
                let own = known_of[at][device].expect("it is predicted");
                known_of.iter().filter(|other| other[device].is_some_and(|other| overlaps(&own, &other))).count()
            };
            found.push((open.iter().map(doubts).sum(), at));
        }
        found.sort_by_key(|&(doubts, at)| (std::cmp::Reverse(doubts), at));
        Ok(found.into_iter().take(TOGETHER).map(|(_, at)| at).collect())
    }

    /// The vector of a candidate at the lower ends of its predicted latencies.
    fn best_case(&self, candidate: &Candidate) -> Result<Option<ObjectiveVector>, StudyError> {
        let Ok(mut objectives) = self.objectives(candidate)? else { return Ok(None) };
        for latencies in &self.latencies {
            let latency = known(self.store, &candidate.record.arch_id, latencies.name())?;
            if let Some(latency) = latency.filter(|latency| !latency.measured) {
                objectives.insert(format!("{}{}", super::LATENCY, latencies.name()), latency.interval_ms[0]);
            }
        }
        Ok(super::vector_of(&self.plan.objectives, &objectives))
    }

    /// Those of `wanted` that have no measurement on the device at `at`, exported.
    fn unmeasured(&self, at: usize, batch: &mut [Candidate], wanted: &[usize]) -> Result<Vec<usize>, StudyError> {
        let device = self.latencies[at].name();
        let mut open: Vec<usize> = vec![];
        for &place in wanted {
            let id = &batch[place].record.arch_id;
            let twice = open.iter().any(|&other| batch[other].record.arch_id == *id);
            match self.store.measurement(id, device)? {
                Some(known) => batch[place].record.model_sha256 = Some(known.model_sha256),
                None if batch[place].sound().is_some() && !twice => open.push(place),
                None => {}
            }
        }
        self.export(batch, Some(&open))?;
        for &place in &open {
            batch[place].within_size(&self.latencies[at].planned.profile, &self.models)?;
        }
        open.retain(|&place| batch[place].sound().is_some());
        Ok(open)
    }

    /// Measures candidates that are exported on the device at `at`. False if the observer interrupted it.
    fn measure_on(
        &mut self,
        at: usize,
        batch: &mut [Candidate],
        open: &[usize],
        observer: &mut dyn Observer,
    ) -> Result<bool, StudyError> {
        for (done, group) in open.chunks(TOGETHER).enumerate() {
            if observer.interrupted() {
                return Ok(false);
            }
            observer.on(&Event::Measuring { done: done * TOGETHER, together: group.len(), total: open.len() });
            let begin = Instant::now();
            let mut chosen = chosen(batch, group);
            let loading_s = self.latencies[at].measure(self.store, &mut chosen, &self.models)?;
            let measuring_s = (begin.elapsed().as_secs_f64() - loading_s.iter().sum::<f64>()).max(0.0);
            for (candidate, loading_s) in chosen.iter_mut().zip(loading_s) {
                candidate.record.seconds.loading_s += loading_s;
                candidate.record.seconds.measuring_s += measuring_s / group.len() as f64;
            }
        }
        Ok(true)
    }

    /// Exports, in parallel, the sound ones of `batch` (of those at these places) that have no model yet.
    fn export(&self, batch: &mut [Candidate], places: Option<&[usize]>) -> Result<(), StudyError> {
        let begin = Instant::now();
        let chosen = |place: &usize| places.is_none_or(|places| places.contains(place));
        let missing = |candidate: &Candidate| {
            candidate.sound().is_some()
                && (candidate.record.model_sha256.is_none() || !candidate.model(&self.models).is_file())
        };
        let mut open: Vec<&mut Candidate> = batch
            .iter_mut()
            .enumerate()
            .filter(|(place, candidate)| chosen(place) && missing(candidate))
            .map(|(_, candidate)| candidate)
            .collect();
        let (plan, models) = (self.plan, &self.models);
        let exported: Vec<_> = match self.accuracies.as_ref().and_then(Accuracies::rounding) {
            Some(rounding) => open.iter().map(|candidate| rounding.export(plan, candidate, models)).collect(),
            None => open.par_iter().map(|candidate| candidate.export(plan, models)).collect(),
        };
        let seconds = begin.elapsed().as_secs_f64() / open.len().max(1) as f64;
        for (candidate, exported) in open.iter_mut().zip(exported) {
            candidate.record.seconds.exporting_s += seconds;
            match exported? {
                Ok(sha256) => candidate.record.model_sha256 = Some(sha256),
                Err(reason) => candidate.failure = Some(reason),
            }
        }
        Ok(())
    }

    /// The objectives of a candidate by what is known, or why it has none.
    fn objectives(&self, candidate: &Candidate) -> Result<Result<BTreeMap<String, f64>, String>, StudyError> {
        if let Some(reason) = &candidate.failure {
            return Ok(Err(reason.clone()));
        }
        let mut objectives = BTreeMap::new();
        for (objective, source) in self.plan.objectives.as_slice().iter().zip(&self.plan.sources) {
            let Some(value) = self.value(candidate, source)? else {
                return Ok(Err(format!("no value of `{}`", objective.name)));
            };
            objectives.insert(objective.name.clone(), value);
        }
        Ok(Ok(objectives))
    }
}

/// What answers for the plan's devices, found to work.
fn opened(plan: &Plan, store: &Store, options: &OpenOptions) -> Result<Vec<Latencies>, StudyError> {
    plan.devices.iter().map(|planned| Latencies::open(planned, store, options)).collect()
}
