//! A child process that runs foreign code: lines in, lines out, watched, and never in the way of the one that started it.
//!
//! It has a process group of its own, which is killed as a whole when the [`Process`] is dropped. Its output is read and
//! its input written by threads, so that a child that says nothing, or reads nothing, only makes its client wait, for as
//! long as that wants to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// How often a child's memory and time are to be looked at.
pub(crate) const WATCH: Duration = Duration::from_millis(20);

/// Lines of standard error that are kept, and characters of each.
const LAST_LINES: usize = 5;
const LINE_CHARS: usize = 300;
/// Bytes of the longest line that is read from the output; a longer one ends the reading.
const LONGEST_LINE: u64 = 64 << 20;
/// Lines of output that may wait to be read; then the child has to.
const WAITING_LINES: usize = 1024;
/// How long the end of a child that has closed its output is waited for.
const LEAVING: Duration = Duration::from_secs(5);
/// How often it is looked whether a child has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The last lines that a child wrote to its standard error before it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastWords(pub Vec<String>);

impl std::fmt::Display for LastWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; its last words: {}", self.0.join(" | ")) }
    }
}

/// A running child. Dropping it ends it and what it has started.
pub(crate) struct Process {
    child: Child,
    requests: Sender<String>,
    lines: Receiver<String>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    stderr_reader: Option<JoinHandle<()>>,
    system: System,
}

/// What came of waiting for a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A line of the child's output, without its end.
    Line(String),
    /// Nothing within the time.
    Nothing,
    /// The child closed its output: it has ended, or is about to.
    Gone,
}

