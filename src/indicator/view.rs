//! Which of a candidate's networks an indicator looks at.

use super::{Mode, Settings};
use crate::network::Init;
use crate::space::{NetworkSize, Scale, SearchSpace};

/// A size of network, and how its weights are drawn. Indicators of one view share its networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// The space's full graph; no weights are drawn.
    Architecture,
    /// The space's thin network, for patches of a few pixels.
    Regions,
    /// The space's probe network, drawn as the settings say: the neural tangent kernel of TEG-NAS. In `fast` mode it is
    /// deeper than in the released code.
    Kernel,
    /// A probe wide enough for statistics over channels, under Kaiming's initialisation.
    Features,
    /// The full network with the weights that the space brings, on samples of a data set: `batch` of them are its first batch, the whole calibration set its
    /// second.
    Brought,
}

/// Channels behind the stem of [`View::Features`].
const FEATURE_WIDTH: usize = 16;
/// Cells a stage of the networks that are looked at, where the full network has as many: that a cell blurs its input, or
/// loses the gradient for want of a shortcut, shows where cells follow each other. On 200 cells of NAS-Bench-201, ρ of
/// κ and regions together is .77 with one cell a stage, .84 with two and .86 with three.
const DEPTH: usize = 3;
/// Images of a batch of [`View::Features`].
const FEATURE_BATCH: usize = 16;
/// Samples of a calibration set that run at one time.
pub(super) const CALIBRATED: usize = 32;

impl View {
    /// All views.
    pub(super) const ALL: [Self; 5] = [Self::Architecture, Self::Regions, Self::Kernel, Self::Features, Self::Brought];

    /// The size of its networks.
    pub(super) fn size(self, space: &SearchSpace, mode: Mode) -> NetworkSize {
        let probe = space.network(Scale::Probe);
        let deepest = space.network(Scale::Full).depth.unwrap_or(DEPTH);
        // A chain's depth is its decisions: it has none here.
        let deep = NetworkSize { depth: probe.depth.map(|depth| DEPTH.min(deepest).max(depth)), ..probe.clone() };
        match self {
            Self::Architecture | Self::Brought => space.network(Scale::Full).clone(),
            Self::Regions => space.network(Scale::Thin).clone(),
            Self::Kernel => match mode {
                Mode::Fast => deep,
                Mode::Compat => probe.clone(),
            },
            Self::Features => NetworkSize { width: FEATURE_WIDTH.min(space.network(Scale::Full).width), ..deep },
        }
    }

    /// How the weights are drawn.
    pub(super) fn init(self, settings: &Settings) -> Init {
        match self {
            Self::Features => Init::KaimingNormal,
            _ => settings.init,
        }
    }

    /// Images that run through a network at one time.
    pub(super) fn batch(self, settings: &Settings) -> usize {
        match self {
            Self::Features => FEATURE_BATCH,
            Self::Brought => settings.batch.max(CALIBRATED),
            _ => settings.batch,
        }
    }

    /// Whether operators that lead nowhere are run: the released code runs them, and counts their ReLUs.
    pub(super) fn keeps_dead_operators(self, settings: &Settings) -> bool {
        matches!(self, Self::Regions | Self::Kernel) && settings.mode == Mode::Compat
    }

    /// Networks with independent weights.
    pub(super) fn networks(self, settings: &Settings) -> usize {
        match self {
            Self::Architecture | Self::Brought => 1,
            // They cost next to nothing, and four of them rank NAS-Bench-201 by .78, two by .75.
            Self::Regions if settings.mode == Mode::Fast => 2 * settings.networks,
            // They agree with each other on every space so far (reliability .97 and more), and cost most.
            Self::Features => settings.networks.div_ceil(3),
            _ => settings.networks,
        }
    }
}
