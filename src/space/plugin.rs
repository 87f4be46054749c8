//! A space behind a plugin, which says what there is to decide and lowers genotypes to graphs.
//!
//! ```text
//! plugin  initialize → {…, "decisions": [{"name": "1.1", "choices": ["conv", "skip"]}], "input": [3, 32, 32], "classes": 10}
//! tegu    lower {"genotype": [0, 1], "scale": "full"}    plugin  {"graph": {…}}      or error 1: a dead network
//! tegu    sample {"seed": 7, "count": 1}                 plugin  {"genotypes": [[0, 1]]}       (capability `sample`)
//! tegu    mutate {"genotype": [0, 1], "seed": 7}         plugin  {"genotype": [1, 1]}          (capability `mutate`)
//! ```
//!
//! Architectures are written as the names of their choices, joined by commas. Graphs are kept once they are lowered: a
//! search asks for the same ones many times.

use super::{Decision, NetworkSize, Networks, Scale, SearchSpace, SpaceError, Topology, listed};
use crate::genotype::{ArchId, Genotype, hex};
use crate::graph::{Graph, Shape};
use crate::plugin::{Found, Kind, Options, Plugin, PluginError, Start};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// Graphs that are kept; when there are more, all are lowered anew.
const KEPT: usize = 1 << 14;

/// What stands in the place of a width, which these networks don't have: scales are told apart by it, and the networks that
/// indicators make by other widths and depths are those of the probe.
const WIDTHS: [usize; 3] = [1024, 32, 1];

/// What a space says of itself at the start, beside what every plugin does.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct SpaceFacts {
    /// What is decided.
    pub decisions: Vec<Decision>,
    /// Shape of one input sample of the full network, `[channels, height, width]`.
    pub input: [usize; 3],
    /// Classes that are told apart.
    pub classes: usize,
}

impl SpaceFacts {
    /// Checks names and numbers.
    ///
    /// # Errors
    /// What was found, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if self.decisions.is_empty() || self.input.contains(&0) || self.classes == 0 {
            return Err("no decisions, input or classes, expected 1 or more of each".to_owned());
        }
        for Decision { name, choices } in &self.decisions {
            let twice = (1..choices.len()).any(|at| choices[..at].contains(&choices[at]));
            let plain = |choice: &String| !choice.is_empty() && !choice.contains([listed::SEPARATOR, '@', '\n']);
            if !(1..=256).contains(&choices.len()) || twice || !choices.iter().all(plain) {
                return Err(format!(
                    "decisions: `{name}`: {choices:?}, expected 1 to 256 different choices without `,` and `@`"
                ));
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lowered {
    graph: serde_json::Value,
}

/// Genotypes, as a space draws them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampled {
    /// The genes of each.
    pub genotypes: Vec<Vec<usize>>,
}

/// A genotype, as a space changes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutated {
    /// The genes.
    pub genotype: Vec<usize>,
}

/// Why there is no graph.
#[derive(Clone, Debug)]
enum NoGraph {
    /// The architecture is a dead network.
    Dead(String),
    /// The plugin failed: nobody knows what the architecture is.
    Failed(String),
}

/// What came of lowering.
type Graphs = HashMap<(Genotype, Scale), Result<Graph, NoGraph>>;

/// A space's plugin, with the graphs that it has made.
#[derive(Clone, Debug)]
pub(super) struct PluginSpace {
    facts: SpaceFacts,
    plugin: Arc<Mutex<Plugin>>,
    graphs: Arc<Mutex<Graphs>>,
}

impl PluginSpace {
    pub(super) fn decisions(&self) -> Vec<Decision> {
        self.facts.decisions.clone()
    }

    pub(super) fn choices(&self) -> Vec<usize> {
        self.facts.decisions.iter().map(|decision| decision.choices.len()).collect()
    }

    pub(super) fn arch(&self, genotype: &Genotype) -> String {
        listed::arch(&self.facts.decisions, genotype)
    }

    pub(super) fn parse(&self, arch: &str) -> Result<Genotype, String> {
        listed::parse(&self.facts.decisions, arch)
    }

