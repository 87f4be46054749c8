//! What strategies may look at before a trial: indicators and predicted latencies, the cheapest first. Nothing of it is stored;
//! it is computed again when a study goes on, and the same.

use super::estimator::Estimator;
use super::{LATENCY, Plan};
use crate::device::OpenOptions;
use crate::genotype::{ArchId, Genotype};
use crate::indicator::{self, Indicator, Probes, View};
use crate::sampler::Metrics;
use crate::space::Scale;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock};

/// What gives the values of one metric.
#[derive(Clone, Copy)]
enum Source {
    Indicator(&'static dyn Indicator),
    /// The device of this index in the plan.
    Latency(usize),
}

/// Multiply-accumulates and other counts, then the indicators of the plan's recipe, then the latencies that tables predict: three
/// fidelities.
pub(super) fn metrics(plan: &Plan, options: &OpenOptions) -> Metrics {
    let macs = indicator::named("macs").expect("it is in the registry");
    let mut indicators = indicator::distinct(std::iter::once(macs).chain(plan.recipe.indicators()));
    indicators.sort_by_key(|indicator| indicator.facts().view);
    let counts = indicators.iter().filter(|indicator| indicator.facts().view == View::Architecture).count();
    let predicted: Vec<usize> = (0..plan.devices.len()).filter(|&at| plan.devices[at].predicts()).collect();
    let latency = |&at: &usize| format!("{LATENCY}{}", plan.devices[at].profile.name);
    let names = indicators.iter().map(|indicator| indicator.facts().name.to_owned());
    let names: Vec<String> = names.chain(predicted.iter().map(latency)).collect();
    let mut fidelities = vec![counts, indicators.len(), names.len()];
    fidelities.dedup();
    let sources = indicators.into_iter().map(Source::Indicator).chain(predicted.into_iter().map(Source::Latency));
    let sources: Vec<Source> = sources.collect();
    let (plan, options, probes) = (plan.clone(), options.clone(), OnceLock::new());
    let estimators: Mutex<HashMap<usize, Option<Estimator>>> = Mutex::default();
    let known: Mutex<HashMap<(usize, ArchId), Option<f64>>> = Mutex::default();
    let measure = move |metric: usize, genotypes: &[Genotype]| {
        let ids: Vec<Option<ArchId>> = genotypes.iter().map(|genotype| plan.space.id(genotype)).collect();
        let mut known = known.lock().expect("no holder of the lock panics");
        let mut open: HashMap<ArchId, &Genotype> = HashMap::new();
        for (id, genotype) in ids.iter().zip(genotypes) {
            if let Some(id) = id
                && !known.contains_key(&(metric, id.clone()))
            {
                open.entry(id.clone()).or_insert(genotype);
            }
        }
        let (new, open): (Vec<ArchId>, Vec<&Genotype>) = open.into_iter().unzip();
        let found = match sources[metric] {
            Source::Indicator(indicator) => probes
                .get_or_init(|| probe(&plan))
                .as_ref()
                .map_or(vec![], |probes| values(&plan, probes, indicator, &open)),
            Source::Latency(at) => {
                let mut estimators = estimators.lock().expect("no holder of the lock panics");
                let estimator = estimators.entry(at).or_insert_with(|| estimator(&plan, at, &options));
                estimator.as_mut().map_or(vec![], |estimator| latencies(&plan, estimator, &open))
            }
        };
        known.extend(new.into_iter().zip(found).map(|(id, value)| ((metric, id), value)));
        ids.into_iter().map(|id| known.get(&(metric, id?)).copied().flatten()).collect()
    };
    Metrics::new(names, Arc::new(measure)).with_fidelities(fidelities)
}

fn estimator(plan: &Plan, at: usize, options: &OpenOptions) -> Option<Estimator> {
    let device = &plan.devices[at];
    let opened = Estimator::open(device, options);
    opened.inspect_err(|error| tracing::warn!("no metric of {}: {error}", device.profile.name)).ok().flatten()
}

/// The estimated latency of each genotype, turned so that more is better.
fn latencies(plan: &Plan, estimator: &mut Estimator, of: &[&Genotype]) -> Vec<Option<f64>> {
    let mut latency = |genotype: &&Genotype| {
        let declared = plan.space.lower(genotype, Scale::Full).ok()?;
        estimator.estimate(&plan.space.arch(genotype), &declared).ok().map(|estimate| -estimate.p50_ms)
    };
    of.iter().map(&mut latency).collect()
}

fn probe(plan: &Plan) -> Option<Probes> {
    let compute = plan.config.compute.open().ok()?;
    let probes = Probes::new(&plan.space, plan.settings.clone(), plan.config.seed, compute);
    // What keeps the study itself from its probes ends it before it comes to this.
    probes.inspect_err(|error| tracing::warn!("no metrics: {error}")).ok()
}

/// The indicator of each genotype, turned so that more is better.
fn values(plan: &Plan, probes: &Probes, indicator: &'static dyn Indicator, of: &[&Genotype]) -> Vec<Option<f64>> {
    let mut values = vec![None; of.len()];
    let direction = indicator.facts().direction;
    let _ = indicator::score_each(probes, &plan.space, of, &[indicator], |index, scores, _| {
        let score = scores.into_iter().next().and_then(|(_, score)| score.ok());
        values[index] = score.map(|score| -direction.cost(score.value));
        ControlFlow::Continue(())
    });
    values
}
