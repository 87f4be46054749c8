//! The memory of maps, used again by the next step: fresh memory costs more than what is computed in it.

use super::super::lanes::Lane;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Most lanes that a thread keeps for later (2 GiB): a step's maps are all alive at its turning point.
const KEPT: usize = 1 << 25;

thread_local! {
    static SPARE: RefCell<Vec<Vec<Lane>>> = const { RefCell::new(Vec::new()) };
}

/// Lanes whose memory is kept for the next of this size.
#[derive(Debug, Default)]
pub(crate) struct Memory(Vec<Lane>);

impl Memory {
    /// Lanes with anything in them.
    pub(crate) fn of_anything(size: usize) -> Self {
        let known = SPARE.with_borrow_mut(|spare| {
            // The last one is still in the cache.
            let place = spare.iter().rposition(|lanes| lanes.len() == size)?;
            Some(spare.remove(place))
        });
        Self(known.unwrap_or_else(|| vec![Lane::default(); size]))
    }

    /// Zeros.
    pub(crate) fn of_zeros(size: usize) -> Self {
        let mut lanes = Self::of_anything(size);
        lanes.fill(Lane::default());
        lanes
    }
}

impl Deref for Memory {
    type Target = [Lane];

    fn deref(&self) -> &[Lane] {
        &self.0
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [Lane] {
        &mut self.0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let lanes = std::mem::take(&mut self.0);
        if lanes.is_empty() || lanes.len() > KEPT {
            return;
        }
        // At the end of a thread there is no later.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            let mut kept: usize = spare.iter().map(Vec::len).sum();
            while kept + lanes.len() > KEPT && !spare.is_empty() {
                kept -= spare.remove(0).len();
            }
            spare.push(lanes);
        });
    }
}
