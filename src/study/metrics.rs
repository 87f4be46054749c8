//! What strategies may look at before a trial: indicators, the cheapest first. Nothing of it is stored; it is computed again
//! when a study goes on, and the same.

use super::Plan;
use crate::genotype::{ArchId, Genotype};
use crate::indicator::{self, Indicator, Probes};
use crate::sampler::Metrics;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, OnceLock};

/// Multiply-accumulates, and the indicators of the plan's recipe.
pub(super) fn metrics(plan: &Plan) -> Metrics {
    let macs = indicator::named("macs").expect("it is in the registry");
    let mut indicators = indicator::distinct(std::iter::once(macs).chain(plan.recipe.indicators()));
    indicators.sort_by_key(|indicator| indicator.facts().view);
    let names = indicators.iter().map(|indicator| indicator.facts().name.to_owned()).collect();
    let (plan, probes) = (plan.clone(), OnceLock::new());
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
        let found = probes.get_or_init(|| probe(&plan)).as_ref().map_or(vec![], |probes| {
            let (ids, open): (Vec<ArchId>, Vec<&Genotype>) = open.into_iter().unzip();
            ids.into_iter().zip(values(&plan, probes, indicators[metric], &open)).collect()
        });
        known.extend(found.into_iter().map(|(id, value)| ((metric, id), value)));
        ids.into_iter().map(|id| known.get(&(metric, id?)).copied().flatten()).collect()
    };
    Metrics::new(names, Arc::new(measure))
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
