//! NumPy's archives of arrays: a zip file of `.npy`, stored or deflated.
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use super::{DataError, Found, Samples, Values, count_classes, malformed, numbered};
use flate2::{Crc, read::DeflateDecoder};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Names of samples and labels that are understood, for training, validation and test.
const NAMES: [[(&str, &str); 3]; 4] = [
    [("x_train", "y_train"), ("x_val", "y_val"), ("x_test", "y_test")],
    [("train_images", "train_labels"), ("val_images", "val_labels"), ("test_images", "test_labels")],
    [("x", "y"), ("", ""), ("", "")],
    [("X", "y"), ("", ""), ("", "")],
];

/// An array as it stands in the file.
struct Array {
    dims: Vec<usize>,
    elements: Elements,
}

enum Elements {
    U8(Vec<u8>),
    F32(Vec<f32>),
    I64(Vec<i64>),
}

pub(super) fn read(path: &Path) -> Result<Found, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::File { path: path.to_owned(), source })?;
    let broken = |reason: String| malformed(path, reason);
    let entries = directory(&bytes).map_err(broken)?;
    let has = |name: &str| entries.contains_key(name);
    let Some(names) = NAMES.iter().find(|names| has(names[0].0) && has(names[0].1)) else {
        let found: Vec<&str> = entries.keys().map(String::as_str).collect();
        let expected = "expected `x_train`, `y_train` (and `x_test`, `y_test`), or `x`, `y`";
        return Err(broken(format!("it has the arrays {}; {expected}", found.join(", "))));
    };
    let part = |(x, y): (&str, &str)| -> Result<Option<Samples>, DataError> {
        match (has(x), has(y)) {
            (true, true) => {}
            (false, false) => return Ok(None),
            (true, false) => return Err(broken(format!("it has `{x}`, expected `{y}` beside it"))),
            (false, true) => return Err(broken(format!("it has `{y}`, expected `{x}` beside it"))),
        }
        let array = |name: &str| {
            let bytes = entries[name].unpack(&bytes).map_err(|reason| broken(format!("array `{name}`: {reason}")))?;
            parse(&bytes).map_err(|reason| broken(format!("array `{name}`: {reason}")))
        };
        samples(array(x)?, array(y)?).map(Some).map_err(|reason| broken(format!("arrays `{x}` and `{y}`: {reason}")))
    };
    let [train, validation, test] = names.map(part);
    let train = train?.expect("both arrays are there");
    Ok(Found { classes: numbered(count_classes(train.labels())), train, validation: validation?, test: test? })
}

fn samples(x: Array, y: Array) -> Result<Samples, String> {
    let count = y.dims.first().copied().unwrap_or(0);
    if y.dims.iter().skip(1).any(|&dim| dim != 1) || y.dims.is_empty() {
        return Err(format!("labels have the dimensions {:?}, expected one number a sample", y.dims));
    }
    let whole = |value: i64| u32::try_from(value).ok().filter(|&label| label < 1 << 20);
    let labels: Option<Vec<u32>> = match y.elements {
        Elements::U8(labels) => Some(labels.into_iter().map(u32::from).collect()),
        Elements::I64(labels) => labels.into_iter().map(whole).collect(),
        Elements::F32(labels) => labels.into_iter().map(|l| whole(l as i64).filter(|&w| w as f32 == l)).collect(),
    };
    let labels = labels.ok_or("labels are to be whole numbers from 0 on")?;
    if x.dims.first() != Some(&count) {
        return Err(format!("samples have the dimensions {:?}, expected {count} as there are labels", x.dims));
    }
    let (shape, last) = match x.dims[1..] {
        [features] => ([features, 1, 1], false),
        [height, width] => ([1, height, width], false),
        [a, b, c] => {
            let colours = |dim: usize| matches!(dim, 1 | 3 | 4);
            match (colours(a), colours(c)) {
                (false, true) => ([c, a, b], true),
                // Small ones of which both could be channels: channels first, as everywhere here.
                _ => ([a, b, c], false),
            }
        }
        _ => return Err(format!("samples have the dimensions {:?}, expected 2 to 4 of them", x.dims)),
    };
    if shape.contains(&0) {
        return Err(format!("samples have the dimensions {:?}, expected none to be 0", x.dims));
    }
    let values = match x.elements {
        Elements::U8(values) => Values::U8(if last { channels_first(&values, shape) } else { values }),
        Elements::F32(values) => Values::F32(if last { channels_first(&values, shape) } else { values }),
        Elements::I64(values) => {
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            Values::F32(if last { channels_first(&values, shape) } else { values })
        }
    };
    Ok(Samples::new(shape, values, labels))
}

fn channels_first<T: Copy>(values: &[T], [channels, height, width]: [usize; 3]) -> Vec<T> {
    let mut moved = Vec::with_capacity(values.len());
    for sample in values.chunks_exact(channels * height * width) {
        (0..channels).for_each(|channel| moved.extend(sample.iter().skip(channel).step_by(channels)));
    }
    moved
}

/// Where an array stands in the archive.
struct Entry {
    /// 0 stored, 8 deflated.
    method: u16,
    crc: u32,
    packed: usize,
    size: usize,
    header: usize,
}

