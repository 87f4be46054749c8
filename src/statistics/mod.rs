//! Statistics of plain numbers.

mod gaussian_process;
mod mean;
mod ranks;

pub use gaussian_process::{GaussianProcess, matern52};
pub use mean::mean_interval;
pub use ranks::{bootstrap, kendall, pearson, ranks, spearman};
