//! The worker process: reads requests, measures, writes replies; one runtime library for its whole life.
//!
//! It lives no longer than its client. When the client ends, however it ends, the worker's standard input does as
//! well; a thread of its own waits for that, so that the worker ends in the middle of a measurement, too. (Linux's
//! `PR_SET_PDEATHSIG` would not do: it fires when the *thread* ends that started the worker.)

use super::message::{FailureKind, MeasureRequest, PROTOCOL_VERSION, Reply, Request, Stage};
use super::sha256;
use crate::latency::{Host, Measured, Measurement, measure};
use crate::runtime::{self, LoadOptions, Runtime, RuntimeError, RuntimeKind, SessionOptions, random_inputs};
use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

/// Serves the client at the other end of standard input and output, until it is gone.
///
/// # Errors
/// If the client can't be reached.
pub fn serve_stdio() -> io::Result<()> {
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
    let mut worker = Worker { loaded: None };
    for line in requests {
        let request = match serde_json::from_str::<Request>(&line) {
            Ok(request) => request,
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("bad request: {error}"))),
        };
        let id = match &request {
            Request::Check(request) => request.id,
            Request::Measure(request) => request.id,
            Request::Optimize(request) => request.id,
        };
        let mut stage = |stage| send(Reply::Stage { id, stage }).map_err(Failure::Client);
        let outcome = catch_unwind(AssertUnwindSafe(|| match &request {
            Request::Check(request) => {
                stage(Stage::Runtime)?;
                worker.runtime(request.runtime, &request.library, &request.session)?;
                Ok(Reply::Ready { id })
            }
            Request::Measure(request) => {
                let measurement = worker.measure(request, &mut stage)?;
                Ok(Reply::Measured { id, measurement: Box::new(measurement) })
            }
            Request::Optimize(request) => {
                stage(Stage::Runtime)?;
                let runtime = worker.runtime(request.runtime, &request.library, &request.session)?;
                stage(Stage::Load)?;
                runtime.optimize(&request.model, &request.session, &request.output)?;
                Ok(Reply::Optimized { id })
            }
        }));
        send(match outcome {
            Ok(Ok(reply)) => reply,
            Ok(Err(Failure::Reason { kind, reason })) => Reply::Failed { id, kind, reason },
            Ok(Err(Failure::Client(error))) => return Err(error),
            // A panic's message is on standard error; what it left behind is not to be trusted.
            Err(_) => exit_now(101),
        })?;
    }
    Ok(())
}

struct Worker {
    loaded: Option<Loaded>,
}

struct Loaded {
    kind: RuntimeKind,
    library: Option<PathBuf>,
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

impl Failure {
    fn refused(reason: String) -> Self {
        Self::Reason { kind: FailureKind::Refused, reason }
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        let kind = match error {
            RuntimeError::Unavailable(_) => FailureKind::Unavailable,
            RuntimeError::Prepare { .. } | RuntimeError::Input { .. } => FailureKind::Refused,
            RuntimeError::Run(_) => FailureKind::Run,
        };
        Self::Reason { kind, reason: error.to_string() }
    }
}

impl Worker {
    fn measure(
        &mut self,
        request: &MeasureRequest,
        stage: &mut dyn FnMut(Stage) -> Result<(), Failure>,
    ) -> Result<Measurement, Failure> {
        let host = Host::here();
        let model = request.model.display();
        stage(Stage::Runtime)?;
        let runtime = self.runtime(request.runtime, &request.library, &request.session)?;
        stage(Stage::Load)?;
        let model_sha256 = sha256(&request.model).map_err(|error| Failure::refused(format!("{model}: {error}")))?;
        let threads = request.session.threads.unwrap_or_else(|| all_cores(request.runtime, &host));
        let options = SessionOptions { threads: Some(threads), ..request.session.clone() };
        let start = Instant::now();
        let mut session = runtime.prepare(&request.model, &options)?;
        let load_s = start.elapsed().as_secs_f64();
        let batch = session.inputs().first().and_then(|input| input.dims.first()).map_or(1, |&size| size);
        let inputs = random_inputs(session.inputs(), request.protocol.seed);
        stage(Stage::Run)?;
        session.bind(inputs)?;
        let samples = measure(&mut *session, &request.protocol)
            .map_err(|error| Failure::Reason { kind: FailureKind::Run, reason: format!("{model}: {error}") })?;
        Ok(Measurement::new(Measured {
            model_sha256,
            device: &request.device,
            runtime: runtime.info(),
            session: &options,
            nodes_by_provider: session.nodes_by_provider(),
            batch,
            protocol: &request.protocol,
            load_s,
            samples,
            host,
        }))
    }

