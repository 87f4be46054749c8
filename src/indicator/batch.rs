//! Many candidates at once, as many as the memory budget holds: one to each core; on another device, their networks in
//! stacks.
//!
//! A worker's kernels use its own core alone. A thread pool shared by all would give a worker that waits for its
//! kernels another candidate to begin, and hold the memory of both.

use super::{Indicator, IndicatorError, Probes, Scores, View, score, stacked};
use crate::genotype::{ArchId, Genotype};
use crate::space::SearchSpace;
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Scores candidates, on all cores or in stacks. `done` gets each with its number and the time that it took, in the order of
/// finishing and on this thread; where it breaks, what runs is finished and what waits is left. Gives whether it broke.
pub fn score_each(
    probes: &Probes,
    space: &SearchSpace,
    genotypes: &[&Genotype],
    indicators: &[&'static dyn Indicator],
    mut done: impl FnMut(usize, Scores, Duration) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if probes.stacks() {
        return stacked::score_each(probes, space, genotypes, indicators, done);
    }
    let workers = rayon::current_num_threads().min(genotypes.len());
    let (next, stop, memory) = (AtomicUsize::new(0), AtomicBool::new(false), Memory::new(probes.memory_bytes()));
    let one = |genotype: &Genotype| match memory.hold(needed(probes, space, genotype, indicators)) {
        Ok(_held) => score(probes, space, genotype, indicators),
        Err(reason) => reason.refusal(indicators),
    };
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, stop, one) = (sender.clone(), &next, &stop, &one);
            scope.spawn(move || {
                let _alone =
                    (workers > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build());
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= genotypes.len() || stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let begin = Instant::now();
                    let scores = one(genotypes[at]);
                    // Nobody receives any more once `done` has broken.
                    let _ = sender.send((at, scores, begin.elapsed()));
                }
            });
        }
        drop(sender);
        let mut flow = ControlFlow::Continue(());
        for (at, scores, time) in receiver {
            if flow.is_continue() {
                flow = done(at, scores, time);
                stop.store(flow.is_break(), Ordering::Relaxed);
            }
        }
        flow
    })
}

/// For each genotype the place of the first that is isomorphic to it, whose scores it shares; its own for a dead one.
pub fn first_isomorphic(space: &SearchSpace, genotypes: &[Genotype]) -> Vec<usize> {
    let ids: Vec<Option<ArchId>> = genotypes.par_iter().map(|genotype| space.id(genotype)).collect();
    let mut known = HashMap::new();
    ids.into_iter().enumerate().map(|(at, id)| id.map_or(at, |id| *known.entry(id).or_insert(at))).collect()
}

/// Bytes that scoring a candidate takes at one time, roughly: those of its largest view. 0 for one that can't be built,
/// which is refused before it takes any.
fn needed(probes: &Probes, space: &SearchSpace, genotype: &Genotype, indicators: &[&'static dyn Indicator]) -> u64 {
    let of_view = |view: View| {
        let Ok(graph) = probes.graph(space, genotype, view) else { return 0 };
        let images = match view {
            View::Architecture => return 0,
            View::Regions => probes.patch_batch() as u64,
            _ => view.batch(probes.settings()) as u64,
        };
        let elements: usize = graph.nodes().iter().map(|node| node.shape.elements()).sum();
        let activations = images * 4 * elements as u64;
        let cost = graph.cost();
        match view {
            // All cotangents' maps of the nodes that are alive at one time, and the layers' gradients of all samples.
            View::Kernel => activations + images * (images * cost.peak_activation_bytes + 8 * cost.params),
            // Autograd keeps what it passes, and as much again on the way back.
            _ => 3 * activations,
        }
    };
    let mut views: Vec<View> = indicators.iter().map(|indicator| indicator.facts().view).collect();
    views.sort();
    views.dedup();
    views.into_iter().map(of_view).max().unwrap_or(0)
}

/// Memory that workers share.
struct Memory {
    budget: u64,
    held: Mutex<u64>,
    freed: Condvar,
}

/// A part of a [`Memory`], until it is dropped.
struct Held<'a> {
    memory: &'a Memory,
    bytes: u64,
}

/// More than the whole budget.
struct TooMuch {
    needed: u64,
    budget: u64,
}

/// The scores of a candidate that needs more than the whole budget; none of one that may be scored alone.
pub(super) fn refused(
    probes: &Probes,
    space: &SearchSpace,
    genotype: &Genotype,
    indicators: &[&'static dyn Indicator],
) -> Option<Scores> {
    let (needed, budget) = (needed(probes, space, genotype, indicators), probes.memory_bytes());
    (needed > budget).then(|| TooMuch { needed, budget }.refusal(indicators))
}

impl TooMuch {
    fn refusal(&self, indicators: &[&'static dyn Indicator]) -> Scores {
        indicators.iter().map(|indicator| (indicator.facts().name, Err(self.error()))).collect()
    }

    fn error(&self) -> IndicatorError {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        IndicatorError::Memory { needed_mib: mib(self.needed), budget_mib: mib(self.budget) }
    }
}

impl Memory {
    fn new(budget: u64) -> Self {
        Self { budget, held: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until `bytes` are free.
    fn hold(&self, bytes: u64) -> Result<Held<'_>, TooMuch> {
        if bytes > self.budget {
            return Err(TooMuch { needed: bytes, budget: self.budget });
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |held: &mut u64| *held + bytes > self.budget;
        *self.freed.wait_while(held, full).unwrap_or_else(PoisonError::into_inner) += bytes;
        Ok(Held { memory: self, bytes })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.memory.held.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.memory.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SettingsSection, teg};
    use super::*;
    use candle_core::Device;

    fn scored(memory_mib: u64, stop_after: usize) -> (usize, Vec<String>) {
        let space = SearchSpace::open("nas-bench-201").unwrap();
        let section = SettingsSection { batch: Some(4), networks: Some(1), memory_mib, ..SettingsSection::default() };
        let probes = Probes::new(&space, section.resolve(), 3, Device::Cpu).unwrap();
        let cell = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|none~2|";
        let genotype = space.parse_arch(cell).unwrap();
        let (mut count, mut found) = (0, vec![]);
        let flow = score_each(&probes, &space, &[&genotype; 5], &teg(), |_, scores, _| {
            count += 1;
            found.push(format!("{:?}", scores["ntk_condition"].as_ref().map_err(ToString::to_string)));
            if count == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(flow.is_break(), stop_after <= 5);
        found.dedup();
        (count, found)
    }

    #[test]
    fn candidates_wait_for_memory_or_are_refused() {
        let (count, found) = scored(4096, 6);
        assert_eq!((count, found.len()), (5, 1));
        // Room for one at a time: the same, one after the other.
        assert_eq!(scored(8, 6), (count, found));
        let (count, found) = scored(1, 6);
        assert_eq!(count, 5);
        assert!(found[0].contains("MiB of memory, `indicators.memory_mib` is 1"), "{found:?}");
        assert_eq!(scored(4096, 2).0, 2);
    }
}
