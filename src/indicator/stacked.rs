//! Many candidates at once on a device for which one network is too small: what is computed of networks of all kinds,
//! kernels and linear regions, comes from stacks of as many networks as the memory budget holds.

use super::ntk::{self, Ntk};
use super::{Indicator, IndicatorError, Probes, Run, Scores, View, batch, linear_regions, score_knowing};
use crate::genotype::Genotype;
use crate::graph::Graph;
use crate::network::{Member, Stack, Weights, stacked_bytes};
use crate::space::SearchSpace;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Candidates that are finished together at most: where a caller breaks, the rest of them are lost.
const TOGETHER: usize = 64;

/// What is known of a candidate's networks, by their numbers; nothing where none was computed.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    kernels: Vec<Option<Ntk>>,
    regions: Vec<Option<usize>>,
}

impl Known {
    /// Tells the run of a network what is known of it.
    pub(super) fn tell<'a>(&self, run: Run<'a>, view: View, number: usize) -> Run<'a> {
        let kernels = self.kernels.get(number).filter(|_| view == View::Kernel).cloned().flatten();
        let regions = self.regions.get(number).filter(|_| view == View::Regions).copied().flatten();
        if kernels.is_none() && regions.is_none() { run } else { run.knowing(kernels, regions) }
    }
}

/// Scores candidates in stacks; `done` gets each with its number and its share of the time, in order.
pub(super) fn score_each(
    probes: &Probes,
    space: &SearchSpace,
    genotypes: &[&Genotype],
    indicators: &[&'static dyn Indicator],
    mut done: impl FnMut(usize, Scores, Duration) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let wanted = [View::Kernel, View::Regions].map(|view| Wanted::of(probes, view, indicators));
    let wanted: Vec<Wanted> = wanted.into_iter().flatten().collect();
    let mut first = 0;
    while first < genotypes.len() {
        let begin = Instant::now();
        let refused = |genotype: &Genotype| batch::refused(probes, space, genotype, indicators);
        let candidates = Candidate::next(probes, space, &genotypes[first..], &wanted, refused);
        let mut known = vec![Known::default(); candidates.len()];
        for (at, wanted) in wanted.iter().enumerate() {
            wanted.compute(&candidates, at, probes, &mut known);
        }
        let share = begin.elapsed() / candidates.len().max(1) as u32;
        for (candidate, known) in candidates.into_iter().zip(known) {
            let begin = Instant::now();
            let genotype = genotypes[first];
            let scores =
                candidate.refused.unwrap_or_else(|| score_knowing(probes, space, genotype, indicators, &known));
            done(first, scores, share + begin.elapsed())?;
            first += 1;
        }
    }
    ControlFlow::Continue(())
}

/// Networks of a view that indicators ask for.
struct Wanted<'a> {
    view: View,
    networks: usize,
    batches: &'a [Tensor],
}

/// One that is to be scored.
struct Candidate {
    /// Its graph in each view, and the bytes that one of its networks takes; none where it can't be stacked.
    graphs: Vec<Option<(Graph, u64)>>,
    refused: Option<Scores>,
}

impl Candidate {
    /// As many as fit the memory, but one at least.
    fn next(
        probes: &Probes,
        space: &SearchSpace,
        genotypes: &[&Genotype],
        wanted: &[Wanted],
        refused: impl Fn(&Genotype) -> Option<Scores>,
    ) -> Vec<Self> {
        let (mut next, mut taken) = (vec![], vec![0; wanted.len()]);
        for genotype in genotypes.iter().take(TOGETHER) {
            let refused = refused(genotype);
            let graph = |wanted: &Wanted| {
                // What can't be built is told of when it is scored.
                let graph = probes.graph(space, genotype, wanted.view).ok().filter(|_| refused.is_none())?;
                if !Stack::takes(&graph) {
                    return None;
                }
                let bytes = wanted.bytes(&graph);
                (bytes <= probes.memory_bytes()).then_some((graph, bytes))
            };
            let candidate = Self { graphs: wanted.iter().map(graph).collect(), refused };
            for ((graph, wanted), taken) in candidate.graphs.iter().zip(wanted).zip(&mut taken) {
                *taken += graph.as_ref().map_or(0, |(_, bytes)| wanted.networks as u64 * bytes);
            }
            if !next.is_empty() && taken.iter().any(|&taken| taken > probes.memory_bytes()) {
                break;
            }
            next.push(candidate);
        }
        next
    }
}

