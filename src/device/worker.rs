//! The worker process: reads requests, measures, writes replies; one runtime library for its whole life.
//!
//! It lives no longer than its client. When the client ends, however it ends, the worker's standard input does as
//! well; a thread of its own waits for that, so that the worker ends in the middle of a measurement, too. (Linux's
//! `PR_SET_PDEATHSIG` would not do: it fires when the *thread* ends that started the worker.)

use super::message::{MeasureRequest, PROTOCOL_VERSION, Reply, Request, Stage};
use super::sha256;
use crate::latency::{Host, Measured, Measurement, measure};
use crate::runtime::{self, LoadOptions, Runtime, RuntimeKind, SessionOptions, random_inputs};
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
            Ok(Request::Measure(request)) => request,
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("bad request: {error}"))),
        };
        let id = request.id;
        let mut stage = |stage| send(Reply::Stage { id, stage });
        let outcome = catch_unwind(AssertUnwindSafe(|| worker.measure(&request, &mut stage)));
        send(match outcome {
            Ok(Ok(measurement)) => Reply::Measured { id, measurement: Box::new(measurement) },
            Ok(Err(Failure::Reason(reason))) => Reply::Failed { id, reason },
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
    Reason(String),
    /// The client is gone.
    Client(io::Error),
}

impl Worker {
    fn measure(
        &mut self,
        request: &MeasureRequest,
        stage: &mut dyn FnMut(Stage) -> io::Result<()>,
    ) -> Result<Measurement, Failure> {
        fn reason(error: impl ToString) -> Failure {
            Failure::Reason(error.to_string())
        }
        let host = Host::here();
        stage(Stage::Runtime).map_err(Failure::Client)?;
        let runtime = self.runtime(request).map_err(reason)?;
        stage(Stage::Load).map_err(Failure::Client)?;
        let model_sha256 =
            sha256(&request.model).map_err(|error| reason(format!("{}: {error}", request.model.display())))?;
        let threads = request.session.threads.unwrap_or_else(|| all_cores(request.runtime, &host));
        let options = SessionOptions { threads: Some(threads), ..request.session.clone() };
        let start = Instant::now();
        let mut session = runtime.prepare(&request.model, &options).map_err(reason)?;
        let load_s = start.elapsed().as_secs_f64();
        let batch = session.inputs().first().and_then(|input| input.dims.first()).map_or(1, |&size| size);
        let inputs = random_inputs(session.inputs(), request.protocol.seed);
        stage(Stage::Run).map_err(Failure::Client)?;
        session.bind(inputs).map_err(reason)?;
        let samples = measure(&mut *session, &request.protocol)
            .map_err(|error| reason(format!("{}: {error}", request.model.display())))?;
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

    /// The runtime of the request: loaded for the first one, the same for all others.
    fn runtime(&mut self, request: &MeasureRequest) -> Result<&dyn Runtime, String> {
        let (kind, library) = (request.runtime, &request.library);
        if self.loaded.as_ref().is_some_and(|loaded| (loaded.kind, &loaded.library) != (kind, library)) {
            return Err("a worker serves one runtime library, and this one has loaded another".to_owned());
        }
        if self.loaded.is_none() {
            let execution_provider = request.session.execution_provider.as_ref().map(|provider| provider.name.clone());
            let runtime = runtime::load(kind, &LoadOptions { library: library.clone(), execution_provider })
                .map_err(|error| error.to_string())?;
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
        assert_eq!(lines[4..], [serde_json::json!({"failed": {"id": 7, "reason": reason}}).to_string()]);
    }

    #[test]
    fn a_request_that_is_none_ends_the_worker() {
        let (served, lines) = served(&["{}".to_owned()]);
        assert_eq!(lines, [HELLO]);
        assert!(served.unwrap_err().to_string().starts_with("bad request: "));
    }
}
