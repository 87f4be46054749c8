//! A CSV file of architectures and their values, as a space that can be searched.

use super::TableError;
use crate::genotype::{ArchId, Genotype};
use crate::objective::{Direction, Objective, Objectives};
use crate::sampler::{GeneSpace, Measure, Metrics, Problem, SamplerError};
use crate::sheet::{ARCH, Sheet, SheetError};
use crate::space::{Scale, SearchSpace};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

/// What less is better of: a column whose name has one of these.
const COSTS: [&str; 6] = ["latency", "flops", "macs", "params", "cost", "energy"];
/// The most objectives whose hypervolume is followed.
const MOST: usize = 5;

/// Which columns are what, by name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    /// The objectives; all columns of numbers but indices and metrics where absent.
    pub objectives: Option<&'a [String]>,
    /// Those of which less is better, beside those whose names say so.
    pub minimize: &'a [String],
    /// What strategies may look at without a trial, the cheapest first.
    pub metrics: &'a [String],
}

/// What the rows of one architecture are, where the space knows that they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isomorphs {
    /// Each row can be found by itself. Published tables have trained them one by one, so their values differ.
    #[default]
    Apart,
    /// They are found as one, with the means of their values, as a study finds them.
    Shared,
}

/// Architectures and their values.
#[derive(Clone, Debug)]
pub struct Table {
    /// The file.
    pub path: PathBuf,
    /// What the values are.
    pub objectives: Objectives,
    /// Rows that are left out: dead networks (the output does not depend on the input), …
    pub dead: usize,
    /// … and those that lack a value.
    pub incomplete: usize,
    /// Architectures among the rows by the space's ids, whether or not they are found as one.
    pub distinct: usize,
    space: GeneSpace,
    metrics: Vec<String>,
    rows: Arc<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    genotypes: Vec<Genotype>,
    values: Vec<Vec<f64>>,
    /// Merits, more is better, where known.
    metrics: Vec<Vec<Option<f64>>>,
    macs: Vec<Option<u64>>,
    of_id: HashMap<ArchId, usize>,
}

/// Whether less is better of a column of this name, in which `ms` is a word.
fn is_cost(name: &str) -> bool {
    let name = name.to_lowercase();
    COSTS.iter().any(|cost| name.contains(cost)) || name.split(|c: char| !c.is_alphanumeric()).any(|word| word == "ms")
}

/// Whether a column only numbers the rows.
fn is_index(name: &str) -> bool {
    let name = name.to_lowercase();
    name.is_empty() || name == "id" || name.split(|c: char| !c.is_alphanumeric()).any(|word| word == "index")
}

