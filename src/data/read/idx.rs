//! IDX files of MNIST, Fashion-MNIST, EMNIST and others: a magic number, dimensions, bytes. <http://yann.lecun.com/exdb/mnist/>

use super::{DataError, Found, Samples, Values, bytes, count_classes, entries, malformed, name_of, numbered};
use std::path::{Path, PathBuf};

/// Magic numbers: two zeros, 8 for unsigned bytes, the number of dimensions.
const IMAGES: [u8; 4] = [0, 0, 8, 3];
const LABELS: [u8; 4] = [0, 0, 8, 1];

/// Whether a file of this name (in lower case) holds images.
pub(super) fn is_images(name: &str) -> bool {
    name.contains("images") && name.contains("idx3")
}

/// A file of images alone is one part; in a folder, `t10k` or `test` in a name says that it is the test part.
pub(super) fn read(path: &Path) -> Result<Found, DataError> {
    let files = if path.is_dir() { entries(path)? } else { vec![path.to_owned()] };
    let images: Vec<PathBuf> = files.into_iter().filter(|file| is_images(&name_of(file).to_lowercase())).collect();
    let is_test = |file: &PathBuf| {
        let name = name_of(file).to_lowercase();
        name.contains("t10k") || name.contains("test")
    };
    let (test, train): (Vec<PathBuf>, Vec<PathBuf>) = match path.is_dir() {
        true => images.into_iter().partition(is_test),
        false => (vec![], images),
    };
    let (train, test) = if train.is_empty() { (test, train) } else { (train, test) };
    let one = |files: &[PathBuf]| match files {
        [] => Ok(None),
        [file] => part(file).map(Some),
        // The same images packed and unpacked are read once.
        [file, other] if name_of(other) == format!("{}.gz", name_of(file)) => part(file).map(Some),
        [file, other, ..] => {
            let reason =
                format!("found `{}` and `{}`, expected one file of images a part", name_of(file), name_of(other));
            Err(malformed(path, reason))
        }
    };
    let Some(train) = one(&train)? else {
        return Err(malformed(
            path,
            "found no file of images, expected one like `train-images-idx3-ubyte` or with `.gz`".into(),
        ));
    };
    let test = one(&test)?;
    Ok(Found { classes: numbered(count_classes(train.labels())), train, validation: None, test })
}

/// The images of a file, with the labels of that beside it.
fn part(images: &Path) -> Result<Samples, DataError> {
    let name = name_of(images).replace("images", "labels").replace("idx3", "idx1");
    let plain = name.trim_end_matches(".gz");
    let beside = [name.clone(), plain.to_owned(), format!("{plain}.gz")].map(|name| images.with_file_name(name));
    let Some(labels) = beside.iter().find(|file| file.exists()) else {
        return Err(malformed(images, format!("its labels are missing, expected `{name}` beside it")));
    };
    let (counts, pixels) = contents(images, IMAGES, "images")?;
    let [count, height, width] = counts[..] else { unreachable!("the magic number has said three dimensions") };
    let (counts, bytes) = contents(labels, LABELS, "labels")?;
    if counts[0] != count {
        let reason = format!("it has {} labels, expected {count} as `{}` has images", counts[0], name_of(images));
        return Err(malformed(labels, reason));
    }
    if count > 0 && height * width == 0 {
        return Err(malformed(images, format!("its images are {height}×{width}, expected one pixel or more")));
    }
    Ok(Samples::new([1, height, width], Values::U8(pixels), bytes.into_iter().map(u32::from).collect()))
}

/// Dimensions and bytes of a file with this magic number.
fn contents(path: &Path, magic: [u8; 4], what: &str) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let mut bytes = bytes(path)?;
    let header = 4 + 4 * usize::from(magic[3]);
    if bytes.len() < header || bytes[..4] != magic {
        let found: String = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let expected: String = magic.iter().map(|byte| format!("{byte:02x}")).collect();
        return Err(malformed(path, format!("it begins with `{found}`, expected `{expected}` of IDX {what}")));
    }
    let size = |word: &[u8]| word.iter().fold(0usize, |size, &byte| size << 8 | usize::from(byte));
    let dims: Vec<usize> = bytes[4..header].chunks_exact(4).map(size).collect();
    let expected = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    bytes.drain(..header);
    if expected != Some(bytes.len()) {
        let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
        let reason = format!("it has {} bytes of {what}, expected {}: is it truncated?", bytes.len(), dims.join("×"));
        return Err(malformed(path, reason));
    }
    Ok((dims, bytes))
}
