//! Arguments of commands that read a data set.

use super::network::{dims, input_error};
use crate::data::{DataSet, Kind, ReadOptions, is_generated};
use std::path::{Path, PathBuf};

/// A data set, and how it is read.
#[derive(Debug, clap::Args)]
pub(super) struct DataArgs {
    /// The data: a folder of images (`class/*.png`, perhaps in train/, val/, test/), of CIFAR's or MNIST's files, or a file .npz or .csv;
    /// or `generated:tiny`, shapes and textures that are drawn
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    #[command(flatten)]
    options: DataOptions,
}

/// How a data set is read.
#[derive(Debug, clap::Args)]
pub(super) struct DataOptions {
    /// What kind it is, where it is not recognised: folders, cifar10, cifar100, idx, npz, csv or generated
    #[arg(long, value_name = "KIND", value_parser = kind)]
    data_kind: Option<Kind>,
    /// Size that images are brought to; they must have one size where absent
    #[arg(long, value_name = "HxW", value_parser = size)]
    image_size: Option<[usize; 2]>,
    /// Channels of decoded images, 1 or 3
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// The column of a table that holds the labels
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// Shape of a row of features, or of an array's samples: 9x1x128 for windows of 9 signals
    #[arg(long, value_name = "CxHxW", value_parser = shape)]
    feature_shape: Option<[usize; 3]>,
}

impl DataArgs {
    pub(super) fn open(&self) -> anyhow::Result<DataSet> {
        self.options.open(&self.data)
    }
}

impl DataOptions {
    pub(super) fn open(&self, path: &Path) -> anyhow::Result<DataSet> {
        let options = ReadOptions {
            kind: self.data_kind,
            size: self.image_size,
            channels: self.channels,
            label: self.label.clone(),
            shape: self.feature_shape,
        };
        if !path.exists() && !is_generated(path) {
            return Err(input_error(format!("{}: no such file or folder", path.display())));
        }
        Ok(DataSet::open(path, &options)?)
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    serde_json::from_value(text.into())
        .map_err(|_| format!("found `{text}`, expected folders, cifar10, cifar100, idx, npz, csv or generated"))
}

fn size(text: &str) -> Result<[usize; 2], String> {
    dims(text)?.try_into().map_err(|_| format!("`{text}` has not two dimensions: expected HxW, as in 32x32"))
}

fn shape(text: &str) -> Result<[usize; 3], String> {
    dims(text)?.try_into().map_err(|_| format!("`{text}` has not three dimensions: expected CxHxW, as in 1x28x28"))
}