impl Table {
    /// Reads a CSV file with a header. Its architectures are those of `space`, or strings of as many digits each, a gene a digit.
    ///
    /// # Errors
    /// If the file can't be read, a column is missing, or a row has no architecture or no number; with file, line and column.
    pub fn read(
        path: &Path,
        space: Option<Arc<SearchSpace>>,
        columns: &Columns,
        isomorphs: Isomorphs,
    ) -> Result<Self, TableError> {
        let sheet = Sheet::read(path)?;
        let named = |names: &[String]| -> Result<Vec<usize>, SheetError> {
            names.iter().map(|name| sheet.column(&[name])).collect()
        };
        // Where no column is named so, architectures are in the first.
        let arch = sheet.find(&ARCH).unwrap_or(0);
        let metrics = named(columns.metrics)?;
        let values = match columns.objectives {
            Some(names) => named(names)?,
            None => numeric(&sheet, &[&metrics[..], &[arch]].concat()),
        };
        if !(1..=MOST).contains(&values.len()) {
            let names = values.iter().map(|&at| sheet.name(at)).collect::<Vec<_>>().join(", ");
            return Err(TableError::Objectives { path: path.to_owned(), found: values.len(), names });
        }
        let minimized = named(columns.minimize)?;
        let direction = |column: usize| match minimized.contains(&column) || is_cost(sheet.name(column)) {
            true => Direction::Minimize,
            false => Direction::Maximize,
        };
        let objective = |&column: &usize| Objective::new(sheet.name(column), direction(column));
        let objectives = Objectives::new(values.iter().map(objective).collect()).map_err(|_| {
            TableError::Objectives { path: path.to_owned(), found: values.len(), names: "one of them twice".to_owned() }
        })?;
        let (mut found, mut incomplete) = (vec![], 0);
        let digits_each = sheet.rows().next().map_or(0, |first| first.text(arch).len());
        for row in sheet.rows() {
            let of_row: Vec<Option<f64>> = values.iter().map(|&column| row.number(column)).collect::<Result<_, _>>()?;
            let merit = |&column: &usize| Ok(row.number(column)?.map(|value| -direction(column).cost(value)));
            let merits = metrics.iter().map(merit).collect::<Result<Vec<_>, SheetError>>()?;
            let genotype =
                genotype(row.text(arch), space.as_deref(), digits_each).map_err(|why| row.wrong(arch, why))?;
            match of_row.into_iter().collect::<Option<Vec<f64>>>() {
                Some(values) => found.push((genotype, values, merits)),
                None => incomplete += 1,
            }
        }
        let known = known(space.as_deref(), found.iter().map(|(genotype, ..)| genotype).collect());
        let (mut rows, mut dead, mut counts) = (Rows::default(), 0, vec![]);
        let mut ids: HashMap<Genotype, Option<ArchId>> = HashMap::new();
        let mut distinct = HashSet::new();
        for ((genotype, values, merits), (id, macs)) in found.into_iter().zip(known) {
            // The first row of a genotype is the one that counts.
            if ids.contains_key(&genotype) {
                continue;
            }
            let own = || ArchId::new(crate::genotype::hex(genotype.genes()));
            let found_as = id.clone().map(|id| if isomorphs == Isomorphs::Shared { id } else { own() });
            ids.insert(genotype.clone(), found_as.clone());
            let (Some(id), Some(found_as)) = (id, found_as) else {
                dead += 1;
                continue;
            };
            distinct.insert(id);
            if let Some(&row) = rows.of_id.get(&found_as) {
                counts[row] += 1.0;
                let means = rows.values[row].iter_mut().zip(values);
                means.for_each(|(mean, value)| *mean += (value - *mean) / counts[row]);
                continue;
            }
            rows.of_id.insert(found_as, rows.genotypes.len());
            rows.genotypes.push(genotype);
            rows.values.push(values);
            rows.metrics.push(merits);
            rows.macs.push(macs);
            counts.push(1.0);
        }
        if rows.genotypes.len() < 2 {
            return Err(TableError::Few { path: path.to_owned(), found: rows.genotypes.len() });
        }
        let choices = match &space {
            Some(space) => space.choices().to_vec(),
            None => digits(&rows.genotypes),
        };
        let rows = Arc::new(rows);
        let unlisted = space.clone().filter(|_| isomorphs == Isomorphs::Shared);
        let genes = gene_space(choices, unlisted, ids, rows.clone())
            .map_err(|source| TableError::Sampler { sampler: "any".to_owned(), source })?;
        let space = match space {
            Some(space) => genes.with_statistics(Arc::new(move |genotype| space.statistics(genotype).to_vec())),
            None => genes,
        };
        let names = |of: &[usize]| of.iter().map(|&at| sheet.name(at).to_owned()).collect::<Vec<_>>();
        let metrics = names(&metrics);
        Ok(Self { path: path.to_owned(), objectives, dead, incomplete, distinct: distinct.len(), space, metrics, rows })
    }

    /// The number of architectures that can be found.
    pub fn len(&self) -> usize {
        self.rows.genotypes.len()
    }

    /// Whether there are none; a table that was read has two at least.
    pub fn is_empty(&self) -> bool {
        self.rows.genotypes.is_empty()
    }

    /// The values of all that can be found, in the objectives' order and units.
    pub fn values(&self) -> &[Vec<f64>] {
        &self.rows.values
    }

    /// What a trial of `genotype` gives; `None` if the table does not know it.
    pub fn value(&self, genotype: &Genotype) -> Option<&[f64]> {
        let row = self.rows.find(&self.space, genotype)?;
        Some(&self.rows.values[row])
    }

