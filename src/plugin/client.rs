//! A plugin at work: its process, what it was told at the start, and one call after the other.

use super::message::{self, Message, quoted};
use super::{Found, Limits, Manifest, Options, PluginError};
use crate::process::{Heard, Process, WATCH, describe};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Version of the messages.
pub const PROTOCOL: u64 = 1;

/// How long a plugin may take to end after it was asked to.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// What a plugin is told at the start, beside what all are.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// All of its options.
    pub options: Options,
    /// What its randomness is to come from.
    pub seed: u64,
    /// What its kind needs to know.
    pub more: Map<String, Value>,
}

/// What every plugin says of itself at the start.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Facts {
    /// Version of the messages that it speaks.
    pub protocol: u64,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it can do here, beyond what its kind must.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// A plugin that was started. Dropping it ends the process.
pub struct Plugin {
    found: Found,
    start: Start,
    limits: Limits,
    process: Option<Process>,
    /// Its answer to `initialize`.
    facts: Value,
    scratch: TempDir,
    last_id: u64,
}

impl Plugin {
    /// Starts a plugin and initializes it.
    ///
    /// # Errors
    /// [`PluginError::Start`] with the reason why it can't be used at all.
    pub fn start(found: Found, start: Start) -> Result<Self, PluginError> {
        let limits = found.manifest.limits.clone();
        Self::start_within(found, start, limits)
    }

    /// [`Plugin::start`] with other limits than its manifest's, where those are tighter.
    ///
    /// # Errors
    /// As [`Plugin::start`].
    pub fn start_within(found: Found, start: Start, limits: Limits) -> Result<Self, PluginError> {
        let own = &found.manifest.limits;
        let limits =
            Limits { time_s: limits.time_s.min(own.time_s), memory_mib: limits.memory_mib.min(own.memory_mib) };
        let scratch = tempfile::tempdir().map_err(|error| PluginError::Start {
            plugin: found.manifest.name.clone(),
            reason: format!("no folder of its own: {error}"),
        })?;
        let mut plugin = Self { found, start, limits, process: None, facts: Value::Null, scratch, last_id: 0 };
        plugin.launch()?;
        Ok(plugin)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.manifest().name
    }

