//! `tegu space check`: what a space holds, from its smallest to its largest member, and what no runtime here can run of it.

use super::network::{SpaceArgs, input_error};
use super::{print, print_json};
use crate::device::{self, HardwareProfile, Job, OpenOptions};
use crate::files;
use crate::genotype::Genotype;
use crate::graph::{Cost, Graph, NodeId};
use crate::latency::Protocol;
use crate::network::{Init, Weights};
use crate::onnx::{self, ExportOptions, Metadata};
use crate::report::drawing;
use crate::space::{Scale, SearchSpace};
use comfy_table::Table;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Networks that may be dead before there is none to be shown.
const DRAWS: usize = 1000;
/// What the space's members are tried on.
const PROFILES: [&str; 2] = ["host-cpu-tract", "host-cpu-ort-1thread"];

/// What a search space holds.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say how large a space is, show its smallest, its largest and a random member, and run its operators
    Check {
        #[command(flatten)]
        space: SpaceArgs,
        /// Seed of the random member
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Show the random member layer by layer
        #[arg(long)]
        layers: bool,
        /// Draw the random member's operators into this SVG file
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A member of the space, its layers those of the full network.
struct Member {
    which: &'static str,
    genotype: Genotype,
    graph: Graph,
}

/// What a profile's runtime made of the members: what it can't run, or why it can't run anything.
struct Tried {
    profile: &'static str,
    outcome: Result<Vec<(String, String)>, String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let Command::Check { space, seed, layers, svg, json } = &args.command;
    let space = space.open()?;
    let mut rng = ChaCha8Rng::seed_from_u64(*seed);
    let drawn =
        (0..DRAWS).map(|_| space.sample(&mut rng)).find(|genotype| live(&space, genotype, Scale::Full).is_some());
    let drawn =
        drawn.ok_or_else(|| input_error(format!("{}: {DRAWS} of {DRAWS} members are dead networks", space.name)))?;
    let [smallest, largest] = space.extremes(Scale::Full)?;
    let all = [("smallest", smallest), ("largest", largest), ("random", drawn)];
    let member =
        |(which, genotype)| live(&space, &genotype, Scale::Full).map(|graph| Member { which, genotype, graph });
    let members: Vec<Member> = all.into_iter().filter_map(member).collect();
    if let (Some(path), Some(random)) = (svg, members.last()) {
        let written = files::write_whole(path, drawing::svg(&random.graph).as_bytes());
        written.map_err(|source| input_error(format!("{}: can't be written: {source}", path.display())))?;
    }
    let tried = try_operators(&space, &members)?;
    if *json {
        return print_json(&to_json(&space, &members, &tried));
    }
    print(format!("{}: {}", space.name, space.description))?;
    let drawn = if space.own_variation().0 { "drawn in a way of its own" } else { "each choice drawn uniformly" };
    print(format!("{} decisions, {:.4e} architectures, {drawn}", space.choices().len(), space.size()))?;
    space.constraints().try_for_each(|constraint| print(format!("of these, those with {constraint}")))?;
    let mut table = Table::new();
    table.set_header(["member", "id", "parameters", "MACs", "architecture"]);
    for member in &members {
        let Cost { params, macs, .. } = member.graph.cost();
        let row = [
            member.which.to_owned(),
            id(&space, member),
            params.to_string(),
            macs.to_string(),
            space.arch(&member.genotype),
        ];
        table.add_row(row);
    }
    print(table)?;
    if let Some(random) = members.last() {
        print("the random one, each block with the shape of its result:")?;
        print(picture(&random.graph, *layers))?;
    }
    for Tried { profile, outcome } in &tried {
        match outcome {
            Ok(failed) if failed.is_empty() => print(format!("{profile}: runs every operator"))?,
            Ok(failed) => failed.iter().try_for_each(|(arch, reason)| print(format!("{profile}: {arch}: {reason}")))?,
            Err(reason) => print(format!("{profile}: not tried: {reason}"))?,
        }
    }
    Ok(())
}

fn live(space: &SearchSpace, genotype: &Genotype, scale: Scale) -> Option<Graph> {
    space.lower(genotype, scale).ok()?.live().ok()
}

fn id(space: &SearchSpace, member: &Member) -> String {
    space.id(&member.genotype).map(|id| id.to_string()).unwrap_or_default()
}

/// Runs the probe networks of the members, and of those that take one choice wherever they can.
fn try_operators(space: &SearchSpace, members: &[Member]) -> anyhow::Result<Vec<Tried>> {
    let folder = tempfile::tempdir()?;
    let genotypes = space.uniform().chain(members.iter().map(|member| member.genotype.clone()));
    let mut jobs = vec![];
    for (at, genotype) in genotypes.enumerate() {
        let Some(graph) = live(space, &genotype, Scale::Probe) else { continue };
        let path = folder.path().join(format!("{at}.onnx"));
        save(&graph, &path)?;
        jobs.push((space.arch(&genotype), Job::of_model(path)));
    }
    let (archs, jobs): (Vec<String>, Vec<Job>) = jobs.into_iter().unzip();
    let measure = |profile: &'static str| {
        let mut found = HardwareProfile::find(profile)?;
        // Whether they run at all, and not how fast.
        let fewest = Protocol {
            warm_up_s: 0.01,
            rounds: 5,
            max_rounds: 5,
            runs_per_round: 1,
            budget_s: 0.05,
            ..Protocol::default()
        };
        found.protocol = Protocol { reference: false, ..fewest };
        let opened = device::open(found, OpenOptions::default()).and_then(|mut device| device.check().map(|()| device));
        let outcome = opened.map_err(|error| error.to_string()).map(|mut device| {
            let all = archs.iter().zip(device.measure_all(&jobs));
            all.filter_map(|(arch, outcome)| Some((arch.clone(), outcome.err()?.to_string()))).collect()
        });
        Ok(Tried { profile, outcome })
    };
    PROFILES.into_iter().map(measure).collect()
}

