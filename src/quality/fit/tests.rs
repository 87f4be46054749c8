use super::examples::{Example, Examples, normal_scores};
use super::{correction, pairwise, robot};
use crate::statistics::spearman;
use nalgebra::DVector;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Two merits without correlation, of which the labels are `weights`' sum; genes say nothing.
fn planted(count: usize, weights: [f64; 2]) -> Vec<Example> {
    let one = |i: usize| {
        let merits = [(i % 20) as f64, (i * 7 % 20) as f64].map(|x| (x - 9.5) / 5.77);
        let label = merits[0] * weights[0] + merits[1] * weights[1];
        Example { merits: DVector::from_row_slice(&merits), genes: vec![0], macs: 0.0, label }
    };
    (0..count).map(one).collect()
}

fn prior() -> DVector<f64> {
    DVector::from_vec(vec![1.0, 0.0])
}

fn rho(examples: &[&Example], scores: &[f64]) -> f64 {
    spearman(scores, &examples.iter().map(|example| example.label).collect::<Vec<_>>()).unwrap()
}

#[test]
fn weights_start_from_the_prior_and_follow_the_labels() {
    let examples = planted(200, [1.0, 3.0]);
    let ratio = |count: usize, diff_kendall: bool| {
        let known: Vec<&Example> = examples.iter().take(count).collect();
        let weights = pairwise::weights(&known, &prior(), diff_kendall);
        weights[1] / weights[0]
    };
    for diff_kendall in [false, true] {
        assert_eq!(ratio(0, diff_kendall), 0.0);
        assert!(ratio(4, diff_kendall).abs() < 0.5, "four labels change little");
        let [few, many] = [ratio(40, diff_kendall), ratio(200, diff_kendall)];
        assert!(few < many && many > 1.5, "{diff_kendall}: {few} {many}");
    }
}

#[test]
fn a_correction_learns_what_the_recipe_has_not() {
    let examples = planted(200, [1.0, 1.0]);
    let all: Vec<&Example> = examples.iter().collect();
    let (known, others) = all.split_at(60);
    let plain: Vec<f64> = others.iter().map(|example| example.score(&prior())).collect();
    let corrected = correction::scores(known, others, &prior());
    assert!(rho(others, &corrected) > rho(others, &plain) + 0.1);
    // Without labels it is the recipe.
    assert!((rho(others, &correction::scores(&[], others, &prior())) - rho(others, &plain)).abs() < 1e-12);
}

#[test]
fn robot_finds_what_its_weights_lead_to() {
    let all = planted(200, [-1.0, 0.2]);
    let best = all.iter().map(|example| example.label).fold(f64::MIN, f64::max);
    let pool = Examples { names: vec![], prior: prior(), all };
    let found = |evaluations| robot::best_found(&pool, evaluations, &mut ChaCha8Rng::seed_from_u64(1));
    assert!(found(20) > 0.9 * best, "{} of {best}", found(20));
    assert!(found(1) <= found(20));
    assert_eq!(found(20), found(20));
}

#[test]
fn normal_scores_are_symmetric() {
    let scores = normal_scores(&[10.0, 30.0, 20.0]);
    assert!(scores[2].abs() < 1e-12 && (scores[0] + scores[1]).abs() < 1e-12 && scores[1] > 0.8);
}
