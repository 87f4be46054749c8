//! The space around a network that one has: what may be chosen, what comes with it, from a study's YAML to a tuned model.

mod common;
#[path = "common/stripes.rs"]
mod stripes;

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use stripes::write_stripes;
use tegu::data::Calibration;
use tegu::foreign::{self, Pretrained};
use tegu::graph::{Activation, Conv2d, Graph, GraphBuilder, NodeId, Op, Shape, Window};
use tegu::indicator::{Probes, Score, SettingsSection, named, score};
use tegu::network::{Mode, Weights, forward};
use tegu::prune::{Choice, Importance, Prunable, Width, at_input};
use tegu::runtime::{NamedTensor, Runtime, SessionOptions, TractRuntime, Values};
use tegu::space::{Scale, SearchSpace, SpaceSection};

/// Residual blocks of 8 channels in a row, which the stem's go through.
fn blocks(count: usize) -> Graph {
    let mut builder = GraphBuilder::new(Shape::map(3, 16, 16));
    let input = builder.input();
    let mut push = |name: &str, op: Op, inputs: &[NodeId]| builder.push(name, op, inputs).unwrap();
    let conv = |out_channels| Op::Conv2d(Conv2d { out_channels, window: Window::same(3, 1), groups: 1, bias: false });
    let mut at = push("stem", conv(8), &[input]);
    for block in ["first", "second", "third"].iter().take(count) {
        let inner = push(&format!("{block}.inner"), conv(6), &[at]);
        let relu = push(&format!("{block}.relu"), Op::Activation(Activation::Relu), &[inner]);
        let outer = push(&format!("{block}.outer"), conv(8), &[relu]);
        at = push(&format!("{block}.sum"), Op::Add, &[outer, at]);
    }
    let pool = push("pool", Op::GlobalAvgPool, &[at]);
    let linear = push("linear", Op::Linear { out_features: 5, bias: true }, &[pool]);
    builder.finish(linear)
}

/// The space that a section is, around [`blocks`] in the place of `m.onnx`.
fn around_blocks(section: &str, count: usize) -> Result<SearchSpace, String> {
    let path = Path::new("folder/mine.yaml");
    let section: SpaceSection = tegu::yaml::parse(section, path).map_err(|error| error.to_string())?;
    let graph = blocks(count);
    let weights = common::weights(&graph, 1);
    let read = |path: &Path, _| {
        assert_eq!(path, Path::new("folder/m.onnx"));
        Ok(Pretrained { graph, weights, sha256: "abc".to_owned(), normalisation: None })
    };
    SearchSpace::around(&section, path, read).map_err(|error| error.to_string())
}

fn around(section: &str) -> Result<SearchSpace, String> {
    around_blocks(section, 2)
}

