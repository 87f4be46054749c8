//! The worker process: reads requests, measures, writes replies; one runtime library for its whole life.
//!
//! It lives no longer than its client. When the client ends, however it ends, the worker's standard input does as
//! well; a thread of its own waits for that, so that the worker ends in the middle of a measurement, too. (Linux's
//! `PR_SET_PDEATHSIG` would not do: it fires when the *thread* ends that started the worker.)

mod score;
mod turns;

use super::message::{FailureKind, OptimizeRequest, PROTOCOL_VERSION, Reply, Request, Setup, Stage};
use super::pin::pin_to;
use crate::latency::Host;
use crate::runtime::{self, LoadOptions, Runtime, RuntimeError, RuntimeKind, SessionOptions};
use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc;
use turns::Reference;

/// Whether this process is to be confined before it does anything, and to what.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// The folder that it may write to.
    pub folder: PathBuf,
    /// What it may read beside what every program does.
    pub readable: Vec<PathBuf>,
}

/// Serves the client at the other end of standard input and output, until it is gone.
///
/// # Errors
/// If the client can't be reached, or the process can't be confined.
pub fn serve_stdio(confinement: Option<&Confinement>) -> io::Result<()> {
    if let Some(Confinement { folder, readable }) = confinement {
        super::sandbox::confine(folder, readable).map_err(io::Error::other)?;
    }
    let output = stdout::take_over()?;
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
        // Without destructors: a runtime that hangs must not hold the process.
        exit_now(0)
    });
    serve(requests, output)
}

/// Answers each line of `requests` on `output`.
///
/// # Errors
/// If `output` can't be written to.
pub fn serve(requests: impl IntoIterator<Item = String>, mut output: impl Write) -> io::Result<()> {
    let mut send = |reply: Reply| {
        let line = serde_json::to_string(&reply).expect("replies are plain data");
        output.write_all(format!("{line}\n").as_bytes())?;
        output.flush()
    };
    send(Reply::Hello { protocol: PROTOCOL_VERSION, tegu: env!("CARGO_PKG_VERSION").to_owned() })?;
    let mut worker = Worker { loaded: None, reference: None };
    let mut scoring = score::Scoring::default();
    for line in requests {
        let request = match serde_json::from_str::<Request>(&line) {
            Ok(request) => request,
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("bad request: {error}"))),
        };
        let id = match &request {
            Request::Check(request) => request.id,
            Request::Measure(request) => request.id,
            Request::Optimize(request) => request.id,
            Request::Score(request) => request.id,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| match &request {
            Request::Check(request) => {
                send(Reply::Stage { id, job: None, stage: Stage::Runtime }).map_err(Failure::Client)?;
                worker.load(&request.setup)?;
                let info = worker.loaded.as_ref().map(|loaded| loaded.runtime.info());
                let runtime = info.map(|info| format!("{} {}", info.name, info.version));
                Ok(Reply::Ready { id, runtime })
            }
            Request::Measure(request) => {
                worker.measure(request, &mut send)?;
                Ok(Reply::Done { id })
            }
            Request::Score(request) => {
                let scores = scoring.score(&request.work, request.compute);
                let scores = scores.map_err(|reason| Failure::Reason { kind: FailureKind::Refused, reason })?;
                Ok(Reply::Scored { id, scores })
            }
            Request::Optimize(request) => {
                send(Reply::Stage { id, job: Some(0), stage: Stage::Load }).map_err(Failure::Client)?;
                match worker.optimize(request) {
                    Err(error) if kind(&error) != FailureKind::Unavailable => {
                        let (kind, reason) = (kind(&error), error.to_string());
                        send(Reply::Failed { id, job: Some(0), kind, reason }).map_err(Failure::Client)?;
                    }
                    outcome => outcome?,
                }
                Ok(Reply::Done { id })
            }
        }));
        send(match outcome {
            Ok(Ok(reply)) => reply,
            Ok(Err(Failure::Reason { kind, reason })) => Reply::Failed { id, job: None, kind, reason },
            Ok(Err(Failure::Client(error))) => return Err(error),
            // A panic's message is on standard error; what it left behind is not to be trusted.
            Err(_) => exit_now(101),
        })?;
    }
    Ok(())
}

struct Worker {
    loaded: Option<Loaded>,
    /// Kept for the next request.
    reference: Option<Reference>,
}

struct Loaded {
    setup: Setup,
    runtime: Box<dyn Runtime>,
}

enum Failure {
    Reason {
        kind: FailureKind,
        reason: String,
    },
    /// The client is gone.
    Client(io::Error),
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Reason { kind: kind(&error), reason: error.to_string() }
    }
}

fn kind(error: &RuntimeError) -> FailureKind {
    match error {
        RuntimeError::Unavailable(_) => FailureKind::Unavailable,
        RuntimeError::Prepare { .. } | RuntimeError::Input { .. } => FailureKind::Refused,
        RuntimeError::Run(_) => FailureKind::Run,
    }
}

impl Worker {
    /// Writes what the runtime makes of a model.
    fn optimize(&mut self, request: &OptimizeRequest) -> Result<(), RuntimeError> {
        self.load(&request.setup)?;
        let loaded = self.loaded.as_ref().expect("it is loaded");
        let session = SessionOptions { input_dims: request.job.input_dims.clone(), ..request.setup.session.clone() };
        loaded.runtime.optimize(&request.job.model, &session, &request.output)
    }

