//! A search strategy of one's own, a climber along the front, held against NSGA-II and random search on the same problem.
//!
//! `cargo run --release --example own_sampler`

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{collections::HashSet, sync::Arc};
use tegu::genotype::{ArchId, Genotype};
use tegu::objective::ObjectiveVector;
use tegu::pareto::ParetoFront;
use tegu::sampler::{GeneSpace, Problem, Sampler, SamplerOptions};
use tegu::space::{Scale, SearchSpace};

/// Changes one gene of a member of the front, until something new comes out.
struct Climber {
    space: GeneSpace,
    rng: ChaCha8Rng,
    seen: HashSet<ArchId>,
    front: ParetoFront<Genotype>,
}

impl Climber {
    fn propose(&mut self) -> Genotype {
        let (choices, rng) = (self.space.choices(), &mut self.rng);
        let members = self.front.members();
        if members.is_empty() {
            return Genotype::new(choices.iter().map(|&count| rng.random_range(0..count) as u8).collect());
        }
        let (parent, _) = &members[rng.random_range(0..members.len())];
        let decision = rng.random_range(0..choices.len());
        parent.with_gene(decision, rng.random_range(0..choices[decision]) as u8)
    }
}

impl Sampler for Climber {
    fn name(&self) -> &str {
        "climber"
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        // A front all of whose neighbours are known ends it; a real strategy would start anew.
        let proposals: Vec<Genotype> = (0..1000).map(|_| self.propose()).collect();
        let is_new = |genotype: &Genotype| self.space.id(genotype).is_some_and(|id| self.seen.insert(id));
        proposals.into_iter().filter(is_new).take(n).collect()
    }

    fn tell(&mut self, genotype: &Genotype, outcome: Option<&ObjectiveVector>) {
        if let Some(vector) = outcome {
            self.front.insert(genotype.clone(), vector.clone());
        }
    }
}

/// Few parameters, and many layers on the longest path.
fn costs(space: &SearchSpace, genotype: &Genotype) -> Option<ObjectiveVector> {
    let graph = space.lower(genotype, Scale::Full).ok()?.live().ok()?;
    Some(ObjectiveVector::feasible(vec![graph.cost().params as f64 / 1e6, -(graph.depth() as f64)]))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = Arc::new(SearchSpace::open("nas-bench-201")?);
    let identified = Arc::clone(&space);
    let genes = GeneSpace::new(space.choices().to_vec(), Arc::new(move |genotype| identified.id(genotype)))?;
    let problem = Problem::new(genes.clone(), 2);
    for seed in 1..=3 {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let climber = Climber { space: genes.clone(), rng, seen: HashSet::new(), front: ParetoFront::new() };
        let nsga2 = SamplerOptions::default().sampler(&problem, seed)?;
        for mut sampler in
            [Box::new(climber) as Box<dyn Sampler>, nsga2, SamplerOptions::Random.sampler(&problem, seed)?]
        {
            let (mut front, mut trials) = (ParetoFront::new(), 0);
            while trials < 100 {
                let asked = sampler.ask((100 - trials).min(8));
                if asked.is_empty() {
                    break;
                }
                trials += asked.len();
                for genotype in asked {
                    let outcome = costs(&space, &genotype);
                    sampler.tell(&genotype, outcome.as_ref());
                    outcome.iter().for_each(|vector| _ = front.insert((), vector.clone()));
                }
            }
            let volume = front.hypervolume(&[2.0, 0.0]);
            println!("seed {seed}, {trials} trials, {:>7}: hypervolume {volume:.3}", sampler.name());
        }
    }
    Ok(())
}
