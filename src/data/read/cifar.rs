//! CIFAR's binary files: labels and pixels, sample behind sample, without a header.
//! <https://www.cs.toronto.edu/~kriz/cifar.html>

use super::{DataError, Found, Kind, Samples, Values, bytes, entries, malformed, name_of, numbered};
use std::path::{Path, PathBuf};

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;

/// CIFAR-10 or CIFAR-100, by what stands beside the file, then by its size.
pub(super) fn kind_of(path: &Path) -> Kind {
    let beside = |name: &str| path.with_file_name(name).exists();
    if beside("fine_label_names.txt") {
        return Kind::Cifar100;
    }
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len() as usize);
    let is_10 = beside("batches.meta.txt") || size.is_multiple_of(PIXELS + 1);
    if !is_10 && size.is_multiple_of(PIXELS + 2) { Kind::Cifar100 } else { Kind::Cifar10 }
}

/// A file alone is one part; in a folder, files with `test` in their names are the test part, all others the training part.
pub(super) fn read(path: &Path, kind: Kind) -> Result<Found, DataError> {
    let (classes, labels, names) = match kind {
        Kind::Cifar100 => (100, 2, "fine_label_names.txt"),
        _ => (10, 1, "batches.meta.txt"),
    };
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    let (test, train): (Vec<PathBuf>, Vec<PathBuf>) = match path.is_dir() {
        true => {
            let files = entries(path)?.into_iter().filter(|file| name_of(file).to_lowercase().ends_with(".bin"));
            files.partition(|file| name_of(file).to_lowercase().contains("test"))
        }
        false => (vec![], vec![path.to_owned()]),
    };
    let (train, test) = if train.is_empty() { (test, train) } else { (train, test) };
    if train.is_empty() {
        return Err(malformed(
            path,
            "found no `.bin` file, expected CIFAR's `data_batch_1.bin`, `test_batch.bin` …".into(),
        ));
    }
    let test = if test.is_empty() { None } else { Some(samples(&test, classes, labels)?) };
    let names = class_names(&folder.join(names), classes)?;
    Ok(Found { classes: names, train: samples(&train, classes, labels)?, validation: None, test })
}

fn samples(files: &[PathBuf], classes: usize, label_bytes: usize) -> Result<Samples, DataError> {
    let (mut pixels, mut labels) = (vec![], vec![]);
    let record = label_bytes + PIXELS;
    for file in files {
        let bytes = bytes(file)?;
        if bytes.is_empty() || bytes.len() % record != 0 {
            let reason = format!(
                "it has {} bytes, expected a multiple of {record} (CIFAR-{classes}: {label_bytes} of labels and \
                 3×32×32 pixels a sample): is it truncated?",
                bytes.len()
            );
            return Err(malformed(file, reason));
        }
        for (at, sample) in bytes.chunks_exact(record).enumerate() {
            let label = sample[label_bytes - 1];
            if usize::from(label) >= classes {
                return Err(malformed(file, format!("sample {at} has label {label}, expected one below {classes}")));
            }
            labels.push(u32::from(label));
            pixels.extend_from_slice(&sample[label_bytes..]);
        }
    }
    Ok(Samples::new(SHAPE, Values::U8(pixels), labels))
}

/// The names in a file of one a line, numbers where there is no such file.
fn class_names(path: &Path, classes: usize) -> Result<Vec<String>, DataError> {
    if !path.exists() {
        return Ok(numbered(classes));
    }
    let text = std::fs::read_to_string(path).map_err(|source| DataError::File { path: path.to_owned(), source })?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() != classes {
        return Err(malformed(path, format!("it has {} names, expected {classes}", names.len())));
    }
    Ok(names)
}
