//! Gradient-boosted regression trees under squared error (Friedman 2001), with LightGBM's way of growing a tree and its sampling of
//! rows and features. Defaults are those of GBDT-NAS (Luo et al. 2020).
//!
//! Several such models, each with draws of its own, give the mean and, by their differences, the deviation.

use super::shapley::add_contributions;
use super::tree::{Binned, Shape, Tree};
use super::{Prediction, Rows, Surrogate, SurrogateError, mean};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Rounds that share a draw of rows.
const ROUNDS_PER_BAG: usize = 5;

/// How boosted trees are fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoostedTreesOptions {
    /// Trees of a model.
    pub rounds: usize,
    /// How much of a tree counts.
    pub learning_rate: f64,
    /// Most leaves of a tree.
    pub leaves: usize,
    /// Fewest rows of a leaf; a twentieth of the rows where absent.
    pub min_rows: Option<usize>,
    /// Share of features that a tree may use.
    pub feature_fraction: f64,
    /// Share of rows that a tree learns from.
    pub bagging_fraction: f64,
    /// Models whose mean is the prediction.
    pub ensemble: usize,
}

impl Default for BoostedTreesOptions {
    fn default() -> Self {
        Self {
            rounds: 100,
            learning_rate: 0.05,
            leaves: 31,
            min_rows: None,
            feature_fraction: 0.9,
            bagging_fraction: 0.8,
            ensemble: 4,
        }
    }
}

impl BoostedTreesOptions {
    pub(super) fn check(&self) -> Result<(), SurrogateError> {
        for (field, value, least) in [
            ("rounds", self.rounds, 1),
            ("leaves", self.leaves, 2),
            ("min_rows", self.min_rows.unwrap_or(1), 1),
            ("ensemble", self.ensemble, 1),
        ] {
            if value < least {
                let expected = if least == 1 { "1 or more" } else { "2 or more" };
                return Err(SurrogateError::Option { field, value: value as f64, expected });
            }
        }
        for (field, value) in [
            ("learning_rate", self.learning_rate),
            ("feature_fraction", self.feature_fraction),
            ("bagging_fraction", self.bagging_fraction),
        ] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(SurrogateError::Option { field, value, expected: "above 0 and at most 1" });
            }
        }
        Ok(())
    }
}

/// Fitted boosted trees.
pub struct BoostedTrees {
    level: f64,
    learning_rate: f64,
    width: usize,
    members: Vec<Vec<Tree>>,
}

impl BoostedTrees {
    /// The trees that `rows` and `targets` teach; the same for the same `seed`.
    ///
    /// # Errors
    /// If there are not as many targets as rows or fewer than two, a number is not finite, or an option is out of its range.
    pub fn fit(options: &BoostedTreesOptions, rows: &Rows, targets: &[f64], seed: u64) -> Result<Self, SurrogateError> {
        super::check(rows, targets)?;
        options.check()?;
        let binned = Binned::new(rows);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let members = (0..options.ensemble).map(|_| boost(options, &binned, rows, targets, &mut rng)).collect();
        Ok(Self { level: mean(targets), learning_rate: options.learning_rate, width: rows.width(), members })
    }

    /// By how much each feature's value moves the prediction of `row` from the mean of what was learnt: Shapley values
    /// over the trees' own distribution of rows. They add up to the prediction less that mean.
    ///
    /// # Panics
    /// If the row has fewer features than those that were learnt from.
    pub fn contributions(&self, row: &[f64]) -> Vec<f64> {
        let mut values = vec![0.0; self.width];
        let scale = self.learning_rate / self.members.len() as f64;
        let trees = self.members.iter().flatten();
        trees.for_each(|tree| add_contributions(tree, row, scale, &mut values));
        values
    }

    /// The contribution of each feature, meaned over the rows in which it is 1; `None` where it is in no row.
    ///
    /// # Panics
    /// If the rows have fewer features than those that were learnt from.
    pub fn contributions_where_set(&self, rows: &Rows) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0usize); self.width];
        for row in rows.iter() {
            for ((sum, value), feature) in sums.iter_mut().zip(self.contributions(row)).zip(row) {
                if *feature == 1.0 {
                    *sum = (sum.0 + value, sum.1 + 1);
                }
            }
        }
        sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / count as f64)).collect()
    }
}