    /// Loads and checks the runtime for the first request; it is the same for all others.
    fn load(&mut self, setup: &Setup) -> Result<(), RuntimeError> {
        let same = |loaded: &Loaded| {
            (loaded.setup.runtime, &loaded.setup.library, &loaded.setup.cores, loaded.setup.concurrent)
                == (setup.runtime, &setup.library, &setup.cores, setup.concurrent)
        };
        if self.loaded.as_ref().is_some_and(|loaded| !same(loaded)) {
            let reason = "a worker serves one runtime library on the same cores, and this one has loaded another";
            return Err(RuntimeError::Unavailable(reason.to_owned()));
        }
        if self.loaded.is_none() {
            if let Some(cores) = &setup.cores {
                pin_to(cores).map_err(RuntimeError::Unavailable)?;
            }
            let execution_provider = setup.session.execution_provider.as_ref().map(|provider| provider.name.clone());
            let shared_threads = (!setup.concurrent).then(|| threads_of(setup, &Host::here()));
            let options = LoadOptions { library: setup.library.clone(), execution_provider, shared_threads };
            let runtime = runtime::load(setup.runtime, &options)?;
            runtime.check(&setup.session)?;
            self.loaded = Some(Loaded { setup: setup.clone(), runtime });
        }
        Ok(())
    }
}

/// Threads within an operator. Where the profile gives no number: one on each physical core, as ONNX Runtime itself would; tract has one.
fn threads_of(setup: &Setup, host: &Host) -> usize {
    setup.session.threads.unwrap_or_else(|| match setup.runtime {
        RuntimeKind::Tract => 1,
        RuntimeKind::OnnxRuntime | RuntimeKind::Mock => host.physical_cores.unwrap_or(host.cores).clamp(1, host.cores),
    })
}

#[cfg(unix)]
fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}

#[cfg(not(unix))]
fn exit_now(code: i32) -> ! {
    std::process::exit(code)
}

/// Standard output, kept from libraries that print.
mod stdout {
    use std::io;

    /// The client's end; whatever is printed from now on goes to standard error.
    #[cfg(unix)]
    pub fn take_over() -> io::Result<impl io::Write> {
        use std::os::fd::{AsFd, AsRawFd};
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        // SAFETY: both descriptors are open for the life of the process.
        if unsafe { libc::dup2(io::stderr().as_raw_fd(), io::stdout().as_raw_fd()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(std::fs::File::from(output))
    }

    /// The client skips lines that are no replies.
    #[cfg(not(unix))]
    pub fn take_over() -> io::Result<impl io::Write> {
        Ok(io::stdout())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(requests: &[String]) -> (io::Result<()>, Vec<String>) {
        let mut output = vec![];
        let served = serve(requests.to_vec(), &mut output);
        (served, String::from_utf8(output).unwrap().lines().map(str::to_owned).collect())
    }

    const HELLO: &str = concat!(r#"{"hello":{"protocol":2,"tegu":""#, env!("CARGO_PKG_VERSION"), r#""}}"#);

    #[test]
    fn the_lines_are_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m");
        std::fs::write(&model, "fail on request").unwrap();
        let request = format!(
            r#"{{"measure":{{"id":7,"jobs":[{{"model":{model:?}}}],"device":"d","setup":{SETUP},"protocol":{{}},"no_reference":null,"full_mib":512}}}}"#
        );
        let (served, lines) = served(&[request]);
        served.unwrap();
        assert_eq!(
            lines[..5],
            [
                HELLO.to_owned(),
                r#"{"stage":{"id":7,"job":null,"stage":"runtime"}}"#.to_owned(),
                r#"{"stage":{"id":7,"job":null,"stage":"reference"}}"#.to_owned(),
                r#"{"stage":{"id":7,"job":0,"stage":"load"}}"#.to_owned(),
                r#"{"stage":{"id":7,"job":0,"stage":"run"}}"#.to_owned(),
            ]
        );
        let reason = format!("{}: run failed: on request", model.display());
        let failed = serde_json::json!({"failed": {"id": 7, "job": 0, "kind": "run", "reason": reason}});
        assert_eq!(serde_json::from_str::<serde_json::Value>(&lines[5]).unwrap(), failed);
        assert_eq!(lines[6..], [r#"{"done":{"id":7}}"#.to_owned()]);
    }

    const SETUP: &str = r#"{"runtime":"mock","library":null,"session":{},"cores":null,"concurrent":false}"#;

    #[test]
    fn a_check_says_whether_the_runtime_is_there() {
        let check = |session: &str| {
            let setup = SETUP.replace("{}", session);
            let (served, mut lines) = served(&[format!(r#"{{"check":{{"id":3,"setup":{setup}}}}}"#)]);
            served.unwrap();
            lines.pop().unwrap()
        };
        let runtime = concat!("mock ", env!("CARGO_PKG_VERSION"));
        assert_eq!(check("{}"), format!(r#"{{"ready":{{"id":3,"runtime":"{runtime}"}}}}"#));
        assert_eq!(
            check(r#"{"execution_provider":{"name":"mock","options":{"unavailable":"no driver"}}}"#),
            r#"{"failed":{"id":3,"job":null,"kind":"unavailable","reason":"no driver"}}"#
        );
    }

    #[test]
    fn a_request_that_is_none_ends_the_worker() {
        let (served, lines) = served(&["{}".to_owned()]);
        assert_eq!(lines, [HELLO]);
        assert!(served.unwrap_err().to_string().starts_with("bad request: "));
    }
}
