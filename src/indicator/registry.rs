//! All indicators, by name.

use super::calibration_accuracy::CalibrationAccuracy;
use super::conv_layers::ConvLayers;
use super::depth::Depth;
use super::diswot::DisWot;
use super::epe_nas::EpeNas;
use super::fisher::Fisher;
use super::grad_norm::GradNorm;
use super::grad_sign::GradSign;
use super::grasp::Grasp;
use super::identity_path::IdentityPath;
use super::jacov::Jacov;
use super::l2_norm::L2Norm;
use super::live_conv_weights::LiveConvWeights;
use super::macs::Macs;
use super::meco::Meco;
use super::naswot::Naswot;
use super::ntk_effective_rank::NtkEffectiveRank;
use super::ntk_entropy::NtkEntropy;
use super::ntk_transfer::NtkTransfer;
use super::params::Params;
use super::pca_entropy::PcaEntropy;
use super::plain::Plain;
use super::progressivity::Progressivity;
use super::shortest_path::ShortestPath;
use super::snip::Snip;
use super::swap::Swap;
use super::synflow::SynFlow;
use super::trainability::Trainability;
use super::width::Width;
use super::zen::Zen;
use super::zico::Zico;
use super::{Indicator, LinearRegions, NtkCondition, NtkRegression};
use crate::yaml::closest;

/// The TEG three: trainability, expressivity, generalisation.
pub fn teg() -> [&'static dyn Indicator; 3] {
    [&NtkCondition, &LinearRegions, &NtkRegression]
}

/// All indicators.
pub fn all() -> Vec<&'static dyn Indicator> {
    vec![
        &NtkCondition,
        &LinearRegions,
        &NtkRegression,
        &NtkTransfer,
        &NtkEntropy,
        &NtkEffectiveRank,
        &Naswot,
        &Swap,
        &PcaEntropy,
        &Progressivity,
        &Zen,
        &Meco,
        &GradNorm,
        &Snip,
        &Plain,
        &L2Norm,
        &Fisher,
        &Grasp,
        &SynFlow,
        &Zico,
        &GradSign,
        &Jacov,
        &EpeNas,
        &Trainability,
        &Params,
        &Macs,
        &LiveConvWeights,
        &ConvLayers,
        &Depth,
        &ShortestPath,
        &IdentityPath,
        &Width,
        &CalibrationAccuracy,
        &DisWot,
    ]
}

/// The indicator of this name.
///
/// # Errors
/// If there is none: what was expected.
pub fn named(name: &str) -> Result<&'static dyn Indicator, String> {
    all().into_iter().find(|indicator| indicator.facts().name == name).ok_or_else(|| {
        let names: Vec<&str> = all().iter().map(|indicator| indicator.facts().name).collect();
        let hint = closest(name, names.iter().copied()).map(|meant| format!("; did you mean `{meant}`?"));
        format!("no indicator `{name}`, expected one of {}{}", names.join(", "), hint.unwrap_or_default())
    })
}

