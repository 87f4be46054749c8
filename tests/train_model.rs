//! The exported model is as good as the trained network, in tract and in ONNX Runtime.

mod common;
#[path = "common/stripes.rs"]
mod stripes;

use candle_core::Device;
use std::fmt::Write;
use std::path::Path;
use tegu::data::{DataSet, Loader, ReadOptions, SplitOptions, Values as Elements};
use tegu::onnx::{Batch, ExportOptions, Metadata, Precision};
use tegu::runtime::{LoadOptions, NamedTensor, Runtime, RuntimeKind, SessionOptions, Values, load};
use tegu::space::{NetworkChanges, Scale, SearchSpace};
use tegu::train::{
    Loaders, ModelOptions, Outcome, Predictions, TrainOptions, Trained, Training, evaluate, export, predict,
};

/// Rows of a table.
const TABLE: usize = 96;

/// A member of a space, made small, and what it is trained on.
struct Case<'a> {
    space: &'a str,
    arch: &'a str,
    width: usize,
    depth: Option<usize>,
    data: &'a Loaders,
    options: &'a TrainOptions,
}

fn train(case: &Case) -> Trained {
    let part = case.data.train.part();
    let (input, classes) = (Some(part.shape()), Some(part.classes()));
    let changes = NetworkChanges { input, classes, width: Some(case.width), depth: case.depth };
    let space = SearchSpace::open(case.space).unwrap().with_network(&changes).unwrap();
    let graph = space.lower(&space.parse_arch(case.arch).unwrap(), Scale::Full).unwrap().live().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (data, options) = (case.data, case.options);
    let training = Training { graph: &graph, start: None, data, options, folder: folder.path(), device: &Device::Cpu };
    match training.run(&mut ()).unwrap() {
        Outcome::Finished(trained) => *trained,
        Outcome::Interrupted => panic!("nobody interrupts it"),
    }
}

/// Rows of samples of this shape, whose two classes differ in their mean.
fn table(folder: &Path, shape: [usize; 3]) -> DataSet {
    let elements: usize = shape.iter().product();
    let mut text: String = (0..elements).map(|at| format!("f{at},")).collect::<String>() + "label\n";
    for sample in 0..TABLE {
        for at in 0..elements {
            let wave = ((sample * elements + at) as f32 * 0.7371).sin();
            write!(text, "{:.3},", wave + 0.3 * (sample % 2) as f32).unwrap();
        }
        writeln!(text, "{}", sample % 2).unwrap();
    }
    let path = folder.join(format!("{elements}.csv"));
    std::fs::write(&path, text).unwrap();
    DataSet::open(&path, &ReadOptions { shape: Some(shape), ..ReadOptions::default() }).unwrap()
}

/// What a runtime says of the loader's samples.
fn run(runtime: &dyn Runtime, model: &Path, loader: &Loader, pixels: bool) -> Predictions {
    let part = loader.part();
    let values = match part.samples().values() {
        Elements::U8(bytes) if pixels => Values::U8(bytes.clone()),
        _ => {
            let elements = part.samples().elements();
            let mut floats = vec![0f32; part.len() * elements];
            for (sample, &index) in floats.chunks_exact_mut(elements).zip(part.indices()) {
                part.samples().write(index as usize, sample);
                loader.normalisation().apply(sample);
            }
            Values::F32(floats)
        }
    };
    let options = SessionOptions { batch: Some(part.len()), threads: Some(1), ..SessionOptions::default() };
    let mut session = runtime.prepare(model, &options).unwrap();
    let dims = [vec![part.len()], part.shape().to_vec()].concat();
    session.bind(vec![NamedTensor { name: "input".into(), dims, values }]).unwrap();
    let Values::F32(output) = session.outputs().unwrap().remove(0).values else { panic!("expected floats") };
    Predictions::new(part.classes(), output, part.labels()).unwrap()
}

