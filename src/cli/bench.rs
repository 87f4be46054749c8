//! `tegu bench`: which strategy to choose, found out on a table of known values; and how such a table is made.

mod train_space;

use super::network::input_error;
use super::probing::Counter;
use super::{print, print_json};
use crate::objective::Direction;
use crate::report;
use crate::sampler::SamplerOptions;
use crate::space::SearchSpace;
use crate::tabular::{self, Bench, BenchOptions, Columns, Isomorphs, Row, Table};
use crate::yaml::closest;
use clap::Subcommand;
use comfy_table::CellAlignment;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Compare strategies where the truth is known, or find the truth.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run search strategies on a table of known values, beside random search and counting MACs
    Samplers(SamplersArgs),
    /// Train every architecture of a space, for a table of true accuracies
    TrainSpace(train_space::Args),
}

/// Run search strategies on a table.
#[derive(Debug, clap::Args)]
struct SamplersArgs {
    /// CSV file with a header: architectures in a column `arch`, `arch_str` or `architecture`, else the first; and numbers
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// Search space of the architectures: `nas-bench-201`, `mobilenet-macro`, `mobilenet-v3`, `resnet`, `darts`, `tinybench`, or the path of a YAML file. Without it, an
    /// architecture is a string of digits, each a choice
    #[arg(long)]
    space: Option<String>,
    /// Find architectures that the space knows to be the same as one, with the mean of their rows, as a study does; else each
    /// row is found by itself
    #[arg(long, requires = "space")]
    shared: bool,
    /// Columns that are objectives, comma-separated, 1 to 5; all columns of numbers where absent
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// Columns of which less is better. More is better of others, but for those whose name has `latency`, `flops`, `macs`,
    /// `params`, `cost`, `energy`, or the word `ms`
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    minimize: Vec<String>,
    /// Columns that strategies may look at without a trial, the cheapest first: what robot weighs, te_nas prunes by and
    /// successive_halving goes through
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    metrics: Vec<String>,
    /// Strategies with their default options, comma-separated; all where absent
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    samplers: Vec<String>,
    /// A strategy with options as a study's config has them, such as `nsga2: {population: 50}`; may be repeated
    #[arg(long, value_name = "YAML")]
    sampler: Vec<String>,
    /// Trials of a run
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    evaluations: u32,
    /// Runs of each strategy, from one seed each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where hypervolumes are measured from: a value for each objective, comma-separated; the worst of the table where absent
    #[arg(long, value_name = "VALUES", value_delimiter = ',', allow_hyphen_values = true)]
    reference: Option<Vec<f64>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the curves of all strategies
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    match &args.command {
        Command::Samplers(args) => compare(args, quiet),
        Command::TrainSpace(args) => train_space::run(args, quiet),
    }
}

fn compare(args: &SamplersArgs, quiet: bool) -> anyhow::Result<()> {
    let samplers = args.chosen()?;
    let space = args.space.as_deref().map(SearchSpace::open).transpose()?.map(Arc::new);
    let columns = Columns { objectives: args.columns.as_deref(), minimize: &args.minimize, metrics: &args.metrics };
    let isomorphs = if args.shared { Isomorphs::Shared } else { Isomorphs::Apart };
    let table = Table::read(&args.truth, space, &columns, isomorphs)?;
    let options = BenchOptions {
        samplers,
        evaluations: args.evaluations as usize,
        seeds: args.seeds as usize,
        seed: args.seed,
        reference: args.reference.clone(),
    };
    let counter = Counter::new("runs", quiet);
    let found = tabular::bench(&table, &options, |done, total| counter.show(done, total))?;
    counter.finish();
    if let Some(path) = &args.html {
        report::write_samplers(&found, path)?;
    }
    if args.json {
        return print_json(&found);
    }
    print(text(&found))
}

