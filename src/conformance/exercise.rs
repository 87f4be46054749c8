//! What each kind of plugin is asked for, of a few candidates of a built-in space.

use super::path;
use crate::device::{DeviceFacts, Times};
use crate::genotype::Genotype;
use crate::graph::Graph;
use crate::indicator::{self, Probes, SettingsSection};
use crate::latency::Protocol;
use crate::network::{Init, Weights};
use crate::onnx::{self, ExportOptions, Metadata};
use crate::plugin::{Kind, Plugin, PluginError};
use crate::sampler::Asked;
use crate::space::{Decision, Mutated, Sampled, Scale, SearchSpace, SpaceFacts};
use crate::study::{Figure, FigureFacts};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// The space that candidates are of, and their architectures.
const SPACE: &str = "tinybench";
const ARCHES: [&str; 3] = [
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|",
    "|skip_connect~0|+|none~0|nor_conv_3x3~1|",
    "|avg_pool_3x3~0|+|skip_connect~0|nor_conv_1x1~1|",
];
/// Rounds of asking and telling, and what is asked for in each.
const ROUNDS: usize = 3;
const COUNT: usize = 4;
/// Genotypes of a space that are lowered.
const LOWERED: usize = 6;

/// What was found.
pub(super) struct Answers {
    /// In a sentence.
    pub note: String,
    /// What is to be the same again.
    pub answers: Vec<Value>,
}

/// What a plugin is asked for.
pub(super) enum Exercise {
    /// To score candidates.
    Figure { requests: Vec<Value> },
    /// To measure models.
    Device { requests: Vec<Value> },
    /// To lower genotypes.
    Space { facts: SpaceFacts },
    /// To search.
    Sampler,
}

/// What a plugin of this kind is told at the start beside what all are.
pub(super) fn more(kind: Kind) -> Map<String, Value> {
    if kind != Kind::Sampler {
        return Map::new();
    }
    let objectives = json!([{"name": "first", "direction": "minimize"}, {"name": "second", "direction": "minimize"}]);
    [("decisions".to_owned(), json!(decisions())), ("objectives".to_owned(), objectives)].into_iter().collect()
}

fn decisions() -> Vec<Decision> {
    let choices = ["a", "b", "c"].map(str::to_owned).to_vec();
    (1..=5).map(|at| Decision { name: at.to_string(), choices: choices.clone() }).collect()
}

impl Exercise {
    /// For this plugin; models are written to `folder`.
    pub(super) fn new(plugin: &mut Plugin, folder: &Path) -> Result<Self, PluginError> {
        Ok(match plugin.manifest().kind {
            Kind::Indicator | Kind::Predictor | Kind::Objective => {
                plugin.facts::<FigureFacts>()?;
                let values = values();
                let requests = candidates(folder).into_iter().zip(&values).map(|(one, values)| one.as_figure(values));
                Self::Figure { requests: requests.collect() }
            }
            Kind::Device => {
                plugin.facts::<DeviceFacts>()?;
                Self::Device { requests: candidates(folder).iter().take(2).map(Candidate::as_job).collect() }
            }
            Kind::Space => {
                let facts: SpaceFacts = plugin.facts()?;
                facts.check().map_err(|reason| plugin.answer("initialize", reason))?;
                Self::Space { facts }
            }
            Kind::Sampler => Self::Sampler,
        })
    }

    /// What the check is called.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Figure { .. } | Self::Device { .. } => "evaluate",
            Self::Space { .. } => "lower",
            Self::Sampler => "ask and tell",
        }
    }

    /// Whether one process is to answer the same a second time: a sampler learns.
    pub(super) fn repeats_in_one_process(&self) -> bool {
        !matches!(self, Self::Sampler)
    }

    /// Calls that can't be answered.
    pub(super) fn bad_params(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Figure { .. } => vec![("evaluate", json!({})), ("evaluate", json!({"candidate": 3}))],
            Self::Device { .. } => vec![("evaluate", json!({})), ("evaluate", json!({"model": {}}))],
            Self::Space { facts } => {
                let beyond: Vec<usize> = facts.decisions.iter().map(|decision| decision.choices.len()).collect();
                vec![("lower", json!({})), ("lower", json!({"genotype": beyond, "scale": "full"}))]
            }
            Self::Sampler => vec![("ask", json!({})), ("tell", json!({"genotype": "a"}))],
        }
    }

    /// Asks for everything.
    pub(super) fn run(&self, plugin: &mut Plugin) -> Result<Answers, String> {
        match self {
            Self::Figure { requests } => figures(plugin, requests),
            Self::Device { requests } => times(plugin, requests),
            Self::Space { facts } => space(plugin, facts),
            Self::Sampler => search(plugin),
        }
    }
}

/// A candidate with its model.
struct Candidate {
    arch: &'static str,
    genotype: Genotype,
    id: String,
    live: Graph,
    model: Value,
    sha256: String,
}

