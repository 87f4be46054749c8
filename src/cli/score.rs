//! `tegu score`: indicators of single architectures.

use super::network::{SpaceArgs, read_archs};
use super::probing::{Indicators, ProbeArgs, indicators, recipe};
use super::{print, print_json};
use crate::genotype::Genotype;
use crate::indicator::{self, Indicator, Scores, Values};
use crate::quality::{Quality, RecipeSection};
use crate::space::{Scale, SearchSpace};
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Score architectures without training.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    space: SpaceArgs,
    /// Architectures, as their space writes them
    #[arg(required_unless_present = "archs")]
    arch: Vec<String>,
    /// File with one architecture a line
    #[arg(long, value_name = "FILE", conflicts_with = "arch")]
    archs: Option<PathBuf>,
    /// One JSON line an architecture
    #[arg(long)]
    json: bool,
    /// Indicators, by name and comma-separated; `teg` and `all` are those
    #[arg(long, value_name = "NAMES", default_value = "teg", value_parser = indicators)]
    indicators: Indicators,
    /// Print each network's value as well, in the JSON
    #[arg(long, requires = "json")]
    by_network: bool,
    /// Without the quality: no reference sample is needed
    #[arg(long)]
    no_quality: bool,
    #[command(flatten)]
    probing: ProbeArgs,
}

/// One architecture's line.
#[derive(Clone, Debug, Serialize)]
struct Line {
    arch: String,
    id: Option<String>,
    indicators: BTreeMap<&'static str, Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    networks: Option<BTreeMap<&'static str, Vec<f64>>>,
    /// The default recipe's score, higher is better; none for what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Option<f64>>,
    params: u64,
    macs: u64,
    state: State,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Complete,
    Failed(String),
}

pub(super) fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let space = args.space.open()?;
    let genotypes = read(args, &space)?;
    let probes = args.probing.probes(&space)?;
    let recipe = (!args.no_quality).then(|| recipe(&RecipeSection::default())).transpose()?;
    let quality = match &recipe {
        Some(recipe) => {
            let reference = args.probing.reference(&space, &probes, &recipe.indicators(), quiet)?;
            Some(Quality::new(recipe, &reference.scores()))
        }
        None => None,
    };
    let wanted = args.indicators.with(&quality.as_ref().map(Quality::indicators).unwrap_or_default());
    let first = indicator::first_isomorphic(&space, &genotypes);
    let distinct: Vec<usize> = (0..genotypes.len()).filter(|&at| first[at] == at).collect();
    let candidates: Vec<&Genotype> = distinct.iter().map(|&at| &genotypes[at]).collect();
    let (mut scored, mut lines, mut result) = (HashMap::new(), vec![], Ok(()));
    let mut next = 0;
    let _ = indicator::score_each(&probes, &space, &candidates, &wanted, |index, scores, _| {
        scored.insert(distinct[index], scores);
        // Lines come as soon as they are ready, in the order of the architectures.
        while result.is_ok()
            && let Some(scores) = first.get(next).and_then(|at| scored.get(at))
        {
            result = line(&space, &genotypes[next], scores, quality.as_ref(), args).and_then(|line| {
                lines.extend((!args.json).then_some(&line).cloned());
                if args.json { print_json(&line) } else { Ok(()) }
            });
            next += 1;
        }
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    result?;
    if !args.json {
        print(table(&lines, &args.indicators.0))?;
    }
    Ok(())
}

/// The architectures asked for; all are read before the first is scored.
fn read(args: &Args, space: &SearchSpace) -> anyhow::Result<Vec<Genotype>> {
    match &args.archs {
        Some(path) => read_archs(path, space),
        None => Ok(args.arch.iter().map(|arch| space.parse_arch(arch)).collect::<Result<_, _>>()?),
    }
}

fn line(
    space: &SearchSpace,
    genotype: &Genotype,
    scores: &Scores,
    quality: Option<&Quality>,
    args: &Args,
) -> anyhow::Result<Line> {
    let cost = space.lower(genotype, Scale::Full)?.cost();
    let (mut values, mut networks, mut state) = (BTreeMap::new(), BTreeMap::new(), State::Complete);
    let mut known = Values::new();
    for (&name, score) in scores {
        let shown = args.indicators.0.iter().any(|indicator| indicator.facts().name == name);
        known.extend(score.as_ref().ok().map(|score| (name.to_owned(), score.value)));
        match score {
            _ if !shown => {}
            Ok(score) => {
                networks.insert(name, score.networks.clone());
                values.insert(name, Some(score.value));
            }
            Err(error) => {
                state = State::Failed(error.to_string());
                values.insert(name, None);
            }
        }
    }
    let id = space.id(genotype).map(|id| id.to_string());
    let networks = args.by_network.then_some(networks);
    let quality = quality.map(|quality| quality.of(&known));
    Ok(Line {
        quality,
        arch: space.arch(genotype),
        id,
        indicators: values,
        networks,
        params: cost.params,
        macs: cost.macs,
        state,
    })
}

fn table(lines: &[Line], indicators: &[&'static dyn Indicator]) -> Table {
    let mut table = Table::new();
    let indicators: Vec<&'static str> = indicators.iter().map(|indicator| indicator.facts().name).collect();
    let mut header = vec!["architecture"];
    header.extend(&indicators);
    header.extend(["quality", "params", "MACs", "state"]);
    table.set_header(&header);
    for line in lines {
        let mut cells = vec![line.arch.clone()];
        let value = |name| line.indicators.get(name).copied().flatten();
        cells.extend(indicators.iter().map(|name| value(name).map_or("-".into(), |value| format!("{value:.4}"))));
        cells.push(line.quality.flatten().map_or("-".into(), |quality| format!("{quality:.3}")));
        cells.extend([line.params.to_string(), line.macs.to_string()]);
        cells.push(match &line.state {
            State::Complete => "complete".into(),
            State::Failed(reason) => format!("failed: {reason}"),
        });
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1).take(indicators.len() + 3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
