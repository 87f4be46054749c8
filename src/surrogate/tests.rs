use super::*;
use crate::pareto::hypervolume;
use crate::statistics::{kendall, spearman};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CHOICES: [usize; 5] = [3; 5];

/// Genotypes, their rows, and a target that is additive but for one pair of decisions.
fn planted(count: usize, seed: u64) -> (Rows, Vec<f64>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let encoding = Encoding::new(&CHOICES);
    let (mut rows, mut targets) = (Rows::new(encoding.width()), vec![]);
    for _ in 0..count {
        let genes: Vec<u8> = CHOICES.iter().map(|&count| rng.random_range(0..count as u64) as u8).collect();
        let gene = |at: usize| f64::from(genes[at]);
        targets.push(2.0 * gene(0) - gene(1) + 0.5 * gene(2) + if genes[3] == genes[4] { 1.0 } else { 0.0 });
        rows.push(encoding.row(&crate::genotype::Genotype::new(genes), &[]));
    }
    (rows, targets)
}

fn all() -> Vec<SurrogateOptions> {
    let mlp = |loss| SurrogateOptions::Mlp(MlpOptions { loss, ..MlpOptions::default() });
    vec![
        SurrogateOptions::Ridge(RidgeOptions::default()),
        SurrogateOptions::KernelRidge(KernelRidgeOptions::default()),
        SurrogateOptions::RidgeOrKernel,
        SurrogateOptions::GaussianProcess(GaussianProcessOptions::default()),
        SurrogateOptions::BoostedTrees(BoostedTreesOptions::default()),
        mlp(Loss::Mse),
        mlp(Loss::Pairwise),
        mlp(Loss::ListNet),
        mlp(Loss::DiffKendall),
    ]
}

#[test]
fn every_model_learns_what_is_planted() {
    let ((rows, targets), (others, truth)) = (planted(60, 1), planted(200, 2));
    for options in all() {
        let predict = || options.fit(&rows, &targets, 7).unwrap().predict(&others);
        let predictions = predict();
        let means: Vec<f64> = predictions.iter().map(|prediction| prediction.mean).collect();
        assert!(spearman(&means, &truth).unwrap() > 0.9, "{options:?}: {:?}", spearman(&means, &truth));
        let error = mean(&means.iter().zip(&truth).map(|(mean, truth)| (mean - truth).abs()).collect::<Vec<f64>>());
        assert!(error < 0.8, "{options:?}: {error}, in the targets' unit");
        assert!(predictions.iter().all(|prediction| prediction.deviation >= 0.0 && prediction.deviation.is_finite()));
        assert_eq!(predictions, predict(), "{options:?} is a function of its seed");
    }
}

#[test]
fn equal_targets_are_predicted_as_such() {
    let (rows, _) = planted(20, 3);
    for options in all() {
        let predictions = options.fit(&rows, &[4.0; 20], 7).unwrap().predict(&rows);
        let close = |prediction: &Prediction| (prediction.mean - 4.0).abs() < 0.6 && prediction.deviation.is_finite();
        assert!(predictions.iter().all(close), "{options:?}: {:?}", predictions[0]);
    }
}

#[test]
fn a_process_is_surer_of_what_is_near() {
    let (rows, targets) = planted(40, 4);
    for options in [
        SurrogateOptions::GaussianProcess(GaussianProcessOptions::default()),
        SurrogateOptions::KernelRidge(KernelRidgeOptions::default()),
    ] {
        let fitted = options.fit(&rows.select(&(0..20).collect::<Vec<_>>()), &targets[..20], 0).unwrap();
        let deviation = |rows: &Rows| mean(&fitted.predict(rows).iter().map(|p| p.deviation).collect::<Vec<f64>>());
        let (known, far) = (deviation(&rows.select(&[0, 1, 2])), deviation(&planted(100, 5).0));
        assert!(known < far, "{known} where it is known, {far} elsewhere");
    }
}

// import numpy as np; X = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0, 2]]); y = np.array([1, 2, 4, 4, 3.])
// A = np.c_[X - X.mean(0)]; w = np.linalg.solve(A.T @ A + .5 * np.eye(2), A.T @ (y - y.mean()))
// print((np.array([1, 2]) - X.mean(0)) @ w + y.mean())
#[test]
fn ridge_equals_numpys() {
    let mut rows = Rows::new(2);
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 2.0]].into_iter().for_each(|row| rows.push(row));
    let options = RidgeOptions { alphas: vec![0.5] };
    let fitted = ridge::Ridge::fit(&options, &rows, &[1.0, 2.0, 4.0, 4.0, 3.0]).unwrap();
    let mut place = Rows::new(2);
    place.push([1.0, 2.0]);
    let found = fitted.predict(&place)[0].mean;
    assert!((found - 4.4).abs() < 1e-9, "{found}");
}