impl Candidate {
    fn as_figure(&self, values: &BTreeMap<String, f64>) -> Value {
        let cost = self.live.cost();
        let mut values = values.clone();
        let more = [("params", cost.params as f64), ("macs", cost.macs as f64), ("quality", 0.5)];
        values.extend(more.map(|(name, value)| (name.to_owned(), value)));
        values.insert("latency_ms@host-cpu-tract".to_owned(), cost.macs as f64 / 1e6);
        json!({"candidate": {
            "id": self.id, "space": SPACE, "arch": self.arch, "genotype": self.genotype, "graph": self.live.to_json(),
            "onnx": self.model, "values": values,
        }})
    }

    fn as_job(&self) -> Value {
        let protocol = Protocol {
            warm_up_s: 0.02,
            rounds: 5,
            max_rounds: 5,
            runs_per_round: 3,
            min_round_s: 0.001,
            budget_s: 0.1,
            ..Protocol::default()
        };
        json!({"model": self.model, "sha256": self.sha256, "batch": 1, "threads": 1, "protocol": protocol})
    }
}

fn built_in() -> (SearchSpace, Vec<Genotype>) {
    let space = SearchSpace::open(SPACE).expect("it comes with Tegu");
    let genotypes = ARCHES.iter().map(|arch| space.parse_arch(arch).expect("it is of the space")).collect();
    (space, genotypes)
}

fn candidates(folder: &Path) -> Vec<Candidate> {
    let (space, genotypes) = built_in();
    let candidate = |(number, (&arch, genotype)): (usize, (&&'static str, Genotype))| {
        let graph = space.lower(&genotype, Scale::Full).expect("it is of the space");
        let live = graph.live().expect("it is alive");
        let cpu = candle_core::Device::Cpu;
        let weights = Weights::random(&live, Init::TorchDefault, 1, &cpu).expect("the CPU holds the weights");
        let model =
            onnx::export(&live, &weights, &Metadata::new(), ExportOptions::default()).expect("it can be exported");
        let file = folder.join(format!("{number}.onnx"));
        let id = space.id(&genotype).expect("it is alive").to_string();
        let saved = model.save(&file);
        // A model that is not there is what the plugin then says it is.
        let _ = saved.inspect_err(|error| tracing::error!("{error}"));
        let bytes = std::fs::read(&file).unwrap_or_default();
        let sha256 = crate::genotype::hex(&Sha256::digest(bytes));
        Candidate { arch, id, live, model: path(&file), sha256, genotype }
    };
    ARCHES.iter().zip(genotypes).enumerate().map(candidate).collect()
}

/// What the TEG indicators say of each candidate.
fn values() -> Vec<BTreeMap<String, f64>> {
    let (space, genotypes) = built_in();
    let mut values = vec![BTreeMap::new(); genotypes.len()];
    let section = SettingsSection { batch: Some(8), networks: Some(1), ..SettingsSection::default() };
    let settings = section.resolve_for(&space, Path::new(""));
    let probes = settings.ok().and_then(|settings| Probes::new(&space, settings, 1, candle_core::Device::Cpu).ok());
    if let Some(probes) = probes {
        let genotypes: Vec<&Genotype> = genotypes.iter().collect();
        let _ = indicator::score_each(&probes, &space, &genotypes, &indicator::teg(), |index, scores, _| {
            let good = scores.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score.ok()?.value)));
            values[index] = good.collect();
            ControlFlow::Continue(())
        });
    }
    values
}

fn text(error: PluginError) -> String {
    error.to_string()
}

fn figures(plugin: &mut Plugin, requests: &[Value]) -> Result<Answers, String> {
    let (mut answers, mut refused) = (vec![], vec![]);
    for (request, arch) in requests.iter().zip(ARCHES) {
        match plugin.ask_for::<Figure>("evaluate", request) {
            Ok(figure) => {
                figure.check().map_err(|reason| format!("{arch}: {reason}"))?;
                answers.push(json!(figure.value));
            }
            Err(PluginError::Refused { code: 1, message, .. }) => {
                answers.push(Value::Null);
                refused.push(message);
            }
            Err(error) => return Err(text(error)),
        }
    }
    if refused.len() == requests.len() {
        return Err(format!("evaluates no candidate of {SPACE}: {}", refused.join("; ")));
    }
    let all: Vec<String> = answers.iter().map(Value::to_string).collect();
    Ok(Answers { note: format!("{} candidates of {SPACE}: {}", all.len(), all.join(", ")), answers })
}

fn times(plugin: &mut Plugin, requests: &[Value]) -> Result<Answers, String> {
    let mut notes = vec![];
    for request in requests {
        let times: Times = plugin.ask_for("evaluate", request).map_err(text)?;
        times.check()?;
        let medians = crate::latency::statistics::round_medians(&times.rounds_ms);
        notes.push(format!("{:.4} ms", crate::latency::statistics::median(&medians)));
    }
    Ok(Answers { note: format!("{} models of {SPACE}: {}", notes.len(), notes.join(", ")), answers: vec![] })
}