    /// The id of an architecture that could not be lowered for no fault of its own; none of a dead one.
    pub(super) fn id_of_failed(&self, genotype: &Genotype, networks: &Networks) -> Option<ArchId> {
        let failed = |scale| matches!(self.graph(genotype, scale, networks), Err(NoGraph::Failed(_)));
        failed(Scale::Probe).then(|| ArchId::new(hex(&Sha256::digest([b"failed", genotype.genes()].concat())[..8])))
    }

    pub(super) fn lower(&self, genotype: &Genotype, size: &NetworkSize, networks: &Networks) -> Result<Graph, String> {
        let scale = match size {
            size if *size == networks.full => Scale::Full,
            size if *size == networks.thin => Scale::Thin,
            _ => Scale::Probe,
        };
        self.graph(genotype, scale, networks).map_err(|error| match error {
            NoGraph::Dead(reason) | NoGraph::Failed(reason) => reason,
        })
    }

    /// The genotype of these genes, if it is one.
    fn genotype(&self, genes: Vec<usize>) -> Option<Genotype> {
        let fits = genes.len() == self.facts.decisions.len()
            && genes.iter().zip(self.choices()).all(|(&gene, choices)| gene < choices);
        fits.then(|| Genotype::new(genes.into_iter().map(|gene| gene as u8).collect()))
    }

    /// What the plugin answers; none where it fails.
    fn vary<T: DeserializeOwned>(&self, method: &str, params: &serde_json::Value) -> Option<T> {
        let answer = self.plugin().ask_for(method, params);
        answer.inspect_err(|error| tracing::warn!("{error}: uniform chance takes the place")).ok()
    }

    fn graph(&self, genotype: &Genotype, scale: Scale, networks: &Networks) -> Result<Graph, NoGraph> {
        let key = (genotype.clone(), scale);
        if let Some(known) = self.graphs().get(&key) {
            return known.clone();
        }
        // Whoever waited for the plugin may want what the one before has brought.
        let mut plugin = self.plugin();
        if let Some(known) = self.graphs().get(&key) {
            return known.clone();
        }
        let size = match scale {
            Scale::Full => &networks.full,
            Scale::Probe => &networks.probe,
            Scale::Thin => &networks.thin,
        };
        let found = lower(&mut plugin, genotype, scale).and_then(|graph| {
            let wrong = expected(&graph, Some(size.input), size.classes).err();
            wrong.map_or(Ok(graph), |reason| Err(NoGraph::Failed(plugin.answer("lower", reason).to_string())))
        });
        let mut graphs = self.graphs();
        if graphs.len() >= KEPT {
            graphs.clear();
        }
        graphs.insert(key, found.clone());
        found
    }

    fn plugin(&self) -> MutexGuard<'_, Plugin> {
        self.plugin.lock().expect("no holder of the lock panics")
    }

    fn graphs(&self) -> MutexGuard<'_, Graphs> {
        self.graphs.lock().expect("no holder of the lock panics")
    }
}

/// The name of a scale in the protocol.
fn name(scale: Scale) -> &'static str {
    match scale {
        Scale::Full => "full",
        Scale::Probe => "probe",
        Scale::Thin => "thin",
    }
}

fn lower(plugin: &mut Plugin, genotype: &Genotype, scale: Scale) -> Result<Graph, NoGraph> {
    let params = json!({"genotype": genotype, "scale": name(scale)});
    let lowered: Lowered = plugin.ask_for("lower", &params).map_err(|error| match error {
        PluginError::Refused { code: 1, message, .. } => NoGraph::Dead(message),
        error => {
            tracing::warn!("{error}");
            NoGraph::Failed(error.to_string())
        }
    })?;
    Graph::from_json(&lowered.graph)
        .map_err(|error| NoGraph::Failed(plugin.answer("lower", error.to_string()).to_string()))
}

/// Holds a graph's input and output against what its space says.
fn expected(graph: &Graph, input: Option<[usize; 3]>, classes: usize) -> Result<[usize; 3], String> {
    let Shape::Map { channels, height, width } = graph.input_shape() else {
        return Err("graph: input: expected [channels, height, width]".to_owned());
    };
    let found = [channels, height, width];
    if let Some(input) = input.filter(|input| *input != found) {
        return Err(format!("graph: input: {found:?}, expected {input:?}"));
    }
    match graph.output_shape() {
        Shape::Vector(features) if features == classes => Ok(found),
        other => Err(format!("graph: output: {other}, expected [{classes}], the classes")),
    }
}