#[test]
fn a_space_around_a_network() {
    let space = around("{from_onnx: m.onnx, widths: [0.25, 0.5, 1], blocks: true, resolution: [12, 16]}").unwrap();
    let names: Vec<String> = space.decisions().into_iter().map(|decision| decision.name).collect();
    assert_eq!(names, ["stem", "first.inner", "second.inner", "first.sum", "second.sum", "resolution"]);
    assert_eq!(space.choices(), [3, 3, 3, 2, 2, 2]);
    let (graph, seed) = (blocks(2), (tegu::network::Init::TorchDefault, 0));
    let weights = common::weights(&graph, 1);
    let lowered = |arch: &str| {
        let genotype = space.parse_arch(arch).unwrap();
        assert_eq!(space.arch(&genotype), arch);
        let graph = space.lower(&genotype, Scale::Full).unwrap();
        let its = space.weights(&genotype, &graph, seed, &Device::Cpu).unwrap();
        (genotype, graph, its)
    };
    let (_, whole, its) = lowered("1,1,1,keep,keep,16");
    assert_eq!(whole, graph);
    assert_eq!(its.sha256().unwrap(), weights.sha256().unwrap());
    let (_, small, its) = lowered("0.5,0.25,1,keep,remove,12");
    assert_eq!(small.input_shape(), Shape::map(3, 12, 12));
    let widths = [("stem", 4), ("first.inner", 2)].map(|(name, width)| (name.to_owned(), Width::Channels(width)));
    let choice = Choice { widths: widths.into(), removed: ["second.sum".into()].into() };
    let prunable = Prunable::new(graph, &weights, Importance::L1).unwrap();
    let (expected, by_hand) = prunable.prune(&weights, &choice).unwrap();
    assert_eq!(small, at_input(&expected, [3, 12, 12]).unwrap());
    assert_eq!(its.sha256().unwrap(), by_hand.sha256().unwrap());
    // Of other graphs, weights are drawn.
    let (genotype, ..) = lowered("0.5,0.25,1,keep,remove,12");
    let probe = space.lower(&genotype, Scale::Probe).unwrap();
    let drawn = Weights::random(&probe, seed.0, seed.1, &Device::Cpu).unwrap();
    let its = space.weights(&genotype, &probe, seed, &Device::Cpu).unwrap();
    assert_eq!(its.sha256().unwrap(), drawn.sha256().unwrap());

    // Widths inside of a removed block don't count. Blocks of equal graphs have other weights and so other ids.
    let id = |arch: &str| space.id(&space.parse_arch(arch).unwrap()).unwrap();
    assert_eq!(id("1,1,0.5,keep,remove,16"), id("1,1,1,keep,remove,16"));
    assert_ne!(id("1,1,1,remove,keep,16"), id("1,1,1,keep,remove,16"));
    assert_ne!(id("1,1,1,keep,keep,16"), id("1,1,1,keep,keep,12"));
    let ids: HashSet<String> = space.enumerate().map(|genotype| space.id(&genotype).unwrap().to_string()).collect();
    // Widths of the stem, inputs, and for each block that it is gone or of one width.
    assert_eq!(ids.len(), 3 * 2 * 4 * 4);
    assert_eq!(space.enumerate().count(), ids.len());
    assert_eq!(space.size(), ids.len() as f64);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut wholes = 0;
    for _ in 0..200 {
        let genotype = space.sample(&mut rng);
        assert_eq!(space.canonical(&genotype), genotype);
        wholes += usize::from(space.arch(&genotype).starts_with("1,1,1,keep,keep"));
        for scale in [Scale::Full, Scale::Probe, Scale::Thin] {
            assert!(space.lower(&genotype, scale).unwrap().live().is_ok());
        }
    }
    // Uniform genes would give 2 of 200 on average.
    assert!((10..60).contains(&wholes), "{wholes} of 200 draws leave all channels and blocks");
}

#[test]
fn depths_keep_the_first_blocks() {
    let space = around_blocks("{from_onnx: m.onnx, widths: [0.5, 1], depths: [1, 2, 3, 9]}", 3).unwrap();
    assert_eq!(space.name, "m");
    let decisions: Vec<String> =
        space.decisions().iter().map(|one| format!("{} {}", one.name, one.choices.join("|"))).collect();
    let inner = ["first", "second", "third"].map(|block| format!("{block}.inner 0.5|1"));
    let expected = [&["stem 0.5|1".to_owned()][..], &inner, &["depth1 1|2|3".to_owned()]].concat();
    assert_eq!(decisions, expected);
    let genotype = space.parse_arch("1,1,1,1,2").unwrap();
    let left = space.lower(&genotype, Scale::Full).unwrap();
    let names: Vec<&str> = left.nodes().iter().map(|node| &*node.name).filter(|name| name.ends_with("sum")).collect();
    assert_eq!(names, ["first.sum", "second.sum"]);
    let id = |arch: &str| space.id(&space.parse_arch(arch).unwrap()).unwrap();
    assert_eq!(id("1,1,1,1,2"), id("1,1,1,0.5,2"));
    assert_ne!(id("1,1,1,1,2"), id("1,1,0.5,1,2"));
    // Widths of the stem, and of as many blocks as stay.
    let all: HashSet<String> = space.enumerate().map(|genotype| space.id(&genotype).unwrap().to_string()).collect();
    assert_eq!((all.len(), space.size()), (2 * (2 + 4 + 8), 28.0));
}

#[test]
fn what_is_wrong_with_a_section_is_said() {
    let wrong = |from: &str, expected: &str| {
        let error = around(from).unwrap_err();
        assert!(error.starts_with("folder/mine.yaml"), "{error}");
        assert!(error.contains(expected), "{error}");
    };
    wrong("{from_onnx: m.onnx}", "from_onnx: nothing to choose, expected `widths`, `depths`, `blocks` or `resolution`");
    wrong("{from_onnx: m.onnx, widths: [0, 1]}", "from_onnx: widths: [0.0, 1.0], expected different numbers above 0");
    wrong("{from_onnx: m.onnx, width: [1]}", "1:21: unknown field `width`, expected one of `name`");
    wrong("{from_onnx: m.onnx, depths: [1, 2], blocks: true}", "depths: expected none beside `blocks: true`");
    wrong("{from_onnx: m.onnx, depths: [1, 1]}", "depths: [1, 1], expected different numbers");
    wrong("{from_onnx: m.onnx, blocks: true, network: {width: 3}}", "network: expected none beside `from_onnx`");
    wrong("{from_onnx: m.onnx, blocks: true, sha256: abd}", "its SHA-256 is abc, expected abd");
    let normalisation = "normalisation: {mean: [0.5], deviation: [1, 1, 1]}";
    wrong(
        &format!("{{from_onnx: m.onnx, blocks: true, {normalisation}}}"),
        "1 means and 3 deviations, expected 3 of each",
    );
}

