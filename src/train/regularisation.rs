//! What is dropped in training: paths of a sum, and features before the last layer.
//!
//! Drop path (ScheduledDropPath, Zoph et al. 2018): each sample loses a path with probability
//! p · (block + 1) / blocks · (step + 1) / steps; what stays is divided by the probability to stay. A path is an operand of a
//! sum that nothing but this sum takes: an identity is never dropped. Where that is all operands, the one behind the fewest
//! layers stays, so that no sample is left with nothing.

use super::seeds::rng;
use crate::graph::{Graph, NodeId, Op};
use candle_core::{Device, Error, Tensor};
use rand::RngExt;
use std::collections::HashMap;

/// Where a network's results may be dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Regularisation {
    /// Paths, with the share of the largest probability that they have.
    paths: Vec<(NodeId, f64)>,
    /// The operand of the last fully connected layer.
    features: Option<NodeId>,
}

/// How much is dropped in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drop {
    /// Probability of the last paths.
    pub path: f64,
    /// Probability of a feature.
    pub feature: f64,
    /// Where randomness comes from.
    pub seed: u64,
    /// The step, from which all its draws come.
    pub step: u64,
}

impl Regularisation {
    /// What may be dropped in `graph`.
    pub fn new(graph: &Graph) -> Self {
        let mut users = vec![0; graph.nodes().len()];
        users[graph.output().index()] += 1;
        for node in graph.nodes() {
            node.inputs.iter().for_each(|input| users[input.index()] += 1);
        }
        let mut layers: Vec<usize> = vec![];
        for node in graph.nodes() {
            let before = node.inputs.iter().map(|input| layers[input.index()]).max().unwrap_or(0);
            layers.push(before + usize::from(matches!(node.op, Op::Conv2d(_))));
        }
        let blocks = graph.blocks();
        let block = |id: NodeId| blocks.iter().position(|block| block.output >= id).unwrap_or(blocks.len().max(1) - 1);
        let mut paths = vec![];
        for id in graph.ids().filter(|&id| graph.node(id).op == Op::Add) {
            let depth = (block(id) + 1) as f64 / blocks.len().max(1) as f64;
            let operands = &graph.node(id).inputs;
            let own = |input: &NodeId| users[input.index()] == 1 && input.index() > 0;
            let all = operands.iter().all(own);
            let stays = operands.iter().filter(|_| all).min_by_key(|input| layers[input.index()]).copied();
            // A part of a sum that is a sum itself has paths of its own.
            let is_path = |input: &NodeId| own(input) && stays != Some(*input) && graph.node(*input).op != Op::Add;
            paths.extend(operands.iter().copied().filter(is_path).map(|input| (input, depth)));
        }
        let last = graph.ids().rev().find(|&id| matches!(graph.node(id).op, Op::Linear { .. }));
        let features = last.map(|id| graph.node(id).inputs[0]);
        Self { paths, features }
    }

    /// What the results of nodes are multiplied by, for a batch of `batch` samples: paths `[batch, 1, 1, 1]`, features
    /// `[batch, features]`.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn factors(
        &self,
        graph: &Graph,
        drop: Drop,
        batch: usize,
        device: &Device,
    ) -> Result<HashMap<NodeId, Tensor>, Error> {
        let mut all = HashMap::new();
        let mut rng = rng(drop.seed, "drop", drop.step);
        let mut draw = |count: usize, probability: f64| -> Vec<f32> {
            let stays = (1.0 / (1.0 - probability)) as f32;
            (0..count).map(|_| if rng.random::<f64>() < probability { 0.0 } else { stays }).collect()
        };
        if drop.path > 0.0 {
            for &(id, share) in &self.paths {
                let dims: Vec<usize> = [vec![batch], vec![1; graph.node(id).shape.dims().len()]].concat();
                all.insert(id, Tensor::from_vec(draw(batch, drop.path * share), dims, device)?);
            }
        }
        if let Some(id) = self.features.filter(|_| drop.feature > 0.0) {
            let dims: Vec<usize> = [vec![batch], graph.node(id).shape.dims()].concat();
            let factor = Tensor::from_vec(draw(dims.iter().product(), drop.feature), dims, device)?;
            all.insert(id, factor);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Scale, SearchSpace};

    fn graph(space: &str, arch: &str) -> Graph {
        let space = SearchSpace::open(space).unwrap();
        space.lower(&space.parse_arch(arch).unwrap(), Scale::Full).unwrap().live().unwrap()
    }

    fn check(space: &str, arch: &str, paths: usize, first: &str, last: &str) {
        let graph = graph(space, arch);
        let found = Regularisation::new(&graph);
        let name = |&(id, _): &(NodeId, f64)| graph.node(id).name.as_str();
        let names: Vec<&str> = found.paths.iter().map(name).collect();
        assert_eq!(names.len(), paths, "{names:?}");
        assert!(names[0].starts_with(first) && names[paths - 1].starts_with(last), "{names:?}");
        let shares: Vec<f64> = found.paths.iter().map(|&(_, share)| share).collect();
        assert!(shares.is_sorted() && shares[0] > 0.0 && shares[paths - 1] == 1.0, "{shares:?}");
        assert_eq!(graph.node(found.features.unwrap()).op, Op::GlobalAvgPool);
    }

    #[test]
    fn identities_are_no_paths() {
        // Two of a cell's edges, the pooling stays; the bodies of two reductions.
        check(
            "nas-bench-201",
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|",
            32,
            "stage0.cell0.edge0_2.nor_conv_3x3.",
            "stage2.cell4.edge2_3.nor_conv_1x1.",
        );
        // The layers that add their input.
        check("mobilenet-macro", "21112111", 5, "stage0.layer1.op1.", "stage2.layer2.op1.");
    }

    #[test]
    fn as_much_is_dropped_as_asked_for_and_the_mean_stays() {
        let graph = graph("mobilenet-macro", "21112111");
        let found = Regularisation::new(&graph);
        let drop = Drop { path: 0.4, feature: 0.25, seed: 1, step: 7 };
        let factors = found.factors(&graph, drop, 4000, &Device::Cpu).unwrap();
        assert_eq!(factors.len(), found.paths.len() + 1);
        let values = |id: NodeId| factors[&id].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (id, probability) in [(found.paths[found.paths.len() - 1].0, 0.4), (found.features.unwrap(), 0.25)] {
            let values = values(id);
            let dropped = values.iter().filter(|&&value| value == 0.0).count() as f64 / values.len() as f64;
            assert!((dropped - probability).abs() < 0.03, "{dropped}");
            let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
            assert!((mean - 1.0).abs() < 0.05, "{mean}");
        }
        let again = found.factors(&graph, drop, 4000, &Device::Cpu).unwrap();
        assert_eq!(values(found.paths[0].0), again[&found.paths[0].0].flatten_all().unwrap().to_vec1::<f32>().unwrap());
        assert!(found.factors(&graph, Drop { path: 0.0, feature: 0.0, ..drop }, 8, &Device::Cpu).unwrap().is_empty());
    }
}
