//! The truth about a space, made here: every architecture trained by itself, from several seeds.
//!
//! Architectures are trained side by side, each on one thread, seed after seed, so that a table of fewer seeds is whole first.
//! A training is a function of its options, data and graph; how many run at once does not matter. What is trained is the
//! live graph: architectures that differ by dead edges alone are one training. Isomorphic ones with other edges are trained
//! one by one, as published tables do it: weights are drawn by the edges' names, so what lies between their figures is noise
//! of the seed. A dead one has nothing to train: it says the same of every sample, and gets what the commonest class is worth.

mod lines;
mod trained_space;

pub use trained_space::{Summary, TrainedSpace};

use crate::data::{DataSet, Loader};
use crate::genotype::{ArchId, Genotype};
use crate::graph::Graph;
use crate::journal::JournalError;
use crate::space::{Scale, SearchSpace, SpaceError};
use crate::train::{Loaders, Outcome, TrainError, TrainOptions, Training, Until, predict};
use candle_core::Device;
use lines::Lines;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

/// What is trained, on what, how, and from which seeds.
#[derive(Clone, Copy, Debug)]
pub struct SpaceTraining<'a> {
    /// The space; its full network is that of the data.
    pub space: &'a SearchSpace,
    /// The architectures, each once.
    pub genotypes: &'a [Genotype],
    /// The data, with validation and test parts of their own, or such as the options hold out.
    pub data: &'a DataSet,
    /// How; their seed is the first one.
    pub options: &'a TrainOptions,
    /// Trainings of each architecture.
    pub seeds: usize,
}

/// What a training came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It ended.
    Trained(Figures),
    /// It could not go on, for this reason.
    Failed(String),
}

/// How good a network became.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Share of the validation samples that are right, at the best epoch.
    pub validation: f64,
    /// Share of the test samples that are right, of the weights of that epoch.
    pub test: f64,
    /// How long the training took, on its thread.
    pub seconds: f64,
}

/// Trainings that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// How many.
    pub done: usize,
    /// Of how many.
    pub total: usize,
    /// Whether an earlier run had done them.
    pub before: bool,
}

/// Why a space can't be trained.
#[derive(Debug, thiserror::Error)]
pub enum SpaceTrainingError {
    /// There is nothing to find an accuracy on.
    #[error("the data have no {part} part: expected one, or `split: {{{part}: 0.1}}` in the config")]
    Part {
        /// Which part.
        part: &'static str,
    },
    /// What is to be gone on with is a training of something else.
    #[error("{path} is of other trainings ({difference}): take another file, or start over with --fresh", path = path.display())]
    Changed {
        /// The journal.
        path: PathBuf,
        /// The first field that differs, and both values.
        difference: String,
    },
    /// The journal can't be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The table can't be written.
    #[error("the table: {0}")]
    Csv(#[from] csv::Error),
    /// An option or the data are refused, or a file can't be written.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// An architecture is refused.
    #[error(transparent)]
    Space(#[from] SpaceError),
}

impl SpaceTrainingError {
    /// Whether it is the user's input that is at fault.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Part { .. } | Self::Changed { .. } | Self::Space(_) => true,
            Self::Journal(error) => matches!(error, JournalError::Invalid { .. }),
            Self::Csv(_) => false,
            Self::Train(error) => error.is_input(),
        }
    }
}

/// An architecture that is going to be trained.
struct Candidate {
    arch: String,
    id: Option<ArchId>,
    macs: u64,
    params: u64,
    /// None of a dead one.
    live: Option<Graph>,
}

/// What the trainings from one seed have in common.
struct Seed {
    options: TrainOptions,
    loaders: Loaders,
}

/// One training.
#[derive(Clone, Copy)]
struct Job<'a> {
    arch: &'a str,
    graph: &'a Graph,
    seed: &'a Seed,
}

