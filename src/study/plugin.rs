//! Figures of plugins as objectives of trials: what an indicator, a predictor or an objective says of a candidate, never
//! asked for twice.
//!
//! ```text
//! plugin  initialize → {…, "direction": "maximize", "unit": "nats"}
//! tegu    evaluate {"candidate": {"id", "space", "arch", "genotype", "graph", "onnx", "values"}}
//! plugin  {"value": 0.5, "low": 0.4, "high": 0.6}
//! ```

use super::candidate::Candidate;
use super::store::{IndicatorOutcome, Store};
use super::{ACCURACY, ECE, LATENCY, Plan, StudyError};
use crate::config::PluginObjectiveSection;
use crate::device::{HardwareProfile, Location};
use crate::difference::{Difference, difference};
use crate::indicator::{self, Score};
use crate::objective::{Direction, Objective};
use crate::plugin::{Found, Kind, Options, Plugin, PluginError, Start};
use crate::sampler::SamplerOptions;
use crate::space::SearchSpace;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a figure's plugin says of itself at the start, beside what every plugin does.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FigureFacts {
    /// Which way is better.
    pub direction: Direction,
    /// Unit of its values, for people.
    #[serde(default)]
    pub unit: Option<String>,
}

/// What a plugin says of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// The figure, finite.
    pub value: f64,
    /// The lower end of what it may be.
    #[serde(default)]
    pub low: Option<f64>,
    /// The upper end of what it may be.
    #[serde(default)]
    pub high: Option<f64>,
}

impl Figure {
    /// Checks the numbers.
    ///
    /// # Errors
    /// What was found, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        let (low, high) = (self.low.unwrap_or(self.value), self.high.unwrap_or(self.value));
        if ![low, self.value, high].iter().all(|value| value.is_finite()) || low > self.value || high < self.value {
            return Err(format!(
                "value {}, low {low}, high {high}: expected finite numbers, the value between the others",
                self.value
            ));
        }
        Ok(())
    }
}

/// Which plugin it is to a study: another version, or another option, is another study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginIdentity {
    /// Its name.
    pub name: String,
    /// What it takes part as.
    pub kind: Kind,
    /// Its version.
    pub version: String,
    /// All of its options.
    pub options: Options,
}

impl PluginIdentity {
    /// Of a plugin with these options.
    pub fn new(found: &Found, options: &Options) -> Self {
        let manifest = &found.manifest;
        let (name, version) = (manifest.name.clone(), manifest.version.clone());
        Self { name, kind: manifest.kind, version, options: options.clone() }
    }
}

/// The sampler's plugin, if it is one; paths count from `folder`, too.
pub(super) fn sampler_plugin(sampler: &SamplerOptions, folder: &Path) -> Result<Vec<PluginIdentity>, PluginError> {
    let SamplerOptions::Plugin(section) = sampler else { return Ok(vec![]) };
    let (found, options) = section.find(folder, &[Kind::Sampler])?;
    if SamplerOptions::all().iter().any(|known| known.name() == found.manifest.name) {
        let reason = "has the name of a strategy of Tegu, expected another one".to_owned();
        return Err(PluginError::Invalid { path: found.folder, reason });
    }
    Ok(vec![PluginIdentity::new(&found, &options)])
}

/// The device's plugin, if it is one.
pub(super) fn device_plugin(profile: &HardwareProfile) -> Result<Option<PluginIdentity>, PluginError> {
    let Location::Plugin(section) = &profile.location else { return Ok(None) };
    let (found, options) = section.find(Path::new(""), &[Kind::Device])?;
    Ok(Some(PluginIdentity::new(&found, &options)))
}

/// The space of a stored study, whose config named a plugin: by its path, which counts from the folders above the store,
/// or by its name. It must be what the study was made with.
pub(super) fn space_of_plugin(stored: &Value, store: &Path) -> Result<SearchSpace, StudyError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let options: Options = serde_json::from_value(stored["options"].clone()).unwrap_or_default();
    let bases: Vec<&Path> = store.ancestors().skip(1).collect();
    let named = SearchSpace::open_with(&text(&stored["name"]), &options, &bases);
    let space =
        named.or_else(|_| SearchSpace::open_with(&text(&stored["definition"]["plugin"]["name"]), &options, &[]))?;
    match difference(&stored["definition"], space.definition()) {
        None => Ok(space),
        Some(Difference { field, first, second }) => {
            let reason = format!("config.space.definition.{field}: {first} in the study, {second} in its plugin now");
            Err(StudyError::Stored { path: store.to_owned(), reason })
        }
    }
}