/// The indicators, each once, in the order in which they first come.
pub fn distinct(indicators: impl Iterator<Item = &'static dyn Indicator>) -> Vec<&'static dyn Indicator> {
    let mut all: Vec<&'static dyn Indicator> = vec![];
    for indicator in indicators {
        if !all.iter().any(|known| known.facts().name == indicator.facts().name) {
            all.push(indicator);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::{IndicatorError, Probes, Scores, SettingsSection, View, score};
    use super::*;
    use crate::space::SearchSpace;
    use candle_core::Device;
    use std::collections::BTreeSet;

    /// Small batches and single networks: whether there is a value does not hang on them.
    fn probes(space: &SearchSpace) -> Probes {
        let settings = SettingsSection { batch: Some(4), networks: Some(1), ..SettingsSection::default() };
        Probes::new(space, settings.resolve(), 3, Device::Cpu).unwrap()
    }

    fn scores(space: &SearchSpace, arch: &str) -> Scores {
        score(&probes(space), space, &space.parse_arch(arch).unwrap(), &all())
    }

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<&str> = all().iter().map(|indicator| indicator.facts().name).collect();
        assert_eq!(names.len(), all().len());
        assert!(names.iter().all(|name| named(name).is_ok()));
    }

    #[test]
    fn every_indicator_has_a_value_that_stays() {
        let check_without = |refused: &[&str], space: &str, arch: &str| {
            let space = SearchSpace::open(space).unwrap();
            let (first, second) = (scores(&space, arch), scores(&space, arch));
            for indicator in all() {
                let name = indicator.facts().name;
                // Of networks that come with weights.
                if refused.contains(&name) || indicator.facts().view == View::Brought {
                    let error = first[name].as_ref().expect_err("it is not defined there").to_string();
                    assert!(error.contains(", expected "), "{error}");
                    continue;
                }
                let value = first[name].as_ref().unwrap_or_else(|error| panic!("{name} of {arch}: {error}")).value;
                assert_eq!(value, second[name].as_ref().unwrap().value, "{name} of {arch}");
            }
        };
        let check = |space: &str, arch: &str| check_without(&[], space, arch);
        // A transformer has no Zen-score.
        let layers = "linear,2,2-softmax,3,4-linear,4,3-softmax,2,2-softmax,4,2-linear,2,3";
        check_without(&["zen"], "vit", &format!("2/1,patches_16/6:{layers}"));
        let stages = "1,1,4:softmax,2,2/2,1.5,2:softmax,2,3-linear,4,2/1,1,1:linear,6,4";
        check_without(&["zen"], "vit-stages", stages);
        let cell = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|none~2|";
        check("nas-bench-201", cell);
        check("nas-bench-201", "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|");
        check("mobilenet-macro", "12012101");
        check("mobilenet-macro", "00000000");
        check("mobilenet-v3", "2:3,3-7,4/2:5,6-3,3/2:3,4-5,4/2:7,3-3,3/3:3,6-5,4-3,3");
        check("resnet", "basic/1,0.5,0.5/2,1,1/1,0.75,1/1,0.5,1");
        check("resnet", "bottleneck/1,0.5,1/1,0.5,0.5/2,0.75,0.5/1,0.5,0.5");
        check("regnet", "x,10,24,16,2.54,8");
        check("regnet", "y,10,32,20,2.8,16");
        check("signals-1d", "1,2/1:9,2,plain/2:3,1,separable-5,4,plain/1:7,1,separable");
        check("signals-1d", "0.5,1/1:3,1,separable/1:3,1,separable/1:3,1,separable");
        check("tabular", "1/3:plain,2-residual,0.5-plain,1");
        let pools = "|max_pool_3x3~0|max_pool_3x3~1|+|max_pool_3x3~0|skip_connect~2|+|skip_connect~0|skip_connect~1|+\
                     |avg_pool_3x3~0|avg_pool_3x3~1|";
        let convolutions = "|sep_conv_3x3~0|sep_conv_5x5~1|+|dil_conv_3x3~0|dil_conv_5x5~2|+|skip_connect~1|sep_conv_3x3~3|+\
                            |max_pool_3x3~0|sep_conv_3x3~4|";
        check("darts", &format!("{convolutions}/{convolutions}"));
        check("darts", &format!("{pools}/{pools}"));
        let nasnet = "|conv_7x1_1x7~0|conv_3x1_1x3~1|+|skip_connect~0|max_pool_7x7~1|+|sep_conv_7x7~1|dil_conv_3x3~1|+\
                      |conv_1x1~0|conv_3x3~4|+|max_pool_5x5~0|avg_pool_3x3~1|";
        check("nasnet", &format!("{nasnet}/{nasnet}"));
        check("tinybench", "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|");
    }

    #[test]
    fn a_dead_cell_has_no_value() {
        let space = SearchSpace::open("nas-bench-201").unwrap();
        let dead = scores(&space, "|none~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|none~2|");
        assert_eq!(dead.len(), all().len());
        for (name, score) in dead {
            assert!(matches!(score, Err(IndicatorError::Dead)), "{name}: {score:?}");
        }
    }
}
