//! `tegu bench train-space`: the truth about a space, every architecture trained by itself.

use crate::cli::data::DataArgs;
use crate::cli::network::{input_error, read_archs};
use crate::cli::progress::Progress;
use crate::cli::{Interrupted, interrupt, print, print_json};
use crate::genotype::Genotype;
use crate::space::{NetworkChanges, SearchSpace};
use crate::tabular::{Done, SpaceSummary, SpaceTraining};
use crate::train::TrainOptions;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Train the architectures of a space, each alone and from several seeds, for a table of true accuracies.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Search space: `tinybench`, another name, or the path of a YAML file
    #[arg(long, value_name = "SPACE")]
    space: String,
    /// Channels behind the stem
    #[arg(long)]
    width: Option<usize>,
    /// Cells or layers a stage
    #[arg(long)]
    depth: Option<usize>,
    /// File with one architecture a line; the whole space where absent
    #[arg(long, value_name = "FILE")]
    archs: Option<PathBuf>,
    /// So many different architectures, drawn by the config's seed
    #[arg(long, value_name = "N", conflicts_with = "archs")]
    sample: Option<usize>,
    #[command(flatten)]
    data: DataArgs,
    /// How they are trained, YAML as of `tegu train`; its seed is the first
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Trainings of each architecture
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// The table to write, CSV; what is done so far stands beside it, in a file .journal
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Start over: removes what an earlier run has left
    #[arg(long)]
    fresh: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// The largest space that is trained as a whole.
const MOST: f64 = 100_000.0;

pub(super) fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let options = args.config.as_deref().map(TrainOptions::read).transpose()?.unwrap_or_default();
    let data = args.data.open()?;
    let (input, classes) = (Some(data.shape()), Some(data.classes().len()));
    let changes = NetworkChanges { input, classes, width: args.width, depth: args.depth };
    let space = SearchSpace::open(&args.space)?.with_network(&changes)?;
    let genotypes = args.genotypes(&space, options.seed)?;
    let journal = args.output.with_extension("journal");
    if args.fresh {
        remove(&journal)?;
    }
    interrupt::listen();
    let training = SpaceTraining {
        space: &space,
        genotypes: &genotypes,
        data: &data,
        options: &options,
        seeds: args.seeds as usize,
    };
    let mut progress = Progress::new(quiet);
    let show = |Done { done, total, before }: Done| progress.show("training", done, total, before, "");
    let trained = training.run(&journal, show, &interrupt::pressed);
    progress.finish();
    let Some(trained) = trained? else { return Err(Interrupted.into()) };
    trained.write(&args.output)?;
    let summary = trained.summary();
    if args.json {
        return print_json(&summary);
    }
    print(text(&summary, &args.output))
}

impl Args {
    fn genotypes(&self, space: &SearchSpace, seed: u64) -> anyhow::Result<Vec<Genotype>> {
        if let Some(path) = &self.archs {
            let mut seen = HashSet::new();
            return Ok(read_archs(path, space)?.into_iter().filter(|genotype| seen.insert(genotype.clone())).collect());
        }
        let Some(count) = self.sample else {
            if space.size() > MOST {
                let size = space.size();
                return Err(input_error(format!(
                    "{} has {size} architectures: choose some with --sample or --archs",
                    space.name
                )));
            }
            return Ok(space.enumerate().collect());
        };
        if count as f64 > space.size() {
            return Err(input_error(format!("--sample {count}: {} has {} architectures", space.name, space.size())));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut drawn = HashSet::new();
        let draws = std::iter::repeat_with(|| space.sample(&mut rng)).filter(|genotype| drawn.insert(genotype.clone()));
        Ok(draws.take(count).collect())
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(input_error(format!("{}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn text(summary: &SpaceSummary, output: &Path) -> String {
    let SpaceSummary { architectures, dead, distinct, failed, levels, training_s, .. } = summary;
    let mut text = format!("{architectures} architectures, {distinct} of them distinct; {dead} dead");
    if let (Some(best), Some(worst)) = (summary.best, summary.worst) {
        text += &format!(
            "\ntest accuracy of the living ones {worst:.2} to {best:.2} %: {:.2} points, {levels} levels",
            best - worst
        );
    }
    if let (Some(seeds), Some(all), Some(rho)) = (summary.seed_deviation, summary.deviation, summary.seed_correlation) {
        text += &format!(
            "\nstandard deviation {seeds:.2} points between seeds, {all:.2} between architectures; ρ of two seeds {rho:.3}"
        );
    }
    if let Some(reason) = &summary.first_failure {
        text += &format!("\n{failed} trainings failed, the first one with: {reason}");
    }
    text + &format!("\n{:.1} minutes of training, one thread each\n{}", training_s / 60.0, output.display())
}