fn check(case: &Case, exports: &[(bool, bool, Precision)]) {
    let Case { space, data, .. } = *case;
    let test = data.test.as_ref().unwrap();
    let library = Some(common::ort_library());
    let runtimes = [RuntimeKind::Tract, RuntimeKind::OnnxRuntime]
        .map(|kind| load(kind, &LoadOptions { library: library.clone(), ..LoadOptions::default() }).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let trained = train(case);
    let evaluated = evaluate(&trained, data).unwrap();
    let direct = predict(&trained.graph, &trained.weights, test).unwrap();
    for &(pixels, fold, precision) in exports {
        let path = folder.path().join("model.onnx");
        let export_options = ExportOptions { batch: Batch::Dynamic, precision, ..ExportOptions::default() };
        let model_options = ModelOptions { pixels, softmax: false, fold, export: export_options };
        let model = export(&trained, &evaluated, data, Metadata::new(), model_options).unwrap();
        model.save(&path).unwrap();
        for runtime in &runtimes {
            let found = run(runtime.as_ref(), &path, test, pixels);
            let what = format!("{space}, {}, pixels {pixels}, fold {fold}, {precision}", runtime.info().name);
            let (metrics, expected) = (found.metrics(1.0), evaluated.after["test"]);
            let most = direct.logits().iter().fold(0f32, |most, z| most.max(z.abs())) as f64 / evaluated.temperature;
            let differences = found
                .logits()
                .iter()
                .zip(direct.logits())
                .map(|(found, z)| (f64::from(*found) - f64::from(*z) / evaluated.temperature).abs() / most);
            let worst = differences.fold(0.0, f64::max);
            if precision == Precision::F32 {
                assert!(worst < 1e-4, "{what}: {worst}");
                assert_eq!(metrics.accuracy, expected.accuracy, "{what}");
                assert!((metrics.loss - expected.loss).abs() < 1e-4, "{what}: {metrics:?}, {expected:?}");
            } else {
                assert!(worst < 2e-2 && (metrics.accuracy - expected.accuracy).abs() < 0.05, "{what}: {worst}");
            }
        }
    }
}

#[test]
fn accuracy_is_the_same_in_candle_tract_and_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    stripes::write_stripes(folder.path(), 256, 128);
    let data = DataSet::open(folder.path(), &ReadOptions::default()).unwrap();
    let split = SplitOptions { validation: 0.25, ..SplitOptions::default() };
    // Few epochs, so that there is something to get wrong.
    let options = TrainOptions { epochs: 2, batch: 32, split, ..TrainOptions::default() };
    let loaders = Loaders::new(&data, &options, &Device::Cpu).unwrap();
    let cell = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|";
    let normal = "|sep_conv_3x3~0|skip_connect~1|+|dil_conv_3x3~0|max_pool_3x3~2|+|avg_pool_3x3~1|skip_connect~2|+\
                  |sep_conv_5x5~3|skip_connect~4|";
    let cells = format!("{normal}/{normal}");
    for (space, arch, depth) in
        [("nas-bench-201", cell, 1), ("mobilenet-macro", "120120", 2), ("darts", cells.as_str(), 3)]
    {
        let case = Case { space, arch, width: 4, depth: Some(depth), data: &loaders, options: &options };
        let all = [(false, false, Precision::F32), (true, true, Precision::F32), (true, true, Precision::F16)];
        check(&case, &all);
    }
}

/// What is no image: a signal and a row; and a transformer, on as many pixels as its patches need.
#[test]
fn networks_on_tables_are_the_same_in_candle_tract_and_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let split = SplitOptions { validation: 0.25, test: 0.25, ..SplitOptions::default() };
    let options = TrainOptions { epochs: 2, batch: 16, split, ..TrainOptions::default() };
    let transformer = format!("2/1,patches_16/6:{}", ["softmax,2,2", "linear,2,2"].repeat(3).join("-"));
    for (space, arch, width, shape) in [
        ("signals-1d", "1,1/1:3,2,plain/1:5,1,separable/1:3,1,plain", 4, [3, 1, 32]),
        ("tabular", "1/3:plain,1-residual,2-residual,0.5", 8, [6, 1, 1]),
        ("vit", &transformer, 4, [1, 32, 32]),
    ] {
        let loaders = Loaders::new(&table(folder.path(), shape), &options, &Device::Cpu).unwrap();
        let case = Case { space, arch, width, depth: None, data: &loaders, options: &options };
        check(&case, &[(false, true, Precision::F32)]);
    }
}