impl<'a> Wanted<'a> {
    /// The networks of a view, if something asks for them.
    fn of(probes: &'a Probes, view: View, indicators: &[&'static dyn Indicator]) -> Option<Self> {
        let mut of_view = indicators.iter().filter(|indicator| indicator.facts().view == view).peekable();
        of_view.peek()?;
        let batches = probes.stacked_batches(view, of_view.any(|indicator| indicator.needs_second_batch()));
        Some(Self { view, networks: view.networks(probes.settings()), batches })
    }

    /// Bytes that a network takes.
    fn bytes(&self, graph: &Graph) -> u64 {
        let samples = self.batches.first().and_then(|first| first.dims().first().copied()).unwrap_or(0);
        stacked_bytes(graph, samples, self.batches.len(), self.view == View::Kernel)
    }

    /// Computes what is wanted of this view's networks, which is the candidates' graph number `which`. Where a stack
    /// fails, nothing is known: its candidates are scored alone, so that the reason is told of the one that has it.
    fn compute(&self, candidates: &[Candidate], which: usize, probes: &Probes, known: &mut [Known]) {
        let networks = candidates.iter().map(|candidate| candidate.graphs[which].as_ref()).enumerate();
        let networks = networks.filter_map(|(at, graph)| Some((at, graph?)));
        let mut left: Vec<Network> = networks
            .flat_map(|(at, (graph, bytes))| {
                (0..self.networks).map(move |number| Network { at, number, graph, bytes: *bytes })
            })
            .collect();
        for known in known.iter_mut() {
            match self.view {
                View::Kernel => known.kernels = vec![None; self.networks],
                _ => known.regions = vec![None; self.networks],
            }
        }
        while !left.is_empty() {
            let mut room = probes.memory_bytes();
            let fits = |network: &&Network| room.checked_sub(network.bytes).inspect(|&less| room = less).is_some();
            let count = left.iter().take_while(fits).count().max(1);
            let rest = left.split_off(count);
            if let Err(error) = self.run(&left, probes, known) {
                tracing::warn!("a stack of {count} networks failed, they are scored one by one: {error}");
            }
            left = rest;
        }
    }

    fn run(&self, networks: &[Network], probes: &Probes, known: &mut [Known]) -> Result<(), IndicatorError> {
        // Drawn on all cores, and uploaded at once by the stack.
        let weights = |one: &Network| probes.weights(one.graph, self.view, one.number, &Device::Cpu);
        let weights: Vec<Weights> = networks.par_iter().map(weights).collect::<Result<_, _>>()?;
        let members: Vec<Member> =
            networks.iter().zip(&weights).map(|(one, weights)| Member { graph: one.graph, weights }).collect();
        match self.view {
            View::Kernel => {
                for (one, kernels) in networks.iter().zip(ntk::stacked(&members, self.batches)?) {
                    known[one.at].kernels[one.number] = Some(kernels);
                }
            }
            _ => {
                for (one, regions) in networks.iter().zip(linear_regions::stacked(&members, self.batches)?) {
                    known[one.at].regions[one.number] = Some(regions);
                }
            }
        }
        Ok(())
    }
}