/// ResNets of basic blocks on 8×8 pixels.
const RESNET: &str = "\
name: small
description: residual blocks
networks:
  full: {input: [1, 8, 8], classes: 4, width: 8}
  probe: {input: [1, 8, 8], classes: 4, width: 4}
  thin: {input: [1, 3, 3], classes: 4, width: 1}
stem: [conv: {kernel: 3, channels: width}, batch_norm, relu]
staged:
  stages:
    - {depth: [3], channels: width, stride: 1, block: plain}
    - {depth: [2], channels: 2*width, stride: 2, block: plain}
  layers: {ratio: [0.5, 1]}
  blocks:
    plain:
      - residual:
          body: [conv: {kernel: 3, channels: ratio*out, stride: stride}, batch_norm, relu, conv: {kernel: 3}, batch_norm]
          shortcut: [match_shape: [conv: {kernel: 1, stride: stride}, batch_norm]]
      - relu
head: [global_avg_pool, linear: {features: classes}]
";

const FROM: &str =
    "{from_onnx: m.onnx, widths: [0.25, 0.5, 1], depths: [0, 1, 3], importance: {gradients: {data: data}}}";

/// What is searched, from the model that was trained before.
const STUDY: &str = "\
study: own
seed: 2
indicators: {batch: 16, networks: 1, data: data, calibration: 96}
quality: {recipe: {weights: {calibration_accuracy: 1, diswot: 1}}, reference: 8}
objectives: [quality, macs: {}]
search: {sampler: {nsga2: {population: 6}}, trials: 12, control: none}
";

