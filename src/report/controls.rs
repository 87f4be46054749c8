//! What a search is worth: its best figures beside those of random search with as many evaluations and with as much time, of
//! the largest networks, of the space's mean and median (Yang et al. 2020, "NAS evaluation is frustratingly hard"), over seeds.

use super::HypervolumePoint;
use crate::latency::statistics::median;
use crate::objective::{ObjectiveVector, Objectives};
use crate::space::Decision;
use crate::statistics::mean_interval;
use crate::study::store::TrialRecord;
use serde::{Deserialize, Serialize};

/// The best value of an objective, by the search and by controls, in the objective's unit. The bests keep all bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlRow {
    /// The objective.
    pub objective: String,
    /// The search's best.
    pub search: f64,
    /// The best of as many random draws.
    pub random: Option<f64>,
    /// The best of the random draws that were done within the time that the search took.
    pub random_in_time: Option<f64>,
    /// The best of the tenth of the random draws that has the most multiply-accumulates.
    pub largest: Option<f64>,
    /// Mean of the random draws.
    pub random_mean: f64,
    /// Their median.
    pub random_median: f64,
    /// How much better than the mean the search's best is, in percent of the mean.
    pub gain_on_mean_pct: Option<f64>,
    /// The same for the median.
    pub gain_on_median_pct: Option<f64>,
}

/// Hypervolumes of a repeated study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seeds {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The search's hypervolume by seed.
    pub search: Vec<f64>,
    /// The control's; empty where there is none.
    pub control: Vec<f64>,
    /// Mean of the search's.
    pub search_mean: f64,
    /// Its 95 % confidence interval.
    pub search_ci95: [f64; 2],
    /// Mean of the control's.
    pub control_mean: Option<f64>,
    /// Its 95 % confidence interval.
    pub control_ci95: Option<[f64; 2]>,
}

/// How often a choice stands on the front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preference {
    /// What is decided.
    pub decision: String,
    /// What is chosen.
    pub choice: String,
    /// Its share of the front, 0 to 1.
    pub on_front: f64,
    /// Its share of the random draws.
    pub drawn: f64,
}

/// Trials of one sampler and what they reached.
#[derive(Clone, Copy)]
pub(super) struct Trials<'a> {
    pub records: &'a [TrialRecord],
    pub vectors: &'a [Option<ObjectiveVector>],
}

/// The part of the random draws that counts as the largest networks.
const LARGEST: f64 = 0.1;

impl Trials<'_> {
    fn seconds(&self) -> impl Iterator<Item = f64> {
        self.records.iter().scan(0.0, |sum, record| {
            *sum += record.seconds.total_s();
            Some(*sum)
        })
    }

    /// The least cost of objective `at` among the first `count` trials that keep all bounds.
    fn best(&self, at: usize, count: usize) -> Option<f64> {
        let feasible = self.vectors.iter().take(count).flatten().filter(|vector| vector.is_feasible());
        feasible.map(|vector| vector.costs()[at]).min_by(f64::total_cmp)
    }

    /// The least cost of objective `at` among the trials with the most multiply-accumulates.
    fn best_of_largest(&self, at: usize) -> Option<f64> {
        let mut sized: Vec<(u64, &ObjectiveVector)> = (self.records.iter().zip(self.vectors))
            .filter_map(|(record, vector)| Some((record.macs?, vector.as_ref()?)))
            .collect();
        sized.sort_by_key(|(macs, _)| std::cmp::Reverse(*macs));
        sized.truncate((sized.len() as f64 * LARGEST).ceil() as usize);
        let feasible = sized.iter().filter(|(_, vector)| vector.is_feasible());
        feasible.map(|(_, vector)| vector.costs()[at]).min_by(f64::total_cmp)
    }
}

/// A row for each objective that is optimised, where there is a control and both have feasible trials.
pub(super) fn rows(objectives: &Objectives, search: Trials, control: Trials) -> Vec<ControlRow> {
    let spent_s = search.seconds().last().unwrap_or(0.0);
    let in_time = control.seconds().take_while(|seconds| *seconds <= spent_s).count();
    let row = |(at, objective): (usize, &crate::objective::Objective)| {
        let value = |cost: f64| objective.direction.cost(cost);
        let best = search.best(at, usize::MAX)?;
        let drawn: Vec<f64> = control.vectors.iter().flatten().map(|vector| vector.costs()[at]).collect();
        if drawn.is_empty() {
            return None;
        }
        let (mean, middle) = (drawn.iter().sum::<f64>() / drawn.len() as f64, median(&drawn));
        let gain = |from: f64| (from != 0.0).then(|| 100.0 * (from - best) / from.abs());
        Some(ControlRow {
            objective: objective.name.clone(),
            search: value(best),
            random: control.best(at, search.records.len()).map(value),
            random_in_time: control.best(at, in_time).map(value),
            largest: control.best_of_largest(at).map(value),
            random_mean: value(mean),
            random_median: value(middle),
            gain_on_mean_pct: gain(mean),
            gain_on_median_pct: gain(middle),
        })
    };
    objectives.optimised().enumerate().filter_map(row).collect()
}

/// Hypervolumes of search and control after each evaluation, and when that was.
pub(super) fn history(search: (Trials, &[f64]), control: Option<(Trials, &[f64])>) -> Vec<HypervolumePoint> {
    let control: Vec<(f64, f64)> =
        control.map_or(vec![], |(trials, found)| trials.seconds().zip(found.iter().copied()).collect());
    let point = |(at, (seconds, hypervolume)): (usize, (f64, &f64))| HypervolumePoint {
        evaluations: at + 1,
        search: *hypervolume,
        search_s: seconds,
        control: control.get(at).map(|(_, hypervolume)| *hypervolume),
        control_s: control.get(at).map(|(seconds, _)| *seconds),
    };
    search.0.seconds().zip(search.1).enumerate().map(point).collect()
}

/// How far seeds are apart; none for a single one.
pub(super) fn seeds(first: u64, search: Vec<f64>, control: Vec<f64>) -> Option<Seeds> {
    if search.len() < 2 {
        return None;
    }
    let ((search_mean, search_ci95), (control_mean, control_ci95)) = (mean_interval(&search), mean_interval(&control));
    let seeds = (0..search.len() as u64).map(|repeat| first.wrapping_add(repeat)).collect();
    Some(Seeds {
        seeds,
        search,
        control,
        search_mean: search_mean?,
        search_ci95: search_ci95?,
        control_mean,
        control_ci95,
    })
}

/// How often each choice stands on the front, and how often it was drawn at random (or would be, without a control).
pub(super) fn preferences(decisions: &[Decision], front: &[&TrialRecord], drawn: &[&TrialRecord]) -> Vec<Preference> {
    let share = |of: &[&TrialRecord], at: usize, gene: usize| {
        let having = of.iter().filter(|record| usize::from(record.genotype.genes()[at]) == gene).count();
        having as f64 / of.len() as f64
    };
    let mut found = vec![];
    for (at, decision) in decisions.iter().enumerate().filter(|_| !front.is_empty()) {
        for (gene, choice) in decision.choices.iter().enumerate() {
            let even = 1.0 / decision.choices.len() as f64;
            found.push(Preference {
                decision: decision.name.clone(),
                choice: choice.clone(),
                on_front: share(front, at, gene),
                drawn: if drawn.is_empty() { even } else { share(drawn, at, gene) },
            });
        }
    }
    found
}
