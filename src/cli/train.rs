//! `tegu train`: a chosen architecture, trained, evaluated, exported.

mod candidate;
mod watch;

use super::data::DataArgs;
use super::network::input_error;
use super::{Interrupted, interrupt, print, print_json};
use crate::data::DataSet;
use crate::network::Compute;
use crate::onnx::{Batch, ExportOptions, Metadata, Precision};
use crate::train::{
    DataFacts, Evaluated, Loaders, ModelOptions, Outcome, TrainOptions, Training, TrainingRecord, evaluate, export,
};
use candidate::{Candidate, CandidateArgs};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use watch::Watch;

/// Train a chosen architecture, and export it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    candidate: CandidateArgs,
    #[command(flatten)]
    data: DataArgs,
    /// How it is trained, YAML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Passes over the training data
    #[arg(long)]
    epochs: Option<usize>,
    /// Samples a step
    #[arg(long)]
    batch: Option<usize>,
    /// The largest learning rate
    #[arg(long)]
    lr: Option<f64>,
    /// Where all randomness comes from
    #[arg(long)]
    seed: Option<u64>,
    /// What computes: auto, cpu, cuda:N or metal
    #[arg(long, default_value = "auto")]
    compute: Compute,
    /// The model to write; model.onnx in the training's folder where absent
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The training's folder, with checkpoint and curve; in the study's folder, or beside the model, where absent
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Start over: removes what an earlier run has left
    #[arg(long)]
    fresh: bool,
    /// The model takes bytes, 0 to 255, and normalises them itself
    #[arg(long)]
    pixels: bool,
    /// The model ends with a softmax
    #[arg(long)]
    softmax: bool,
    /// Leave batch normalisations as operators of their own, where they would be folded into the layers before
    #[arg(long)]
    no_fold: bool,
    /// Element type of the model's weights and activations: f32 or f16
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Samples in one run of the model, or `dynamic`
    #[arg(long, value_name = "SIZE", default_value = "1", value_parser = super::export::batch)]
    model_batch: Batch,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let options = options(args)?;
    let device = args.compute.open().map_err(|error| input_error(format!("--compute {}: {error}", args.compute)))?;
    let data = args.data.open()?;
    let candidate = args.candidate.open(&data)?;
    let beside = || args.output.as_ref().map(|output| output.with_extension("training"));
    let folder = args.folder.clone().or_else(|| candidate.folder(options.seed)).or_else(beside);
    let folder = folder.ok_or_else(|| input_error("expected --output FILE, or --folder DIR, for the result"))?;
    if args.fresh {
        remove(&folder)?;
    }
    std::fs::create_dir_all(&folder).map_err(|error| input_error(format!("{}: {error}", folder.display())))?;
    let loaders = Loaders::normalised(&data, &options, candidate.space.normalisation(), &device)?;
    let record = record(&candidate, &data, &loaders, &options);
    if !quiet {
        eprint!("{}", announcement(&candidate, &record, &folder));
    }
    interrupt::listen();
    let training = Training {
        graph: &candidate.graph,
        start: candidate.start.as_ref(),
        data: &loaders,
        options: &options,
        folder: &folder,
        device: &device,
    };
    let mut watch = Watch::new(quiet, record, &folder);
    let outcome = training.run(&mut watch);
    let mut record = watch.finish()?;
    let Outcome::Finished(trained) = outcome? else { return Err(Interrupted.into()) };

    let evaluated = evaluate(&trained, &loaders)?;
    let path = args.output.clone().unwrap_or_else(|| folder.join("model.onnx"));
    let file_name = path.file_name().ok_or_else(|| input_error("--output names no file"))?;
    let file_name = file_name.to_string_lossy().into_owned();
    let model_options = ModelOptions {
        pixels: args.pixels,
        softmax: args.softmax,
        fold: !args.no_fold,
        export: ExportOptions {
            batch: args.model_batch,
            file_name,
            precision: args.precision,
            ..ExportOptions::default()
        },
    };
    let metadata = Metadata { seed: Some(options.seed), ..candidate.metadata.clone() };
    let model = export(&trained, &evaluated, &loaders, metadata, model_options)?;
    model.save(&path)?;
    record.curve.clone_from(&trained.curve);
    (record.best_epoch, record.evaluated) = (Some(trained.best_epoch), Some(evaluated.clone()));
    record.model = Some((path.clone(), model.sha256()));
    record.save(&folder)?;
    if args.json {
        return print_json(&result(&record, &evaluated, model.bytes.len()));
    }
    print(table(&evaluated))?;
    let best = match evaluated.before.contains_key("validation") {
        true => "the best by validation",
        false => "the last",
    };
    print(format!(
        "epoch {} of {}, {best}; temperature {:.3}",
        trained.best_epoch,
        trained.curve.len(),
        evaluated.temperature
    ))?;
    print(format!("{}: {} bytes, sha256 {}", path.display(), model.bytes.len(), model.sha256()))
}