impl SamplersArgs {
    /// The strategies that are run.
    fn chosen(&self) -> anyhow::Result<Vec<SamplerOptions>> {
        let all = SamplerOptions::all();
        let named = |name: &String| {
            let names = || all.iter().map(SamplerOptions::name).collect::<Vec<_>>();
            all.iter().find(|options| options.name() == *name).cloned().ok_or_else(|| {
                let names = names();
                let hint = closest(name, names.iter().map(String::as_str));
                let hint = hint.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
                input_error(format!("no sampler `{name}`: expected one of {}{hint}", names.join(", ")))
            })
        };
        let mut chosen = self.samplers.iter().map(named).collect::<Result<Vec<_>, _>>()?;
        for text in &self.sampler {
            chosen.push(crate::yaml::parse(text, Path::new("--sampler"))?);
        }
        let usable = |options: &SamplerOptions| !(self.metrics.is_empty() && options.needs_metrics());
        Ok(if chosen.is_empty() { all.into_iter().filter(usable).collect() } else { chosen })
    }
}

/// The table, the best first, and what it is about.
fn text(found: &Bench) -> String {
    let mut shown: Vec<usize> = [0.1, 0.3, 0.5, 1.0].map(|of| ((of * found.evaluations as f64) as usize).max(1)).into();
    shown.dedup();
    let mut rows: Vec<&Row> = found.samplers.iter().collect();
    rows.sort_by(|a, b| found.direction.cost(a.best_mean).total_cmp(&found.direction.cost(b.best_mean)));
    let mut table = comfy_table::Table::new();
    let mut header = vec!["sampler".to_owned()];
    header.extend(shown.iter().map(|count| format!("after {count}")));
    header.extend(["over random".to_owned(), "s".to_owned()]);
    table.set_header(header);
    // Digits by the spread of what is compared.
    let [low, high] = [f64::min as fn(f64, f64) -> f64, f64::max]
        .map(|pick| rows.iter().map(|row| row.best_mean).reduce(pick).unwrap_or(0.0));
    let digits = (2.0 - (high - low).max(1e-9).log10().floor()).clamp(0.0, 6.0) as usize;
    let half = |interval: Option<[f64; 2]>| {
        interval.map_or(String::new(), |[low, high]| format!(" ± {:.digits$}", (high - low) / 2.0))
    };
    for row in rows {
        let control = if row.control { "control: " } else { "" };
        let mut cells = vec![format!("{control}{}", name(found, row))];
        cells.extend(shown.iter().map(|&count| {
            format!("{:.digits$}{}", row.curve.mean[count - 1], half(row.curve.ci95.get(count - 1).copied()))
        }));
        cells.push(format!("{:+.digits$}{}", row.gain_over_random, half(row.gain_ci95)));
        cells.push(format!("{:.3}", row.sampler_s));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n{}", notes(found))
}

/// The sampler's name, with its options where another one has the same.
fn name(found: &Bench, row: &Row) -> String {
    let same = found.samplers.iter().filter(|other| other.sampler == row.sampler).count();
    match &row.options {
        Some(options) if same > 1 => serde_json::to_string(options).unwrap_or_default().replace('"', ""),
        _ => row.sampler.clone(),
    }
}

fn notes(found: &Bench) -> String {
    let arrow = |direction| if direction == Direction::Maximize { "↑" } else { "↓" };
    let objectives: Vec<String> =
        found.objectives.iter().map(|objective| format!("{} {}", objective.name, arrow(objective.direction))).collect();
    let mut text = format!(
        "{} of {}: mean over {} seeds, ± half the 95 % interval; s: seconds that the strategy itself took, a run\n",
        if found.figure == "best" { "Best" } else { "Hypervolume as a fraction of the true front's" },
        objectives.join(", "),
        found.seeds,
    );
    match &found.reference_point {
        Some(point) => {
            let point: Vec<String> = point.iter().map(f64::to_string).collect();
            text += &format!("Reference point: {}; true front: {} architectures\n", point.join(", "), found.true_front);
        }
        None => {
            let of = &found.objectives[0];
            text += &format!("All architectures: mean {:.4}, median {:.4}, best {:.4}\n", of.mean, of.median, of.best);
        }
    }
    text += &format!("{} architectures, {} of them distinct", found.architectures, found.distinct);
    if found.dead > 0 {
        text += &format!("; {} dead ones left out", found.dead);
    }
    if found.incomplete > 0 {
        text += &format!("; {} without all values left out", found.incomplete);
    }
    text
}
