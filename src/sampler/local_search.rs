//! Hill climbing with restarts (White, Nolen, Savani 2021: "Exploring the loss landscape in neural architecture search"), and
//! for several objectives Pareto local search (Paquete, Chiarandini, Stützle 2004).
//!
//! A climb begins with `initial` random draws, of which it keeps the front (with one objective: the best). The neighbours of a
//! member, all that differ in one gene, are asked for in a random order, `batch` at a time; what no member dominates
//! joins, what it dominates leaves. `first` turns to a better member as soon as there is one, `best` when all neighbours are
//! known. Of members whose neighbours are not known the least crowded is next. When all are known, a new climb begins.
//! Multi-objective by dominance, constraints first. Neighbours that an earlier climb has asked for are passed over.

use super::draws::Draws;
use super::rounds::{InRounds, Rounds, Told};
use super::variation::neighbours;
use super::{Problem, Sampler, SamplerError, at_least};
use crate::genotype::Genotype;
use crate::pareto::{ParetoFront, crowding_distances};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::{HashSet, VecDeque};

/// How local search climbs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalSearchOptions {
    /// When it turns to a better neighbour.
    pub improvement: Improvement,
    /// Random draws that a climb begins with.
    pub initial: usize,
    /// Neighbours that are asked for at once.
    pub batch: usize,
}

/// When a climb turns to a better neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Improvement {
    /// As soon as one is known.
    #[default]
    First,
    /// When all are known.
    Best,
}

impl Default for LocalSearchOptions {
    fn default() -> Self {
        Self { improvement: Improvement::default(), initial: 10, batch: 8 }
    }
}

impl LocalSearchOptions {
    /// The search at its start.
    ///
    /// # Errors
    /// If `initial` or `batch` are 0.
    pub fn sampler(&self, problem: &Problem, seed: u64) -> Result<Box<dyn Sampler>, SamplerError> {
        at_least("initial", self.initial, 1)?;
        at_least("batch", self.batch, 1)?;
        Ok(Box::new(InRounds::new(LocalSearch {
            options: self.clone(),
            draws: Draws::new(problem.space.clone()),
            rng: ChaCha8Rng::seed_from_u64(seed),
            front: ParetoFront::new(),
            explored: HashSet::new(),
            centre: None,
        })))
    }
}

struct LocalSearch {
    options: LocalSearchOptions,
    draws: Draws,
    rng: ChaCha8Rng,
    /// The best of this climb.
    front: ParetoFront<Genotype>,
    /// Members of the front whose neighbours are all known.
    explored: HashSet<Genotype>,
    /// The member whose neighbours are being asked for, and those that are left.
    centre: Option<(Genotype, VecDeque<Genotype>)>,
}

impl Rounds for LocalSearch {
    fn name(&self) -> &'static str {
        "local_search"
    }

    fn next(&mut self, told: Vec<Told>) -> Vec<Genotype> {
        for Told { genotype, vector } in told {
            if let Some(vector) = vector {
                self.front.insert(genotype, vector);
            }
        }
        while let Some(genotypes) = self.around() {
            if !genotypes.is_empty() {
                return genotypes;
            }
        }
        (self.front, self.explored) = (ParetoFront::new(), HashSet::new());
        (0..self.options.initial).map_while(|_| self.draws.draw(&mut self.rng)).collect()
    }
}

impl LocalSearch {
    /// Some neighbours of the centre, or of the next one; maybe none that is new. `None` if the climb is over.
    fn around(&mut self) -> Option<Vec<Genotype>> {
        let is_member = |genotype: &Genotype| self.front.members().iter().any(|(member, _)| member == genotype);
        if self.options.improvement == Improvement::First && self.centre.as_ref().is_some_and(|(at, _)| !is_member(at))
        {
            self.centre = None;
        }
        let (centre, mut left) = match self.centre.take() {
            Some(centre) => centre,
            None => {
                let centre = self.least_crowded()?;
                let space = self.draws.space();
                let around = neighbours(&centre, space.choices()).into_iter();
                // What changes nothing is no neighbour.
                let mut around: Vec<Genotype> =
                    around.map(|other| space.canonical(other)).filter(|other| *other != centre).collect();
                around.shuffle(&mut self.rng);
                (centre, around.into())
            }
        };
        let mut genotypes = vec![];
        while genotypes.len() < self.options.batch
            && let Some(genotype) = left.pop_front()
        {
            if self.draws.take(&genotype) {
                genotypes.push(genotype);
            }
        }
        if left.is_empty() {
            self.explored.insert(centre.clone());
        }
        self.centre = (!left.is_empty()).then_some((centre, left));
        Some(genotypes)
    }

    /// The member to go on from; of equals the one that came first.
    fn least_crowded(&self) -> Option<Genotype> {
        let members = self.front.members();
        let costs: Vec<&[f64]> = members.iter().map(|(_, vector)| vector.costs()).collect();
        let distances = crowding_distances(&costs);
        let unexplored = (0..members.len()).filter(|&at| !self.explored.contains(&members[at].0));
        let next = unexplored.min_by(|&a, &b| distances[b].total_cmp(&distances[a]));
        next.map(|at| members[at].0.clone())
    }
}
