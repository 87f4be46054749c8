//! The worker as its client sees it: a child process that answers requests.

use super::message::{PROTOCOL_VERSION, Reply, Request};
use super::worker::Confinement;
use super::{DeviceError, LastWords};
use crate::process::{Heard, Process};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a worker may take to say hello.
const HELLO: Duration = Duration::from_secs(30);

/// A running worker. Dropping it ends the process.
pub(super) struct WorkerProcess(Process);

/// What came of waiting for a reply.
pub(super) enum Waited {
    /// A reply.
    Reply(Reply),
    /// Nothing within the time.
    Nothing,
    /// The worker closed its output: it has ended, or is about to.
    Gone,
}

impl WorkerProcess {
    /// Starts `executable worker`, confined where it is to be, and waits for its hello.
    pub fn start(executable: &Path, confinement: Option<&Confinement>) -> Result<Self, DeviceError> {
        let unusable = |reason: String| DeviceError::NoWorker { executable: executable.to_owned(), reason };
        let mut command = Command::new(executable);
        command.arg("worker").envs(crate::runtime::WORKER_ENV.iter().copied());
        if let Some(Confinement { folder, readable }) = confinement {
            command
                .arg("--sandbox")
                .arg(folder)
                .args(readable.iter().flat_map(|path| [OsStr::new("--readable"), path.as_os_str()]));
            command.env("TMPDIR", folder);
            // What a stranger's model may reach, it may tell.
            let secret = std::env::vars_os().map(|(name, _)| name);
            secret.filter(|name| name.to_string_lossy().starts_with("TEGU_NATS")).for_each(|name| {
                command.env_remove(name);
            });
        }
        // A backtrace would push a panic's message out of the last words.
        command.env("RUST_BACKTRACE", "0");
        #[cfg(unix)]
        std::os::unix::process::CommandExt::arg0(&mut command, "tegu");
        let mut worker = Self(Process::start(command, "worker").map_err(unusable)?);
        match worker.wait(HELLO) {
            Waited::Reply(Reply::Hello { protocol: PROTOCOL_VERSION, .. }) => Ok(worker),
            Waited::Reply(Reply::Hello { protocol, tegu }) => Err(unusable(format!(
                "is version {tegu} and speaks protocol {protocol}, expected protocol {PROTOCOL_VERSION}"
            ))),
            Waited::Reply(_) => Err(unusable("its first line is not the expected hello".to_owned())),
            Waited::Nothing => Err(unusable(format!("said nothing for {} s", HELLO.as_secs()))),
            Waited::Gone => {
                let (how, last_words) = worker.end();
                Err(unusable(format!("{how} before it said hello{last_words}")))
            }
        }
    }

    /// Sends a request; `false` where the worker is gone.
    pub fn send(&mut self, request: &Request) -> bool {
        self.0.send(&serde_json::to_string(request).expect("requests are plain data"))
    }

    /// Waits for a reply, at most for `time`.
    pub fn wait(&mut self, time: Duration) -> Waited {
        let deadline = Instant::now() + time;
        loop {
            match self.0.wait(deadline.saturating_duration_since(Instant::now())) {
                Heard::Line(line) => match serde_json::from_str(&line) {
                    Ok(reply) => return Waited::Reply(reply),
                    Err(error) => tracing::debug!("worker's output that is no reply: {line:?}: {error}"),
                },
                Heard::Nothing => return Waited::Nothing,
                Heard::Gone => return Waited::Gone,
            }
        }
    }

    /// Resident memory in bytes, where the system tells.
    pub fn memory(&mut self) -> Option<u64> {
        self.0.memory()
    }

    /// Waits a moment for the worker to end, and says how it did and what it said last.
    pub fn end(self) -> (String, LastWords) {
        self.0.end()
    }
}
