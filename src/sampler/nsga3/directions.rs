//! Reference directions: points spread evenly over the simplex (Das, Dennis 1998: "Normal-boundary intersection"), in one
//! layer or two (Deb, Jain 2014, section V).

/// The points with coordinates 0, 1/p, 2/p … 1 that add up to 1, p = `partitions`: (p + objectives - 1 over p) of them, the first
/// coordinate counting slowest. With 0 partitions the centre alone.
///
/// # Panics
/// If there are no objectives.
pub fn das_dennis(objectives: usize, partitions: usize) -> Vec<Vec<f64>> {
    assert!(objectives > 0, "directions without objectives");
    if partitions == 0 {
        return vec![vec![1.0 / objectives as f64; objectives]];
    }
    let mut found = vec![];
    let mut parts = vec![0; objectives];
    fill(&mut parts, 0, partitions, &mut |parts| {
        found.push(parts.iter().map(|&part| part as f64 / partitions as f64).collect());
    });
    found
}

fn fill(parts: &mut [usize], at: usize, left: usize, found: &mut impl FnMut(&[usize])) {
    if at + 1 == parts.len() {
        parts[at] = left;
        return found(parts);
    }
    for part in 0..=left {
        parts[at] = part;
        fill(parts, at + 1, left - part, found);
    }
}

/// How many [`das_dennis`] gives.
pub fn count(objectives: usize, partitions: usize) -> usize {
    // C(p + m - 1, m - 1), each quotient whole.
    (1..objectives).fold(1usize, |count, k| count.saturating_mul(partitions + k) / k)
}

/// [`das_dennis`] on the outer simplex and, where `inner` is given, on another one of half its size around the same centre.
pub fn layers(objectives: usize, outer: usize, inner: Option<usize>) -> Vec<Vec<f64>> {
    let mut directions = das_dennis(objectives, outer);
    let halfway = |point: Vec<f64>| point.iter().map(|x| (x + 1.0 / objectives as f64) / 2.0).collect();
    directions.extend(inner.into_iter().flat_map(|inner| das_dennis(objectives, inner)).map(halfway));
    directions
}

/// The finest layers with at most `most` directions: partitions of the outer layer (1 at least), and of an inner one where the
/// outer layer is too coarse to have directions away from the edges and there is room.
pub fn finest(objectives: usize, most: usize) -> (usize, Option<usize>) {
    // One direction, or two for each partition more: no end where there is one objective.
    if objectives < 2 {
        return (1, None);
    }
    let fits = |taken: usize, partitions: usize| taken.saturating_add(count(objectives, partitions)) <= most;
    let outer = (1..).take_while(|&partitions| fits(0, partitions)).last().unwrap_or(1);
    let taken = count(objectives, outer);
    let inner = (1..=outer).take_while(|&partitions| fits(taken, partitions)).last();
    (outer, inner.filter(|_| outer < objectives))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_on_the_simplex_each_once() {
        for (objectives, partitions, expected) in
            [(1, 4, 1), (2, 99, 100), (3, 12, 91), (3, 1, 3), (3, 0, 1), (5, 6, 210), (8, 3, 120), (15, 2, 120)]
        {
            let found = das_dennis(objectives, partitions);
            assert_eq!((found.len(), count(objectives, partitions)), (expected, expected), "{objectives} {partitions}");
            assert!(found.iter().all(|point| (point.iter().sum::<f64>() - 1.0).abs() < 1e-12));
            assert!(found.is_sorted_by(|a, b| a < b), "{objectives} {partitions}");
        }
        assert_eq!(das_dennis(2, 2), [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]);
        // Deb and Jain 2014, table I.
        assert_eq!(layers(8, 3, Some(2)).len(), 156);
        assert_eq!(layers(10, 3, Some(2)).len(), 275);
        assert_eq!(layers(15, 2, Some(1)).len(), 135);
        assert_eq!(layers(2, 1, Some(1)), [[0.0, 1.0], [1.0, 0.0], [0.25, 0.75], [0.75, 0.25]]);
    }

    #[test]
    fn the_finest_directions_that_fit() {
        let check = |objectives: usize, most: usize, expected: (usize, Option<usize>), directions: usize| {
            let (outer, inner) = finest(objectives, most);
            assert_eq!((outer, inner), expected, "{objectives} objectives, {most}");
            assert_eq!(layers(objectives, outer, inner).len(), directions);
        };
        check(1, 16, (1, None), 1);
        check(2, 16, (15, None), 16);
        check(3, 16, (4, None), 15);
        check(3, 92, (12, None), 91);
        check(4, 16, (2, Some(1)), 14);
        check(5, 16, (2, None), 15);
        check(8, 160, (3, Some(2)), 156);
        check(5, 2, (1, None), 5);
    }
}
