//! The canonical encoding of one architecture, and its stable id.
//!
//! A genotype is a list of genes, one for each decision of its `space::SearchSpace`;
//! a gene is the index of the choice taken. Two genotypes may encode the same network (an edge that leads
//! nowhere may hold any operator); they then share their [`ArchId`].

use serde::{Deserialize, Serialize};
use std::fmt;

/// One architecture of a space: for each decision, the index of the choice taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Genotype(Vec<u8>);

impl Genotype {
    /// A genotype with these genes. The space checks them where it reads them.
    pub fn new(genes: Vec<u8>) -> Self {
        Self(genes)
    }

    /// The genes, one for each decision of the space.
    pub fn genes(&self) -> &[u8] {
        &self.0
    }

    /// This genotype with the gene at `decision` set to `choice`.
    ///
    /// # Panics
    /// If there is no such decision.
    pub fn with_gene(&self, decision: usize, choice: u8) -> Self {
        let mut genes = self.0.clone();
        genes[decision] = choice;
        Self(genes)
    }
}

/// What stands before the digits of a variant in an id.
const VARIANT: char = '-';
/// Digits of a variant.
const VARIANT_DIGITS: usize = 8;

/// The stable id of an architecture: a digest of its live operator graph, so that isomorphic
/// architectures share it. Independent of width, depth and input size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArchId(String);

impl ArchId {
    /// The id with these hexadecimal digits.
    pub fn new(digits: impl Into<String>) -> Self {
        Self(digits.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the architecture whatever its layers' precisions are: what indicators look at, and what is trained.
    pub fn architecture(&self) -> Self {
        Self(self.0.split(VARIANT).next().unwrap_or_default().to_owned())
    }

    /// The id of this architecture's variant, by the first digits of another digest.
    pub(crate) fn with_variant(&self, variant: &Self) -> Self {
        Self(format!("{}{VARIANT}{}", self.0, &variant.0[..VARIANT_DIGITS.min(variant.0.len())]))
    }
}

impl fmt::Display for ArchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
