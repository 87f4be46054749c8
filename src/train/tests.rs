//! Trainings of a tiny network on generated images: that they learn, go on, and end as they should.

use super::*;
use crate::data::{DataSet, ReadOptions, SplitOptions};
use crate::graph::{Graph, GraphBuilder, Op, Shape};
use crate::onnx::{self, Batch, ExportOptions, Metadata};
use crate::runtime::{NamedTensor, Runtime, SessionOptions, TractRuntime, Values};
use crate::space::{Scale, SearchSpace};
use candle_core::Device;
use std::path::Path;

#[path = "../../tests/common/stripes.rs"]
mod stripes;

use stripes::{CLASSES, SIDE, write_stripes};

/// Cells of three nodes in two stages.
const SPACE: &str = "\
name: tiny
description: for tests
networks:
  full: {input: [1, 8, 8], classes: 4, width: 6, depth: 1}
  probe: {input: [1, 8, 8], classes: 4, width: 2, depth: 1}
  thin: {input: [1, 3, 3], classes: 4, width: 1, depth: 1, stages: 1, stem: false}
stem: [conv: {kernel: 3, channels: width}, batch_norm]
cell:
  nodes: 3
  stages: 2
  operators:
    none: [zero]
    skip_connect: [identity]
    nor_conv_3x3: [relu, conv: {kernel: 3}, batch_norm]
  reduction:
    - residual:
        body: [relu, conv: {kernel: 3, stride: 2}, batch_norm]
        shortcut: [conv: {kernel: 1, stride: 2}]
head: [batch_norm, relu, global_avg_pool, linear: {features: classes}]
";

/// An architecture of NAS-Bench-201.
const LIVING_201: &str = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|";

fn graph() -> Graph {
    let space = SearchSpace::parse(SPACE, Path::new("tiny.yaml")).unwrap();
    let genotype = space.parse_arch("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|").unwrap();
    space.lower(&genotype, Scale::Full).unwrap().live().unwrap()
}

/// A folder with data, and one for each training.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.0.path().join("data")).unwrap();
        write_stripes(&place.0.path().join("data"), 256, 96);
        place
    }

    fn folder(&self, name: &str) -> std::path::PathBuf {
        let folder = self.0.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn loaders(&self, options: &TrainOptions) -> Loaders {
        let data = DataSet::open(&self.0.path().join("data"), &ReadOptions::default()).unwrap();
        Loaders::new(&data, options, &Device::Cpu).unwrap()
    }

    fn run(&self, name: &str, options: &TrainOptions, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let (graph, data, folder) = (graph(), self.loaders(options), self.folder(name));
        Training { graph: &graph, start: None, data: &data, options, folder: &folder, device: &Device::Cpu }
            .run(observer)
    }

    fn train(&self, name: &str, options: &TrainOptions) -> Trained {
        match self.run(name, options, &mut ()) {
            Ok(Outcome::Finished(trained)) => *trained,
            other => panic!("{other:?}"),
        }
    }
}

fn options() -> TrainOptions {
    let split = SplitOptions { validation: 0.25, ..SplitOptions::default() };
    TrainOptions { epochs: 4, batch: 32, split, ..TrainOptions::default() }
}

/// The curve without times, and the weights' digest.
fn outcome(trained: &Trained) -> (Vec<Epoch>, String) {
    let curve = trained.curve.iter().map(|epoch| Epoch { seconds: 0.0, ..epoch.clone() }).collect();
    (curve, trained.weights.sha256().unwrap())
}

/// Stops before the first step of an epoch.
struct StopAt(usize);

impl Observer for StopAt {
    fn on(&mut self, event: Event) {
        if let Event::Epoch(_) = event {
            self.0 -= 1;
        }
    }

