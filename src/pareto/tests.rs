use super::*;
use proptest::prelude::*;

/// The same points as the Python below makes.
fn grid(n: usize, objectives: usize) -> Vec<Vec<f64>> {
    let cost = |i: usize, j: usize| ((37 * (i + 1) * (j + 2) + 11 * i * i + 7 * i * j * j) % 101) as f64 / 100.0;
    (0..n).map(|i| (0..objectives).map(|j| cost(i, j)).collect()).collect()
}

fn feasible(points: &[Vec<f64>]) -> Vec<ObjectiveVector> {
    points.iter().cloned().map(ObjectiveVector::feasible).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

// pymoo 0.6.2:
// import numpy as np
// from pymoo.indicators.hv import HV
// from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
// from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
// def grid(n, m):
//     cost = lambda i, j: (37 * (i + 1) * (j + 2) + 11 * i * i + 7 * i * j * j) % 101 / 100
//     return np.array([[cost(i, j) for j in range(m)] for i in range(n)])
// for m in (2, 3, 4, 5):
//     f = grid(24, m)
//     print(HV(ref_point=np.full(m, 1.1))(f), NonDominatedSorting().do(f, return_rank=True)[1].tolist())
// print((calc_crowding_distance(grid(9, 3)) * 3).tolist())
#[test]
fn hypervolume_and_ranks_are_pymoos() {
    let check = |objectives: usize, volume: f64, ranks: [usize; 24]| {
        let points = grid(24, objectives);
        let found = hypervolume(&points, &vec![1.1; objectives]);
        assert!(close(found, volume), "{objectives} objectives: {found}, expected {volume}");
        let mut found = [usize::MAX; 24];
        for (rank, front) in non_dominated_fronts(&feasible(&points)).iter().enumerate() {
            front.iter().for_each(|&at| found[at] = rank);
        }
        assert_eq!(found, ranks, "{objectives} objectives");
    };
    check(2, 1.1235000000000002, [1, 2, 6, 4, 2, 1, 0, 3, 2, 1, 5, 2, 4, 5, 5, 1, 4, 3, 1, 5, 1, 2, 3, 2]);
    check(3, 0.9871080000000003, [0, 1, 3, 3, 1, 1, 0, 0, 1, 1, 4, 1, 1, 3, 2, 0, 1, 2, 0, 4, 1, 0, 2, 0]);
    check(4, 0.9339099400000006, [0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 2, 0, 1, 1, 1, 0, 0, 0, 0, 3, 1, 0, 2, 0]);
    check(5, 0.8021409858000004, [0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 2, 0]);
}

#[test]
fn crowding_is_pymoos() {
    let inf = f64::INFINITY;
    let expected =
        [1.0522851050234419, 0.6767105781304565, inf, inf, 0.9769357079701906, inf, inf, inf, 0.4370312581265928];
    let found = crowding_distances(&grid(9, 3));
    assert!(found.iter().zip(expected).all(|(a, b)| *a == b || close(*a, b)), "{found:?}");
}

/// A set of tests/data/pareto.json.
#[derive(serde::Deserialize)]
struct Case {
    name: String,
    points: Vec<Vec<f64>>,
    target: Vec<Vec<f64>>,
    ranks: Vec<usize>,
    /// 1e300 is infinite; empty where the set has ties.
    crowding: Vec<f64>,
    hypervolume: f64,
    contributions: Vec<f64>,
    igd_plus: f64,
}

#[test]
fn everything_is_pymoos() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../tests/data/pareto.json")).unwrap();
    assert_eq!(cases.len(), 8);
    for Case { name, points, target, ranks, crowding, hypervolume: volume, contributions, igd_plus: igd } in cases {
        let mut found = vec![usize::MAX; points.len()];
        for (rank, front) in non_dominated_fronts(&feasible(&points)).iter().enumerate() {
            assert!(front.is_sorted(), "{name}");
            front.iter().for_each(|&at| found[at] = rank);
        }
        assert_eq!(found, ranks, "{name}");
        let reference = vec![1.1; points[0].len()];
        assert!(close(hypervolume(&points, &reference), volume), "{name}");
        let found = hypervolume_contributions(&points, &reference);
        assert!(found.iter().zip(&contributions).all(|(a, b)| close(*a, *b)), "{name}: {found:?} {contributions:?}");
        assert!(found.iter().zip(&contributions).all(|(a, b)| (*a == 0.0) == (*b < 1e-14)), "{name}");
        assert!(close(igd_plus(&points, &target).unwrap(), igd), "{name}");
        let found = crowding_distances(&points);
        assert!(found.iter().zip(&crowding).all(|(a, b)| close(a.min(1e300), *b)), "{name}: {found:?}");
    }
}

