//! NSGA-III (Deb, Jain 2014: "An evolutionary many-objective optimization algorithm using reference-point-based nondominated
//! sorting approach, part I"; constraints as in part II).
//!
//! The best of parents and children go on, front by front. Of the last front those go on that are nearest to the reference
//! directions with the fewest survivors around them, in normalised costs. Parents are drawn evenly. Feasible candidates
//! come first, then the least violation, failed trials last; tournaments compare by nothing else.

mod directions;
mod normalise;

use super::generational::{Feasibility, Fitness, Generational, Genes, Survival, Survivor};
use super::{Problem, SamplerError};
use crate::objective::ObjectiveVector;
use crate::pareto::non_dominated_fronts;
use normalise::Normalisation;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

pub use directions::{das_dennis, layers};

/// The smallest population where none is given.
const POPULATION: usize = 16;
/// The most reference directions.
const DIRECTIONS: usize = 10_000;

/// How NSGA-III spreads its directions and breeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nsga3Options {
    /// Size of the population, and of each generation, at least the number of reference directions; where absent that
    /// number, or 16 if that is more.
    pub population: Option<usize>,
    /// Into how many parts each axis is divided: p parts make (p + objectives - 1 over p) reference directions. Where absent as
    /// many as the population has room for.
    pub partitions: Option<usize>,
    /// The same of a second layer of directions, which is half as wide around the same centre: for many objectives, where few
    /// partitions leave the middle empty. Only beside `partitions`; where both are absent it is made where it is of use.
    pub inner_partitions: Option<usize>,
    /// Probability that two parents are crossed over; else the child is a copy of the first, mutated.
    pub crossover: f64,
    /// Probability that a gene mutates; 1 / number of genes where absent.
    pub mutation: Option<f64>,
}

impl Default for Nsga3Options {
    fn default() -> Self {
        Self { population: None, partitions: None, inner_partitions: None, crossover: 1.0, mutation: None }
    }
}

impl Nsga3Options {
    /// The reference directions for this number of objectives.
    fn directions(&self, objectives: usize) -> Result<Vec<Vec<f64>>, SamplerError> {
        let wrong = |field, value: usize, expected| Err(SamplerError::Option { field, value: value as f64, expected });
        let (outer, inner) = match (self.partitions, self.inner_partitions) {
            (Some(0), _) => return wrong("partitions", 0, "1 or more"),
            (None, Some(inner)) => return wrong("inner_partitions", inner, "partitions beside it"),
            (Some(outer), inner) => (outer, inner),
            (None, None) => directions::finest(objectives, self.population.unwrap_or(POPULATION)),
        };
        for (field, partitions) in [("partitions", Some(outer)), ("inner_partitions", inner)] {
            if let Some(partitions) = partitions
                && directions::count(objectives, partitions) > DIRECTIONS
            {
                return wrong(field, partitions, "few enough for at most 10,000 reference directions");
            }
        }
        Ok(layers(objectives, outer, inner))
    }
}

/// NSGA-III.
pub type Nsga3 = Generational<Genes, ReferenceDirections>;

impl Nsga3 {
    /// A search of `problem` from `seed`.
    ///
    /// # Errors
    /// If a probability is out of 0 to 1, or the population is below 2 or below the number of reference directions.
    pub fn new(problem: &Problem, options: &Nsga3Options, seed: u64) -> Result<Self, SamplerError> {
        let directions = options.directions(problem.objectives)?;
        let population = options.population.unwrap_or(POPULATION.max(directions.len()));
        if population < directions.len() {
            let expected = "as many as there are reference directions";
            return Err(SamplerError::Option { field: "population", value: population as f64, expected });
        }
        let genes = Genes::new(problem.space.clone(), options.crossover, options.mutation)?;
        Self::start(genes, ReferenceDirections::new(directions), population, seed)
    }
}

/// Survival by niches around reference directions.
#[derive(Clone, Debug)]
pub struct ReferenceDirections {
    /// Of length 1, one after the other.
    directions: Vec<f64>,
    /// How many.
    count: usize,
    normalisation: Normalisation,
}

