//! Trainability: how much the clearest path through the network does to what it carries.
//!
//! Whatever stands on a shortcut hampers what propagates along it, forward and back (He et al. 2016, "Identity Mappings
//! in Deep Residual Networks", section 3), and short paths carry most of the gradient (Veit et al. 2016). `shortest_path`
//! counts weights alone, so that it takes a pooled bypass for an identity.

use super::{Facts, Indicator, IndicatorError, Run, View};
use crate::objective::Direction;

/// Layers with an effect on the clearest path, fewer is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdentityPath;

impl Indicator for IdentityPath {
    fn facts(&self) -> &'static Facts {
        &Facts {
            name: "identity_path",
            direction: Direction::Minimize,
            description: "trainability: layers, pooling among them, that the clearest path goes through",
            formula: "min over paths of the live graph of its convolutions, linear layers and pooling",
            source: "a count of the graph, after He et al. 2016 (Identity Mappings), section 3",
            view: View::Architecture,
            cost: "none",
        }
    }

    fn evaluate(&self, run: &Run) -> Result<f64, IndicatorError> {
        Ok(run.graph().identity_path() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{IndicatorError, Probes, SettingsSection, score};
    use super::IdentityPath;
    use crate::space::SearchSpace;
    use candle_core::Device;

    #[test]
    fn a_pooled_bypass_is_no_identity() {
        let space = SearchSpace::open("nas-bench-201").unwrap();
        let probes = Probes::new(&space, SettingsSection::default().resolve(), 3, Device::Cpu).unwrap();
        let of = |arch: &str| {
            let scores = score(&probes, &space, &space.parse_arch(arch).unwrap(), &[&IdentityPath]);
            scores.into_values().next().unwrap().map(|score| score.value)
        };
        let check = |arch: &str, in_a_cell: usize| {
            // 15 cells; the stem, pooling and a convolution on each of two reductions' shortcuts, pooling, the classifier.
            let around = 1 + 2 * 2 + 1 + 1;
            assert_eq!(of(arch).unwrap(), (15 * in_a_cell + around) as f64, "{arch}");
        };
        let body = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|";
        check(&format!("{body}+|skip_connect~0|none~1|nor_conv_3x3~2|"), 0);
        check("|skip_connect~0|+|none~0|skip_connect~1|+|nor_conv_3x3~0|none~1|skip_connect~2|", 0);
        check(&format!("{body}+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"), 1);
        check(&format!("{body}+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"), 1);
        check("|avg_pool_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|", 2);
        check(&format!("{body}+|none~0|none~1|nor_conv_3x3~2|"), 3);
        assert!(matches!(of(&format!("{body}+|none~0|none~1|none~2|")), Err(IndicatorError::Dead)));
    }
}