    fn interrupted(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_tiny_network_learns() {
    let place = Place::new();
    let trained = place.train("a", &options());
    let (first, last) = (&trained.curve[0], &trained.curve[3]);
    assert!(last.loss < first.loss / 2.0, "{:?}", trained.curve);
    let evaluated = evaluate(&trained, &place.loaders(&options())).unwrap();
    assert!(evaluated.before["test"].accuracy > 0.9, "{evaluated:?}");
    assert_eq!((evaluated.before["test"].samples, evaluated.before["validation"].samples), (96, 64));
    assert!(evaluated.after["validation"].loss <= evaluated.before["validation"].loss);
    assert_eq!(evaluated.after["test"].accuracy, evaluated.before["test"].accuracy);
    let best = &trained.curve[trained.best_epoch - 1];
    assert!(trained.curve.iter().all(|epoch| epoch.validation_accuracy <= best.validation_accuracy));
}

#[test]
fn a_second_classifier_is_trained_and_not_kept() {
    let place = Place::new();
    let losses = [None, Some(0.4)].map(|auxiliary| {
        let trained = place.train(&format!("{auxiliary:?}"), &TrainOptions { epochs: 2, auxiliary, ..options() });
        let mut names: Vec<String> = graph().parameters().into_iter().map(|parameter| parameter.name).collect();
        names.sort();
        assert!(trained.weights.iter().map(|(name, _)| name).eq(&names));
        trained.curve.iter().map(|epoch| epoch.loss).sum::<f64>()
    });
    // Of as many classes, so that its loss is like the first's.
    assert!((1.2..1.7).contains(&(losses[1] / losses[0])), "{losses:?}");

    let mut builder = GraphBuilder::new(Shape::map(1, 8, 8));
    let mean = builder.push("head.mean", Op::GlobalAvgPool, &[builder.input()]).unwrap();
    let linear = builder.push("head.linear", Op::Linear { out_features: 4, bias: true }, &[mean]).unwrap();
    let error = auxiliary::with_auxiliary(&builder.finish(linear), Some(0.4)).unwrap_err();
    assert!(error.to_string().contains("auxiliary: 0.4, expected null"), "{error}");
}

#[test]
fn one_seed_gives_one_curve_on_any_number_of_threads() {
    let place = Place::new();
    let with_threads = |name, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| outcome(&place.train(name, &TrainOptions { epochs: 2, ..options() })))
    };
    let one = with_threads("one", 1);
    assert_eq!(one, with_threads("three", 3));
    let other = place.train("other", &TrainOptions { epochs: 2, seed: 1, ..options() });
    assert_ne!(one.1, outcome(&other).1);
}

/// Everything that has a state or draws.
fn with_everything(place: &Place) -> TrainOptions {
    let teacher = place.0.path().join("teacher.onnx");
    if !teacher.exists() {
        let trained = place.train("teacher", &TrainOptions { epochs: 2, ..options() });
        let evaluated = evaluate(&trained, &place.loaders(&options())).unwrap();
        let model_options = ModelOptions { pixels: true, softmax: true, fold: true, export: ExportOptions::default() };
        let data = place.loaders(&options());
        export(&trained, &evaluated, &data, Metadata::new(), model_options).unwrap().save(&teacher).unwrap();
    }
    TrainOptions {
        epochs: 3,
        optimizer: OptimizerOptions::AdamW(AdamW::default()),
        lr: Some(0.01),
        drop_path: 0.2,
        dropout: 0.1,
        auxiliary: Some(0.4),
        augmentation: crate::data::Augmentation { crop: 1, mixup: 0.2, ..Default::default() },
        distillation: Some(Distillation {
            teachers: vec![TeacherOptions::Onnx(teacher)],
            method: Method::SoftEnsemble(SoftEnsemble { discriminator_lr: Some(0.01) }),
        }),
        ..options()
    }
}

#[test]
fn what_was_interrupted_goes_on_with_the_same_bits() {
    let place = Place::new();
    for (name, options) in [("plain", options()), ("everything", with_everything(&place))] {
        let whole = place.train(name, &options);
        let parts = format!("{name}-parts");
        for epochs in [1, 1] {
            let stopped = place.run(&parts, &options, &mut StopAt(epochs)).unwrap();
            assert!(matches!(stopped, Outcome::Interrupted));
        }
        let resumed = place.train(&parts, &options);
        assert_eq!(outcome(&resumed), outcome(&whole), "{name}");
        // What is finished is not trained again.
        assert_eq!(place.train(&parts, &options).curve, resumed.curve);
        let other = TrainOptions { label_smoothing: 0.5, ..options };
        let error = place.run(&parts, &other, &mut ()).unwrap_err();
        assert!(
            error.is_input() && error.to_string().contains("(options.label_smoothing: 0.0 there, 0.5 now)"),
            "{error}"
        );
    }
}

