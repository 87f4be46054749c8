//! How a table is built, and whom the build tells what it does.

use super::features::SpaceRef;
use super::table::Method;
use crate::device::HardwareProfile;
use crate::latency::Protocol;
use std::time::Duration;

/// How a table is built.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildOptions {
    /// What the entries are; [`Method::Fused`] falls back to [`Method::Counted`] where the runtime shows no graph.
    pub method: Method,
    /// The space.
    pub space: SpaceRef,
    /// Seed of the networks' choice.
    pub seed: u64,
    /// When to stop measuring, at the latest.
    pub budget: Duration,
}

/// Rounds of each network: all have as many, so that all of a group were there whatever the pace was.
const ROUNDS: usize = 20;

/// `profile` with a protocol that suits a table: many networks, none of them for long. What a second does not tell, the other
/// networks do.
pub fn brief(profile: HardwareProfile) -> HardwareProfile {
    let Protocol { warm_up_s, budget_s, rounds, .. } = profile.protocol;
    let rounds = rounds.max(ROUNDS);
    let protocol = Protocol {
        warm_up_s: warm_up_s.min(0.3),
        rounds,
        max_rounds: rounds,
        budget_s: budget_s.min(1.5),
        ..profile.protocol
    };
    HardwareProfile { protocol, ..profile }
}

/// What a build does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BuildEvent {
    /// The operators of so many networks are known.
    Operators {
        /// Of how many.
        done: usize,
        /// Of how many they are going to be.
        total: usize,
    },
    /// So many networks and operators are timed.
    Timed {
        /// How many.
        done: usize,
        /// How many there will be in this round.
        total: usize,
        /// Median relative error of networks that were left out, once there is one.
        error: Option<f64>,
        /// Seconds of the budget that are left, where there is one.
        left_s: Option<f64>,
    },
}

/// Whom a build tells what it does.
pub trait Observer {
    /// Something was done.
    fn on(&mut self, event: BuildEvent);

    /// Whether to stop; what was measured is kept.
    fn interrupted(&self) -> bool {
        false
    }
}

/// An observer that does not care.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Observer for Unwatched {
    fn on(&mut self, _: BuildEvent) {}
}