fn boost(
    options: &BoostedTreesOptions,
    binned: &Binned,
    rows: &Rows,
    targets: &[f64],
    rng: &mut ChaCha8Rng,
) -> Vec<Tree> {
    let level = mean(targets);
    let mut residuals: Vec<f64> = targets.iter().map(|target| target - level).collect();
    let share = |fraction: f64, count: usize| ((fraction * count as f64).round() as usize).clamp(1, count.max(1));
    let bag = share(options.bagging_fraction, rows.len());
    let min_rows = options.min_rows.unwrap_or((rows.len() / 20).max(1));
    let shape = Shape { leaves: options.leaves, min_rows };
    let (mut order, mut features) = ((0..rows.len()).collect::<Vec<usize>>(), binned.varying());
    let used = share(options.feature_fraction, features.len()).min(features.len());
    let mut trees = Vec::with_capacity(options.rounds);
    for round in 0..options.rounds {
        if round % ROUNDS_PER_BAG == 0 {
            draw_first(&mut order, bag, rng);
        }
        draw_first(&mut features, used, rng);
        let tree = Tree::grow(binned, &residuals, order[..bag].to_vec(), &features[..used], &shape);
        for (residual, row) in residuals.iter_mut().zip(rows.iter()) {
            *residual -= options.learning_rate * tree.predict(row);
        }
        trees.push(tree);
    }
    trees
}

/// Moves a uniform draw of `count` items to the front. With all of them nothing moves.
fn draw_first(items: &mut [usize], count: usize, rng: &mut ChaCha8Rng) {
    if count < items.len() {
        for at in 0..count {
            let from = rng.random_range(at as u64..items.len() as u64) as usize;
            items.swap(at, from);
        }
    }
}

impl Surrogate for BoostedTrees {
    fn predict(&self, rows: &Rows) -> Vec<Prediction> {
        assert_eq!(rows.width(), self.width, "rows of other features");
        let of_row = |row: &[f64]| {
            let of_member = |trees: &Vec<Tree>| {
                self.level + self.learning_rate * trees.iter().map(|tree| tree.predict(row)).sum::<f64>()
            };
            spread(&self.members.iter().map(of_member).collect::<Vec<f64>>())
        };
        rows.iter().map(of_row).collect()
    }
}

/// Mean and deviation of what members of an ensemble predict.
pub(super) fn spread(predictions: &[f64]) -> Prediction {
    let centre = mean(predictions);
    let squares = predictions.iter().map(|prediction| (prediction - centre).powi(2)).sum::<f64>();
    Prediction { mean: centre, deviation: (squares / (predictions.len() as f64 - 1.0).max(1.0)).sqrt() }
}

#[cfg(test)]
impl BoostedTrees {
    /// Shapley values by their definition, for the features that trees split on.
    pub(super) fn contributions_by_subsets(&self, row: &[f64]) -> Vec<f64> {
        fn expectation(tree: &Tree, at: usize, row: &[f64], known: &[usize]) -> f64 {
            let node = &tree.nodes[at];
            let Some(split) = &node.split else { return node.value };
            if known.contains(&split.feature) {
                return expectation(tree, split.next(row), row, known);
            }
            let children = [split.left, split.right].map(|child| (child, tree.nodes[child].rows / node.rows));
            children.into_iter().map(|(child, share)| share * expectation(tree, child, row, known)).sum()
        }
        let mut values = vec![0.0; self.width];
        for tree in self.members.iter().flatten() {
            let splits = tree.nodes.iter().filter_map(|node| Some(node.split.as_ref()?.feature));
            let used: Vec<usize> = splits.collect::<std::collections::BTreeSet<usize>>().into_iter().collect();
            for &feature in &used {
                let rest: Vec<usize> = used.iter().copied().filter(|&other| other != feature).collect();
                for subset in 0..1usize << rest.len() {
                    let members = rest.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
                    let mut known: Vec<usize> = members.map(|(_, &feature)| feature).collect();
                    let before = expectation(tree, 0, row, &known);
                    let size = known.len();
                    known.push(feature);
                    // |S|! (n - |S| - 1)! / n!
                    let binomial = (0..size).fold(1.0, |b, k| b * (rest.len() - k) as f64 / (k + 1) as f64);
                    let weight = 1.0 / (used.len() as f64 * binomial);
                    let after = expectation(tree, 0, row, &known);
                    values[feature] += self.learning_rate / self.members.len() as f64 * weight * (after - before);
                }
            }
        }
        values
    }
}