#[test]
fn igd_plus_of_sets() {
    let check = |points: &[[f64; 2]], target: &[[f64; 2]], expected: Option<f64>| {
        assert_eq!(igd_plus(points, target), expected, "{points:?}");
    };
    check(&[], &[[0.0, 0.0]], None);
    check(&[[0.0, 0.0]], &[], None);
    check(&[[3.0, 4.0]], &[[0.0, 0.0], [3.0, 4.0]], Some(2.5));
    // Only where it is worse: (10, 0)'s first cost, not its second.
    check(&[[11.0, 0.0]], &[[10.0, 5.0]], Some(1.0));
}

#[test]
fn knees() {
    let check = |front: &[&[f64]], expected: Option<(usize, f64)>| {
        let found = knee(front).map(|knee| (knee.at, knee.bulge));
        let same = match (found, expected) {
            (Some((at, a)), Some((expected, b))) => at == expected && close(a, b),
            (found, expected) => found == expected,
        };
        assert!(same, "{front:?}: {found:?}");
    };
    check(&[], None);
    check(&[&[7.0, 7.0]], Some((0, 0.0)));
    // A line has none, a front that bulges outwards neither: the end with the least first cost.
    check(&[&[2.0, 0.0], &[1.0, 1.0], &[0.0, 2.0]], Some((2, 0.0)));
    check(&[&[2.0, 0.0], &[1.5, 1.5], &[0.0, 2.0]], Some((2, 0.0)));
    // Units do not count, nor an objective in which all are equal.
    let at = (1.0 - 0.2 - 0.3) / 2f64.sqrt();
    check(&[&[0.0, 1000.0], &[0.4, 400.0], &[0.2, 300.0], &[1.0, 0.0]], Some((2, at)));
    check(&[&[0.0, 1000.0, 5.0], &[0.4, 400.0, 5.0], &[0.2, 300.0, 5.0], &[1.0, 0.0, 5.0]], Some((2, at)));
    let front: Vec<[f64; 2]> = (0..=100).map(|x| f64::from(x) / 100.0).map(|x| [x, (1.0 - x.sqrt()).powi(2)]).collect();
    assert_eq!(knee(&front).unwrap().at, 25, "where the slope is that of the line between the ends");
    check(&[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 0.0, 1.0], &[0.2, 0.2, 0.2]], Some((3, 0.4 / 3f64.sqrt())));
}

#[test]
fn small_hypervolumes() {
    let check = |points: &[&[f64]], reference: &[f64], expected: f64| {
        assert!(close(hypervolume(points, reference), expected), "{points:?}");
    };
    check(&[], &[1.0, 1.0], 0.0);
    check(&[&[2.0], &[3.0]], &[5.0], 3.0);
    check(&[&[0.0, 2.0], &[2.0, 0.0], &[1.0, 1.0]], &[3.0, 3.0], 6.0);
    check(&[&[3.0, 0.0], &[4.0, -9.0]], &[3.0, 3.0], 0.0);
    check(&[&[0.0, 0.0, 1.0], &[0.0, 1.0, 0.0], &[1.0, 0.0, 0.0]], &[2.0, 2.0, 2.0], 7.0);
}