    /// The runtime of a request: loaded and checked for the first one, the same for all others.
    fn runtime(
        &mut self,
        kind: RuntimeKind,
        library: &Option<PathBuf>,
        session: &SessionOptions,
    ) -> Result<&dyn Runtime, RuntimeError> {
        if self.loaded.as_ref().is_some_and(|loaded| (loaded.kind, &loaded.library) != (kind, library)) {
            let reason = "a worker serves one runtime library, and this one has loaded another";
            return Err(RuntimeError::Unavailable(reason.to_owned()));
        }
        if self.loaded.is_none() {
            let execution_provider = session.execution_provider.as_ref().map(|provider| provider.name.clone());
            let runtime = runtime::load(kind, &LoadOptions { library: library.clone(), execution_provider })?;
            runtime.check(session)?;
            self.loaded = Some(Loaded { kind, library: library.clone(), runtime });
        }
        Ok(&*self.loaded.as_ref().expect("was just loaded").runtime)
    }
}

/// Threads where the profile gives no number: one on each physical core, as ONNX Runtime itself would; tract has one.
fn all_cores(runtime: RuntimeKind, host: &Host) -> usize {
    match runtime {
        RuntimeKind::Tract => 1,
        RuntimeKind::OnnxRuntime | RuntimeKind::Mock => host.physical_cores.unwrap_or(host.cores).clamp(1, host.cores),
    }
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

    const HELLO: &str = concat!(r#"{"hello":{"protocol":1,"tegu":""#, env!("CARGO_PKG_VERSION"), r#""}}"#);

    #[test]
    fn the_lines_are_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m");
        std::fs::write(&model, "fail on request").unwrap();
        let request = format!(
            r#"{{"measure":{{"id":7,"model":{model:?},"device":"d","runtime":"mock","library":null,"session":{{}},"protocol":{{}}}}}}"#
        );
        let (served, lines) = served(&[request]);
        served.unwrap();
        assert_eq!(
            lines[..4],
            [
                HELLO.to_owned(),
                r#"{"stage":{"id":7,"stage":"runtime"}}"#.to_owned(),
                r#"{"stage":{"id":7,"stage":"load"}}"#.to_owned(),
                r#"{"stage":{"id":7,"stage":"run"}}"#.to_owned(),
            ]
        );
        let reason = format!("{}: run failed: on request", model.display());
        let failed = serde_json::json!({"failed": {"id": 7, "kind": "run", "reason": reason}});
        assert_eq!(lines.len(), 5);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&lines[4]).unwrap(), failed);
    }

    #[test]
    fn a_check_says_whether_the_runtime_is_there() {
        let check = |session: &str| {
            let request = format!(r#"{{"check":{{"id":3,"runtime":"mock","library":null,"session":{session}}}}}"#);
            let (served, mut lines) = served(&[request]);
            served.unwrap();
            lines.pop().unwrap()
        };
        assert_eq!(check("{}"), r#"{"ready":{"id":3}}"#);
        assert_eq!(
            check(r#"{"execution_provider":{"name":"mock","options":{"unavailable":"no driver"}}}"#),
            r#"{"failed":{"id":3,"kind":"unavailable","reason":"no driver"}}"#
        );
    }

    #[test]
    fn a_request_that_is_none_ends_the_worker() {
        let (served, lines) = served(&["{}".to_owned()]);
        assert_eq!(lines, [HELLO]);
        assert!(served.unwrap_err().to_string().starts_with("bad request: "));
    }
}