fn save(graph: &Graph, path: &Path) -> anyhow::Result<()> {
    let weights = Weights::random(graph, Init::default(), 0, &candle_core::Device::Cpu)?;
    Ok(onnx::export(graph, &weights, &Metadata::new(), ExportOptions::default())?.save(path)?)
}

/// The operators of each block and the shape of its result, or every layer.
fn picture(graph: &Graph, layers: bool) -> Table {
    let mut table = Table::new();
    if layers {
        for node in graph.nodes() {
            let inputs: Vec<&str> = node.inputs.iter().map(|&input| graph.node(input).name.as_str()).collect();
            table.add_row([node.name.clone(), drawing::label(&node.op), node.shape.to_string(), inputs.join(", ")]);
        }
        return table;
    }
    let mut blocks: Vec<(&str, Vec<NodeId>)> = vec![];
    for id in graph.ids().skip(1) {
        let block = block_of(&graph.node(id).name);
        match blocks.iter_mut().find(|(known, _)| *known == block) {
            Some((_, nodes)) => nodes.push(id),
            None => blocks.push((block, vec![id])),
        }
    }
    for (block, nodes) in blocks {
        let mut operators: Vec<(String, usize)> = vec![];
        for name in nodes.iter().map(|&id| drawing::label(&graph.node(id).op)) {
            match operators.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => operators.push((name, 1)),
            }
        }
        let operators: Vec<String> = operators.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
        let shape = nodes.last().map(|&id| graph.node(id).shape.to_string()).unwrap_or_default();
        table.add_row([block.to_owned(), shape, operators.join(", ")]);
    }
    table
}

/// `stage0.cell2` of `stage0.cell2.node1.first`, `stem` of `stem.conv`.
fn block_of(name: &str) -> &str {
    let segments = if name.starts_with("stage") { 2 } else { 1 };
    name.match_indices('.').nth(segments - 1).map_or(name, |(end, _)| &name[..end])
}

fn to_json(space: &SearchSpace, members: &[Member], runtimes: &[Tried]) -> Value {
    let member = |member: &Member| {
        let Cost { params, macs, peak_activation_bytes } = member.graph.cost();
        json!({
            "member": member.which, "architecture": space.arch(&member.genotype), "id": id(space, member),
            "params": params, "macs": macs, "peak_activation_bytes": peak_activation_bytes,
            "graph": member.graph.to_json(),
        })
    };
    let tried = |Tried { profile, outcome }: &Tried| match outcome {
        Ok(failed) => {
            let failed = failed.iter().map(|(arch, reason)| json!({"architecture": arch, "reason": reason}));
            json!({"profile": profile, "failed": failed.collect::<Vec<_>>()})
        }
        Err(reason) => json!({"profile": profile, "not_tried": reason}),
    };
    json!({
        "name": space.name, "description": space.description, "decisions": space.decisions(), "architectures": space.size(),
        "constraints": space.constraints().collect::<Vec<_>>(),
        "members": members.iter().map(member).collect::<Vec<_>>(),
        "runtimes": runtimes.iter().map(tried).collect::<Vec<_>>(),
    })
}
