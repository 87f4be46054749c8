//! The worker as its client sees it: a child process with two pipes, watched.

use super::message::{PROTOCOL_VERSION, Reply, Request};
use super::worker::Confinement;
use super::{DeviceError, LastWords};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// How long a worker may take to say hello.
const HELLO: Duration = Duration::from_secs(30);

/// Lines of standard error that are kept, and characters of each.
const LAST_LINES: usize = 5;
const LINE_CHARS: usize = 300;

/// A running worker. Dropping it ends the process.
pub(super) struct WorkerProcess {
    child: Child,
    stdin: ChildStdin,
    replies: Receiver<Reply>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: Option<JoinHandle<()>>,
    system: System,
}

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
        let system = System::new().map_err(|error| unusable(format!("can't watch its memory: {error}")))?;
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
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a group of its own: a Ctrl-C in the terminal is the client's to handle.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::arg0(&mut command, "tegu");
        let mut child = command.spawn().map_err(|error| unusable(error.to_string()))?;
        let stdin = child.stdin.take().expect("was asked for");
        let (stdout, errors) =
            (child.stdout.take().expect("was asked for"), child.stderr.take().expect("was asked for"));
        let (sender, replies) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(reply) => {
                        if sender.send(reply).is_err() {
                            break;
                        }
                    }
                    Err(error) => tracing::debug!("worker's output that is no reply: {line:?}: {error}"),
                }
            }
        });
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&stderr);
        let stderr_reader = std::thread::spawn(move || keep_last_lines(errors, &kept));
        let mut worker = Self { child, stdin, replies, stderr, stderr_reader: Some(stderr_reader), system };
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
        // What was said about earlier models is no reason for this one's failure.
        self.stderr.lock().expect("no holder of the lock panics").clear();
        let line = serde_json::to_string(request).expect("requests are plain data");
        self.stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.stdin.flush()).is_ok()
    }

    /// Waits for a reply, at most for `time`.
    pub fn wait(&mut self, time: Duration) -> Waited {
        match self.replies.recv_timeout(time) {
            Ok(reply) => Waited::Reply(reply),
            Err(RecvTimeoutError::Timeout) => Waited::Nothing,
            Err(RecvTimeoutError::Disconnected) => Waited::Gone,
        }
    }

    /// Resident memory in bytes, where the system tells.
    pub fn memory(&mut self) -> Option<u64> {
        let pid = Pid::from_u32(self.child.id());
        let kind = ProcessRefreshKind::nothing().with_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
        Some(self.system.process(pid)?.memory())
    }

    /// Waits a moment for the worker to end, and says how it did and what it said last.
    pub fn end(mut self) -> (String, LastWords) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                _ => break None,
            }
        };
        let how = status.map_or_else(|| "closed its output".to_owned(), describe);
        if let (Some(_), Some(reader)) = (status, self.stderr_reader.take()) {
            // Its end of the pipe is closed, unless a process of its own still has it.
            while !reader.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let lines = self.stderr.lock().expect("no holder of the lock panics").drain(..).collect();
        (how, LastWords(lines))
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the last lines of what is written to `from`, however much that is.
fn keep_last_lines(from: impl Read, kept: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(from);
    let mut bytes = vec![];
    while let Ok(1..) = reader.read_until(b'\n', &mut bytes) {
        let text = String::from_utf8_lossy(&bytes);
        let line: String = text.trim_end().chars().take(LINE_CHARS).collect();
        tracing::debug!("worker: {line}");
        if !line.is_empty() {
            let mut kept = kept.lock().expect("no holder of the lock panics");
            kept.push_back(line);
            if kept.len() > LAST_LINES {
                kept.pop_front();
            }
        }
        bytes.clear();
    }
}

#[cfg(unix)]
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    let Some(signal) = status.signal() else {
        return exited(status);
    };
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV, invalid memory access",
        libc::SIGBUS => "SIGBUS, invalid memory access",
        libc::SIGABRT => "SIGABRT, aborted by its own code",
        libc::SIGILL => "SIGILL, an instruction that this processor does not have",
        libc::SIGFPE => "SIGFPE, arithmetic error",
        libc::SIGKILL => "SIGKILL, killed from outside, perhaps because the system ran out of memory",
        libc::SIGTERM => "SIGTERM, stopped from outside",
        _ => return format!("crashed (signal {signal})"),
    };
    format!("crashed ({name})")
}

#[cfg(not(unix))]
fn describe(status: ExitStatus) -> String {
    exited(status)
}

fn exited(status: ExitStatus) -> String {
    match status.code() {
        // What Rust ends with after a panic.
        Some(101) => "panicked".to_owned(),
        Some(code) => format!("exited with code {code}"),
        None => "ended".to_owned(),
    }
}
