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
    /// The space's probe network, drawn as the settings say: the neural tangent kernel of TEG-NAS.
    Kernel,
    /// The probe network with more cells a stage: a kernel that sees what cells one behind the other do.
    DeepKernel,
    /// A probe wide enough for statistics over channels, under Kaiming's initialisation.
    Features,
}

/// Channels behind the stem of [`View::Features`].
const FEATURE_WIDTH: usize = 16;
/// Cells a stage of the deeper views, where the full network has as many: blurring and lost gradients show in depth.
const DEPTH: usize = 3;
/// Images of a batch of [`View::Features`].
const FEATURE_BATCH: usize = 16;

impl View {
    /// All views.
    pub(super) const ALL: [Self; 5] =
        [Self::Architecture, Self::Regions, Self::Kernel, Self::DeepKernel, Self::Features];

    /// The size of its networks.
    pub(super) fn size(self, space: &SearchSpace) -> NetworkSize {
        let probe = space.network(Scale::Probe);
        let deepest = space.network(Scale::Full).depth.unwrap_or(DEPTH);
        // A chain's depth is its decisions: it has none here.
        let deep = NetworkSize { depth: probe.depth.map(|depth| DEPTH.min(deepest).max(depth)), ..probe.clone() };
        match self {
            Self::Architecture => space.network(Scale::Full).clone(),
            Self::Regions => space.network(Scale::Thin).clone(),
            Self::Kernel => probe.clone(),
            Self::DeepKernel => deep,
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

    /// Images of a batch.
    pub(super) fn batch(self, settings: &Settings) -> usize {
        match self {
            Self::Features => FEATURE_BATCH,
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
            Self::Architecture => 1,
            // They hardly vary with the weights: a reliability of .9 to 1 with three.
            Self::Features | Self::DeepKernel => settings.networks.min(2),
            _ => settings.networks,
        }
    }
}
