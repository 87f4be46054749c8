//! A regression tree by least squares, grown best split first (as LightGBM does: Ke et al. 2017), over binned features.
//!
//! A split's gain is Sₗ²/nₗ + Sᵣ²/nᵣ - S²/n of sums S of targets; splits of one-hot columns are exact.

/// Most bins of a feature; where it has no more values, each is a bin.
const BINS: usize = 32;

/// Feature columns as bins.
pub(super) struct Binned {
    /// Of each feature, the bin of each row, and …
    bins: Vec<Vec<u8>>,
    /// … the values between neighbouring bins.
    thresholds: Vec<Vec<f64>>,
}

impl Binned {
    pub(super) fn new(rows: &super::Rows) -> Self {
        let column = |feature: usize| rows.iter().map(|row| row[feature]).collect::<Vec<f64>>();
        let thresholds: Vec<Vec<f64>> = (0..rows.width()).map(|feature| thresholds(column(feature))).collect();
        let bin = |value: f64, thresholds: &[f64]| thresholds.partition_point(|&threshold| threshold < value) as u8;
        let bins = thresholds.iter().enumerate();
        let bins = bins.map(|(f, thresholds)| column(f).into_iter().map(|value| bin(value, thresholds)).collect());
        Self { bins: bins.collect(), thresholds }
    }

    /// Features that differ between rows.
    pub(super) fn varying(&self) -> Vec<usize> {
        (0..self.bins.len()).filter(|&feature| !self.thresholds[feature].is_empty()).collect()
    }
}

fn thresholds(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let mut distinct = values.clone();
    distinct.dedup();
    if distinct.len() > BINS {
        distinct = (0..BINS).map(|bin| values[(bin * (count - 1)) / (BINS - 1)]).collect();
        distinct.dedup();
    }
    distinct.windows(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect()
}

pub(super) struct Tree {
    /// The root first.
    pub(super) nodes: Vec<Node>,
}

pub(super) struct Node {
    /// Mean target of its rows.
    pub(super) value: f64,
    /// How many rows it was grown from.
    pub(super) rows: f64,
    pub(super) split: Option<Split>,
}

pub(super) struct Split {
    pub(super) feature: usize,
    /// Rows with at most this go left.
    threshold: f64,
    pub(super) left: usize,
    pub(super) right: usize,
}

impl Split {
    pub(super) fn next(&self, row: &[f64]) -> usize {
        if row[self.feature] <= self.threshold { self.left } else { self.right }
    }
}

/// Bounds of a tree.
pub(super) struct Shape {
    pub(super) leaves: usize,
    pub(super) min_rows: usize,
}

/// The best split of a node that is a leaf so far.
struct Best {
    node: usize,
    gain: f64,
    feature: usize,
    bin: u8,
    rows: Vec<usize>,
}

impl Tree {
    /// A tree of `rows` of `targets` that splits on `features`.
    pub(super) fn grow(binned: &Binned, targets: &[f64], rows: Vec<usize>, features: &[usize], shape: &Shape) -> Self {
        let mut tree = Self { nodes: vec![] };
        let mut open = vec![];
        open.extend(tree.leaf(binned, targets, rows, features, shape));
        let mut leaves = 1;
        while leaves < shape.leaves {
            let greatest = (0..open.len()).reduce(|a, b| if open[b].gain > open[a].gain { b } else { a });
            let Some(best) = greatest.map(|at| open.swap_remove(at)) else { break };
            let bins = &binned.bins[best.feature];
            let (left, right): (Vec<usize>, Vec<usize>) = best.rows.iter().partition(|&&row| bins[row] <= best.bin);
            let threshold = binned.thresholds[best.feature][usize::from(best.bin)];
            let at = tree.nodes.len();
            open.extend(tree.leaf(binned, targets, left, features, shape));
            open.extend(tree.leaf(binned, targets, right, features, shape));
            tree.nodes[best.node].split = Some(Split { feature: best.feature, threshold, left: at, right: at + 1 });
            leaves += 1;
        }
        tree
    }

    /// Adds a leaf; gives its best split, if one gains.
    fn leaf(
        &mut self,
        binned: &Binned,
        targets: &[f64],
        rows: Vec<usize>,
        features: &[usize],
        shape: &Shape,
    ) -> Option<Best> {
        let (sum, count) = (rows.iter().map(|&row| targets[row]).sum::<f64>(), rows.len() as f64);
        let node = self.nodes.len();
        self.nodes.push(Node { value: sum / count, rows: count, split: None });
        if rows.len() < 2 * shape.min_rows {
            return None;
        }
        let mut best: Option<(f64, usize, u8)> = None;
        for &feature in features {
            let (bins, thresholds) = (&binned.bins[feature], &binned.thresholds[feature]);
            let mut sums = [(0.0, 0usize); BINS];
            for &row in &rows {
                let of_bin = &mut sums[usize::from(bins[row])];
                *of_bin = (of_bin.0 + targets[row], of_bin.1 + 1);
            }
            let (mut left, mut below) = (0.0, 0);
            for (bin, (of_bin, here)) in sums.iter().enumerate().take(thresholds.len()) {
                (left, below) = (left + of_bin, below + here);
                let above = rows.len() - below;
                if below < shape.min_rows || above < shape.min_rows {
                    continue;
                }
                let right: f64 = sum - left;
                let gain = left * left / below as f64 + right * right / above as f64 - sum * sum / count;
                // What rounding leaves of equal targets is no gain.
                if gain > 1e-12 * count && best.is_none_or(|(most, ..)| gain > most) {
                    best = Some((gain, feature, bin as u8));
                }
            }
        }
        best.map(|(gain, feature, bin)| Best { node, gain, feature, bin, rows })
    }

    pub(super) fn predict(&self, row: &[f64]) -> f64 {
        let mut node = &self.nodes[0];
        while let Some(split) = &node.split {
            node = &self.nodes[split.next(row)];
        }
        node.value
    }
}