impl ReferenceDirections {
    /// Niches around these directions, whatever their lengths.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(directions: Vec<Vec<f64>>) -> Self {
        assert!(!directions.is_empty(), "niches without directions");
        let unit = |direction: &Vec<f64>| {
            let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
            direction.iter().map(|x| x / length).collect::<Vec<f64>>()
        };
        let count = directions.len();
        Self { directions: directions.iter().flat_map(unit).collect(), count, normalisation: Normalisation::default() }
    }

    /// Places among `population`, which breaks no constraints: `count` that go on, or all.
    fn feasible(&mut self, population: &[&ObjectiveVector], count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        if population.is_empty() {
            return vec![];
        }
        let costs: Vec<&[f64]> = population.iter().map(|vector| vector.costs()).collect();
        assert_eq!(
            self.directions.len(),
            self.count * costs[0].len(),
            "vectors of other objectives than the directions"
        );
        let fronts = non_dominated_fronts(population);
        self.normalisation.update(&costs, &fronts[0]);
        let mut survivors: Vec<usize> = vec![];
        for front in fronts {
            if survivors.len() + front.len() > count {
                let needed = count - survivors.len();
                let chosen = self.niches(&costs, &survivors, &front, needed, rng);
                survivors.extend(chosen);
                break;
            }
            survivors.extend(front);
        }
        survivors
    }

    /// `needed` of `front`, from the niches that have the fewest of `survivors` and of those already chosen.
    fn niches(
        &self,
        costs: &[&[f64]],
        survivors: &[usize],
        front: &[usize],
        needed: usize,
        rng: &mut ChaCha8Rng,
    ) -> Vec<usize> {
        let mut counts = vec![0usize; self.count];
        survivors.iter().for_each(|&at| counts[self.nearest(costs[at]).0] += 1);
        let mut waiting: Vec<Vec<(usize, f64)>> = vec![vec![]; self.count];
        for &at in front {
            let (niche, distance) = self.nearest(costs[at]);
            waiting[niche].push((at, distance));
        }
        let mut chosen = Vec::with_capacity(needed);
        while chosen.len() < needed {
            let open = || (0..counts.len()).filter(|&niche| !waiting[niche].is_empty());
            let least = open().map(|niche| counts[niche]).min().expect("a front has more than are needed of it");
            let mut next: Vec<usize> = open().filter(|&niche| counts[niche] == least).collect();
            // Each as likely to be among those that still find room.
            for at in (1..next.len()).rev() {
                next.swap(at, below(at + 1, rng));
            }
            for niche in next.into_iter().take(needed - chosen.len()) {
                let members = &mut waiting[niche];
                let nearest = (0..members.len()).min_by(|&a, &b| members[a].1.total_cmp(&members[b].1));
                let at = nearest.filter(|_| counts[niche] == 0).unwrap_or_else(|| below(members.len(), rng));
                chosen.push(members.swap_remove(at).0);
                counts[niche] += 1;
            }
        }
        chosen
    }

    /// The direction nearest to a vector of costs, and its distance.
    fn nearest(&self, costs: &[f64]) -> (usize, f64) {
        let normal = self.normalisation.normalise(costs);
        let (mut niche, mut length) = (0, f64::NEG_INFINITY);
        // The inner loop of the whole search.
        for (at, direction) in self.directions.chunks_exact(normal.len()).enumerate() {
            let along = normal.iter().zip(direction).fold(0.0, |sum, (a, b)| sum + a * b);
            if along > length {
                (niche, length) = (at, along);
            }
        }
        let direction = &self.directions[niche * normal.len()..];
        let off = normal.iter().zip(direction).map(|(a, b)| (a - length * b).powi(2));
        (niche, off.sum::<f64>().sqrt())
    }
}

impl Survival for ReferenceDirections {
    fn name(&self) -> &'static str {
        "nsga3"
    }

    fn select(&mut self, candidates: &[Option<ObjectiveVector>], count: usize, rng: &mut ChaCha8Rng) -> Vec<Survivor> {
        let Feasibility { feasible, others } = Feasibility::of(candidates);
        let vectors: Vec<&ObjectiveVector> = feasible.iter().filter_map(|&at| candidates[at].as_ref()).collect();
        let chosen = self.feasible(&vectors, count, rng).into_iter();
        let fitness = Fitness { rank: 0, room: 0.0 };
        chosen.map(|at| Survivor { at: feasible[at], fitness }).chain(others).take(count).collect()
    }
}