#[test]
fn shapley_values_are_those_of_all_subsets() {
    let (rows, targets) = planted(60, 6);
    let options = BoostedTreesOptions { ensemble: 1, rounds: 3, leaves: 6, ..BoostedTreesOptions::default() };
    let trees = BoostedTrees::fit(&options, &rows, &targets, 1).unwrap();
    for at in 0..5 {
        let row = rows.row(at);
        let values = trees.contributions(row);
        let expected = trees.contributions_by_subsets(row);
        for (value, expected) in values.iter().zip(&expected) {
            assert!((value - expected).abs() < 1e-9, "{values:?} instead of {expected}");
        }
    }
    let harm = trees.contributions_where_set(&rows);
    let encoding = Encoding::new(&CHOICES);
    let of = |choice| harm[encoding.feature(0, choice)].unwrap();
    assert!(of(2) > 0.0 && of(0) < 0.0, "{harm:?}");
}

#[test]
fn gradients_are_those_of_the_losses() {
    let (predictions, targets) = ([0.3, -1.2, 2.0, 0.4, 0.0], [1.0, -0.5, 0.7, 0.7, -2.0]);
    for loss in [Loss::Mse, Loss::Pairwise, Loss::ListNet, Loss::DiffKendall] {
        let (_, gradient) = loss.gradient(&predictions, &targets);
        for at in 0..predictions.len() {
            let shifted = |by: f64| {
                let mut moved = predictions;
                moved[at] += by;
                loss.gradient(&moved, &targets).0
            };
            let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((slope - gradient[at]).abs() < 1e-8, "{loss:?}: {slope} and {}", gradient[at]);
        }
        let (of_wrong, of_right) =
            (loss.gradient(&[1.0, 0.0], &[0.0, 1.0]).0, loss.gradient(&[0.0, 1.0], &[0.0, 1.0]).0);
        assert!(of_right < of_wrong, "{loss:?}");
    }
}

#[test]
fn free_statistics_help_where_labels_are_few() {
    let ((rows, targets), (others, truth)) = (planted(8, 8), planted(200, 9));
    let mut statistics = Rows::new(1);
    // What is free is near to what is sought.
    truth.iter().zip(others.iter()).for_each(|(truth, row)| statistics.push([truth + row[0]]));
    let options = MlpOptions { ensemble: 2, ..MlpOptions::default() };
    let tau = |fitted: &dyn Surrogate| {
        let means: Vec<f64> = fitted.predict(&others).iter().map(|prediction| prediction.mean).collect();
        kendall(&means, &truth).unwrap()
    };
    let free = FreeStatistics { rows: &others, statistics: &statistics, epochs: 150 };
    let with = tau(options.fit_pretrained(&rows, &targets, &free, 3).unwrap().as_ref());
    let without = tau(SurrogateOptions::Mlp(options).fit(&rows, &targets, 3).unwrap().as_ref());
    assert!(with > without, "{with} with, {without} without");
}

#[test]
fn targets_keep_the_order() {
    let values = [3.0, 1.0, 2.0, 2.0, -50.0];
    let check = |transform: TargetTransform, expected: [f64; 5]| {
        let targets = transform.apply(&values);
        assert!(targets.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{targets:?}");
    };
    // from scipy.stats import norm, rankdata, zscore; v = [3, 1, 2, 2, -50]; norm.ppf((rankdata(v) - .5) / 5); zscore(v)
    check(
        TargetTransform::RankGauss,
        [1.2815515655446004, -0.5244005127080409, 0.2533471031357997, 0.2533471031357997, -1.2815515655446004],
    );
    check(
        TargetTransform::ZScore,
        [0.54782373466637, 0.4517143075319191, 0.49976902109914456, 0.49976902109914456, -1.9990760843965782],
    );
    check(TargetTransform::None, values);
    assert_eq!(TargetTransform::ZScore.apply(&[2.0; 3]), [0.0; 3]);
}

#[test]
fn expected_volumes_are_those_of_draws() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut normal = || crate::statistics::normal_quantile(rng.random_range(1e-9..1.0));
    let mut check = |front: &[Vec<f64>], reference: &[f64], prediction: &[Prediction], tolerance: f64| {
        let expected = ExpectedVolume::new(front, reference, 5).expected(prediction);
        let before = hypervolume(front, reference);
        let draws = 40_000;
        let added = |_| {
            let point = prediction.iter().map(|p| p.mean + p.deviation * normal()).collect::<Vec<f64>>();
            hypervolume(&[front, &[point]].concat(), reference) - before
        };
        let drawn = (0..draws).map(added).sum::<f64>() / f64::from(draws);
        assert!((expected - drawn).abs() < tolerance * drawn.max(0.01), "{expected}, {drawn} by draws");
    };
    let at = |mean: f64, deviation: f64| Prediction { mean, deviation };
    check(&[vec![1.0]], &[3.0], &[at(1.2, 0.5)], 0.05);
    let front = [vec![0.0, 2.0], vec![1.0, 1.0], vec![2.5, 0.2]];
    check(&front, &[3.0, 3.0], &[at(0.8, 0.6), at(0.9, 0.4)], 0.05);
    check(&front, &[3.0, 3.0], &[at(2.0, 0.1), at(2.0, 0.1)], 0.05);
    check(&[], &[3.0, 3.0], &[at(2.0, 1.0), at(1.0, 0.5)], 0.05);
    check(&front, &[3.0, 3.0], &[at(0.5, 0.0), at(0.5, 0.0)], 1e-9);
    let front = [vec![0.0, 2.0, 1.0], vec![1.0, 1.0, 1.0]];
    check(&front, &[3.0, 3.0, 3.0], &[at(0.5, 0.3), at(0.9, 0.3), at(0.8, 0.3)], 0.2);
}

