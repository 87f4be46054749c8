//! Labelled images (or rows of features) from disk: their parts, normalisation, augmentation, and batches.
//!
//! ```text
//! DataSet::open ─► DataSet::split ─► Split { train, validation, test } ─► Normalisation::fit(train) ─► Loader ─► Batch
//! ```
//!
//! What a source calls its test part is never looked at but to test: it is no part of validation, of statistics, or of
//! what augmentation mixes, and training samples that are copies of test samples are left out.

mod augmentation;
mod calibration;
mod loader;
mod normalisation;
mod read;
mod resize;
mod samples;
mod split;

pub use augmentation::Augmentation;
pub use calibration::Calibration;
pub use loader::{Batch, Batches, Loader, LoaderOptions};
pub use normalisation::{NORMALISATION_KEY, Normalisation};
pub use read::{Kind, ReadOptions, is_generated};
pub use samples::{Part, Samples, Values};
pub use split::{Split, SplitOptions};

use crate::genotype::hex;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the data that a config in `folder` names are: beside it, but for generated ones, which are nowhere.
pub fn located(folder: &Path, path: &Path) -> PathBuf {
    if is_generated(path) { path.to_owned() } else { folder.join(path) }
}

/// The samples of a source, in its own parts.
#[derive(Clone, Debug)]
pub struct DataSet {
    path: PathBuf,
    kind: Kind,
    classes: Vec<String>,
    train: Arc<Samples>,
    validation: Option<Arc<Samples>>,
    test: Option<Arc<Samples>>,
    sha256: String,
}

/// Why data can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder can't be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder does not hold what its kind does.
    #[error("{path}: {reason}", path = path.display())]
    Malformed {
        /// The file or folder.
        path: PathBuf,
        /// What was found, and what was expected.
        reason: String,
    },
    /// An option that does not fit the data.
    #[error("{field}: {reason}")]
    Option {
        /// Its name.
        field: &'static str,
        /// What was found, and what was expected.
        reason: String,
    },
    /// A batch can't be put on its device.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A thread that makes batches has ended before its time.
    #[error("a thread that makes batches has died")]
    Worker,
}

impl DataSet {
    /// Reads the data at `path`, a file or a folder, into memory; or draws them, where it is `generated:tiny`.
    ///
    /// # Errors
    /// If the kind is neither given nor to be recognised, or a file is missing, truncated, or not what it should be: by
    /// the name of the file and what was expected of it.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        let (kind, found) = read::read(path, options)?;
        let read::Found { classes, train, validation, test } = found;
        let mut digest = Sha256::new();
        digest.update(format!("{:?}{classes:?}", train.shape()));
        for (name, part) in [("train", Some(&train)), ("validation", validation.as_ref()), ("test", test.as_ref())] {
            let Some(part) = part else { continue };
            digest.update(format!("{name}{}", part.len()));
            part.digests().iter().for_each(|sample| digest.update(sample));
            part.labels().iter().for_each(|label| digest.update(label.to_le_bytes()));
        }
        let sha256 = hex(&digest.finalize());
        let [validation, test] = [validation, test].map(|part| part.map(Arc::new));
        Ok(Self { path: path.to_owned(), kind, classes, train: Arc::new(train), validation, test, sha256 })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of source it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Names of the classes; labels are their positions.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Shape of a sample, `[channels, height, width]`; rows of features are `[features, 1, 1]`.
    pub fn shape(&self) -> [usize; 3] {
        self.train.shape()
    }

    /// All samples of the source's training part; all there are where it has no parts.
    pub fn train(&self) -> Part {
        Part::whole(&self.train, self.classes.len())
    }

    /// All samples of the source's validation part (a folder `val` beside `train` and `test`), where it has one.
    pub fn validation(&self) -> Option<Part> {
        self.validation.as_ref().map(|samples| Part::whole(samples, self.classes.len()))
    }

    /// All samples of the source's test part, where it has one.
    pub fn test(&self) -> Option<Part> {
        self.test.as_ref().map(|samples| Part::whole(samples, self.classes.len()))
    }

    /// SHA-256 of the samples, labels and names of classes, whatever files they came from.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}
