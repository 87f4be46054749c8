//! Who scores the candidates: this machine, or agents.

use super::progress::Observer;
use super::reference::Outcomes;
use super::store::IndicatorOutcome;
use super::{Plan, StudyError};
use crate::config::ScoringSection;
use crate::device::OpenOptions;
use crate::device::remote::Client;
use crate::device::remote::message::{SCORE, ScoreOutcomes, ScoreWork};
use crate::genotype::Genotype;
use crate::indicator::{self, Indicator, IndicatorError, Probes, Score, Scores};
use candle_core::Device;
use std::ops::ControlFlow;
use std::time::Duration;

/// Architectures of one job: enough that asking costs little beside scoring.
const A_JOB: usize = 2;
/// Jobs that are asked together; between two such groups, what is known is stored.
const TOGETHER: usize = 32;
/// How often the observer is asked whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// What scores.
pub(super) enum Scoring {
    Here(Box<Probes>),
    Agents(Box<Client>),
}

impl Scoring {
    /// What the plan says.
    pub fn open(plan: &Plan, compute: Device, options: &OpenOptions) -> Result<Self, StudyError> {
        Ok(match plan.config.scoring {
            ScoringSection::Here => {
                Self::Here(Box::new(Probes::new(&plan.space, plan.settings.clone(), plan.config.seed, compute)?))
            }
            ScoringSection::Agents => {
                let client = options.client.as_deref().unwrap_or("study");
                Self::Agents(Box::new(Client::open(&format!("{client}-{SCORE}"), SCORE, &options.nats)?))
            }
        })
    }

    /// Scores candidates; `done` gets each as it is finished, on this thread. False if the observer interrupted it: what runs is
    /// finished, what waits is left.
    pub fn each(
        &self,
        plan: &Plan,
        indicators: &[&'static dyn Indicator],
        genotypes: &[&Genotype],
        observer: &mut dyn Observer,
        mut done: impl FnMut(usize, Outcomes, &mut dyn Observer) -> Result<(), StudyError>,
    ) -> Result<bool, StudyError> {
        if observer.interrupted() {
            return Ok(false);
        }
        match self {
            Self::Here(probes) => {
                let mut result = Ok(());
                let flow = indicator::score_each(probes, &plan.space, genotypes, indicators, |index, scores, _| {
                    result = done(index, of_scores(scores), observer);
                    match result.is_err() || observer.interrupted() {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                });
                result.map(|()| flow.is_continue())
            }
            Self::Agents(client) => {
                for (group, genotypes) in genotypes.chunks(A_JOB * TOGETHER).enumerate() {
                    let works: Vec<ScoreWork> =
                        genotypes.chunks(A_JOB).map(|genotypes| work(plan, indicators, genotypes)).collect();
                    let asked = |client: &Client| client.score(works);
                    let scored = std::thread::scope(|scope| {
                        let asked = scope.spawn(|| asked(client));
                        while !asked.is_finished() {
                            if observer.interrupted() {
                                client.give_up();
                            }
                            std::thread::sleep(LOOK);
                        }
                        asked.join().expect("asking does not panic")
                    })?;
                    let Some(scored) = scored else { return Ok(false) };
                    for (at, outcome) in scored.into_iter().enumerate() {
                        done(group * A_JOB * TOGETHER + at, of_agent(outcome, indicators), observer)?;
                    }
                }
                Ok(!observer.interrupted())
            }
        }
    }
}

fn work(plan: &Plan, indicators: &[&'static dyn Indicator], genotypes: &[&Genotype]) -> ScoreWork {
    ScoreWork {
        space: plan.space.text().to_owned(),
        network: plan.config.space.network.clone(),
        settings: plan.settings.clone(),
        seed: plan.config.seed,
        indicators: indicators.iter().map(|indicator| indicator.facts().name.to_owned()).collect(),
        genotypes: genotypes.iter().map(|&genotype| genotype.clone()).collect(),
    }
}

fn of_scores(scores: Scores) -> Outcomes {
    let outcome = |(name, score): (&str, Result<Score, IndicatorError>)| match score {
        Ok(score) => (name.to_owned(), IndicatorOutcome::Value(score)),
        Err(error) => (name.to_owned(), IndicatorOutcome::Failed(error.to_string())),
    };
    scores.into_iter().map(outcome).collect()
}

fn of_agent(outcome: Result<ScoreOutcomes, String>, indicators: &[&'static dyn Indicator]) -> Outcomes {
    match outcome {
        Ok(scores) => scores
            .into_iter()
            .map(|(name, score)| (name, score.map_or_else(IndicatorOutcome::Failed, IndicatorOutcome::Value)))
            .collect(),
        Err(reason) => {
            let failed = |indicator: &&dyn Indicator| {
                (indicator.facts().name.to_owned(), IndicatorOutcome::Failed(reason.clone()))
            };
            indicators.iter().map(failed).collect()
        }
    }
}
