//! The volume that a set of vectors dominates, up to a reference point, and what each vector adds to it; exact for any number
//! of objectives.
//!
//! A cost below the reference is a length, a vector the box with these lengths; wanted is the volume of the boxes' union.
//! Two objectives: a sweep. Three: a sweep over a staircase (Beume, Fonseca, López-Ibáñez, Paquete, Vahrenhold 2009: "On the
//! complexity of computing the hypervolume indicator"), O(n log n) but for moves in memory. More: WFG (While, Bradstreet, Barone 2012:
//! "A fast way of calculating exact hypervolumes"), sliced along the last objective: with b₁ … bₙ ordered so that the last
//! length falls, volume = Σₖ (bₖ)_last · exclusive(bₖ; b₁ … bₖ₋₁), where the exclusive part, in the remaining objectives, is the
//! box bₖ less the union of {min(bₖ, bⱼ) : j < k}. With four objectives the boxes before are kept in the order of the
//! sweep in three, which cutting them does not change: O(n² log n).

/// The volume of what lies between at least one of `points` and `reference`, in the product of the objectives' units.
/// A point that is not below the reference in every objective adds nothing; no points have the volume 0.
///
/// # Panics
/// If a point has not as many costs as `reference`, or there are no objectives.
pub fn hypervolume<V: AsRef<[f64]>>(points: &[V], reference: &[f64]) -> f64 {
    let boxes: Vec<f64> = points.iter().filter_map(|point| lengths(point.as_ref(), reference)).flatten().collect();
    union(&boxes, reference.len())
}

/// For each of `points` the hypervolume that would be lost without it: 0 for what is dominated, not below the reference, or
/// there twice.
///
/// # Panics
/// As [`hypervolume`] does.
pub fn hypervolume_contributions<V: AsRef<[f64]>>(points: &[V], reference: &[f64]) -> Vec<f64> {
    let boxes: Vec<Option<Vec<f64>>> = points.iter().map(|point| lengths(point.as_ref(), reference)).collect();
    let contribution = |at: usize| {
        let own = boxes[at].as_ref()?;
        let others =
            || boxes.iter().enumerate().filter(|(other, _)| *other != at).filter_map(|(_, other)| other.as_deref());
        // Exactly nothing, whatever the rounding.
        let covered = others().any(|other| covers(other, own));
        (!covered).then(|| exclusive(own, others()).max(0.0))
    };
    (0..points.len()).map(|at| contribution(at).unwrap_or(0.0)).collect()
}

/// How far `point` is below `reference`; `None` unless it is in every objective.
fn lengths(point: &[f64], reference: &[f64]) -> Option<Vec<f64>> {
    assert!(!reference.is_empty(), "hypervolume without objectives");
    assert_eq!(point.len(), reference.len(), "a point of other objectives than the reference");
    let below = point.iter().zip(reference).all(|(cost, bound)| cost < bound);
    below.then(|| point.iter().zip(reference).map(|(cost, bound)| bound - cost).collect())
}

/// The volume of the union of `boxes`, each a row of `dimensions` lengths.
fn union(boxes: &[f64], dimensions: usize) -> f64 {
    match dimensions {
        1 => boxes.iter().copied().fold(0.0, f64::max),
        2 => area(boxes),
        3 => {
            let mut rows: Vec<[f64; 3]> = boxes.chunks_exact(3).map(|row| [row[0], row[1], row[2]]).collect();
            rows.sort_unstable_by(|a, b| b[2].total_cmp(&a[2]));
            solid(rows.into_iter(), &mut vec![])
        }
        4 => slices(boxes),
        _ => {
            let rows = maximal(boxes, dimensions);
            let row = |k: usize| &rows[k * dimensions..(k + 1) * dimensions];
            let slice = |k: usize| {
                let (last, others) = row(k).split_last().expect("more than four dimensions");
                last * exclusive(others, (0..k).map(row))
            };
            (0..rows.len() / dimensions).map(slice).sum()
        }
    }
}