#[test]
fn acquisitions_prefer_what_they_say() {
    let at = |mean: f64, deviation: f64| Prediction { mean, deviation };
    let (good, unsure) = (at(1.0, 0.1), at(1.5, 2.0));
    for (acquisition, prefers_good) in [
        (Acquisition::Greedy, true),
        (Acquisition::Ucb(Ucb { beta: 0.1 }), true),
        (Acquisition::Ucb(Ucb { beta: 2.0 }), false),
        (Acquisition::ExpectedImprovement, false),
        (Acquisition::Uncertainty, false),
    ] {
        let (a, b) = (acquisition.score(good, 1.0), acquisition.score(unsure, 1.0));
        assert_eq!(a > b, prefers_good, "{acquisition:?}: {a} {b}");
    }
    // s, m, b = 2, 1.5, 1; z = (b - m) / s; (b - m) * norm.cdf(z) + s * norm.pdf(z)
    assert!((expected_improvement(unsure, 1.0) - 0.5726893964471604).abs() < 1e-9);
    assert_eq!(expected_improvement(at(1.0, 0.0), 3.0), 2.0);

    let agreed =
        committee(&[vec![at(0.0, 0.0), at(1.0, 0.0), at(2.0, 0.0)], vec![at(5.0, 0.0), at(6.0, 0.0), at(7.0, 0.0)]]);
    assert!(agreed.iter().all(|prediction| prediction.deviation < 1e-12) && agreed[0].mean == 2.5, "{agreed:?}");
    let torn = committee(&[vec![at(0.0, 0.0), at(1.0, 0.0)], vec![at(1.0, 0.0), at(0.0, 0.0)]]);
    assert!(torn.iter().all(|prediction| prediction.deviation > 1.0), "{torn:?}");
}

#[test]
fn diverse_rows_are_far_from_each_other() {
    let mut rows = Rows::new(1);
    [0.0, 0.1, 0.2, 5.0, 9.0, 100.0].into_iter().for_each(|value| rows.push([value]));
    let scores = [5.0, 6.0, 4.0, 3.0, 2.0, 1.0];
    assert_eq!(diverse(&scores, &rows, 3, 5), [1, 4, 3]);
    assert_eq!(diverse(&scores, &rows, 9, 2), [1, 0], "no more than the shortlist");
    assert_eq!(diverse(&[f64::NAN; 6], &rows, 3, 5), [0usize; 0]);
}

#[test]
fn bad_options_and_examples_are_named() {
    let (rows, targets) = planted(5, 1);
    let check = |options: SurrogateOptions, targets: &[f64], expected: &str| {
        assert_eq!(options.fit(&rows, targets, 1).err().unwrap().to_string(), expected);
    };
    let ridge = || SurrogateOptions::Ridge(RidgeOptions::default());
    check(ridge(), &targets[..4], "5 feature rows and 4 targets: expected equal numbers, 2 or more");
    check(ridge(), &[f64::NAN; 5], "a target is not finite");
    let none = RidgeOptions { alphas: vec![] };
    check(SurrogateOptions::Ridge(none), &targets, "alphas is NaN: expected positive numbers");
    let noise = GaussianProcessOptions { noises: vec![-1.0], ..Default::default() };
    check(SurrogateOptions::GaussianProcess(noise), &targets, "noises is -1: expected positive numbers");
    let trees = BoostedTreesOptions { learning_rate: 0.0, ..Default::default() };
    check(SurrogateOptions::BoostedTrees(trees), &targets, "learning_rate is 0: expected above 0 and at most 1");
    let mlp = MlpOptions { epochs: 0, ..Default::default() };
    check(SurrogateOptions::Mlp(mlp), &targets, "epochs is 0: expected 1 or more");
}
