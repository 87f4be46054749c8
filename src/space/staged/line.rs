//! Stages whose widths follow a quantised line (RegNet; Radosavovic et al. 2020, "Designing Network Design Spaces", Section 3.3).
//!
//! Layer j of `depth` is to have uⱼ = initial + slope·j channels (Equation 2). That is rounded to a power of `multiplier`, wⱼ = initial · multiplier^sⱼ
//! with the whole number sⱼ nearest to log(uⱼ / initial) / log(multiplier) (Equations 3 and 4), and to a multiple of `by`. Layers of one width
//! are a stage; a stage's width is then made divisible by its group width, `min(group, width)`.

use crate::space::block::Scope;
use crate::space::extent::{Extent, divisible};
use serde::Deserialize;

/// What the stages are made of, in channels of the full network.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    depth: Extent,
    initial: Extent,
    slope: Extent,
    multiplier: Extent,
    group: Extent,
    by: u16,
    /// Channels of a layer, which may name [`PLANNED`].
    pub(super) channels: Extent,
    /// Stride of each stage's first layer.
    pub(super) stride: usize,
}

/// The names of a stage's numbers: its channels in the full network, and those of one group.
pub(super) const PLANNED: [&str; 2] = ["planned", "group_width"];

/// A stage as planned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) depth: usize,
    pub(super) numbers: [f64; 2],
}

impl Line {
    /// The numbers that decide about the stages.
    pub(super) fn extents(&self) -> [&Extent; 5] {
        [&self.depth, &self.initial, &self.slope, &self.multiplier, &self.group]
    }

    /// The stages of what was chosen.
    pub(super) fn stages(&self, scope: &Scope<'_>) -> Vec<Planned> {
        let [depth, initial, slope, multiplier, group] = self.extents().map(|extent| extent.exact(scope, 0));
        let by = f64::from(self.by.max(1));
        let mut stages: Vec<Planned> = vec![];
        let mut last = None;
        for layer in 0..(depth.round() as usize).max(1) {
            let exact = initial + slope * layer as f64;
            let power = ((exact / initial).ln() / multiplier.ln()).round_ties_even();
            let width = (initial * multiplier.powf(power) / by).round_ties_even().max(1.0) * by;
            match stages.last_mut().filter(|_| last == Some(width)) {
                Some(stage) => stage.depth += 1,
                None => {
                    let group = group.min(width);
                    stages.push(Planned { depth: 1, numbers: [divisible(width, group), group] });
                }
            }
            last = Some(width);
        }
        stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NetworkSize;

    /// Depths and widths of RegNetX-400MF, RegNetX-800MF and RegNetY-400MF as torchvision has them (`BlockParams`). The paper's are the
    /// same but for the first one's last width, 384: half a group is rounded down there.
    #[test]
    fn published_stages() {
        let line: Line = serde_yaml::from_str(
            "{depth: total, initial: initial, slope: slope, multiplier: multiplier, group: group, by: 8, channels: planned, stride: 2}",
        )
        .unwrap();
        let check = |numbers: [f64; 5], depths: &[usize], widths: &[f64]| {
            let [depth, initial, slope, multiplier, group] = numbers;
            let chosen = [
                ("total", depth),
                ("initial", initial),
                ("slope", slope),
                ("multiplier", multiplier),
                ("group", group),
            ];
            let network =
                NetworkSize { input: [3, 224, 224], classes: 1000, width: 32, depth: None, stages: None, stem: true };
            let scope = Scope { chosen: &chosen, ..Scope::undecided(&network, 3, 32, 1) };
            let stages = line.stages(&scope);
            assert_eq!(stages.iter().map(|stage| stage.depth).collect::<Vec<_>>(), depths);
            assert_eq!(stages.iter().map(|stage| stage.numbers[0]).collect::<Vec<_>>(), widths);
        };
        check([22.0, 24.0, 24.48, 2.54, 16.0], &[1, 2, 7, 12], &[32.0, 64.0, 160.0, 400.0]);
        check([16.0, 56.0, 35.73, 2.28, 16.0], &[1, 3, 7, 5], &[64.0, 128.0, 288.0, 672.0]);
        check([16.0, 48.0, 27.89, 2.09, 8.0], &[1, 3, 6, 6], &[48.0, 104.0, 208.0, 440.0]);
    }
}