/// A plugin whose figure is an objective or a constraint. It runs from here on.
#[derive(Clone, Debug)]
pub struct PlannedFigure {
    /// Its name, which is the objective's.
    pub name: String,
    /// Whether it is asked before candidates are measured, or when all else is known.
    pub kind: Kind,
    plugin: Arc<Mutex<Plugin>>,
}

impl PlannedFigure {
    /// Starts the plugin of the section, whose path counts from `folder`, too; with the objective that it is.
    pub(super) fn open(
        section: &PluginObjectiveSection,
        folder: &Path,
        seed: u64,
    ) -> Result<(Self, Objective, PluginIdentity), PluginError> {
        let (found, options) = section.plugin().find(folder, &Kind::FIGURES)?;
        let (name, kind) = (found.manifest.name.clone(), found.manifest.kind);
        let own = ["quality", "params", "macs", "size", ACCURACY, ECE, LATENCY];
        if own.contains(&name.as_str()) || indicator::named(&name).is_ok() {
            let reason = "has the name of a figure of Tegu, expected another one".to_owned();
            return Err(PluginError::Invalid { path: found.folder, reason });
        }
        let identity = PluginIdentity::new(&found, &options);
        let plugin = Plugin::start(found, Start { options, seed, ..Start::default() })?;
        let FigureFacts { direction, unit } = plugin.facts()?;
        let (at_most, at_least) = (section.at_most, section.at_least);
        let objective = Objective { unit, at_most, at_least, ..Objective::new(&name, direction) };
        Ok((Self { name, kind, plugin: Arc::new(Mutex::new(plugin)) }, objective, identity))
    }

    /// Whether it is asked when all else is known.
    pub(super) fn is_last(&self) -> bool {
        self.kind == Kind::Objective
    }

    /// Asks for the figure of a sound candidate whose model is there, unless the store has it; stores it, and gives it to the
    /// candidate. One that has none fails.
    pub(super) fn find(
        &self,
        plan: &Plan,
        (store, models): (&mut Store, &Path),
        candidate: &mut Candidate,
        values: &BTreeMap<String, f64>,
    ) -> Result<(), StudyError> {
        let id = candidate.record.arch_id.clone();
        let mut known = store.indicators(&id)?;
        known.retain(|name, _| *name == self.name);
        if known.is_empty() {
            let Some(live) = candidate.sound() else { return Ok(()) };
            let onnx = candidate.model(models);
            let onnx = std::path::absolute(&onnx).map_err(|source| StudyError::File { path: onnx, source })?;
            let params = json!({"candidate": {
                "id": id,
                "space": plan.space.name,
                "arch": candidate.record.arch,
                "genotype": candidate.record.genotype,
                "graph": live.to_json(),
                "onnx": onnx,
                "values": values,
            }});
            let outcome = match self.ask(&params) {
                Ok(value) => IndicatorOutcome::Value(Score { value, networks: vec![value] }),
                // What would fail every candidate.
                Err(error) if error.is_unavailable() => return Err(error.into()),
                Err(error) => IndicatorOutcome::Failed(error.to_string()),
            };
            known = [(self.name.clone(), outcome)].into();
            store.put_indicators(&id, &known)?;
        }
        candidate.take(known);
        Ok(())
    }

    fn ask(&self, params: &Value) -> Result<f64, PluginError> {
        let mut plugin = self.plugin.lock().expect("no holder of the lock panics");
        let figure: Figure = plugin.ask_for("evaluate", params)?;
        match figure.check() {
            Ok(()) => Ok(figure.value),
            Err(reason) => Err(plugin.answer("evaluate", reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_finite_and_between_its_ends() {
        let check = |value: f64, low: Option<f64>, high: Option<f64>, good: bool| {
            assert_eq!(Figure { value, low, high }.check().is_ok(), good, "{value} {low:?} {high:?}");
        };
        check(0.5, None, None, true);
        check(0.5, Some(0.5), Some(0.7), true);
        check(0.5, Some(0.6), None, false);
        check(0.5, None, Some(0.4), false);
        check(f64::NAN, None, None, false);
        check(0.5, None, Some(f64::INFINITY), false);
    }
}