#[test]
fn the_feasible_come_first_then_the_least_violation() {
    let vectors = [
        ObjectiveVector::new(vec![0.0, 0.0], 2.0),
        ObjectiveVector::new(vec![9.0, 9.0], 1.0),
        ObjectiveVector::feasible(vec![5.0, 5.0]),
        ObjectiveVector::feasible(vec![6.0, 4.0]),
        ObjectiveVector::feasible(vec![6.0, 6.0]),
    ];
    assert_eq!(non_dominated_fronts(&vectors), [vec![2, 3], vec![4], vec![1], vec![0]]);
    let front: ParetoFront<usize> = vectors[..2].iter().cloned().enumerate().collect();
    assert_eq!((front.members()[0].0, front.hypervolume(&[10.0, 10.0])), (1, 0.0));
    let front: ParetoFront<usize> = vectors.into_iter().enumerate().collect();
    assert_eq!(front.sorted().iter().map(|member| member.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(front.hypervolume(&[10.0, 10.0]), 29.0);
}

#[test]
fn crowding_of_degenerate_fronts() {
    assert_eq!(crowding_distances::<Vec<f64>>(&[]), [] as [f64; 0]);
    assert_eq!(crowding_distances(&[[1.0, 2.0]]), [0.0]);
    assert_eq!(crowding_distances(&[[1.0, 2.0], [1.0, 2.0]]), [0.0, 0.0]);
    assert_eq!(crowding_distances(&[[0.0, 7.0], [1.0, 7.0], [4.0, 7.0]]), [f64::INFINITY, 1.0, f64::INFINITY]);
}

/// Few distinct values, so that ties and equal points come up.
fn points(objectives: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
    prop::collection::vec(prop::collection::vec((0u8..12).prop_map(|v| f64::from(v) / 10.0), objectives), 0..14)
}

/// Vectors of which some break a constraint.
fn vectors() -> impl Strategy<Value = Vec<ObjectiveVector>> {
    let vector = (prop::collection::vec((0u8..6).prop_map(f64::from), 3), (0u8..4).prop_map(f64::from));
    prop::collection::vec(vector.prop_map(|(costs, violation)| ObjectiveVector::new(costs, violation)), 0..16)
}

fn any_points() -> impl Strategy<Value = Vec<Vec<f64>>> {
    (2usize..6).prop_flat_map(points)
}

fn hv(points: &[Vec<f64>]) -> f64 {
    hypervolume(points, &vec![1.0; points.first().map_or(2, Vec::len)])
}

proptest! {
    #[test]
    fn dominance_is_a_strict_order(v in vectors()) {
        for a in &v {
            prop_assert!(!dominates(a, a));
            for b in &v {
                prop_assert!(!(dominates(a, b) && dominates(b, a)));
                for c in &v {
                    prop_assert!(!(dominates(a, b) && dominates(b, c)) || dominates(a, c));
                }
            }
        }
    }

    #[test]
    fn fronts_partition_and_each_is_held_down_by_the_one_before(v in vectors()) {
        let fronts = non_dominated_fronts(&v);
        let mut all = fronts.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..v.len()).collect::<Vec<_>>());
        for (at, front) in fronts.iter().enumerate() {
            prop_assert!(front.iter().all(|&a| front.iter().all(|&b| !dominates(&v[a], &v[b]))));
            prop_assert!(at == 0 || front.iter().all(|&a| fronts[at - 1].iter().any(|&b| dominates(&v[b], &v[a]))));
        }
    }

    #[test]
    fn ranks_are_those_of_peeling(v in vectors(), objectives in 1usize..4) {
        let cut = |v: &ObjectiveVector| ObjectiveVector::new(v.costs()[..objectives].to_vec(), v.violation());
        let v: Vec<ObjectiveVector> = v.iter().map(cut).collect();
        let mut rest: Vec<usize> = (0..v.len()).collect();
        for front in non_dominated_fronts(&v) {
            let (best, worse): (Vec<usize>, Vec<usize>) =
                rest.iter().copied().partition(|&a| !rest.iter().any(|&b| dominates(&v[b], &v[a])));
            prop_assert_eq!(front, best);
            rest = worse;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn contributions_are_what_is_lost(p in any_points()) {
        let found = hypervolume_contributions(&p, &vec![1.0; p.first().map_or(2, Vec::len)]);
        for (at, contribution) in found.into_iter().enumerate() {
            let mut without = p.clone();
            without.remove(at);
            prop_assert!(close(hv(&p) - hv(&without), contribution));
        }
    }

    #[test]
    fn a_front_is_the_first_of_the_fronts(v in vectors()) {
        let front: ParetoFront<usize> = v.iter().cloned().enumerate().collect();
        let keys: Vec<usize> = front.members().iter().map(|member| member.0).collect();
        prop_assert_eq!(keys, non_dominated_fronts(&v).first().cloned().unwrap_or_default());
    }

    #[test]
    fn hypervolume_grows_with_a_point_and_keeps_to_the_box(p in any_points()) {
        let grown: Vec<f64> = (0..=p.len()).map(|n| hv(&p[..n])).collect();
        prop_assert!(grown.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12), "{grown:?}");
        prop_assert!(grown.iter().all(|&volume| (0.0..=1.0 + 1e-12).contains(&volume)));
    }

    #[test]
    fn hypervolume_forgets_order_and_dominated_points((p, order) in any_points().prop_flat_map(|p| {
        let order = Just((0..p.len()).collect::<Vec<_>>()).prop_shuffle();
        (Just(p), order)
    })) {
        let shuffled: Vec<Vec<f64>> = order.iter().map(|&at| p[at].clone()).collect();
        prop_assert!(close(hv(&p), hv(&shuffled)));
        let turned: Vec<Vec<f64>> = p.iter().map(|point| point.iter().rev().copied().collect()).collect();
        prop_assert!(close(hv(&p), hv(&turned)));
        let front: ParetoFront<()> = feasible(&p).into_iter().map(|vector| ((), vector)).collect();
        prop_assert!(close(hv(&p), front.hypervolume(&vec![1.0; p.first().map_or(2, Vec::len)])));
    }

    #[test]
    fn a_constant_objective_scales_the_hypervolume(p in points(2), at in 0usize..4) {
        let wider: Vec<Vec<f64>> = p.iter().map(|point| {
            let mut point = point.clone();
            (0..2).for_each(|_| point.insert(at.min(point.len()), 0.5));
            point
        }).collect();
        prop_assert!(close(hv(&p) * 0.25, hv(&wider)));
    }

    /// All coordinates are tenths, so the dominated cells of the grid can be counted.
    #[test]
    fn hypervolume_counts_the_cells(p in points(3)) {
        let cells = (0..1000).filter(|cell| {
            let corner = [cell / 100, cell / 10 % 10, cell % 10].map(|at| f64::from(at) / 10.0);
            p.iter().any(|point| point.iter().zip(corner).all(|(cost, at)| *cost <= at))
        });
        prop_assert!(close(cells.count() as f64 / 1000.0, hv(&p)));
    }

    #[test]
    fn crowding_follows_its_vector((p, order) in prop::collection::btree_set(0u16..500, 0..12).prop_flat_map(|set| {
        let p: Vec<Vec<f64>> = set.into_iter().map(|v| vec![f64::from(v), f64::from(v * 7 % 503)]).collect();
        let order = Just((0..p.len()).collect::<Vec<_>>()).prop_shuffle();
        (Just(p), order)
    })) {
        let straight = crowding_distances(&p);
        let shuffled = crowding_distances(&order.iter().map(|&at| p[at].clone()).collect::<Vec<_>>());
        prop_assert!(order.iter().zip(shuffled).all(|(&at, distance)| straight[at] == distance));
    }
}
