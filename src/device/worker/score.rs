//! Scoring architectures for somebody else: the space and how indicators are computed come with the request.

use super::super::remote::message::{ScoreOutcomes, ScoreWork};
use crate::genotype::Genotype;
use crate::indicator::{self, Indicator, Probes, Scores};
use crate::network::Compute;
use crate::space::SearchSpace;
use std::ops::ControlFlow;
use std::path::Path;

/// The space and the probes of the last request, which most likely are the next one's.
#[derive(Default)]
pub(super) struct Scoring(Option<Loaded>);

struct Loaded {
    /// What they were made of, without what is asked of them.
    of: ScoreWork,
    space: SearchSpace,
    probes: Probes,
}

impl Scoring {
    /// The scores of the work's architectures, in their order, or why there are none of any.
    pub fn score(&mut self, work: &ScoreWork, compute: Compute) -> Result<Vec<ScoreOutcomes>, String> {
        let of = ScoreWork { indicators: vec![], genotypes: vec![], ..work.clone() };
        if self.0.as_ref().is_none_or(|loaded| loaded.of != of) {
            self.0 = Some(Loaded::new(of, compute)?);
        }
        let Loaded { space, probes, .. } = self.0.as_ref().ok_or("nothing is loaded")?;
        let indicators = work.indicators.iter().map(|name| indicator::named(name));
        let indicators: Vec<&'static dyn Indicator> = indicators.collect::<Result<_, String>>()?;
        let fits = |genotype: &Genotype| {
            let genes = genotype.genes();
            genes.len() == space.choices().len()
                && genes.iter().zip(space.choices()).all(|(&gene, &of)| usize::from(gene) < of)
        };
        if let Some(genotype) = work.genotypes.iter().find(|genotype| !fits(genotype)) {
            return Err(format!("genotype {genotype:?}: not one of space `{}`", space.name));
        }
        let genotypes: Vec<&Genotype> = work.genotypes.iter().collect();
        let mut outcomes = vec![ScoreOutcomes::new(); genotypes.len()];
        let _ = indicator::score_each(probes, space, &genotypes, &indicators, |index, scores, _| {
            outcomes[index] = of_scores(scores);
            ControlFlow::Continue(())
        });
        Ok(outcomes)
    }
}

impl Loaded {
    fn new(of: ScoreWork, compute: Compute) -> Result<Self, String> {
        if of.settings.data.is_some() {
            return Err("indicators.data: images of a data set are not sent to agents".to_owned());
        }
        let space = SearchSpace::parse(&of.space, Path::new("space")).map_err(|error| error.to_string())?;
        let space = space.with_network(&of.network).map_err(|error| error.to_string())?;
        let device = compute.open().map_err(|error| format!("compute {compute}: {error}"))?;
        let probes = Probes::new(&space, of.settings.clone(), of.seed, device).map_err(|error| error.to_string())?;
        Ok(Self { of, space, probes })
    }
}

fn of_scores(scores: Scores) -> ScoreOutcomes {
    let outcome = |(name, score): (&str, Result<_, indicator::IndicatorError>)| {
        (name.to_owned(), score.map_err(|error| error.to_string()))
    };
    scores.into_iter().map(outcome).collect()
}
