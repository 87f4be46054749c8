use crate::genotype::{ArchId, Genotype};
use crate::objective::ObjectiveVector;
use crate::sampler::tests::{evaluate, front_volume, run, space, sums};
use crate::sampler::{
    BayesianOptions, GbdtOptions, GeneSpace, LinasOptions, ModelBased, Problem, PruneOptions, RandomSearch, Sampler,
    SamplerOptions,
};
use crate::surrogate::{Acquisition, BoostedTreesOptions, Ucb};
use std::collections::HashSet;
use std::sync::Arc;

/// Searches by models, small enough for tests.
fn model_based(space: &GeneSpace, seed: u64) -> Vec<Box<dyn Sampler>> {
    let trees = BoostedTreesOptions { rounds: 20, ensemble: 2, ..BoostedTreesOptions::default() };
    let gbdt = |prune| {
        let options = GbdtOptions { initial: 16, batch: 16, trees: trees.clone(), prune, ..GbdtOptions::default() };
        ModelBased::gbdt(space.clone(), options, seed).unwrap()
    };
    let bayesian = |acquisition| {
        let options = BayesianOptions { initial: 16, batch: 8, acquisition, ..BayesianOptions::default() };
        ModelBased::bayesian(space.clone(), options, seed).unwrap()
    };
    let linas = LinasOptions { initial: 16, batch: 16, inner_evaluations: 500, ..LinasOptions::default() };
    vec![
        Box::new(ModelBased::linas(space.clone(), linas, seed).unwrap()),
        Box::new(gbdt(None)),
        Box::new(gbdt(Some(PruneOptions { choices: 2 }))),
        Box::new(bayesian(None)),
        Box::new(bayesian(Some(Acquisition::ExpectedImprovement))),
        Box::new(bayesian(Some(Acquisition::Ucb(Ucb::default())))),
        Box::new(bayesian(Some(Acquisition::Diversity))),
        Box::new(bayesian(Some(Acquisition::Committee))),
    ]
}

#[test]
fn models_beat_random_search() {
    let volumes = |pick: &dyn Fn(u64) -> Box<dyn Sampler>| -> f64 {
        (0..3).map(|seed| front_volume(&run(pick(seed).as_mut(), 48, 16, 0))).sum::<f64>()
    };
    // A space that is predicted as a whole, and one that is too large.
    for choices in [vec![4; 6], vec![6; 8]] {
        let space = space(&choices);
        let random = volumes(&|seed| Box::new(RandomSearch::new(space.clone(), seed)));
        // Diversity and committee are for good models, not for good fronts.
        for at in 0..6 {
            let found = volumes(&|seed| model_based(&space, seed).swap_remove(at));
            assert!(found > 1.005 * random, "{at} in {choices:?}: {found}, random {random}");
        }
    }
}

#[test]
fn models_do_not_see_workers_or_the_order_of_telling() {
    let space = space(&[4; 5]);
    for at in 0..model_based(&space, 1).len() {
        let archive = |batch: usize| run(model_based(&space, 1)[at].as_mut(), 40, batch, 5);
        let expected = archive(16);
        assert_eq!(expected, archive(1), "one at a time");
        assert_eq!(expected, archive(7), "across batches");
        assert_eq!(expected[..16], RandomSearch::new(space.clone(), 1).ask(16)[..], "starts as random search");

        let mut sampler = model_based(&space, 1).swap_remove(at);
        let mut backwards = vec![];
        while backwards.len() < 40 {
            let genotypes = sampler.ask(40 - backwards.len());
            backwards.extend(genotypes.iter().cloned());
            genotypes.iter().rev().for_each(|g| sampler.tell(g, evaluate(g, 5).as_ref()));
        }
        assert_eq!(expected, backwards, "{}", sampler.name());
    }
}

#[test]
fn models_exhaust_a_space_and_bear_failures() {
    for (space, architectures) in [(space(&[5, 1, 4, 3]), 60), (sums(&[3; 5]), 10)] {
        for failing in [3, 1] {
            for mut sampler in model_based(&space, 5) {
                let archive = run(sampler.as_mut(), usize::MAX, 16, failing);
                let ids: HashSet<ArchId> = archive.iter().map(|genotype| space.id(genotype).unwrap()).collect();
                assert_eq!((archive.len(), ids.len()), (architectures, architectures), "{}", sampler.name());
            }
        }
    }
}

#[test]
fn models_learn_constraints_and_statistics() {
    let limit = 90.0;
    let statistics = Arc::new(|genotype: &Genotype| vec![evaluate(genotype, 0).unwrap().costs()[0]]);
    for at in [0, 1, 3, 4, 5] {
        let mut sampler = model_based(&space(&[5; 6]).with_statistics(statistics.clone()), 7).swap_remove(at);
        let mut feasible = vec![];
        while feasible.len() < 64 {
            for genotype in sampler.ask(16) {
                let vector = evaluate(&genotype, 0).unwrap();
                let violation = (vector.costs()[0] / limit - 1.0).max(0.0);
                feasible.push(violation == 0.0);
                sampler.tell(&genotype, Some(&ObjectiveVector::new(vector.costs().to_vec(), violation)));
            }
        }
        let count = |part: &[bool]| part.iter().filter(|&&feasible| feasible).count();
        let (first, last) = (count(&feasible[..16]), count(&feasible[48..64]));
        assert!(first < 8 && last >= 12, "{}: {first} at first, {last} at last", sampler.name());
    }
}

#[test]
fn one_cost_and_three_are_searched_too() {
    let space = space(&[4; 5]);
    for costs in [1, 3] {
        for mut sampler in model_based(&space, 3) {
            let mut best = f64::INFINITY;
            for _ in 0..6 {
                for genotype in sampler.ask(8) {
                    let mut vector = evaluate(&genotype, 0).unwrap().costs().to_vec();
                    vector.push(f64::from(genotype.genes()[0]));
                    vector.drain(..usize::from(costs == 1));
                    vector.truncate(costs);
                    best = best.min(vector[0]);
                    sampler.tell(&genotype, Some(&ObjectiveVector::feasible(vector)));
                }
            }
            assert!(best.is_finite());
        }
    }
}

#[test]
fn bad_options_of_models_are_named() {
    let check = |options: SamplerOptions, expected: &str| {
        let problem = Problem::new(space(&[2; 3]), 1);
        assert_eq!(options.sampler(&problem, 1).err().unwrap().to_string(), expected);
    };
    let linas = |initial, batch| SamplerOptions::Linas(LinasOptions { initial, batch, ..LinasOptions::default() });
    check(linas(1, 10), "initial is 1: expected 2 or more");
    check(linas(10, 0), "batch is 0: expected 1 or more");
    let trees = BoostedTreesOptions { leaves: 1, ..BoostedTreesOptions::default() };
    check(SamplerOptions::Gbdt(GbdtOptions { trees, ..GbdtOptions::default() }), "leaves is 1: expected 2 or more");
    let acquisition = Some(Acquisition::Ucb(Ucb { beta: -1.0 }));
    check(
        SamplerOptions::Bayesian(BayesianOptions { acquisition, ..BayesianOptions::default() }),
        "beta is -1: expected 0 or more",
    );
}