    /// What a search of the table is about. What the table does not know counts as what can't be built.
    pub fn problem(&self) -> Problem {
        let (rows, space) = (self.rows.clone(), self.space.clone());
        let measure: Measure = Arc::new(move |metric, genotypes| {
            genotypes.iter().map(|genotype| rows.metrics[rows.find(&space, genotype)?][metric]).collect()
        });
        let metrics = (!self.metrics.is_empty()).then(|| Metrics::new(self.metrics.clone(), measure));
        Problem { metrics, ..Problem::new(self.space.clone(), self.objectives.as_slice().len()) }
    }

    /// All of them with their multiply-accumulates; `None` where the space is not known.
    pub(super) fn macs(&self) -> Option<Vec<(Genotype, u64)>> {
        let macs: Option<Vec<u64>> = self.rows.macs.iter().copied().collect();
        Some(self.rows.genotypes.iter().cloned().zip(macs?).collect())
    }
}

impl Rows {
    fn find(&self, space: &GeneSpace, genotype: &Genotype) -> Option<usize> {
        self.of_id.get(&space.id(genotype)?).copied()
    }
}

/// All columns of numbers but indices and `except`.
fn numeric(sheet: &Sheet, except: &[usize]) -> Vec<usize> {
    let is_number = |column: usize| {
        let mut cells = sheet.rows().map(|row| row.text(column)).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
    };
    let others = sheet.names().enumerate().filter(|(column, name)| !except.contains(column) && !is_index(name));
    others.map(|(column, _)| column).filter(|&column| is_number(column)).collect()
}

/// An architecture of `space`; without one a string of `length` digits, a gene a digit.
fn genotype(text: &str, space: Option<&SearchSpace>, length: usize) -> Result<Genotype, String> {
    if let Some(space) = space {
        return space.parse_arch(text).map_err(|error| error.to_string());
    }
    let gene = |digit: char| digit.to_digit(10).and_then(|digit| u8::try_from(digit).ok());
    let genes: Option<Vec<u8>> = text.chars().map(gene).collect();
    genes.filter(|genes| genes.len() == length && length > 0).map(Genotype::new).ok_or_else(|| {
        format!("`{text}`, expected {length} digits as in the first row, or the name of its space by --space")
    })
}

/// Choices that hold the digits of every row.
fn digits(genotypes: &[Genotype]) -> Vec<usize> {
    let genes = genotypes.first().map_or(0, |genotype| genotype.genes().len());
    let most = |at: usize| genotypes.iter().map(|genotype| usize::from(genotype.genes()[at])).max().unwrap_or(0);
    (0..genes).map(|at| most(at) + 1).collect()
}

/// The id of each genotype, and its multiply-accumulates where the space is known.
fn known(space: Option<&SearchSpace>, genotypes: Vec<&Genotype>) -> Vec<(Option<ArchId>, Option<u64>)> {
    let of = |genotype: &&Genotype| match space {
        None => (Some(ArchId::new(crate::genotype::hex(genotype.genes()))), None),
        Some(space) => {
            let id = space.id(genotype);
            let graph = id.is_some().then(|| space.lower(genotype, Scale::Full).ok()).flatten();
            (id, graph.map(|graph| graph.cost().macs))
        }
    };
    genotypes.par_iter().map(of).collect()
}

/// The space of all genotypes whose architecture has a row; what is not in `ids` is identified when it is asked for.
fn gene_space(
    choices: Vec<usize>,
    space: Option<Arc<SearchSpace>>,
    ids: HashMap<Genotype, Option<ArchId>>,
    rows: Arc<Rows>,
) -> Result<GeneSpace, SamplerError> {
    let ids = RwLock::new(ids);
    let identify = move |genotype: &Genotype| {
        if let Some(id) = ids.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(genotype) {
            return id.clone();
        }
        let id = space.as_ref()?.id(genotype).filter(|id| rows.of_id.contains_key(id));
        ids.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(genotype.clone(), id.clone());
        id
    };
    GeneSpace::new(choices, Arc::new(identify))
}

#[cfg(test)]
mod tests;
