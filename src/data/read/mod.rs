//! Reading sources of data: what kind one is, and its parts.

mod cifar;
mod csv;
mod folder;
mod idx;
mod npz;

use super::{DataError, Samples, Values};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A folder of images for each class, `class/*.png|jpg|jpeg`; perhaps in `train/`, `val/`, `test/`.
    Folders,
    /// CIFAR-10's binary files: a label and 3×32×32 pixels, 3,073 bytes a sample.
    Cifar10,
    /// CIFAR-100's binary files: two labels, of which the second (fine) one counts, 3,074 bytes a sample.
    Cifar100,
    /// MNIST's IDX files, plain or `.gz`.
    Idx,
    /// NumPy arrays `x_train`, `y_train`, `x_test`, `y_test`, or `x`, `y`.
    Npz,
    /// A table with a header, a column of labels, and columns of features.
    Csv,
}

/// How a source is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// Its kind; recognised where absent.
    pub kind: Option<Kind>,
    /// Height and width that decoded images are resized to (the shorter side) and cut to (the centre); where absent, all
    /// images must have one size.
    pub size: Option<[usize; 2]>,
    /// Channels of decoded images, 1 or 3; where absent 1 if all are grey.
    pub channels: Option<usize>,
    /// The column of a table that holds the labels; `label`, `class`, `target` or `y` where absent.
    pub label: Option<String>,
    /// Shape that a row of features has, `[channels, height, width]`; `[features, 1, 1]` where absent.
    pub shape: Option<[usize; 3]>,
}

/// What a reader has found.
pub(super) struct Found {
    pub classes: Vec<String>,
    pub train: Samples,
    pub validation: Option<Samples>,
    pub test: Option<Samples>,
}