/// One network of a stack: its candidate, its number, and what it takes.
struct Network<'a> {
    at: usize,
    number: usize,
    graph: &'a Graph,
    bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, SettingsSection, named, teg};
    use super::*;
    use crate::graph::{Activation, NodeId, Op};
    use crate::network::Mode::Train;
    use crate::network::{Activations, PerSampleGradients, activations};
    use crate::space::Scale;
    use nalgebra::DMatrix;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashMap;

    fn probes(space: &SearchSpace, mode: Mode, batch: usize, memory_mib: u64) -> Probes {
        let (batch, networks) = (Some(batch), Some(2));
        let section = SettingsSection { mode, batch, networks, memory_mib, ..SettingsSection::default() };
        Probes::new(space, section.resolve(), 3, Device::Cpu).unwrap()
    }

    fn sample(space: &SearchSpace, count: usize) -> Vec<Genotype> {
        let mut rng = ChaCha8Rng::seed_from_u64(17);
        let is_alive = |genotype: &Genotype| space.lower(genotype, Scale::Probe).is_ok_and(|graph| graph.is_alive());
        std::iter::repeat_with(|| space.sample(&mut rng)).filter(is_alive).take(count).collect()
    }

    /// K of a network, by the rules for any device, one network at a time.
    fn folded(graph: &Graph, weights: &Weights, images: &Tensor) -> DMatrix<f64> {
        let samples = images.dim(0).unwrap();
        let mut sum = DMatrix::zeros(samples, samples);
        for layer in PerSampleGradients::folded(graph, weights, images).unwrap() {
            let gradient = layer.unwrap().gradient;
            let product = gradient.matmul(&gradient.t().unwrap()).unwrap().flatten_all().unwrap();
            let product = product.to_vec1::<f32>().unwrap().into_iter().map(f64::from);
            sum += DMatrix::from_row_iterator(samples, samples, product);
        }
        sum
    }

    /// For member and batch, how many units are on in the stack and off in the single network, or the other way round:
    /// their input is zero but for rounding.
    fn flips(members: &[Member], batches: &[Tensor]) -> HashMap<(usize, usize), usize> {
        let single = |member: &Member, batch| activations(member.graph, member.weights, batch, Train).unwrap();
        let of_member = |member| batches.iter().map(|batch| single(member, batch)).collect();
        let known: Vec<Vec<Activations>> = members.iter().map(of_member).collect();
        let mut flips = HashMap::new();
        let see = |nodes: &[(usize, NodeId)], results: Tensor| -> Result<(), IndicatorError> {
            let is_unit = |(_, (member, id)): &(usize, &(usize, NodeId))| {
                matches!(members[*member].graph.node(*id).op, Op::Activation(Activation::Relu | Activation::Relu6))
            };
            for (at, &(member, id)) in nodes.iter().enumerate().filter(is_unit) {
                for (batch, known) in known[member].iter().enumerate() {
                    let found = results.get(at)?.get(batch)?.transpose(0, 1)?.flatten_all()?.to_vec1::<f32>()?;
                    let expected = known.of(id).flatten_all()?.to_vec1::<f32>()?;
                    let differ = found.iter().zip(&expected).filter(|(a, b)| (**a > 0.0) != (**b > 0.0));
                    *flips.entry((member, batch)).or_default() += differ
                        .inspect(|(a, b)| assert!((*a - *b).abs() < 1e-4, "{a} and {b} are no rounding of zero"))
                        .count();
                }
            }
            Ok(())
        };
        Stack::new(members, batches).unwrap().forward(see).unwrap();
        flips
    }

    /// Each unit that flips moves the kernel a little.
    fn assert_close(what: &str, found: &DMatrix<f64>, expected: &DMatrix<f64>, flips: usize) {
        let off = (found - expected).amax() / expected.amax();
        assert!(flips < 4 && off < 1e-4 + 5e-2 * flips as f64, "{what}: {off:.1e} apart, {flips} units flip");
    }

    #[test]
    fn networks_in_stacks_have_the_kernels_and_regions_of_single_ones() {
        for (name, mode, count) in
            [("nas-bench-201", Mode::Fast, 3), ("nas-bench-201", Mode::Compat, 2), ("mobilenet-macro", Mode::Fast, 2)]
        {
            let space = SearchSpace::open(name).unwrap();
            let probes = probes(&space, mode, 4, 4096);
            let graphs = |view: View| -> Vec<Graph> {
                sample(&space, count).iter().map(|one| probes.graph(&space, one, view).unwrap()).collect()
            };
            let weights = |graphs: &[Graph], view: View| -> Vec<Weights> {
                let weights = |(at, graph)| probes.weights(graph, view, at % 2, &Device::Cpu).unwrap();
                graphs.iter().enumerate().map(weights).collect()
            };
            let of_kernels = graphs(View::Kernel);
            let of_regions = graphs(View::Regions);
            let (kernel_weights, region_weights) =
                (weights(&of_kernels, View::Kernel), weights(&of_regions, View::Regions));
            let batches = probes.stacked_batches(View::Kernel, true);
            let stacked: Vec<Member> =
                of_kernels.iter().zip(&kernel_weights).map(|(graph, weights)| Member { graph, weights }).collect();
            let flips = flips(&stacked, batches);
            for (at, found) in ntk::stacked(&stacked, batches).unwrap().into_iter().enumerate() {
                let Member { graph, weights } = stacked[at];
                let what = format!("network {at} of {name}, {mode:?}");
                let [first, second] = [0, 1].map(|batch| flips.get(&(at, batch)).copied().unwrap_or(0));
                assert_close(&what, &found.all, &folded(graph, weights, &batches[0]), first);
                let expected = ntk::ntk(graph, weights, &batches[0], Some(&batches[1])).unwrap();
                assert_close(&what, &found.body, &expected.body, first);
                assert_close(&what, &found.body_cross.unwrap(), &expected.body_cross.unwrap(), first + second);
            }
            let patches = probes.stacked_batches(View::Regions, false);
            let stacked: Vec<Member> =
                of_regions.iter().zip(&region_weights).map(|(graph, weights)| Member { graph, weights }).collect();
            for (at, found) in linear_regions::stacked(&stacked, patches).unwrap().into_iter().enumerate() {
                let expected = linear_regions::count(stacked[at].graph, stacked[at].weights, patches).unwrap();
                // A unit whose input is zero but for rounding may be on here and off there.
                let apart = found.abs_diff(expected);
                assert!(apart <= 1 + expected / 500, "{found} regions of network {at} of {name}, expected {expected}");
            }
        }
    }

    /// Scores of all candidates, in order.
    fn scored(probes: &Probes, space: &SearchSpace, genotypes: &[&Genotype]) -> Vec<Scores> {
        let mut found = vec![];
        let others = ["conv_layers", "ntk_entropy"].map(|name| named(name).unwrap());
        let indicators = [teg().as_slice(), &others].concat();
        let flow = super::super::score_each(probes, space, genotypes, &indicators, |at, scores, _| {
            found.push((at, scores));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        found.sort_by_key(|(at, _)| *at);
        assert!(found.iter().enumerate().all(|(expected, (at, _))| expected == *at));
        found.into_iter().map(|(_, scores)| scores).collect()
    }

    #[test]
    fn scores_in_stacks_are_those_of_candidates_alone() {
        const BATCH: usize = 4;
        let space = SearchSpace::open("nas-bench-201").unwrap();
        let dead = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";
        let mut genotypes = sample(&space, 2);
        genotypes.insert(1, space.parse_arch(dead).unwrap());
        let genotypes: Vec<&Genotype> = genotypes.iter().collect();
        let alone = scored(&probes(&space, Mode::Fast, BATCH, 4096), &space, &genotypes);
        let bytes = |genotype: &&Genotype| {
            let graph = probes(&space, Mode::Fast, BATCH, 4096).graph(&space, genotype, View::Kernel).ok()?;
            Some(stacked_bytes(&graph, BATCH, 2, true))
        };
        let largest = genotypes.iter().filter_map(bytes).max().unwrap().div_ceil(1 << 20);
        // All at once; one network at a time; and some candidates in stacks, others alone.
        for memory_mib in [4096, largest, largest / 2] {
            let found = scored(&probes(&space, Mode::Fast, BATCH, memory_mib).stacked(), &space, &genotypes);
            for (found, alone) in found.iter().zip(&alone) {
                assert_eq!(found.len(), alone.len());
                for (name, alone) in alone {
                    let what = format!("{name} with {memory_mib} MiB");
                    match (&found[name], alone) {
                        (Ok(found), Ok(alone)) => {
                            assert_eq!(found.networks.len(), alone.networks.len(), "{what}");
                            let off = (found.value - alone.value).abs() / alone.value.abs();
                            assert!(off < 1e-2, "{what}: {} and {}", found.value, alone.value);
                        }
                        (found, alone) => assert_eq!(
                            found.as_ref().map_err(ToString::to_string),
                            alone.as_ref().map_err(ToString::to_string),
                            "{what}"
                        ),
                    }
                }
            }
        }
    }

    #[test]
    fn transformers_are_scored_alone() {
        let space = SearchSpace::open("vit").unwrap();
        let genotypes = sample(&space, 2);
        let genotypes: Vec<&Genotype> = genotypes.iter().collect();
        let stacked = probes(&space, Mode::Fast, 4, 4096).stacked();
        let wanted = [Wanted::of(&stacked, View::Kernel, &teg()).unwrap()];
        let candidates = Candidate::next(&stacked, &space, &genotypes, &wanted, |_| None);
        assert!(candidates.len() == 2 && candidates.iter().all(|one| one.graphs[0].is_none()));
        let alone = scored(&probes(&space, Mode::Fast, 4, 4096), &space, &genotypes);
        for (found, alone) in scored(&stacked, &space, &genotypes).iter().zip(&alone) {
            for (name, alone) in alone {
                assert_eq!(found[name].as_ref().unwrap().value, alone.as_ref().unwrap().value, "{name}");
            }
        }
    }

    #[test]
    fn a_stack_holds_what_the_memory_does() {
        let space = SearchSpace::open("nas-bench-201").unwrap();
        let genotypes = sample(&space, 8);
        let genotypes: Vec<&Genotype> = genotypes.iter().collect();
        let together = |memory_mib: u64| {
            let probes = probes(&space, Mode::Fast, 6, memory_mib).stacked();
            let wanted = [Wanted::of(&probes, View::Kernel, &teg()).unwrap()];
            let candidates = Candidate::next(&probes, &space, &genotypes, &wanted, |_| None);
            let bytes = |one: &Candidate| one.graphs[0].as_ref().map_or(0, |(_, bytes)| 2 * bytes);
            assert!(candidates.len() == 1 || candidates.iter().map(bytes).sum::<u64>() <= memory_mib << 20);
            (candidates.len(), candidates[0].graphs[0].is_some())
        };
        assert_eq!(together(1 << 20), (8, true));
        assert!((2..8).contains(&together(256).0), "{:?}", together(256));
        assert_eq!(together(1), (8, false), "what does not fit is left to be scored alone");
    }

    #[test]
    fn scoring_stops_where_the_caller_breaks() {
        let space = SearchSpace::open("nas-bench-201").unwrap();
        let genotypes = sample(&space, 3);
        let genotypes: Vec<&Genotype> = genotypes.iter().collect();
        let probes = probes(&space, Mode::Fast, 4, 4096).stacked();
        let mut count = 0;
        let flow = score_each(&probes, &space, &genotypes, &[&linear_regions::LinearRegions], |_, _, _| {
            count += 1;
            if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((flow.is_break(), count), (true, 2));
    }
}