    /// What its manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.found.manifest
    }

    /// Where it is.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// All of its options.
    pub fn options(&self) -> &Options {
        &self.start.options
    }

    /// What it said of itself at the start.
    ///
    /// # Errors
    /// [`PluginError::Start`] if that lacks what a `T` has.
    pub fn facts<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        T::deserialize(&self.facts)
            .map_err(|error| self.no_start(format!("`initialize`: {error}, in {}", quoted(&self.facts.to_string()))))
    }

    /// Whether it said at the start that it can do this.
    pub fn can(&self, capability: &str) -> bool {
        self.facts["capabilities"].as_array().is_some_and(|all| all.iter().any(|one| one == capability))
    }

    /// Asks for something and waits for the answer. A process that ended since the last call is replaced by a new one.
    ///
    /// # Errors
    /// With the reason why there is no answer; the plugin can be asked again.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, PluginError> {
        if self.process.as_mut().is_none_or(Process::has_ended) {
            if self.process.take().is_some() {
                tracing::warn!("plugin `{}` has ended between two calls, it is started again", self.name());
            }
            self.launch()?;
        }
        self.ask(method, params)
    }

    /// [`Plugin::call`] of the process that was there before: one that ended in between is an error.
    ///
    /// # Errors
    /// As [`Plugin::call`].
    pub fn call_in_one_life(&mut self, method: &str, params: &Value) -> Result<Value, PluginError> {
        match self.process.is_none() {
            true => Err(self.answer(method, "has ended before".to_owned())),
            false => self.ask(method, params),
        }
    }

    /// Replaces the process by a new one, which knows nothing of earlier calls.
    ///
    /// # Errors
    /// [`PluginError::Start`] if it can't be started again.
    pub fn restart(&mut self) -> Result<(), PluginError> {
        self.process = None;
        self.launch()
    }

    /// [`Plugin::call`], with an answer of this form.
    ///
    /// # Errors
    /// As [`Plugin::call`]; [`PluginError::Answer`] if the answer is of another form.
    pub fn ask_for<T: DeserializeOwned>(&mut self, method: &str, params: &Value) -> Result<T, PluginError> {
        let answer = self.call(method, params)?;
        let found = quoted(&answer.to_string());
        T::deserialize(answer).map_err(|error| self.answer(method, format!("answered `{found}`: {error}")))
    }

    /// Sends a line that need not be a request, and waits for the response to no request.
    ///
    /// # Errors
    /// As [`Plugin::call`].
    pub(crate) fn call_raw(&mut self, line: &str) -> Result<Value, PluginError> {
        if self.process.is_none() {
            self.launch()?;
        }
        self.exchange("a line that is no JSON", line, None)
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// If it does not within two seconds, or ends otherwise than with exit code 0. Then it is ended by force.
    pub fn shut_down(mut self) -> Result<(), PluginError> {
        if self.process.is_none() {
            self.launch()?;
        }
        let begin = Instant::now();
        self.limits.time_s = FAREWELL.as_secs_f64();
        let late = |plugin: &Self| plugin.answer("shutdown", format!("not done within {} s", FAREWELL.as_secs()));
        let answer = match self.ask("shutdown", &json!({})) {
            Err(PluginError::TimeLimit { .. }) => return Err(late(&self)),
            other => other?,
        };
        if !answer.is_null() {
            return Err(self.answer("shutdown", format!("answered `{}`, expected null", quoted(&answer.to_string()))));
        }
        let mut process = self.process.take().expect("it has answered");
        match process.ended_within(FAREWELL.saturating_sub(begin.elapsed())) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.answer("shutdown", format!("{}, expected code 0", describe(status)))),
            None => Err(late(&self)),
        }
    }

    /// Starts the process and initializes it.
    fn launch(&mut self) -> Result<(), PluginError> {
        let Manifest { name, kind, version, command, .. } = &self.found.manifest;
        let own = self.found.folder.join(&command[0]);
        let program = if own.is_file() { own.into_os_string() } else { command[0].clone().into() };
        let mut started = Command::new(&program);
        started.args(&command[1..]).current_dir(&self.found.folder).env("RUST_BACKTRACE", "0");
        let process = Process::start(started, &format!("plugin {name}"));
        let process = process.map_err(|error| self.no_start(format!("`{}`: {error}", program.to_string_lossy())))?;
        self.process = Some(process);
        let mut params = json!({
            "protocol": PROTOCOL,
            "tegu": env!("CARGO_PKG_VERSION"),
            "kind": kind,
            "options": self.start.options,
            "folder": self.scratch.path(),
            "seed": self.start.seed,
        });
        let map = params.as_object_mut().expect("it is an object");
        map.extend(self.start.more.iter().map(|(key, value)| (key.clone(), value.clone())));
        let (name, version) = (name.clone(), version.clone());
        // Its own reason, without its name before it a second time.
        let reason = |error: PluginError| match error {
            PluginError::Start { reason, .. } => reason,
            PluginError::Answer { reason, .. } => format!("`initialize`: {reason}"),
            PluginError::Refused { code, message, .. } => format!("{message} (`initialize`, error {code})"),
            PluginError::Crashed { how, last_words, .. } => format!("it {how} in `initialize`{last_words}"),
            PluginError::TimeLimit { limit_s, last_words, .. } => {
                format!("`initialize` not done within {limit_s} s, its `limits.time_s`{last_words}")
            }
            other => other.to_string(),
        };
        let begun = self.ask("initialize", &params);
        self.facts = begun.map_err(|error| self.no_start(reason(error)))?;
        // A process that is not to be used is not kept.
        let process = self.process.take();
        let facts: Facts = self.facts()?;
        let expected = [
            ("protocol", facts.protocol.to_string(), PROTOCOL.to_string()),
            ("name", facts.name, name),
            ("version", facts.version, version),
        ];
        if let Some((field, found, expected)) = expected.iter().find(|(_, found, expected)| found != expected) {
            return Err(self.no_start(format!("`initialize`: {field}: {found}, expected {expected}")));
        }
        self.process = process;
        Ok(())
    }

    fn ask(&mut self, method: &str, params: &Value) -> Result<Value, PluginError> {
        self.last_id += 1;
        let id = self.last_id;
        self.exchange(method, &message::request(id, method, params), Some(id))
    }

    /// Sends a line and waits for the response of this id. Unless there is one, the process is ended.
    fn exchange(&mut self, method: &str, line: &str, expected: Option<u64>) -> Result<Value, PluginError> {
        let plugin = self.name().to_owned();
        let mut process = self.process.take().expect("it was launched");
        let crashed = |process: Process| {
            let (how, last_words) = process.end();
            PluginError::Crashed { plugin: plugin.clone(), method: method.to_owned(), how, last_words }
        };
        if !process.send(line) {
            return Err(crashed(process));
        }
        let (begin, mut looked) = (Instant::now(), Instant::now());
        loop {
            match process.wait(WATCH) {
                Heard::Line(line) if line.trim().is_empty() => {}
                Heard::Line(line) => match message::parse(&line) {
                    Ok(Message::Notification { method, params }) => note(&plugin, &method, &params),
                    Ok(Message::Response { id, outcome }) if id == expected => {
                        self.process = Some(process);
                        return outcome.map_err(|(code, message)| {
                            let method = method.to_owned();
                            PluginError::Refused { plugin, method, code, message }
                        });
                    }
                    Ok(Message::Response { id, .. }) => {
                        let name = |id: Option<u64>| id.map_or("null".to_owned(), |id| id.to_string());
                        let (found, expected) = (name(id), name(expected));
                        return Err(self.answer(method, format!("answered request {found}, expected {expected}")));
                    }
                    Err(reason) => return Err(self.answer(method, reason)),
                },
                Heard::Nothing => {}
                Heard::Gone => return Err(crashed(process)),
            }
            if begin.elapsed().as_secs_f64() > self.limits.time_s {
                let (method, last_words) = (method.to_owned(), process.last_words());
                return Err(PluginError::TimeLimit { plugin, method, limit_s: self.limits.time_s, last_words });
            }
            if looked.elapsed() >= WATCH {
                looked = Instant::now();
                let limit_mib = self.limits.memory_mib;
                if process.memory().is_some_and(|bytes| bytes > limit_mib.saturating_mul(1 << 20)) {
                    return Err(PluginError::MemoryLimit { plugin, method: method.to_owned(), limit_mib });
                }
            }
        }
    }

    fn no_start(&self, reason: String) -> PluginError {
        PluginError::Start { plugin: self.name().to_owned(), reason }
    }

    /// The error of an answer that is not what was expected.
    pub(crate) fn answer(&self, method: &str, reason: String) -> PluginError {
        PluginError::Answer { plugin: self.name().to_owned(), method: method.to_owned(), reason }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // So that it can tidy up; one that does not answer has no process any more.
        if let Some(process) = &mut self.process
            && process.send(&message::request(self.last_id + 1, "shutdown", &json!({})))
        {
            process.ended_within(FAREWELL);
        }
    }
}

/// What a plugin says while a call runs.
fn note(plugin: &str, method: &str, params: &Value) {
    let text = params["message"].as_str().unwrap_or_default();
    match (method, params["level"].as_str()) {
        ("log", Some("error")) => tracing::error!("plugin `{plugin}`: {text}"),
        ("log", Some("warn")) => tracing::warn!("plugin `{plugin}`: {text}"),
        ("log", Some("info")) => tracing::info!("plugin `{plugin}`: {text}"),
        ("log", _) => tracing::debug!("plugin `{plugin}`: {text}"),
        ("progress", _) => tracing::debug!("plugin `{plugin}`: {} done {text}", params["fraction"]),
        _ => tracing::debug!("plugin `{plugin}`: notification `{method}` is not known"),
    }
}