fn space(plugin: &mut Plugin, facts: &SpaceFacts) -> Result<Answers, String> {
    let mut answers = vec![];
    // As a search opens it, with all that is checked then.
    let (found, options) = (plugin.found().clone(), plugin.options().clone());
    let space = SearchSpace::of_plugin(found, options).map_err(|error| error.to_string())?;
    let most = facts.decisions.iter().map(|decision| decision.choices.len()).max().unwrap_or(0);
    let genotypes: Vec<Genotype> = (0..LOWERED.min(2 * most))
        .map(|at| {
            let gene =
                |(place, decision): (usize, &Decision)| ((at + (at / most) * place) % decision.choices.len()) as u8;
            Genotype::new(facts.decisions.iter().enumerate().map(gene).collect())
        })
        .collect();
    let (mut living, mut dead) = (0, 0);
    for genotype in &genotypes {
        let arch = space.arch(genotype);
        if space.parse_arch(&arch).ok().as_ref() != Some(genotype) {
            return Err(format!("{arch}: is read as another architecture"));
        }
        for scale in ["full", "probe", "thin"] {
            match plugin.call("lower", &json!({"genotype": genotype, "scale": scale})) {
                Ok(answer) => {
                    Graph::from_json(&answer["graph"]).map_err(|error| format!("{arch}, scale {scale}: {error}"))?;
                    living += 1;
                    answers.push(answer);
                }
                Err(PluginError::Refused { code: 1, .. }) => {
                    dead += 1;
                    answers.push(Value::Null);
                }
                Err(error) => return Err(text(error)),
            }
        }
        if let Err(error) = space.lower(genotype, Scale::Full)
            && answers[answers.len() - 3] != Value::Null
        {
            return Err(error.to_string());
        }
    }
    let drawn = drawn(plugin, facts)?;
    answers.extend(drawn);
    Ok(Answers { note: format!("{living} graphs, {dead} dead, of {} architectures", genotypes.len()), answers })
}

/// Genotypes of a space that draws and varies by itself.
fn drawn(plugin: &mut Plugin, facts: &SpaceFacts) -> Result<Vec<Value>, String> {
    let mut answers = vec![];
    if plugin.can("sample") {
        let sampled: Sampled = plugin.ask_for("sample", &json!({"seed": 1, "count": 3})).map_err(text)?;
        if sampled.genotypes.len() != 3 {
            return Err(format!("`sample`: {} genotypes, expected 3", sampled.genotypes.len()));
        }
        sampled.genotypes.iter().try_for_each(|genes| in_range("sample", genes, &facts.decisions))?;
        answers.push(json!(sampled.genotypes));
    }
    if plugin.can("mutate") {
        let from = vec![0; facts.decisions.len()];
        let mutated: Mutated = plugin.ask_for("mutate", &json!({"genotype": from, "seed": 1})).map_err(text)?;
        in_range("mutate", &mutated.genotype, &facts.decisions)?;
        answers.push(json!(mutated.genotype));
    }
    Ok(answers)
}

fn in_range(method: &str, genes: &[usize], decisions: &[Decision]) -> Result<(), String> {
    let fits = genes.len() == decisions.len()
        && genes.iter().zip(decisions).all(|(&gene, decision)| gene < decision.choices.len());
    if fits { Ok(()) } else { Err(format!("`{method}`: {genes:?}, expected a gene in range for each decision")) }
}

fn search(plugin: &mut Plugin) -> Result<Answers, String> {
    let decisions = decisions();
    let mut answers = vec![];
    for round in 0..ROUNDS {
        let asked: Asked = plugin.ask_for("ask", &json!({"count": COUNT})).map_err(text)?;
        let found = asked.genotypes.len();
        if found > COUNT || (round == 0 && found == 0) {
            return Err(format!("`ask`: {found} genotypes, expected 1 to {COUNT}"));
        }
        for (number, genes) in asked.genotypes.iter().enumerate() {
            in_range("ask", genes, &decisions)?;
            let sum: usize = genes.iter().sum();
            let costs =
                (number != 1).then(|| [sum as f64, genes.iter().map(|gene| (2 - gene).pow(2)).sum::<usize>() as f64]);
            let told = json!({"genotype": genes, "costs": costs, "violation": 0.0});
            let answer = plugin.call("tell", &told).map_err(text)?;
            if !answer.is_null() {
                return Err(format!("`tell`: answered {answer}, expected null"));
            }
        }
        answers.push(json!(asked.genotypes));
    }
    let count: usize = answers.iter().filter_map(Value::as_array).map(Vec::len).sum();
    Ok(Answers { note: format!("{count} genotypes in {ROUNDS} rounds, one of each told to have failed"), answers })
}
