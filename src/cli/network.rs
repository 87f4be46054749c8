//! Arguments that several commands share: a space, and the size of its full network.

use super::InputError;
use crate::genotype::Genotype;
use crate::lut::SpaceRef;
use crate::space::{NetworkChanges, SearchSpace};
use std::path::Path;

/// A search space, and what is changed of its full network.
#[derive(Debug, clap::Args)]
pub(super) struct SpaceArgs {
    /// Search space: one that comes with Tegu, such as `nas-bench-201`, `mobilenet-v3` or `vit`, or the path of a YAML file
    space: String,
    /// Shape of one input sample
    #[arg(long, value_name = "CxHxW", value_parser = shape)]
    input_shape: Option<[usize; 3]>,
    /// Number of classes
    #[arg(long)]
    classes: Option<usize>,
    /// Channels behind the stem
    #[arg(long)]
    width: Option<usize>,
    /// Cells or layers a stage
    #[arg(long)]
    depth: Option<usize>,
}

impl SpaceArgs {
    pub(super) fn open(&self) -> anyhow::Result<SearchSpace> {
        Ok(SearchSpace::open(&self.space)?.with_network(&self.changes())?)
    }

    /// The space by its name.
    pub(super) fn reference(&self) -> SpaceRef {
        SpaceRef { space: self.space.clone(), changes: self.changes() }
    }

    fn changes(&self) -> NetworkChanges {
        NetworkChanges { input: self.input_shape, classes: self.classes, width: self.width, depth: self.depth }
    }
}

fn shape(text: &str) -> Result<[usize; 3], String> {
    dims(text)?.try_into().map_err(|_| format!("`{text}` has not three dimensions: expected CxHxW, as in 3x32x32"))
}

/// Reads dimensions such as `1x3x224x224`.
pub(super) fn dims(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("`{text}` is no shape: expected sizes joined by x, as in 1x3x224x224");
    text.split('x').map(|size| size.parse().ok().filter(|&size| size > 0).ok_or_else(wrong)).collect()
}

/// Reads `name:1x3x224x224`.
pub(super) fn named_dims(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, sizes) = text
        .rsplit_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("`{text}` names no input: expected NAME:SIZES, as in image:1x3x224x224"))?;
    Ok((name.to_owned(), if sizes.is_empty() { vec![] } else { dims(sizes)? }))
}

/// The architectures of a file with one a line.
pub(super) fn read_archs(path: &Path, space: &SearchSpace) -> anyhow::Result<Vec<Genotype>> {
    let text = std::fs::read_to_string(path).map_err(|error| input_error(format!("{}: {error}", path.display())))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            space.parse_arch(line).map_err(|error| input_error(format!("{}:{}: {error}", path.display(), number + 1)))
        })
        .collect()
}

/// An error of the input.
pub(super) fn input_error(message: impl Into<String>) -> anyhow::Error {
    InputError(message.into()).into()
}
