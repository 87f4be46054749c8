//! A search strategy behind a plugin.
//!
//! ```text
//! tegu    initialize {…, "decisions": [{"name": "1", "choices": ["a", "b"]}], "objectives": [{"name": "x", "direction": "minimize"}]}
//! tegu    ask {"count": 4}                      plugin  {"genotypes": [[0, 1, 2], …]}
//! tegu    tell {"genotype": [0, 1, 2], "costs": [0.5, 2.0], "violation": 0.0}          plugin  null
//! tegu    tell {"genotype": [2, 1, 0], "costs": null, "violation": 0.0}                plugin  null      (it failed)
//! ```
//!
//! A genotype that is out of range, dead, or encodes an architecture that was asked for already is not evaluated: the
//! plugin is told its outcome (none, or that of the architecture), and a uniform draw takes its place, so that the search goes
//! on. A plugin that fails is started again and told all that it was told before; one that fails again is left out, and
//! all the rest are uniform draws.

use super::draws::Draws;
use super::{GeneSpace, Problem, Sampler, SamplerError};
use crate::genotype::{ArchId, Genotype};
use crate::objective::ObjectiveVector;
use crate::plugin::{Kind, Plugin, PluginError, PluginSection, Start};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};

/// What a plugin answers when it is asked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Genotypes, at most as many as were asked for.
    pub genotypes: Vec<Vec<usize>>,
}

/// A sampler whose choices are a plugin's.
pub struct PluginSampler {
    name: String,
    plugin: Plugin,
    /// Why it is asked no more.
    broken: Option<String>,
    draws: Draws,
    rng: ChaCha8Rng,
    /// Every call so far, for a plugin that has to be started again.
    calls: Vec<(&'static str, Value)>,
    /// What was asked for and is not passed on yet, in the order of asking; with the outcome once it is told.
    pending: VecDeque<(Genotype, Option<Value>)>,
    /// Outcomes by architecture; none while they are not known.
    outcomes: HashMap<ArchId, Option<Value>>,
    /// Genotypes of an architecture whose outcome is not known yet.
    repeated: Vec<(ArchId, Vec<usize>)>,
}

impl PluginSampler {
    /// Starts the plugin of a problem that says what its decisions and objectives are called.
    ///
    /// # Errors
    /// [`SamplerError::Plugin`] if it can't be started.
    pub fn new(section: &PluginSection, problem: &Problem, seed: u64) -> Result<Self, SamplerError> {
        let names = problem.names.as_ref().ok_or_else(|| SamplerError::NoNames { sampler: section.name.clone() })?;
        let objectives = names.objectives.iter().map(|name| json!({"name": name, "direction": "minimize"}));
        let more = [
            ("decisions".to_owned(), serde_json::to_value(&names.decisions).expect("decisions are JSON")),
            ("objectives".to_owned(), objectives.collect()),
        ];
        let (found, options) = section.find(&names.folder, &[Kind::Sampler])?;
        let plugin = Plugin::start(found, Start { options, seed, more: more.into_iter().collect() })?;
        Ok(Self::of(plugin, problem.space.clone(), seed))
    }

    /// The strategy of a plugin that was told of decisions and objectives at its start.
    pub fn of(plugin: Plugin, space: GeneSpace, seed: u64) -> Self {
        Self {
            name: plugin.name().to_owned(),
            plugin,
            broken: None,
            draws: Draws::new(space),
            rng: ChaCha8Rng::seed_from_u64(seed),
            calls: vec![],
            pending: VecDeque::new(),
            outcomes: HashMap::new(),
            repeated: vec![],
        }
    }

    /// Calls the plugin, again after a failure; none where it can't be asked any more.
    fn call(&mut self, method: &'static str, params: Value) -> Option<Value> {
        if self.broken.is_some() {
            return None;
        }
        self.calls.push((method, params));
        let (_, params) = self.calls.last().expect("one was added");
        let failed = match self.plugin.call_in_one_life(method, params) {
            Ok(answer) => return Some(answer),
            Err(error) => error,
        };
        tracing::warn!("{failed}; it is started again, and told what it was told so far");
        match self.replay() {
            Ok(answer) => Some(answer),
            Err(error) => {
                let reason = "it is asked no more: all further trials are uniform draws";
                tracing::error!("{error}; {reason}");
                self.broken = Some(error.to_string());
                None
            }
        }
    }

