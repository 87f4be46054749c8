//! Recipes, gates and qualities on samples made by hand.

use super::*;
use crate::indicator;

fn recipe(weights: &[(&str, f64)], gated: bool) -> Recipe {
    let terms = weights.iter().map(|&(name, weight)| (indicator::named(name).unwrap(), weight)).collect();
    Recipe { name: "test", terms, gated, combine: Combine::LogRank }
}

fn scores(values: &[(&str, [f64; 2])]) -> SampleScores {
    let score = |networks: [f64; 2]| Score { value: (networks[0] + networks[1]) / 2.0, networks: networks.to_vec() };
    values.iter().map(|&(name, networks)| (name.to_owned(), score(networks))).collect()
}

fn values(values: &[(&str, f64)]) -> Values {
    values.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
}

#[test]
fn a_quality_is_the_weighted_sum_of_standings() {
    let sample: Vec<_> = [(4.0, 10.0), (2.0, 30.0), (8.0, 20.0)]
        .map(|(kappa, regions)| scores(&[("ntk_condition", [kappa; 2]), ("linear_regions", [regions; 2])]))
        .into();
    let quality = Quality::new(&recipe(&[("ntk_condition", 1.0), ("linear_regions", 2.0)], false), &sample);
    // Ranks 2 and 3 of 3 from the worst, 2 and 1 from the best.
    let found = quality.of(&values(&[("ntk_condition", 4.0), ("linear_regions", 30.0)])).unwrap();
    let expected = 2f64.ln() + 0.1 * (3f64 / 2.0).ln() + 2.0 * 1.1 * 3f64.ln();
    assert!((found - expected).abs() < 1e-12, "{found}");
    assert_eq!(quality.of(&values(&[("ntk_condition", 4.0)])), None);
}

#[test]
fn the_gates_drop_noise_and_contradiction() {
    // Regions agree over networks and with κ; the regression's networks disagree; P orders the other way round; depth's
    // rank correlation of −0.29 may be chance.
    let sample: Vec<SampleScores> = (0..12)
        .map(|i| {
            let (x, noise, odd) = (f64::from(i), f64::from(i * 7 % 12), f64::from((i * 5 + 6) % 12));
            scores(&[
                ("ntk_condition", [-x, -x]),
                ("linear_regions", [x, x + 0.1]),
                ("ntk_regression", [noise, -noise * noise]),
                ("params", [-x, -x]),
                ("macs", [1.0, 1.0]),
                ("depth", [odd, odd]),
            ])
        })
        .collect();
    let names = ["ntk_condition", "linear_regions", "ntk_regression", "params", "macs", "depth"];
    let weights = names.map(|name| (name, 1.0));
    let quality = Quality::new(&recipe(&weights, true), &sample);
    let kept: Vec<&str> = quality.terms().map(|(facts, _)| facts.name).collect();
    assert_eq!(kept, ["ntk_condition", "linear_regions", "depth"]);
    let why = |name: &str| quality.dropped().iter().find(|dropped| dropped.indicator == name).map(|d| d.why);
    assert!(matches!(why("ntk_regression"), Some(Why::Unreliable(_))), "{:?}", quality.dropped());
    assert!(matches!(why("params"), Some(Why::Contradicts(_))), "{:?}", quality.dropped());
    assert_eq!(why("macs"), Some(Why::Constant));
    let ungated = Quality::new(&recipe(&weights, false), &sample);
    assert_eq!((ungated.terms().count(), ungated.dropped().len()), (6, 0));
}

#[test]
fn recipes_name_indicators_that_exist() {
    for section in [RecipeSection::Adaptive, RecipeSection::Teg, RecipeSection::NasBench201] {
        section.resolve(Combine::LogRank).unwrap();
    }
    let weights = |name: &str, weight| RecipeSection::Weights([(name.to_owned(), weight)].into());
    let refused = |section: RecipeSection| section.resolve(Combine::LogRank).map(|_| ()).unwrap_err();
    assert!(refused(weights("naswott", 1.0)).contains("did you mean `naswot`"));
    assert!(refused(weights("naswot", f64::NAN)).contains("expected a number"));
    assert!(refused(weights("naswot", 0.0)).contains("not 0"));
}
