//! A runtime that misbehaves on request, to test those who have to live with one.
//!
//! The model file is text, one instruction a line, followed in order by every run: `sleep_us 500`,
//! `allocate 100000` (MiB, written to), `fail MESSAGE`, `hang`, `crash`; and what a stranger's model might try: `read FILE`,
//! `write FILE`, `connect HOST:PORT`, `execute PROGRAM`, `kill PID`, which fail where they are refused. `after 60 crash` leaves the first 60 runs
//! alone. A line that starts with `load` is followed once, by [`Runtime::prepare`]. An empty file is a model that does nothing, well.
//!
//! With an ONNX file it does nothing, except where the options of the profile's execution provider say otherwise:
//! `{Conv 9: crash}` has every run of a model with exactly 9 `Conv` nodes follow that instruction, and
//! `{unavailable: REASON}` has the runtime not be there. `{fallback: Softmax}` leaves the nodes of that operator to
//! another provider.

use super::{NamedTensor, Runtime, RuntimeError, RuntimeInfo, Session, SessionOptions, Values, inputs};
use crate::onnx::{ModelInfo, decode, inspect, operator_nodes};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

/// The runtime of [`RuntimeKind::Mock`](super::RuntimeKind::Mock).
#[derive(Clone, Copy, Debug)]
pub struct MockRuntime;

impl Runtime for MockRuntime {
    fn info(&self) -> RuntimeInfo {
        RuntimeInfo { name: "mock".into(), version: env!("CARGO_PKG_VERSION").into(), library: None }
    }

    fn check(&self, options: &SessionOptions) -> Result<(), RuntimeError> {
        match options.execution_provider.as_ref().and_then(|provider| provider.options.get("unavailable")) {
            Some(reason) => Err(RuntimeError::Unavailable(reason.clone())),
            None => Ok(()),
        }
    }

    fn prepare(&self, model: &Path, options: &SessionOptions) -> Result<Box<dyn Session>, RuntimeError> {
        let failed = |reason: String| RuntimeError::Prepare { model: model.to_owned(), reason };
        let bytes = std::fs::read(model).map_err(|error| failed(error.to_string()))?;
        let input = NamedTensor { name: "input".into(), dims: vec![1], values: Values::F32(vec![0.0]) };
        let mut session = MockSession { specs: vec![input], ..MockSession::default() };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                session.assign(model, options).map_err(failed)?;
                instructions(&inspect(model).map_err(|error| failed(error.to_string()))?, options)
            }
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix("load ") {
                Some(line) => {
                    let instruction = Instruction::parse(line).map_err(failed)?;
                    instruction.follow(&mut session.memory).map_err(failed)?;
                }
                None => session.instructions.push(delayed(line).map_err(failed)?),
            }
        }
        Ok(Box::new(session))
    }
}

/// What the options say of a model with these operators.
fn instructions(info: &ModelInfo, options: &SessionOptions) -> String {
    let rules = options.execution_provider.iter().flat_map(|provider| &provider.options);
    let applies = |rule: &str| info.operators.iter().any(|(operator, count)| rule == format!("{operator} {count}"));
    rules.filter(|(rule, _)| applies(rule)).map(|(_, instruction)| format!("{instruction}\n")).collect()
}

#[derive(Default)]
struct MockSession {
    specs: Vec<NamedTensor>,
    /// With the number of runs that are left alone.
    instructions: Vec<(usize, Instruction)>,
    runs: usize,
    memory: Vec<Vec<u8>>,
    nodes: BTreeMap<String, usize>,
    fallen_back: Vec<String>,
}

impl MockSession {
    /// Leaves the nodes of the operator that the option `fallback` names to another provider.
    fn assign(&mut self, model: &Path, options: &SessionOptions) -> Result<(), String> {
        let Some(provider) = &options.execution_provider else { return Ok(()) };
        let Some(operator) = provider.options.get("fallback") else { return Ok(()) };
        let proto = decode(model).map_err(|error| error.to_string())?;
        let nodes = proto.graph.as_ref().map(operator_nodes).unwrap_or_default();
        let (fallen, own): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node.op_type == *operator);
        self.fallen_back = fallen.iter().map(|node| format!("{} ({operator})", node.name)).collect();
        if let Some(first) = self.fallen_back.first().filter(|_| !provider.allow_fallback) {
            return Err(format!("execution provider `{}` does not run {first}", provider.name));
        }
        self.nodes = [("other".to_owned(), fallen.len()), (provider.name.clone(), own.len())].into();
        Ok(())
    }
}

impl Session for MockSession {
    fn inputs(&self) -> &[NamedTensor] {
        &self.specs
    }

    fn bind(&mut self, inputs: Vec<NamedTensor>) -> Result<(), RuntimeError> {
        inputs::check(&self.specs, inputs).map(|_| ())
    }

