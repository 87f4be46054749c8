//! Whether a plugin keeps to the protocol: one check after the other, each with its reason where it fails.

mod exercise;

use crate::plugin::{self, BAD_PARAMS, Found, Kind, PARSE_ERROR, Plugin, PluginError, Start, UNKNOWN_METHOD};
use exercise::Exercise;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A method that no plugin has.
const NO_METHOD: &str = "tegu-conformance-no-such-method";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it is to be.
    Passed,
    /// Not so.
    Failed,
    /// There was nothing to be checked, or no way to.
    Skipped,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found; of a failure, the reason.
    pub note: String,
}

/// What came of all checks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conformance {
    /// The plugin, as it was asked for.
    pub plugin: String,
    /// Its kind, once its manifest was read.
    pub kind: Option<Kind>,
    /// Its version.
    pub version: Option<String>,
    /// Where it is.
    pub folder: Option<PathBuf>,
    /// Whether none failed.
    pub passed: bool,
    /// What was checked, in order.
    pub checks: Vec<Check>,
}

/// The checks so far.
#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn note(&mut self, name: &'static str, found: Result<String, String>) {
        let outcome = if found.is_ok() { Outcome::Passed } else { Outcome::Failed };
        self.0.push(Check { name, outcome, note: found.unwrap_or_else(|reason| reason) });
    }

    fn skip(&mut self, name: &'static str, reason: &str) {
        self.0.push(Check { name, outcome: Outcome::Skipped, note: reason.to_owned() });
    }
}

/// Checks the plugin of this name, or at this path.
pub fn check(name: &str) -> Conformance {
    let mut checks = Checks::default();
    let found = plugin::find(name, &[]);
    let read = found.as_ref().map_or_else(|error| Err(error.to_string()), |found| Ok(described(found)));
    checks.note("manifest", read);
    if let Ok(found) = &found {
        check_found(found, &mut checks);
    }
    let manifest = found.as_ref().ok().map(|found| &found.manifest);
    Conformance {
        plugin: name.to_owned(),
        kind: manifest.map(|manifest| manifest.kind),
        version: manifest.map(|manifest| manifest.version.clone()),
        folder: found.as_ref().ok().map(|found| found.folder.clone()),
        passed: checks.0.iter().all(|check| check.outcome != Outcome::Failed),
        checks: checks.0,
    }
}

fn described(found: &Found) -> String {
    format!("{} {} at {}", found.manifest.kind, found.manifest.version, found.folder.display())
}

fn check_found(found: &Found, checks: &mut Checks) {
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(error) => return checks.note("initialize", Err(format!("no temporary folder: {error}"))),
    };
    let begun = begin(found).and_then(|mut plugin| {
        let exercise = Exercise::new(&mut plugin, scratch.path())?;
        Ok((plugin, exercise))
    });
    let (mut plugin, exercise) = match begun {
        Ok(begun) => begun,
        Err(error) => return checks.note("initialize", Err(error.to_string())),
    };
    checks.note("initialize", Ok("protocol, name and version are as they should be".to_owned()));
    let begin_s = Instant::now();
    let answers = exercise.run(&mut plugin);
    let elapsed_s = begin_s.elapsed().as_secs_f64();
    checks.note(exercise.name(), answers.as_ref().map(|found| found.note.clone()).map_err(Clone::clone));
    match &answers {
        _ if found.manifest.kind == Kind::Device => checks.skip("determinism", "measurements differ"),
        _ if plugin.can("measured") => checks.skip("determinism", "capability `measured`"),
        Ok(first) => checks.note("determinism", again(&exercise, found, &mut plugin, &first.answers)),
        Err(_) => checks.skip("determinism", "there are no answers to compare"),
    }
    checks.note("unknown method", refused(&mut plugin, NO_METHOD, &json!({}), Some(UNKNOWN_METHOD)));
    for (method, params) in exercise.bad_params() {
        checks.note("bad parameters", refused(&mut plugin, method, &params, None));
    }
    checks.note("a line that is no JSON", garbage(&mut plugin));
    let limit_s = found.manifest.limits.time_s;
    match answers.is_ok() {
        true => checks.note("limits", Ok(format!("{elapsed_s:.3} s for all of that, {limit_s} s for each call"))),
        false => checks.skip("limits", "there are no answers"),
    }
    checks.note(
        "shutdown",
        plugin.shut_down().map(|()| "it ended by itself".to_owned()).map_err(|error| error.to_string()),
    );
}

/// Starts the plugin with its own options and the conformance suite's seed.
fn begin(found: &Found) -> Result<Plugin, PluginError> {
    let options = found.manifest.options.clone();
    Plugin::start(found.clone(), Start { options, seed: 1, more: exercise::more(found.manifest.kind) })
}

/// Whether the same is answered again, and by another process.
fn again(exercise: &Exercise, found: &Found, plugin: &mut Plugin, first: &[Value]) -> Result<String, String> {
    let same = |second: Vec<Value>, who: &str| match first.iter().zip(&second).find(|(first, second)| first != second) {
        Some((first, second)) => Err(format!("answered {first} first, {second} {who}")),
        None if first.len() != second.len() => {
            Err(format!("answered {} times first, {} {who}", first.len(), second.len()))
        }
        None => Ok(()),
    };
    if exercise.repeats_in_one_process() {
        same(exercise.run(plugin)?.answers, "the second time")?;
    }
    let mut other = begin(found).map_err(|error| error.to_string())?;
    same(exercise.run(&mut other)?.answers, "in a new process")?;
    Ok("the same calls have the same answers, in a new process as well".to_owned())
}

/// Whether a call that can't be answered is refused, with this code, and the process lives on.
fn refused(plugin: &mut Plugin, method: &str, params: &Value, code: Option<i64>) -> Result<String, String> {
    let called = format!("`{method}` {params}");
    let found = match plugin.call(method, params) {
        Err(PluginError::Refused { code, message, .. }) => (code, message),
        Err(error) => return Err(format!("{called}: {error}")),
        Ok(answer) => return Err(format!("{called}: answered {answer}, expected an error")),
    };
    if let Some(expected) = code.filter(|expected| *expected != found.0) {
        return Err(format!("{called}: error {} ({}), expected {expected}", found.0, found.1));
    }
    alive(plugin).map_err(|error| format!("after {called}: {error}"))?;
    let usual = if found.0 == BAD_PARAMS || code.is_some() { "" } else { " (usual: -32602)" };
    Ok(format!("{called}: error {}{usual}", found.0))
}

fn garbage(plugin: &mut Plugin) -> Result<String, String> {
    match plugin.call_raw("this is no JSON") {
        Err(PluginError::Refused { code: PARSE_ERROR, .. }) => {}
        Err(PluginError::Refused { code, .. }) => return Err(format!("error {code}, expected {PARSE_ERROR}")),
        Err(error) => return Err(error.to_string()),
        Ok(answer) => return Err(format!("answered {answer}, expected error {PARSE_ERROR}")),
    }
    alive(plugin).map_err(|error| format!("afterwards: {error}"))?;
    Ok(format!("error {PARSE_ERROR}, and it goes on"))
}

/// Whether the same process still answers.
fn alive(plugin: &mut Plugin) -> Result<(), PluginError> {
    match plugin.call_in_one_life(NO_METHOD, &json!({})) {
        Ok(_) | Err(PluginError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A path as JSON.
fn path(path: &Path) -> Value {
    json!(path)
}
