//! `tegu search`: run or resume a study.

use super::progress::Progress;
use super::{Interrupted, interrupt, print, report, versioned};
use crate::device::OpenOptions;
use crate::report as exporters;
use crate::study::{Outcome, Plan, Study};
use std::path::PathBuf;

/// Run or resume a search.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The study's config
    config: PathBuf,
    /// The folder that studies are kept in
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
    /// Start over: removes what an earlier run of this study has left
    #[arg(long)]
    fresh: bool,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Print the front as JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, quiet: bool) -> anyhow::Result<()> {
    let plan = Plan::read(&args.config)?;
    let folder = args.out.join(&plan.config.study);
    if args.fresh {
        Study::remove(&folder)?;
    }
    if !quiet {
        eprint!("{}", announcement(&plan, &folder));
    }
    let options = OpenOptions { library: args.ort_lib.clone(), ..OpenOptions::default() };
    let mut study = Study::open(plan, &folder, options)?;
    interrupt::listen();
    let mut progress = Progress::new(quiet);
    let outcome = study.run(&mut progress);
    progress.finish();
    if outcome? == Outcome::Interrupted {
        return Err(Interrupted.into());
    }
    let report = report::write(study.store(), &folder)?;
    if !report.trials.iter().any(|trial| trial.is_complete() && !trial.control) {
        let failed = report.trials.iter().find_map(|trial| match &trial.state {
            exporters::TrialState::Failed(reason) => Some(reason.as_str()),
            exporters::TrialState::Complete => None,
        });
        anyhow::bail!("all trials failed, the first one with: {}", failed.unwrap_or("no architecture to try"));
    }
    if args.json { print(versioned(&exporters::json::front(&report))?) } else { report::print_table(&report, &folder) }
}

/// What is going to be done.
fn announcement(plan: &Plan, folder: &std::path::Path) -> String {
    let search = &plan.config.search;
    let control = match plan.has_control() {
        true => format!(", then {} by random search to compare", search.trials),
        false => String::new(),
    };
    let sampler = search.sampler.name();
    let objectives: Vec<&str> = plan.objectives.as_slice().iter().map(|objective| objective.name.as_str()).collect();
    let devices: Vec<String> = plan
        .devices
        .iter()
        .map(|device| format!("{} ({})", device.profile.name, device.profile.description.trim()))
        .collect();
    let mut text = format!("study      {} in {}\n", plan.config.study, folder.display());
    text +=
        &format!("space      {}: {} architectures, {}\n", plan.space.name, plan.space.size(), plan.space.description);
    text += &format!("objectives {}\n", objectives.join(", "));
    text += &format!("device     {}\n", if devices.is_empty() { "none".into() } else { devices.join(", ") });
    let repeats = match search.repeats {
        1 => String::new(),
        repeats => format!(", {repeats} times"),
    };
    text += &format!(
        "budget     {} trials by {sampler}{control}{repeats}; quality ({}) is ranked in {} reference architectures\n",
        search.trials, plan.recipe.name, plan.config.quality.reference
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_announcement_says_what_will_be_done() {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart.yaml");
        let plan = Plan::read(&config).unwrap();
        insta::assert_snapshot!(announcement(&plan, Path::new("runs/quickstart")), @r"
        study      quickstart in runs/quickstart
        space      nas-bench-201: 15625 architectures, cells of 4 nodes and 5 operators, stacked in 3 stages
        objectives quality, latency_ms@host-cpu-tract
        device     host-cpu-tract (this machine's CPU, tract, one thread)
        budget     48 trials by nsga2, then 48 by random search to compare; quality (adaptive) is ranked in 32 reference architectures
        ");
    }
}