    fn run(&mut self) -> Result<(), RuntimeError> {
        self.runs += 1;
        let mut due = self.instructions.iter().filter(|each| self.runs > each.0);
        due.try_for_each(|each| each.1.follow(&mut self.memory)).map_err(RuntimeError::Run)
    }

    fn outputs(&mut self) -> Result<Vec<NamedTensor>, RuntimeError> {
        self.run()?;
        Ok(vec![NamedTensor { name: "output".into(), dims: vec![1], values: Values::F32(vec![0.0]) }])
    }

    fn nodes_by_provider(&self) -> BTreeMap<String, usize> {
        self.nodes.clone()
    }

    fn fallen_back(&self) -> Vec<String> {
        self.fallen_back.clone()
    }
}

/// An instruction, and after how many runs it holds.
fn delayed(line: &str) -> Result<(usize, Instruction), String> {
    let Some(rest) = line.strip_prefix("after ") else { return Ok((0, Instruction::parse(line)?)) };
    let (runs, line) = rest.split_once(' ').unwrap_or((rest, ""));
    let runs = runs.parse().map_err(|_| format!("`after {rest}`: expected a whole number after `after`"))?;
    Ok((runs, Instruction::parse(line)?))
}

enum Instruction {
    Crash,
    Hang,
    Sleep(Duration),
    Allocate {
        mebibytes: usize,
    },
    Fail(String),
    /// Something that a model has no business with.
    Attempt(Attempt, String),
}

#[derive(Clone, Copy)]
enum Attempt {
    Read,
    Write,
    Connect,
    Execute,
    Kill,
}

impl Attempt {
    fn make(self, what: &str) -> std::io::Result<()> {
        match self {
            Self::Read => std::fs::read(what).map(drop),
            Self::Write => std::fs::write(what, "written"),
            Self::Connect => std::net::TcpStream::connect(what).map(drop),
            Self::Execute => std::process::Command::new(what).status().map(drop),
            Self::Kill => kill(what),
        }
    }
}

#[cfg(unix)]
fn kill(pid: &str) -> std::io::Result<()> {
    let pid = pid.parse().map_err(std::io::Error::other)?;
    // SAFETY: signal 0 asks whether the process could be killed, and does no more.
    match unsafe { libc::kill(pid, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(not(unix))]
fn kill(_pid: &str) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

impl Instruction {
    fn parse(line: &str) -> Result<Self, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let number =
            || rest.trim().parse::<u64>().map_err(|_| format!("`{line}`: expected a whole number after `{word}`"));
        match word {
            "crash" => Ok(Self::Crash),
            "hang" => Ok(Self::Hang),
            "sleep_us" => Ok(Self::Sleep(Duration::from_micros(number()?))),
            "allocate" => Ok(Self::Allocate { mebibytes: number()? as usize }),
            "fail" => Ok(Self::Fail(rest.into())),
            "read" => Ok(Self::Attempt(Attempt::Read, rest.into())),
            "write" => Ok(Self::Attempt(Attempt::Write, rest.into())),
            "connect" => Ok(Self::Attempt(Attempt::Connect, rest.into())),
            "execute" => Ok(Self::Attempt(Attempt::Execute, rest.into())),
            "kill" => Ok(Self::Attempt(Attempt::Kill, rest.into())),
            _ => Err(format!(
                "`{line}`: expected crash, hang, sleep_us, allocate, fail, read, write, connect, execute or kill"
            )),
        }
    }

    fn follow(&self, memory: &mut Vec<Vec<u8>>) -> Result<(), String> {
        match self {
            Self::Crash => std::process::abort(),
            Self::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            Self::Sleep(time) => std::thread::sleep(*time),
            Self::Fail(message) => return Err(message.clone()),
            Self::Attempt(attempt, what) => return attempt.make(what).map_err(|error| format!("{what}: {error}")),
            Self::Allocate { mebibytes } => {
                memory.clear();
                for _ in 0..*mebibytes {
                    let mut block = vec![];
                    block.try_reserve_exact(MIB).map_err(|error| format!("out of memory: {error}"))?;
                    block.resize(MIB, 0);
                    // Memory that is never written to is not there.
                    block.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
                    memory.push(block);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<(), RuntimeError> {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m");
        std::fs::write(&model, text).unwrap();
        MockRuntime.prepare(&model, &SessionOptions::default())?.run()
    }

    #[test]
    fn it_does_as_it_is_told() {
        assert!(run("").is_ok());
        assert!(run("load sleep_us 1\nallocate 2\nsleep_us 1").is_ok());
        assert_eq!(run("fail on request").unwrap_err().to_string(), "run failed: on request");
        assert!(run("load fail early").unwrap_err().to_string().ends_with("/m: early"));
        assert!(run("sleep_us long").unwrap_err().to_string().contains("expected a whole number after `sleep_us`"));
        assert!(run("dance").unwrap_err().to_string().contains("`dance`: expected crash"));
    }
}
