//! `tegu indicators`: what there is to score networks by.

use super::{print, print_json};
use crate::indicator::{self, Facts};
use crate::objective::Direction;

/// List the indicators: what they say, their formulas, sources and costs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One JSON line an indicator
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    for indicator in indicator::all() {
        let Facts { name, direction, description, formula, source, view, cost } = *indicator.facts();
        if args.json {
            print_json(&serde_json::json!({
                "name": name, "direction": direction, "description": description, "formula": formula,
                "source": source, "view": format!("{view:?}"), "cost": cost,
            }))?;
        } else {
            let better = if direction == Direction::Maximize { "higher" } else { "lower" };
            print(format!("{name} ({better} is better): {description}\n  {formula}\n  {source}\n  {cost}"))?;
        }
    }
    Ok(())
}
