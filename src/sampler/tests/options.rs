//! Strategies by name, and options out of their range.

use super::*;

#[test]
fn names_are_those_of_configs() {
    for options in SamplerOptions::all() {
        let sampler = options.sampler(&problem(&space(&[2; 3])), 1).unwrap();
        assert_eq!(sampler.name(), options.name());
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<SamplerOptions>(&text).unwrap(), options);
    }
}

#[test]
fn bad_options_are_named() {
    let check = |options: Nsga2Options, expected: &str| {
        assert_eq!(Nsga2::new(space(&[2; 3]), options, 1).unwrap_err().to_string(), expected);
    };
    check(Nsga2Options { population: 1, ..Default::default() }, "population is 1: expected 2 or more");
    let mutation = Nsga2Options { mutation: Some(1.5), ..Default::default() };
    check(mutation, "mutation is 1.5: expected a probability from 0 to 1");
    let refused = |text: &str, expected: &str| {
        let options: SamplerOptions = crate::yaml::parse(text, std::path::Path::new("s.yaml")).unwrap();
        let found = options.sampler(&problem(&space(&[2; 3])), 1).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), Some(expected), "{text}");
    };
    refused("ageing_evolution: {population: 1}", "population is 1: expected 2 or more");
    refused("ageing_evolution: {tournament: 0}", "tournament is 0: expected 1 or more");
    refused("teg_evolution: {batch: 0}", "batch is 0: expected 1 or more");
    refused("local_search: {initial: 0}", "initial is 0: expected 1 or more");
    refused("reinforce: {learning_rate: 0}", "learning_rate is 0: expected more than 0");
    refused("reinforce: {baseline: 1}", "baseline is 1: expected 0 to below 1");
    refused("robot: {evaluations: 0}", "evaluations is 0: expected 1 or more");
    refused("successive_halving: {levels: [[sum], [summ]]}", "no metric `summ`: expected one of sum, error");
    refused("successive_halving: {levels: []}", "levels is 0: expected 1 or more");
    let weights = "weights is 3: expected as many numbers as objectives";
    refused("te_nas: {scalarize: {weighted: {weights: [1, 1, 1]}}}", weights);
    for options in SamplerOptions::all() {
        let without = options.sampler(&Problem::new(space(&[2; 3]), 2), 1);
        assert_eq!(without.is_err(), options.needs_metrics(), "{}", options.name());
    }
    let choices = |choices: &[usize]| GeneSpace::new(choices.to_vec(), Arc::new(|_| None)).unwrap_err().to_string();
    assert_eq!(choices(&[]), "search space without decisions");
    assert_eq!(choices(&[2, 300]), "decision 1 has 300 choices: expected 1 to 256");
}