#[test]
fn a_loss_that_is_no_number_leaves_the_checkpoint() {
    let place = Place::new();
    let options = TrainOptions { clip_norm: None, lr: Some(1e30), warm_up_epochs: 0.0, ..options() };
    let error = place.run("a", &options, &mut ()).unwrap_err();
    assert!(error.is_input(), "{error}");
    let message = error.to_string();
    assert!(message.starts_with("epoch 1, step ") && message.contains(": there is no checkpoint yet; "), "{message}");

    // An epoch is done, and then a weight is lost.
    let options = self::options();
    place.run("b", &options, &mut StopAt(1)).unwrap();
    let path = place.folder("b").join(CHECKPOINT);
    let (state, mut tensors) = checkpoint::load(&path, &Device::Cpu).unwrap().unwrap();
    let weight = tensors.keys().find(|name| name.starts_with("weights.head") && name.ends_with("linear.weight"));
    let weight = weight.unwrap().clone();
    let lost = tensors[&weight].affine(0.0, f64::NAN).unwrap();
    tensors.insert(weight, lost);
    checkpoint::save(&path, &state, &tensors).unwrap();
    let before = std::fs::read(&path).unwrap();
    let message = place.run("b", &options, &mut ()).unwrap_err().to_string();
    assert!(
        message.starts_with("epoch 2, step 1: loss is NaN") && message.contains(": the checkpoint of epoch 1 stays; "),
        "{message}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn training_ends_early_where_nothing_gets_better() {
    let place = Place::new();
    let options = TrainOptions { epochs: 9, lr: Some(1e-12), patience: Some(2), ema_decay: None, ..options() };
    // Only running statistics move.
    let trained = place.train("a", &options);
    assert!(trained.curve.len() < 9, "{:?}", trained.curve);
    assert_eq!(trained.curve.len() - trained.best_epoch, 2);
}

#[test]
fn data_of_another_shape_or_teachers_that_can_not_teach_are_refused() {
    let place = Place::new();
    let teacher = |teacher| {
        let distillation = Some(Distillation { teachers: vec![teacher], method: Method::default() });
        let error = place.run("a", &TrainOptions { distillation, ..options() }, &mut ()).unwrap_err();
        assert!(error.is_input());
        error.to_string()
    };
    let absent = teacher(TeacherOptions::Onnx("absent.onnx".into()));
    assert!(absent.starts_with("teacher absent.onnx: ") && absent.contains("No such file"), "{absent}");
    let network = NetworkTeacher {
        space: "nas-bench-201".into(),
        arch: "|nor_conv_3x3~0|".into(),
        weights: "absent.safetensors".into(),
        network: Default::default(),
    };
    let wrong = teacher(TeacherOptions::Network(network.clone()));
    assert!(
        wrong.contains("teacher nas-bench-201 |nor_conv_3x3~0|: ") && wrong.contains("expected 3 nodes"),
        "{wrong}"
    );
    let unread = teacher(TeacherOptions::Network(NetworkTeacher { arch: LIVING_201.into(), ..network }));
    assert!(unread.contains("absent.safetensors"), "{unread}");

    let space = SearchSpace::open("nas-bench-201").unwrap();
    let genotype = space.parse_arch(LIVING_201).unwrap();
    let other = space.lower(&genotype, Scale::Probe).unwrap().live().unwrap();
    let (options, folder) = (options(), place.folder("b"));
    let data = place.loaders(&options);
    let training =
        Training { graph: &other, start: None, data: &data, options: &options, folder: &folder, device: &Device::Cpu };
    let error = training.run(&mut ()).unwrap_err();
    let expected = "the network takes [3, 32, 32] and tells 10 classes apart, the data have [1, 8, 8] and 4";
    assert!(error.is_input() && error.to_string() == expected, "{error}");
}

#[test]
fn the_exported_model_is_the_trained_network() {
    let place = Place::new();
    let options = options();
    let (trained, data) = (place.train("a", &options), place.loaders(&options));
    let evaluated = evaluate(&trained, &data).unwrap();
    let test = data.test.as_ref().unwrap();
    let direct = predict(&trained.graph, &trained.weights, test).unwrap();
    for (pixels, softmax, fold) in [(false, false, false), (true, false, true), (true, true, true)] {
        let path = place.0.path().join("model.onnx");
        let model_options = ModelOptions {
            pixels,
            softmax,
            fold,
            export: ExportOptions { batch: Batch::Dynamic, ..Default::default() },
        };
        export(&trained, &evaluated, &data, Metadata::new(), model_options).unwrap().save(&path).unwrap();
        let found = run_by_tract(&path, test, pixels);
        let worst = found.iter().zip(direct.logits().chunks(CLASSES)).flat_map(|(found, logits)| {
            let scaled: Vec<f64> = logits.iter().map(|&z| f64::from(z) / evaluated.temperature).collect();
            let sum: f64 = scaled.iter().map(|z| z.exp()).sum();
            let expected: Vec<f64> = scaled.iter().map(|z| if softmax { z.exp() / sum } else { *z }).collect();
            found.iter().zip(expected).map(|(&found, expected)| (f64::from(found) - expected).abs()).collect::<Vec<_>>()
        });
        let worst = worst.fold(0.0, f64::max);
        assert!(worst < 1e-4, "pixels {pixels}, softmax {softmax}: {worst}");
        let metadata = onnx::read_metadata(&path).unwrap();
        assert_eq!(metadata.accuracy["test"], evaluated.before["test"].accuracy);
        assert_eq!(
            (metadata.temperature, metadata.data_sha256),
            (Some(evaluated.temperature), Some(data.sha256.clone()))
        );
        assert!(metadata.normalisation.unwrap().contains("deviation"));
    }
}

fn run_by_tract(path: &Path, loader: &crate::data::Loader, pixels: bool) -> Vec<Vec<f32>> {
    let part = loader.part();
    let crate::data::Values::U8(bytes) = part.samples().values() else { panic!("expected pixels") };
    let values = if pixels {
        Values::U8(bytes.clone())
    } else {
        let mut floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
        floats.chunks_exact_mut(SIDE * SIDE).for_each(|image| loader.normalisation().apply(image));
        Values::F32(floats)
    };
    let options = SessionOptions { batch: Some(part.len()), ..SessionOptions::default() };
    let mut session = TractRuntime.prepare(path, &options).unwrap();
    session.bind(vec![NamedTensor { name: "input".into(), dims: vec![part.len(), 1, SIDE, SIDE], values }]).unwrap();
    let Values::F32(output) = session.outputs().unwrap().remove(0).values else { panic!("expected floats") };
    output.chunks(CLASSES).map(<[f32]>::to_vec).collect()
}

#[test]
fn records_are_read_back() {
    let place = Place::new();
    let folder = place.folder("training/one-seed0");
    let trained = place.train("training/one-seed0", &options());
    let data = DataFacts {
        path: "data".into(),
        sha256: "00".into(),
        classes: vec!["a".into()],
        shape: [1, 8, 8],
        train: 1,
        validation: 2,
        test: 3,
    };
    let record = TrainingRecord {
        space: "tiny".into(),
        arch: "a".into(),
        arch_id: None,
        study: Some("s".into()),
        trial: Some(("random".into(), 3)),
        options: options(),
        data,
        params: 9,
        curve: trained.curve.clone(),
        best_epoch: Some(1),
        evaluated: Some(evaluate(&trained, &place.loaders(&options())).unwrap()),
        model: None,
    };
    record.save(&folder).unwrap();
    assert_eq!(records(&place.0.path().join("training")).unwrap(), [("one-seed0".to_owned(), record)]);
    assert!(records(&place.0.path().join("absent")).unwrap().is_empty());
}
