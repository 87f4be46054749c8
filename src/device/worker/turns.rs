//! Measuring the models of one request in turns, beside the reference model.
//!
//! Sessions are prepared one after the other and kept for all rounds; each answer is sent as soon as it is known. Before
//! every turn the client is told whose it is: if this process ends there, it knows which model to blame.

use super::super::message::{FailureKind, JobRequest, MeasureRequest, Reply, Stage};
use super::super::sha256;
use super::{Failure, Worker, kind, threads_of};
use crate::latency::{
    Bench, EnergyCounter, Host, HostState, Measured, Measurement, PeakMemory, Samples, Throughput, Who,
    measure_in_turns, reference_model, resident_bytes, sustain, throughput,
};
use crate::runtime::{Runtime, RuntimeError, Session, SessionOptions, random_inputs};
use std::io;
use std::time::Instant;

/// The reference model, ready to run.
pub(super) struct Reference {
    sha256: String,
    options: SessionOptions,
    session: Box<dyn Session>,
}

impl Reference {
    fn prepare(runtime: &dyn Runtime, options: SessionOptions, seed: u64) -> Result<Self, String> {
        let model = reference_model().map_err(|error| error.to_string())?;
        // Runtimes take files. This one is gone as soon as it is read.
        let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder for it: {error}"))?;
        let path = folder.path().join("reference.onnx");
        model.save(&path).map_err(|error| error.to_string())?;
        let bound = || {
            let mut session = runtime.prepare(&path, &options)?;
            session.bind(random_inputs(session.inputs(), seed))?;
            if session.fallen_back().is_empty() {
                return Ok(session);
            }
            let reason = format!("{} runs elsewhere", session.fallen_back().join(", "));
            Err(RuntimeError::Prepare { model: path.clone(), reason })
        };
        match bound() {
            Ok(session) => Ok(Self { sha256: model.sha256(), options, session }),
            Err(RuntimeError::Prepare { reason, .. }) => Err(reason),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A model in this process.
struct Loaded {
    /// As often as the protocol has loads, each a session of its own.
    sessions: Vec<Box<dyn Session>>,
    /// Whose turn it is.
    at: usize,
    options: SessionOptions,
    model_sha256: String,
    load_s: f64,
    peak_memory_mib: Option<f64>,
    /// The first run was made while the memory was watched.
    first_run_s: Option<f64>,
    energy_j: Option<f64>,
}

impl Loaded {
    fn session(&mut self) -> &mut dyn Session {
        &mut *self.sessions[self.at]
    }
}

/// Runs of the sessions of a model but the first, before they take turns: the warm-up is the first one's.
const FURTHER_LOADS_RUNS: usize = 5;

type Send<'a> = dyn FnMut(Reply) -> io::Result<()> + 'a;

impl Worker {
    /// Measures the jobs of `request`; answers go to `send`.
    pub(super) fn measure(&mut self, request: &MeasureRequest, send: &mut Send) -> Result<(), Failure> {
        let mut send = |reply: Reply| send(reply).map_err(Failure::Client);
        let id = request.id;
        send(Reply::Stage { id, job: None, stage: Stage::Runtime })?;
        self.load(&request.setup)?;
        // After it was pinned.
        let host = Host::here();
        let session =
            SessionOptions { threads: Some(threads_of(&request.setup, &host)), ..request.setup.session.clone() };
        let runtime = &*self.loaded.as_ref().expect("was just loaded").runtime;

        let known = self.reference.take().filter(|known| known.options == session);
        let mut reference = match &request.no_reference {
            Some(reason) => Err(Some(reason.clone())),
            None if !request.protocol.reference => Err(None),
            None => {
                send(Reply::Stage { id, job: None, stage: Stage::Reference })?;
                let prepared = || Reference::prepare(runtime, session.clone(), request.protocol.seed);
                known.map_or_else(prepared, Ok).map_err(Some)
            }
        };
        let mut jobs = vec![];
        for (job, of_job) in request.jobs.iter().enumerate() {
            let full = |bytes| bytes > request.full_mib.saturating_mul(1 << 20);
            if !jobs.is_empty() && resident_bytes().is_some_and(full) {
                // The client asks for the rest again, once these have left.
                break;
            }
            let mut stage = |stage| send(Reply::Stage { id, job: Some(job), stage });
            match load(runtime, &session, of_job, request, &mut stage)? {
                Ok(loaded) => jobs.push((job, loaded)),
                Err((kind, reason)) => send(Reply::Failed { id, job: Some(job), kind, reason })?,
            }
        }
        let has_reference = reference.is_ok();
        let (numbers, sessions): (Vec<usize>, Vec<Loaded>) = jobs.into_iter().unzip();
        let mut turns = Turns {
            request,
            runtime,
            host: &host,
            numbers,
            sessions: sessions.into_iter().map(Some).collect(),
            reference: reference.as_mut().map_err(|reason| reason.clone()),
            before: HostState::now(),
            energy: EnergyCounter::open(),
            clock: Instant::now(),
            send: &mut send,
            gone: None,
        };
        let count = turns.sessions.len();
        if count > 0 {
            measure_in_turns(&mut turns, count, has_reference, &request.protocol);
        }
        let gone = turns.gone.take();
        self.reference = reference.ok();
        gone.map_or(Ok(()), Err)
    }
}

/// Whose failure it is that a model can't be measured, and the reason with the file's name.
type OwnFailure = (FailureKind, String);

/// Prepares a model and runs it once; the inner error is the model's own.
fn load(
    runtime: &dyn Runtime,
    session: &SessionOptions,
    job: &JobRequest,
    request: &MeasureRequest,
    stage: &mut dyn FnMut(Stage) -> Result<(), Failure>,
) -> Result<Result<Loaded, OwnFailure>, Failure> {
    stage(Stage::Load)?;
    let memory = PeakMemory::begin();
    let options = SessionOptions { input_dims: job.input_dims.clone(), ..session.clone() };
    let model_sha256 = match sha256(&job.model) {
        Ok(sha256) => sha256,
        Err(error) => return Ok(Err((FailureKind::Refused, format!("{}: {error}", job.model.display())))),
    };
    let start = Instant::now();
    let prepared = || {
        let mut session = runtime.prepare(&job.model, &options)?;
        let load_s = start.elapsed().as_secs_f64();
        session.bind(random_inputs(session.inputs(), request.protocol.seed))?;
        Ok((session, load_s))
    };
    let (mut session, load_s) = match prepared() {
        Ok(prepared) => prepared,
        Err(error) => return Ok(Err(failure(job, &error))),
    };
    stage(Stage::Run)?;
    let start = Instant::now();
    if let Err(error) = session.run() {
        return Ok(Err(failure(job, &error)));
    }
    let first_run_s = Some(start.elapsed().as_secs_f64());
    let peak_memory_mib = memory.and_then(PeakMemory::rise_mib);
    let mut sessions = vec![session];
    for _ in 1..request.protocol.loads {
        match another(runtime, job, &options, request.protocol.seed) {
            Ok(session) => sessions.push(session),
            Err(error) => return Ok(Err(failure(job, &error))),
        }
    }
    let (at, energy_j) = (sessions.len() - 1, None);
    Ok(Ok(Loaded { sessions, at, options, model_sha256, load_s, peak_memory_mib, first_run_s, energy_j }))
}

/// One more session of a model, warm.
fn another(
    runtime: &dyn Runtime,
    job: &JobRequest,
    options: &SessionOptions,
    seed: u64,
) -> Result<Box<dyn Session>, RuntimeError> {
    let mut session = runtime.prepare(&job.model, options)?;
    session.bind(random_inputs(session.inputs(), seed))?;
    (0..FURTHER_LOADS_RUNS).try_for_each(|_| session.run())?;
    Ok(session)
}

fn failure(job: &JobRequest, error: &RuntimeError) -> OwnFailure {
    let reason = match error {
        RuntimeError::Run(_) => format!("{}: {error}", job.model.display()),
        _ => error.to_string(),
    };
    (kind(error), reason)
}

struct Turns<'a> {
    request: &'a MeasureRequest,
    runtime: &'a dyn Runtime,
    host: &'a Host,
    /// Which job of the request each session is.
    numbers: Vec<usize>,
    sessions: Vec<Option<Loaded>>,
    reference: Result<&'a mut Reference, Option<String>>,
    before: HostState,
    energy: Option<EnergyCounter>,
    clock: Instant,
    send: &'a mut dyn FnMut(Reply) -> Result<(), Failure>,
    /// Why the client could not be told something.
    gone: Option<Failure>,
}

impl Turns<'_> {
    fn tell(&mut self, reply: Reply) -> bool {
        match (self.send)(reply) {
            Ok(()) => true,
            Err(failure) => {
                self.gone = Some(failure);
                false
            }
        }
    }

    fn loaded(&mut self, model: usize) -> &mut Loaded {
        self.sessions[model].as_mut().expect("a model that is done has no turn")
    }

    fn session(&mut self, who: Who) -> &mut dyn Session {
        match who {
            Who::Reference => &mut *self.reference.as_mut().expect("without a reference it has no turn").session,
            Who::Model(model) => self.loaded(model).session(),
        }
    }

    fn measurement(&self, loaded: &mut Loaded, job: usize, samples: Samples) -> Result<Measurement, RuntimeError> {
        let (protocol, setup) = (&self.request.protocol, &self.request.setup);
        let batch = loaded.session().inputs().first().and_then(|input| input.dims.first()).map_or(1, |&size| size);
        let sustained = (protocol.sustained_s > 0.0).then(|| {
            let mut now = || self.clock.elapsed().as_secs_f64();
            sustain(protocol.sustained_s, &mut now, &mut || timed(loaded.session()))
        });
        let after = HostState::now();
        let streams = (protocol.streams > 1).then(|| self.streams(loaded, job, batch));
        let (nodes_by_provider, fallen_back) = (loaded.session().nodes_by_provider(), loaded.session().fallen_back());
        Ok(Measurement::new(Measured {
            model_sha256: loaded.model_sha256.clone(),
            device: &self.request.device,
            runtime: self.runtime.info(),
            session: &loaded.options,
            nodes_by_provider,
            fallen_back,
            cores: setup.cores.clone(),
            batch,
            protocol,
            load_s: loaded.load_s,
            samples,
            reference: self.reference.as_ref().map(|known| known.sha256.clone()).map_err(Clone::clone),
            peak_memory_mib: loaded.peak_memory_mib,
            energy_j: loaded.energy_j,
            throughput: streams.transpose()?,
            sustained: sustained.transpose()?,
            host: self.host.clone(),
            before: self.before.clone(),
            after,
        }))
    }

    /// As many sessions of the model as the protocol has streams, at the same time.
    fn streams(&self, loaded: &Loaded, job: usize, batch: usize) -> Result<Throughput, RuntimeError> {
        let protocol = &self.request.protocol;
        let another = |_| {
            let mut session = self.runtime.prepare(&self.request.jobs[job].model, &loaded.options)?;
            session.bind(random_inputs(session.inputs(), protocol.seed))?;
            Ok(session)
        };
        let mut sessions = (0..protocol.streams).map(another).collect::<Result<Vec<_>, RuntimeError>>()?;
        throughput(&mut sessions, batch, protocol.streams_s)
    }
}

fn timed(session: &mut dyn Session) -> Result<f64, RuntimeError> {
    let start = Instant::now();
    session.run()?;
    Ok(start.elapsed().as_secs_f64())
}

impl Bench for Turns<'_> {
    fn turn(&mut self, who: Who) -> bool {
        let (job, stage) = match who {
            Who::Reference => (None, Stage::Reference),
            Who::Model(model) => {
                let loaded = self.loaded(model);
                loaded.at = (loaded.at + 1) % loaded.sessions.len();
                (Some(self.numbers[model]), Stage::Run)
            }
        };
        self.tell(Reply::Stage { id: self.request.id, job, stage })
    }

