//! Searches on a table of architectures whose values are known, so that strategies can be compared: a trial is a look-up.
//!
//! [`Table`] is the truth, [`bench()`] runs strategies on it from many seeds, beside random search and counting MACs (Yang, Esperança
//! and Carlucci 2020 and Yu et al. 2020 say why). [`SpaceTraining`] makes such a truth: every architecture of a space, trained.

mod bench;
mod error;
mod space_training;
mod table;

pub use bench::{Bench, BenchOptions, Curve, Row, Summary, bench};
pub use error::TableError;
pub use space_training::{
    Done, Ending, Figures, SpaceTraining, SpaceTrainingError, Summary as SpaceSummary, TrainedSpace,
};
pub use table::{Columns, Isomorphs, Table};
