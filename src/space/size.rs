//! The sizes of a space's networks, and what a user changes about them.

use serde::{Deserialize, Serialize};

/// Which of a space's networks is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scale {
    /// The network that is exported, measured and trained.
    Full,
    /// The small network that the gradient indicators look at.
    Probe,
    /// The thinnest one, whose linear regions are counted.
    Thin,
}

/// The size of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSize {
    /// Shape of one input sample, `[channels, height, width]`.
    pub input: [usize; 3],
    /// Classes that are told apart.
    pub classes: usize,
    /// Channels behind the stem.
    pub width: usize,
    /// Cells or layers a stage, of `cells` in all; a chain's own numbers where absent.
    pub depth: Option<usize>,
    /// Stages; all of the space's where absent.
    pub stages: Option<usize>,
    /// Whether there is a stem; without one the input goes into the first stage.
    #[serde(default = "yes")]
    pub stem: bool,
}

fn yes() -> bool {
    true
}

/// What a user changes about a space's full network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkChanges {
    /// Shape of one input sample, `[channels, height, width]`.
    pub input: Option<[usize; 3]>,
    /// Classes that are told apart.
    pub classes: Option<usize>,
    /// Channels behind the stem.
    pub width: Option<usize>,
    /// Cells or layers a stage, of `cells` in all.
    pub depth: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Networks {
    pub(super) full: NetworkSize,
    pub(super) probe: NetworkSize,
    pub(super) thin: NetworkSize,
}