    /// Makes all calls once more, of a new process; gives the last one's answer.
    fn replay(&mut self) -> Result<Value, PluginError> {
        self.plugin.restart()?;
        let mut answer = Value::Null;
        for (method, params) in &self.calls {
            answer = self.plugin.call_in_one_life(method, params)?;
        }
        Ok(answer)
    }

    fn pass_on(&mut self, genotype: &[impl Serialize], outcome: &Value) {
        let mut params = outcome.clone();
        params["genotype"] = json!(genotype);
        self.call("tell", params);
    }

    /// What the plugin asks for, as far as it can be evaluated, and how many are missing in it.
    fn asked(&mut self, n: usize) -> (Vec<Genotype>, usize) {
        let Some(answer) = self.call("ask", json!({"count": n})) else { return (vec![], n) };
        let found = match Asked::deserialize(&answer) {
            Ok(found) => found.genotypes,
            Err(error) => {
                tracing::warn!("plugin `{}`: `ask`: {error}: uniform draws take the place", self.name);
                return (vec![], n);
            }
        };
        let (mut taken, mut dropped) = (vec![], 0);
        for genes in found.into_iter().take(n) {
            let genotype = genotype(&genes, self.draws.space().choices());
            let id = genotype.as_ref().and_then(|genotype| self.draws.space().id(genotype));
            match (genotype, id) {
                (Some(genotype), Some(id)) if self.draws.take(&genotype) => {
                    self.outcomes.insert(id, None);
                    taken.push(genotype);
                }
                (_, Some(id)) => {
                    dropped += 1;
                    tracing::warn!("plugin `{}`: asks for {genes:?} again, or for another form of it", self.name);
                    match self.outcomes.get(&id).cloned().flatten() {
                        Some(known) => self.pass_on(&genes, &known),
                        None => self.repeated.push((id, genes)),
                    }
                }
                (known, None) => {
                    dropped += 1;
                    let why = if known.is_some() { "a network whose output is constant" } else { "out of range" };
                    tracing::warn!("plugin `{}`: asks for {genes:?}, {why}", self.name);
                    self.pass_on(&genes, &outcome(None));
                }
            }
        }
        (taken, dropped)
    }
}

/// The genotype of these genes, if there is one.
fn genotype(genes: &[usize], choices: &[usize]) -> Option<Genotype> {
    let fits = genes.len() == choices.len() && genes.iter().zip(choices).all(|(gene, choices)| gene < choices);
    let genes: Result<Vec<u8>, _> = genes.iter().map(|&gene| u8::try_from(gene)).collect();
    genes.ok().filter(|_| fits).map(Genotype::new)
}

fn outcome(vector: Option<&ObjectiveVector>) -> Value {
    json!({
        "costs": vector.map(ObjectiveVector::costs),
        "violation": vector.map_or(0.0, ObjectiveVector::violation),
    })
}

impl Sampler for PluginSampler {
    fn name(&self) -> &str {
        &self.name
    }

    fn ask(&mut self, n: usize) -> Vec<Genotype> {
        if n == 0 {
            return vec![];
        }
        let (mut genotypes, missing) = self.asked(n);
        for _ in 0..missing {
            let Some(drawn) = self.draws.draw(&mut self.rng) else { break };
            if let Some(id) = self.draws.space().id(&drawn) {
                self.outcomes.insert(id, None);
            }
            genotypes.push(drawn);
        }
        self.pending.extend(genotypes.iter().map(|genotype| (genotype.clone(), None)));
        genotypes
    }

    fn tell(&mut self, genotype: &Genotype, vector: Option<&ObjectiveVector>) {
        let open = self.pending.iter_mut().find(|(asked, told)| told.is_none() && asked == genotype);
        let Some((_, told)) = open else { return };
        *told = Some(outcome(vector));
        // In the order of asking, whatever the order of telling.
        while let Some((genotype, Some(found))) = self.pending.pop_front_if(|(_, told)| told.is_some()) {
            self.pass_on(genotype.genes(), &found);
            let Some(id) = self.draws.space().id(&genotype) else { continue };
            let (same, others) = std::mem::take(&mut self.repeated).into_iter().partition(|(of, _)| *of == id);
            self.repeated = others;
            let same: Vec<(ArchId, Vec<usize>)> = same;
            same.iter().for_each(|(_, genes)| self.pass_on(genes, &found));
            self.outcomes.insert(id, Some(found));
        }
    }
}
