//! What a running study tells whoever watches it.

use super::store::TrialRecord;

/// Which of a study's two searches a trial belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The search itself.
    Search,
    /// The random search that it is held against.
    Control,
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Architectures of the reference sample were scored.
    Reference {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// A batch of candidates is being scored.
    Scoring {
        /// So many are done.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// A candidate of a batch is being trained.
    Training {
        /// So many are done.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Models of a batch are being measured, some of them together.
    Measuring {
        /// So many are done.
        done: usize,
        /// So many are at work.
        together: usize,
        /// Of so many.
        total: usize,
    },
    /// A trial is stored.
    Trial {
        /// Whose trial.
        role: Role,
        /// The trial.
        record: &'a TrialRecord,
        /// Trials of this search so far.
        done: usize,
        /// Of so many.
        total: usize,
        /// Whether an earlier run had stored it.
        resumed: bool,
        /// Hypervolume so far; none before there is a reference point.
        hypervolume: Option<f64>,
    },
}

/// Watches a study, and may ask it to stop.
pub trait Observer {
    /// Told of everything that happens, after it is stored.
    fn on(&mut self, event: &Event);

    /// Whether the study is to stop after what is running: a batch of scores, a group of measurements.
    fn interrupted(&self) -> bool {
        false
    }
}