fn tegu(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tegu")).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A model is trained, searched around, and what was found is tuned.
#[test]
fn from_a_model_to_a_smaller_one() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    std::fs::create_dir(folder.join("data")).unwrap();
    write_stripes(&folder.join("data"), 256, 96);
    std::fs::write(folder.join("small.yaml"), RESNET).unwrap();
    std::fs::write(folder.join("own.yaml"), format!("{STUDY}space: {FROM}\n")).unwrap();
    let arch = ["--space", "small.yaml", "--arch", "3:1-1-1/2:1-1"];
    let how = ["--data", "data", "--batch", "32", "--quiet"];
    tegu(folder, &[&["train"], &arch[..], &how[..], &["--epochs", "3", "-o", "m.onnx"]].concat());

    // The whole model's figures are those of its file, run by tract.
    let section: SpaceSection = tegu::yaml::parse(FROM, folder).unwrap();
    let space = section.open(folder).unwrap();
    let settings =
        SettingsSection { batch: Some(16), calibration: Some(96), data: Some("data".into()), ..Default::default() };
    let probes = Probes::new(&space, settings.resolve_for(&space, folder).unwrap(), 0, Device::Cpu).unwrap();
    let figures = |arch: &str| -> [f64; 2] {
        let genotype = space.parse_arch(arch).unwrap();
        let indicators = ["calibration_accuracy", "diswot"].map(|name| named(name).unwrap());
        let found = score(&probes, &space, &genotype, &indicators);
        indicators.map(|one| {
            let Score { value, .. } = found[one.facts().name].as_ref().unwrap();
            *value
        })
    };
    let read = foreign::read(&folder.join("m.onnx"), None).unwrap();
    let samples = Calibration::read(&folder.join("data"), [1, 8, 8], 96, read.normalisation.as_ref()).unwrap();
    let mut session = TractRuntime.prepare(&folder.join("m.onnx"), &SessionOptions::default()).unwrap();
    let mut is_right = |sample: &[f32], label: usize| {
        let input = NamedTensor { dims: vec![1, 1, 8, 8], values: Values::F32(sample.to_vec()), name: "input".into() };
        session.bind(vec![input]).unwrap();
        let Values::F32(outputs) = session.outputs().unwrap().remove(0).values else { panic!("floats") };
        outputs.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 == label
    };
    let right =
        samples.values.chunks(64).zip(&samples.labels).filter(|(sample, label)| is_right(sample, **label)).count();
    // Choices are listed from the smallest.
    let of = |choice: fn(&[String]) -> Option<&String>| {
        let decisions = space.decisions();
        decisions.iter().map(|decision| choice(&decision.choices).unwrap().as_str()).collect::<Vec<_>>().join(",")
    };
    assert!(of(|choices| choices.last()).ends_with(",1,3,1"), "{}", of(|choices| choices.last()));
    let [accuracy, similarity] = figures(&of(|choices| choices.last()));
    assert_eq!(accuracy, right as f64 / 96.0);
    assert!(accuracy > 0.6, "{accuracy}");
    assert!(similarity.abs() < 1e-9, "{similarity}");
    let smallest = of(|choices| choices.first());
    let [narrow, unlike] = figures(&smallest);
    assert!(narrow < accuracy && unlike < -1e-3, "{narrow} {unlike}");

    // With statistics of the data, the whole model is the same, and a part of it is another network.
    let line = FROM.replace("importance", "batch_norm: {data: data}, importance");
    let measured = tegu::yaml::parse::<SpaceSection>(&line, folder).unwrap().open(folder).unwrap();
    let brought = |arch: &str| {
        let genotype = measured.parse_arch(arch).unwrap();
        let graph = measured.lower(&genotype, Scale::Full).unwrap();
        let weights = measured.brought(&genotype, &graph).unwrap().unwrap();
        (graph, weights)
    };
    let norms = |graph: &Graph| graph.nodes().iter().filter(|node| node.op == Op::BatchNorm).count();
    let (whole, weights) = brought(&of(|choices| choices.last()));
    assert_eq!((norms(&read.graph), norms(&whole)), (0, 12));
    let input = Tensor::from_slice(&samples.values, (96, 1, 8, 8), &Device::Cpu).unwrap();
    let outputs = |graph: &Graph, weights: &Weights| -> Vec<f32> {
        forward(graph, weights, &input, Mode::Inference).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    for (found, expected) in outputs(&whole, &weights).iter().zip(outputs(&read.graph, &read.weights)) {
        assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
    }
    // 128 samples were looked at, of which these are some.
    let (part, weights) = brought(&smallest);
    let norm = &part.nodes().iter().find(|node| node.op == Op::BatchNorm).unwrap().name;
    let variance = weights.get(&format!("{norm}.running_var")).unwrap().to_vec1::<f32>().unwrap();
    // The first layer's inputs are those of the whole, for which its results were scaled.
    assert!(variance.len() == 2 && variance.iter().all(|variance| (0.99..1.01).contains(variance)), "{variance:?}");
    let id = |space: &SearchSpace| space.id(&space.parse_arch(&smallest).unwrap()).unwrap();
    assert!(part.output_shape() == whole.output_shape() && id(&measured) != id(&space));

    tegu(folder, &["search", "own.yaml", "--quiet"]);
    let report: serde_json::Value = serde_json::from_str(&tegu(folder, &["report", "runs/own", "--json"])).unwrap();
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 12);
    assert!(trials.iter().all(|trial| trial["indicators"]["calibration_accuracy"].is_number()), "{report}");
    // Tuned weights know the inputs that the model's did.
    let tuned =
        [&["train", "runs/own", "--trial", "knee"], &how[..], &["--epochs", "1", "--lr", "0.01", "-o", "tuned.onnx"]];
    tegu(folder, &tuned.concat());
    let metadata = tegu::onnx::read_metadata(&folder.join("tuned.onnx")).unwrap();
    assert_eq!(metadata.normalisation, tegu::onnx::read_metadata(&folder.join("m.onnx")).unwrap().normalisation);
}

/// Indicators of weights say why there is nothing to say.
#[test]
fn without_weights_or_data_there_is_no_accuracy() {
    let space = SearchSpace::open("nas-bench-201").unwrap();
    let section = SettingsSection { batch: Some(4), networks: Some(1), ..Default::default() };
    let probes = Probes::new(&space, section.resolve(), 0, Device::Cpu).unwrap();
    let genotype = space.sample(&mut ChaCha8Rng::seed_from_u64(0));
    for name in ["calibration_accuracy", "diswot"] {
        let error = score(&probes, &space, &genotype, &[named(name).unwrap()])[name].as_ref().unwrap_err().to_string();
        assert!(error.contains("no weights but drawn ones, expected a space `from_onnx`"), "{error}");
    }
    let own = around("{from_onnx: m.onnx, widths: [0.5, 1]}").unwrap();
    let probes = Probes::new(&own, section.resolve(), 0, Device::Cpu).unwrap();
    let genotype = own.parse_arch("1,1,1").unwrap();
    let error =
        score(&probes, &own, &genotype, &[named("diswot").unwrap()])["diswot"].as_ref().unwrap_err().to_string();
    assert!(error.contains("there are no samples, expected `indicators.data`"), "{error}");
}