fn below(count: usize, rng: &mut ChaCha8Rng) -> usize {
    // u64: `usize` would draw other numbers on a 32-bit machine.
    rng.random_range(0..count as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genotype::{ArchId, Genotype};
    use crate::sampler::GeneSpace;
    use rand::SeedableRng;
    use std::sync::Arc;

    fn check(candidates: &[Option<ObjectiveVector>], partitions: usize, count: usize, expected: &[usize]) {
        for seed in 0..8 {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            let found = ReferenceDirections::new(das_dennis(2, partitions)).select(candidates, count, rng);
            let mut places: Vec<usize> = found.iter().map(|survivor| survivor.at).collect();
            places.sort_unstable();
            assert_eq!(places, expected, "seed {seed}");
        }
    }

    fn on_a_line(xs: &[f64]) -> Vec<Option<ObjectiveVector>> {
        // Units far apart do not count.
        xs.iter().map(|x| Some(ObjectiveVector::feasible(vec![5.0 + x, 1e6 * (1.0 - x)]))).collect()
    }

    #[test]
    fn the_nearest_to_each_direction_go_on() {
        check(&on_a_line(&[0.0, 0.05, 0.1, 0.45, 0.52, 0.95, 1.0]), 2, 3, &[0, 4, 6]);
        check(&on_a_line(&[1.0, 0.3, 0.26, 0.0, 0.6, 0.5, 0.74]), 4, 5, &[0, 2, 3, 5, 6]);
    }

    #[test]
    fn empty_niches_come_first() {
        // Three of the first front stand around one direction, so that of the second front the other direction's goes on.
        let costs = [[0.0, 10.0], [0.1, 9.0], [0.2, 8.0], [0.3, 11.0], [9.0, 8.5]];
        let candidates: Vec<_> = costs.iter().map(|costs| Some(ObjectiveVector::feasible(costs.to_vec()))).collect();
        check(&candidates, 1, 4, &[0, 1, 2, 4]);
    }

    #[test]
    fn the_feasible_come_first_then_the_least_violation() {
        let broken = |violation: f64| Some(ObjectiveVector::new(vec![0.0, 0.0], violation));
        let mut candidates = on_a_line(&[0.0, 0.5, 1.0]);
        candidates.extend([None, broken(3.0), broken(1.0), broken(2.0)]);
        check(&candidates, 2, 5, &[0, 1, 2, 5, 6]);
        check(&candidates, 2, 6, &[0, 1, 2, 4, 5, 6]);
        check(&candidates, 2, 9, &[0, 1, 2, 3, 4, 5, 6]);
        check(&candidates[3..], 2, 2, &[2, 3]);
        check(&[], 2, 2, &[]);
    }

    fn problem() -> Problem {
        let id = |genotype: &Genotype| Some(ArchId::new(format!("{genotype:?}")));
        Problem::new(GeneSpace::new(vec![4; 6], Arc::new(id)).unwrap(), 3)
    }

    #[test]
    fn a_population_has_room_for_its_directions() {
        let check = |text: &str, expected: usize| {
            let options: Nsga3Options = crate::yaml::parse(text, std::path::Path::new("s.yaml")).unwrap();
            assert_eq!(Nsga3::new(&problem(), &options, 1).unwrap().ask(1000).len(), expected, "{text}");
        };
        check("{}", 16);
        check("partitions: 12", 91);
        check("{partitions: 2, inner_partitions: 1}", 16);
        check("{partitions: 2, inner_partitions: 1, population: 20}", 20);
    }

    #[test]
    fn bad_options_are_named() {
        let check = |options: Nsga3Options, expected: &str| {
            assert_eq!(Nsga3::new(&problem(), &options, 1).unwrap_err().to_string(), expected);
        };
        let default = Nsga3Options::default;
        let few = "expected as many as there are reference directions";
        let partitions = Some(12);
        check(Nsga3Options { population: Some(90), partitions, ..default() }, &format!("population is 90: {few}"));
        check(Nsga3Options { population: Some(1), ..default() }, &format!("population is 1: {few}"));
        check(Nsga3Options { partitions: Some(0), ..default() }, "partitions is 0: expected 1 or more");
        let alone = Nsga3Options { inner_partitions: Some(2), ..default() };
        check(alone, "inner_partitions is 2: expected partitions beside it");
        let many = Nsga3Options { partitions: Some(1000), ..default() };
        check(many, "partitions is 1000: expected few enough for at most 10,000 reference directions");
        check(Nsga3Options { crossover: -1.0, ..default() }, "crossover is -1: expected a probability from 0 to 1");
    }
}
