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
    /// A wider probe under Kaiming's initialisation: a kernel for spaces whose networks need width.
    WideKernel,
    /// A probe wide enough for statistics over channels, under Kaiming's initialisation.
    Features,
}

/// Channels behind the stem of [`View::WideKernel`].
const KERNEL_WIDTH: usize = 8;
/// Channels behind the stem of [`View::Features`].
const FEATURE_WIDTH: usize = 16;
/// Cells a stage of [`View::Features`], where the full network has as many: blurring and lost gradients show in depth.
const FEATURE_DEPTH: usize = 3;
/// Images of a batch of [`View::Features`].
const FEATURE_BATCH: usize = 16;

impl View {
    /// All views.
    pub(super) const ALL: [Self; 5] =
        [Self::Architecture, Self::Regions, Self::Kernel, Self::WideKernel, Self::Features];

    /// The size of its networks.
    pub(super) fn size(self, space: &SearchSpace) -> NetworkSize {
        let wide = |width: usize| NetworkSize {
            width: width.min(space.network(Scale::Full).width),
            ..space.network(Scale::Probe).clone()
        };
        match self {
            Self::Architecture => space.network(Scale::Full).clone(),
            Self::Regions => space.network(Scale::Thin).clone(),
            Self::Kernel => space.network(Scale::Probe).clone(),
            Self::WideKernel => wide(KERNEL_WIDTH),
            Self::Features => {
                let deepest = space.network(Scale::Full).depth.unwrap_or(FEATURE_DEPTH);
                let size = wide(FEATURE_WIDTH);
                // A chain's depth is its decisions': it has none here.
                NetworkSize { depth: size.depth.map(|depth| FEATURE_DEPTH.min(deepest).max(depth)), ..size }
            }
        }
    }

    /// How the weights are drawn.
    pub(super) fn init(self, settings: &Settings) -> Init {
        match self {
            Self::Architecture | Self::Regions | Self::Kernel => settings.init,
            Self::WideKernel | Self::Features => Init::KaimingNormal,
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
            // Statistics over features hardly vary with the weights: a reliability of .95 and more with three.
            Self::Features | Self::WideKernel => settings.networks.min(2),
            _ => settings.networks,
        }
    }
}