impl Process {
    /// Starts `command`; `name` is what its standard error is logged as.
    ///
    /// # Errors
    /// With the reason why it can't be started.
    pub fn start(mut command: Command, name: &str) -> Result<Self, String> {
        let system = System::new().map_err(|error| format!("can't watch its memory: {error}"))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a group of its own: a Ctrl-C in the terminal is the client's to handle.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut stdin = child.stdin.take().expect("was asked for");
        let (stdout, errors) =
            (child.stdout.take().expect("was asked for"), child.stderr.take().expect("was asked for"));
        let (requests, to_write) = channel::<String>();
        std::thread::spawn(move || {
            for line in to_write {
                if stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                    break;
                }
            }
        });
        let (sender, lines) = sync_channel(WAITING_LINES);
        std::thread::spawn(move || read_lines(stdout, |line| sender.send(line).is_ok()));
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let (kept, name) = (Arc::clone(&stderr), name.to_owned());
        let stderr_reader = Some(std::thread::spawn(move || keep_last_lines(errors, &name, &kept)));
        Ok(Self { child, requests, lines, stderr, stderr_reader, system })
    }

    /// Sends a line, which ends in no line break yet; `false` where the child reads no more.
    pub fn send(&mut self, line: &str) -> bool {
        // What was said about earlier requests is no reason for this one's failure.
        self.stderr.lock().expect("no holder of the lock panics").clear();
        self.requests.send(format!("{line}\n")).is_ok()
    }

    /// Waits for a line of output, at most for `time`.
    pub fn wait(&mut self, time: Duration) -> Heard {
        match self.lines.recv_timeout(time) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::Gone,
        }
    }

    /// Resident memory in bytes, where the system tells; that of the process itself.
    pub fn memory(&mut self) -> Option<u64> {
        let pid = Pid::from_u32(self.child.id());
        let kind = ProcessRefreshKind::nothing().with_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
        Some(self.system.process(pid)?.memory())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for it to end by itself, at most for `time`; none if it did not.
    pub fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + time;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
                _ => return None,
            }
        }
    }

    /// Waits a moment for it to end, and says how it did and what it said last.
    pub fn end(mut self) -> (String, LastWords) {
        let deadline = Instant::now() + LEAVING;
        let status = self.ended_within(LEAVING);
        let how = status.map_or_else(|| "closed its output".to_owned(), describe);
        if let (Some(_), Some(reader)) = (status, self.stderr_reader.take()) {
            // Its end of the pipe is closed, unless a process of its own still has it.
            while !reader.is_finished() && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
        }
        (how, self.last_words())
    }

    /// What it wrote to its standard error since the last request.
    pub fn last_words(&self) -> LastWords {
        LastWords(self.stderr.lock().expect("no holder of the lock panics").drain(..).collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What it has started goes as well. All of this fails only where it has ended already.
        #[cfg(unix)]
        if let (Ok(None), Ok(group)) = (self.child.try_wait(), i32::try_from(self.child.id())) {
            // SAFETY: a plain system call; the group is the child's, which has not been waited for.
            unsafe { libc::killpg(group, libc::SIGKILL) };
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, as a phrase: "exited with code 3", "crashed (SIGSEGV, invalid memory access)".
#[cfg(unix)]
pub(crate) fn describe(status: ExitStatus) -> String {
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

/// How a process ended, as a phrase.
#[cfg(not(unix))]
pub(crate) fn describe(status: ExitStatus) -> String {
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

/// Gives each line of `from` to `each` until that has enough of it, or a line is too long.
fn read_lines(from: impl Read, each: impl Fn(String) -> bool) {
    let mut reader = BufReader::new(from);
    loop {
        let mut bytes = vec![];
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
            Ok(1..) if bytes.len() as u64 == LONGEST_LINE && bytes.last() != Some(&b'\n') => return,
            Ok(1..) => {}
            _ => return,
        }
        if !each(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned()) {
            return;
        }
    }
}

/// Keeps the last lines of what is written to `from`, however much that is.
fn keep_last_lines(from: impl Read, name: &str, kept: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(from);
    let mut bytes = vec![];
    // A line without an end is cut, so that it takes no memory.
    while let Ok(1..) = reader.by_ref().take(1 << 16).read_until(b'\n', &mut bytes) {
        let text = String::from_utf8_lossy(&bytes);
        let line: String = text.trim_end().chars().take(LINE_CHARS).collect();
        tracing::debug!("{name}: {line}");
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
#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, "sh").unwrap()
    }

    #[test]
    fn lines_go_both_ways() {
        let mut process = shell("while read line; do echo \"<$line>\"; done");
        for word in ["a", "b c", "ü"] {
            assert!(process.send(word));
            assert_eq!(process.wait(Duration::from_secs(10)), Heard::Line(format!("<{word}>")));
        }
        assert_eq!(process.wait(Duration::from_millis(5)), Heard::Nothing);
        assert!(process.memory().is_some_and(|bytes| bytes > 0) && !process.has_ended());
    }

    #[test]
    fn how_it_ended_and_its_last_words_are_known() {
        let mut process = shell("for n in 1 2 3 4 5 6 7; do echo word $n >&2; done; echo >&2; exit 3");
        assert_eq!(process.wait(Duration::from_secs(10)), Heard::Gone);
        let (how, words) = process.end();
        let expected = "exited with code 3; its last words: word 3 | word 4 | word 5 | word 6 | word 7";
        assert_eq!(format!("{how}{words}"), expected);
        let (how, words) = shell("kill -SEGV $$").end();
        assert_eq!((how.as_str(), words), ("crashed (SIGSEGV, invalid memory access)", LastWords::default()));
    }

    #[test]
    fn a_child_that_reads_nothing_keeps_nobody_waiting() {
        let mut process = shell("sleep 60");
        let begin = Instant::now();
        assert!(process.send(&"x".repeat(1 << 20)));
        drop(process);
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_it_has_started_ends_with_it() {
        let mut process = shell("sleep 61 & echo $!; wait");
        let Heard::Line(pid) = process.wait(Duration::from_secs(10)) else { panic!("expected a number") };
        drop(process);
        let alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with(['S', 'R', 'D']))
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while alive() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        assert!(!alive());
    }
}
