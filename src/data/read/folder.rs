//! Folders of images: one a class, perhaps in `train/`, `val/`, `test/`.

use super::{DataError, Found, ReadOptions, Samples, Values, entries, malformed, name_of};
use crate::data::resize::cover;
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

/// One decoded image.
struct Decoded {
    channels: usize,
    size: [usize; 2],
    /// `[height, width, channels]`
    pixels: Vec<u8>,
}

/// With `train/`, parts are folders: `test/` tests, else `val/` does; `val/` beside `test/` validates.
pub(super) fn read(path: &Path, options: &ReadOptions) -> Result<Found, DataError> {
    let train = path.join("train");
    if !train.is_dir() {
        let classes = class_folders(path)?;
        let (_, train) = part(path, &classes, options, None)?;
        return Ok(Found { classes: names(&classes), train, validation: None, test: None });
    }
    let folder = |names: &[&str]| names.iter().map(|name| path.join(name)).find(|folder| folder.is_dir());
    let (test, validation) = match (folder(&["test"]), folder(&["val", "valid", "validation"])) {
        (Some(test), validation) => (Some(test), validation),
        (None, validation) => (validation, None),
    };
    let classes = class_folders(&train)?;
    let (channels, train) = part(&train, &classes, options, None)?;
    let expected = names(&classes);
    let other = |folder: Option<PathBuf>| {
        let Some(folder) = folder else { return Ok(None) };
        let found = class_folders(&folder)?;
        if names(&found) != expected {
            let odd = names(&found).into_iter().find(|name| !expected.contains(name));
            let reason = match odd {
                Some(odd) => format!("it has the class `{odd}`, which `train` has not"),
                None => format!("it has {} classes, expected the {} of `train`", found.len(), expected.len()),
            };
            return Err(malformed(&folder, reason));
        }
        Ok(Some(part(&folder, &found, options, Some((channels, train.shape())))?.1))
    };
    let (test, validation) = (other(test)?, other(validation)?);
    Ok(Found { classes: expected, train, validation, test })
}

fn names(classes: &[PathBuf]) -> Vec<String> {
    classes.iter().map(|folder| name_of(folder).into_owned()).collect()
}

fn class_folders(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let classes: Vec<PathBuf> = entries(path)?.into_iter().filter(|entry| entry.is_dir()).collect();
    if classes.is_empty() {
        return Err(malformed(path, "found no folder, expected one of images for each class".into()));
    }
    if classes.len() == 1 {
        let only = name_of(&classes[0]).into_owned();
        return Err(malformed(path, format!("found one class alone, `{only}`; expected two folders or more")));
    }
    Ok(classes)
}

/// The images of a part and their number of channels, which is `like` that of another part where given.
fn part(
    path: &Path,
    classes: &[PathBuf],
    options: &ReadOptions,
    like: Option<(usize, [usize; 3])>,
) -> Result<(usize, Samples), DataError> {
    let mut files: Vec<(PathBuf, u32)> = vec![];
    for (label, class) in classes.iter().enumerate() {
        let images: Vec<PathBuf> = entries(class)?.into_iter().filter(|file| is_image(file)).collect();
        if images.is_empty() {
            return Err(malformed(class, format!("the class has no image, expected .{} files", ENDINGS.join(", ."))));
        }
        files.extend(images.into_iter().map(|file| (file, label as u32)));
    }
    let wanted = options.channels.or(like.map(|(channels, _)| channels));
    let decode = |(file, _): &(PathBuf, u32)| decode(file, options.size, wanted);
    // Of several that fail the first is named, whichever thread was first.
    let decoded = files.par_iter().map(decode).collect::<Vec<_>>().into_iter().collect::<Result<Vec<_>, _>>()?;
    let first = decoded[0].size;
    if let Some(at) = decoded.iter().position(|image| image.size != first) {
        let ([height, width], [h, w]) = (decoded[at].size, first);
        let reason = format!(
            "it is {height}×{width}, expected {h}×{w} as `{}` is; images of several sizes need `size`",
            files[0].0.strip_prefix(path).unwrap_or(&files[0].0).display()
        );
        return Err(malformed(&files[at].0, reason));
    }
    let most = decoded.iter().map(|image| image.channels).max().unwrap_or(1);
    let channels = wanted.unwrap_or(most);
    if let Some((_, [_, height, width])) = like.filter(|(_, shape)| shape[1..] != first) {
        let [h, w] = first;
        let reason =
            format!("it is {h}×{w}, expected {height}×{width} as in `train`; images of several sizes need `size`");
        return Err(malformed(&files[0].0, reason));
    }
    let [height, width] = first;
    let mut pixels = Vec::with_capacity(decoded.len() * channels * height * width);
    decoded.iter().for_each(|image| planes(image, channels, &mut pixels));
    let labels = files.into_iter().map(|(_, label)| label).collect();
    Ok((channels, Samples::new([channels, height, width], Values::U8(pixels), labels)))
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

fn decode(path: &Path, size: Option<[usize; 2]>, channels: Option<usize>) -> Result<Decoded, DataError> {
    let failed = |source| DataError::File { path: path.to_owned(), source };
    // By what is in it: endings lie often enough.
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(failed)?;
    let image = reader.decode().map_err(|error| malformed(path, format!("it can't be decoded: {error}")))?;
    let image = match size {
        Some(size) => cut(&image, size),
        None => image,
    };
    let size = [image.height() as usize, image.width() as usize];
    let colours = channels.unwrap_or(if image.color().has_color() { 3 } else { 1 });
    let pixels = if colours == 3 { image.into_rgb8().into_raw() } else { image.into_luma8().into_raw() };
    Ok(Decoded { channels: colours, size, pixels })
}

/// Resizes so that the image just covers `size`, and cuts out its centre.
fn cut(image: &DynamicImage, size: [usize; 2]) -> DynamicImage {
    let from = [image.height() as usize, image.width() as usize];
    let (scaled, [top, left]) = cover(from, size);
    let [height, width] = scaled.map(|side| side as u32);
    let resized = if scaled == from { image.clone() } else { image.resize_exact(width, height, FilterType::Triangle) };
    resized.crop_imm(left as u32, top as u32, size[1] as u32, size[0] as u32)
}

/// Appends an image as planes; a grey one as often as channels are wanted.
fn planes(image: &Decoded, channels: usize, out: &mut Vec<u8>) {
    for channel in 0..channels {
        let from = if image.channels == 1 { 0 } else { channel };
        out.extend(image.pixels.iter().skip(from).step_by(image.channels));
    }
}
