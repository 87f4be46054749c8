//! `tegu remeasure`: what is deployed, on the device, beside what the search measured.

use super::{print, print_json, report};
use crate::device::OpenOptions;
use crate::study::store::Store;
use crate::study::{self, FinalFigure, FinalOutcome, STORE};
use comfy_table::Table;
use std::path::PathBuf;

/// Measure the front's models again, and all that was trained and quantised of them; the report shows it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The study's folder, such as runs/quickstart
    study: PathBuf,
    /// An INT8 copy of each of the front's models as well: is the device faster with integers?
    #[arg(long)]
    int8: bool,
    /// ONNX Runtime's library; looked for in the usual places where absent
    #[arg(long, value_name = "FILE")]
    ort_lib: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    report::check_study(&args.study)?;
    let options = OpenOptions { library: args.ort_lib.clone(), ..OpenOptions::default() };
    let figures = study::remeasure(&args.study, args.int8, &options)?;
    report::write(&Store::open_read_only(&args.study.join(STORE))?, &args.study)?;
    if args.json {
        return print_json(&figures);
    }
    print(table(&figures))?;
    for line in study::integers_pay(&figures) {
        print(line)?;
    }
    print(format!("report: {}", args.study.join("report.html").display()))
}

fn table(figures: &[FinalFigure]) -> Table {
    let mut table = Table::new();
    table.set_header(["network", "file", "predicted", "in the search", "now", "speed-up", "accuracy", "KiB"]);
    let ms = |value: Option<f64>| value.map_or("–".to_owned(), |ms| format!("{ms:.4}"));
    for figure in figures {
        let now = match &figure.outcome {
            FinalOutcome::Measured { p50_ms, ci95_ms: [low, high], verdict } => {
                format!("{p50_ms:.4} ms ({low:.4} to {high:.4}), {verdict}")
            }
            FinalOutcome::Failed(reason) => format!("failed: {reason}"),
        };
        let accuracies: Vec<String> =
            figure.accuracy.iter().map(|(part, share)| format!("{part} {:.2} %", 100.0 * share)).collect();
        table.add_row([
            figure.network(),
            figure.file.as_ref().map_or("–".into(), |file| file.display().to_string()) + " " + &figure.precision,
            ms(figure.predicted_ms),
            ms(figure.searched_ms),
            now,
            figure.speed_up.map_or("–".into(), |times| format!("{times:.2}")),
            accuracies.join(", "),
            format!("{:.0}", figure.bytes as f64 / 1024.0),
        ]);
    }
    table
}
