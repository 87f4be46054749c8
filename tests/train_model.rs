//! The exported model is as good as the trained network, in tract and in ONNX Runtime.

mod common;
#[path = "common/stripes.rs"]
mod stripes;

use candle_core::Device;
use std::path::Path;
use stripes::{CLASSES, SIDE};
use tegu::data::{DataSet, Loader, ReadOptions, SplitOptions, Values as Elements};
use tegu::onnx::{Batch, ExportOptions, Metadata, Precision};
use tegu::runtime::{LoadOptions, NamedTensor, Runtime, RuntimeKind, SessionOptions, Values, load};
use tegu::space::{NetworkChanges, Scale, SearchSpace};
use tegu::train::{
    Loaders, ModelOptions, Outcome, Predictions, TrainOptions, Trained, Training, evaluate, export, predict,
};

fn train(space: &str, arch: &str, data: &Loaders, options: &TrainOptions) -> Trained {
    let changes = NetworkChanges {
        input: Some([1, SIDE, SIDE]),
        classes: Some(CLASSES),
        width: Some(4),
        depth: Some(if space == "nas-bench-201" { 1 } else { 2 }),
    };
    let space = SearchSpace::open(space).unwrap().with_network(&changes).unwrap();
    let graph = space.lower(&space.parse_arch(arch).unwrap(), Scale::Full).unwrap().live().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let training = Training { graph: &graph, start: None, data, options, folder: folder.path(), device: &Device::Cpu };
    match training.run(&mut ()).unwrap() {
        Outcome::Finished(trained) => *trained,
        Outcome::Interrupted => panic!("nobody interrupts it"),
    }
}

/// What a runtime says of the loader's samples.
fn run(runtime: &dyn Runtime, model: &Path, loader: &Loader, pixels: bool) -> Predictions {
    let part = loader.part();
    let Elements::U8(bytes) = part.samples().values() else { panic!("expected pixels") };
    let values = if pixels {
        Values::U8(bytes.clone())
    } else {
        let mut floats: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte)).collect();
        floats.chunks_exact_mut(SIDE * SIDE).for_each(|image| loader.normalisation().apply(image));
        Values::F32(floats)
    };
    let options = SessionOptions { batch: Some(part.len()), threads: Some(1), ..SessionOptions::default() };
    let mut session = runtime.prepare(model, &options).unwrap();
    session.bind(vec![NamedTensor { name: "input".into(), dims: vec![part.len(), 1, SIDE, SIDE], values }]).unwrap();
    let Values::F32(output) = session.outputs().unwrap().remove(0).values else { panic!("expected floats") };
    Predictions::new(CLASSES, output, part.labels()).unwrap()
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
    let test = loaders.test.as_ref().unwrap();
    let library = Some(common::ort_library());
    let runtimes = [RuntimeKind::Tract, RuntimeKind::OnnxRuntime]
        .map(|kind| load(kind, &LoadOptions { library: library.clone(), ..LoadOptions::default() }).unwrap());
    let networks = [
        ("nas-bench-201", "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"),
        ("mobilenet-macro", "120120"),
    ];
    for (space, arch) in networks {
        let trained = train(space, arch, &loaders, &options);
        let evaluated = evaluate(&trained, &loaders).unwrap();
        let direct = predict(&trained.graph, &trained.weights, test).unwrap();
        for (pixels, fold, precision) in
            [(false, false, Precision::F32), (true, true, Precision::F32), (true, true, Precision::F16)]
        {
            let path = folder.path().join("model.onnx");
            let export_options = ExportOptions { batch: Batch::Dynamic, precision, ..ExportOptions::default() };
            let model_options = ModelOptions { pixels, softmax: false, fold, export: export_options };
            let model = export(&trained, &evaluated, &loaders, Metadata::new(), model_options).unwrap();
            model.save(&path).unwrap();
            for runtime in &runtimes {
                let found = run(runtime.as_ref(), &path, test, pixels);
                let what = format!("{space}, {}, pixels {pixels}, fold {fold}, {precision}", runtime.info().name);
                let (metrics, expected) = (found.metrics(1.0), evaluated.after["test"]);
                let most =
                    direct.logits().iter().fold(0f32, |most, z| most.max(z.abs())) as f64 / evaluated.temperature;
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
}
