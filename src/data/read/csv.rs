//! Tables: a header, a column of labels, and numbers in all others.

use super::{DataError, Found, ReadOptions, Samples, Values, bytes, malformed, name_of};
use std::path::Path;

/// Columns that hold labels where nothing is said.
const LABELS: [&str; 4] = ["label", "class", "target", "y"];

struct Table {
    /// Names of the features.
    columns: Vec<String>,
    features: Vec<f32>,
    labels: Vec<String>,
}

/// A file alone is one part; a folder has `train.csv`, and perhaps `val.csv` and `test.csv`.
pub(super) fn read(path: &Path, options: &ReadOptions) -> Result<Found, DataError> {
    if !path.is_dir() {
        return found(path, options, [Some(table(path, options)?), None, None]);
    }
    let part = |name: &str| {
        let file = path.join(name);
        if file.exists() { table(&file, options).map(Some) } else { Ok(None) }
    };
    let parts = [part("train.csv")?, part("val.csv")?, part("test.csv")?];
    if parts[0].is_none() {
        return Err(malformed(path, "found no `train.csv`, expected it, and perhaps `val.csv` and `test.csv`".into()));
    }
    found(path, options, parts)
}

fn found(path: &Path, options: &ReadOptions, parts: [Option<Table>; 3]) -> Result<Found, DataError> {
    let first = parts[0].as_ref().expect("the caller has read the training part");
    let columns = first.columns.clone();
    let classes = class_names(&first.labels);
    let shape = options.shape.unwrap_or([columns.len(), 1, 1]);
    if shape.iter().product::<usize>() != columns.len() {
        let reason =
            format!("found {shape:?}, expected a product of {}, as {} has features", columns.len(), path.display());
        return Err(DataError::Option { field: "shape", reason });
    }
    let mut samples = vec![];
    for part in parts {
        let Some(part) = part else {
            samples.push(None);
            continue;
        };
        if let Some(other) = part.columns.iter().zip(&columns).find(|(found, expected)| found != expected) {
            return Err(malformed(path, format!("a part has the column `{}`, expected `{}`", other.0, other.1)));
        }
        if part.columns.len() != columns.len() {
            let reason = format!("a part has {} features, expected {}", part.columns.len(), columns.len());
            return Err(malformed(path, reason));
        }
        let labels = part.labels.iter().map(|name| {
            let label = classes.iter().position(|class| class == name);
            label.map(|label| label as u32).ok_or(name)
        });
        let labels = labels.collect::<Result<Vec<u32>, &String>>().map_err(|name| {
            malformed(
                path,
                format!("found the label `{name}`, expected one that `train.csv` has: {}", classes.join(", ")),
            )
        })?;
        samples.push(Some(Samples::new(shape, Values::F32(part.features), labels)));
    }
    let [train, validation, test] = <[_; 3]>::try_from(samples).expect("there are three parts");
    Ok(Found { classes, train: train.expect("it was read"), validation, test })
}

/// The labels, each once: as numbers where they are, else by the alphabet.
fn class_names(labels: &[String]) -> Vec<String> {
    let mut names: Vec<String> = labels.to_vec();
    names.sort();
    names.dedup();
    let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    if let Some(mut numbers) = numbers {
        numbers.sort_unstable();
        names = numbers.iter().map(i64::to_string).collect();
        names.dedup();
    }
    names
}

fn table(path: &Path, options: &ReadOptions) -> Result<Table, DataError> {
    let bytes = bytes(path)?;
    let mut reader = ::csv::ReaderBuilder::new().trim(::csv::Trim::All).from_reader(bytes.as_slice());
    let broken = |error: ::csv::Error| malformed(path, format!("not a table: {error}"));
    let header: Vec<String> = reader.headers().map_err(broken)?.iter().map(str::to_owned).collect();
    if !header.is_empty() && header.iter().all(|name| name.parse::<f64>().is_ok()) {
        let reason = format!("its first line is `{}, …`, expected the names of the columns", header[0]);
        return Err(malformed(path, reason));
    }
    let wanted = options.label.as_deref();
    let is_label = |name: &str| match wanted {
        Some(wanted) => name == wanted,
        None => LABELS.contains(&name.to_lowercase().as_str()),
    };
    let Some(label_at) = header.iter().position(|name| is_label(name)) else {
        let expected = wanted.map_or_else(|| LABELS.join("`, `"), str::to_owned);
        let some: Vec<&str> = header.iter().take(8).map(String::as_str).collect();
        let reason = format!("it has the columns {}, expected one named `{expected}` with the labels", some.join(", "));
        return Err(malformed(path, reason));
    };
    let mut columns = header;
    columns.remove(label_at);
    let (mut features, mut labels) = (vec![], vec![]);
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, ::csv::Position::line);
        for (at, field) in record.iter().enumerate() {
            if at == label_at {
                // `3` and `3.0` are one class.
                let whole = field.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
                labels.push(whole.map_or_else(|| field.to_owned(), |number| (number as i64).to_string()));
                continue;
            }
            let number: f32 = field.parse().map_err(|_| {
                let column = &columns[at - usize::from(at > label_at)];
                malformed(path, format!("line {line}, column `{column}`: found `{field}`, expected a number"))
            })?;
            features.push(number);
        }
        if labels.last().is_some_and(String::is_empty) {
            return Err(malformed(path, format!("line {line} of {}: it has no label", name_of(path))));
        }
    }
    if columns.is_empty() || labels.is_empty() {
        let reason =
            format!("it has {} rows and {} features, expected one or more of both", labels.len(), columns.len());
        return Err(malformed(path, reason));
    }
    Ok(Table { columns, features, labels })
}