/// The options of the config, changed by those of the command line.
fn options(args: &Args) -> anyhow::Result<TrainOptions> {
    let mut options = args.config.as_deref().map(TrainOptions::read).transpose()?.unwrap_or_default();
    options.epochs = args.epochs.unwrap_or(options.epochs);
    options.batch = args.batch.unwrap_or(options.batch);
    options.lr = args.lr.or(options.lr);
    options.seed = args.seed.unwrap_or(options.seed);
    match (options.check(), &args.config) {
        (Err(error), Some(path)) => Err(input_error(format!("{}: {error}", path.display()))),
        (result, _) => Ok(result.map(|()| options)?),
    }
}

/// Removes what a training has left, and nothing else.
fn remove(folder: &Path) -> anyhow::Result<()> {
    for name in [crate::train::CHECKPOINT, crate::train::RECORD, "model.onnx"] {
        let path = folder.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(|error| input_error(format!("{}: {error}", path.display())))?;
        }
    }
    Ok(())
}

fn record(candidate: &Candidate, data: &DataSet, loaders: &Loaders, options: &TrainOptions) -> TrainingRecord {
    let size = |loader: &Option<crate::data::Loader>| loader.as_ref().map_or(0, |loader| loader.part().len());
    TrainingRecord {
        space: candidate.space.name.clone(),
        arch: candidate.arch.clone(),
        arch_id: candidate.id.clone(),
        study: candidate.metadata.study.clone(),
        trial: candidate.trial.clone(),
        options: options.clone(),
        data: DataFacts {
            path: data.path().to_owned(),
            sha256: data.sha256().to_owned(),
            classes: data.classes().to_vec(),
            shape: data.shape(),
            train: loaders.train.part().len(),
            validation: size(&loaders.validation),
            test: size(&loaders.test),
        },
        params: candidate.graph.cost().params,
        curve: vec![],
        best_epoch: None,
        evaluated: None,
        model: None,
    }
}

/// What is going to be done.
fn announcement(candidate: &Candidate, record: &TrainingRecord, folder: &Path) -> String {
    let data = &record.data;
    let [channels, height, width] = data.shape;
    let cost = candidate.graph.cost();
    let mut text =
        format!("network  {} of {}: {} parameters, {} MACs\n", record.arch, record.space, cost.params, cost.macs);
    if let Some(change) = &candidate.retargeted {
        text += &format!("         {change}\n");
    }
    text += &format!(
        "data     {}: {} samples of {channels}×{height}×{width} to train on, {} to validate, {} to test, {} classes\n",
        data.path.display(),
        data.train,
        data.validation,
        data.test,
        data.classes.len()
    );
    let options = &record.options;
    text += &format!(
        "training {} epochs of {} steps, batch {}, seed {}, in {}\n",
        options.epochs,
        (data.train / options.batch).max(1),
        options.batch.min(data.train),
        options.seed,
        folder.display()
    );
    text
}

fn result(record: &TrainingRecord, evaluated: &Evaluated, bytes: usize) -> Value {
    let mut all = serde_json::to_value(record).expect("numbers and text are JSON");
    let (path, sha256) = record.model.clone().unwrap_or_default();
    all["model"] = json!({ "path": path, "sha256": sha256, "bytes": bytes });
    let accuracies: Map<String, Value> =
        evaluated.after.iter().map(|(part, metrics)| (part.clone(), metrics.accuracy.into())).collect();
    all["accuracy"] = accuracies.into();
    all["seconds"] = record.curve.iter().map(|epoch| epoch.seconds).sum::<f64>().into();
    all
}

fn table(evaluated: &Evaluated) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.set_header(["", "samples", "accuracy", "loss", "ECE", "calibrated: loss", "ECE"]);
    for (part, before) in &evaluated.before {
        let after = &evaluated.after[part];
        table.add_row([
            part.clone(),
            before.samples.to_string(),
            format!("{:.2} %", 100.0 * before.accuracy),
            format!("{:.4}", before.loss),
            format!("{:.4}", before.ece),
            format!("{:.4}", after.loss),
            format!("{:.4}", after.ece),
        ]);
    }
    table
}
