//! Reading sources of data: what kind one is, and its parts.

mod cifar;
mod csv;
mod folder;
mod generated;
mod idx;
mod npz;

pub use generated::is_generated;

use super::resize::resized;
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
    /// Shapes and textures that are drawn from a seed: `generated:tiny`, which is no file.
    Generated,
}

/// How a source is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadOptions {
    /// Its kind; recognised where absent.
    pub kind: Option<Kind>,
    /// Height and width that images are brought to: resized so that they just cover it, and cut to their centre. Where
    /// absent, all images must have one size.
    pub size: Option<[usize; 2]>,
    /// Channels of decoded images, 1 or 3; where absent 1 if all are grey.
    pub channels: Option<usize>,
    /// The column of a table that holds the labels; `label`, `class`, `target` or `y` where absent.
    pub label: Option<String>,
    /// Shape that a row of features has, `[channels, height, width]`; `[features, 1, 1]` where absent. Samples of arrays are
    /// read as of that shape, too, channels first: `[9, 1, 128]` for windows of signals in an array `[samples, 9, 128]`.
    pub shape: Option<[usize; 3]>,
}

/// What a reader has found.
pub(super) struct Found {
    pub classes: Vec<String>,
    pub train: Samples,
    pub validation: Option<Samples>,
    pub test: Option<Samples>,
}

/// Reads a source and checks what all kinds have in common.
pub(super) fn read(path: &Path, options: &ReadOptions) -> Result<(Kind, Found), DataError> {
    check(options)?;
    let kind = match options.kind {
        Some(kind) => kind,
        None => recognise(path)?,
    };
    let mut found = match kind {
        Kind::Folders => folder::read(path, options),
        Kind::Cifar10 | Kind::Cifar100 => cifar::read(path, kind),
        Kind::Idx => idx::read(path),
        Kind::Npz => npz::read(path),
        Kind::Csv => csv::read(path, options),
        Kind::Generated => generated::read(path),
    }?;
    if let Some(shape) = options.shape.filter(|_| kind == Kind::Npz) {
        let wrong = || DataError::Option {
            field: "shape",
            reason: format!("found {shape:?}, expected as many numbers as samples of {} have", path.display()),
        };
        let parts = [Some(found.train), found.validation, found.test];
        let [train, validation, test] = parts.map(|part| part.map(|part| part.with_shape(shape).ok_or_else(wrong)));
        found.train = train.expect("it was read")?;
        (found.validation, found.test) = (validation.transpose()?, test.transpose()?);
    }
    if let Some(size) = options.size.filter(|_| kind != Kind::Folders) {
        if found.train.shape()[1..] == [1, 1] {
            let reason = format!("{} holds rows of features, expected images", path.display());
            return Err(DataError::Option { field: "size", reason });
        }
        found.train = resized(&found.train, size);
        found.validation = found.validation.map(|samples| resized(&samples, size));
        found.test = found.test.map(|samples| resized(&samples, size));
    }
    let parts =
        [("training", Some(&found.train)), ("validation", found.validation.as_ref()), ("test", found.test.as_ref())];
    for (name, samples) in parts {
        let Some(samples) = samples else { continue };
        if samples.is_empty() {
            return Err(malformed(path, format!("the {name} part has no sample")));
        }
        if samples.shape() != found.train.shape() {
            let (found, expected) = (samples.shape(), found.train.shape());
            return Err(malformed(
                path,
                format!("samples of the {name} part are {found:?}, expected {expected:?} as in training"),
            ));
        }
        let classes = found.classes.len();
        if let Some(label) = samples.labels().iter().find(|&&label| label as usize >= classes) {
            return Err(malformed(path, format!("the {name} part has label {label}, expected labels below {classes}")));
        }
        if let Values::F32(values) = samples.values()
            && let Some(at) = values.iter().position(|value| !value.is_finite())
        {
            let sample = at / samples.elements();
            return Err(malformed(
                path,
                format!("sample {sample} of the {name} part holds {}, expected finite numbers", values[at]),
            ));
        }
    }
    if found.train.labels().iter().all(|label| Some(label) == found.train.labels().first()) {
        let only = &found.classes[found.train.labels()[0] as usize];
        return Err(malformed(path, format!("all samples are of class `{only}`, expected two classes or more")));
    }
    Ok((kind, found))
}

fn check(options: &ReadOptions) -> Result<(), DataError> {
    if options.channels.is_some_and(|channels| channels != 1 && channels != 3) {
        let reason = format!("found {:?}, expected 1 (grey) or 3 (colours)", options.channels.unwrap_or(0));
        return Err(DataError::Option { field: "channels", reason });
    }
    if options.size.is_some_and(|[height, width]| height == 0 || width == 0) {
        return Err(DataError::Option { field: "size", reason: "found 0, expected a height and a width".into() });
    }
    Ok(())
}

/// What kind of source stands at `path`.
fn recognise(path: &Path) -> Result<Kind, DataError> {
    const KINDS: &str = "expected folders of images (`class/*.png|jpg|jpeg`), CIFAR's `.bin`, IDX files, `.npz`, `.csv`, or `generated:tiny`";
    if is_generated(path) {
        return Ok(Kind::Generated);
    }
    let metadata = std::fs::metadata(path).map_err(|source| DataError::File { path: path.to_owned(), source })?;
    if metadata.is_file() {
        return of_file(path).ok_or_else(|| malformed(path, format!("the name tells no kind of data; {KINDS}")));
    }
    let entries = entries(path)?;
    if entries.iter().any(|entry| entry.is_dir()) {
        return Ok(Kind::Folders);
    }
    let kind = entries.iter().find_map(|entry| of_file(entry));
    kind.ok_or_else(|| match entries.first() {
        Some(first) => malformed(path, format!("found {} files like `{}`; {KINDS}", entries.len(), name_of(first))),
        None => malformed(path, format!("the folder is empty; {KINDS}")),
    })
}

fn of_file(path: &Path) -> Option<Kind> {
    let name = name_of(path).to_lowercase();
    if name.ends_with(".npz") {
        Some(Kind::Npz)
    } else if name.ends_with(".csv") {
        Some(Kind::Csv)
    } else if name.ends_with(".bin") {
        Some(cifar::kind_of(path))
    } else if idx::is_images(&name) {
        Some(Kind::Idx)
    } else {
        None
    }
}

/// What a folder holds, sorted, without hidden files.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::File { path: folder.to_owned(), source };
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !name_of(&path).starts_with('.') {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// The bytes of a file, unpacked where its name ends in `.gz`.
fn bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::File { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(bytes);
    }
    let mut unpacked = vec![];
    flate2::read::MultiGzDecoder::new(bytes.as_slice())
        .read_to_end(&mut unpacked)
        .map_err(|error| malformed(path, format!("it can't be unpacked, expected a whole gzip file: {error}")))?;
    Ok(unpacked)
}

fn name_of(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()
}

fn malformed(path: &Path, reason: String) -> DataError {
    DataError::Malformed { path: path.to_owned(), reason }
}

/// Names of so many classes that have none.
fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|label| label.to_string()).collect()
}

/// Number of classes: one more than the largest label.
fn count_classes(labels: &[u32]) -> usize {
    labels.iter().max().map_or(0, |&most| most as usize + 1)
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folders => "folders",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Idx => "idx",
            Self::Npz => "npz",
            Self::Csv => "csv",
            Self::Generated => "generated",
        })
    }
}