    fn run(&mut self, who: Who) -> Result<f64, RuntimeError> {
        if let Who::Model(model) = who
            && let Some(first_run_s) = self.loaded(model).first_run_s.take()
        {
            return Ok(first_run_s);
        }
        timed(self.session(who))
    }

    fn timed(&mut self, who: Who, runs: usize) -> Result<Vec<f64>, RuntimeError> {
        let before = self.energy.as_ref().and_then(EnergyCounter::read);
        let session = self.session(who);
        let samples = (0..runs).map(|_| timed(session)).collect::<Result<Vec<f64>, _>>()?;
        let after = self.energy.as_ref().and_then(EnergyCounter::read);
        if let (Some(counter), Some(before), Some(after), Who::Model(model)) = (&self.energy, before, after, who) {
            let joules = counter.joules(&before, &after);
            *self.loaded(model).energy_j.get_or_insert(0.0) += joules;
        }
        Ok(samples)
    }

    fn now(&self) -> f64 {
        self.clock.elapsed().as_secs_f64()
    }

    fn done(&mut self, model: usize, outcome: Result<Samples, RuntimeError>) -> bool {
        let (id, job) = (self.request.id, self.numbers[model]);
        let mut loaded = self.sessions[model].take().expect("a model is done once");
        if !self.tell(Reply::Stage { id, job: Some(job), stage: Stage::Run }) {
            return false;
        }
        let measured = outcome.and_then(|samples| self.measurement(&mut loaded, job, samples));
        drop(loaded);
        self.tell(match measured {
            Ok(measurement) => Reply::Measured { id, job, measurement: Box::new(measurement) },
            Err(error) => {
                let (kind, reason) = failure(&self.request.jobs[job], &error);
                Reply::Failed { id, job: Some(job), kind, reason }
            }
        })
    }

    fn without_reference(&mut self, reason: String) {
        self.reference = Err(Some(reason));
    }
}
