//! Statistics of plain numbers.

mod gaussian_process;
mod ranks;

pub use gaussian_process::{GaussianProcess, matern52};
pub use ranks::{bootstrap, kendall, pearson, ranks, spearman};
