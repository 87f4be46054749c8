use super::*;

fn read(text: &str, space: Option<&str>, columns: &Columns) -> Result<Table, String> {
    read_as(text, space, columns, Isomorphs::Apart)
}

fn read_as(text: &str, space: Option<&str>, columns: &Columns, isomorphs: Isomorphs) -> Result<Table, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truth.csv");
    std::fs::write(&path, text).unwrap();
    let space = space.map(|name| Arc::new(SearchSpace::open(name).unwrap()));
    Table::read(&path, space, columns, isomorphs).map_err(|error| error.to_string())
}

const DIGITS: &str = "arch,acc,latency_ms,id\n00,1,5,1\n01,2,6,2\n02,,6,3\n12,4,9,4\n";

#[test]
fn digits_are_genes() {
    let table = read(DIGITS, None, &Columns::default()).unwrap();
    let directions: Vec<_> =
        table.objectives.as_slice().iter().map(|objective| (objective.name.as_str(), objective.direction)).collect();
    assert_eq!(directions, [("acc", Direction::Maximize), ("latency_ms", Direction::Minimize)]);
    assert_eq!((table.len(), table.distinct, table.incomplete), (3, 3, 1));
    let problem = table.problem();
    assert_eq!(problem.space.choices(), [2, 3]);
    assert_eq!(table.value(&Genotype::new(vec![1, 2])), Some(&[4.0, 9.0][..]));
    assert_eq!(problem.space.id(&Genotype::new(vec![1, 1])), None, "is not in the table");
}

#[test]
fn isomorphic_architectures_are_found_apart_or_as_one() {
    // Both edges to the last node but one lead nowhere.
    let [a, b] =
        ["nor_conv_1x1", "nor_conv_3x3"].map(|op| format!("|{op}~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"));
    let unlisted = "|skip_connect~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|";
    let other = "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|";
    let dead = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";
    let text = format!("arch_str,acc,cost\n{a},1,3\n{other},2,4\n{dead},3,5\n{b},2,7\n");
    let (names, metrics) = (["acc".to_owned()], ["cost".to_owned()]);
    let columns = Columns { objectives: Some(&names), metrics: &metrics, ..Default::default() };
    let space = SearchSpace::open("nas-bench-201").unwrap();
    let check = |isomorphs, found: usize, expected: [Option<f64>; 4]| {
        let table = read_as(&text, Some("nas-bench-201"), &columns, isomorphs).unwrap();
        assert_eq!((table.len(), table.distinct, table.dead), (found, 2, 1), "{isomorphs:?}");
        let value = |arch: &str| table.value(&space.parse_arch(arch).unwrap()).map(|values| values[0]);
        assert_eq!([&a, &b, unlisted, dead].map(value), expected, "{isomorphs:?}");
        let macs = table.macs().unwrap();
        assert!(macs[0].1 > macs[1].1, "{macs:?}");
    };
    check(Isomorphs::Apart, 3, [Some(1.0), Some(2.0), None, None]);
    check(Isomorphs::Shared, 2, [Some(1.5), Some(1.5), Some(1.5), None]);
}

#[test]
fn names_say_what_is_a_cost() {
    let check = |name: &str, expected: bool| assert_eq!(is_cost(name), expected, "{name}");
    check("latency_ms_gold_6226", true);
    check("p50 ms", true);
    check("conv_mflops", true);
    check("Params", true);
    check("train_cost_12ep_s", true);
    check("atoms", false);
    check("cifar100_test_200ep_pct", false);
}

#[test]
fn what_is_wrong_is_named() {
    let check = |text: &str, space: Option<&str>, columns: &Columns, expected: &str| {
        let message = read(text, space, columns).unwrap_err();
        assert!(message.contains(expected), "{message}");
    };
    let all = Columns::default();
    let (typo, acc) = (["ac".to_owned()], ["acc".to_owned()]);
    let of = |names| Columns { objectives: Some(names), ..Default::default() };
    check(
        DIGITS,
        None,
        &of(&typo),
        "truth.csv: no column `ac`, expected one of arch, acc, latency_ms, id; did you mean `acc`?",
    );
    check(DIGITS, None, &Columns { minimize: &typo, ..all }, "no column `ac`");
    check(DIGITS, None, &Columns { metrics: &typo, ..all }, "no column `ac`");
    check("arch,acc\n00,1\n01,high\n", None, &of(&acc), "truth.csv:3: acc: `high`, expected a number");
    check("arch,acc\n00,1\n01,nan\n", None, &of(&acc), "truth.csv:3: acc: `nan`, expected a number");
    check("arch,acc\n00,1\n0x,2\n", None, &all, "truth.csv:3: arch: `0x`, expected 2 digits");
    check("arch,acc\n00,1\n012,2\n", None, &all, "truth.csv:3: arch: `012`, expected 2 digits");
    check("arch,acc\n00,1\n01,2,3\n", None, &all, "line: 3");
    check(
        "arch,acc\n00,1\n",
        Some("nas-bench-201"),
        &all,
        "truth.csv:2: arch: `00` is no architecture of nas-bench-201",
    );
    check("arch,a,b,c,d,e,f\n00,1,1,1,1,1,1\n", None, &all, "6 columns of values (a, b, c, d, e, f), expected 1 to 5");
    check("arch,name\n00,x\n", None, &all, "0 columns of values");
    check("arch,acc\n00,1\n", None, &all, "1 architectures with all values");
}
