//! Statistics of plain numbers.

mod gaussian_process;
mod mean;
mod normal;
mod ranks;

pub use gaussian_process::{Conditioned, GaussianProcess, matern52};
pub use mean::mean_interval;
pub use normal::{normal_cumulative, normal_density, normal_quantile};
pub use ranks::{bootstrap, kendall, pearson, ranks, spearman};
