//! Shapley values of a tree's features at one row (Lundberg et al. 2020: "From local explanations to global understanding
//! with explainable AI for trees", algorithm 2, path-dependent): how much each feature's value moves the prediction from the mean
//! over the rows that the tree was grown from. Their sum is prediction - mean.

use super::tree::Tree;

/// One feature on the way to a node.
#[derive(Clone, Copy)]
struct Step {
    /// None at the root.
    feature: Option<usize>,
    /// Share of ways that go on where the feature is unknown, …
    unknown: f64,
    /// … and where it is known.
    known: f64,
    /// Weight of the subsets of as many features as the step's place.
    weight: f64,
}

/// Adds `scale` times each feature's value to `values`.
pub(super) fn add_contributions(tree: &Tree, row: &[f64], scale: f64, values: &mut [f64]) {
    descend(tree, 0, row, vec![], Step { feature: None, unknown: 1.0, known: 1.0, weight: 0.0 }, scale, values);
}

fn descend(tree: &Tree, at: usize, row: &[f64], path: Vec<Step>, step: Step, scale: f64, values: &mut [f64]) {
    let mut path = extend(path, step);
    let node = &tree.nodes[at];
    let Some(split) = &node.split else {
        for place in 1..path.len() {
            let Step { feature, unknown, known, .. } = path[place];
            let weight: f64 = unwind(&path, place).iter().map(|step| step.weight).sum();
            let feature = feature.expect("only the root has none");
            values[feature] += scale * weight * (known - unknown) * node.value;
        }
        return;
    };
    let (mut unknown, mut known) = (1.0, 1.0);
    if let Some(place) = path.iter().position(|step| step.feature == Some(split.feature)) {
        (unknown, known) = (path[place].unknown, path[place].known);
        path = unwind(&path, place);
    }
    let taken = split.next(row);
    for child in [split.left, split.right] {
        let share = tree.nodes[child].rows / node.rows;
        let known = if child == taken { known } else { 0.0 };
        let step = Step { feature: Some(split.feature), unknown: unknown * share, known, weight: 0.0 };
        descend(tree, child, row, path.clone(), step, scale, values);
    }
}

/// The path with one more feature, whose subsets are those with and without it.
fn extend(mut path: Vec<Step>, step: Step) -> Vec<Step> {
    let length = path.len();
    path.push(Step { weight: if length == 0 { 1.0 } else { 0.0 }, ..step });
    let all = (length + 1) as f64;
    for place in (0..length).rev() {
        let weight = path[place].weight;
        path[place + 1].weight += step.known * weight * (place + 1) as f64 / all;
        path[place].weight = step.unknown * weight * (length - place) as f64 / all;
    }
    path
}

/// The path without the feature at `place`: what [`extend`] did, undone.
fn unwind(path: &[Step], place: usize) -> Vec<Step> {
    let last = path.len() - 1;
    let all = path.len() as f64;
    let Step { unknown, known, .. } = path[place];
    let mut left = path[..last].to_vec();
    let mut next = path[last].weight;
    for at in (0..last).rev() {
        if known == 0.0 {
            left[at].weight = path[at].weight * all / (unknown * (last - at) as f64);
        } else {
            left[at].weight = next * all / ((at + 1) as f64 * known);
            next = path[at].weight - left[at].weight * unknown * (last - at) as f64 / all;
        }
    }
    for at in place..last {
        let Step { feature, unknown, known, .. } = path[at + 1];
        left[at] = Step { feature, unknown, known, weight: left[at].weight };
    }
    left
}