/// The little-endian number of so many bytes at a place.
fn number(bytes: &[u8], at: usize, count: usize) -> Result<usize, String> {
    let found = bytes.get(at..at + count).ok_or("it ends early: is it truncated?")?;
    Ok(found.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

/// The arrays of an archive by name, from the directory at its end.
fn directory(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, String> {
    const END: &[u8] = b"PK\x05\x06";
    let tail = bytes.len().saturating_sub(22 + 65_535);
    let end = bytes[tail..].windows(4).rposition(|window| window == END).map(|at| tail + at);
    let end = end.ok_or("it has no directory at its end, expected a zip archive of arrays: is it truncated?")?;
    let (count, mut at) = (number(bytes, end + 10, 2)?, number(bytes, end + 16, 4)?);
    let mut all = BTreeMap::new();
    for _ in 0..count {
        if bytes.get(at..at + 4) != Some(b"PK\x01\x02") {
            return Err("its directory is damaged (archives of 4 GiB and more are not read)".into());
        }
        let field = |offset: usize, count: usize| number(bytes, at + offset, count);
        let (name, extra, comment) = (field(28, 2)?, field(30, 2)?, field(32, 2)?);
        let text = bytes.get(at + 46..at + 46 + name).ok_or("its directory is truncated")?;
        let text = String::from_utf8_lossy(text).trim_end_matches(".npy").to_owned();
        let (method, crc) = (field(10, 2)? as u16, field(16, 4)? as u32);
        let entry = Entry { method, crc, packed: field(20, 4)?, size: field(24, 4)?, header: field(42, 4)? };
        all.insert(text, entry);
        at += 46 + name + extra + comment;
    }
    Ok(all)
}

impl Entry {
    fn unpack(&self, archive: &[u8]) -> Result<Vec<u8>, String> {
        let begin = self.header + 30 + number(archive, self.header + 26, 2)? + number(archive, self.header + 28, 2)?;
        let packed = archive.get(begin..begin + self.packed).ok_or("it ends early: is it truncated?")?;
        let mut bytes = vec![];
        match self.method {
            0 => bytes.extend_from_slice(packed),
            8 => {
                DeflateDecoder::new(packed)
                    .read_to_end(&mut bytes)
                    .map_err(|error| format!("can't be unpacked: {error}"))?;
            }
            other => return Err(format!("it is packed by method {other}, expected stored or deflated")),
        }
        let mut crc = Crc::new();
        crc.update(&bytes);
        if bytes.len() != self.size || crc.sum() != self.crc {
            return Err("its checksum is wrong: the file is damaged".into());
        }
        Ok(bytes)
    }
}

/// Reads one `.npy`.
fn parse(bytes: &[u8]) -> Result<Array, String> {
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err("it does not begin as a `.npy` array does".into());
    }
    let (length, begin) =
        if number(bytes, 6, 1)? == 1 { (number(bytes, 8, 2)?, 10) } else { (number(bytes, 8, 4)?, 12) };
    let header = bytes.get(begin..begin + length).ok_or("its header is truncated")?;
    let header = String::from_utf8_lossy(header).into_owned();
    let value = |key: &str| -> Result<&str, String> {
        let (_, rest) = header.split_once(&format!("'{key}':")).ok_or_else(|| format!("its header has no `{key}`"))?;
        Ok(rest.trim_start())
    };
    if value("fortran_order")?.starts_with("True") {
        return Err("it is in Fortran's order, expected C's (numpy.ascontiguousarray)".into());
    }
    let dims = value("shape")?.trim_start_matches('(').split(')').next().unwrap_or("");
    let dims = dims.split(',').map(str::trim).filter(|dim| !dim.is_empty()).map(str::parse);
    let dims: Vec<usize> =
        dims.collect::<Result<_, _>>().map_err(|_| format!("its dimensions can't be read: {header}"))?;
    let descr = value("descr")?;
    let descr = descr.split('\'').nth(1).unwrap_or(descr).to_owned();
    let data = &bytes[begin + length..];
    let (elements, size) = elements(&descr, data)?;
    let expected = dims.iter().try_fold(size, |product, &dim| product.checked_mul(dim));
    if expected != Some(data.len()) {
        return Err(format!("it has {} bytes, expected {dims:?} of type `{descr}`: is it truncated?", data.len()));
    }
    Ok(Array { dims, elements })
}

/// The elements, and the bytes that one of them takes.
fn elements(descr: &str, data: &[u8]) -> Result<(Elements, usize), String> {
    fn each<const N: usize, T>(data: &[u8], of: impl Fn([u8; N]) -> T) -> Vec<T> {
        data.chunks_exact(N).map(|chunk| of(chunk.try_into().expect("chunks are of this size"))).collect()
    }
    Ok(match descr {
        "|u1" | "|b1" => (Elements::U8(data.to_vec()), 1),
        "|i1" => (Elements::I64(each(data, |b: [u8; 1]| i64::from(b[0] as i8))), 1),
        "<i2" => (Elements::I64(each(data, |b| i64::from(i16::from_le_bytes(b)))), 2),
        "<u2" => (Elements::I64(each(data, |b| i64::from(u16::from_le_bytes(b)))), 2),
        "<i4" => (Elements::I64(each(data, |b| i64::from(i32::from_le_bytes(b)))), 4),
        "<u4" => (Elements::I64(each(data, |b| i64::from(u32::from_le_bytes(b)))), 4),
        "<i8" => (Elements::I64(each(data, i64::from_le_bytes)), 8),
        "<u8" => (Elements::I64(each(data, |b| u64::from_le_bytes(b) as i64)), 8),
        "<f2" => (Elements::F32(each(data, |b| half::f16::from_le_bytes(b).to_f32())), 2),
        "<f4" => (Elements::F32(each(data, f32::from_le_bytes)), 4),
        "<f8" => (Elements::F32(each(data, |b| f64::from_le_bytes(b) as f32)), 8),
        other => return Err(format!("its elements are of type `{other}`, expected little-endian numbers")),
    })
}