/// What the box `own` has for itself beside `others`, in the dimensions that `own` has.
fn exclusive<'a>(own: &[f64], others: impl Iterator<Item = &'a [f64]>) -> f64 {
    let mut shared = Vec::with_capacity(own.len() * others.size_hint().0);
    others.for_each(|other| shared.extend(own.iter().zip(other).map(|(a, b)| a.min(*b))));
    own.iter().product::<f64>() - union(&shared, own.len())
}

fn area(boxes: &[f64]) -> f64 {
    let mut rows: Vec<[f64; 2]> = boxes.chunks_exact(2).map(|row| [row[0], row[1]]).collect();
    rows.sort_unstable_by(|a, b| b[0].total_cmp(&a[0]));
    let (mut area, mut height) = (0.0, 0.0);
    for [width, of] in rows {
        if of > height {
            area += width * (of - height);
            height = of;
        }
    }
    area
}

/// Four dimensions, slice by slice, the longest first.
fn slices(boxes: &[f64]) -> f64 {
    let mut rows: Vec<&[f64]> = boxes.chunks_exact(4).collect();
    rows.sort_unstable_by(|a, b| b[3].total_cmp(&a[3]));
    // Those before that none of them covers, the tallest first.
    let mut before: Vec<[f64; 3]> = vec![];
    let mut steps = vec![];
    let mut volume = 0.0;
    for row in rows {
        let own = [row[0], row[1], row[2]];
        if before.iter().any(|other| covers(other, &own)) {
            continue;
        }
        let cut = before.iter().map(|other| [own[0].min(other[0]), own[1].min(other[1]), own[2].min(other[2])]);
        volume += row[3] * (own[0] * own[1] * own[2] - solid(cut, &mut steps));
        before.retain(|other| !covers(&own, other));
        let place = before.partition_point(|other| other[2] > own[2]);
        before.insert(place, own);
    }
    volume
}

/// Boxes, the tallest first, are put beside each other: the floor that they cover has steps, widths ascending and depths
/// descending. `steps` is room for them.
fn solid(rows: impl Iterator<Item = [f64; 3]>, steps: &mut Vec<[f64; 2]>) -> f64 {
    steps.clear();
    let (mut volume, mut floor, mut above) = (0.0, 0.0, 0.0);
    for [width, depth, height] in rows {
        // What the floor covered so far reaches from the last height down to this one.
        volume += floor * (above - height);
        above = height;
        floor += step(steps, width, depth);
    }
    volume + floor * above
}

/// Adds a rectangle to what `steps` cover, and gives the area that is new.
fn step(steps: &mut Vec<[f64; 2]>, width: f64, depth: f64) -> f64 {
    let mut end = steps.partition_point(|step| step[0] < width);
    if let Some(wider) = steps.get(end) {
        if wider[1] >= depth {
            return 0.0;
        }
        end += usize::from(wider[0] == width);
    }
    let begin = steps[..end].partition_point(|step| step[1] > depth);
    let mut from = if begin == 0 { 0.0 } else { steps[begin - 1][0] };
    let mut area = 0.0;
    for covered in &steps[begin..end] {
        area += (covered[0] - from) * (depth - covered[1]);
        from = covered[0];
    }
    area += (width - from) * (depth - steps.get(end).map_or(0.0, |next| next[1]));
    steps.splice(begin..end, [[width, depth]]);
    area
}

/// The boxes that no other one covers, one of equal ones; the last length falls. Without this the recursion would not end
/// early.
fn maximal(boxes: &[f64], dimensions: usize) -> Vec<f64> {
    let mut rows: Vec<&[f64]> = boxes.chunks_exact(dimensions).collect();
    // Nothing covers a box that comes before it.
    let by_last = |a: &&[f64], b: &&[f64]| {
        let pairs = b.iter().zip(*a).rev();
        pairs.map(|(b, a)| b.total_cmp(a)).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    };
    rows.sort_unstable_by(by_last);
    let mut kept: Vec<f64> = Vec::with_capacity(boxes.len());
    for row in rows {
        if !kept.chunks_exact(dimensions).any(|other| covers(other, row)) {
            kept.extend(row);
        }
    }
    kept
}

fn covers(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a >= b)
}
