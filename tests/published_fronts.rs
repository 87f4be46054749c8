//! Hypervolumes of published searches.

mod common;

use tegu::pareto::hypervolume;

/// Once-for-All MobileNetV3 networks in the order in which NSGA-II and LINAS visited them (DyNAS-T's notebooks). Golden
/// numbers: pymoo 0.6.2, `HV(ref_point=np.array([-72., 600.]))` on columns `-top1, MACs / 1e6` of the first rows.
#[test]
fn hypervolume_of_once_for_all_searches() {
    check("mbnv3w10_evonsga2_acc_macs.csv", &[(100, 1803.4217518080009), (250, 1953.5424322239992)]);
    check("mbnv3w10_linasnsga2_acc_macs.csv", &[(100, 1914.323768575999), (250, 2034.1124063999994)]);
}

#[track_caller]
fn check(name: &str, expected: &[(usize, f64)]) {
    let Some(path) = common::data(&format!("truth/{name}")) else { return };
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header = reader.headers().unwrap().clone();
    let column = |title: &str| header.iter().position(|name| name == title).unwrap();
    let (top1, macs) = (column("Top-1 Acc (%)"), column("MACs"));
    let read =
        |row: csv::StringRecord| vec![-row[top1].parse::<f64>().unwrap(), row[macs].parse::<f64>().unwrap() / 1e6];
    let points: Vec<Vec<f64>> = reader.records().map(|row| read(row.unwrap())).collect();
    for &(evaluations, expected) in expected {
        let found = hypervolume(&points[..evaluations], &[-72.0, 600.0]);
        let close = (found - expected).abs() <= 1e-9 * expected;
        assert!(close, "{name}, {evaluations} evaluations: {found}, expected {expected}");
    }
}
