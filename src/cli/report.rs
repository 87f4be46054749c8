//! `tegu report`: the report of a study again.

use super::network::input_error;
use super::{print, versioned};
use crate::report::{self, StudyReport};
use crate::study::STORE;
use crate::study::store::Store;
use std::path::{Path, PathBuf};

/// Write and print the report of a study again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The study's folder, such as runs/quickstart
    study: PathBuf,
    /// What to print; the files in the folder are written in any case
    #[arg(long, default_value = "table")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// The front, for people
    Table,
    /// All trials as JSON
    Json,
    /// All trials as CSV
    Csv,
    /// The page
    Html,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    check_study(&args.study)?;
    let report = write(&Store::open_read_only(&args.study.join(STORE))?, &args.study)?;
    match if args.json { Format::Json } else { args.format } {
        Format::Table => print_table(&report, &args.study),
        Format::Json => print(versioned(&report::json::full(&report))?),
        Format::Csv => print(report::csv::trials(&report).trim_end()),
        Format::Html => print(report::html::page(&report)),
    }
}

/// Refuses a folder that holds no study.
pub(super) fn check_study(folder: &Path) -> anyhow::Result<()> {
    if folder.join(STORE).is_file() {
        return Ok(());
    }
    Err(input_error(format!("{}: no study here, expected {STORE} in the folder", folder.display())))
}

/// Writes the files of the report into the study's folder.
pub(super) fn write(store: &Store, folder: &Path) -> anyhow::Result<StudyReport> {
    let report = report::collect(store, folder)?;
    report::write(&report, folder)?;
    Ok(report)
}

/// Prints the front, and where the page is.
pub(super) fn print_table(report: &StudyReport, folder: &Path) -> anyhow::Result<()> {
    let width = comfy_table::Table::new().width().map(usize::from);
    print(report::table::render(report, width))?;
    print(format!("report: {}", folder.join("report.html").display()))
}
