//! `tegu correlate`: every indicator held against the accuracies of trained networks.

use super::network::SpaceArgs;
use super::probing::{Counter, Indicators, ProbeArgs, indicators, recipe};
use super::{print, print_json};
use crate::quality::{Correlations, Figure, Fitted, Kind, Recipe, RecipeSection, Scored, TOPS, Truth, score_all};
use crate::report;
use comfy_table::{CellAlignment, Table};
use std::path::PathBuf;

/// Hold every indicator and combination against the accuracies of trained networks.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    space: SpaceArgs,
    /// CSV file with a header: a column `arch` (or `arch_str`, `architecture`), and one of accuracies
    #[arg(long, value_name = "FILE")]
    truth: PathBuf,
    /// The column of accuracies; more is better
    #[arg(long)]
    column: String,
    /// Number of architectures, drawn from the file; all where absent
    #[arg(long, value_name = "N")]
    archs: Option<usize>,
    /// Indicators beside the recipes', by name and comma-separated; `teg` and `all` are those
    #[arg(long, value_name = "NAMES", default_value = "all", value_parser = indicators)]
    indicators: Indicators,
    /// Fit to so many of the labels, twenty times over, and evaluate on the others; several, comma-separated
    #[arg(long, value_name = "LABELS", value_delimiter = ',')]
    fit: Vec<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write a page with the scatter of each score
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    probing: ProbeArgs,
}

pub(super) fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let space = args.space.open()?;
    let mut truth = Truth::read(&space, &args.truth, &args.column)?;
    if let Some(count) = args.archs {
        truth = truth.sample(count, args.probing.seed);
    }
    let probes = args.probing.probes(&space)?;
    let recipes: Vec<Recipe> = [RecipeSection::Adaptive, RecipeSection::NasBench201, RecipeSection::Teg]
        .iter()
        .map(recipe)
        .collect::<Result<_, _>>()?;
    let needed = if args.fit.is_empty() { Recipe::indicators } else { Recipe::with_features };
    let of_recipes: Vec<_> = recipes.iter().flat_map(needed).collect();
    let indicators = args.indicators.with(&of_recipes);
    let reference = args.probing.reference(&space, &probes, &of_recipes, quiet)?.scores();
    let counter = Counter::new("scoring", quiet);
    let scores = score_all(&probes, &space, &truth.genotypes, &indicators, |done, total| counter.show(done, total));
    counter.finish();
    let scored = Scored { space: &space, truth: &truth, column: &args.column, scores: &scores, reference: &reference };
    let mut correlations = scored.correlate(&args.indicators.0, &recipes, args.probing.seed);
    correlations.time(&probes, &space, &truth.genotypes, &recipes);
    for &labels in &args.fit {
        correlations.fits.push(scored.fit(&recipes[0], labels, args.probing.seed));
    }
    if let Some(path) = &args.html {
        report::write_correlations(&correlations, &truth.values, path)?;
    }
    if args.json {
        return print_json(&correlations);
    }
    print(table(&correlations))?;
    print(notes(&correlations))
}

fn table(correlations: &Correlations) -> Table {
    let mut table = Table::new();
    let tops = TOPS.map(|top| format!("best of {top}"));
    let [first, five, ten] = &tops;
    table.set_header(["score", "τ", "ρ", "95 %", "ρ in top 20 %", "top 10 %", "top 20 %", first, five, ten, "s/arch"]);
    let mut rows: Vec<_> = correlations.rows.iter().collect();
    let rho = |figure: Option<Figure>| figure.map_or(f64::NEG_INFINITY, |figure| figure.value);
    rows.sort_by(|a, b| {
        let first = |kind| kind != Kind::Combination;
        first(a.kind).cmp(&first(b.kind)).then(rho(b.evaluation.spearman).total_cmp(&rho(a.evaluation.spearman)))
    });
    for row in rows {
        let figure = |figure: Option<Figure>| figure.map_or("-".into(), |figure| format!("{:.3}", figure.value));
        let of = &row.evaluation;
        let interval = of.spearman.map_or("-".into(), |rho| format!("{:.2} to {:.2}", rho.ci95[0], rho.ci95[1]));
        let [first, five, ten] = of.best_of_top.map(|best| format!("{best:.2}"));
        table.add_row([
            row.name.clone(),
            figure(of.kendall),
            figure(of.spearman),
            interval,
            figure(of.spearman_top20),
            format!("{:.0} %", 100.0 * of.precision_top10),
            format!("{:.0} %", 100.0 * of.precision_top20),
            first,
            five,
            ten,
            row.seconds.map_or("-".into(), |seconds| format!("{seconds:.3}")),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn notes(correlations: &Correlations) -> String {
    let Correlations { space, column, architectures, dead, recipes, fits, .. } = correlations;
    let mut text =
        format!("{architectures} architectures of {space}, {dead} of them dead (last in every order); {column}");
    for facts in recipes {
        let weights: Vec<String> = facts.weights.iter().map(|(name, weight)| format!("{weight} {name}")).collect();
        text += &format!("\n{}: {}", facts.recipe, weights.join(" + "));
        for dropped in &facts.dropped {
            text += &format!("\n  dropped {}: {}", dropped.indicator, dropped.reason);
        }
    }
    for fit in fits {
        text += &format!("\n{} labels ({} draws): ρ {:.3} without them", fit.labels, fit.draws, fit.without_labels);
        for Fitted { method, spearman, least_gain, .. } in &fit.fitted {
            text += &format!(", {spearman:.3} by {method} (least gain of a draw {least_gain:+.3})");
        }
        let chosen: Vec<String> =
            fit.chosen.iter().map(|chosen| format!("{:.2} by {}", chosen.best, chosen.by)).collect();
        text += &format!("\n  best of {} that are chosen: {}", fit.labels, chosen.join(", "));
    }
    text
}