impl SearchSpace {
    /// Opens the space of a plugin.
    ///
    /// # Errors
    /// If it can't be started, or its first networks are none.
    pub fn of_plugin(found: Found, options: Options) -> Result<Self, SpaceError> {
        found.manifest.expect(&[Kind::Space])?;
        let (name, description) = (found.manifest.name.clone(), found.manifest.description.clone());
        let (version, folder) = (found.manifest.version.clone(), found.folder.clone());
        let mut plugin = Plugin::start(found, Start { options: options.clone(), ..Start::default() })?;
        let facts: SpaceFacts = plugin.facts()?;
        let invalid = |reason: String| SpaceError::Invalid { path: folder.clone(), reason };
        facts.check().map_err(invalid)?;
        // The first one that lives, of those that take one choice wherever they can.
        let most = facts.decisions.iter().map(|decision| decision.choices.len()).max().unwrap_or(0);
        let choice = |choice: usize| {
            let genes = facts.decisions.iter().map(|decision| choice.min(decision.choices.len() - 1) as u8);
            Genotype::new(genes.collect())
        };
        let mut size = |scale: Scale, input: Option<[usize; 3]>| -> Result<NetworkSize, SpaceError> {
            let lowered = (0..most).map(|at| lower(&mut plugin, &choice(at), scale));
            let graph = lowered.into_iter().find(|graph| !matches!(graph, Err(NoGraph::Dead(_))));
            let graph = match graph {
                Some(Ok(graph)) => graph,
                Some(Err(NoGraph::Failed(reason) | NoGraph::Dead(reason))) => return Err(invalid(reason)),
                None => return Err(invalid("all architectures of one operator are dead".to_owned())),
            };
            let input = expected(&graph, input, facts.classes);
            let input = input.map_err(|reason| invalid(format!("`lower`, scale {}: {reason}", self::name(scale))))?;
            let width = WIDTHS[scale as usize];
            Ok(NetworkSize { input, classes: facts.classes, width, depth: None, stages: None, stem: true })
        };
        let networks = Networks {
            full: size(Scale::Full, Some(facts.input))?,
            probe: size(Scale::Probe, None)?,
            thin: size(Scale::Thin, None)?,
        };
        let definition = json!({"plugin": {"name": name, "version": version, "options": options}, "says": facts});
        let (plugin, graphs) = (Arc::new(Mutex::new(plugin)), Arc::default());
        let topology = Topology::Plugin(PluginSpace { facts, plugin, graphs });
        let mut space = Self {
            name,
            description,
            networks,
            stem: vec![],
            head: vec![],
            topology,
            constraints: vec![],
            precisions: None,
            choices: vec![],
            text: definition.to_string(),
            definition,
        };
        space.recount().map_err(|reason| SpaceError::Invalid { path: PathBuf::from(&space.name), reason })?;
        Ok(space)
    }

    /// Whether the space's plugin draws by itself (capability `sample`), and whether it changes genotypes (`mutate`).
    pub(super) fn plugin_varies(&self) -> (bool, bool) {
        let Topology::Plugin(of) = &self.topology else { return (false, false) };
        let plugin = of.plugin();
        (plugin.can("sample"), plugin.can("mutate"))
    }

    /// A genotype as the space's plugin draws it; none where there is none.
    pub(super) fn draw_by_plugin(&self, seed: u64) -> Option<Genotype> {
        let Topology::Plugin(of) = &self.topology else { return None };
        let drawn: Sampled = of.vary("sample", &json!({"seed": seed, "count": 1}))?;
        of.genotype(drawn.genotypes.into_iter().next()?)
    }

    /// A genotype as the space's plugin changes it; none where it does not.
    pub(super) fn mutate_by_plugin(&self, genotype: &Genotype, seed: u64) -> Option<Genotype> {
        let Topology::Plugin(of) = &self.topology else { return None };
        let mutated: Mutated = of.vary("mutate", &json!({"genotype": genotype, "seed": seed}))?;
        of.genotype(mutated.genotype)
    }

    /// Whether it is a plugin's.
    pub fn is_plugin(&self) -> bool {
        matches!(self.topology, Topology::Plugin(_))
    }
}
