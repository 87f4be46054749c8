//! A network with weights, made smaller: fewer channels, fewer blocks, smaller inputs.
//!
//! What depends on each other goes together ([`Groups`], [`removable`]), what matters most stays ([`importance`](fn@importance)). Channels are put in order
//! once, so that a narrower network's are among a wider one's (Sridhar et al. 2023, "InstaTune"). All of it is of live graphs
//! ([`Graph::live`]) whose nodes keep their names.

mod blocks;
mod groups;
mod importance;
mod resolution;
mod slice;

pub use blocks::{Block, removable};
pub use groups::{Group, Groups, Slot};
pub use importance::{Importance, importance, order};
pub use resolution::at_input;

use crate::graph::{Graph, GraphError, NodeId};
use crate::network::{Weights, WeightsError};
use crate::yaml::closest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How many of a group's channels stay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Width {
    /// This part of them, more than 0 and at most 1: rounded, at least one.
    Fraction(f64),
    /// So many, 1 or more.
    Channels(usize),
}

/// What is left of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// How wide groups are, by their names; those that are not named stay as they are.
    #[serde(default)]
    pub widths: BTreeMap<String, Width>,
    /// Names of the blocks that go.
    #[serde(default)]
    pub removed: BTreeSet<String>,
}

/// Why a network can't be made so small.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A choice of what is not there.
    #[error("no {what} `{name}`{}", meant.as_ref().map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default())]
    Unknown {
        /// `group` or `block`.
        what: &'static str,
        /// What the choice named.
        name: String,
        /// The closest there is.
        meant: Option<String>,
    },
    /// A group can't be so wide.
    #[error("group `{group}`: width {found:?}, expected more than none and at most all of its {channels} channels")]
    Width {
        /// Its name.
        group: String,
        /// What was chosen.
        found: Width,
        /// How many it has.
        channels: usize,
    },
    /// Inputs can't be of this size.
    #[error("inputs of {}x{} pixels: node `{node}`: {reason}", size[0], size[1])]
    Resolution {
        /// The node that keeps them from it.
        node: String,
        /// Why.
        reason: String,
        /// Height and width.
        size: [usize; 2],
    },
    /// Shapes don't fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Weights or gradients don't fit the graph.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// A graph with what can be cut from it, and in which order.
#[derive(Clone, Debug)]
pub struct Prunable {
    graph: Graph,
    groups: Groups,
    blocks: Vec<Block>,
    orders: Vec<Vec<usize>>,
}

impl Prunable {
    /// Finds what can be cut from a live graph; its channels go from the least important of these weights.
    ///
    /// # Errors
    /// If a weight or a gradient is missing.
    pub fn new(graph: Graph, weights: &Weights, by: Importance<'_>) -> Result<Self, PruneError> {
        let groups = Groups::of(&graph);
        let orders = importance(&graph, &groups, weights, by)?.iter().map(|scores| order(scores)).collect();
        Ok(Self { blocks: removable(&graph), groups, orders, graph })
    }

    /// The whole graph.
    pub fn whole(&self) -> &Graph {
        &self.graph
    }

    /// Its groups of channels.
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The blocks that it can do without.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Each group's channels, the most important first.
    pub fn orders(&self) -> &[Vec<usize>] {
        &self.orders
    }

    /// The graph that a choice leaves. It does not depend on the weights.
    ///
    /// # Errors
    /// If a group or a block is not there, or a group can't be so wide.
    pub fn graph(&self, choice: &Choice) -> Result<Graph, PruneError> {
        self.smaller(choice, &self.kept(choice)?)
    }

    /// The graph that a choice leaves, with its part of `weights`, which are the whole graph's.
    ///
    /// # Errors
    /// As [`Prunable::graph`], and if a weight is missing.
    pub fn prune(&self, weights: &Weights, choice: &Choice) -> Result<(Graph, Weights), PruneError> {
        let kept = self.kept(choice)?;
        let smaller = self.smaller(choice, &kept)?;
        let weights = slice::weights(&self.graph, &self.groups, &kept, &smaller, weights)?;
        Ok((smaller, weights))
    }

    fn smaller(&self, choice: &Choice, kept: &[Vec<bool>]) -> Result<Graph, PruneError> {
        let removed = choice.removed.iter().map(|name| {
            let names = self.blocks.iter().map(|block| block.name.as_str());
            let block = self.blocks.iter().find(|block| block.name == *name);
            let block = block.ok_or_else(|| unknown("block", name, names))?;
            Ok((block.sum, block.shortcut))
        });
        let removed = removed.collect::<Result<BTreeMap<NodeId, NodeId>, PruneError>>()?;
        let width = |id: NodeId| {
            let stays = |slot: &&Option<Slot>| slot.is_none_or(|slot| kept[slot.group][slot.channel]);
            self.groups.slots(id).iter().filter(stays).count()
        };
        Ok(slice::graph(&self.graph, &removed, width)?)
    }

    /// For each group whether each of its channels stays.
    fn kept(&self, choice: &Choice) -> Result<Vec<Vec<bool>>, PruneError> {
        let groups = self.groups.all();
        let mut kept: Vec<Vec<bool>> = groups.iter().map(|group| vec![true; group.channels]).collect();
        for (name, &width) in &choice.widths {
            let names = groups.iter().map(|group| group.name.as_str());
            let at = groups.iter().position(|group| group.name == *name);
            let at = at.ok_or_else(|| unknown("group", name, names))?;
            let channels = groups[at].channels;
            let count =
                width.of(channels).ok_or_else(|| PruneError::Width { group: name.clone(), found: width, channels })?;
            self.orders[at][count..].iter().for_each(|&channel| kept[at][channel] = false);
        }
        Ok(kept)
    }
}

impl Width {
    /// How many of so many channels; none where it is no width of these.
    pub fn of(self, channels: usize) -> Option<usize> {
        match self {
            Self::Fraction(part) if part > 0.0 && part <= 1.0 => {
                Some(((part * channels as f64).round() as usize).max(1))
            }
            Self::Channels(count) if count > 0 && count <= channels => Some(count),
            _ => None,
        }
    }
}

fn unknown<'a>(what: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> PruneError {
    PruneError::Unknown { what, name: name.to_owned(), meant: closest(name, known).map(str::to_owned) }
}