impl SpaceTraining<'_> {
    /// Trains what the file at `journal` does not have yet, as many at once as there are cores. Each training is in the file
    /// before `progress` hears of it. Gives the table; none if `interrupted` says so.
    ///
    /// # Errors
    /// If options or data are refused, the journal is of something else, or a file can't be written. A training that fails
    /// by itself is a row without a figure.
    pub fn run(
        &self,
        journal: &Path,
        mut progress: impl FnMut(Done),
        interrupted: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<TrainedSpace>, SpaceTrainingError> {
        let seeds = (0..self.seeds as u64).map(|at| self.seed(at)).collect::<Result<Vec<_>, _>>()?;
        let candidates =
            self.genotypes.iter().map(|genotype| self.candidate(genotype)).collect::<Result<Vec<_>, _>>()?;
        let mut lines = Lines::open(journal, self)?;
        let mut distinct: Vec<(&str, &Graph)> = vec![];
        for candidate in &candidates {
            if let Some(graph) = &candidate.live
                && distinct.iter().all(|(_, known)| *known != graph)
            {
                distinct.push((&candidate.arch, graph));
            }
        }
        let of_seed = |seed| distinct.iter().map(move |&(arch, graph)| Job { arch, graph, seed });
        let mut jobs: Vec<Job> = seeds.iter().flat_map(of_seed).collect();
        let total = jobs.len();
        jobs.retain(|job| lines.get(job.arch, job.seed).is_none());
        let mut done = total - jobs.len();
        progress(Done { done, total, before: true });
        let all = each(&jobs, interrupted, |job, ending| {
            lines.put(job.arch, job.seed, ending)?;
            done += 1;
            progress(Done { done, total, before: false });
            Ok(())
        })?;
        let row = |candidate: &Candidate| {
            let trained = distinct.iter().find(|(_, graph)| Some(*graph) == candidate.live.as_ref());
            let ending = |seed: &Seed| match trained {
                Some((arch, _)) => lines.get(arch, seed).expect("all is trained").clone(),
                None => Ending::Trained(commonest(&seed.loaders)),
            };
            let endings = seeds.iter().map(ending).collect();
            let Candidate { arch, id, macs, params, .. } = candidate;
            trained_space::Row { arch: arch.clone(), id: id.clone(), macs: *macs, params: *params, endings }
        };
        Ok(all.then(|| TrainedSpace {
            seeds: seeds.iter().map(|seed| seed.options.seed).collect(),
            rows: candidates.iter().map(row).collect(),
        }))
    }

    fn seed(&self, at: u64) -> Result<Seed, SpaceTrainingError> {
        let options = TrainOptions { seed: self.options.seed.wrapping_add(at), ..self.options.clone() };
        options.check()?;
        let loaders = Loaders::new(self.data, &options, &Device::Cpu)?;
        for (part, loader) in [("validation", &loaders.validation), ("test", &loaders.test)] {
            if loader.is_none() {
                return Err(SpaceTrainingError::Part { part });
            }
        }
        Ok(Seed { options, loaders })
    }

    fn candidate(&self, genotype: &Genotype) -> Result<Candidate, SpaceError> {
        let graph = self.space.lower(genotype, Scale::Full)?;
        let cost = graph.cost();
        let (arch, id) = (self.space.arch(genotype), self.space.id(genotype));
        Ok(Candidate { arch, id, macs: cost.macs, params: cost.params, live: graph.live().ok() })
    }
}

/// Does the jobs, as many at once as there are cores, on one thread each; `done` gets each on this thread, in the order of
/// finishing. Gives whether all were done; an interruption ends it, as does an error.
fn each<'a>(
    jobs: &[Job<'a>],
    interrupted: &(dyn Fn() -> bool + Sync),
    mut done: impl FnMut(&Job<'a>, Ending) -> Result<(), SpaceTrainingError>,
) -> Result<bool, SpaceTrainingError> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..rayon::current_num_threads().min(jobs.len()) {
            let (sender, next, stop) = (sender.clone(), &next, &stop);
            scope.spawn(move || {
                let _alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
                while !stop.load(Ordering::Relaxed) {
                    let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    // The receiver is there until all senders are gone.
                    let _ = sender.send((job, train(job, interrupted)));
                }
            });
        }
        drop(sender);
        let mut outcome = Ok(true);
        for (job, ending) in receiver {
            let told = ending.and_then(|ending| match ending {
                Some(ending) => done(job, ending).map(|()| true),
                None => Ok(false),
            });
            if !matches!(told, Ok(true)) {
                stop.store(true, Ordering::Relaxed);
                outcome = outcome.and(told);
            }
        }
        outcome
    })
}

/// Trains one network; nothing if `interrupted` says so.
fn train(job: &Job, interrupted: &(dyn Fn() -> bool + Sync)) -> Result<Option<Ending>, SpaceTrainingError> {
    let begin = Instant::now();
    let folder = tempfile::tempdir().map_err(|source| TrainError::File { path: std::env::temp_dir(), source })?;
    let Seed { options, loaders: data } = job.seed;
    let training =
        Training { graph: job.graph, start: None, data, options, folder: folder.path(), device: &Device::Cpu };
    let trained = match training.run(&mut Until(&|| interrupted())) {
        Ok(Outcome::Finished(trained)) => trained,
        Ok(Outcome::Interrupted) => return Ok(None),
        // A full disk is not the network's fault.
        Err(error @ TrainError::File { .. }) => return Err(error.into()),
        Err(error) => return Ok(Some(Ending::Failed(error.to_string()))),
    };
    let best = trained.curve.iter().find(|epoch| epoch.epoch == trained.best_epoch);
    let validation = best.and_then(|epoch| epoch.validation_accuracy).expect("there is a validation part");
    let test = data.test.as_ref().expect("there is a test part");
    let test = predict(&trained.graph, &trained.weights, test)?.metrics(1.0).accuracy;
    Ok(Some(Ending::Trained(Figures { validation, test, seconds: begin.elapsed().as_secs_f64() })))
}

/// What a network gets that says the same of every sample: the commonest class of what is trained on, the first of equals.
fn commonest(data: &Loaders) -> Figures {
    let part = data.train.part();
    let mut counts = vec![0usize; part.classes()];
    part.labels().into_iter().for_each(|label| counts[label as usize] += 1);
    let most = counts.iter().max().copied().unwrap_or_default();
    let class = counts.iter().position(|&count| count == most).unwrap_or_default();
    let share = |loader: &Option<Loader>| {
        let labels = loader.as_ref().map(|loader| loader.part().labels()).unwrap_or_default();
        labels.iter().filter(|&&label| label as usize == class).count() as f64 / labels.len().max(1) as f64
    };
    Figures { validation: share(&data.validation), test: share(&data.test), seconds: 0.0 }
}
