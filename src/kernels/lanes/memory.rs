//! The memory of maps, used again and again: fresh memory costs more than what is computed in it, since the system
//! hands it out page by page.

use super::Lane;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static SPARE: RefCell<Vec<Vec<Lane>>> = const { RefCell::new(Vec::new()) };
}

/// Lanes whose memory is kept for the next of this size, as long as the thread keeps at most `KEPT` lanes with it.
#[derive(Debug, Default)]
pub(crate) struct Memory<const KEPT: usize>(Vec<Lane>);

/// A map of the indicators' networks. A thread keeps 256 MiB: what 64 cotangents need of a probe on 64 images.
pub(crate) type Map = Memory<{ 1 << 22 }>;

impl<const KEPT: usize> Memory<KEPT> {
    /// Lanes with anything in them.
    pub(crate) fn of_anything(size: usize) -> Self {
        let known = SPARE.with_borrow_mut(|spare| {
            // The last one is still in the cache.
            let place = spare.iter().rposition(|map| map.len() == size)?;
            Some(spare.remove(place))
        });
        Self(known.unwrap_or_else(|| vec![Lane::default(); size]))
    }

    /// Zeros.
    pub(crate) fn of_zeros(size: usize) -> Self {
        let mut map = Self::of_anything(size);
        map.fill(Lane::default());
        map
    }
}

impl<const KEPT: usize> Deref for Memory<KEPT> {
    type Target = [Lane];

    fn deref(&self) -> &[Lane] {
        &self.0
    }
}

impl<const KEPT: usize> DerefMut for Memory<KEPT> {
    fn deref_mut(&mut self) -> &mut [Lane] {
        &mut self.0
    }
}

impl<const KEPT: usize> Drop for Memory<KEPT> {
    fn drop(&mut self) {
        let map = std::mem::take(&mut self.0);
        if map.is_empty() || map.len() > KEPT {
            return;
        }
        // At the end of a thread there is no later.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            let mut kept: usize = spare.iter().map(Vec::len).sum();
            while kept + map.len() > KEPT && !spare.is_empty() {
                kept -= spare.remove(0).len();
            }
            spare.push(map);
        });
    }
}
